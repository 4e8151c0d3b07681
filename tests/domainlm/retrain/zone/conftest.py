"""Makes a zone with an empty book."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from small_zones import SETTLE_S, Desk, feed

from domainlm.retrain.book import Book, open_book
from domainlm.retrain.settings import DetectSettings, FeedSettings


@pytest.fixture
def book(tmp_path: Path) -> Iterator[Book]:
    opened = open_book(f"sqlite:///{tmp_path / 'book.sqlite'}")
    yield opened
    opened.close()


@pytest.fixture
def desk(tmp_path: Path, book: Book) -> Callable[..., Desk]:
    """Makes a zone; keywords are those of `DetectSettings`."""

    def made(*feeds: FeedSettings, **values: object) -> Desk:
        root = tmp_path / "zone"
        root.mkdir(exist_ok=True)
        settings = DetectSettings(**{"zone": str(root), "feeds": feeds or (feed(),), "settle_s": SETTLE_S} | values)
        return Desk(root, book, settings)

    return made
