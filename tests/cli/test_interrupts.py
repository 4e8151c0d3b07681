"""Ctrl-C is noted, asked about at a terminal, and decided beforehand elsewhere."""

from __future__ import annotations

import io
import os
import pty
import signal
import sys
from collections.abc import Iterator

import pytest
from rich.console import Console

from cli.interrupts import Interrupts, OnInterrupt


def test_an_interruption_is_noted_once_and_tears_nothing_apart() -> None:
    before = signal.getsignal(signal.SIGINT)
    with Interrupts() as interrupts:
        assert not interrupts.taken()
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        assert interrupts.taken()
        assert not interrupts.taken()
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("otherwise", list(OnInterrupt))
def test_without_a_terminal_the_option_decides(otherwise: OnInterrupt) -> None:
    with Interrupts() as interrupts:
        os.kill(os.getpid(), signal.SIGTERM)
        assert interrupts.taken()
        assert interrupts.ask(Console(file=io.StringIO()), otherwise) is otherwise


def test_waiting_ends_with_an_interruption() -> None:
    with Interrupts() as interrupts:
        interrupts.pause(0)
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            interrupts.pause(0)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A terminal as standard input; the fixture's value is a person's side of it."""
    person, device = pty.openpty()
    with os.fdopen(device) as stream:
        monkeypatch.setattr(sys, "stdin", stream)
        yield person
    os.close(person)


@pytest.mark.parametrize(
    ("typed", "answer"),
    [
        ("s\n", OnInterrupt.STOP),
        ("Stop it\n", OnInterrupt.STOP),
        ("l\n", OnInterrupt.LEAVE),
        ("c\n", None),
        ("what\n\nc\n", None),
        ("\x04", OnInterrupt.LEAVE),
    ],
)
def test_a_person_is_asked_until_the_answer_is_one(terminal: int, typed: str, answer: OnInterrupt | None) -> None:
    os.write(terminal, typed.encode())
    with Interrupts() as interrupts:
        assert interrupts.ask(Console(file=io.StringIO(), force_terminal=True), OnInterrupt.STOP) is answer


def test_a_second_ctrl_c_leaves(terminal: int, monkeypatch: pytest.MonkeyPatch) -> None:
    console = Console(file=io.StringIO(), force_terminal=True)
    monkeypatch.setattr(console, "input", lambda text: os.kill(os.getpid(), signal.SIGINT) or "")
    with Interrupts() as interrupts:
        assert interrupts.ask(console, OnInterrupt.STOP) is OnInterrupt.LEAVE
        os.kill(os.getpid(), signal.SIGINT)
        assert interrupts.taken(), "the next one is noted again"


def test_a_program_that_ends_us_is_not_asked(terminal: int) -> None:
    with Interrupts() as interrupts:
        os.kill(os.getpid(), signal.SIGTERM)
        assert interrupts.taken()
        assert interrupts.ask(Console(file=io.StringIO(), force_terminal=True), OnInterrupt.STOP) is OnInterrupt.STOP
