"""The manifest of a run whose steps were pods, made where the ledger is (`domainlm.ledger.run.collecting`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from uuid import UUID

from zenml.client import Client
from zenml.models import PipelineRunResponse

from domainlm.errors import ArtifactError, DomainLMError
from domainlm.ledger.run import manifest as manifests
from domainlm.ledger.run.collecting import Finished, complete
from domainlm.ledger.run.entering import ELSEWHERE, Entered, enter, receipt_of, seen_folder
from domainlm.ledger.run.manifest import COMPLETED, DECLINED, FAILED, INTERRUPTED, Failure, RunManifest
from domainlm.ledger.seals import no_key
from domainlm.pod_facts import PodFacts
from steps.client_errors import reading
from steps.declined import declined
from steps.keys import load_keys
from steps.left_by_pods import left_of
from steps.pod_claims import release_of
from steps.rows import rows_of, with_rows
from steps.run_view import manifest_of
from steps.stacks import require_stack

Pods = Mapping[str, Sequence[PodFacts]]  # by step
_ENDED = {"completed": COMPLETED} | dict.fromkeys(("stopped", "stopping", "cancelled", "cancelling"), INTERRUPTED)


def collect(
    run_id: UUID | str, pods: Pods | None = None, failure: Failure | None = None,
    stack: str = "", only_seen: bool = False,
) -> Finished:  # fmt: skip
    """Write the manifest of a run that has ended, and enter it; one that has its entry is not touched again.

    Args:
        run_id: ZenML's id of the run.
        pods: what the cluster said of each step's pods, as far as anybody asked while they were there.
        failure: why the run failed, where whoever followed it knows, also where ZenML holds it for running.
        stack: the stack that it must have worked on; that of another is another tenant's.
        only_seen: another ledger has the run; its manifest is made to be looked at, and nothing is entered here.

    Raises:
        ArtifactError: the run is at work or of another stack, or ZenML's server or the artifact store cannot be read.
        SecretError: the key that seals are checked with is missing.
    """
    with reading(str(run_id)):
        require_stack(run := Client().get_pipeline_run(UUID(str(run_id)), hydrate=True), stack)
        return _collect(run, pods or {}, failure, only_seen)


def _collect(run: PipelineRunResponse, pods: Pods, failure: Failure | None, only_seen: bool) -> Finished:
    path = manifests.manifest_folder() / f"{run.id}.json"
    if (known := receipt_of(str(run.id))) is not None and path.exists():
        return Finished(manifests.read(path), path, known)
    if failure is None and not run.status.is_finished:
        raise ArtifactError("the run is still at work", run.name, "wait for its end, or stop it")
    left = left_of(run)
    status = DECLINED if declined(run) else _ENDED.get(run.status.value, FAILED)
    release_of(run, f"the run ended as {status}")
    # also a run that its follower had to stop has failed: what it waited for is the reason, not that it was stopped
    found = manifest_of(run.id, status=FAILED if failure else status, begun=left.first())
    found = complete(found, left, pods, failure)
    if only_seen:
        path = manifests.write(found, no_key, seen_folder())
        return Finished(found := manifests.read(path), path, Entered(run_id=found.run_id, state=ELSEWHERE))
    if not found.collected.refused:
        found = _with_every_row(found) if found.status == COMPLETED else with_rows(found)
    path = manifests.write(found, no_key if found.collected.refused else load_keys)
    return Finished(found := manifests.read(path), path, enter(found, load_keys))


def _with_every_row(found: RunManifest) -> RunManifest:
    try:
        return rows_of(found)
    except DomainLMError as error:  # changed since `record` looked
        found.collected.refused.append(f"rows: {error.what}")
        return found
