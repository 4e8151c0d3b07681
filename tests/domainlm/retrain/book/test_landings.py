"""Batches from landing to release, in both databases."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa

from domainlm.errors import BookRefused
from domainlm.retrain.batches import Decision, Reason, Result, SeenFile
from domainlm.retrain.book import Book, open_book
from domainlm.retrain.book.store import METADATA

from .conftest import accepted, batch_of


def states(book: Book, id: str) -> list[str]:
    return [one.after for one in book.transitions(id)]


def test_landing_twice_is_one_batch_and_one_transition(book: Book) -> None:
    first, second = book.land(batch_of(1)), book.land(batch_of(2))
    assert (first.number, second.number) == (1, 2)
    assert book.land(batch_of(1)) == first
    assert states(book, first.id) == ["landed"]
    assert [one.id for one in book.batches()] == [first.id, second.id]


def test_acceptance_keeps_rows_of_files_and_profile_and_may_be_repeated(book: Book) -> None:
    batch = book.land(batch_of(1, files=3))
    files = [file.model_copy(update={"rows": place + 1}) for place, file in enumerate(batch.files)]
    for _ in range(2):
        kept = book.accept(batch.id, 6, "2026-01-01", "2026-01-31", files, {"labels": {"up": 4}})
    assert (kept.state, kept.rows, [file.rows for file in kept.files]) == ("accepted", 6, [1, 2, 3])
    assert book.profile(batch.id) == {"labels": {"up": 4}}
    assert states(book, batch.id) == ["landed", "accepted"]


def test_acceptance_refuses_other_files_than_those_that_landed(book: Book) -> None:
    batch = book.land(batch_of(1))
    with pytest.raises(BookRefused, match="other files"):
        book.accept(batch.id, 6, files=[batch.files[0].model_copy(update={"sha256": "0" * 64})])
    assert book.batch(batch.id).state == "landed"


def test_a_quarantined_batch_waits_for_a_person(book: Book) -> None:
    batch = book.land(batch_of(1))
    held = book.quarantine(batch.id, "news.csv: column 'label' is missing")
    assert (held.state, held.reason) == ("quarantined", "news.csv: column 'label' is missing")
    with pytest.raises(BookRefused, match="quarantined"):
        book.accept(batch.id, 5)
    assert book.release(batch.id, "anna").state == "landed"
    assert book.released_by(batch.id) == "anna"
    assert book.accept(batch.id, 5).reason == ""
    last = book.transitions(batch.id)[-2]
    assert (last.before, last.after, last.who) == ("quarantined", "landed", "anna")


def test_a_counted_batch_is_released_as_accepted_unless_it_shall_be_checked_again(book: Book) -> None:
    for number, again, state in ((1, False, "accepted"), (2, True, "landed")):
        batch = accepted(book, number)
        book.quarantine(batch.id, "the gate 'duplicates' failed")
        assert book.release(batch.id, "anna", check_again=again).state == state
        assert book.released_by(batch.id) == ("" if again else "anna")


def test_what_went_away_comes_back_as_what_it_was(book: Book) -> None:
    fine, bad, waiting = accepted(book, 1), book.land(batch_of(2)), book.land(batch_of(3))
    book.quarantine(bad.id, "0 bytes")
    for batch in (fine, bad, waiting):
        book.mark_removed(batch.id, [file.path for file in batch.files])
        gone = book.withdraw(batch.id, "its files are gone")
        assert gone.state == "withdrawn" and all(file.removed for file in gone.files)
    moved = batch_of(1)
    moved = moved.model_copy(
        update={"files": tuple(one.model_copy(update={"path": "new.csv", "uri": "/n"}) for one in moved.files)}
    )
    back = book.land(moved)
    assert (back.state, back.files[0].path, back.files[0].removed) == ("accepted", "new.csv", False)
    assert book.land(batch_of(2)).state == "quarantined" and book.batch(bad.id).reason == "0 bytes"
    assert book.land(batch_of(3)).state == "landed"


def test_what_a_person_withdrew_never_lands_again_by_itself(book: Book) -> None:
    batch = accepted(book, 1)
    book.withdraw(batch.id, "its files are gone")
    book.withdraw(batch.id, "the desk asked for it", by="anna")
    assert book.land(batch_of(1)).state == "withdrawn"
    assert book.release(batch.id, "olga").state == "landed"
    assert [one.who for one in book.transitions(batch.id)][-2:] == ["anna", "olga"]


def test_a_batch_once_marked_untrusted_stays_so(book: Book) -> None:
    batch = book.land(batch_of(1))
    assert not book.land(batch_of(1, trusted=False)).trusted
    assert not book.land(batch_of(1)).trusted and not book.batch(batch.id).trusted


def test_what_an_untrusted_feed_brought_is_untrusted_by_whatever_feed_it_comes_later(book: Book) -> None:
    first = book.land(batch_of(1, feed="tips", trusted=False))
    again, other = batch_of(2, feed="news", files=2), batch_of(3, feed="news")
    again = again.model_copy(update={"files": (again.files[0], first.files[0])})
    assert [one.trusted for one in book.land_all([again, other])] == [False, True]
    assert not book.batch(again.id).trusted and book.batch(other.id).trusted
    tip = batch_of(4, feed="tips", trusted=False)
    together = [batch_of(5, feed="news").model_copy(update={"files": tip.files}), tip]
    assert [one.trusted for one in book.land_all(together)] == [False, False], "in one landing too"


def test_what_a_person_withdraws_after_its_training_is_never_read_again(book: Book) -> None:
    batch = accepted(book, 1)
    book.accept_result(book.claim("markets", "tina", 60), Result(run_id="r", identity="a" * 64))
    withdrawn = book.withdraw(batch.id, "erasure, case 7", by="olga")
    assert (withdrawn.state, withdrawn.reason) == ("trained", "erasure, case 7")
    assert [file.removed for file in withdrawn.files] == [True]
    last = book.transitions(batch.id)[-1]
    assert (last.before, last.after, last.who, last.why) == ("trained", "trained", "olga", "erasure, case 7")
    assert [file.removed for file in book.land(batch_of(1)).files] == [True], "it does not come back with its content"
    assert book.promoted("a" * 64) == (batch.id,) and book.starts()["lost"] == 0
    assert book.withdraw(batch.id, "case 8", by="anna").state == "promoted"
    assert [file.removed for file in book.land(batch_of(1)).files] == [True]


def test_a_trained_batch_whose_file_comes_back_is_read_again(book: Book) -> None:
    batch = accepted(book, 1)
    book.quarantine(batch.id, "late")
    book.release(batch.id, "anna")  # a person's word, but none against it
    book.accept_result(book.claim("markets", "tina", 60), Result(run_id="r", identity="a" * 64))
    book.mark_removed(batch.id, [file.path for file in batch.files])
    assert [file.removed for file in book.land(batch_of(1)).files] == [False]


def test_impossible_changes_are_refused_and_leave_no_trace(book: Book) -> None:
    batch = accepted(book, 1)
    claim = book.claim("markets", "tina", 60)
    book.accept_result(claim, Result(run_id="r", identity="a" * 64))
    for change in (
        lambda: book.quarantine(batch.id, "late"),
        lambda: book.withdraw(batch.id, "late"),
        lambda: book.release(batch.id, "anna"),
        lambda: book.accept(batch.id, 7),
    ):
        with pytest.raises(BookRefused):
            change()
    assert states(book, batch.id) == ["landed", "accepted", "trained"]
    with pytest.raises(BookRefused, match="no batch"):
        book.quarantine("f" * 64, "unknown")


def test_batches_are_found_by_state_feed_days_and_digits(book: Book) -> None:
    one, two = book.land(batch_of(1)), book.land(batch_of(2, feed="filings"))
    book.accept(one.id, 5, "2026-03-01", "2026-03-31")
    ids = lambda **wanted: [batch.id for batch in book.batches(**wanted)]  # noqa: E731
    assert ids(state="accepted") == [one.id] and ids(state=("accepted", "landed")) == [one.id, two.id]
    assert ids(feed="filings") == [two.id]
    assert ids(since="2026-03-31") == [one.id] and ids(since="2026-04-01") == []
    assert ids(until="2026-01-03") == [two.id], "rows without a day count by their landing"
    assert book.batch(one.id[:8]) == book.batch(one.id)
    for wrong, said in (("1234567", "8 digits"), ("z" * 9, "no batch"), ("%_______", "no batch")):
        with pytest.raises(BookRefused, match=said):
            book.batch(wrong)


def test_who_accepts_a_batch_that_another_runner_trained_on_by_now_changes_nothing(book: Book) -> None:
    batch = accepted(book, 1)
    book.accept_result(book.claim("markets", "tina", 60), Result(run_id="r", identity="a" * 64))
    assert book.accept(batch.id, 10, profile={"other": 1}).state == "trained"
    assert book.profile(batch.id) == {"labels": {"up": 1}}
    with pytest.raises(BookRefused):
        book.accept(batch.id, 11)


def test_many_batches_land_at_once(book: Book) -> None:
    book.land(batch_of(600))
    book.withdraw(batch_of(600).id, "its files are gone")
    every = [batch_of(number) for number in range(1203)]
    landed = book.land_all([*every, every[7]])
    assert sorted(landed[:1203], key=lambda batch: batch.number) == book.batches(state="landed")
    assert [batch.number for batch in landed] == [*range(2, 602), 1, *range(602, 1204), 9]
    assert {len(book.transitions(batch.id)) for batch in landed[:5]} == {1} and states(book, landed[600].id)[1:] == [
        "withdrawn", "landed",
    ]  # fmt: skip


def test_seen_files_are_kept_by_feed_and_path(book: Book) -> None:
    file = SeenFile("news", "a.csv", 1, 5, "", "0" * 64, 1.5, "b" * 64)
    book.observe([file, file._replace(feed="other"), file._replace(path="b.csv")])
    book.observe([file._replace(state="removed", size_bytes=2**40)])
    assert set(book.known("news")) == {
        file._replace(state="removed", size_bytes=2**40),
        file._replace(path="b.csv"),
    }
    book.observe([file._replace(path=f"{number}") for number in range(6000)])
    assert len(list(book.known("news"))) == 6002


def decision(age: float, decided: str) -> Decision:
    reason = Reason(code="age", holds=False, measured=age, threshold=90, told=f"{age:.0f} days")
    return Decision(id=f"{age}", decided=decided, retrain=False, reasons=(reason,))


def test_the_same_answer_again_is_counted_and_not_repeated(book: Book) -> None:
    for age, minute in ((1.0, 1), (1.0, 2), (1.0, 2), (2.0, 3), (1.0, 4)):
        book.record_decision(decision(age, f"2026-01-01T00:0{minute}:00Z"))
    told = [(one.decision.id, one.times, one.last[15:16]) for one in book.decisions()]
    assert told == [("1.0", 1, "4"), ("2.0", 1, "3"), ("1.0", 2, "2")]
    assert book.decisions(limit=1)[0].decision == decision(1.0, "2026-01-01T00:04:00Z")
    book.record_decision(decision(1.0, "2026-01-01T00:05:00Z"), run_id="run-7")
    assert [one.run_id for one in book.decisions(limit=2)] == ["run-7", ""]


def test_scores_values_and_notices(book: Book) -> None:
    book.score("a" * 64, "", "direction", 0.71, 0.6, 0.8, 400)
    for value in (0.5, 0.52):
        book.score("a" * 64, "b" * 64, "direction", value, items=10)
    scores = {(one.batch, one.task): one.value for one in book.scores("a" * 64)}
    assert scores == {("", "direction"): 0.71, ("b" * 64, "direction"): 0.52} and book.scores("c") == []
    assert book.value("baseline", "none") == "none"
    book.set_value("baseline", "x")
    book.set_value("baseline", "y")
    assert book.value("baseline") == "y"
    assert [book.noticed("k"), book.noticed("k"), book.noticed("l")] == [True, False, True]
    book.unnotice("k")
    assert book.noticed("k")


def test_history_and_results_cannot_be_changed_by_a_slip(book: Book) -> None:
    batch = accepted(book, 1)
    claim = book.claim("markets", "tina", 60)
    book.accept_result(claim, Result(run_id="r", identity="a" * 64))
    book.promoted("a" * 64)
    names = ("transitions", "claim_batches", "results", "result_batches", "promotions")
    for table in (METADATA.tables[f"retrain_{name}"] for name in names):
        for slip in (sa.delete(table), sa.update(table).values({column: column for column in list(table.c)[-1:]})):
            with pytest.raises(sa.exc.DBAPIError, match="keeps its history"), book.engine.begin() as connection:
                connection.execute(slip)
    with pytest.raises(sa.exc.IntegrityError), book.engine.begin() as connection:
        connection.execute(sa.insert(METADATA.tables["retrain_result_batches"]).values(batch=batch.id, token=99))


def test_people_s_times_can_be_a_simulation_s(url: str) -> None:
    time = [datetime(2026, 1, 31, 22, tzinfo=UTC).timestamp()]
    book = open_book(url, now=lambda: time[0], who="simulation")
    batch = accepted(book, 1)
    claim = book.claim("markets", "tina", 60)
    time[0] += 5 * 3600
    book.accept_result(claim, Result(run_id="r", identity="a" * 64))
    assert book.transitions(batch.id)[-1].time == "2026-02-01T03:00:00.000+00:00"
    assert book.last_start("markets") == "2026-01-31T22:00:00.000+00:00" and book.last_start("other") == ""
    used = [book.hours_used("markets", month) for month in ("2026-01", "2026-02", "2026-03")]
    assert used == [2, 3, 0] and book.hours_used("other", "2026-01") == 0


def test_a_copy_is_whole_and_leaves_the_book_alone(book: Book, tmp_path: Path) -> None:
    one, two = accepted(book, 1), accepted(book, 2)
    claim = book.claim("markets", "tina", 60, batches=[one.id])
    book.observe([SeenFile("news", "a.csv", 1, 5, "", "0" * 64, 1.5, one.id)])
    copy = book.copied_to(tmp_path / "copy.sqlite")
    assert copy.batches() == book.batches() and list(copy.known("news")) == list(book.known("news"))
    assert copy.transitions(two.id) == book.transitions(two.id) and copy.profile(one.id) == book.profile(one.id)
    assert copy.busy("markets"), "a lease goes on in the copy"
    copy.accept_result(claim, Result(run_id="dry", identity="a" * 64))
    assert copy.land(batch_of(3)).number == 3
    assert copy.claim("markets", "tina", 60).token == claim.token + 1
    assert [batch.state for batch in book.batches()] == ["accepted", "accepted"] and not book.results("markets")
    with pytest.raises(BookRefused, match="already"):
        book.copied_to(tmp_path / "copy.sqlite")
