"""The ledger: an append-only log of signed entries in a database (SQLite, or PostgreSQL through SQLAlchemy).

Append is one transaction: the entries, and the frontier of the tree over them. Writers of several processes take turns
by the database's own lock. A crash at any byte leaves the transaction before it. The store itself is not believed:
whoever reads checks the entries against signed checkpoints (`domainlm.audit.verification`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, IntegrityError

from domainlm.errors import ArtifactError, EvidenceRefused
from domainlm.ledger.envelopes import Envelope
from domainlm.ledger.merkle import Frontier, leaf_hash

_METADATA = sa.MetaData()
ENTRIES = sa.Table(
    "ledger_entries",
    _METADATA,
    sa.Column("number", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=False),
    sa.Column("leaf", sa.LargeBinary(32), nullable=False, unique=True),
    sa.Column("entry", sa.LargeBinary, nullable=False),
)
CHECKPOINTS = sa.Table(
    "ledger_checkpoints",
    _METADATA,
    sa.Column("size", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=False),
    sa.Column("note", sa.Text, nullable=False),
)
STATE = sa.Table(  # one row
    "ledger_state",
    _METADATA,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("origin", sa.Text, nullable=False),
    sa.Column("size", sa.BigInteger().with_variant(sa.Integer, "sqlite"), nullable=False),
    sa.Column("frontier", sa.LargeBinary, nullable=False),
)
READ_ROWS = 1000


class Ledger:
    """One ledger in one database.

    Args:
        url: SQLAlchemy's, such as "sqlite:////data/ledger.sqlite" or "postgresql+psycopg://...".
        origin: the ledger's name; a database that holds another ledger is refused.

    Raises:
        EvidenceRefused: `foreign-entry`: the database holds another ledger.
        ArtifactError: the database cannot be opened.
    """

    def __init__(self, url: str, origin: str) -> None:
        self.origin = origin
        self.engine = sa.create_engine(url, **_options(url))
        if self.engine.dialect.name == "sqlite":
            sa.event.listen(self.engine, "connect", _durable)
            sa.event.listen(self.engine, "begin", _begin)
        with self.named():
            with self.writing() as connection:
                _METADATA.create_all(connection)
                found = connection.execute(sa.select(STATE.c.origin)).scalar()
                if found is None:
                    connection.execute(sa.insert(STATE).values(id=1, origin=origin, size=0, frontier=b""))
        if found not in (None, origin):
            raise EvidenceRefused(
                f"holds the ledger '{found}'", self.place, "two ledgers must not be merged", "foreign-entry"
            )

    @property
    def place(self) -> str:
        """The database, without any password."""
        return self.engine.url.render_as_string(hide_password=True)

    def append(self, envelopes: Sequence[Envelope]) -> list[int]:
        """Add entries; when this returns, they are on the disk.

        An entry that is there already is not added again, so that a writer which did not hear the answer may repeat.

        Returns:
            The number of each, counted from 0.

        Raises:
            ArtifactError: the store cannot be written; nothing of it was added.
        """
        with self.named(), self.writing() as connection:
            return self.append_in(connection, envelopes)

    def append_in(self, connection: sa.Connection, envelopes: Sequence[Envelope]) -> list[int]:
        """`append` within a transaction of the caller's, who has looked at what is there inside of it."""
        frontier = self.locked_frontier(connection)
        numbers, rows, seen = [], [], {}
        size = frontier.size
        for envelope in envelopes:
            raw = envelope.to_bytes()
            leaf = leaf_hash(raw)
            known = seen.get(leaf)
            if known is None:
                known = connection.execute(sa.select(ENTRIES.c.number).where(ENTRIES.c.leaf == leaf)).scalar()
            if known is None:
                known, size = size, size + 1
                rows.append({"number": known, "leaf": leaf, "entry": raw})
            seen[leaf] = known
            numbers.append(known)
        if rows:
            connection.execute(sa.insert(ENTRIES), rows)
            frontier = frontier.extended(row["leaf"] for row in rows)
            connection.execute(sa.update(STATE).values(size=frontier.size, frontier=frontier.to_bytes()))
        return numbers

    def locked_frontier(self, connection: sa.Connection) -> Frontier:
        """The frontier, which nobody else changes until the transaction ends."""
        row = connection.execute(sa.select(STATE.c.size, STATE.c.frontier).with_for_update()).one()
        return Frontier.of_bytes(row.size, bytes(row.frontier))

    @property
    def frontier(self) -> Frontier:
        """Size and tree as the store states them."""
        with self.named(), self.engine.connect() as connection:
            row = connection.execute(sa.select(STATE.c.size, STATE.c.frontier)).one()
        return Frontier.of_bytes(row.size, bytes(row.frontier))

    def raw(self, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, bytes]]:
        """(number, bytes) of the entries as they are stored, in order; nothing is checked."""
        while stop is None or start < stop:
            wanted = (ENTRIES.c.number >= start) & (ENTRIES.c.number < (stop if stop is not None else 1 << 62))
            with self.named(), self.engine.connect() as connection:
                rows = connection.execute(
                    sa.select(ENTRIES.c.number, ENTRIES.c.entry)
                    .where(wanted)
                    .order_by(ENTRIES.c.number)
                    .limit(READ_ROWS)
                ).all()
            if not rows:
                return
            for row in rows:
                yield row.number, bytes(row.entry)
            start = rows[-1].number + 1

    def entries(self, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, Envelope]]:
        """(number, envelope) of the entries, parsed but not verified.

        Raises:
            EvidenceRefused: one is no canonical envelope.
        """
        for number, raw in self.raw(start, stop):
            yield number, Envelope.parse(raw, f"entry {number}")

    def add_checkpoint(self, size: int, note: str) -> None:
        """Keep a signed checkpoint; one of the same size is kept already."""
        with self.named(), self.writing() as connection:
            try:
                with connection.begin_nested():
                    connection.execute(sa.insert(CHECKPOINTS).values(size=size, note=note))
            except IntegrityError:
                pass

    def checkpoints(self) -> list[str]:
        """All signed notes, the smallest first."""
        with self.named(), self.engine.connect() as connection:
            return list(connection.execute(sa.select(CHECKPOINTS.c.note).order_by(CHECKPOINTS.c.size)).scalars())

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
        except DBAPIError as error:
            # what the driver says names tables and paths, never an entry's content
            raise ArtifactError(
                f"the ledger's store refuses: {type(error.orig).__name__}: {str(error.orig)[:200]}", self.place,
                "nothing was added; see to the store (space, rights, connection) and repeat",
            ) from None  # fmt: skip


def _options(url: str) -> dict[str, Any]:
    return {"hide_parameters": True} | (
        {"connect_args": {"timeout": 60.0}} if url.startswith("sqlite") else {"pool_pre_ping": True}
    )


def _begin(connection: sa.Connection) -> None:
    writing = connection.get_execution_options().get("domainlm_writing")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")


def _durable(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # transactions begin as `_begin` says: a writer takes its lock at once
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=60000"):
        connection.execute(f"PRAGMA {pragma}")
