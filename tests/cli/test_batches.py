"""`domainlm batches`, as a person types it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.main import app
from domainlm.errors import BookRefused, BookUnavailable
from domainlm.redact.access import operating_system_user
from domainlm.retrain.batches import Batch, LandedFile, Result
from domainlm.retrain.book import Book, open_book


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    """A command enters its project: variables and folder; other tests must not find themselves there."""
    variables, folder = dict(os.environ), Path.cwd()
    yield
    os.environ.clear()
    os.environ.update(variables)
    os.chdir(folder)


def do(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["batches", *arguments])
    if done.exception:
        raise done.exception
    return done.output


def landed(book: Book, number: int, feed: str = "news", name: str = "") -> Batch:
    file = LandedFile(path=f"{number}.csv", uri=f"/z/{number}.csv", sha256=f"{number:064x}", size_bytes=12)
    return book.land(
        Batch(
            id=f"{number:08x}" + "c" * 56,
            number=0,
            feed=feed,
            name=name or f"{number}.csv",
            files=(file,),
            landed="2026-11-01T08:00:00.000+00:00",
        )
    )


@pytest.fixture
def book() -> Book:
    return open_book()


@pytest.mark.parametrize("wrong", ["yesterday", "2023-13-01", "2023-1-1", "20230101", "2023-02-30", "２０２３-01-01"])
def test_what_is_no_day_lists_nothing_and_says_so(book: Book, wrong: str) -> None:
    landed(book, 1)
    for option in ("--since", "--until"):
        with pytest.raises(BookRefused, match="is no day"):
            do("list", option, wrong)
    with pytest.raises(BookRefused, match="no day lies between"):
        do("list", "--since", "2026-11-02", "--until", "2026-11-01")
    told = json.loads(do("list", "--json", "--since", "2026-11-01", "--until", "2026-11-01"))
    assert len(told["batches"]) == 1


def test_list_shows_batches_claims_and_counts(book: Book) -> None:
    one, two = landed(book, 1), landed(book, 2, feed="filings")
    book.accept(one.id, 40, "2026-10-01", "2026-10-31")
    for owner in ("tina", "olga"):
        claim = book.claim("markets", owner, 60)
        if owner == "tina":
            book.give_up(claim, "stopped")
    book.bind(claim, "run-7")
    said = do("list")
    assert one.id[:12] in said and "2026-10-01 to 2026-10-31" in said and "filings" in said
    assert "claim 2 of olga on 1 batches for markets, run run-7" in said
    assert "2 batches in the book: 0 trained once, 1 duplicate starts, 0 lost" in said
    told = json.loads(do("list", "--json", "--state", "accepted"))
    assert [batch["id"] for batch in told["batches"]] == [one.id] and told["starts"]["duplicate_starts"] == 1
    assert [batch["id"] for batch in json.loads(do("list", "--json", "--feed", "filings"))["batches"]] == [two.id]
    assert not json.loads(do("list", "--json", "--until", "2026-09-30", "--feed", "news"))["batches"]


def test_show_tells_the_whole_history(book: Book) -> None:
    batch = landed(book, 1)
    book.accept(batch.id, 40)
    claim = book.claim("markets", "tina", 60)
    book.accept_result(claim, Result(run_id="run-7", identity="a" * 64))
    said = do("show", batch.id[:8])
    assert "- -> landed" in said and "accepted -> trained by claim 1" in said and "run run-7" in said
    assert [one["after"] for one in json.loads(do("show", batch.id, "--json"))["transitions"]] == [
        "landed", "accepted", "trained",
    ]  # fmt: skip


def test_a_person_releases_what_is_held_back_under_the_name_the_system_knows(book: Book) -> None:
    batch = landed(book, 1)
    book.quarantine(batch.id, "1.csv: column 'label' is missing")
    assert "column 'label' is missing" in do("list")
    assert f"batch {batch.id[:12]} (1.csv): quarantined -> landed" in do("release", batch.id[:8])
    assert book.released_by(batch.id) == operating_system_user()


def test_retry_has_a_feed_looked_into_again(book: Book) -> None:
    ids = [landed(book, number).id for number in (1, 2)]
    other = landed(book, 3, feed="filings")
    for id in (*ids, other.id):
        book.quarantine(id, "the contract")
    assert do("retry", "--feed", "news").count("quarantined -> landed") == 2
    assert "no batch of news is quarantined" in do("retry", "--feed", "news")
    assert book.batch(other.id).state == "quarantined" and book.released_by(ids[0]) == ""
    for wrong in ((), (other.id, "--feed", "filings")):
        with pytest.raises(BookRefused, match="--feed"):
            do("retry", *wrong)


def test_withdraw_wants_a_reason_and_changes_all_or_none(book: Book) -> None:
    batch = landed(book, 1)
    with pytest.raises(BookRefused, match="reason"):
        do("withdraw", batch.id, "--reason", " ")
    with pytest.raises(BookRefused, match="no batch"):
        do("withdraw", batch.id, "f" * 12, "--reason", "case 7")
    assert book.batch(batch.id).state == "landed"
    do("withdraw", batch.id, "--reason", "case 7")
    assert (book.batch(batch.id).state, book.batch(batch.id).reason) == ("withdrawn", "case 7")
    assert book.land(batch).state == "withdrawn", "a person's word stands"


def test_a_name_out_of_the_zone_does_not_steer_the_terminal(book: Book) -> None:
    batch = landed(book, 1, name="\x1b[2Jnews.csv\n[red]x")
    for said in (do("list"), do("show", batch.id)):
        assert "\x1b" not in said and "[red]x" in said


def test_a_copy_can_be_put_in_the_book_s_place(book: Book, tmp_path: Path, home: Path) -> None:
    landed(book, 1)
    kept = tmp_path / "kept.sqlite"
    assert "copied to" in do("copy", str(kept))
    assert oct(kept.stat().st_mode)[-3:] == "600"
    landed(book, 2)
    book.close()
    for left in (home / "retrain").iterdir():
        left.unlink()
    kept.rename(home / "retrain" / "book.sqlite")
    assert [one["number"] for one in json.loads(do("list", "--json"))["batches"]] == [1]
    with pytest.raises(BookRefused, match="already"):
        do("copy", str(home / "retrain" / "book.sqlite"))


def test_an_unknown_state_and_a_project_without_a_book_are_said(home: Path) -> None:
    with pytest.raises(BookUnavailable, match="no batch book"):
        do("list")
    with pytest.raises(BookRefused, match="known: landed"):
        do("list", "--state", "done")
    assert not (home / "retrain").exists()


def test_a_trained_batch_is_withdrawn_from_later_trainings(book: Book) -> None:
    one = landed(book, 1)
    book.accept(one.id, 40)
    book.accept_result(book.claim("markets", "tina", 60), Result(run_id="r", identity="a" * 64))
    said = do("withdraw", one.id[:8], "--reason", "erasure, case 2026-117")
    assert "trained -> trained" in said and "no later training reads it" in said
    assert [file.removed for file in book.batch(one.id).files] == [True]
    assert "erasure, case 2026-117" in do("show", one.id[:8])
