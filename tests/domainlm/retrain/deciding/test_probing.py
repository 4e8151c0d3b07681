"""Which batches the champion is asked about: those with labels that nothing was trained on and that it never saw."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from domainlm.retrain.batches import Batch, LandedFile, Result
from domainlm.retrain.book import Book, open_book
from domainlm.retrain.deciding.probing import fresh_rows, nothing, to_probe, unscored
from domainlm.retrain.settings import FeedSettings
from domainlm.sources import RowStream

LANE, CHAMPION = "domainlm-finance", "c" * 64


def feed(name: str, task: str = "sentiment") -> FeedSettings:
    form = {"form": "labelled", "task": task} if task else {"form": "documents", "columns": {"text": "text"}}
    return FeedSettings(
        name=name, uri=f"{name}/*.csv", licence="CC0-1.0", consent="public", purpose="model-training",
        jurisdiction="us", language="en", **form,
    )  # fmt: skip


FEEDS = (feed("news"), feed("wire"), feed("letters", task=""))


@pytest.fixture
def book(tmp_path: Path) -> Book:
    return open_book(f"sqlite:///{tmp_path}/book.sqlite")


@pytest.fixture
def land(book: Book, tmp_path: Path):
    """Lands and accepts a batch of some files, each of so many rows."""

    def run(of: str, name: str, *rows: int) -> Batch:
        (tmp_path / "zone" / of).mkdir(parents=True, exist_ok=True)
        files = []
        for place, count in enumerate(rows):
            path = tmp_path / "zone" / of / f"{name}-{place}.csv"
            path.write_text("text,label\n" + "".join(f"{name} {place} {row},neutral\n" for row in range(count)))
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            files.append(LandedFile(path=f"{of}/{path.name}", uri=str(path), sha256=digest, size_bytes=1, rows=count))
        batch = Batch(
            id=hashlib.sha256(f"{of}{name}".encode()).hexdigest(), number=0, feed=of, name=name, files=tuple(files),
            landed="2026-11-01T00:00:00+00:00",
        )  # fmt: skip
        book.land(batch)
        return book.accept(batch.id, sum(rows), "", "", files)

    return run


def test_rows_are_counted_as_ingest_reads_them_and_each_belongs_to_its_batch(book: Book, land, tmp_path: Path) -> None:
    first, second, other = land("news", "a", 3, 2), land("news", "b", 4), land("wire", "w", 1)
    found = fresh_rows(book, CHAMPION, LANE, FEEDS, str(tmp_path / "zone"))
    assert found.ends == {"news": [(3, first.id), (5, first.id), (9, second.id)], "wire": [(1, other.id)]}
    assert found.batches == [first.id, second.id, other.id]
    assert (found.landed.lane, found.landed.new_after, found.identity) == (LANE, {}, CHAMPION)
    news = next(source for source in found.landed.sources if source.name == "news")
    read = [row.question.split()[0] for row in RowStream(news)]
    assert read == ["a"] * 5 + ["b"] * 4
    assert len(found.landed.digests) == 4


def test_trained_scored_and_unlabelled_batches_are_not_asked_about(book: Book, land) -> None:
    trained, scored, empty, waits = (land("news", name, 2) for name in ("t", "s", "e", "w"))
    land("letters", "l", 2)
    claim = book.claim(LANE, "tina", 60, batches=[trained.id])
    book.accept_result(claim, Result(run_id="r" * 8, identity="a" * 64))
    book.score(CHAMPION, scored.id, "sentiment", 0.7)
    unscored(book, CHAMPION, [empty.id])
    assert [batch.id for batch in to_probe(book, CHAMPION, FEEDS)] == [waits.id]
    # the next champion is asked anew
    assert {batch.id for batch in to_probe(book, "d" * 64, FEEDS)} == {scored.id, empty.id, waits.id}


def test_a_feed_that_is_configured_no_more_is_not_asked_about(book: Book, land) -> None:
    land("wire", "w", 2)
    assert to_probe(book, CHAMPION, FEEDS[:1]) == []
    assert fresh_rows(book, CHAMPION, LANE, FEEDS[:1], "zone") is None


def test_nothing_to_ask_says_why(book: Book) -> None:
    told = [nothing(*given).reasons[0].told for given in ((CHAMPION, 0.05), ("", 0.05), (CHAMPION, None))]
    assert told == [
        "no fresh labelled rows that the champion was not asked about",
        "there is no champion",
        "score decay is not looked at",
    ]
    assert not nothing(CHAMPION, 0.05).retrain
    assert nothing(CHAMPION, 0.05).id == nothing(CHAMPION, 0.05).id != nothing("", 0.05).id
