"""Ctrl-C and SIGTERM while a run on a cluster is followed: taken down, and asked about where there is a terminal."""

from __future__ import annotations

import signal
import sys
import time
from enum import StrEnum
from types import FrameType
from typing import Any

from rich.console import Console


class OnInterrupt(StrEnum):
    """What an interruption does to the run: end it, or leave it to itself."""

    STOP = "stop"
    LEAVE = "leave"


class Interrupts:
    """Holds SIGINT and SIGTERM back, so that no call to a server is torn apart, until somebody looks."""

    def __init__(self) -> None:
        self._pending = 0
        self._by_program = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interrupts:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def taken(self) -> bool:
        """Whether there was one since the last look."""
        pending, self._pending = self._pending, 0
        return bool(pending)

    def pause(self, seconds: float) -> None:
        """Wait, but not on after an interruption.

        Raises:
            KeyboardInterrupt: there was one.
        """
        time.sleep(seconds)
        if self.taken():
            raise KeyboardInterrupt

    def ask(self, console: Console, otherwise: OnInterrupt) -> OnInterrupt | None:
        """What to do now.

        Args:
            console: where a person is asked.
            otherwise: the answer where there is no terminal, or a program sent SIGTERM.

        Returns:
            The answer; None to go on.
        """
        if self._by_program or not (console.is_terminal and sys.stdin.isatty()):
            return otherwise
        signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            while True:
                said = console.input("[bold]s[/]top the run, [bold]l[/]eave it to itself, or [bold]c[/]ontinue? ")
                match said.strip().lower()[:1]:
                    case "s":
                        return OnInterrupt.STOP
                    case "l":
                        return OnInterrupt.LEAVE
                    case "c":
                        return None
        except (KeyboardInterrupt, EOFError):
            console.print()
            return OnInterrupt.LEAVE
        finally:
            signal.signal(signal.SIGINT, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._pending += 1
        self._by_program |= number == signal.SIGTERM
