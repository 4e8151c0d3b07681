"""configs/finbert.yaml with a small BERT from a folder: the same steps, from the sources to the registry."""

from __future__ import annotations

import csv
import json
import subprocess
import sys

import pytest
import yaml
from small_encoders import make_encoder
from small_project import ROOT, Project, make_project, ran, steps_of

TRAIN = {"max_steps": 12, "eval_steps": 6, "logging_steps": 4, "batch_size": 8, "learning_rate": 1e-3}
LIMITS = {"headlines": 500, "headlines_lexicon_disjoint": 40}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    made = make_project(tmp_path_factory.mktemp("encoder"))
    with open(made.root / "domains/finance/headlines.csv", encoding="utf-8") as source:
        headlines = [row["headline"] for row in csv.DictReader(source)]
    make_encoder(made.root / "models" / "bert", headlines[:500], licence="apache-2.0")
    content = yaml.safe_load((ROOT / "configs" / "finbert.yaml").read_text())
    content["parameters"]["base"] = "models/bert"
    steps = content["steps"]
    for source in steps["ingest"]["parameters"]["sources"]:
        source["limit"] = LIMITS[source["name"]]
    steps["train"]["parameters"] |= TRAIN | {"max_length": 64}
    steps["evaluate"]["parameters"] |= {"max_items": 30}
    (made.root / "encoder.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    made.domainlm("setup")
    return made


@pytest.fixture(scope="module")
def first(project: Project) -> dict:
    output = project.domainlm("run", "-c", "encoder.yaml")
    assert "headline: " in output and "registered" in output, output
    assert "linear probe" in output, output
    return project.last()


def test_an_encoder_goes_through_every_step(project: Project, first: dict) -> None:
    assert first["status"] == "completed"
    assert ran(first) == {
        "resolve_base", "ingest", "redact", "prepare", "validate", "vocabulary", "train", "control_shuffled_labels",
        "control_from_scratch", "evaluate", "register",
    }  # fmt: skip
    assert steps_of(first)["train"]["parameters"]["objective"] == "classification"


def test_the_registered_model_answers_a_text_with_a_label(project: Project, first: dict) -> None:
    code = """
import json, mlflow
mlflow.set_tracking_uri(URI); mlflow.set_registry_uri(URI)
served = mlflow.pyfunc.load_model("models:/domainlm-finbert@candidate")
print("SAID", json.dumps(served.predict(["Haneul Bank profit climbs", "Dorvane Steel slides into a loss"])))
"""
    databases = [path for path in project.state.rglob("*.db") if b"registered_models" in path.read_bytes()]
    assert databases
    output = subprocess.run(
        [sys.executable, "-c", code.replace("URI", repr(f"sqlite:///{databases[0]}"))],
        capture_output=True, text=True, timeout=120, cwd=project.root, env=project.environment | {
            "DOMAINLM_PROJECT": str(project.root), "DOMAINLM_HOME": str(project.state)},
    )  # fmt: skip
    said = next((line for line in output.stdout.splitlines() if line.startswith("SAID ")), output.stderr)
    labels = json.loads(said.removeprefix("SAID "))
    assert len(labels) == 2 and set(labels) <= {"positive", "neutral", "negative"}


def test_the_adapter_holds_the_head_and_no_pickle(project: Project, first: dict) -> None:
    cards = [json.loads(path.read_text()) for path in (project.state / "artifacts").rglob("domainlm.json")]
    heads = [card for card in cards if card.get("objective") == "classification"]
    assert len(heads) == 3 and all(card["labels"] == ["positive", "neutral", "negative"] for card in heads)
    assert not [path for path in (project.state / "artifacts").rglob("*") if path.suffix in {".pkl", ".pt", ".bin"}]


def test_the_configuration_of_the_repository_is_the_one_that_was_run(project: Project) -> None:
    wanted = yaml.safe_load((ROOT / "configs" / "finbert.yaml").read_text())
    given = yaml.safe_load((project.root / "encoder.yaml").read_text())
    assert set(given["steps"]) == set(wanted["steps"])
    assert given["steps"]["train"]["parameters"]["method"] == wanted["steps"]["train"]["parameters"]["method"] == "full"
