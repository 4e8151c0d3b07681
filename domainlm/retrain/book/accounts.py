"""What came of claims: results, starts, hours."""

from __future__ import annotations

from datetime import UTC, datetime

import sqlalchemy as sa

from domainlm.retrain.batches import PROMOTED, TRAINED, Claim
from domainlm.retrain.book.clock import stamp
from domainlm.retrain.book.connection import Connected
from domainlm.retrain.book.rows import AcceptedResult, Start
from domainlm.retrain.book.store import BATCHES, CLAIMED, CLAIMS, HOLDS, PROMOTIONS, RESULT_BATCHES, RESULTS

HELD, TAKEN, GIVEN_UP, LOST = "held", "accepted", "given up", "lost"  # states of a claim


class Accounts(Connected):
    """Claims and results, read."""

    def settled(self, claim: Claim) -> bool:
        """Whether a result of the claim was accepted."""
        return self._read(
            lambda connection: (
                connection.execute(sa.select(RESULTS.c.token).where(RESULTS.c.token == claim.token)).first() is not None
            )
        )

    def claim_of(self, token: int) -> Claim | None:
        """The claim with a token, whatever became of it."""
        return self._read(lambda connection: self._claim_of(connection, token))

    def results(self, lane: str) -> list[AcceptedResult]:
        """Accepted results of a lane, the first first."""

        def work(connection: sa.Connection) -> list[AcceptedResult]:
            batches: dict[int, list[str]] = {}
            for token, batch in connection.execute(
                sa.select(RESULT_BATCHES.c.token, RESULT_BATCHES.c.batch)
                .join(RESULTS, RESULTS.c.token == RESULT_BATCHES.c.token)
                .join(BATCHES, BATCHES.c.id == RESULT_BATCHES.c.batch)
                .where(RESULTS.c.lane == lane)
                .order_by(BATCHES.c.number)
            ):
                batches.setdefault(token, []).append(batch)
            rows = connection.execute(
                sa.select(RESULTS, sa.func.coalesce(PROMOTIONS.c.promoted_at, "").label("promoted_at"))
                .outerjoin(PROMOTIONS, PROMOTIONS.c.identity == RESULTS.c.identity)
                .where(RESULTS.c.lane == lane)
                .order_by(RESULTS.c.token)
            ).mappings()
            return [AcceptedResult(**row, batches=tuple(batches.get(row["token"], ()))) for row in rows]

        return self._read(work)

    def claims(self, lane: str | None = None, limit: int | None = None) -> list[Start]:
        """Claims and what became of them, the newest first."""
        return self._starts(sa.true() if lane is None else CLAIMS.c.lane == lane, limit)

    def _starts(self, wanted: sa.ColumnElement[bool], limit: int | None = None) -> list[Start]:
        def work(connection: sa.Connection) -> list[Start]:
            now = self.clock.now(connection)
            held = sa.select(sa.func.count()).where(CLAIMED.c.token == CLAIMS.c.token).scalar_subquery()
            rows = connection.execute(
                sa.select(CLAIMS, held.label("batches")).where(wanted).order_by(CLAIMS.c.token.desc()).limit(limit)
            )
            return [
                Start(
                    token=row.token, lane=row.lane, owner=row.owner, batches=row.batches, starts=row.starts,
                    state=row.state, alive=row.state == HELD and self._alive(row, now), run_id=row.run_id,
                    began=stamp(row.began), seen=stamp(row.seen), why=row.why,
                )
                for row in rows
            ]  # fmt: skip

        return self._read(work)

    def busy(self, lane: str) -> bool:
        """Whether a claim lives in the lane."""
        return any(start.lane == lane for start in self.living())

    def living(self) -> list[Start]:
        """Claims that live, of every lane, the newest first."""
        return [start for start in self._starts(CLAIMS.c.state == HELD) if start.alive]

    def last_start(self, lane: str) -> str:
        """When the newest claim of a lane was made, ISO 8601 UTC; empty where there was none."""
        began = self._read(
            lambda connection: connection.execute(
                sa.select(CLAIMS.c.began).where(CLAIMS.c.lane == lane).order_by(CLAIMS.c.token.desc()).limit(1)
            ).scalar()
        )
        return "" if began is None else stamp(began)

    def hours_used(self, lane: str, month: str) -> float:
        """Hours in which claims of a lane were held and renewed, within a calendar month (UTC).

        Args:
            month: "2026-11".
        """
        start = datetime.strptime(month, "%Y-%m").replace(tzinfo=UTC)
        end = start.replace(year=start.year + start.month // 12, month=start.month % 12 + 1)
        rows = self._read(
            lambda connection: connection.execute(
                sa.select(CLAIMS.c.began, CLAIMS.c.seen).where(
                    (CLAIMS.c.lane == lane) & (CLAIMS.c.seen > start.timestamp()) & (CLAIMS.c.began < end.timestamp())
                )
            ).all()
        )
        spans = (min(row.seen, end.timestamp()) - max(row.began, start.timestamp()) for row in rows)
        return sum(max(0.0, span) for span in spans) / 3600

    def starts(self) -> dict[str, int]:
        """How often batches were started and settled.

        Returns:
            batches: how many are in the book; trained_once: those with an accepted result (the database allows one);
            duplicate_starts: claims on a batch beyond its first; lost: batches whose state and results contradict
            each other, or that are held by a claim that ended.
        """

        def work(connection: sa.Connection) -> dict[str, int]:
            def count(table: sa.FromClause, *wanted: sa.ColumnElement[bool]) -> int:
                return connection.execute(sa.select(sa.func.count()).select_from(table).where(*wanted)).scalar_one()

            settled = BATCHES.c.id.in_(sa.select(RESULT_BATCHES.c.batch))
            after = BATCHES.c.state.in_([TRAINED, PROMOTED])
            first = connection.execute(sa.select(sa.func.count(sa.distinct(CLAIMED.c.batch)))).scalar_one()
            return {
                "batches": count(BATCHES),
                "trained_once": count(RESULT_BATCHES),
                "duplicate_starts": count(CLAIMED) - first,
                "lost": count(BATCHES, settled != after)
                + count(HOLDS.join(CLAIMS, CLAIMS.c.token == HOLDS.c.token), CLAIMS.c.state != HELD),
            }

        return self._read(work)

    def _alive(self, row: sa.Row, now: float) -> bool:
        return self.clock.holds(row.clock, row.renewed, row.lease_s, now)

    def _claim_of(self, connection: sa.Connection, token: int) -> Claim | None:
        row = connection.execute(sa.select(CLAIMS).where(CLAIMS.c.token == token)).one_or_none()
        if row is None:
            return None
        return Claim(
            token=token, lane=row.lane, owner=row.owner, batches=tuple(of_claim(connection, token)),
            lease_s=row.lease_s, starts=row.starts,
        )  # fmt: skip


def of_claim(connection: sa.Connection, token: int) -> dict[str, sa.Row]:
    """Batches of a claim in order of landing, with their states."""
    rows = connection.execute(
        sa.select(BATCHES.c.id, BATCHES.c.state, BATCHES.c.person)
        .join(CLAIMED, BATCHES.c.id == CLAIMED.c.batch)
        .where(CLAIMED.c.token == token)
        .order_by(BATCHES.c.number)
    )
    return {row.id: row for row in rows}
