"""Who may train on which batches, and whose result counts.

A claim holds for its lease and is renewed by a heartbeat. Each has a fencing token, larger than that of every claim
before it (Kleppmann, "How to do distributed locking", 2016; Gray and Cheriton, "Leases", 1989): who comes later takes
over what ran out, and from then on the book accepts nothing by the older token, however late its owner wakes up. A
claim that ran out and was taken over by nobody is still the newest: it may be renewed, and its result is accepted.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from domainlm.errors import BookRefused, LeaseLost
from domainlm.retrain.batches import ACCEPTED, PROMOTED, TRAINED, WITHDRAWN, Claim, Result
from domainlm.retrain.book.clock import stamp
from domainlm.retrain.book.connection import Connected
from domainlm.retrain.book.rows import AcceptedResult, Start
from domainlm.retrain.book.states import move_all
from domainlm.retrain.book.store import BATCHES, CLAIMED, CLAIMS, HOLDS, PROMOTIONS, RESULT_BATCHES, RESULTS, STATE

HELD, TAKEN, GIVEN_UP, LOST = "held", "accepted", "given up", "lost"  # states of a claim
RESULT_PATIENCE_S = 600.0  # hours of training are worth some minutes of waiting for a database
_ASKED = 500  # ids in one question


class Claims(Connected):
    """Claims on accepted batches, and the one result of each."""

    def claim(
        self,
        lane: str,
        owner: str,
        lease_s: float,
        *,
        batches: Sequence[str] | None = None,
        limit: int | None = None,
        exclusive: bool = True,
        allow_empty: bool = False,
    ) -> Claim | None:
        """Take accepted batches that no living claim holds.

        Args:
            lane: what the result competes for.
            owner: who, for people.
            lease_s: how long it holds without being renewed.
            batches: these and no others, all or none; None: every one that is free, in order of landing.
            limit: at most so many.
            exclusive: no other claim may live in the lane; beside an exclusive one no other may either.
            allow_empty: make a claim where no batch is free too (`batches=()` for one that shall have none).

        Returns:
            None where nothing can be claimed, or the lane is busy.
        """
        call = secrets.token_hex(16)

        def work(connection: sa.Connection) -> Claim | None:
            made = connection.execute(sa.select(CLAIMS.c.token).where(CLAIMS.c.call == call)).scalar()
            if made is not None:
                return self._claim_of(connection, made)
            now = self.clock.now(connection)
            running, over = self._held_claims(connection, now)
            if any(row.lane == lane and (exclusive or row.exclusive) for row in running):
                return None
            free = _free(connection, {row.token for row in running}, batches, limit)
            if free is None or not (free or allow_empty):
                return None
            token = connection.execute(sa.select(STATE.c.token)).scalar_one() + 1
            connection.execute(sa.update(STATE).values(token=token))
            _take_over(connection, over, lane, exclusive, free, token)
            starts = _times_claimed(connection, free)
            began = self.now()
            connection.execute(
                sa.insert(CLAIMS).values(
                    token=token, call=call, lane=lane, owner=owner, exclusive=exclusive, state=HELD, starts=starts,
                    lease_s=lease_s, clock=self.clock.name, renewed=now, began=began, seen=began,
                )
            )  # fmt: skip
            if free:
                rows = [{"token": token, "batch": batch} for batch in free]
                connection.execute(sa.insert(CLAIMED), rows)
                connection.execute(sa.insert(HOLDS), rows)
            return Claim(token=token, lane=lane, owner=owner, batches=tuple(free), lease_s=lease_s, starts=starts)

        return self._write(work)

    def renew(self, claim: Claim) -> None:
        """Say that the claim's owner lives.

        Raises:
            LeaseLost: another runner took it over, or it ended.
        """

        def work(connection: sa.Connection) -> None:
            _own(connection, claim)
            self._seen(connection, claim.token)

        self._write(work)

    def bind(self, claim: Claim, run_id: str) -> None:
        """Note the run that works on the claim, and renew it.

        Raises:
            LeaseLost: as `renew`.
        """

        def work(connection: sa.Connection) -> None:
            _own(connection, claim)
            self._seen(connection, claim.token, run_id=run_id)

        self._write(work)

    def accept_result(self, claim: Claim, result: Result, patience_s: float = RESULT_PATIENCE_S) -> None:
        """What came of a claim counts: its batches are trained, in one transaction with everything that says so.

        Called again with the same result, nothing happens: the answer of the first time may have been lost.

        Args:
            patience_s: how long it is tried while the database does not answer.

        Raises:
            LeaseLost: another runner took the claim over, or it ended; nothing was accepted.
            BookRefused: another result of this claim was accepted before, or a batch of it was withdrawn by a person
                or quarantined meanwhile.
        """

        def work(connection: sa.Connection) -> None:
            kept = connection.execute(sa.select(RESULTS).where(RESULTS.c.token == claim.token)).one_or_none()
            if kept is not None:
                if (kept.identity, kept.run_id) != (result.identity, result.run_id):
                    raise BookRefused(
                        f"was settled by run {kept.run_id} with another result", f"claim {claim.token}",
                        "claim the batches anew",
                    )  # fmt: skip
                return
            _own(connection, claim)
            states = _not_taken_back(connection, claim.token)
            values = _finite(result) | {"token": claim.token, "lane": claim.lane, "accepted_at": stamp(self.now())}
            connection.execute(sa.insert(RESULTS).values(**values))
            if states:
                rows = [{"batch": batch, "token": claim.token} for batch in states]
                connection.execute(sa.insert(RESULT_BATCHES), rows)
            why = f"run {result.run_id}"
            move_all(connection, states, TRAINED, self._hand(), why, claim.token, reason="")
            connection.execute(sa.delete(HOLDS).where(HOLDS.c.token == claim.token))
            self._seen(connection, claim.token, state=TAKEN, run_id=result.run_id)

        self._write(work, patience_s)

    def settled(self, claim: Claim) -> bool:
        """Whether a result of the claim was accepted."""
        return self._read(
            lambda connection: (
                connection.execute(sa.select(RESULTS.c.token).where(RESULTS.c.token == claim.token)).first() is not None
            )
        )

    def give_up(self, claim: Claim, reason: str) -> None:
        """End a claim without a result; its batches are free. One that ended already stays as it is.

        Args:
            reason: names the step and the kind of failure, never a value.
        """

        def work(connection: sa.Connection) -> None:
            state = connection.execute(sa.select(CLAIMS.c.state).where(CLAIMS.c.token == claim.token)).scalar()
            if state == HELD:
                connection.execute(sa.delete(HOLDS).where(HOLDS.c.token == claim.token))
                self._seen(connection, claim.token, state=GIVEN_UP, why=reason)

        self._write(work)

    def promoted(self, identity: str) -> tuple[str, ...]:
        """A model became the champion: the batches of its results are promoted. Repeated, nothing happens.

        Returns:
            Ids of the batches that this call promoted.
        """

        def work(connection: sa.Connection) -> tuple[str, ...]:
            tokens = (
                connection.execute(sa.select(RESULTS.c.token).where(RESULTS.c.identity == identity)).scalars().all()
            )
            if connection.execute(sa.select(PROMOTIONS).where(PROMOTIONS.c.identity == identity)).first() is None:
                connection.execute(sa.insert(PROMOTIONS).values(identity=identity, promoted_at=stamp(self.now())))
            moved: list[str] = []
            for token in tokens:
                waiting = [batch for batch, row in _of_claim(connection, token).items() if row.state == TRAINED]
                why = f"model {identity[:12]} was promoted"
                move_all(connection, dict.fromkeys(waiting, TRAINED), PROMOTED, self._hand(), why, token)
                moved += waiting
            return tuple(moved)

        return self._write(work)

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

    def _held_claims(self, connection: sa.Connection, now: float) -> tuple[list[sa.Row], list[sa.Row]]:
        """Claims that have not ended: those that live, and those that ran out."""
        rows = connection.execute(sa.select(CLAIMS).where(CLAIMS.c.state == HELD)).all()
        return [row for row in rows if self._alive(row, now)], [row for row in rows if not self._alive(row, now)]

    def _seen(self, connection: sa.Connection, token: int, **values: str) -> None:
        values |= {"renewed": self.clock.now(connection), "clock": self.clock.name, "seen": self.now()}
        connection.execute(sa.update(CLAIMS).where(CLAIMS.c.token == token).values(**values))

    def _claim_of(self, connection: sa.Connection, token: int) -> Claim | None:
        row = connection.execute(sa.select(CLAIMS).where(CLAIMS.c.token == token)).one_or_none()
        if row is None:
            return None
        return Claim(
            token=token, lane=row.lane, owner=row.owner, batches=tuple(_of_claim(connection, token)),
            lease_s=row.lease_s, starts=row.starts,
        )  # fmt: skip


def _finite(result: Result) -> dict[str, Any]:
    """The columns of a result; a figure that is no number is left out, since JSON in a database has none for it."""
    figures = {name: value for name, value in result.figures.items() if math.isfinite(value)}
    return result.model_dump() | {"figures": figures}


def _own(connection: sa.Connection, claim: Claim) -> None:
    """Raises LeaseLost unless the claim is the newest on all that it took."""
    row = connection.execute(sa.select(CLAIMS.c.state, CLAIMS.c.why).where(CLAIMS.c.token == claim.token)).one_or_none()
    if row is None or row.state != HELD:
        how = "is not in this book" if row is None else f"is {row.state}" + (f": {row.why}" if row.why else "")
        raise LeaseLost(how, f"claim {claim.token}", "stop: what comes of it is not accepted")


def _free(
    connection: sa.Connection, running: set[int], wanted: Sequence[str] | None, limit: int | None
) -> list[str] | None:
    """Accepted batches that no running claim holds, in order of landing; None where a wanted one is not among them."""
    if wanted is not None and not wanted:
        return []
    held = sa.select(HOLDS.c.batch).where(HOLDS.c.token.in_(running))
    query = (
        sa.select(BATCHES.c.id)
        .where((BATCHES.c.state == ACCEPTED) & BATCHES.c.id.not_in(held))
        .order_by(BATCHES.c.number)
    )
    if wanted is None:
        return list(connection.execute(query.limit(limit)).scalars())
    chosen = set(wanted)
    found = [id for id in connection.execute(query).scalars() if id in chosen]
    return found[:limit] if len(found) == len(chosen) else None


def _take_over(
    connection: sa.Connection, over: list[sa.Row], lane: str, exclusive: bool, batches: list[str], token: int
) -> None:
    """End the claims that ran out and stand in the new one's way."""
    holders: set[int] = set()
    for start in range(0, len(batches), _ASKED):
        asked = batches[start : start + _ASKED]
        holders.update(connection.execute(sa.select(HOLDS.c.token).where(HOLDS.c.batch.in_(asked))).scalars())
    for row in over:
        if row.token in holders or (row.lane == lane and (exclusive or row.exclusive)):
            connection.execute(sa.delete(HOLDS).where(HOLDS.c.token == row.token))
            values = {"state": LOST, "why": f"taken over by claim {token}"}
            connection.execute(sa.update(CLAIMS).where(CLAIMS.c.token == row.token).values(**values))


