"""Pipelines whose first step takes a claim: one goes on to its end, one fails, one loses the claim at work. ZenML loads
steps by name, so that they stand in a module of their own."""

from __future__ import annotations

import threading
import time

from domainlm.errors import TrainingError
from domainlm.retrain.batches import Claim
from domainlm.retrain.book import open_book
from pipelines.ending import EndingWell
from pipelines.hooks import around_a_run
from steps.claims import hold
from steps.stage import stage_step

LANE = "domainlm-finance"
LEASE_S = 0.9


@stage_step("retrain", cached=False)
def take() -> Claim:
    book = open_book()
    claim = book.claim(LANE, "the run", LEASE_S)
    hold(book, claim)
    return claim


@stage_step("retrain", cached=False)
def works(claim: Claim) -> None:
    time.sleep(2 * LEASE_S)
    if open_book().claim(LANE, "another", 60) is not None:
        raise AssertionError("the claim did not hold")


@stage_step("retrain", cached=False)
def fails(claim: Claim) -> None:
    raise TrainingError("it cannot be trained", "here", "mend it")


@stage_step("retrain", cached=False)
def loses(claim: Claim) -> None:
    threading.Timer(0.2, lambda: open_book().give_up(claim, "taken over by claim 2")).start()
    for _ in range(600):
        time.sleep(0.1)
    raise AssertionError("it worked on for a minute without a claim")


@stage_step("retrain", cached=False)
def never(claim: Claim) -> None:
    raise AssertionError("no step begins without a claim")


def _working() -> None:
    works(take())


def _failing() -> None:
    fails(take())


def _losing() -> None:
    claim = take()
    never(claim, after=loses(claim))


working = EndingWell(name="working", entrypoint=_working, **around_a_run)
failing = EndingWell(name="failing_with_a_claim", entrypoint=_failing, **around_a_run)
losing = EndingWell(name="losing", entrypoint=_losing, **around_a_run)
