"""The ledger: an append-only log of signed entries in a database (SQLite, or PostgreSQL through SQLAlchemy).

Append is one transaction: the entries, and the frontier of the tree over them. Writers of several processes take turns
by the database's own lock. A crash at any byte leaves the transaction before it. The store itself is not believed:
whoever reads checks the entries against signed checkpoints (`domainlm.audit.proof`). Triggers refuse changes and
deletions; they stop a slip, not somebody who owns the database, and prove nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from domainlm.errors import ArtifactError, ConfigurationError, EvidenceRefused
from domainlm.ledger import store
from domainlm.ledger.checkpoints import ORIGIN, Checkpoint
from domainlm.ledger.envelopes import MAX_ENTRY_BYTES, Envelope
from domainlm.ledger.merkle import Frontier, leaf_hash
from domainlm.ledger.store import CHECKPOINTS, ENTRIES, STATE

READ_ROWS, READ_BYTES = 1000, 16 << 20  # of one read: what lies in memory at a time
ASKED_ROWS = 500  # leaves in one question; SQLite allows 32,766 parameters


class Ledger:
    """One ledger in one database.

    Args:
        url: SQLAlchemy's, such as "sqlite:////data/ledger.sqlite" or "postgresql+psycopg://...".
        origin: the ledger's name; a database that holds another ledger is refused.
        create: whether to make the tables where they are missing; readers need not.

    Raises:
        EvidenceRefused: `foreign-entry`: the database holds another ledger; `edited`: its state is gone.
        ArtifactError: the database cannot be opened, is none, or would lose entries when its machine fails.
        ConfigurationError: no such URL or origin can be.
    """

    def __init__(self, url: str, origin: str, create: bool = True) -> None:
        if not ORIGIN.fullmatch(origin):
            raise ConfigurationError(
                "is no name of a ledger", "origin", "letters, digits and . _ : - in parts separated by /"
            )
        self.origin = origin
        self._agrees = False  # whether this process compared the state with the entries
        try:
            self.engine = store.engine(url)
        except (ArgumentError, ImportError, SQLAlchemyError) as error:
            raise ConfigurationError(
                f"is no database that can be used ({type(error).__name__})", "the ledger's URL",
                "sqlite:///PATH, or postgresql+psycopg://... with `pip install domainlm[postgresql]`",
            ) from None  # fmt: skip
        self._open_file(create)
        with self.named():
            with self.engine.connect() as connection:  # who finds a ledger waits for no writer
                there = not create or sa.inspect(connection).has_table(STATE.name)
                found = connection.execute(sa.select(STATE.c.origin)).scalar() if there else None
            if found is None and create:
                with self.writing() as connection:
                    found = store.create(connection, origin)
        if found is None:
            raise EvidenceRefused("holds entries and no state", self.place, "restore it from a copy", "edited")
        if found != origin:
            raise EvidenceRefused(
                f"holds the ledger '{found}'", self.place, "two ledgers must not be merged", "foreign-entry"
            )

    @property
    def place(self) -> str:
        """The database, without any password."""
        return self.engine.url.render_as_string(hide_password=True)

    @property
    def file(self) -> Path | None:
        """The database's file; None for PostgreSQL, and where a SQLite URI names it (a copy on a read-only disk)."""
        name = self.engine.url.database or ""
        plain = self.engine.dialect.name == "sqlite" and name and not name.startswith("file:")
        return Path(name) if plain else None

    def append(self, envelopes: Sequence[Envelope]) -> list[int]:
        """Add entries; when this returns, they are on the disk.

        An entry that is there already is not added again, so that a writer which did not hear the answer may repeat.

        Returns:
            The number of each, counted from 0.

        Raises:
            ArtifactError: the store did not confirm: all of it was added, or nothing was; repeat.
            EvidenceRefused: an entry is none that could be read again, or the store contradicts itself; nothing was
                added.
        """
        with self.named(), self.writing() as connection:
            return self.append_in(connection, envelopes)

    def append_in(self, connection: sa.Connection, envelopes: Sequence[Envelope]) -> list[int]:
        """`append` within a transaction of the caller's, who has looked at what is there inside of it."""
        frontier = self.locked_frontier(connection)
        raws = [envelope.to_bytes() for envelope in envelopes]
        for place, raw in enumerate(raws):  # what could not be read again would break the ledger for good
            Envelope.parse(raw, f"new entry {place}")
        leaves = [leaf_hash(raw) for raw in raws]
        numbers = _numbers(connection, leaves)
        rows, size = [], frontier.size
        for leaf, raw in zip(leaves, raws, strict=True):
            if leaf not in numbers:
                numbers[leaf] = size
                rows.append({"number": size, "leaf": leaf, "entry": raw})
                size += 1
        if rows:
            connection.execute(sa.insert(ENTRIES), rows)
            frontier = frontier.extended(row["leaf"] for row in rows)
            connection.execute(sa.update(STATE).values(size=frontier.size, frontier=frontier.to_bytes()))
        return [numbers[leaf] for leaf in leaves]

    def locked_frontier(self, connection: sa.Connection) -> Frontier:
        """The frontier, which nobody else changes until the transaction ends.

        Raises:
            EvidenceRefused: the store contradicts itself; the code says how.
        """
        frontier = self._frontier(connection.execute(_STATE.with_for_update()).one())
        if not self._agrees:
            self._compare(connection, frontier)
            self._agrees = True
        last = connection.execute(sa.select(sa.func.max(ENTRIES.c.number))).scalar()
        if (-1 if last is None else last) != frontier.size - 1:
            raise self._disagreement(connection, frontier)
        return frontier

    @property
    def frontier(self) -> Frontier:
        """Size and tree as the store states them."""
        with self.named(), self.engine.connect() as connection:
            return self._frontier(connection.execute(_STATE).one())

    def frontier_at(self, size: int) -> Frontier:
        """The frontier of the first entries, computed from the leaf hashes that are stored (about 2 s for 10**6).

        A root that equals a signed checkpoint's proves the leaf hashes, not the entries beside them.

        Raises:
            EvidenceRefused: `deleted`: there are not so many entries.
        """
        frontier = Frontier().extended(self.leaves(size))
        if frontier.size != size:
            raise EvidenceRefused("lacks entries", self.place, "restore it from a copy", "deleted")
        return frontier

    def leaves(self, stop: int | None = None) -> Iterator[bytes]:
        """The stored leaf hashes in order: what proofs are made from."""
        start = 0
        with self.named(), self.engine.connect() as connection:
            while stop is None or start < stop:
                rows = connection.execute(
                    sa.select(ENTRIES.c.number, _LEAF)
                    .where(ENTRIES.c.number >= start)
                    .order_by(ENTRIES.c.number)
                    .limit(min(10 * READ_ROWS, (stop or 1 << 62) - start))
                ).all()
                for number, leaf in rows:
                    if number != start or not isinstance(leaf, bytes):
                        raise EvidenceRefused(f"lacks entry {start}", self.place, "restore it from a copy", "deleted")
                    yield leaf
                    start += 1
                if not rows:
                    return

    def raw(self, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, bytes]]:
        """(number, bytes) of the entries as they are stored, in order; nothing is checked.

        Of an entry beyond the size limit, only as much is read as shows it. What is no byte string (SQLite keeps any
        type in any column) is given as an empty one, which no reader takes for an entry.
        """
        while stop is None or start < stop:
            wanted = (ENTRIES.c.number >= start) & (ENTRIES.c.number < (stop if stop is not None else 1 << 62))
            with self.named(), self.engine.connect() as connection:
                sizes = connection.execute(
                    sa.select(ENTRIES.c.number, sa.func.length(ENTRIES.c.entry))
                    .where(wanted)
                    .order_by(ENTRIES.c.number)
                    .limit(READ_ROWS)
                ).all()
                if not sizes:
                    return
                taken, last = 0, sizes[0][0]
                for number, size in sizes:
                    taken += size or 0
                    if taken > READ_BYTES:
                        break
                    last = number
                rows = connection.execute(
                    sa.select(ENTRIES.c.number, sa.func.substr(ENTRIES.c.entry, 1, MAX_ENTRY_BYTES + 1))
                    .where((ENTRIES.c.number >= start) & (ENTRIES.c.number <= last))
                    .order_by(ENTRIES.c.number)
                ).all()
            for number, entry in rows:
                yield number, entry if isinstance(entry, bytes) else b""
            start = last + 1

    def entries(self, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, Envelope]]:
        """(number, envelope) of the entries, parsed but not verified.

        Raises:
            EvidenceRefused: one is no canonical envelope.
        """
        for number, raw in self.raw(start, stop):
            yield number, Envelope.parse(raw, f"entry {number}")

    def add_checkpoint(self, size: int, note: str) -> None:
        """Keep a signed checkpoint; one of the same size and root is kept already.

        Raises:
            EvidenceRefused: `forked`: another checkpoint of this size is kept.
        """
        with self.named(), self.writing() as connection:
            self.add_checkpoint_in(connection, size, note)

    def add_checkpoint_in(self, connection: sa.Connection, size: int, note: str) -> None:
        """`add_checkpoint` within a transaction of the caller's: then no reader sees entries that none covers."""
        kept = connection.execute(sa.select(CHECKPOINTS.c.note).where(CHECKPOINTS.c.size == size)).scalar()
        if kept is None:
            connection.execute(sa.insert(CHECKPOINTS).values(size=size, note=note))
        elif kept.partition("\n\n")[0] != note.partition("\n\n")[0]:
            raise EvidenceRefused(
                f"keeps another checkpoint of size {size}", self.place, "run `domainlm audit verify`", "forked"
            )

    def checkpoints(self) -> list[str]:
        """All signed notes, the smallest first.

        Read them before the entries: what is appended in between then lies after the last of them, and no checkpoint
        seems to cover an entry that is missing.
        """
        with self.named(), self.engine.connect() as connection:
            return [_text(note) for note in connection.execute(_NOTES).scalars()]

    def latest_checkpoint(self) -> str:
        """The signed note of the largest size; empty where there is none."""
        with self.named(), self.engine.connect() as connection:
            largest = sa.select(CHECKPOINTS.c.note).order_by(CHECKPOINTS.c.size.desc()).limit(1)
            return _text(connection.execute(largest).scalar() or "")

    def close(self) -> None:
        """Give back the connections."""
        self.engine.dispose()

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """A transaction that nobody else writes beside; committed at the end of the block, else undone."""
        with self.engine.connect().execution_options(domainlm_writing=True) as connection, connection.begin():
            yield connection

    @contextmanager
    def named(self) -> Iterator[None]:
        """Turns what the driver raises into an error that names the store."""
        try:
            yield
        except SQLAlchemyError as error:
            # what the driver says names tables and paths, never an entry's content
            said = str(error.orig).strip()[:200] if isinstance(error, DBAPIError) else "no answer that could be used"
            kind = type(error.orig if isinstance(error, DBAPIError) else error).__name__
            raise ArtifactError(
                f"the ledger's store refuses: {kind}: {said}", self.place,
                "see to the store (space, rights, connection) and repeat: an entry is never added twice",
            ) from None  # fmt: skip

    def _open_file(self, create: bool) -> None:
        """A SQLite file of mode 0600 (its log files take the mode over); nothing for other databases."""
        if self.file is None or self.file.exists():
            return
        if not create:
            raise ArtifactError("there is no ledger", str(self.file), "run `domainlm audit init`, or check the path")
        try:
            os.close(os.open(self.file, os.O_WRONLY | os.O_CREAT, 0o600))
        except OSError as error:
            raise ArtifactError(
                f"cannot be made: {error.strerror}", str(self.file), "make its folder, or name another"
            ) from None

    def _frontier(self, row: Any) -> Frontier:
        try:
            return Frontier.of_bytes(row.size, bytes(row.frontier))
        except (TypeError, ValueError, AttributeError):
            raise EvidenceRefused(
                "its state is not one that this program wrote", self.place, "restore it from a copy", "edited"
            ) from None

    def _compare(self, connection: sa.Connection, frontier: Frontier) -> None:
        """Refuse a store whose entries and state disagree, so that nobody signs what it claims.

        The frontier is compared with the latest checkpoint where that has its size (whoever signs checks the
        signature), with all leaf hashes otherwise.
        """
        found = connection.execute(
            sa.select(sa.func.count(), sa.func.min(ENTRIES.c.number), sa.func.max(ENTRIES.c.number))
        ).one()
        if tuple(found) != ((frontier.size, 0, frontier.size - 1) if frontier.size else (0, None, None)):
            raise self._disagreement(connection, frontier)
        note = connection.execute(sa.select(CHECKPOINTS.c.note).where(CHECKPOINTS.c.size == frontier.size)).scalar()
        stated = self.frontier_at(frontier.size).root if note is None else Checkpoint.parse(note, self.place).root
        if stated != frontier.root:
            raise EvidenceRefused(
                "its state is not that of its entries", self.place, "run `domainlm audit verify`", "edited"
            )

    def _disagreement(self, connection: sa.Connection, frontier: Frontier) -> EvidenceRefused:
        count, last = connection.execute(sa.select(sa.func.count(), sa.func.max(ENTRIES.c.number))).one()
        if count > frontier.size:
            code = "inserted"
        else:
            code = "truncated" if count < frontier.size and (last is None or last == count - 1) else "deleted"
        return EvidenceRefused(
            f"holds {count} entries, and its state says {frontier.size}", self.place,
            "run `domainlm audit verify`, and restore it from a copy", code,
        )  # fmt: skip


# SQLite keeps any type in any column: what is no byte string must reach our own checks, not the driver's
_LEAF = sa.type_coerce(ENTRIES.c.leaf, sa.types.NullType()).label("leaf")
_STATE = sa.select(STATE.c.size, sa.type_coerce(STATE.c.frontier, sa.types.NullType()).label("frontier"))
_NOTES = sa.select(CHECKPOINTS.c.note).order_by(CHECKPOINTS.c.size)


def _text(note: Any) -> str:
    return note if isinstance(note, str) else ""


def _numbers(connection: sa.Connection, leaves: Sequence[bytes]) -> dict[bytes, int]:
    """Leaf hash -> number of those that are there already."""
    found: dict[bytes, int] = {}
    for start in range(0, len(leaves), ASKED_ROWS):
        asked = sa.select(ENTRIES.c.leaf, ENTRIES.c.number).where(
            ENTRIES.c.leaf.in_(leaves[start : start + ASKED_ROWS])
        )
        found.update((bytes(leaf), number) for leaf, number in connection.execute(asked))
    return found
