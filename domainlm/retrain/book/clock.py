"""The clock that leases are counted by: one that all runners of a book share.

PostgreSQL: the server's, whatever a runner's own clock says. SQLite, whose runners share one machine: the time since
that machine was started (CLOCK_BOOTTIME), which nobody sets and which runs on while the machine sleeps; the start has a
name, so that no lease outlives it. Where a system has neither, its wall clock.

A server's clock may be set, and a wall clock too. Forward: leases run out early, and a runner that lives may lose its
claim: work done twice, accepted once. Backward: a lease would seem to hold for as long as the jump was; so one that was
renewed later than now holds no more. Neither makes two results of one batch, which the fencing token decides.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy as sa

SKEW_S = 2.0  # a clock that is corrected by so little was not set back
_BOOT = Path("/proc/sys/kernel/random/boot_id")
_SERVER_NOW = sa.select(sa.extract("epoch", sa.func.clock_timestamp()))


class Clock:
    """Tells a book's time.

    Args:
        name: of what is counted by; leases counted by another clock are over.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    @classmethod
    def of(cls, dialect: str) -> Clock:
        """The clock of a database."""
        if dialect == "postgresql":
            return cls("server")
        started = boot_id() if hasattr(time, "CLOCK_BOOTTIME") else ""
        return cls(f"since {started}" if started else "")

    def now(self, connection: sa.Connection) -> float:
        """Seconds; asked inside the transaction that decides by it, after its lock is there."""
        if self.name == "server":
            return float(connection.execute(_SERVER_NOW).scalar_one())
        return time.clock_gettime(time.CLOCK_BOOTTIME) if self.name else time.time()

    def holds(self, clock: str, renewed: float, lease_s: float, now: float) -> bool:
        """Whether a lease still runs."""
        return clock == self.name and -SKEW_S <= now - renewed < lease_s


def boot_id() -> str:
    """The name of this machine's present start; empty where a system gives none."""
    try:
        return _BOOT.read_text(encoding="ascii").strip()
    except OSError:
        return ""


def stamp(unix_s: float) -> str:
    """ISO 8601 UTC, for people."""
    return datetime.fromtimestamp(unix_s, UTC).isoformat(timespec="milliseconds")
