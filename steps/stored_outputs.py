"""What the stores hold of the outputs that manifests name, for `domainlm audit verify --artifacts`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from zenml.client import Client
from zenml.models import ArtifactVersionResponse, PipelineRunResponse
from zenml.utils.pagination_utils import depaginate

from domainlm.audit.proof.cross_checks import Artifact
from domainlm.errors import ArtifactErased, ArtifactError
from domainlm.ledger.run.manifest import RunManifest


def stored_outputs(manifests: Iterable[RunManifest]) -> Iterator[Artifact]:
    """Every output of these runs beside its digest in the manifest; each stored version is loaded once."""
    seen: dict[str, str | None] = {}
    for manifest in manifests:
        run = _run(manifest.run_id)
        for step in manifest.steps:
            outputs = run.steps[step.name].get_hydrated_version().outputs if run and step.name in run.steps else {}
            for output, expected in step.outputs.items():
                versions = outputs.get(output, [])
                key = str(versions[0].id) if versions else ""
                if key not in seen:
                    seen[key] = _digest(versions[0]) if versions else None
                yield Artifact(f"{manifest.run_name}/{step.name}/{output}", expected, seen[key])


def ended_runs(since: str) -> Iterator[tuple[str, str]]:
    """Id and name of the runs that ended and began after a moment (UTC, ISO 8601): those that must have an entry."""
    begin = datetime.fromisoformat(since)
    for run in depaginate(Client().list_pipeline_runs):
        started = run.created.replace(tzinfo=UTC) if run.created.tzinfo is None else run.created
        if run.status.is_finished and started > begin:
            yield str(run.id), run.name


def _run(run_id: str) -> PipelineRunResponse | None:
    try:
        return Client().get_pipeline_run(run_id, hydrate=True)
    except KeyError:
        return None


def _digest(version: ArtifactVersionResponse) -> str | None:
    """The digest that the store states, once its content has been compared with it."""
    try:
        version.load()
    except ArtifactError as error:
        gone = isinstance(error, ArtifactErased) or isinstance(error.__cause__, FileNotFoundError)
        return None if gone else ""
    except FileNotFoundError:
        return None
    return str(version.content_hash)
