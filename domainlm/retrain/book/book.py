"""The batch book as a whole, and where it lies."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from domainlm.errors import BookRefused, SecretError
from domainlm.private_files import others_can_read
from domainlm.project import home
from domainlm.retrain.book import store
from domainlm.retrain.book.connection import PATIENCE_S
from domainlm.retrain.book.heartbeat import KeptAlive
from domainlm.retrain.book.landings import Landings
from domainlm.retrain.book.notes import Notes
from domainlm.retrain.book.outbox import Outbox
from domainlm.retrain.book.seen import SeenFiles

URL_VARIABLE, FILE_VARIABLE = "DOMAINLM_BOOK", "DOMAINLM_BOOK_FILE"
_ROWS = 5000


class Book(Landings, KeptAlive, SeenFiles, Notes, Outbox):
    """What landed, who trains on it, and what came of it (docs/batch-book.md)."""

    def copied_to(self, path: Path) -> Book:
        """A copy in a fresh SQLite file, to be scribbled on: what a dry run works with.

        Raises:
            BookRefused: the file is there already.
        """
        if path.exists():
            raise BookRefused("is there already", str(path), "name another file for the copy")

        def work(connection: sa.Connection) -> Book:
            for side in ("", "-wal", "-shm"):  # of a try that was cut off
                path.with_name(path.name + side).unlink(missing_ok=True)
            store.reading_long(connection)
            copy = Book(f"sqlite:///{path}", who=self._who, now=self.now)
            copy._beside(lambda to: to.execute(sa.delete(store.STATE)))
            for table in store.METADATA.sorted_tables:
                rows = connection.execution_options(yield_per=_ROWS).execute(sa.select(table)).mappings()
                for part in rows.partitions(_ROWS):
                    copy._insert(table, [dict(row) for row in part])
            return copy

        copy = self._read(work)
        living = [start.token for start in self.living()]
        copy._beside(  # a lease goes on by the copy's own clock: a lane that is busy is busy in the copy
            lambda to: to.execute(
                sa.update(store.CLAIMS)
                .where(store.CLAIMS.c.token.in_(living))
                .values(clock=copy.clock.name, renewed=copy.clock.now(to))
            )
        )
        return copy

    def _insert(self, table: sa.Table, rows: list[dict[str, Any]]) -> None:
        self._beside(lambda connection: connection.execute(sa.insert(table), rows))


def open_book(
    url: str = "",
    create: bool = True,
    who: str = "",
    patience_s: float = PATIENCE_S,
    now: Callable[[], float] = time.time,
) -> Book:
    """The batch book of this project.

    Args:
        url: SQLAlchemy's; empty: `DOMAINLM_BOOK`, else what the private file `DOMAINLM_BOOK_FILE` holds, else SQLite
            in the project's folder.
        create: whether to make it where it is missing.
        who: stands beside every transition; by default the machine's name and the process.
        patience_s: how long each call repeats itself while the database does not answer.
        now: Unix time for people, the cool-down and the budget (a simulation has its own); never of leases.

    Raises:
        BookUnavailable: it cannot be opened, or is of another version.
        ConfigurationError: there is no such URL or driver.
        SecretError: the file with the URL can be read by others, or cannot be read.
    """
    return Book(url or book_url(), create, who, patience_s, now)


def book_url() -> str:
    """Where the book lies; may hold a password, so it is never shown (`Book.place` is)."""
    if given := os.environ.get(URL_VARIABLE, ""):
        return given
    if named := os.environ.get(FILE_VARIABLE, ""):
        return _private(Path(named))
    return f"sqlite:///{home() / 'retrain' / 'book.sqlite'}"


def _private(path: Path) -> str:
    try:
        with open(path, encoding="utf-8") as stream:
            if others_can_read(os.fstat(stream.fileno())):
                raise SecretError("others can read it, and it may hold a password", str(path), f"chmod 600 {path}")
            url = stream.read().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SecretError(
            f"{FILE_VARIABLE} cannot be read ({type(error).__name__})", str(path), "name a file with the book's URL"
        ) from None
    if not url:
        raise SecretError(f"{FILE_VARIABLE} is empty", str(path), "put the book's URL into it")
    return url
