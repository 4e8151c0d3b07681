"""A run as ZenML's store tells it, turned into a manifest of our own. The only place that reads ZenML's run model."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

from zenml.client import Client
from zenml.enums import ExecutionStatus
from zenml.models import PipelineRunResponse, StepRunResponse

from domainlm.digests import digest_json
from domainlm.errors import ArtifactError, DomainLMError, SecretError
from domainlm.ledger.run import manifest as manifests
from domainlm.ledger.run.asked import NOBODY_SAID, asked
from domainlm.ledger.run.authorship import NOBODY_KNOWS, Origin, as_identity, authors_of, whoever_runs
from domainlm.ledger.run.checkout import ROOMS, changed_files, code_state, file_digests, shown
from domainlm.ledger.run.machine import PROCESS, environment_state, hardware_state, process_gone
from domainlm.ledger.run.manifest import (
    COMPLETED,
    DECLINED,
    FAILED,
    INTERRUPTED,
    RUNNING,
    UNKNOWN,
    Authors,
    Failure,
    RunManifest,
    StepEntry,
)
from domainlm.ledger.run.outbox import Begun
from domainlm.ledger.run.submission import stated_of
from domainlm.names import CHOSEN, DECIDE, DECISION, MEASURED, RECORD, REGISTER
from domainlm.project import SOURCE_ROOT, project_root
from domainlm.reports import Report
from steps.champion import commit_of_champion
from steps.declined import decision_in, was_declined
from steps.keys import load_keys
from steps.place import in_pod
from steps.run_facts import metrics_of, model_of, sources_of, verdicts_of

REPORT_NAMES = ("Report", "Manifest", "Verdict", "Registration", "Record")
ENDED = (COMPLETED, DECLINED, FAILED, INTERRUPTED)
_STATUS_CHARACTERS = 1000  # the status of a manifest's file stands before its first step
_NOT_STATED = Origin("", ())
# shown an artifact: step, output, content digest, and how to load it
Visit = Callable[[str, str, str, Callable[[], Any]], None]


def manifest_of(
    run_id: UUID,
    *,
    status: str | None = None,
    error: BaseException | None = None,
    begun: Begun | None = None,
) -> RunManifest:
    """The manifest of a run as it stands now.

    What the run was started with (code, machine, who) is taken down when its first step begins, and kept: whoever
    writes the manifest later may stand in another process, on another commit.

    Args:
        run_id: ZenML's id of the run.
        status: what to say of the run; by its steps when left out.
        error: the exception that ended it, if there was one.
        begun: of a run whose steps were pods, what they told; this machine's code and configuration are not the run's.
    """
    run = Client().get_pipeline_run(run_id, hydrate=True)
    hydrated = _hydrated(run)
    steps = [_entry(step) for name, step in hydrated.items() if name != RECORD]
    steps.sort(key=lambda entry: (entry.started, entry.name))
    broken = next((entry for entry in steps if entry.status == FAILED), None)
    if status is None and was_declined(run.status, hydrated.get(DECIDE)):
        status = DECLINED
    elif status is None:
        status = FAILED if broken or error else (COMPLETED if run.status == ExecutionStatus.COMPLETED else RUNNING)
    failure = None
    if error is not None or broken is not None:
        failure = Failure(
            step=broken.name if broken else "",
            error=type(error).__name__ if error else UNKNOWN,
            # only our own errors are known to quote no data
            message=str(error) if isinstance(error, DomainLMError) else "",
        )
    found = RunManifest(
        run_id=str(run.id),
        run_name=run.name,
        pipeline=run.pipeline.name if run.pipeline else "",
        status=status,
        started=_time(run.start_time),
        ended=_time(run.end_time) or (manifests.now() if status in ENDED else ""),
        key_id=_key_id(),
        steps=steps,
        failure=failure,
        configuration=_configuration(run, elsewhere=begun is not None or in_pod()),
    )
    if begun is not None:
        found.code, found.environment, found.hardware = begun.code, begun.environment, begun.place.hardware
        found.authors = _not_yet_known(run)
        return _with_reports(found, run, hydrated) if status in ENDED else found
    start = _as_started(run)
    if start is None:
        found.code = code_of(run)
        found.environment = environment_state() | {PROCESS: {"host": socket.gethostname(), "pid": os.getpid()}}
        found.hardware = hardware_state()
        found.authors = _not_yet_known(run)
    else:
        found.code, found.environment, found.hardware = start.code, start.environment, start.hardware
        found.authors, found.rows = start.authors, start.rows
        found.configuration |= {name: start.configuration[name] for name in ("file", "overrides")}
    if status in (COMPLETED, DECLINED, FAILED):
        edited = changed_files(found.code["files"], _code_files(run))
        found.code |= {"changed": edited, "dirty": True} if edited else {}
    return _with_reports(found, run, hydrated) if status in ENDED else found


def _with_reports(found: RunManifest, run: PipelineRunResponse, steps: dict[str, StepRunResponse]) -> RunManifest:
    """Add what the stages said, as far as the run came."""
    reports = _reports(steps, only_readable=True)
    found.sources, found.model = sources_of(reports), model_of(reports)
    found.verdicts = verdicts_of(reports, found.steps)
    if decision := decision_in(steps.get(DECIDE)):
        found.verdicts[DECISION] = decision
    found.metrics, found.intervals = metrics_of(reports)
    found.base = _base(steps)
    # the process that finds an interrupted run is not the one that ran it; a pod has neither history nor ledger
    if found.status != INTERRUPTED and not in_pod():
        entries = [
            entry
            for name in ("base_source_manifest", "source_manifest")
            for entry in getattr(reports.get(name), "sources", ())
        ]
        origins = [Origin(entry.steward, [file.uri for file in entry.files]) for entry in entries]
        found.authors = _authors(found, run, origins or [_NOT_STATED], commit_of_champion(_registered_name(steps)))
    return found


def _not_yet_known(run: PipelineRunResponse) -> Authors:
    """Whoever started it; who wrote what is looked up at the end, and stays unknown where a run was killed."""
    unknown = [NOBODY_KNOWS]
    return Authors(code=unknown, configuration=unknown, data=unknown, trained_by=as_identity(_runner(run)[0]))


def _runner(run: PipelineRunResponse) -> list[str]:
    """With a ZenML server the run says who was signed in; the store of one's own machine knows "default" only. Whoever
    collects what pods left need not be who started them: the submission says that."""
    stated = stated_of(run.config.extra)
    runner = list(stated.by) if stated and stated.by else whoever_runs(project_root())
    return [run.user.name, *runner] if run.user and run.user.name != "default" else runner


def _authors(found: RunManifest, run: PipelineRunResponse, sources: list[Origin], champion: str | None) -> Authors:
    configuration = found.configuration
    places = [place for place in (configuration["file"], configuration["parameters"].get("pack", "")) if place]
    made = authors_of(
        SOURCE_ROOT, project_root(), places, sources, champion, _runner(run), configuration["overrides"],
        found.code["commit"],
    )  # fmt: skip
    if found.code["dirty"]:
        made.code = sorted({*made.code, made.trained_by})
    return made


def _as_started(run: PipelineRunResponse) -> RunManifest | None:
    """What was taken down when the run began; None where nothing was, or an older domainlm wrote it."""
    path = manifests.manifest_folder() / f"{run.id}.json"
    found = manifests.read(path) if path.exists() else None
    return found if found is not None and "files" in found.code else None


def code_of(run: PipelineRunResponse) -> dict[str, Any]:
    """The code of this process, as a manifest states it: commit, dirty flag, lock file, and every file's digest."""
    return code_state() | {"files": _code_files(run)}


