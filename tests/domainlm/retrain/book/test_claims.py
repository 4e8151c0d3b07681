"""Who may train on which batches, and whose result counts, in both databases."""

from __future__ import annotations

import time
from datetime import datetime

import pytest
import sqlalchemy as sa

from domainlm.errors import BookRefused, BookUnavailable, LeaseLost
from domainlm.retrain.batches import Claim, Result
from domainlm.retrain.book import Book
from domainlm.retrain.book.clock import Clock
from domainlm.retrain.book.store import METADATA

from .conftest import HandClock, accepted

LANE = "markets"


def result(name: str = "a", run_id: str = "run-1") -> Result:
    return Result(run_id=run_id, identity=name * 64, version="markets/1", figures={"hours": 1.5})


def test_a_claim_takes_what_is_accepted_in_order_of_landing(book: Book) -> None:
    batches = [accepted(book, number) for number in (3, 1, 2)]
    book.quarantine(accepted(book, 4).id, "late")
    claim = book.claim(LANE, "tina", 60)
    assert claim.batches == tuple(batch.id for batch in batches) and claim.starts == 0
    assert book.claim_of(claim.token) == claim and book.claim_of(99) is None
    assert book.busy(LANE) and not book.busy("other")


def test_nothing_to_claim_is_no_claim_unless_an_empty_one_is_asked_for(book: Book) -> None:
    assert book.claim(LANE, "tina", 60) is None
    empty = book.claim(LANE, "tina", 60, allow_empty=True)
    assert empty.batches == ()
    book.accept_result(empty, result())
    accepted(book, 1)
    replay = book.claim(LANE, "tina", 60, batches=(), allow_empty=True)
    assert replay.batches == () and [one.batches for one in book.results(LANE)] == [()]


def test_wanted_batches_are_claimed_all_or_none(book: Book) -> None:
    one, two, three = (accepted(book, number) for number in (1, 2, 3))
    claim = book.claim(LANE, "tina", 60, batches=[two.id], exclusive=False)
    assert claim.batches == (two.id,)
    assert book.claim(LANE, "olga", 60, batches=[one.id, two.id], exclusive=False) is None
    assert book.claim(LANE, "olga", 60, batches=["f" * 64], allow_empty=True, exclusive=False) is None
    assert book.claim(LANE, "olga", 60, batches=[three.id, one.id], exclusive=False).batches == (one.id, three.id)


def test_a_lane_holds_one_exclusive_claim_or_several_others(book: Book) -> None:
    for number in range(4):
        accepted(book, number)
    first = book.claim(LANE, "tina", 60, limit=1)
    assert book.claim(LANE, "olga", 60, limit=1) is None
    assert book.claim(LANE, "olga", 60, limit=1, exclusive=False) is None
    book.give_up(first, "tina stopped it")
    shared = [book.claim(LANE, "olga", 60, limit=1, exclusive=False) for _ in range(2)]
    assert len({id for claim in shared for id in claim.batches}) == 2
    assert book.claim(LANE, "tina", 60, limit=1) is None, "an exclusive one waits for the others"


def test_a_book_is_one_lane_s(book: Book, clock: HandClock) -> None:
    for number in range(3):
        accepted(book, number)
    slip = book.claim("filing", "olga", 60, limit=1)  # a name that was mistyped once binds nobody
    with pytest.raises(BookRefused, match=r"lane 'markets': is the book of 'filing'"):
        book.claim(LANE, "tina", 60, limit=1)
    book.give_up(slip, "mistyped")
    claim = book.claim(LANE, "tina", 60, limit=1)
    with pytest.raises(BookRefused, match="is the book of 'markets'"):
        book.claim("filings", "olga", 60, limit=1)
    clock.time += 61  # a claim that ran out is no claim
    late = book.claim("filings", "olga", 60, batches=[book.batches()[2].id])
    clock.time += 61
    book.accept_result(claim, result())
    for act in (lambda: book.claim("filings", "olga", 60), lambda: book.accept_result(late, result("b", "run-2"))):
        with pytest.raises(BookRefused, match="a book of its own"):
            act()
    assert book.claim(LANE, "tina", 60).batches and not book.results("filings")