def _times_claimed(connection: sa.Connection, batches: list[str]) -> int:
    """Claims that there were on the batches: of the one with the most."""
    most = 0
    for start in range(0, len(batches), _ASKED):
        asked = CLAIMED.c.batch.in_(batches[start : start + _ASKED])
        counts = connection.execute(sa.select(sa.func.count()).where(asked).group_by(CLAIMED.c.batch)).scalars().all()
        most = max([most, *counts])
    return most


def _of_claim(connection: sa.Connection, token: int) -> dict[str, sa.Row]:
    """Batches of a claim in order of landing, with their states."""
    rows = connection.execute(
        sa.select(BATCHES.c.id, BATCHES.c.state, BATCHES.c.person)
        .join(CLAIMED, BATCHES.c.id == CLAIMED.c.batch)
        .where(CLAIMED.c.token == token)
        .order_by(BATCHES.c.number)
    )
    return {row.id: row for row in rows}


def _not_taken_back(connection: sa.Connection, token: int) -> dict[str, str]:
    """Batch -> state of a claim whose batches may all be learnt from. A person's withdrawal, or a quarantine, stands
    above a training that began before it; files that went away do not."""
    found = _of_claim(connection, token)
    for row in found.values():
        if row.state != ACCEPTED and not (row.state == WITHDRAWN and not row.person):
            raise BookRefused(
                f"is {row.state} by now",
                f"batch {row.id[:12]}",
                "what learnt from it is not accepted; train without it",
            )
    return {batch: row.state for batch, row in found.items()}
