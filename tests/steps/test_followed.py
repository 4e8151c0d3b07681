"""What ZenML's store says of a run that is followed, and how one ends that nobody works for any more."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from zenml import get_step_context, pipeline, step

from domainlm.cluster.following import RunState
from domainlm.errors import ArtifactError, ConfigurationError, SourceError
from steps.followed import find_run

NAME = "Kim Min-jun"
said: list[RunState] = []


@step(enable_cache=False)
def first() -> int:
    """Ends well."""
    return 1


@step(enable_cache=False)
def close_itself(count: int, status: str) -> None:
    """Stands for a step whose pod is gone, at the time at which the run is closed."""
    run = find_run(str(get_step_context().pipeline_run.id))
    said.append(run.state())
    run.close(status, "train: OOMKilled")
    said.append(run.state())
    run.close(status, "again")
    said.append(run.state())


@step(enable_cache=False)
def never(count: int) -> None:
    """Is never reached."""


@step(enable_cache=False)
def break_down(own: bool) -> None:
    """Fails."""
    raise SourceError("is empty", "glossary.csv") if own else KeyError(NAME)


@pipeline(enable_cache=False)
def closed(status: str) -> None:
    """Is closed while its second step runs."""
    count = first()
    close_itself(count, status)
    never(count, after="close_itself")


@pipeline(enable_cache=False)
def broken(own: bool) -> None:
    """Fails in its only step."""
    break_down(own)


@pytest.mark.parametrize("status", ["stopped", "failed"])
def test_a_run_is_closed_with_its_unfinished_steps(stores: Path, status: str) -> None:
    said.clear()
    with suppress(Exception):  # the step is at work still, which ZenML takes amiss
        closed.with_options(run_name=f"closed-{status}")(status)
    before, after, again = said
    assert before.order == ("first", "close_itself", "never")
    assert (before.status, before.steps["close_itself"].status) == ("running", "running")
    assert (after.status, after.steps["close_itself"].status) == (status, "stopped")
    assert after.steps["first"].status == "completed", "what is complete stays so"
    assert after.steps["first"].started < after.steps["first"].ended
    assert again == after, "a run that has ended is left as it is"


@pytest.mark.parametrize(
    ("own", "error"),
    [
        (True, "domainlm.errors.SourceError: glossary.csv: is empty"),
        (False, "builtins.KeyError: its message is withheld, since it may quote data"),
    ],
)
def test_a_failed_step_says_what_may_be_said(stores: Path, own: bool, error: str) -> None:
    with suppress(Exception):
        broken.with_options(run_name=f"broken-{own}")(own)
    found = find_run(f"broken-{own}").state()
    assert found.status == "failed"
    assert found.steps["break_down"].error == error
    assert "test_followed.py" in found.steps["break_down"].trace
    assert NAME not in str(found)
    with pytest.raises(ArtifactError, match="not on 'bank-b'"):
        find_run(f"broken-{own}", "bank-b")


def test_a_run_that_is_none_is_said(stores: Path) -> None:
    with pytest.raises(ConfigurationError, match="no run 'nothing'"):
        find_run("nothing")
