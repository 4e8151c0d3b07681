"""A run as OpenLineage events (openlineage.io/spec, run event 2-0-2): one parent run, a run a step, datasets by digest.

Events are made from the manifest after the run, so that what a lineage server is told is what was signed; a run that
was killed is told as well. They hold names, digests and counts, never data.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from domainlm.errors import ConfigurationError, DomainLMError
from domainlm.ledger.run.manifest import COMPLETED, DECLINED, FAILED, INTERRUPTED, RUNNING, RunManifest, StepEntry

if TYPE_CHECKING:
    from openlineage.client.event_v2 import RunEvent

NAMESPACE = "domainlm"
PRODUCER = "https://pypi.org/project/domainlm"  # OpenLineage wants a URI; it is a name, nothing is fetched
EVENT_OF = {COMPLETED: "COMPLETE", DECLINED: "COMPLETE", FAILED: "FAIL", INTERRUPTED: "ABORT", RUNNING: "RUNNING"}


class LineageUnsent(DomainLMError):
    """The lineage server or file did not take an event."""


def events(manifest: RunManifest) -> list[RunEvent]:
    """START and an end event of the run and of each of its steps that began, in order.

    OpenLineage knows no cached steps: the job of one that the cache served says so in `jobType.jobType`, "CACHED_STEP".
    """
    from openlineage.client.event_v2 import Job, Run, RunEvent, RunState
    from openlineage.client.generated import (
        error_message_run,
        job_type_job,
        parent_run,
        processing_engine_run,
        source_code_location_job,
    )

    start, end = manifest.started or manifest.ended, manifest.ended or manifest.started
    parent = parent_run.ParentRunFacet(
        run=parent_run.Run(runId=manifest.run_id), job=parent_run.Job(namespace=NAMESPACE, name=manifest.pipeline)
    )
    engine = processing_engine_run.ProcessingEngineRunFacet(
        version=str(manifest.environment.get("packages", {}).get("zenml", "")), name="ZenML"
    )
    code = (
        {
            "sourceCodeLocation": source_code_location_job.SourceCodeLocationJobFacet(
                type="git", url="", version=str(manifest.code["commit"])
            )
        }
        if manifest.code.get("commit")
        else {}
    )

    def pair(
        job: Job,
        run_id: str,
        facets: dict[str, Any],
        times: tuple[str, str],
        state: str,
        ends: dict[str, Any],
        **data: Any,
    ) -> Iterable[RunEvent]:
        yield RunEvent(
            eventTime=times[0], run=Run(run_id, facets), job=job, eventType=RunState.START, producer=PRODUCER,
            inputs=data.get("inputs", []), outputs=[],
        )  # fmt: skip
        yield RunEvent(
            eventTime=times[1], run=Run(run_id, facets | ends), job=job, eventType=RunState[state], producer=PRODUCER,
            inputs=data.get("inputs", []), outputs=data.get("outputs", []),
        )  # fmt: skip

    def kind(name: str) -> dict[str, Any]:
        return {
            "jobType": job_type_job.JobTypeJobFacet(processingType="BATCH", integration="ZENML", jobType=name)
        } | code

    failure = {}
    if manifest.failure:
        said = f"{manifest.failure.error} in step {manifest.failure.step or '(before any)'}"
        failure = {"errorMessage": error_message_run.ErrorMessageRunFacet(message=said, programmingLanguage="python")}
    whole = Job(NAMESPACE, manifest.pipeline, kind("PIPELINE"))
    whole_facets = {"processing_engine": engine}
    first, last = pair(
        whole,
        manifest.run_id,
        whole_facets,
        (start, end),
        EVENT_OF[manifest.status],
        failure,
        inputs=_sources(manifest),
    )
    found = [first]
    for step in manifest.steps:
        if not step.started and not step.cached:
            continue
        job = Job(NAMESPACE, f"{manifest.pipeline}.{step.name}", kind("CACHED_STEP" if step.cached else "STEP"))
        times = (step.started or start, step.ended or end)
        reason = failure if manifest.failure and manifest.failure.step == step.name else {}
        found += pair(
            job, step_run_id(manifest, step), {"parent": parent}, times, EVENT_OF.get(step.status, "OTHER"), reason,
            inputs=_datasets(step.inputs, manifest, step, True), outputs=_datasets(step.outputs, manifest, step, False),
        )  # fmt: skip
    return [*found, last]


def step_run_id(manifest: RunManifest, step: StepEntry) -> str:
    """A UUID of the step's run, the same each time (RFC 9562, version 5)."""
    return str(uuid.uuid5(uuid.UUID(manifest.run_id), step.name))


