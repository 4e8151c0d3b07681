"""An empty database of each kind, and batches to put into it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
import sqlalchemy as sa
from postgresql_cluster import Cluster, or_skip

from domainlm.retrain.batches import Batch, LandedFile
from domainlm.retrain.book import Book, open_book

_NUMBERS = count()


def fresh(cluster: Cluster) -> str:
    """An empty database in the cluster."""
    name = f"book{next(_NUMBERS)}"
    engine = sa.create_engine(cluster.url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return cluster.url.replace("/postgres?", f"/{name}?")


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    yield from or_skip()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'book.sqlite'}"
    return fresh(request.getfixturevalue("cluster"))


@pytest.fixture
def book(url: str) -> Iterator[Book]:
    opened = open_book(url)
    yield opened
    opened.close()


class HandClock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.name, self.time = "hand", 1000.0

    def now(self, _connection: sa.Connection) -> float:
        return self.time

    def holds(self, *given: object) -> bool:
        from domainlm.retrain.book.clock import Clock

        return Clock.holds(self, *given)


@pytest.fixture
def clock(book: Book) -> HandClock:
    book.clock = HandClock()
    return book.clock


def batch_of(number: int, feed: str = "news", files: int = 1, **values: object) -> Batch:
    """A batch that the zone could have found."""
    parts = tuple(
        LandedFile(
            path=f"d{number}/{part}.csv",
            uri=f"/zone/d{number}/{part}.csv",
            sha256=hashlib.sha256(f"{feed} {number} {part}".encode()).hexdigest(),
            size_bytes=100,
        )
        for part in range(files)
    )
    id = hashlib.sha256("".join((feed, *(part.sha256 for part in parts))).encode()).hexdigest()
    known = {"number": 0, "feed": feed, "name": f"d{number}", "landed": f"2026-01-{number % 28 + 1:02}T10:00:00Z"}
    return Batch(id=id, files=parts, **(known | values))


def accepted(book: Book, number: int, **values: object) -> Batch:
    """A batch that has landed and keeps its contract."""
    landed = book.land(batch_of(number, **values))
    return book.accept(landed.id, rows=10, profile={"labels": {"up": number}})
