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
from typing import Any

import sqlalchemy as sa

from domainlm.errors import BookRefused, LeaseLost
from domainlm.retrain.batches import ACCEPTED, PROMOTED, TRAINED, WITHDRAWN, Claim, Result
from domainlm.retrain.book.accounts import GIVEN_UP, HELD, LOST, TAKEN, Accounts, of_claim
from domainlm.retrain.book.clock import stamp
from domainlm.retrain.book.states import move_all
from domainlm.retrain.book.store import BATCHES, CLAIMED, CLAIMS, HOLDS, PROMOTIONS, RESULT_BATCHES, RESULTS, STATE

RESULT_PATIENCE_S = 600.0  # hours of training are worth some minutes of waiting for a database
_ASKED = 500  # ids in one question


class Claims(Accounts):
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

        Raises:
            BookRefused: the book is another lane's: a batch is trained once, so that neither would learn from all.
        """
        call = secrets.token_hex(16)

        def work(connection: sa.Connection) -> Claim | None:
            made = connection.execute(sa.select(CLAIMS.c.token).where(CLAIMS.c.call == call)).scalar()
            if made is not None:
                return self._claim_of(connection, made)
            now = self.clock.now(connection)
            running, over = self._held_claims(connection, now)
            _refuse_other_lane(connection, running, lane)
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
            BookRefused: another result of this claim was accepted before, a batch of it was withdrawn by a person or
                quarantined meanwhile, or the book is another lane's.
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
            _refuse_other_lane(connection, [], claim.lane)
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

    def give_up(self, claim: Claim, reason: str) -> None:
        """End a claim without a result; its batches are free. One that ended already stays as it is.

        Args:
            reason: names the step and the kind of failure, never a value.
        """

        def work(connection: sa.Connection) -> None:
            row = _kept(connection, claim)
            if row is not None and row.state == HELD:
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
                waiting = [batch for batch, row in of_claim(connection, token).items() if row.state == TRAINED]
                why = f"model {identity[:12]} was promoted"
                move_all(connection, dict.fromkeys(waiting, TRAINED), PROMOTED, self._hand(), why, token)
                moved += waiting
            return tuple(moved)

        return self._write(work)

    def _held_claims(self, connection: sa.Connection, now: float) -> tuple[list[sa.Row], list[sa.Row]]:
        """Claims that have not ended: those that live, and those that ran out."""
        rows = connection.execute(sa.select(CLAIMS).where(CLAIMS.c.state == HELD)).all()
        return [row for row in rows if self._alive(row, now)], [row for row in rows if not self._alive(row, now)]

    def _seen(self, connection: sa.Connection, token: int, **values: str) -> None:
        values |= {"renewed": self.clock.now(connection), "clock": self.clock.name, "seen": self.now()}
        connection.execute(sa.update(CLAIMS).where(CLAIMS.c.token == token).values(**values))


def _finite(result: Result) -> dict[str, Any]:
    """The columns of a result; a figure that is no number is left out, since JSON in a database has none for it."""
    figures = {name: value for name, value in result.figures.items() if math.isfinite(value)}
    return result.model_dump() | {"figures": figures}


def _kept(connection: sa.Connection, claim: Claim) -> sa.Row | None:
    """The claim as the book has it. The number alone would not do: an older copy that was put in the book's place
    gives the numbers of claims that it does not know once more."""
    same = (CLAIMS.c.token == claim.token) & (CLAIMS.c.lane == claim.lane) & (CLAIMS.c.owner == claim.owner)
    return connection.execute(sa.select(CLAIMS.c.state, CLAIMS.c.why).where(same)).one_or_none()


def _own(connection: sa.Connection, claim: Claim) -> None:
    """Raises LeaseLost unless the claim is the newest on all that it took."""
    row = _kept(connection, claim)
    if row is None or row.state != HELD:
        how = "is not in this book" if row is None else f"is {row.state}" + (f": {row.why}" if row.why else "")
        raise LeaseLost(how, f"claim {claim.token}", "stop: what comes of it is not accepted")


def _refuse_other_lane(connection: sa.Connection, running: list[sa.Row], lane: str) -> None:
    """Raises BookRefused where another lane has a result in this book, or a claim that lives."""
    trained = connection.execute(sa.select(RESULTS.c.lane).where(RESULTS.c.lane != lane).limit(1)).scalar()
    other = trained or next((row.lane for row in running if row.lane != lane), None)
    if other is not None:
        raise BookRefused(
            f"is the book of '{other}', and a batch is trained once", f"lane '{lane}'",
            "give this model a book of its own (DOMAINLM_BOOK), or register it under the other's name",
        )  # fmt: skip


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


def _not_taken_back(connection: sa.Connection, token: int) -> dict[str, str]:
    """Batch -> state of a claim whose batches may all be learnt from. A person's withdrawal, or a quarantine, stands
    above a training that began before it; files that went away do not."""
    found = of_claim(connection, token)
    for row in found.values():
        if row.state != ACCEPTED and not (row.state == WITHDRAWN and not row.person):
            raise BookRefused(
                f"is {row.state} by now",
                f"batch {row.id[:12]}",
                "what learnt from it is not accepted; train without it",
            )
    return {batch: row.state for batch, row in found.items()}