def test_tokens_only_rise(book: Book) -> None:
    accepted(book, 1)
    tokens = []
    for _ in range(5):
        claim = book.claim(LANE, "tina", 60)
        tokens.append(claim.token)
        book.give_up(claim, "again")
    assert tokens == sorted(set(tokens)) and [one.starts for one in book.claims()] == [4, 3, 2, 1, 0]
    assert book.starts() == {"batches": 1, "trained_once": 0, "duplicate_starts": 4, "lost": 0}


def test_the_result_settles_claim_and_batches_in_one_go(book: Book) -> None:
    batches = [accepted(book, number) for number in (1, 2)]
    claim = book.claim(LANE, "tina", 60)
    book.bind(claim, "run-1")
    assert book.claims()[0].run_id == "run-1" and book.claims()[0].alive
    book.accept_result(claim, result())
    assert [batch.state for batch in book.batches()] == ["trained", "trained"]
    kept = book.results(LANE)[0]
    assert (kept.batches, kept.identity, kept.figures) == (claim.batches, "a" * 64, {"hours": 1.5})
    assert kept.promoted_at == ""
    last = book.transitions(batches[0].id)[-1]
    assert (last.after, last.token, last.why) == ("trained", claim.token, "run run-1")
    assert not book.busy(LANE) and book.claim(LANE, "tina", 60) is None, "a batch is trained once"
    assert book.promoted("a" * 64) == claim.batches and book.promoted("a" * 64) == ()
    datetime.fromisoformat(book.results(LANE)[0].promoted_at)
    assert [batch.state for batch in book.batches()] == ["promoted", "promoted"]


def test_a_figure_that_is_no_number_stops_no_result(book: Book) -> None:
    accepted(book, 1)
    claim = book.claim(LANE, "tina", 60)
    figures = {"hours": 1.5, "macro_f1": float("nan"), "loss": float("inf")}
    book.accept_result(claim, result().model_copy(update={"figures": figures}))
    assert book.results(LANE)[0].figures == {"hours": 1.5}
    with pytest.raises(BookRefused, match="finite"):
        book.score("a" * 64, "", "direction", float("nan"))


def test_the_same_result_again_is_accepted_quietly_and_another_is_not(book: Book) -> None:
    accepted(book, 1)
    claim = book.claim(LANE, "tina", 60)
    for _ in range(3):
        book.accept_result(claim, result())
    assert len(book.results(LANE)) == 1
    for other in (result("b"), result(run_id="run-2")):
        with pytest.raises(BookRefused, match="run-1"):
            book.accept_result(claim, other)
    with pytest.raises(LeaseLost, match="is accepted"):
        book.renew(claim)


def test_who_was_taken_over_can_do_nothing_any_more(book: Book, clock: HandClock) -> None:
    batch = accepted(book, 1)
    old = book.claim(LANE, "tina", 60)
    clock.time += 61
    new = book.claim(LANE, "olga", 60)
    assert (new.batches, new.starts) == (old.batches, 1) and new.token > old.token
    for act in (
        lambda: book.renew(old),
        lambda: book.bind(old, "run-1"),
        lambda: book.accept_result(old, result()),
    ):
        with pytest.raises(LeaseLost, match=f"taken over by claim {new.token}"):
            act()
    book.give_up(old, "too late to say so")
    assert [one.state for one in book.claims()] == ["held", "lost"]
    book.accept_result(new, result("b", "run-2"))
    with pytest.raises(LeaseLost):
        book.accept_result(old, result())
    assert [one.identity for one in book.results(LANE)] == ["b" * 64]
    assert book.batch(batch.id).state == "trained" and book.starts()["duplicate_starts"] == 1


