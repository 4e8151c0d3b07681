"""Transactions of the book: one writer at a time, repeated where a repetition is safe, errors that name the remedy."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from domainlm.errors import BookRefused, BookUnavailable, ConfigurationError
from domainlm.retrain.book import store
from domainlm.retrain.book.clock import Clock, stamp
from domainlm.retrain.book.file import BookFile
from domainlm.retrain.book.states import Hand

PATIENCE_S = 15.0  # how long a call repeats itself while the database does not answer
_PAUSES_S = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
# SQLSTATE: cut off, idle too long, conflict, shutdown, lock, too many connections
_PASSES = ("08", "25P03", "40", "57P", "55P03", "53300")
_URL_REMEDY = "sqlite:///PATH, or postgresql+psycopg://... with `pip install domainlm[postgresql]`"
T = TypeVar("T")


class Connected:
    """A book's database.

    Every change is one transaction that may be called again: a caller that did not hear the answer repeats it, and
    nothing happens twice.

    Args:
        url: SQLAlchemy's, such as "sqlite:////data/book.sqlite" or "postgresql+psycopg://...".
        create: whether to make the tables where they are missing.
        who: writes; stands beside every transition. By default the machine's name and the process.
        patience_s: how long a call repeats itself while the database does not answer.
        now: Unix time for people, the cool-down and the budget (a simulation has its own); never of leases.

    Raises:
        BookUnavailable: it cannot be opened, is none, or is of another version.
        ConfigurationError: there is no such URL or driver.
    """

    def __init__(
        self,
        url: str,
        create: bool = True,
        who: str = "",
        patience_s: float = PATIENCE_S,
        now: Callable[[], float] = time.time,
    ) -> None:
        try:
            self._url = sa.make_url(url)
            if self._url.get_backend_name() == "sqlite" and not self._url.database:
                raise ArgumentError("in memory, nobody else would see it")
            self.engine = store.engine(self._url)
        except (ArgumentError, ImportError, SQLAlchemyError) as error:
            raise ConfigurationError(
                f"is no database that can be used ({type(error).__name__})", "the batch book's URL", _URL_REMEDY
            ) from None
        self._process = os.getpid()
        self._who = who
        self.patience_s, self.now = patience_s, now
        self.clock = Clock.of(self.engine.dialect.name)
        self._file = BookFile(self.file, create) if self.file else None
        self._check_version(create)

    @property
    def who(self) -> str:
        """Who writes."""
        return self._who or f"{socket.gethostname()}:{os.getpid()}"

    @property
    def place(self) -> str:
        """The database, without user, password and options (which may hold one)."""
        return self._url.set(username=None, password=None, query={}).render_as_string()

    @property
    def file(self) -> Path | None:
        """The database's file; None for PostgreSQL and for a SQLite URI."""
        name = self._url.database or ""
        plain = self.engine.dialect.name == "sqlite" and name and not name.startswith("file:")
        return Path(name) if plain else None

    def close(self) -> None:
        """Give back the connections."""
        self.engine.dispose()

    def _hand(self, person: str = "") -> Hand:
        return Hand(person or self.who, stamp(self.now()))

    def _read(self, work: Callable[[sa.Connection], T]) -> T:
        return self._repeated(work, writing=False)

    def _write(self, work: Callable[[sa.Connection], T], patience_s: float = 0.0) -> T:
        """`work` in a transaction that nobody else changes a batch or a claim beside."""

        def locked(connection: sa.Connection) -> T:
            if connection.dialect.name == "postgresql":
                connection.execute(sa.select(store.STATE.c.id).with_for_update())
            return work(connection)

        return self._repeated(locked, True, patience_s)

    def _beside(self, work: Callable[[sa.Connection], T]) -> T:
        """`work` in a transaction that waits for no writer where the database allows it: what no claim depends on."""
        return self._repeated(work, writing=True)

    def _streamed(self, query: sa.Select, rows: int) -> Iterator[sa.Row]:
        """Rows of a large answer, some thousand of them in memory at a time."""
        self._ready()
        try:
            with self.engine.connect() as connection:
                store.reading_long(connection)
                yield from connection.execution_options(yield_per=rows).execute(query)
        except SQLAlchemyError as error:
            raise self._unavailable(error) from None

    def _ready(self) -> None:
        if self._file is not None:
            self._file.check()
        if self._process != os.getpid():  # a child must neither speak on its parent's connections nor close them
            self._inherited = self.engine.pool
            self.engine.dispose(close=False)
            self._process = os.getpid()

    def _repeated(self, work: Callable[[sa.Connection], T], writing: bool, patience_s: float = 0.0) -> T:
        self._ready()
        end = time.monotonic() + max(self.patience_s, patience_s)
        for turn in range(1 << 30):
            try:
                with self.engine.connect().execution_options(domainlm_writing=writing) as connection:
                    with connection.begin():
                        return work(connection)
            except UnicodeEncodeError:  # a name out of the zone; what it is stays unsaid
                raise BookRefused(
                    "holds a name that is no UTF-8", "the zone", "give the file a name in UTF-8"
                ) from None
            except SQLAlchemyError as error:
                pause = _PAUSES_S[min(turn, len(_PAUSES_S) - 1)]
                if not _passes(error) or time.monotonic() + pause > end:
                    raise self._unavailable(error) from None
            time.sleep(pause)
        raise AssertionError("unreachable")

    def _unavailable(self, error: SQLAlchemyError) -> BookUnavailable:
        cause = error.orig if isinstance(error, DBAPIError) else error
        # what the driver says first names tables and addresses; what follows may quote a value
        said = next(iter(str(cause).strip().splitlines()), "no answer")[:200]
        return BookUnavailable(f"the batch book refuses: {type(cause).__name__}: {said}", self.place, _remedy(said))

    def _check_version(self, create: bool) -> None:
        def found(connection: sa.Connection) -> tuple[int | None, bool]:
            there = set(sa.inspect(connection).get_table_names())
            state = sa.select(store.STATE.c.version)
            version = connection.execute(state).scalar() if store.STATE.name in there else None
            return version, there.issuperset(store.METADATA.tables)

        version, whole = self._read(found)
        if create and not whole and version in (None, store.VERSION):  # a table more needs no other version
            self._beside(store.create)
            version, _ = self._read(found)
        if version is None:
            raise BookUnavailable("holds no batch book", self.place, "check the URL, or let `domainlm retrain` make it")
        if version != store.VERSION:
            newer = version > store.VERSION
            raise BookUnavailable(
                f"has version {version} of the tables; this program knows {store.VERSION}", self.place,
                "use the domainlm that wrote it" + (", which is newer" if newer else ""),
            )  # fmt: skip


