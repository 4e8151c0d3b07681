"""A run that searches before it trains: what was chosen is trained with, and stands in the manifest."""

from __future__ import annotations

import json
import sqlite3

import pytest
import yaml
from small_project import Project, make_project, ran, steps_of

SEARCH = {
    "space": {"learning_rate": [1e-6, 5e-3], "rank": [2, 4]},
    "sampler": "grid",
    "trials": 3,
    "pruner": "median",
    "startup_trials": 2,
}


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Headlines alone, no controls, and three trials of four steps."""
    project = make_project(tmp_path_factory.mktemp("searched"))
    path = project.root / "zenml_config.yaml"
    content = yaml.safe_load(path.read_text())
    steps = content["steps"]
    content["parameters"] |= {"search": True, "controls": False}
    sources = steps["ingest"]["parameters"]["sources"]
    steps["ingest"]["parameters"]["sources"] = [source for source in sources if source["name"] == "headlines"]
    steps["evaluate"]["parameters"] = {"max_items": 2, "tasks": ["sentiment"]}
    steps["train"]["parameters"] |= {"max_steps": 4, "eval_steps": 2}
    steps["search"] = {"experiment_tracker": "mlflow", "parameters": SEARCH | {"recipe": steps["train"]["parameters"]}}
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    project.domainlm("setup")
    project.domainlm("run")
    return project


def test_the_chosen_values_are_trained_with_and_stand_in_the_manifest(searched: Project) -> None:
    manifest = searched.last()
    steps = steps_of(manifest)
    assert manifest["status"] == "completed"
    chosen = steps["search"]["chosen"]
    assert chosen["learning_rate"] in (1e-6, 5e-3) and chosen["rank"] in (2, 4)
    assert steps["train"]["chosen"] == chosen
    assert steps["search"]["measured"]["device_seconds"] > 0
    assert steps["train"]["inputs"]["chosen"] == steps["search"]["outputs"]["search_report"]
    report = json.loads(_artifact(searched, "search_report").read_text())
    assert len(report["trials"]) == 3 and report["chosen"] == chosen
    assert report["score"] == min(trial["score"] for trial in report["trials"] if trial["state"] == "complete")
    recipe = json.loads(_artifact(searched, "training_report").read_text())["recipe"]
    assert {name: recipe[name] for name in chosen} == chosen
    configured = steps["train"]["parameters"]
    assert {name: configured[name] for name in ("max_steps", "seed")} == {
        name: recipe[name] for name in ("max_steps", "seed")
    }


def test_every_trial_is_a_run_under_the_steps_run(searched: Project) -> None:
    (database,) = searched.state.rglob("mlflow.db")
    with sqlite3.connect(database) as store:
        tags = store.execute("select run_uuid, key, value from tags").fetchall()
    trials = {value for _, key, value in tags if key == "trial"}
    parents = {value for _, key, value in tags if key == "mlflow.parentRunId"}
    assert trials == {"0", "1", "2"} and len(parents) == 1


def test_an_equal_run_searches_nothing_and_still_tells_what_was_chosen(searched: Project) -> None:
    first = steps_of(searched.last())["search"]["chosen"]
    searched.domainlm("run")
    manifest = searched.last()
    assert not {"search", "train"} & ran(manifest)
    assert steps_of(manifest)["search"]["chosen"] == first


def test_a_search_about_another_recipe_is_refused_at_once(searched: Project) -> None:
    path = searched.root / "zenml_config.yaml"
    content = yaml.safe_load(path.read_text())
    content["steps"]["search"]["parameters"]["recipe"] = content["steps"]["train"]["parameters"] | {"seed": 3}
    other = searched.root / "other.yaml"
    other.write_text(yaml.safe_dump(content, sort_keys=False))
    said = searched.domainlm("run", "-c", str(other), "--check", code=1)
    assert "is not the recipe of the step train (seed)" in said and "recipe: *recipe" in said


def _artifact(project: Project, name: str):
    """The newest stored report of a name."""
    found = sorted(project.state.rglob(f"{name}/**/report.json"), key=lambda path: path.stat().st_mtime)
    return found[-1]
