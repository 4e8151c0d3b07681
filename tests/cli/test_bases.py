"""`domainlm bases` answers at once, without torch, for people in a hundred columns and for programs in JSON."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def call(*arguments: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DOMAINLM_", "ZENML_"))}
    return subprocess.run(
        [sys.executable, "-m", "cli.main", "bases", *arguments],
        cwd=ROOT, env=kept, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


def found(*arguments: str) -> dict:
    done = call("--json", *arguments)
    assert done.stderr == ""
    document = json.loads(done.stdout)
    assert document["exit_code"] == done.returncode
    return {"exit_code": document["exit_code"]} | {base["id"]: base for base in document["bases"]}


def test_the_answer_needs_neither_torch_nor_transformers() -> None:
    program = (
        "import sys; from typer.testing import CliRunner; from cli.main import app\n"
        "assert CliRunner().invoke(app, ['bases', '--gpu-memory', '24']).exit_code == 0\n"
        "print(sorted({'torch', 'transformers', 'zenml', 'peft', 'datasets'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.stdout.strip() == "[]", done.stderr


def test_what_fits_into_a_small_card_is_small_and_more_fits_into_a_large_one() -> None:
    small, large = found("--gpu-memory", "8"), found("--gpu-memory", "80")
    fits = [{key for key, base in answer.items() if key != "exit_code" and base["fits"]} for answer in (small, large)]
    assert fits[0] < fits[1]
    assert "meta-llama/Llama-2-70b-hf" not in fits[0] and "EleutherAI/pythia-410m" in fits[0]
    falcon = small["tiiuae/falcon-7b"]["training_gb"]
    assert falcon["16 bit"]["verdict"] == "too large" and falcon["16 bit"]["least_gb"] > 8


def test_a_longer_record_needs_more_memory_and_beyond_the_context_there_is_no_base() -> None:
    short, long = found("tiiuae/falcon-7b", "--length", "256"), found("tiiuae/falcon-7b", "--length", "2048")
    price = [answer["tiiuae/falcon-7b"]["training_gb"]["4 bit"]["plain_gb"] for answer in (short, long)]
    assert price[0] < price[1]
    beyond = found("tiiuae/falcon-7b", "--length", "4096", "--gpu-memory", "80")
    assert beyond["exit_code"] == 1
    assert "context" in beyond["tiiuae/falcon-7b"]["training_gb"]["4 bit"]["why_not"]


def test_the_licence_verdict_depends_on_purpose_and_data() -> None:
    for purpose, data, word in (
        ("research", (), "allowed"),
        ("model-training", (), "refused"),
        ("research", ("--data", "CC-BY-ND-4.0"), "refused"),
    ):
        answer = found("kakaocorp/kanana-nano-2.1b-base", "--purpose", purpose, *data)
        assert answer["kakaocorp/kanana-nano-2.1b-base"]["licence_verdict"]["word"] == word
        assert answer["exit_code"] == (word == "refused")


def test_a_base_of_unknown_licence_is_refused_even_for_research() -> None:
    verdict = found("ProsusAI/finbert", "--purpose", "research")["ProsusAI/finbert"]["licence_verdict"]
    assert not verdict["allowed"] and "unknown" in verdict["refusals"][0]


@pytest.mark.parametrize("arguments", [("--gpu-memory", "24"), ("--criteria",), ("--encoders",), ("tiiuae/falcon-7b",)])
def test_a_hundred_columns_hold_every_table(arguments) -> None:
    done = call(*arguments)
    assert done.returncode == 0, done.stderr
    assert max(map(len, done.stdout.splitlines())) <= 100


def test_the_table_tells_what_fits_what_is_too_large_and_what_is_refused_and_why() -> None:
    said = call("--gpu-memory", "24").stdout
    fits, _, rest = said.partition("Too large")
    large, _, refused = rest.partition("Refused")
    assert "tiiuae/falcon-7b" in fits and "meta-llama/Llama-3.1-70B" in large and "Qwen/Qwen2.5-3B" in refused
    assert "even with" in large and "does not allow use in a business" in refused


def test_a_licence_that_was_not_verified_is_marked_the_mark_explained_and_the_duty_told() -> None:
    listed = call("--gpu-memory", "80").stdout
    row = next(line for line in listed.splitlines() if "upstage/SOLAR-10.7B" in line)
    assert "Apache-2.0? +1" in row and "licence?: " in listed and "own card" in listed
    row = next(line for line in listed.splitlines() if "tiiuae/falcon-7b" in line)
    assert "Apache-2.0" in row and "?" not in row
    told = " ".join(call("upstage/SOLAR-10.7B-v1.0").stdout.split())
    assert "read the licence on the model's own card" in told and "not verified licence" in told
    answer = found("upstage/SOLAR-10.7B-v1.0")["upstage/SOLAR-10.7B-v1.0"]
    assert "licence" in answer["unverified"] and answer["verified"] == ["training_data"] and answer["verified_from"]


def test_the_details_of_a_base_say_what_was_verified_and_from_whose_words() -> None:
    told = " ".join(call("tiiuae/falcon-7b").stdout.split())
    assert "verified licence, languages, training data; from its model card not verified context, released" in told
    assert "?: not verified" in call("--criteria").stdout


def test_one_base_in_full_names_its_faults_duties_and_training_data() -> None:
    said = " ".join(call("meta-llama/Meta-Llama-3-8B", "--purpose", "commercial").stdout.split())
    assert all(
        text in said for text in ("Built with Meta Llama 3", "700 million", "pad token", "not published", "gated")
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("tiiuae/falcon7b",), "did you mean 'tiiuae/falcon-7b'?"),
        (("--purpose", "training"), "did you mean 'model-training'?"),
        (("--method", "qlor"), "did you mean 'qlora'?"),
        (("--data", "apache2"), "did you mean 'Apache-2.0'?"),
        (("--pack", "no/such/pack"), "no/such/pack"),
    ],
)
def test_a_wrong_argument_is_named_with_the_nearest_right_one(arguments, said) -> None:
    done = call(*arguments)
    assert done.returncode == 2
    assert said in done.stderr and "Traceback" not in done.stderr
