"""The terminal shows a bar where there is a terminal, and a line now and then where there is none."""

from __future__ import annotations

import io

from rich.console import Console

from cli import progress as shown
from cli.progress import Progress
from domainlm.train.watch import progress
from domainlm.train.watch.progress import Advance

HALF = Advance("task", 50, 100, 83.0, 1.234, 4567.8)


def console(terminal: bool) -> Console:
    return Console(file=io.StringIO(), force_terminal=terminal, width=120, _environ={"TERM": "xterm"})


def test_a_terminal_shows_a_bar_with_the_time_that_is_left_and_takes_it_away() -> None:
    at = console(True)
    with Progress(at) as drawn:
        drawn.tell("train", "started")
        for listener in progress.listeners:
            listener(HALF)
        drawn._bars.refresh()
        text = at.file.getvalue()
        assert "train task" in text and "50/100" in text and "loss 1.23, 4,568 tokens/s, 1:23 left" in text
        drawn.tell("train", "ended")
        drawn.tell("evaluate", "started")
        drawn._bars.refresh()
        assert "evaluate ..." in at.file.getvalue().rpartition("train task")[2]
        assert "/100" not in at.file.getvalue().rpartition("evaluate ...")[2]


def test_without_a_terminal_there_is_a_line_now_and_then(monkeypatch) -> None:
    at = console(False)
    with Progress(at) as drawn:
        drawn.tell("train", "started")
        drawn.advance(HALF)
        assert at.file.getvalue() == ""  # a quick training needs no line
        monkeypatch.setattr(shown, "EVERY_S", 0.0)
        drawn.advance(HALF)
        drawn.tell("train", "ended")
    assert at.file.getvalue().splitlines()[0] == "    task: step 50 of 100, loss 1.23, 4,568 tokens/s, 1:23 left"


def test_it_listens_only_while_a_run_goes_on() -> None:
    before = list(progress.listeners)
    with Progress(console(False)) as drawn:
        assert progress.listeners == [*before, drawn.advance]
    assert progress.listeners == before


def test_lines_say_hours_and_leave_out_what_is_not_known() -> None:
    assert progress.line(Advance("", 1, 9, 3725.0, None, None)) == "step 1 of 9, 1:02:05 left"
    assert progress.line(Advance("", 9, 9, 0.0, None, None)) == "step 9 of 9"
