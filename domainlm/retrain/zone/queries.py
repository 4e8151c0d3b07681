"""Feeds by query: the rows that a SELECT gives and that have not landed yet, as a private file of JSON lines.

A row is new if no row with the same values has landed; a row that was changed in the database lands again in its new
form, and a deleted one stays as it landed. With an `order_column` a scan asks only for rows from a little before the
last one on (`OVERLAP_ROWS`), since transactions are not committed in the order of their numbers; what comes later than
that is found by the full comparison that takes place every `redigest_h` hours. Without one, each scan is a full
comparison, which takes at most a tenth of the time.

The database is only ever read: the query stands inside a SELECT of ours, which takes one statement that gives rows and
nothing else, in a read-only transaction, SQLite opened read-only. A driver's own words are never repeated: they quote.
"""

from __future__ import annotations

import json
import math
import sqlite3
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Sequence, Set
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa

from domainlm.digests import digest_json
from domainlm.errors import SecretError
from domainlm.locks import alone
from domainlm.project import home
from domainlm.reading import display
from domainlm.retrain.batches import LANDED, PROMOTED, TRAINED, WITHDRAWN, Batch
from domainlm.retrain.book import Book
from domainlm.retrain.secret_values import secret_value
from domainlm.retrain.settings import DetectSettings, FeedSettings
from domainlm.retrain.zone.changes import batch_id
from domainlm.retrain.zone.names import shown
from domainlm.retrain.zone.places import Local, Store, Unreadable, Unstable, ZoneUnreachable, place_of
from domainlm.retrain.zone.scans import Scan
from domainlm.retrain.zone.seen_rows import SeenRows
from domainlm.retrain.zone.spool import DEFAULT, Spool

OVERLAP_ROWS = 1000
_ROWS = 1000  # fetched at a time
_ANSWER_S = 600  # a statement of PostgreSQL or MySQL that takes longer is ended
_CONNECT_S = 10
_FIRST_PAUSE_S = 1.0
_SHARE = 10  # a feed rests ten times as long as its query took
_READ_ONLY = dict.fromkeys(("postgresql", "mysql", "mariadb"), "SET TRANSACTION READ ONLY")


class _Refused(Exception):
    """A feed that cannot be read as it is configured; its text is for people and names no value."""


@dataclass
class _Turn:
    """When a feed is asked next, by the monotonic clock, and how often it failed in a row."""

    next: float = 0.0
    failures: int = 0
    told: str = ""