def emit(manifest: RunManifest, url: str) -> int:
    """Send a run's events, in order.

    Args:
        url: "file:///var/lineage/events.jsonl" (appended to), or "https://host" of a server with OpenLineage's API.

    Returns:
        How many were sent.

    Raises:
        ConfigurationError: the URL is of neither kind.
        LineageUnsent: the file or server did not take one.
    """
    from openlineage.client import OpenLineageClient
    from openlineage.client.transport.file import FileConfig, FileTransport
    from openlineage.client.transport.http import HttpConfig, HttpTransport

    if url.startswith("file://"):
        transport: Any = FileTransport(FileConfig(log_file_path=url.removeprefix("file://"), append=True))
    elif url.startswith(("http://", "https://")):
        transport = HttpTransport(HttpConfig.from_dict({"url": url, "timeout": 10, "retry": {"total": 2}}))
    else:
        raise ConfigurationError(
            "is neither a file:// nor an http(s):// URL", "audit.openlineage", "name one of the two"
        )
    client = OpenLineageClient(transport=transport)
    made = events(manifest)
    for number, event in enumerate(made):
        try:
            client.emit(event)
        except Exception as error:
            raise LineageUnsent(
                f"{number} of {len(made)} lineage events of run {manifest.run_id} were sent: {type(error).__name__}",
                "audit.openlineage", "see to the server, then `domainlm audit export RUN --as openlineage --send URL`",
            ) from error  # fmt: skip
    return len(made)


def _sources(manifest: RunManifest) -> list[Any]:
    from openlineage.client.event_v2 import InputDataset
    from openlineage.client.generated import dataset_version_dataset, documentation_dataset

    found = []
    for source in manifest.sources:
        terms = (
            f"licence {source.licence}; consent {source.consent}; purpose {source.purpose}; "
            f"jurisdiction {source.jurisdiction}; handling {source.handling}; {source.rows} rows"
        )
        for name, digest in sorted(source.files.items()):
            facets = {
                "version": dataset_version_dataset.DatasetVersionDatasetFacet(datasetVersion=digest),
                "documentation": documentation_dataset.DocumentationDatasetFacet(description=terms),
            }
            found.append(InputDataset(NAMESPACE, f"source/{source.name}/{name}", facets=facets))
    return found


def _datasets(artifacts: dict[str, str], manifest: RunManifest, step: StepEntry, reading: bool) -> list[Any]:
    """Artifacts as datasets, each named by the step that made it, so that inputs meet outputs whatever their name."""
    from openlineage.client.event_v2 import InputDataset, OutputDataset
    from openlineage.client.generated import dataset_version_dataset

    makers = {digest: f"{made.name}/{name}" for made in manifest.steps for name, digest in made.outputs.items()}
    found = []
    for name, digest in sorted(artifacts.items()):
        facets = {"version": dataset_version_dataset.DatasetVersionDatasetFacet(datasetVersion=digest)}
        kind = InputDataset if reading else OutputDataset
        own = f"{step.name}/{name}"
        found.append(kind(NAMESPACE, f"artifact/{makers.get(digest, own) if reading else own}", facets=facets))
    return found
