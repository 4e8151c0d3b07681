"""Two pipelines whose first step does not come to its end: one was declined, the other broke. ZenML loads steps by
name, so that they stand in a module of their own."""

from __future__ import annotations

from zenml import log_metadata, step

from domainlm.names import DECISION
from domainlm.retrain.batches import Decision, Reason
from pipelines.ending import EndingWell
from pipelines.hooks import around_a_run
from steps.declined import decline, told
from steps.stage import stage_step

NO = Decision(
    id="d" * 64, decided="2026-11-21T12:00:00Z", retrain=False, policy="p" * 64, barred=("cool-down",),
    reasons=(
        Reason(code="new-rows", holds=True, measured=300, threshold=200, told="300 new rows, 200 asked for"),
        Reason(code="cool-down", holds=True, measured=1, threshold=6, told="1 h since the last start, 6 asked for"),
        Reason(code="age", holds=False, told="the champion is 3 days old, 90 asked for"),
    ),
)  # fmt: skip


@stage_step("retrain", cached=False)
def say_no() -> int:
    log_metadata({DECISION: told(NO)})
    decline(NO)


@stage_step("retrain", cached=False)
def break_down() -> int:
    raise OSError("a disk")


@step(enable_cache=False)
def afterwards(number: int) -> None:
    raise AssertionError("nothing comes after a no")


def _declining() -> None:
    afterwards(say_no(id="decide"))


def _failing() -> None:
    afterwards(break_down(id="decide"))


declining = EndingWell(name="declining", entrypoint=_declining, **around_a_run)
failing = EndingWell(name="failing", entrypoint=_failing, **around_a_run)