def _passes(error: SQLAlchemyError) -> bool:
    """Whether a later try may succeed by itself."""
    if not isinstance(error, DBAPIError):
        return False
    if error.connection_invalidated:
        return True
    if not isinstance(error, sa.exc.OperationalError):
        return False
    cause: Any = error.orig
    if hasattr(cause, "sqlstate"):  # psycopg; an attempt to connect that failed has none
        return cause.sqlstate is None or cause.sqlstate.startswith(_PASSES)
    return str(getattr(cause, "sqlite_errorname", "")).startswith(("SQLITE_BUSY", "SQLITE_LOCKED"))


_REMEDIES = {
    "full": "make room and repeat: what was committed is whole, the rest was undone",
    "readonly": "give the runner the right to write the file and its folder",
    "read-only": "give the runner the right to write, or name the primary server",
    "malformed": "the file is damaged: keep it, and restore it from a backup",
    "not a database": "the file is damaged or none of ours: keep it, and restore it from a backup",
    "unable to open": "see to the folder and its rights",
    "disk I/O": "see to the disk (space, quota, hardware) and repeat: what was committed is whole",
    "No space left": "make room on the server and repeat: what was committed is whole, the rest was undone",
    "password": "see to DOMAINLM_BOOK or DOMAINLM_BOOK_FILE",
}


def _remedy(said: str) -> str:
    known = (remedy for sign, remedy in _REMEDIES.items() if sign in said)
    return next(known, "see to the database (is it up, may it be reached) and repeat: nothing is done twice")