def test_who_ran_out_and_was_missed_by_nobody_still_counts(book: Book, clock: HandClock) -> None:
    accepted(book, 1)
    claim = book.claim(LANE, "tina", 60)
    clock.time += 10_000
    assert not book.busy(LANE)
    book.renew(claim)
    assert book.busy(LANE) and book.claim(LANE, "olga", 60) is None
    clock.time += 10_000
    book.accept_result(claim, result())
    assert book.starts()["trained_once"] == 1


def test_a_part_that_is_taken_over_ends_the_whole_claim(book: Book, clock: HandClock) -> None:
    for number in (1, 2, 3):
        accepted(book, number)
    old = book.claim(LANE, "tina", 60, exclusive=False)
    clock.time += 61
    part = book.claim(LANE, "olga", 60, limit=1, exclusive=False)
    rest = book.claim(LANE, "anna", 60, exclusive=False)
    assert part.batches + rest.batches == old.batches
    with pytest.raises(LeaseLost):
        book.accept_result(old, result())
    assert not book.results(LANE) and {batch.state for batch in book.batches()} == {"accepted"}


def test_an_empty_claim_that_ran_out_is_taken_over_in_its_lane(book: Book, clock: HandClock) -> None:
    old = book.claim(LANE, "tina", 60, allow_empty=True)
    assert book.claim(LANE, "olga", 60, allow_empty=True) is None
    clock.time += 61
    book.claim(LANE, "olga", 60, allow_empty=True)
    with pytest.raises(LeaseLost):
        book.accept_result(old, result())


@pytest.mark.parametrize(("jump_s", "alive"), [(-3600, False), (3600, False), (-1, True), (59, True), (61, False)])
def test_a_clock_that_jumps_makes_no_lease_last_longer(
    book: Book, clock: HandClock, jump_s: float, alive: bool
) -> None:
    accepted(book, 1)
    old = book.claim(LANE, "tina", 60)
    clock.time += jump_s
    assert book.busy(LANE) is alive
    new = book.claim(LANE, "olga", 60)
    assert (new is None) is alive
    if new is not None:  # whatever the clock did, one result is accepted
        book.accept_result(new, result("b", "run-2"))
        with pytest.raises(LeaseLost):
            book.accept_result(old, result())
    assert len(book.results(LANE)) == (0 if alive else 1)


def test_a_runner_that_lives_renews_by_the_new_time_after_a_jump(book: Book, clock: HandClock) -> None:
    accepted(book, 1)
    claim = book.claim(LANE, "tina", 60)
    clock.time -= 86_400
    book.renew(claim)
    assert book.busy(LANE) and book.claim(LANE, "olga", 60) is None


def test_no_lease_outlives_a_restart_of_the_machine(book: Book, clock: HandClock) -> None:
    accepted(book, 1)
    claim = book.claim(LANE, "tina", 60)
    clock.name = "since another start"
    assert not book.busy(LANE) and book.claim(LANE, "olga", 60).starts == 1
    with pytest.raises(LeaseLost):
        book.renew(claim)


