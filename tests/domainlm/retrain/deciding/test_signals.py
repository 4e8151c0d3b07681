"""Which models a decision looks at, their scores on fresh rows, and what is known already."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from domainlm.retrain.accepting.profile import Profile
from domainlm.retrain.batches import Batch, LandedFile, Result
from domainlm.retrain.book import Book, open_book
from domainlm.retrain.deciding.signals import BASELINE, SOURCES, LedgerView, of_feed, profiles_of, signals_of

LANE = "domainlm-finance"
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
ONE, TWO, THREE, FOREIGN = (digit * 64 for digit in "123f")


class Clock:
    """The time that a book writes down, moved by hand."""

    def __init__(self) -> None:
        self.time = NOON

    def __call__(self) -> float:
        return self.time.timestamp()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def book(tmp_path: Path, clock: Clock) -> Book:
    return open_book(f"sqlite:///{tmp_path}/book.sqlite", now=clock)


def landed(book: Book, number: int, rows: int = 10, task: str = "sentiment", feed: str = "f") -> Batch:
    id = f"{number:064x}"
    file = LandedFile(path=f"{number}.csv", uri=f"/zone/{number}.csv", sha256=id, size_bytes=1)
    book.land(Batch(id=id, number=0, feed=feed, name=str(number), files=(file,), landed="2026-11-01"))
    profile = Profile(key="k", task=task, rows=rows, labels={"positive": rows})
    return book.accept(id, rows, files=(file,), profile=profile.model_dump(mode="json"))


def trained(book: Book, identity: str, *batches: Batch, **result: str) -> None:
    claim = book.claim(LANE, "tina", 60, batches=[batch.id for batch in batches], allow_empty=True)
    assert claim
    book.accept_result(claim, Result(run_id=f"run-{identity[0]}", identity=identity, **result))


def test_a_new_lane_has_no_model_and_no_past(book: Book) -> None:
    found = signals_of(book, LANE, NOON)
    assert found.champion is found.candidate is found.newest is None
    assert (found.last_start, found.hours_used, found.busy, found.scores) == ("", 0.0, False, ())


def test_without_a_ledger_the_newest_result_is_a_candidate(book: Book) -> None:
    first, second = landed(book, 1), landed(book, 2)
    trained(book, ONE, first)
    trained(book, TWO, second, base="b", policy="p", version="m/2")
    found = signals_of(book, LANE, NOON)
    assert found.champion is None and found.candidate and found.newest is found.candidate
    assert (found.candidate.identity, found.candidate.base, found.candidate.label) == (TWO, "b", "m/2")
    assert found.candidate.batches == (first.id, second.id)  # a training has the batches of those before it too
    assert found.last_start and signals_of(book, "another", NOON).newest is None


def test_a_candidate_is_what_was_accepted_after_the_champion(book: Book, clock: Clock) -> None:
    trained(book, ONE, first := landed(book, 1), base="b1")
    clock.time += timedelta(days=1)
    view = LedgerView(champion=ONE, version="m/1", promoted=clock.time.isoformat(), must_retrain={TWO: "2026-11-22"})
    found = signals_of(book, LANE, clock.time, view)
    assert found.candidate is None and found.champion and found.champion.batches == (first.id,)
    assert (found.champion.base, found.champion.since) == ("b1", view.promoted)
    clock.time += timedelta(days=1)
    trained(book, TWO, second := landed(book, 2))
    found = signals_of(book, LANE, clock.time, view)
    assert found.champion and found.champion.identity == ONE and found.champion.batches == (first.id,)
    assert found.candidate and found.candidate.erased and found.candidate.batches == (first.id, second.id)


def test_a_candidate_that_was_accepted_before_the_champion_was_promoted_still_waits(book: Book, clock: Clock) -> None:
    trained(book, ONE, landed(book, 1))
    clock.time += timedelta(hours=1)
    trained(book, TWO, landed(book, 2))
    clock.time += timedelta(hours=1)  # only now somebody promotes the first
    found = signals_of(book, LANE, clock.time, LedgerView(champion=ONE, promoted=clock.time.isoformat()))
    assert found.candidate and found.candidate.identity == TWO


def test_one_that_was_promoted_and_replaced_again_waits_for_nobody(book: Book, clock: Clock) -> None:
    for identity, number in ((ONE, 1), (TWO, 2)):
        trained(book, identity, landed(book, number))
        clock.time += timedelta(hours=1)
        book.promoted(identity)
    clock.time += timedelta(hours=1)  # and back
    found = signals_of(book, LANE, clock.time, LedgerView(champion=ONE, promoted=clock.time.isoformat()))
    assert found.candidate is None and found.newest is found.champion


def test_a_champion_from_outside_of_the_book_is_known_by_the_ledger_alone(book: Book, clock: Clock) -> None:
    trained(book, ONE, landed(book, 1))
    clock.time += timedelta(days=1)
    view = LedgerView(
        champion=FOREIGN, promoted=clock.time.isoformat(), base="b", policy="p", must_retrain={FOREIGN: "x"}
    )
    found = signals_of(book, LANE, clock.time, view)
    assert found.candidate is None and found.champion and found.champion.batches == ()
    assert (found.champion.base, found.champion.policy, found.champion.erased) == ("b", "p", "x")
    clock.time += timedelta(days=1)
    trained(book, TWO, landed(book, 2))
    assert (found := signals_of(book, LANE, clock.time, view)).candidate is not None and found.champion


def test_a_training_that_runs_and_the_hours_of_the_month_are_seen(book: Book, clock: Clock) -> None:
    landed(book, 1)
    claim = book.claim(LANE, "tina", 60)
    assert claim and signals_of(book, LANE, NOON).busy
    clock.time += timedelta(hours=2)
    book.renew(claim)
    assert signals_of(book, LANE, clock.time).hours_used == pytest.approx(2, abs=0.01)
    assert signals_of(book, LANE, clock.time + timedelta(days=30)).hours_used == 0
    # the month is UTC's, whatever zone the caller counts in
    far = (NOON + timedelta(days=10)).replace(hour=3, tzinfo=timezone(timedelta(hours=9)))
    assert signals_of(book, LANE, far).now == "2026-11-30T18:00:00+00:00"
    assert signals_of(book, LANE, far).hours_used == pytest.approx(2, abs=0.01)


def test_fresh_scores_are_pooled_by_their_rows_and_known_batches_do_not_count(book: Book) -> None:
    trained(book, ONE, known := landed(book, 1))
    new = [landed(book, number) for number in (2, 3)]
    book.score(ONE, "", "sentiment", 0.80, 0.78, 0.82, 400)
    book.score(ONE, known.id, "sentiment", 1.0, 1.0, 1.0, 999)
    book.score(ONE, new[0].id, "sentiment", 0.70, 0.60, 0.80, 100)
    book.score(ONE, new[1].id, "sentiment", 0.60, None, None, 300)
    book.score(ONE, new[1].id, "intent", 0.5, 0.4, 0.6, 50)  # was not scored at registration
    (found,) = signals_of(book, LANE, NOON, LedgerView(champion=ONE)).scores
    assert (found.task, found.registered, found.items) == ("sentiment", 0.80, 400)
    assert found.fresh == pytest.approx(0.25 * 0.70 + 0.75 * 0.60)
    assert found.registered_sd == pytest.approx(0.04 / 3.92) and found.fresh_sd == pytest.approx(0.25 * 0.2 / 3.92)


def test_a_feed_is_measured_by_its_own_score_at_registration(book: Book) -> None:
    trained(book, ONE, landed(book, 1))
    market, wire = landed(book, 2), landed(book, 3, feed="wire")
    book.score(ONE, "", "sentiment", 0.80, items=400)
    book.score(ONE, of_feed("f"), "sentiment", 0.55, 0.45, 0.65, 40)
    for batch, value in ((market, 0.54), (wire, 0.70)):
        book.score(ONE, batch.id, "sentiment", value, items=100)
    found = signals_of(book, LANE, NOON, LedgerView(champion=ONE)).scores
    assert [(one.feed, one.registered, one.fresh) for one in found] == [("f", 0.55, 0.54), ("wire", 0.80, 0.70)]


def test_rows_that_a_candidate_learnt_from_do_not_speak_for_another_training(book: Book) -> None:
    trained(book, ONE, landed(book, 1))
    failing, new = landed(book, 2), landed(book, 3)
    book.score(ONE, "", "sentiment", 0.80, items=400)
    book.score(ONE, failing.id, "sentiment", 0.30, items=100)
    view = LedgerView(champion=ONE)
    assert [score.fresh for score in signals_of(book, LANE, NOON, view).scores] == [0.30]
    trained(book, TWO, failing)
    assert signals_of(book, LANE, NOON, view).scores == ()
    book.score(ONE, new.id, "sentiment", 0.75, items=100)
    assert [score.fresh for score in signals_of(book, LANE, NOON, view).scores] == [0.75]


def test_what_is_known_is_what_the_newest_model_learnt_from_and_the_static_sources(book: Book) -> None:
    trained(book, ONE, landed(book, 1, rows=10))
    trained(book, TWO, landed(book, 2, rows=20))
    waiting = [landed(book, 3, rows=5), landed(book, 4, rows=7, task="intent")]
    book.set_value(SOURCES + "s", Profile(key="k", task="sentiment", rows=100).model_dump_json())
    book.set_value(BASELINE, "s")
    view = LedgerView(champion=ONE)
    found = profiles_of(book, waiting, signals_of(book, LANE, NOON, view))
    assert [(one.task, one.rows) for one in found.new] == [("intent", 7), ("sentiment", 5)]
    assert [(one.task, one.rows) for one in found.known] == [("sentiment", 130)]  # the candidate's too
