"""Profiles of many batches: summed in blocks that the book keeps, and never an old sum for other batches."""

from __future__ import annotations

from pathlib import Path

import pytest

from domainlm.retrain.accepting.profile import Profile, added
from domainlm.retrain.batches import Batch, BriefBatch, LandedFile
from domainlm.retrain.book import Book, open_book
from domainlm.retrain.deciding import sums
from domainlm.retrain.deciding.sums import BLOCK, FEW, summed

COUNT = BLOCK + 2 * FEW


@pytest.fixture
def book(tmp_path: Path) -> Book:
    made = open_book(f"sqlite:///{tmp_path}/book.sqlite")
    made.land_all([landed(number) for number in range(COUNT)])
    for number in range(COUNT):
        made.accept(f"{number:064x}", 1, profile=profile(number).model_dump(mode="json"))
    return made


def landed(number: int) -> Batch:
    id = f"{number:064x}"
    file = LandedFile(path=f"{number}.csv", uri=f"/zone/{number}.csv", sha256=id, size_bytes=1)
    return Batch(id=id, number=0, feed="f", name=str(number), files=(file,), landed="2026-11-01")


def profile(number: int, rows: int = 1) -> Profile:
    source = "odd" if number % 2 else "even"
    return Profile(key="k", task="sentiment", source=source, rows=rows, buckets={number % 7: rows})


def asked(book: Book, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many profiles each later sum reads."""
    read: list[int] = []
    whole = Book.profiles
    monkeypatch.setattr(Book, "profiles", lambda self, ids: read.append(len(ids)) or whole(self, ids))
    return read


def every(*numbers: int, rows: int = 1) -> list[Profile]:
    return added(profile(number, rows) for number in numbers)


def test_the_sum_is_that_of_all_and_is_read_once(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    read = asked(book, monkeypatch)
    waiting = book.briefs(state="accepted")
    assert summed(book, "new", waiting) == every(*range(COUNT)) and sum(read) == COUNT
    del read[:]
    assert summed(book, "new", waiting) == every(*range(COUNT)) and read == []
    # what was trained on is known under another name: nothing is summed again
    assert summed(book, "known", waiting) == every(*range(COUNT)) and read == []


def test_a_block_is_summed_again_where_another_batch_is_in_it(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    summed(book, "new", book.briefs(state="accepted"))
    read = asked(book, monkeypatch)
    book.withdraw(f"{3:064x}", "gone")
    rest = [number for number in range(COUNT) if number != 3]
    assert summed(book, "new", book.briefs(state="accepted")) == every(*rest)
    assert read == [len([one for one in book.briefs(state="accepted") if one.number // BLOCK == 0])]


def test_a_batch_that_was_accepted_anew_counts_as_it_is_now(book: Book) -> None:
    waiting = book.briefs(state="accepted")
    summed(book, "new", waiting)
    id = f"{4:064x}"
    book.quarantine(id, "a person looks")
    book.release(id, "anna", check_again=True)
    book.accept(id, 9, profile=profile(4, 9).model_dump(mode="json"))
    assert {one.source: one.rows for one in summed(book, "new", waiting)} == {"even": COUNT // 2 + 8, "odd": COUNT // 2}


def test_few_batches_leave_nothing_behind_and_those_without_a_profile_count_nothing(book: Book) -> None:
    waiting = book.briefs(state="accepted")[: FEW - 1]
    assert summed(book, "new", waiting) == every(*range(FEW - 1)) and book.values("profile/") == {}
    assert summed(book, "new", []) == [] == summed(book, "new", [BriefBatch("f" * 64, 9999, "f", "none", 1)])
    assert sums.SIDES == ("new", "known")
