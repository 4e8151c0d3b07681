"""`domainlm compare` in a project of its own: real trainings, one page, and nothing trained twice."""

from __future__ import annotations

import json

import pytest
import yaml
from small_project import Project, ran, steps_of

EXPERIMENT = {
    "name": "tiny",
    "question": "Does training on true answers beat training on shuffled ones?",
    "reference": "shuffled",
    "seeds": [0, 1],
    "variants": [
        {"name": "tuned", "train": {"method": "qlora"}},
        {"name": "shuffled", "train": {"labels": "shuffled"}, "vocabulary": {"max_new_tokens": 0}},
    ],
    "evaluate": {"tasks": ["sentiment"], "max_items": 6},
}


@pytest.fixture(scope="module")
def experiment(project: Project):
    path = project.root / "tiny.yaml"
    path.write_text(yaml.safe_dump(EXPERIMENT))
    return path


def test_an_experiment_that_names_an_unknown_key_is_refused_before_anything_runs(project, experiment) -> None:
    broken = project.root / "broken.yaml"
    broken.write_text(
        yaml.safe_dump(EXPERIMENT | {"reference": "base", "variants": [{"name": "a", "train": {"ranks": 4}}]})
    )
    before = project.manifests()
    said = project.domainlm("compare", str(broken), code=1)
    assert "variant 'a'" in said and "ranks" in said
    assert project.manifests() == before


def test_every_variant_is_trained_with_every_seed_and_compared_on_the_same_items(project, experiment) -> None:
    said = project.domainlm("compare", "tiny.yaml")
    assert "4 trainings" in said and "fewer than 5" in said
    report = json.loads((project.state / "comparisons" / "tiny.json").read_text())
    assert {row["source"] for row in report["rows"]} == {"headlines", "headlines_lexicon_disjoint"}
    for row in report["rows"]:
        assert set(row["scores"]) == {"base", "tuned", "shuffled"} and row["items"] == 6
        assert [len(row["scores"][name]["by_seed"]) for name in ("base", "tuned", "shuffled")] == [1, 2, 2]
        assert {gain["verdict"] for gain in row["gains"].values()} == {"not shown"}
    assert (
        report["forgetting"][-1]["assessable"] in (True, False)
        and "bits per character" in report["forgetting"][-1]["measure"]
    )
    assert all(found["seconds"] > 0 for found in report["resources"].values())
    page = (project.state / "comparisons" / "tiny.html").read_text()
    assert EXPERIMENT["question"] in page and "<svg" in page
    steps = steps_of(project.last())
    assert {"train_tuned_0", "train_tuned_1", "train_shuffled_0", "train_shuffled_1"} <= set(steps)
    assert steps["train_tuned_0"]["outputs"]["adapter"] != steps["train_tuned_1"]["outputs"]["adapter"]
    assert steps["compare"]["inputs"]["trainings.3"] == steps["train_shuffled_1"]["outputs"]["training_report"]
    assert project.last()["status"] == "completed"


def test_asking_again_trains_nothing_and_costs_the_same(project, experiment) -> None:
    first = json.loads((project.state / "comparisons" / "tiny.json").read_text())
    project.domainlm("compare", "tiny.yaml")
    assert not any(name.startswith(("train_", "evaluate_", "retention_")) for name in ran(project.last()))
    assert json.loads((project.state / "comparisons" / "tiny.json").read_text()) == first
