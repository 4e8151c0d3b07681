"""Asks servers again and again in threads, so that whoever waits stays able to draw and to be interrupted.

A call to ZenML's server that is away takes half a minute of its client's own tries. In a daemon thread it holds up
nobody: neither a terminal, nor Ctrl-C, nor the end of the process.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

LONGEST_S = 15.0  # between two questions to a server that does not answer


class Answer(NamedTuple):
    """What a server said: a value, or why there is none."""

    server: str
    value: Any
    error: Exception | None


class Polling:
    """Asks each of several servers in a thread of its own.

    Args:
        ask: {server: the question}; each bounded in time.
        every_s: how long to wait between two questions; asked anew each time, since a quiet run needs fewer looks.
    """

    def __init__(self, ask: dict[str, Callable[[], Any]], every_s: Callable[[], float]) -> None:
        self._every_s, self._over = every_s, threading.Event()
        self._answers: queue.Queue[Answer] = queue.Queue()
        self._threads = [threading.Thread(target=self._poll, args=pair, daemon=True) for pair in ask.items()]

    def __enter__(self) -> Polling:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()

    def answers(self, timeout_s: float) -> list[Answer]:
        """Every answer since the last call; after the time-out none may be there."""
        found: list[Answer] = []
        try:
            found.append(self._answers.get(timeout=timeout_s))
            while True:
                found.append(self._answers.get_nowait())
        except queue.Empty:
            return found

    def _poll(self, server: str, ask: Callable[[], Any]) -> None:
        failures = 0
        while not self._over.is_set():
            try:
                answer = Answer(server, ask(), None)
                failures = 0
            except Exception as error:  # whatever it is, it is told and asked again; whoever follows sets the bound
                answer = Answer(server, None, error)
                failures += 1
            self._answers.put(answer)
            self._over.wait(pause_s(self._every_s(), failures))


def pause_s(every_s: float, failures: int) -> float:
    """How long to wait after so many failures in a row: twice as long each time, up to a bound."""
    return max(every_s, min(every_s * 2 ** min(failures, 5), LONGEST_S))
