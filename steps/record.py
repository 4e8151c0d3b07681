"""The last step, which always runs: every artifact checked against its digest, the rows that served what, and the
manifest of the run; the hooks around the run enter it into the ledger. In a pod, which has no ledger and no index of
rows, the manifest goes to the outbox, and whoever collects it adds the rows and enters it."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from zenml import get_step_context, log_metadata

from domainlm.ledger.run import manifest as manifests
from domainlm.ledger.run.manifest import COMPLETED, RunManifest
from domainlm.names import RECORD
from domainlm.register import Registration
from domainlm.reports import Report
from steps.keys import load_keys
from steps.outbox import tell_recorded
from steps.place import in_pod
from steps.rows import RowsOfRun
from steps.run_view import manifest_of, verify_outputs
from steps.stage import stage_step


class RunRecord(Report):
    """What the `record` step hands on: where the run's manifest lies and what it says of itself."""

    run_id: str
    manifest_digest: str
    artifacts_verified: int
    model_version: str


@stage_step(RECORD, cached=False)
def record(registration: Registration | None) -> Annotated[RunRecord, "run_record"]:
    """Verify every artifact of the run and write the manifest; failed runs get theirs from `pipelines.hooks`.

    A comparison registers no model: it hands on None, and its manifest names none.

    Raises:
        ArtifactError: an artifact, cached ones included, was changed after it was stored.
    """
    run_id = get_step_context().pipeline_run.id
    verified, manifest = _in_outbox(run_id) if in_pod() else _in_project(run_id)
    found = RunRecord(
        run_id=str(run_id),
        manifest_digest=manifest.digest,
        artifacts_verified=verified,
        model_version=f"{registration.name}/{registration.version}" if registration else "",
    )
    if registration:
        digests: dict[str, Any] = {"manifest": manifest.digest} | registration.digests
        log_metadata({"digests": digests}, infer_model=True)
    log_metadata(found.summary())
    return found


def _in_project(run_id: UUID) -> tuple[int, RunManifest]:
    rows = RowsOfRun()
    verified = verify_outputs(run_id, rows.take)
    manifest = manifest_of(run_id, status=COMPLETED)
    manifest.rows = rows.sets(run_id, manifest.model)
    manifest = manifest.sealed()
    manifests.write(manifest, load_keys)
    return verified, manifest


def _in_outbox(run_id: UUID) -> tuple[int, RunManifest]:
    verified = verify_outputs(run_id)
    manifest = manifest_of(run_id, status=COMPLETED).sealed()
    tell_recorded(manifest)
    return verified, manifest
