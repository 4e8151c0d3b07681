"""What happens around a run: its manifest exists from the start, and a failed or stopped run leaves one too, each of
which ends in the ledger.

ZenML calls the same hooks where every step is a pod, but there it calls `on_cleanup` after each step. A pod has neither
ledger nor a disk that lasts: it tells what it knows to the outbox, and `steps.collected` makes the manifest of it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from uuid import UUID

from zenml import get_step_context
from zenml.client import Client
from zenml.enums import ExecutionMode
from zenml.logger import get_logger

from domainlm.audit.standards.sending import send_waiting
from domainlm.errors import DomainLMError, EvidenceRefused, SecretError
from domainlm.ledger.run import manifest as manifests
from domainlm.ledger.run.entering import Entered, enter, enter_waiting, receipt_of
from domainlm.ledger.run.manifest import COMPLETED, DECLINED, FAILED, RUNNING, UNKNOWN
from steps.claims import release
from steps.declined import Declined
from steps.keys import load_keys
from steps.outbox import tell_begun, tell_failed
from steps.place import in_pod
from steps.rows import with_rows
from steps.run_view import manifest_of, reap_interrupted

started: list[UUID] = []  # the runs of this process
listeners: list[Callable[[str, str], None]] = []  # told (step, "started" | "ended"); the command line shows progress
# Set by the command line, which knows more of a failure than a hook does and enters the run when it has said it.
completed_later = False


def on_start() -> None:
    """Before each step that really runs: the first one writes the manifest, so that even a killed run has one."""
    if in_pod():
        return tell_begun()
    context = get_step_context()
    first = context.pipeline_run.id not in started
    if first:
        started.append(context.pipeline_run.id)
    if not (manifests.manifest_folder() / f"{context.pipeline_run.id}.json").exists():
        manifests.write(manifest_of(context.pipeline_run.id, status=RUNNING), load_keys)
    if first and not completed_later:
        with suppress(DomainLMError, OSError):  # what waits goes on waiting: this run must not end for it
            catch_up()
    _tell(context.step_run.name, "started")


def on_end() -> None:
    """After each step that ran, however it ended."""
    _tell(get_step_context().step_run.name, "ended")


def on_failure(error: BaseException) -> None:
    """A step raised: the manifest names step and cause; or says that nothing was to be trained."""
    declined = isinstance(error, Declined)
    release(f"step {get_step_context().step_run.name} failed: {type(error).__name__}")
    if in_pod():
        return None if declined else tell_failed(error)
    if declined:
        manifests.write(manifest_of(get_step_context().pipeline_run.id, status=DECLINED), load_keys)
        return None
    manifests.write(manifest_of(get_step_context().pipeline_run.id, status=FAILED, error=error), load_keys)


def on_cleanup() -> None:
    """Once when the run is over, also where no step could report: what is not complete by now has failed."""
    if in_pod():
        return
    release("the run is over")
    stack = Client().active_stack
    runs = (
        Client()
        .list_pipeline_runs(orchestrator_run_id=stack.orchestrator.get_orchestrator_run_id(), hydrate=True)
        .items
    )
    for run in runs:
        path = manifests.manifest_folder() / f"{run.id}.json"
        if not path.exists() or manifests.read(path).status == RUNNING:
            found = manifest_of(run.id)
            if found.status not in (COMPLETED, DECLINED):
                found = manifest_of(run.id, status=FAILED)
            manifests.write(found, load_keys)
        if not (found := manifests.read(path)).rows:
            with suppress(EvidenceRefused, SecretError):  # what this project did not write is not sealed anew: it waits
                manifests.check_seal(found, load_keys)
                manifests.write(with_rows(found), load_keys)
        if not completed_later:
            enter(manifests.read(path), load_keys)
    if not completed_later and (why := send_waiting()):
        get_logger(__name__).warning("lineage events wait for the next run: %s", why)


def explain(error: BaseException) -> str:
    """Complete the manifest of a run that failed outside its steps' code, such as while an input was loaded.

    Returns:
        The step that failed; empty where the run had not begun.
    """
    if not started:
        return ""
    release(f"the run ended: {type(error).__name__}")
    found = manifests.read(manifests.manifest_folder() / f"{started[-1]}.json")
    if (found.failure is None or found.failure.error == UNKNOWN) and receipt_of(found.run_id) is None:
        found = manifest_of(started[-1], status=FAILED, error=error)
        manifests.write(found, load_keys)
    return found.failure.step if found.failure else ""


def catch_up() -> tuple[list[Path], list[Entered]]:
    """Mark runs whose process is gone, and enter what waits: killed runs, and what ended while the ledger was down.

    Returns:
        The manifests of the runs that were found ended from outside, and what became of each that waited.
    """
    return reap_interrupted(), enter_waiting(load_keys)


def _tell(step: str, event: str) -> None:
    for listener in listeners:
        try:
            listener(step, event)
        except Exception:  # a broken display must not end a run
            get_logger(__name__).debug("a progress listener failed", exc_info=True)


# What every pipeline is made with. Fail fast hands on the exception itself, so that a person reads its message.
around_a_run = {
    "on_start": on_start,
    "on_end": on_end,
    "on_failure": on_failure,
    "on_cleanup": on_cleanup,
    "execution_mode": ExecutionMode.FAIL_FAST,
}
