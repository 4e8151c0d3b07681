"""Batches: landed, accepted or quarantined, withdrawn, released."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import sqlalchemy as sa

from domainlm.errors import BookRefused
from domainlm.retrain.batches import ACCEPTED, LANDED, PROMOTED, QUARANTINED, TRAINED, WITHDRAWN, Batch, LandedFile
from domainlm.retrain.book.accounts import LOST
from domainlm.retrain.book.catalogue import Catalogue, found_batch
from domainlm.retrain.book.states import Change, move, record
from domainlm.retrain.book.store import BATCHES, CLAIMS, FILES, HOLDS, STATE, TRANSITIONS

_MANY = 500  # batches of one transaction: a first scan may land a hundred thousand


class Landings(Catalogue):
    """What landed, and what became of it until it is trained on."""

    def land(self, batch: Batch) -> Batch:
        """Enter a batch; one that is there already stays as it is.

        A batch that was withdrawn because its files were gone is again what it was before, a quarantined one
        quarantined. One that a person withdrew stays so.

        Returns:
            The batch as the book has it, with its number.
        """
        return self.land_all([batch])[0]

    def land_all(self, batches: Sequence[Batch]) -> list[Batch]:
        """`land` for many."""
        landed: list[Batch] = []
        for start in range(0, len(batches), _MANY):
            part = batches[start : start + _MANY]
            landed += self._write(lambda connection, part=part: self._land(connection, part))
        return landed

    def accept(
        self,
        id: str,
        rows: int,
        first_day: str = "",
        last_day: str = "",
        files: Sequence[LandedFile] = (),
        profile: dict[str, Any] | None = None,
    ) -> Batch:
        """The batch keeps its contract. Accepted before with the same rows, nothing changes.

        Args:
            files: with their rows; those that were named at its landing.
            profile: what drift is measured against; JSON, no value of the data.

        Raises:
            BookRefused: it is neither landed nor accepted, or other files are named.
        """

        def work(connection: sa.Connection) -> Batch:
            batch = found_batch(connection, id)
            if files and [file.sha256 for file in files] != [file.sha256 for file in batch.files]:
                raise BookRefused("has other files", f"batch {id[:12]}", "land what is in the zone now")
            if batch.state in (ACCEPTED, TRAINED, PROMOTED) and batch.rows == rows:  # somebody was faster
                return batch
            if batch.state in (QUARANTINED, WITHDRAWN):
                raise BookRefused(
                    f"is {batch.state}", f"batch {id[:12]}", "a person releases it: `domainlm batches release`"
                )
            known = {"rows": rows, "first_day": first_day, "last_day": last_day, "profile": profile}
            move(connection, batch.id, ACCEPTED, self._hand(), f"{rows} rows", reason="", **known)
            for place, file in enumerate(files):
                here = (FILES.c.batch == batch.id) & (FILES.c.place == place)
                connection.execute(sa.update(FILES).where(here).values(rows=file.rows))
            return found_batch(connection, id)

        return self._write(work)

    def quarantine(self, id: str, reason: str) -> Batch:
        """The batch breaks its contract, or a training failed by it; a person decides.

        Raises:
            BookRefused: it is held by a runner, or was trained on.
        """

        def work(connection: sa.Connection) -> Batch:
            batch = found_batch(connection, id)
            if batch.state != QUARANTINED:
                if batch.state == WITHDRAWN:
                    raise BookRefused("is withdrawn", f"batch {id[:12]}", "there is nothing to hold back")
                if batch.state == ACCEPTED and self._holder(connection, batch.id) is not None:
                    raise BookRefused(
                        "is being trained on", f"batch {id[:12]}", "wait until its claim ended; a failed gate ends it"
                    )
                move(connection, batch.id, QUARANTINED, self._hand(), reason, reason=reason)
            return found_batch(connection, id)

        return self._write(work)

    def withdraw(self, id: str, reason: str, by: str = "") -> Batch:
        """The batch is not to be trained on.

        Args:
            by: the person who says so: it never lands again by itself, and the claim that holds it ends, so that its
                training stops. One that was trained on stays so, but no later training reads its files.
                Empty: its files are gone; a training that read them before goes on.

        Raises:
            BookRefused: it was trained on already, and no person says so.
        """

        def work(connection: sa.Connection) -> Batch:
            batch = found_batch(connection, id)
            if by and batch.state in (TRAINED, PROMOTED):
                self._not_again(connection, batch, reason, by)
                return found_batch(connection, id)
            if by:
                self._end_claim(connection, batch.id)
            if batch.state != WITHDRAWN:
                move(connection, batch.id, WITHDRAWN, self._hand(by), reason, reason=reason, person=by)
            elif by:  # a person's word stands above the zone's
                values = {"person": by, "reason": reason}
                connection.execute(sa.update(BATCHES).where(BATCHES.c.id == batch.id).values(**values))
                record(connection, self._hand(by), Change(batch.id, WITHDRAWN, WITHDRAWN, reason))
            return found_batch(connection, id)

        return self._write(work)

    def release(self, id: str, by: str, check_again: bool = False) -> Batch:
        """A person lets a quarantined or withdrawn batch go on.

        Where its rows were counted it is accepted, else it has landed and is looked into again.

        Args:
            by: who.
            check_again: it has landed in any case (after its feed's contract was put right).

        Raises:
            BookRefused: it is neither.
        """

        def work(connection: sa.Connection) -> Batch:
            batch = found_batch(connection, id)
            if batch.state not in (QUARANTINED, WITHDRAWN):
                raise BookRefused(f"is {batch.state}", f"batch {id[:12]}", "nothing holds it back")
            counted = batch.state == QUARANTINED and batch.rows > 0 and not check_again
            state, why = (ACCEPTED, "released") if counted else (LANDED, "released, to be looked into again")
            move(connection, batch.id, state, self._hand(by), why, reason="", person="" if check_again else by)
            return found_batch(connection, id)

        return self._write(work)

    def mark_removed(self, id: str, paths: Collection[str], removed: bool = True) -> Batch:
        """Some files of a batch are no longer in the zone, or are there again; its state stays."""

        def work(connection: sa.Connection) -> Batch:
            batch = found_batch(connection, id)
            for path in paths:
                here = (FILES.c.batch == batch.id) & (FILES.c.path == path)
                connection.execute(sa.update(FILES).where(here).values(removed=removed))
            return found_batch(connection, id)

        return self._write(work)

    def _land(self, connection: sa.Connection, batches: Sequence[Batch]) -> list[Batch]:
        ids = [batch.id for batch in batches]
        known = set(connection.execute(sa.select(BATCHES.c.id).where(BATCHES.c.id.in_(ids))).scalars())
        number = connection.execute(sa.select(STATE.c.number)).scalar_one()
        fresh: dict[str, Batch] = {}
        new = [batch for batch in batches if batch.id not in known]
        # what one of them brings untrusted is so for all of them, in whatever order they come
        untrusted = {file.sha256 for batch in batches if not batch.trusted for file in batch.files}
        untrusted |= _untrusted(connection, {file.sha256 for batch in new for file in batch.files})
        for batch in new:
            if batch.id not in fresh:
                trusted = batch.trusted and untrusted.isdisjoint(file.sha256 for file in batch.files)
                as_new = {"number": number + len(fresh) + 1, "state": LANDED, "trusted": trusted}
                fresh[batch.id] = batch.model_copy(update=as_new)
        if fresh:
            connection.execute(sa.update(STATE).values(number=number + len(fresh)))
            rows = [batch.model_dump(exclude={"files"}) | {"person": ""} for batch in fresh.values()]
            connection.execute(sa.insert(BATCHES), rows)
            files = [
                {"batch": batch.id, "place": place} | file.model_dump()
                for batch in fresh.values()
                for place, file in enumerate(batch.files)
            ]
            connection.execute(sa.insert(FILES), files)
            record(
                connection,
                self._hand(),
                *(Change(id, "", LANDED, f"landed as {one.name}") for id, one in fresh.items()),
            )
        landed = []
        for batch in batches:
            new = fresh.pop(batch.id, None)
            landed.append(new or self._land_again(connection, batch))
        return landed

    def _land_again(self, connection: sa.Connection, batch: Batch) -> Batch:
        same = BATCHES.c.id == batch.id
        known = connection.execute(sa.select(BATCHES.c.state, BATCHES.c.person).where(same)).one()
        if not batch.trusted:  # the feed's mark was set since; it is never taken off what landed under it
            connection.execute(sa.update(BATCHES).where(same).values(trusted=False))
        barred = known.state in (TRAINED, PROMOTED) and known.person and _barred(connection, batch.id)
        for file in () if barred else batch.files:  # the same content may lie elsewhere by now
            here = (FILES.c.batch == batch.id) & (FILES.c.sha256 == file.sha256) & FILES.c.removed
            again = {"path": file.path, "uri": file.uri, "removed": False}
            connection.execute(sa.update(FILES).where(here).values(**again))
        if known.state == WITHDRAWN and not known.person:
            before, why = _before_withdrawal(connection, batch.id)
            reason = why if before == QUARANTINED else ""
            why = "its content landed again"
            move(connection, batch.id, before, self._hand(), why, reason=reason, name=batch.name)
        return found_batch(connection, batch.id)

    def _not_again(self, connection: sa.Connection, batch: Batch, reason: str, by: str) -> None:
        """A batch that was learnt from is not to be read again: its files count as gone, and stay so (`_barred`)."""
        connection.execute(sa.update(FILES).where(FILES.c.batch == batch.id).values(removed=True))
        connection.execute(sa.update(BATCHES).where(BATCHES.c.id == batch.id).values(person=by, reason=reason))
        record(connection, self._hand(by), Change(batch.id, batch.state, batch.state, reason))

    def _end_claim(self, connection: sa.Connection, batch: str) -> None:
        """End the claim that holds a batch; its other batches are free."""
        token = connection.execute(sa.select(HOLDS.c.token).where(HOLDS.c.batch == batch)).scalar()
        if token is not None:
            connection.execute(sa.delete(HOLDS).where(HOLDS.c.token == token))
            values = {"state": LOST, "why": f"batch {batch[:12]} of it was withdrawn by a person"}
            connection.execute(sa.update(CLAIMS).where(CLAIMS.c.token == token).values(**values))

    def _holder(self, connection: sa.Connection, batch: str) -> int | None:
        """The token of the claim that holds a batch and is alive."""
        row = connection.execute(
            sa.select(CLAIMS).join(HOLDS, HOLDS.c.token == CLAIMS.c.token).where(HOLDS.c.batch == batch)
        ).one_or_none()
        now = self.clock.now(connection)
        return row.token if row and self.clock.holds(row.clock, row.renewed, row.lease_s, now) else None


def _barred(connection: sa.Connection, batch: str) -> bool:
    """Whether a person withdrew a batch that was learnt from: the one change that leaves such a state as it is."""
    same = (TRANSITIONS.c.batch == batch) & (TRANSITIONS.c.before == TRANSITIONS.c.after)
    wanted = same & TRANSITIONS.c.after.in_([TRAINED, PROMOTED])
    return connection.execute(sa.select(TRANSITIONS.c.number).where(wanted)).first() is not None


def _untrusted(connection: sa.Connection, digests: Collection[str]) -> set[str]:
    """Those of some digests of files that a batch which is not trusted holds, whatever its feed."""
    found: set[str] = set()
    rows = sa.select(FILES.c.sha256).join(BATCHES, BATCHES.c.id == FILES.c.batch).where(BATCHES.c.trusted.is_(False))
    asked = sorted(digests)
    for start in range(0, len(asked), _MANY):
        part = FILES.c.sha256.in_(asked[start : start + _MANY])
        found.update(connection.execute(rows.where(part)).scalars())
    return found


def _before_withdrawal(connection: sa.Connection, batch: str) -> tuple[str, str]:
    """The state that a withdrawn batch had, and why it had it."""
    history = connection.execute(
        sa.select(TRANSITIONS.c.before, TRANSITIONS.c.after, TRANSITIONS.c.why)
        .where(TRANSITIONS.c.batch == batch)
        .order_by(TRANSITIONS.c.number.desc())
    ).all()
    state = next(row.before for row in history if row.after == WITHDRAWN and row.before != WITHDRAWN)
    return state, next(row.why for row in history if row.after == state)
