"""Batches as they stand, and their history."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa

from domainlm.errors import BookRefused
from domainlm.retrain.batches import ACCEPTED, LANDED, Batch, BriefBatch, LandedFile
from domainlm.retrain.book.connection import Connected
from domainlm.retrain.book.rows import Transition
from domainlm.retrain.book.store import BATCHES, FILES, TRANSITIONS

PREFIX_DIGITS = 8  # of an id: enough to name a batch
_PART = 500  # batches of one question
_BRIEF = (BATCHES.c.id, BATCHES.c.number, BATCHES.c.feed, BATCHES.c.name, BATCHES.c.rows)
_SHOWN = [column for column in BATCHES.c if column.name not in ("profile", "person")]


class Catalogue(Connected):
    """Batches, read."""

    def batches(
        self,
        state: str | Iterable[str] | None = None,
        feed: str | None = None,
        since: str = "",
        until: str = "",
    ) -> list[Batch]:
        """Batches in order of landing.

        Args:
            state: one, or several; None: any.
            since, until: ISO 8601 days, both included: batches that hold data of a day in between. Where rows have no
                timestamp, the day of landing counts.
        """
        wanted = _wanted(state, None if feed is None else [feed], since, until)
        return self._read(lambda connection: _batches(connection, wanted))

    def briefs(
        self,
        state: str | Iterable[str] | None = None,
        feeds: Iterable[str] | None = None,
        since: str = "",
        until: str = "",
        limit: int | None = None,
    ) -> list[BriefBatch]:
        """As `batches`, without files and times: light also for thousands.

        Args:
            feeds: names; None: of any.
            limit: at most so many, the first that landed.
        """
        query = sa.select(*_BRIEF).where(_wanted(state, feeds, since, until)).order_by(BATCHES.c.number).limit(limit)
        return [BriefBatch(*row) for row in self._read(lambda connection: connection.execute(query).all())]

    def briefs_of(self, ids: Iterable[str]) -> list[BriefBatch]:
        """Those batches, in order of landing; whole ids, and what is none of this book is left out."""
        found = [BriefBatch(*row) for row in self._of_each(sa.select(*_BRIEF), BATCHES.c.id, ids)]
        return sorted(found, key=lambda batch: batch.number)

    def profiles(self, ids: Iterable[str]) -> list[dict[str, Any]]:
        """What `accept` was given of each that has one; whole ids."""
        return [row.profile for row in self._of_each(sa.select(BATCHES.c.profile), BATCHES.c.id, ids) if row.profile]

    def acceptances(self, ids: Iterable[str]) -> dict[str, int]:
        """The number of the transition by which each was accepted last: as long as it stays, so does the profile."""
        query = (
            sa.select(TRANSITIONS.c.batch, sa.func.max(TRANSITIONS.c.number))
            .where(TRANSITIONS.c.after == ACCEPTED)
            .group_by(TRANSITIONS.c.batch)
        )
        return {batch: number for batch, number in self._of_each(query, TRANSITIONS.c.batch, ids)}

    def _of_each(self, query: sa.Select, column: sa.Column, ids: Iterable[str]) -> list[sa.Row]:
        """Rows of a query for some batches, asked in parts that every database takes."""
        wanted, found = list(dict.fromkeys(ids)), []
        for start in range(0, len(wanted), _PART):
            part = query.where(column.in_(wanted[start : start + _PART]))
            found += self._read(lambda connection, part=part: connection.execute(part).all())
        return found

    def batch(self, prefix: str) -> Batch:
        """A batch by its id, or by the first digits of it (8 or more).

        Raises:
            BookRefused: there is none, or there are several.
        """
        return self._read(lambda connection: found_batch(connection, prefix))

    def profile(self, id: str) -> dict[str, Any] | None:
        """What `accept` was given."""
        return self._read(
            lambda connection: connection.execute(
                sa.select(BATCHES.c.profile).where(BATCHES.c.id == found_batch(connection, id).id)
            ).scalar()
        )

    def released_by(self, id: str) -> str:
        """The person who released the batch from quarantine as it is, so that acceptance asks no second time."""
        return self._read(
            lambda connection: (
                connection.execute(
                    sa.select(BATCHES.c.person).where(
                        (BATCHES.c.id == found_batch(connection, id).id) & BATCHES.c.state.in_([LANDED, ACCEPTED])
                    )
                ).scalar()
                or ""
            )
        )

    def transitions(self, id: str) -> list[Transition]:
        """The history of a batch, the oldest change first."""

        def work(connection: sa.Connection) -> list[Transition]:
            rows = connection.execute(
                sa.select(TRANSITIONS)
                .where(TRANSITIONS.c.batch == found_batch(connection, id).id)
                .order_by(TRANSITIONS.c.number)
            ).mappings()
            return [Transition(**{name: value for name, value in row.items() if name != "number"}) for row in rows]

        return self._read(work)


def _wanted(
    state: str | Iterable[str] | None, feeds: Iterable[str] | None, since: str, until: str
) -> sa.ColumnElement[bool]:
    wanted = sa.true()
    if state is not None:
        wanted &= BATCHES.c.state.in_([state] if isinstance(state, str) else list(state))
    if feeds is not None:
        wanted &= BATCHES.c.feed.in_(list(feeds))
    landed = sa.func.substr(BATCHES.c.landed, 1, 10)
    if since:
        wanted &= sa.case((BATCHES.c.last_day != "", BATCHES.c.last_day), else_=landed) >= since[:10]
    if until:
        wanted &= sa.case((BATCHES.c.first_day != "", BATCHES.c.first_day), else_=landed) <= until[:10]
    return wanted


def found_batch(connection: sa.Connection, prefix: str) -> Batch:
    if len(prefix) < PREFIX_DIGITS:
        raise BookRefused("names no batch", prefix, f"give {PREFIX_DIGITS} digits or more of its id")
    same = BATCHES.c.id == prefix
    if len(prefix) < 64:
        same = (BATCHES.c.id >= prefix) & (BATCHES.c.id < prefix + "g")  # digits are hexadecimal
    found = _batches(connection, same)
    if len(found) != 1:
        what = "names several batches" if found else "is no batch of this book"
        raise BookRefused(what, prefix[:12], "`domainlm batches list` shows them")
    return found[0]


def _batches(connection: sa.Connection, wanted: sa.ColumnElement[bool]) -> list[Batch]:
    files: dict[str, list[LandedFile]] = {}
    rows = connection.execute(
        sa.select(FILES).join(BATCHES, BATCHES.c.id == FILES.c.batch).where(wanted).order_by(FILES.c.place)
    ).mappings()
    for row in rows:
        content = {name: value for name, value in row.items() if name not in ("batch", "place")}
        files.setdefault(row["batch"], []).append(LandedFile(**content))
    found = connection.execute(sa.select(*_SHOWN).where(wanted).order_by(BATCHES.c.number)).mappings()
    return [Batch(**row, files=tuple(files.get(row["id"], ()))) for row in found]