def _code_files(run: PipelineRunResponse) -> dict[str, str]:
    """SHA-256 of every file of code, of the pack and of the run configuration."""
    configuration = _configuration(run, elsewhere=in_pod())
    own = [place for place in (configuration["file"], str(configuration["parameters"].get("pack", ""))) if place]
    return file_digests(SOURCE_ROOT, ROOMS) | file_digests(project_root(), own)


def _registered_name(steps: dict[str, StepRunResponse]) -> str:
    step = steps.get(REGISTER)
    return str(step.config.parameters.get("name", "")) if step else ""


def _base(steps: dict[str, StepRunResponse]) -> dict[str, Any]:
    """The base's card, as its artifact's metadata repeat it: the weights, which may be many gigabytes, stay unread."""
    for step in steps.values():
        if versions := step.outputs.get("base"):
            card = versions[0].run_metadata
            return {name: value for name, value in card.items() if isinstance(value, str | int | float | bool)}
    return {}


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


def _configuration(run: PipelineRunResponse, elsewhere: bool) -> dict[str, Any]:
    """What the run was told.

    Args:
        elsewhere: whether another process started it, whose command line only its own statement tells.
    """
    parameters = dict(run.config.parameters or {})
    compiled = run.snapshot.step_configurations if run.snapshot else {}
    steps = {name: dict(step.config.parameters) for name, step in compiled.items()}
    stated = stated_of(run.config.extra) if elsewhere else None
    said = (stated.asked if stated else NOBODY_SAID) if elsewhere else asked()
    return {
        "parameters": parameters,
        "stack": run.stack.name if run.stack else "",
        "model": run.config.model.name if run.config.model else "",
        "file": shown(project_root(), Path(said.file)) if said.file else "",
        "overrides": said.overridden,
        "digest": digest_json({"parameters": parameters, "steps": steps}),
    }


