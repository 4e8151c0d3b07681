"""Marks models in both registries as to be trained again, for people who look there; the ledger is what counts."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from uuid import UUID

from zenml.client import Client
from zenml.enums import MetadataResourceTypes
from zenml.models import RunMetadataResource

from steps.registry import tracking_uri

TAG = "domainlm.must_retrain"
ZENML_TAG = "must-retrain"
SUPERSEDED = "domainlm.superseded"


def mark_must_retrain(models: Iterable[tuple[str, str]], today: date | None = None) -> int:
    """Tag the versions of some models; again does no harm.

    Args:
        models: (identity, id of the run that registered it).
        today: the day that the tag states.

    Returns:
        How many versions of either registry were tagged. One that a registry no longer has is passed over: the
        ledger names it all the same.
    """
    if not (models := list(models)):
        return 0
    import mlflow

    from domainlm.register.registration import IDENTITY

    day, marked = (today or date.today()).isoformat(), 0
    uri = tracking_uri()
    client = mlflow.MlflowClient(uri, uri)
    for identity, run_id in models:
        for version in client.search_model_versions(f"tag.`{IDENTITY}` = '{identity}'"):
            client.set_model_version_tag(version.name, version.version, TAG, day)
            marked += 1
        try:
            version = Client().get_pipeline_run(UUID(run_id), hydrate=True).model_version
        except (KeyError, ValueError):
            continue
        if version is not None:
            Client().update_model_version(version.model.id, version.id, add_tags=[ZENML_TAG])
            place = RunMetadataResource(id=version.id, type=MetadataResourceTypes.MODEL_VERSION)
            Client().create_run_metadata({TAG: day}, [place])
            marked += 1
    return marked


def mark_superseded(name: str, version: str, why: str) -> None:
    """Tag a version of MLflow's registry whose run lost its claim: its result was not accepted.

    Args:
        why: as the book said it.
    """
    import mlflow

    uri = tracking_uri()
    mlflow.MlflowClient(uri, uri).set_model_version_tag(name, version, SUPERSEDED, why)
