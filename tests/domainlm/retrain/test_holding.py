"""A claim in the process that works for it: kept while it works, ended with it, and its loss ends the work at once."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from domainlm.errors import LeaseLost
from domainlm.retrain.batches import Batch, LandedFile, Result
from domainlm.retrain.book import Book, open_book
from domainlm.retrain.holding import SIGNAL, Holding

LANE = "domainlm-finance"
RESULT = Result(run_id="run", identity="a" * 64, version=f"{LANE}/1")


@pytest.fixture
def book(tmp_path: Path) -> Iterator[Book]:
    book = open_book(f"sqlite:///{tmp_path / 'book.sqlite'}")
    file = LandedFile(path="a.csv", uri="landing/a.csv", sha256="1" * 64, size_bytes=1)
    batch = book.land(
        Batch(id="b" * 64, number=0, feed="news", name="a.csv", files=(file,), landed="2026-11-21T12:00:00Z")
    )
    book.accept(batch.id, rows=3, first_day="", last_day="", files=(file.model_copy(update={"rows": 3}),), profile={})
    yield book
    assert signal.getsignal(SIGNAL) in (signal.SIG_DFL, None), "the handler is given back"


def test_a_claim_lives_longer_than_its_lease_while_it_is_held(book: Book) -> None:
    claim = book.claim(LANE, "one", 0.6)
    holding = Holding(book, claim)
    with holding.at_work():
        time.sleep(1.5)
        assert book.claim(LANE, "two", 5) is None, "it was renewed"
    holding.settle(RESULT)
    holding.release("the run is over")
    assert [one.identity for one in book.results(LANE)] == ["a" * 64], "a release after the result changes nothing"
    assert book.starts()["trained_once"] == 1


def test_what_is_released_is_free_at_once(book: Book) -> None:
    claim = book.claim(LANE, "one", 3600)
    Holding(book, claim).release("step train failed: TrainingError")
    again = book.claim(LANE, "two", 5)
    assert again is not None and again.batches == claim.batches and again.starts == 1
    assert book.claims(LANE)[1].why == "step train failed: TrainingError"


def test_a_loss_ends_the_work_in_the_main_thread(book: Book) -> None:
    claim = book.claim(LANE, "one", 0.6)
    holding = Holding(book, claim)

    def takes_over() -> None:  # as a runner does that held this one for dead
        time.sleep(0.5)
        book.give_up(claim, "taken over")

    threading.Thread(target=takes_over).start()
    with pytest.raises(LeaseLost), holding.at_work():
        for _ in range(600):  # a training of a minute
            time.sleep(0.1)
        pytest.fail("the work went on to its end")
    with pytest.raises(LeaseLost), holding.at_work():
        pytest.fail("other work began without a claim")
    with pytest.raises(LeaseLost):
        holding.settle(RESULT)
    holding.release("the run is over")
    assert book.results(LANE) == []


def test_a_loss_between_two_works_hits_nothing_but_the_next(book: Book) -> None:
    claim = book.claim(LANE, "one", 0.3)
    holding = Holding(book, claim)
    book.give_up(claim, "taken over")
    time.sleep(0.6)  # the heartbeat has seen it; the main thread is not at work, so that it goes on undisturbed
    with pytest.raises(LeaseLost), holding.at_work():
        pytest.fail("it began")
    holding.release("the run is over")
