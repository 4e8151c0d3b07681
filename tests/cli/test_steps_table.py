"""What the terminal shows of a run on a cluster."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from cli.steps_table import StepsTable, line
from domainlm.cluster.following import Row
from domainlm.cluster.reasons import Reason

GPU = Reason("Unschedulable", "no node with nvidia.com/gpu", "bring a node")
OOM = Reason("OOMKilled", "asked 4Gi")
ROWS = [
    Row("ingest", "completed", "ingest-1-abc", "node1", 0, 12.34, None),
    Row("train", "Unschedulable", "train-1-abc", "", 2, 61.0, GPU),
    Row("evaluate", "waits", "", "", 0, None, None),
]


def console(terminal: bool, height: int = 40) -> Console:
    size = {"width": 120, "height": height, "color_system": None, "_environ": {"TERM": "xterm"}}
    return Console(file=io.StringIO(), force_terminal=terminal, **size)


def test_without_a_terminal_each_change_is_a_line_and_a_reason_is_told_once() -> None:
    at = console(False)
    with StepsTable(at) as drawn:
        for _ in range(3):
            drawn.tell({"train": GPU}, {"ingest-0-xyz": ("ingest", OOM)})
            drawn.show(ROWS, [], "1 of 3 steps")
        drawn.tell({}, {"ingest-0-xyz": ("ingest", OOM)})
        drawn.show([ROWS[0], ROWS[1]._replace(state="running", node="gpu1")], [], "1 of 3 steps")
    assert at.file.getvalue().splitlines() == [
        "  ingest lost the pod ingest-0-xyz: OOMKilled: asked 4Gi",
        "  train waits: Unschedulable: no node with nvidia.com/gpu",
        "    -> bring a node",
        "  ingest                    completed                12.3 s  ingest-1-abc on node1",
        "  train                     Unschedulable                    2 restarts, train-1-abc",
        "  train                     running                          2 restarts, train-1-abc on gpu1",
    ]


def test_a_reason_that_changes_is_told_again() -> None:
    at = console(False)
    with StepsTable(at) as drawn:
        drawn.tell({"train": GPU}, {})
        drawn.tell({"train": GPU._replace(what="no node with 2 nvidia.com/gpu")}, {})
    assert at.file.getvalue().count("train waits") == 2


def test_two_words_of_kubernetes_for_one_cause_are_told_once() -> None:
    at, what = console(False), "the image r/d:9 cannot be had: the registry has no such image or tag"
    with StepsTable(at) as drawn:
        for number in range(10):
            why = Reason("ImagePullBackOff" if number % 2 else "ErrImagePull", what, pod="train-1-abc")
            drawn.tell({"train": why}, {})
            drawn.show([ROWS[1]._replace(state=why.code, reason=why)], [], "")
        drawn.tell({"train": why._replace(pod="train-1-def")}, {})
    said = at.file.getvalue().splitlines()
    assert [line.split()[:2] for line in said] == [["train", "waits:"], ["train", "ErrImagePull"], ["train", "waits:"]]


def test_a_terminal_shows_a_table_that_is_taken_away_again() -> None:
    at = console(True)
    with StepsTable(at) as drawn:
        drawn.show(ROWS, ["the ZenML server has not answered for 12 s"], "1 of 3 steps")
        shown = at.file.getvalue()
    for word in ("1 of 3 steps", "step", "restarts", "train-1-abc", "61.0", "has not answered for 12 s"):
        assert word in shown
    assert at.file.getvalue().endswith("\x1b[1A\x1b[2K\x1b[?25h") or "\x1b[2K" in at.file.getvalue()[len(shown) :]


def test_what_stood_before_a_question_is_not_taken_away_after_it() -> None:
    at = console(True)
    with StepsTable(at) as drawn:
        drawn.show(ROWS, [], "1 of 3 steps")
        drawn.pause()
        at.print("stop, leave or continue?")
        before = len(at.file.getvalue())
        drawn.go_on()
        drawn.show(ROWS, [], "1 of 3 steps")
        again = at.file.getvalue()[before:]
    assert "\x1b[1A" not in again, "no line above the question is gone up to"


@pytest.mark.parametrize(("height", "steps"), [(40, 30), (14, 6), (9, 4)])
def test_a_small_terminal_shows_what_is_at_work(height: int, steps: int) -> None:
    done = [Row(f"done{number}", "completed", "p", "n", 0, 1.0, None) for number in range(12)]
    rows = [*done, ROWS[1], *[Row(f"later{number}", "waits", "", "", 0, None, None) for number in range(17)]]
    shown = StepsTable(console(True, height))._fitting(rows)
    assert len(shown) == steps
    assert ROWS[1] in shown
    assert shown == [row for row in rows if row in shown], "in the order of the DAG"


def test_a_step_in_a_line() -> None:
    assert line(ROWS[2]) == "  evaluate                  waits"
    assert "1 restart, " in line(ROWS[0]._replace(restarts=1))
