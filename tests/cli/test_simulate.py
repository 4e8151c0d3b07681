"""`domainlm simulate` in processes of its own: small models, but every stage, landing and picture is real."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
SMALL = {
    "pretrain": {"vocab_size": 512, "hidden_size": 32, "layers": 1, "heads": 2, "context": 512, "sequence_length": 64,
                 "copy_steps": 2, "max_steps": 6},
    "train": {"max_steps": 3, "batch_size": 8, "rank": 4},
    "decide": {"new_rows": 100},
}  # fmt: skip


def configuration(folder: Path) -> Path:
    content = yaml.safe_load((ROOT / "configs" / "simulation.yaml").read_text())
    for step, values in SMALL.items():
        content["steps"].setdefault(step, {}).setdefault("parameters", {}).update(values)
    content["steps"]["base_ingest"]["parameters"]["sources"][0]["limit"] = 200
    content["steps"]["ingest"]["parameters"]["sources"][0]["limit"] = 300
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def statements(folder: Path) -> Path:
    """Dated texts of three years: eight each, of five headlines."""
    folder.mkdir()
    for year, month in ((2001, "2023-01"), (2002, "2023-09"), (2003, "2024-09")):
        lines = (ROOT / "domains" / "finance" / "market" / month / "news.jsonl").read_text().splitlines()
        texts = [json.loads(line)["headline"] for line in lines[:40]]
        for number in range(8):
            (folder / f"{year}{number + 1:02}15.txt").write_text(". ".join(texts[number * 5 : number * 5 + 5]) + ".\n")
    return folder


def simulate(*arguments: str, code: int = 0) -> str:
    found = subprocess.run(
        [sys.executable, "-m", "cli.main", "simulate", *arguments], cwd=ROOT, capture_output=True, text=True,
        timeout=600, check=False, env=os.environ | {"OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": "2"},
    )  # fmt: skip
    assert found.returncode == code, found.stdout + found.stderr
    return found.stdout + found.stderr


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str], str]:
    folder = tmp_path_factory.mktemp("simulated")
    arguments = ["-c", str(configuration(folder)), "--months", "4", "--seeds", "2", "--out", str(folder / "out"),
                 "--statements", str(statements(folder / "dated")), "--early", "2001",
                 "--statements-licence", "CC0-1.0", "--reading-steps", "2"]  # fmt: skip
    return folder / "out", arguments, simulate(*arguments)


def test_it_plays_trains_scores_and_draws(played: tuple[Path, list[str], str]) -> None:
    out, _, told = played
    outcome = json.loads((out / "trouble" / "outcome.json").read_text())
    assert len(outcome["retrainings"]) == 2 and outcome["seeds"] == 2
    assert [month["name"] for month in outcome["months"]] == ["2023-03", "2023-04"]
    assert outcome["retrainings"][0]["training_rows"] > 57
    assert not outcome["failures"]
    for picture in ("trouble/quality.png", "trouble/gains.png", "language.png"):
        assert (out / picture).read_bytes().startswith(b"\x89PNG")
    assert "half-written upload" in told


def test_the_statements_are_read_year_by_year(played: tuple[Path, list[str], str]) -> None:
    language = json.loads((played[0] / "language.json").read_text())
    years = language["years"]
    assert [year["year"] for year in years] == [2001, 2002, 2003]
    assert years[0]["frozen"] is None
    # behind the first period both have read the same, and are one model
    assert years[1]["frozen"] == years[1]["retrained"]
    assert years[2]["frozen"]["value"] != years[2]["retrained"]["value"]


def test_a_second_time_no_model_is_trained_and_the_figures_are_the_same(played: tuple[Path, list[str], str]) -> None:
    out, arguments, _ = played

    def models() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in out.rglob("*.safetensors")}

    before, figures = models(), (out / "trouble" / "outcome.json").read_text()
    assert len(before) >= 7  # a base, two plans with two seeds, two readings
    simulate(*arguments)
    assert models() == before
    assert (out / "trouble" / "outcome.json").read_text() == figures


def test_nothing_of_the_headlines_or_the_key_stands_in_what_it_keeps_beside_the_models(
    played: tuple[Path, list[str], str],
) -> None:
    out, _, told = played
    headlines = [
        json.loads(line)["headline"]
        for line in (ROOT / "domains/finance/market/2023-03/news.jsonl").read_text().splitlines()
    ]
    kept = told + (out / "trouble" / "outcome.json").read_text()
    assert not [text for text in headlines if text in kept]
    secret = json.loads(next((out / "home" / "keys").glob("*.key")).read_text())["secret"]
    assert secret not in kept
    assert next((out / "home" / "keys").glob("*.key")).stat().st_mode & 0o077 == 0


def test_texts_without_a_licence_are_not_read(tmp_path: Path) -> None:
    told = simulate("--statements", str(tmp_path), "--out", str(tmp_path / "out"), code=1)
    assert "--statements-licence" in told
    assert not (tmp_path / "out").exists()


def test_what_it_cannot_do_is_refused_with_the_key(tmp_path: Path) -> None:
    content = yaml.safe_load((ROOT / "configs" / "simulation.yaml").read_text())
    content["steps"]["decide"]["parameters"]["start"] = "champion"
    path = tmp_path / "champion.yaml"
    path.write_text(yaml.safe_dump(content))
    told = simulate("-c", str(path), "--out", str(tmp_path / "out"), code=1)
    assert "steps.decide.parameters.start" in told
