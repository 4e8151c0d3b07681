"""The claim of a retraining while its run is at work: no step of the run goes on without it.

On one's own machine all steps are one process, which keeps the claim from `decide` to `settle`. A step of a cluster's
run is a pod: there the claim is renewed when a step begins, so that its lease must outlast the longest step. However
the run ends, its claim ends too, and the batches are free at once; only a process that is killed leaves that to the
lease.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext, suppress

from zenml import get_step_context, log_metadata
from zenml.client import Client

from domainlm.cluster.run_settings import ORCHESTRATOR
from domainlm.errors import DomainLMError
from domainlm.ledger.run.outbox import says_pod
from domainlm.names import CLAIM
from domainlm.retrain.batches import Claim, Result
from domainlm.retrain.book import Book, open_book
from domainlm.retrain.holding import Holding
from steps.place import in_pod

DEADLINE_S = 86400.0  # of a cluster's run that states none
_held: list[Holding] = []  # of this process: one, or none


def hold(book: Book, claim: Claim) -> None:
    """Bind the claim to this run, and keep it.

    Raises:
        LeaseLost: another runner was faster.
    """
    run = get_step_context().pipeline_run.id
    book.bind(claim, str(run))
    log_metadata({CLAIM: claim.model_dump(mode="json")}, run_id_name_or_prefix=run)
    if not in_pod():
        _held.append(Holding(book, claim))


def at_work() -> AbstractContextManager[None]:
    """Around a step's function; raises LeaseLost where the run's claim is lost, before it or in it."""
    if _held:
        return _held[0].at_work()
    if says_pod() and in_pod() and (claim := _claim_of_run()) is not None:
        open_book(create=False).renew(claim)
    return nullcontext()


def settle(book: Book, claim: Claim, result: Result) -> None:
    """The run's result counts, once; raises LeaseLost or BookRefused where it does not."""
    _held[0].settle(result) if _held else book.accept_result(claim, result)


def release(reason: str) -> None:
    """End the claim of this run, where it has not ended; `reason` names step and kind of failure, never a value."""
    with suppress(DomainLMError):  # the book is away: the lease ends it
        if _held:
            _held.pop().release(reason)
        elif says_pod() and in_pod() and (claim := _claim_of_run()) is not None:
            open_book(create=False).give_up(claim, reason)


def lease_of_run(asked_s: float) -> float:
    """Seconds that a claim holds without being renewed: as asked, on a cluster as long as a step may take."""
    if not in_pod():
        return asked_s
    snapshot = get_step_context().pipeline_run.snapshot
    said = snapshot.pipeline_configuration.settings.get(ORCHESTRATOR) if snapshot else None
    return max(asked_s, float(getattr(said, "active_deadline_seconds", None) or DEADLINE_S))


def _claim_of_run() -> Claim | None:
    said = Client().get_pipeline_run(get_step_context().pipeline_run.id).run_metadata.get(CLAIM)
    return Claim(**said) if said else None  # type: ignore[arg-type]
