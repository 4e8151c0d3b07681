"""Notices that wait until every channel took them.

Whoever takes one pushes its next try into the future before sending, so that of several processes one sends; a process
that dies in between has it sent again, under the same id.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import sqlalchemy as sa

from domainlm.reports import Report
from domainlm.retrain.book.clock import stamp
from domainlm.retrain.book.connection import Connected
from domainlm.retrain.book.store import NOTICES, OUTBOX

KEPT_S = 7 * 86400.0  # a notice that nobody took for so long is dropped
LONGEST_PAUSE_S = 3600.0
FIRST_PAUSE_S = 30.0


class Waiting(Report):
    """A notice that waits.

    Fields:
        notice: as it was posted, JSON.
        tries: this one counted.
        sent: the channels that took it.
        since: Unix time.
    """

    key: str
    notice: dict[str, str]
    tries: int
    sent: tuple[str, ...]
    since: float


class Outbox(Connected):
    """Notices on their way."""

    def post_notice(self, key: str, notice: dict[str, str]) -> bool:
        """Put a notice in, unless one of this key ever was; whether it was put in."""

        def work(connection: sa.Connection) -> bool:
            if connection.execute(sa.select(NOTICES).where(NOTICES.c.key == key)).first() is not None:
                return False
            now = time.time()
            connection.execute(sa.insert(NOTICES).values(key=key, time=stamp(self.now())))
            connection.execute(sa.delete(OUTBOX).where(OUTBOX.c.key == key))
            connection.execute(
                sa.insert(OUTBOX).values(key=key, notice=notice, tries=0, sent=[], since=now, next_try=now)
            )
            return True

        return self._write(work)

    def take_notice(self) -> Waiting | None:
        """The longest due notice, which nobody else gets before a pause that doubles with each try; None where none is
        due. Drops those that wait too long."""

        def work(connection: sa.Connection) -> Waiting | None:
            now = time.time()
            connection.execute(sa.delete(OUTBOX).where(OUTBOX.c.since < now - KEPT_S))
            due = (OUTBOX.c.next_try <= now) | (OUTBOX.c.next_try > now + 2 * LONGEST_PAUSE_S)  # the clock was set back
            row = connection.execute(sa.select(OUTBOX).where(due).order_by(OUTBOX.c.next_try).limit(1)).one_or_none()
            if row is None:
                return None
            pause = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(row.tries, 20))
            changed = {"tries": row.tries + 1, "next_try": now + pause}
            connection.execute(sa.update(OUTBOX).where(OUTBOX.c.key == row.key).values(**changed))
            return Waiting(
                key=row.key, notice=dict(row.notice), tries=row.tries + 1, sent=tuple(row.sent), since=row.since
            )

        return self._write(work)

    def notice_sent(self, key: str, sent: tuple[str, ...], done: bool) -> None:
        """Note which channels took it; `done`: all of them, so that it leaves the outbox."""

        def work(connection: sa.Connection) -> None:
            same = OUTBOX.c.key == key
            if done:
                connection.execute(sa.delete(OUTBOX).where(same))
            else:
                connection.execute(sa.update(OUTBOX).where(same).values(sent=list(sent)))

        self._write(work)

    def notices_waiting(self) -> list[Waiting]:
        """All that wait, the oldest first; nobody is kept from taking one."""

        def work(connection: sa.Connection) -> list[Waiting]:
            rows = connection.execute(sa.select(OUTBOX).order_by(OUTBOX.c.since, OUTBOX.c.key)).all()
            return [
                Waiting(key=row.key, notice=dict(row.notice), tries=row.tries, sent=tuple(row.sent), since=row.since)
                for row in rows
            ]

        return self._read(work)

    def drop_notices(self, keys: Sequence[str]) -> None:
        """Take notices out unsent; they stay noticed."""
        if keys:
            self._write(lambda connection: connection.execute(sa.delete(OUTBOX).where(OUTBOX.c.key.in_(list(keys)))))

    def next_notice_s(self) -> float | None:
        """Seconds until a notice is due; None where none waits."""
        first = self._read(lambda connection: connection.execute(sa.select(sa.func.min(OUTBOX.c.next_try))).scalar())
        return None if first is None else max(0.0, min(first - time.time(), LONGEST_PAUSE_S))
