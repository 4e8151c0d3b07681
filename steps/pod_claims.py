"""The claim of a retraining whose steps are pods: each that may know the book renews it when it begins.

Few may: a database is nothing that a training should reach. So the lease is the run's deadline, and where a step fails
that cannot reach the book, whoever follows or collects the run ends its claim.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from zenml import get_step_context
from zenml.client import Client
from zenml.models import PipelineRunResponse

from domainlm.errors import DomainLMError
from domainlm.ledger.run.outbox import says_pod
from domainlm.names import CLAIM
from domainlm.retrain.batches import Claim
from domainlm.retrain.book import open_book
from domainlm.retrain.book.book import FILE_VARIABLE, URL_VARIABLE
from steps.place import in_pod

DEADLINE_S = 86400.0  # of a run that states none


def renew() -> None:
    """In a pod that may know the book: the step begins; raises LeaseLost where the claim is another's by now."""
    if says_pod() and _states_book() and in_pod() and (claim := _claim_of(_run())) is not None:
        open_book(create=False).renew(claim)


def release(reason: str) -> None:
    """In such a pod: the run failed."""
    if says_pod() and in_pod():
        release_of(_run(), reason)


def release_of(run: PipelineRunResponse, reason: str) -> None:
    """End the claim of a run that has ended; nothing where it has none, or where no book is stated here.

    Args:
        reason: names step and kind of failure, never a value.
    """
    with suppress(DomainLMError):  # the book is away: the lease ends it
        if _states_book() and (claim := _claim_of(run)) is not None:
            open_book(create=False).give_up(claim, reason)


def lease_of_run(asked_s: float) -> float:
    """Seconds that a claim holds without being renewed: as asked, in pods as long as the run may take."""
    if not in_pod():
        return asked_s
    orchestrator = Client().active_stack.orchestrator  # knows under which key ZenML keeps what the run was told
    said = orchestrator.get_settings(_run()) if orchestrator.settings_class else None
    return max(asked_s, float(getattr(said, "active_deadline_seconds", None) or DEADLINE_S))


def _run() -> PipelineRunResponse:
    return Client().get_pipeline_run(get_step_context().pipeline_run.id, hydrate=True)


def _states_book() -> bool:
    named = os.environ.get(FILE_VARIABLE, "")
    return bool(os.environ.get(URL_VARIABLE)) or (bool(named) and Path(named).exists())


def _claim_of(run: PipelineRunResponse) -> Claim | None:
    said = run.run_metadata.get(CLAIM)
    return Claim(**said) if said else None  # type: ignore[arg-type]
