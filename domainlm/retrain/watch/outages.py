"""Which troubles last: people are told of none that was over within a minute, and of each once a day (UTC)."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from datetime import UTC, datetime

TOLD_AFTER_S = 60.0  # a restart, a hiccup of the network: only lines of the log


class Outages:
    """Troubles by name, from when they were met first until they are over.

    Args:
        after_s: so long a trouble must last before it is told of.
        clock: seconds that never go back.
        today: the day, ISO 8601.
    """

    def __init__(
        self,
        after_s: float = TOLD_AFTER_S,
        clock: Callable[[], float] = time.monotonic,
        today: Callable[[], str] = lambda: datetime.now(UTC).date().isoformat(),
    ) -> None:
        self._after_s, self._clock, self._today = after_s, clock, today
        self._since: dict[str, tuple[float, str]] = {}  # name -> (since when, the day on which it was told)

    def met(self, name: str) -> bool:
        """It is met now; whether people are to be told."""
        now, today = self._clock(), self._today()
        since, told = self._since.get(name, (now, ""))
        due = told != today and now - since >= self._after_s
        self._since[name] = (since, today if due else told)
        return due

    def over(self, but: Collection[str] = ()) -> None:
        """All are over, but these."""
        self._since = {name: known for name, known in self._since.items() if name in but}