def _inputs(step: StepRunResponse) -> dict[str, str]:
    """The digest of each input; an input that is a list has a number behind its name."""
    found = {}
    for name, versions in step.inputs.items():
        for number, version in enumerate(versions):
            found[name if len(versions) == 1 else f"{name}.{number}"] = str(version.content_hash)
    return found


def _time(moment: Any) -> str:
    """UTC, as everything in the ledger; ZenML's own times are UTC without saying so."""
    return manifests.time_of(moment) if moment else ""


def _key_id() -> str:
    try:
        return load_keys().key_id
    except SecretError:  # a run that failed for want of a key has a manifest all the same
        return ""


def verify_outputs(run_id: UUID, visit: Visit | None = None) -> int:
    """Load every output of a run's steps, so that each is compared with its digest; a cached run loads none by itself.

    Args:
        run_id: ZenML's id of the run.
        visit: is shown each of them, so that nobody need load it again.

    Returns:
        How many artifacts were checked.

    Raises:
        ArtifactError: one of them was changed after it was stored.
    """
    run = Client().get_pipeline_run(run_id, hydrate=True)
    seen: set[UUID] = set()
    for name, step in run.steps.items():
        for output, versions in step.get_hydrated_version().outputs.items():
            for version in versions:
                if version.id not in seen:
                    seen.add(version.id)
                    value = version.load()
                    if visit is not None:
                        visit(name, output, str(version.content_hash), lambda value=value: value)
    return len(seen)


def show_records(run_id: UUID, visit: Visit, most_rows: int) -> None:
    """Show the records of a run that are not too many, loaded on demand; for a run that did not come to `record`."""
    for name, step in Client().get_pipeline_run(run_id, hydrate=True).steps.items():
        for output, versions in step.get_hydrated_version().outputs.items():
            if output.endswith("_records") and int(versions[0].run_metadata.get("rows", most_rows + 1)) <= most_rows:
                visit(name, output, str(versions[0].content_hash), versions[0].load)


def reports_of(run_id: UUID) -> dict[str, Report]:
    """The reports of a run by artifact name, those of the embedded base's stages under `base_...`.

    Raises:
        ArtifactError: a report was changed after it was stored.
    """
    return _reports(_hydrated(Client().get_pipeline_run(run_id, hydrate=True)))


def _reports(steps: dict[str, StepRunResponse], only_readable: bool = False) -> dict[str, Report]:
    """As `reports_of`; without those that were changed or cannot be read, for a manifest that must be written all the
    same: it then says nothing of that stage."""
    found: dict[str, Report] = {}
    for step in steps.values():
        for name, versions in step.outputs.items():
            if versions[0].data_type.attribute.endswith(REPORT_NAMES):
                try:
                    found[f"base_{name}" if step.name.startswith("base_") else name] = versions[0].load()
                except Exception:  # a store that is away, too
                    if not only_readable:
                        raise
    return found


def _hydrated(run: PipelineRunResponse) -> dict[str, StepRunResponse]:
    """Name -> step with its inputs, outputs and metadata; each costs some 10 ms, so that nobody asks twice."""
    return {name: step.get_hydrated_version() for name, step in run.steps.items()}


def reap_interrupted() -> list[Path]:
    """Mark runs whose process is gone as interrupted, in their manifest and in ZenML's store.

    A run that was killed leaves its manifest at "running"; without this both would say so for ever.
    """
    from zenml.orchestrators import publish_utils

    reaped = []
    for path in sorted(manifests.manifest_folder().glob("*.json")):
        if not _says_running(path):
            continue
        try:
            found = manifests.read(path)
        except ArtifactError:  # it was changed: verification names it, and no run stops for it
            continue
        if found.status != RUNNING or not process_gone(found.environment):
            continue
        run = Client().get_pipeline_run(UUID(found.run_id), hydrate=True)
        for step in run.steps.values():
            if step.status == ExecutionStatus.RUNNING:
                publish_utils.publish_failed_step_run(step.id)
        manifest = manifest_of(run.id, status=INTERRUPTED)
        manifest.failure = manifest.failure or Failure(step="", error=INTERRUPTED)
        manifest.failure.error, manifest.failure.message = INTERRUPTED, "the process of this run was ended from outside"
        reaped.append(manifests.write(manifest, load_keys))
    return reaped


def _says_running(path: Path) -> bool:
    """A glance at a manifest's head, since thousands of them would take a while to read."""
    with open(path, encoding="utf-8", errors="replace") as stream:
        return f'"status": "{RUNNING}"' in stream.read(_STATUS_CHARACTERS)