class Queries:
    """All feeds by query.

    Args:
        settings: the zone's.
        book: what landed before.
        clock: Unix time in seconds.
        monotonic: seconds that never go back.
        aside: a folder for new rows and the index in place of the project's, whose rows are only read then.
    """

    def __init__(
        self,
        settings: DetectSettings,
        book: Book,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
        aside: Path | None = None,
    ) -> None:
        self._settings, self._book, self._clock, self._monotonic = settings, book, clock, monotonic
        self._aside = aside
        self._feeds = [feed for feed in settings.feeds if feed.query]
        self._turns = {feed.name: _Turn() for feed in self._feeds}

    def scan(self, scan: Scan) -> None:
        """Ask each feed whose turn it is; one that fails holds up no other, and is asked again later and later.

        Raises:
            BookUnavailable: the book's database does not answer.
        """
        for feed in self._feeds:
            turn = self._turns[feed.name]
            if self._monotonic() < turn.next:
                if turn.told:
                    scan.failing.append((feed.name, turn.told))
                continue
            began = time.monotonic()
            try:
                self._ask(feed, scan)
            except (_Refused, Unreadable, ZoneUnreachable, SecretError) as error:
                said = (
                    f"{error.where}: {error.what}" if isinstance(error, ZoneUnreachable | SecretError) else str(error)
                )
                if said != turn.told:
                    scan.unreadable.append((feed.uri, said))
                scan.failing.append((feed.name, said))
                pause = min(_FIRST_PAUSE_S * 2**turn.failures, self._settings.backoff_max_s)
                self._turns[feed.name] = _Turn(self._monotonic() + pause, min(turn.failures + 1, 30), said)
            else:
                rest = _SHARE * (time.monotonic() - began)
                self._turns[feed.name] = _Turn(self._monotonic() + rest)

    def _ask(self, feed: FeedSettings, scan: Scan) -> None:
        root = self._settings.spool or display(str(home() / DEFAULT))
        place = place_of(root)
        to = place if self._aside is None else place_of(str(self._aside))
        folder = self._aside or home() / "retrain" / "zone"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        own = folder / feed.name
        own.mkdir(mode=0o700, exist_ok=True)
        with alone(own) as mine:
            if not mine:
                return  # another process of this machine asks just now
            try:
                batches = self._book.batches(feed=feed.name)
                there = _spooled(place, feed.name, batches) | (set() if to is place else _spooled(to, feed.name, ()))
                self._note_gone(feed, batches, there, scan)
                with closing(SeenRows(own / "rows.sqlite")) as seen:
                    seen.take_in(place, [file for batch in batches for file in batch.files if file.path in there])
                    with seen.changing():
                        self._land(feed, seen, Spool(to, feed.name), scan)
            except Unstable:
                raise _Refused(
                    "the spool is gone or a file in it was changed: put it back, or withdraw its batches"
                ) from None
            except OSError as error:
                raise _Refused(f"the spool cannot be written ({error.strerror})") from None
            except sqlite3.Error as error:
                raise _Refused(f"the index of its rows cannot be written ({type(error).__name__})") from None

    def _note_gone(self, feed: FeedSettings, batches: list[Batch], there: Set[str], scan: Scan) -> None:
        """Spooled files that somebody deleted: as in the zone, their batch is withdrawn, or they are marked where a
        training learnt from it. What the database still gives of their rows lands anew."""
        for batch in batches:
            gone = {file.path for file in batch.files if not file.removed and file.path not in there}
            if not gone or batch.state == WITHDRAWN:
                continue
            self._book.set_value(f"zone/query/{feed.name}", "")  # all rows are asked for again
            if batch.state not in (TRAINED, PROMOTED):
                reason = f"its spooled file was deleted before a training learnt from it: {shown(min(gone))}"
                self._book.withdraw(batch.id, reason)
                scan.withdrawn.append((batch.id, reason))
            self._book.mark_removed(batch.id, gone)
            scan.removed += sorted(map(shown, gone))

    def _land(self, feed: FeedSettings, seen: SeenRows, spool: Spool, scan: Scan) -> None:
        now = self._clock()
        mark = _Mark.of(self._book.value(f"zone/query/{feed.name}"), feed, now, self._settings.redigest_h * 3600)
        orders: deque[Any] = deque(maxlen=OVERLAP_ROWS)
        with _rows(feed, mark.start) as (columns, rows), spool.writing() as file:
            for row in rows:
                line = _line(columns, row)
                if seen.add(line):
                    file.write(line)
                if feed.order_column and (order := row[columns.index(feed.order_column)]) is not None:
                    orders.append(order)
            kept = file.keep()
        if mark.columns and list(mark.columns) != columns:
            more = [f"+{shown(name)}" for name in columns if name not in mark.columns]
            less = [f"-{shown(name)}" for name in mark.columns if name not in columns]
            scan.changed.append(
                f"{feed.uri}: other columns than before ({' '.join(more + less) or 'in another order'})"
            )
        if kept is not None:
            landed = datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds")
            batch = Batch(
                id=batch_id(feed.name, [kept.sha256]), number=0, feed=feed.name, name=f"{feed.uri} {landed}",
                files=(kept,), landed=landed, trusted=feed.trusted,
            )  # fmt: skip
            scan.landed += [one for one in self._book.land_all([batch]) if one.state == LANDED]
            scan.digested_bytes += kept.size_bytes
            seen.landed(kept.sha256)
        text = mark.after(columns, orders)
        if text != mark.text:
            self._book.set_value(f"zone/query/{feed.name}", text)


def _spooled(place: Local | Store, feed: str, batches: Sequence[Batch]) -> set[str]:
    """Paths in the spool of a feed.

    Raises:
        Unstable: it is not there although files of these batches should lie in it: its disk may only be unmounted.
    """
    try:
        return place.names(feed)
    except Unstable:
        if any(not file.removed for batch in batches if batch.state != WITHDRAWN for file in batch.files):
            raise
        return set()


@dataclass(frozen=True)
class _Mark:
    """How far a feed was read.

    Fields:
        text: as the book keeps it.
        query: digest of query and order column; another one is read from its beginning.
        columns: of the last result.
        start: value of the order column to begin at; None reads everything.
        full_at: Unix time of the last full comparison.
    """

    text: str
    query: str
    columns: tuple[str, ...]
    start: Any
    full_at: float

    @classmethod
    def of(cls, text: str, feed: FeedSettings, now: float, full_s: float) -> _Mark:
        query = digest_json([feed.query, feed.order_column])
        kept = json.loads(text) if text else {}
        if kept.get("query") != query:
            return cls("", query, (), None, now if feed.order_column else 0.0)
        age = now - kept["full_at"]
        columns = tuple(kept["columns"])
        if kept["start"] is None or not 0 <= age < full_s:
            return cls(text, query, columns, None, now if feed.order_column else 0.0)
        return cls(text, query, columns, _restored(kept["start"]), kept["full_at"])

    def after(self, columns: list[str], orders: deque[Any]) -> str:
        """What the book shall keep after a reading whose last order values are given."""
        start = self.start if not orders or (self.start is not None and len(orders) < OVERLAP_ROWS) else orders[0]
        kept = None if start is None else _kept(start)
        return json.dumps(
            {"query": self.query, "columns": columns, "start": kept, "full_at": self.full_at}, sort_keys=True
        )


