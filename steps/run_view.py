"""A run as ZenML's store tells it, turned into a manifest of our own. The only place that reads ZenML's run model."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any
from uuid import UUID

from zenml.client import Client
from zenml.enums import ExecutionStatus
from zenml.models import PipelineRunResponse, StepRunResponse

from domainlm.errors import DomainLMError, SecretError
from domainlm.ledger import manifest as manifests
from domainlm.ledger.manifest import COMPLETED, FAILED, INTERRUPTED, RUNNING, UNKNOWN, Failure, RunManifest, StepEntry
from domainlm.names import CHOSEN, MEASURED, RECORD
from domainlm.reports import Report
from steps.keys import load_keys

PROCESS = "process"
REPORT_NAMES = ("Report", "Manifest", "Verdict", "Registration", "Record")


def manifest_of(run_id: UUID, *, status: str | None = None, error: BaseException | None = None) -> RunManifest:
    """The manifest of a run as it stands now.

    Args:
        run_id: ZenML's id of the run.
        status: what to say of the run; by its steps when left out.
        error: the exception that ended it, if there was one.
    """
    run = Client().get_pipeline_run(run_id, hydrate=True)
    steps = [_entry(step.get_hydrated_version()) for step in run.steps.values() if step.name != RECORD]
    steps.sort(key=lambda entry: (entry.started, entry.name))
    broken = next((entry for entry in steps if entry.status == FAILED), None)
    if status is None:
        status = FAILED if broken or error else (COMPLETED if run.status == ExecutionStatus.COMPLETED else RUNNING)
    failure = None
    if error is not None or broken is not None:
        failure = Failure(
            step=broken.name if broken else "",
            error=type(error).__name__ if error else UNKNOWN,
            # only our own errors are known to quote no data
            message=str(error) if isinstance(error, DomainLMError) else "",
        )
    return RunManifest(
        run_id=str(run.id),
        run_name=run.name,
        pipeline=run.pipeline.name if run.pipeline else "",
        status=status,
        started=_time(run.start_time),
        ended=_time(run.end_time),
        key_id=_key_id(),
        steps=steps,
        failure=failure,
        configuration=_configuration(run),
        code=manifests.code_state(),
        environment=manifests.environment_state() | {PROCESS: {"host": socket.gethostname(), "pid": os.getpid()}},
    )


def measured_by(run_id: UUID, step: str) -> dict[str, Any]:
    """What a step of a run measured of itself: seconds, speed, memory, cost; empty where it said nothing."""
    found = Client().get_pipeline_run(run_id, hydrate=True).steps[step].get_hydrated_version().run_metadata
    return dict(found.get(MEASURED) or {})


def _entry(step: StepRunResponse) -> StepEntry:
    cached = step.status == ExecutionStatus.CACHED
    return StepEntry(
        name=step.name,
        status=COMPLETED if cached else str(step.status.value),
        cached=cached,
        parameters=step.config.parameters,
        inputs=_inputs(step),
        outputs={name: str(found[0].content_hash) for name, found in step.outputs.items() if found},
        code=str(step.cache_key or ""),
        started=_time(step.start_time),
        ended=_time(step.end_time),
        # ZenML hands a cached step the metadata of the run that made its outputs
        measured=dict(step.run_metadata.get(MEASURED) or {}),
        chosen=dict(step.run_metadata.get(CHOSEN) or {}),
    )


def _configuration(run: PipelineRunResponse) -> dict[str, Any]:
    return {
        "parameters": dict(run.config.parameters or {}),
        "stack": run.stack.name if run.stack else "",
        "model": run.config.model.name if run.config.model else "",
    }


def _inputs(step: StepRunResponse) -> dict[str, str]:
    """The digest of each input; an input that is a list has a number behind its name."""
    found = {}
    for name, versions in step.inputs.items():
        for number, version in enumerate(versions):
            found[name if len(versions) == 1 else f"{name}.{number}"] = str(version.content_hash)
    return found


def _time(moment: Any) -> str:
    return moment.isoformat(timespec="milliseconds") if moment else ""


def _key_id() -> str:
    try:
        return load_keys().key_id
    except SecretError:  # a run that failed for want of a key has a manifest all the same
        return ""


def verify_outputs(run_id: UUID) -> int:
    """Load every output of a run's steps, so that each is compared with its digest; a cached run loads none by itself.

    Returns:
        How many artifacts were checked.

    Raises:
        ArtifactError: one of them was changed after it was stored.
    """
    run = Client().get_pipeline_run(run_id, hydrate=True)
    seen: set[UUID] = set()
    for step in run.steps.values():
        for versions in step.get_hydrated_version().outputs.values():
            for version in versions:
                if version.id not in seen:
                    seen.add(version.id)
                    version.load()
    return len(seen)


def reports_of(run_id: UUID) -> dict[str, Report]:
    """The reports of a run by artifact name, those of the embedded base's stages under `base_...`."""
    found: dict[str, Report] = {}
    for step in Client().get_pipeline_run(run_id, hydrate=True).steps.values():
        for name, versions in step.get_hydrated_version().outputs.items():
            if versions[0].data_type.attribute.endswith(REPORT_NAMES):
                found[f"base_{name}" if step.name.startswith("base_") else name] = versions[0].load()
    return found


def reap_interrupted() -> list[Path]:
    """Mark runs whose process is gone as interrupted, in their manifest and in ZenML's store.

    A run that was killed leaves its manifest at "running"; without this both would say so for ever.
    """
    from zenml.orchestrators import publish_utils

    reaped = []
    for path in sorted(manifests.manifest_folder().glob("*.json")):
        found = manifests.read(path)
        process = found.environment.get(PROCESS, {})
        if found.status != RUNNING or process.get("host") != socket.gethostname() or _alive(process.get("pid", 0)):
            continue
        run = Client().get_pipeline_run(UUID(found.run_id), hydrate=True)
        for step in run.steps.values():
            if step.status == ExecutionStatus.RUNNING:
                publish_utils.publish_failed_step_run(step.id)
        manifest = manifest_of(run.id, status=INTERRUPTED)
        manifest.failure = manifest.failure or Failure(step="", error=INTERRUPTED)
        manifest.failure.error, manifest.failure.message = INTERRUPTED, "the process of this run was ended from outside"
        reaped.append(manifests.write(manifest))
    return reaped


def _alive(pid: int) -> bool:
    """Whether the process still runs and is a Python process (a reused process id is most likely something else)."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        try:
            os.kill(pid, 0)
        except OSError:
            return False
        return True
    return b"python" in command or b"zenml" in command or b"domainlm" in command
