"""The manifest of a run whose steps were pods, made where the ledger is (`domainlm.ledger.run.collecting`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from uuid import UUID

from zenml.artifacts.utils import load_artifact_store
from zenml.client import Client
from zenml.enums import ExecutionStatus, StackComponentType
from zenml.models import PipelineRunResponse

from domainlm.errors import ArtifactError, DomainLMError
from domainlm.ledger.run import manifest as manifests
from domainlm.ledger.run.collecting import Finished, Left, complete, of_a_run_that_is_gone
from domainlm.ledger.run.entering import enter, receipt_of
from domainlm.ledger.run.manifest import COMPLETED, FAILED, INTERRUPTED, Failure, RunManifest
from domainlm.ledger.run.outbox import Outbox
from domainlm.ledger.seals import no_key
from domainlm.names import RECORD
from domainlm.pod_facts import PodFacts
from steps.keys import load_keys
from steps.rows import rows_of, with_rows
from steps.run_view import manifest_of
from steps.store_files import StoreFiles, reading

_ENDED = {"completed": COMPLETED} | dict.fromkeys(("stopped", "stopping", "cancelled", "cancelling"), INTERRUPTED)


def collect(
    run_id: UUID | str,
    pods: Mapping[str, Sequence[PodFacts]] | None = None,
    failure: Failure | None = None,
    stack: str = "",
) -> Finished:
    """Write the manifest of a run that has ended, and enter it; a run that has its entry is not touched again.

    Args:
        run_id: ZenML's id of the run.
        pods: what the cluster said of each step's pods, as far as anybody asked while they were there.
        failure: why the run failed, where whoever followed it knows, also where ZenML holds it for running.
        stack: the stack that it must have worked on; that of another is another tenant's.

    Raises:
        ArtifactError: the run is still at work or of another stack, or ZenML's server or the run's artifact store
            cannot be read.
        SecretError: the key that seals are checked with is missing.
    """
    with reading(str(run_id)):
        run = Client().get_pipeline_run(UUID(str(run_id)), hydrate=True)
        require_stack(run, stack)
        return _collect(run, pods or {}, failure)


def gone(run_id: str, store: StoreFiles) -> Finished | None:
    """Write the manifest of a run that ZenML's server does not know any more, for a person to look at; None where its
    outbox has nothing that this project sealed.

    Raises:
        ArtifactError: the store cannot be read.
        SecretError: the key that seals are checked with is missing.
    """
    with reading(run_id):
        found = of_a_run_that_is_gone(run_id, Outbox(store, run_id, load_keys), load_keys)
        if found is None:
            return None
        path = manifests.write(found, no_key)
        return Finished(found := manifests.read(path), path, enter(found, load_keys))


def require_stack(run: PipelineRunResponse, stack: str) -> None:
    """Whether a run worked on the stack whose evidence is collected.

    Args:
        run: as ZenML's server has it.
        stack: the stack's name; "" asks only that there is one.

    Raises:
        ArtifactError: it did not, or its stack was deleted.
    """
    if run.stack is None:
        raise ArtifactError(
            "the run's stack was deleted from ZenML's server, which cannot say any more where its evidence lies",
            run.name, "look in the store's evidence-outbox, and who deleted the stack",
        )  # fmt: skip
    if stack and run.stack.name != stack:
        raise ArtifactError(
            f"the run worked on the stack '{run.stack.name}', not on '{stack}'", run.name, "name its own stack file"
        )


def _collect(run: PipelineRunResponse, pods: Mapping[str, Sequence[PodFacts]], failure: Failure | None) -> Finished:
    path = manifests.manifest_folder() / f"{run.id}.json"
    if (known := receipt_of(str(run.id))) is not None and path.exists():
        return Finished(manifests.read(path), path, known)
    if failure is None and not run.status.is_finished:
        raise ArtifactError("the run is still at work", run.name, "wait for its end, or stop it")
    left = _left(run)
    status = _ENDED.get(run.status.value, FAILED)
    # also a run that its follower had to stop has failed: what it waited for is the reason, not that it was stopped
    found = manifest_of(run.id, status=FAILED if failure else status, begun=left.first())
    found = complete(found, left, pods, failure)
    if not found.collected.refused:
        found = _with_every_row(found) if found.status == COMPLETED else with_rows(found)
    path = manifests.write(found, no_key if found.collected.refused else load_keys)
    return Finished(found := manifests.read(path), path, enter(found, load_keys))


def _left(run: PipelineRunResponse) -> Left:
    tried = {name: step.version for name, step in run.steps.items() if step.status != ExecutionStatus.CACHED}
    recorded = RECORD in run.steps and run.steps[RECORD].status == ExecutionStatus.COMPLETED
    store = load_artifact_store(run.stack.components[StackComponentType.ARTIFACT_STORE][0].id)
    return Left(tried, recorded, run.config.extra, Outbox(StoreFiles(store), str(run.id), load_keys), load_keys)


def _with_every_row(found: RunManifest) -> RunManifest:
    try:
        return rows_of(found)
    except DomainLMError as error:  # changed since `record` looked
        found.collected.refused.append(f"rows: {error.what}")
        return found