_KEPT: dict[str, tuple[type, Callable[[str], Any]]] = {
    "int": (int, int), "float": (float, float), "str": (str, str), "datetime": (datetime, datetime.fromisoformat),
    "date": (date, date.fromisoformat), "Decimal": (Decimal, Decimal), "UUID": (uuid.UUID, uuid.UUID),
}  # fmt: skip


def _kept(value: Any) -> list[str]:
    for name, (kind, _) in _KEPT.items():
        if type(value) is kind:
            return [name, value.isoformat() if isinstance(value, date) else str(value)]
    raise _Refused("the order column holds neither numbers, text nor times: order by another one")


def _restored(kept: list[str]) -> Any:
    return _KEPT[kept[0]][1](kept[1])


@contextmanager
def _rows(feed: FeedSettings, start: Any) -> Iterator[tuple[list[str], Iterator[Any]]]:
    """Column names and rows of a feed's query, streamed, in a read-only transaction.

    Raises:
        _Refused: the database does not answer, the query is none, or its columns cannot be used.
    """
    query = feed.query.strip().rstrip(";").rstrip()
    # a colon would name a parameter; a line of its own, since the query may end in a comment
    inner = sa.text("(" + query.replace(":", r"\:") + "\n) AS feed_rows")
    statement = sa.select(sa.text("*")).select_from(inner)
    if feed.order_column:
        order = sa.column(feed.order_column)
        statement = statement.order_by(order)
        if start is not None:
            statement = statement.where(order >= start)
    engine = None
    try:
        engine = _engine(secret_value(feed.database))
        with engine.connect() as connection:
            if begin := _READ_ONLY.get(engine.dialect.name):
                connection.exec_driver_sql(begin)
            result = connection.execution_options(yield_per=_ROWS).execute(statement)
            columns = list(result.keys())
            if double := {name for name in columns if columns.count(name) > 1}:
                raise _Refused(f"the query gives two columns '{shown(min(double))}': name one otherwise")
            if feed.order_column and feed.order_column not in columns:
                raise _Refused(f"the query gives no column '{feed.order_column}', which is its order_column")
            yield columns, iter(result)
    except sa.exc.SQLAlchemyError as error:
        cause = getattr(error, "orig", None) or error
        state = getattr(cause, "sqlstate", None) or getattr(cause, "sqlite_errorname", "") or ""
        raise _Refused(f"the query fails ({' '.join(filter(None, (type(cause).__name__, state)))})") from None
    except ImportError as error:
        raise _Refused(f"there is no driver for its database ({error.name})") from None
    finally:
        if engine is not None:
            engine.dispose()


def _engine(url: str) -> sa.Engine:
    made = sa.make_url(url)
    kind = made.get_backend_name()
    arguments: dict[str, Any] = {}
    if kind == "sqlite":
        if made.database and not made.database.startswith("file:"):
            made = made.set(database=f"file:{quote(made.database)}").update_query_dict({"mode": "ro", "uri": "true"})
        arguments = {"timeout": float(_CONNECT_S)}
    elif kind == "postgresql":
        arguments = {"connect_timeout": _CONNECT_S, "options": f"-c statement_timeout={_ANSWER_S * 1000}"}
    elif kind in ("mysql", "mariadb"):
        arguments = {"connect_timeout": _CONNECT_S, "read_timeout": _ANSWER_S}
    else:
        raise _Refused("its database is none of SQLite, PostgreSQL, MySQL and MariaDB")
    return sa.create_engine(made, hide_parameters=True, poolclass=sa.pool.NullPool, connect_args=arguments)


def _line(columns: list[str], row: Any) -> bytes:
    """A row as one line of JSON, its keys sorted: equal values are equal bytes, in whatever order columns come."""
    cells = {name: _cell(name, value) for name, value in zip(columns, row, strict=True)}
    return json.dumps(cells, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def _cell(column: str, value: Any) -> Any:
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        if math.isfinite(value):
            return value
        raise _Refused(f"column '{shown(column)}' holds a number that JSON does not know: leave NaN and infinity out")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Decimal | uuid.UUID):
        return str(value)
    if isinstance(value, dict | list):
        return value
    raise _Refused(f"column '{shown(column)}' holds {type(value).__name__}: cast it to text in the query")
