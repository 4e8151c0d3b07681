"""The claim of a retraining while its run is at work: no step of the run goes on without it.

On one's own machine all steps are one process, which keeps the claim from `decide` to `settle`; of pods tells
`steps.pod_claims`. However the run ends, its claim ends too, and the batches are free at once; only a process that is
killed leaves that to the lease.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext, suppress

from zenml import get_step_context, log_metadata

from domainlm.errors import DomainLMError
from domainlm.names import CLAIM
from domainlm.retrain.batches import Claim, Result
from domainlm.retrain.book import Book
from domainlm.retrain.holding import Holding
from steps import pod_claims
from steps.place import in_pod

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
    pod_claims.renew()
    return nullcontext()


def settle(book: Book, claim: Claim, result: Result) -> None:
    """The run's result counts, once; raises LeaseLost or BookRefused where it does not."""
    if _held:
        _held[0].settle(result)
    else:
        book.accept_result(claim, result)


def release(reason: str) -> None:
    """End the claim of this run, where it has not ended; `reason` names step and kind of failure, never a value."""
    if _held:
        with suppress(DomainLMError):  # the book is away: the lease ends it
            _held.pop().release(reason)
    else:
        pod_claims.release(reason)
