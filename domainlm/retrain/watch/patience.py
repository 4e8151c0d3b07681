"""How long work that failed is left alone, so that nothing that fails again and again becomes a hot loop."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

KEPT = 300  # works that are remembered


class Facts(Protocol):
    """Where small facts outlive a process: the book."""

    def value(self, name: str) -> str:
        """What was set; empty where nothing was."""

    def set_value(self, name: str, value: str) -> None:
        """Keep it."""


class Patience:
    """How long work that failed is left alone: longer after each failure, and across restarts of the watcher.

    Kept in the book as wall-clock times; one that lies further ahead than the longest pause is that of a clock that
    jumped, and counts for nothing.

    Args:
        facts: the book.
        name: of the kind of work.
        first_s: pause after the first failure; doubles with each.
        longest_s: no pause is longer.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        facts: Facts,
        name: str,
        first_s: float = 30.0,
        longest_s: float = 6 * 3600.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._facts, self._name, self._clock = facts, name, clock
        self._first_s, self._longest_s = first_s, longest_s
        self._known: dict[str, tuple[int, float]] | None = None

    def held_s(self, key: str) -> float:
        """Seconds for which this work is still left alone; 0 where it may begin."""
        times, until = self._read().get(key, (0, 0.0))
        left = until - self._clock()
        return left if times and 0 < left <= self._longest_s * 1.25 else 0.0

    def failed(self, *keys: str) -> int:
        """These failed once more; how often by now, of that which failed most."""
        known = self._read()
        for key in keys:
            times = known.get(key, (0, 0.0))[0] + 1
            pause = min(self._longest_s, self._first_s * 2 ** min(times - 1, 30))
            known[key] = (times, self._clock() + pause)
        self._write()
        return max(known.get(key, (0, 0.0))[0] for key in keys)

    def succeeded(self, *keys: str) -> None:
        """It went well: what was is forgotten."""
        if [key for key in keys if self._read().pop(key, None) is not None]:
            self._write()

    def _read(self) -> dict[str, tuple[int, float]]:
        if self._known is None:
            try:
                said: Mapping[str, Sequence[float]] = json.loads(self._facts.value(self._place) or "{}")
                self._known = {str(key): (int(times), float(until)) for key, (times, until) in said.items()}
            except (ValueError, TypeError, AttributeError):
                self._known = {}
        return self._known

    def _write(self) -> None:
        known = self._read()
        oldest_first = sorted(known, key=lambda key: known[key][1])
        for key in oldest_first[:-KEPT]:  # of work that is long over
            del known[key]
        self._facts.set_value(self._place, json.dumps(known, sort_keys=True))

    @property
    def _place(self) -> str:
        return f"watch/failures/{self._name}"
