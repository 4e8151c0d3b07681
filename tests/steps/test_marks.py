"""A model that must be trained again is marked in a real MLflow and a real ZenML store."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from uuid import uuid4

import pytest
from zenml import Model, pipeline, step

from domainlm.register.registration import IDENTITY


@step(enable_cache=False)
def register_nothing() -> None:
    """A run needs a step."""


@pipeline(enable_cache=False)
def registering() -> None:
    """Stands for a training."""
    register_nothing()


def test_only_the_models_that_learnt_are_marked_and_marking_twice_does_no_harm(
    stores: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow
    from zenml.client import Client

    from steps.marks import TAG, ZENML_TAG, mark_must_retrain
    from steps.registry import tracking_uri

    monkeypatch.setenv("DOMAINLM_HOME", str(stores))
    client = mlflow.MlflowClient(tracking_uri(), tracking_uri())
    client.create_registered_model("finance")
    for identity in ("a" * 64, "b" * 64):
        client.create_model_version("finance", source=str(stores), tags={IDENTITY: identity})
    runs = [registering.with_options(model=Model(name="finance"))() for _ in range(2)]
    asked = [("a" * 64, str(runs[0].id)), ("c" * 64, str(uuid4())), ("d" * 64, "")]  # two that no registry has
    for _ in range(2):
        assert mark_must_retrain(asked, date(2026, 11, 21)) == 2
    tags = {version.version: version.tags for version in client.search_model_versions("name = 'finance'")}
    assert [tags[number].get(TAG) for number in sorted(tags)] == ["2026-11-21", None]
    found = Client().list_model_versions(model="finance", hydrate=True).items
    marked = {str(version.number): [tag.name for tag in version.tags] for version in found}
    assert marked == {"1": [ZENML_TAG], "2": []}
    first = next(version for version in found if version.number == 1)
    assert first.run_metadata[TAG] == "2026-11-21"


def test_nothing_to_mark_asks_no_registry() -> None:
    from steps.marks import mark_must_retrain

    assert mark_must_retrain([]) == 0
