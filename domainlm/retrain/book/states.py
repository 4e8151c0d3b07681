"""Which state of a batch may follow which, and the one place where a state changes.

(none)      -> landed
landed      -> accepted, quarantined, withdrawn
accepted    -> trained, quarantined, withdrawn
quarantined -> landed or accepted (released by a person), withdrawn
withdrawn   -> what it was before (its content landed again), landed (released), trained (a training that
               held it had read its files before they went away)
trained     -> promoted
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import sqlalchemy as sa

from domainlm.errors import BookRefused
from domainlm.retrain.batches import ACCEPTED, LANDED, PROMOTED, QUARANTINED, TRAINED, WITHDRAWN
from domainlm.retrain.book.store import BATCHES, TRANSITIONS

_MANY = 500  # ids in one statement
FOLLOWS: dict[str, frozenset[str]] = {
    "": frozenset({LANDED}),
    LANDED: frozenset({ACCEPTED, QUARANTINED, WITHDRAWN}),
    ACCEPTED: frozenset({QUARANTINED, WITHDRAWN, TRAINED}),
    QUARANTINED: frozenset({LANDED, ACCEPTED, WITHDRAWN}),
    WITHDRAWN: frozenset({LANDED, ACCEPTED, QUARANTINED, TRAINED}),
    TRAINED: frozenset({PROMOTED}),
    PROMOTED: frozenset(),
}


class Hand(NamedTuple):
    """Who changes something, and when (ISO 8601 UTC)."""

    who: str
    time: str


class Change(NamedTuple):
    """What changed: one row of the history."""

    batch: str
    before: str
    after: str
    why: str
    token: int | None = None


def move(
    connection: sa.Connection,
    batch: str,
    after: str,
    hand: Hand,
    why: str = "",
    token: int | None = None,
    **values: object,
) -> None:
    """Change a batch's state, and record it, in the caller's transaction.

    Args:
        values: other columns of the batch that change with it.

    Raises:
        BookRefused: there is no such batch, or its state cannot become this one.
    """
    before = connection.execute(sa.select(BATCHES.c.state).where(BATCHES.c.id == batch)).scalar()
    if before is None:
        raise BookRefused("is no batch of this book", batch[:12], "`domainlm batches list` shows them")
    move_all(connection, {batch: before}, after, hand, why, token, **values)


def move_all(
    connection: sa.Connection,
    states: Mapping[str, str],
    after: str,
    hand: Hand,
    why: str = "",
    token: int | None = None,
    **values: object,
) -> None:
    """`move` for batches whose states were read in the same transaction: batch -> its state."""
    for batch, before in states.items():
        check(batch, before, after)
    for start in range(0, len(states), _MANY):
        part = list(states)[start : start + _MANY]
        connection.execute(sa.update(BATCHES).where(BATCHES.c.id.in_(part)).values(state=after, **values))
    record(connection, hand, *(Change(batch, before, after, why, token) for batch, before in states.items()))


def record(connection: sa.Connection, hand: Hand, *changes: Change) -> None:
    """Add to the history."""
    if changes:
        connection.execute(sa.insert(TRANSITIONS), [one._asdict() | hand._asdict() for one in changes])


def check(batch: str, before: str, after: str) -> None:
    """Refuse what cannot follow.

    Raises:
        BookRefused: says which states can.
    """
    if after not in FOLLOWS[before]:
        can = ", ".join(sorted(FOLLOWS[before])) or "nothing"
        raise BookRefused(f"is {before} and cannot become {after}", f"batch {batch[:12]}", f"what can follow: {can}")