def test_leases_follow_no_wall_clock(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    accepted(book, 1)
    assert book.clock.name, "this machine has a clock that nobody sets"
    book.claim(LANE, "tina", 60)
    for jump_s in (-86_400, 86_400):
        wall = time.time() + jump_s
        monkeypatch.setattr("time.time", lambda wall=wall: wall)
        assert book.busy(LANE) and book.claim(LANE, "olga", 60) is None


def test_a_machine_without_such_a_clock_uses_its_wall_clock(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setattr("domainlm.retrain.book.clock._BOOT", tmp_path / "none")
    clock = Clock.of("sqlite")
    assert clock.name == "" and abs(clock.now(None) - time.time()) < 60
    assert Clock.of("postgresql").name == "server"


def test_what_a_person_took_back_meanwhile_is_not_learnt_from(book: Book) -> None:
    for number, change in enumerate(
        (
            lambda id: book.withdraw(id, "the desk asked for it", by="anna"),
            lambda id: (book.withdraw(id, "gone"), book.withdraw(id, "and not wanted", by="anna")),
        )
    ):
        one, two = accepted(book, 2 * number), accepted(book, 2 * number + 1)
        claim = book.claim(LANE, "tina", 60)
        change(one.id)
        for act in (lambda: book.renew(claim), lambda: book.accept_result(claim, result())):  # noqa: B023
            with pytest.raises(LeaseLost, match=f"batch {one.id[:12]} of it was withdrawn by a person"):
                act()
        assert book.batch(two.id).state == "accepted" and not book.results(LANE), "nothing of it was accepted"
        again = book.claim(LANE, "tina", 60)
        assert again.batches == (two.id,), "the others are free at once"
        book.give_up(again, "so that the next turn has its own")
        book.withdraw(two.id, "gone")


def test_files_that_went_away_do_not_matter_to_a_training_that_read_them(book: Book) -> None:
    batch = accepted(book, 1)
    claim = book.claim(LANE, "tina", 60)
    book.withdraw(batch.id, "its files are gone")
    book.accept_result(claim, result())
    assert [one.after for one in book.transitions(batch.id)] == ["landed", "accepted", "withdrawn", "trained"]


def test_content_that_lands_again_meanwhile_stays_the_claim_s(book: Book) -> None:
    batch = accepted(book, 1)
    claim = book.claim(LANE, "tina", 60)
    book.withdraw(batch.id, "its files are gone")
    assert book.land(batch).state == "accepted"
    assert book.claim(LANE, "olga", 60, exclusive=False) is None
    book.accept_result(claim, result())
    assert book.batch(batch.id).state == "trained"


def test_a_batch_in_training_is_not_quarantined(book: Book, clock: HandClock) -> None:
    batch = accepted(book, 1)
    claim = book.claim(LANE, "tina", 60)
    with pytest.raises(BookRefused, match="being trained on"):
        book.quarantine(batch.id, "late")
    book.give_up(claim, "the gate failed")
    assert book.quarantine(batch.id, "the gate failed").state == "quarantined"
    assert book.claim(LANE, "olga", 60) is None


def test_a_quarantine_after_the_lease_ran_out_stands(book: Book, clock: HandClock) -> None:
    batch = accepted(book, 1)
    claim = book.claim(LANE, "tina", 60)
    clock.time += 61
    book.quarantine(batch.id, "late")
    with pytest.raises(BookRefused, match="quarantined by now"):
        book.accept_result(claim, result())


def test_a_second_result_of_a_batch_is_impossible_in_the_database_itself(book: Book) -> None:
    """A second line behind the tokens: were one forged, the key of the table holds."""
    batch = accepted(book, 1)
    claim = book.claim(LANE, "tina", 60)
    book.accept_result(claim, result())
    tables = METADATA.tables
    with book.engine.begin() as connection:  # somebody with a shell gives the batch to another claim
        connection.execute(sa.update(tables["retrain_batches"]).values(state="accepted"))
    forged = book.claim(LANE, "mallory", 60)
    assert forged.batches == (batch.id,)
    with pytest.raises(BookUnavailable, match=r"UNIQUE|duplicate key"):
        book.accept_result(forged, result("b", "run-2"))
    assert [one.identity for one in book.results(LANE)] == ["a" * 64]
    assert book.starts()["lost"] == 1, "the contradiction is counted"


def test_a_claim_of_another_book_is_not_this_one_s(book: Book) -> None:
    foreign = Claim(token=7, lane=LANE, owner="tina", batches=(), lease_s=60)
    with pytest.raises(LeaseLost, match="not in this book"):
        book.renew(foreign)
    book.give_up(foreign, "nothing to give up")


def test_a_number_that_an_older_copy_gives_again_is_another_claim(book: Book) -> None:
    accepted(book, 1)
    claim = book.claim(LANE, "tina, run 1", 60)
    earlier = claim.model_copy(update={"owner": "olga, run 9"})  # of the book that was there before the copy
    for act in (lambda: book.renew(earlier), lambda: book.accept_result(earlier, result())):
        with pytest.raises(LeaseLost, match="not in this book"):
            act()
    book.give_up(earlier, "its run failed")
    assert book.busy(LANE)
    book.accept_result(claim, result())
