"""What the two commands of retraining tell people, through a real book and a real endpoint; a dry run tells nobody."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from notice_servers import Endpoint, endpoint

from cli.landing import QUIET_VARIABLE, following, notify, notify_away, notify_quarantined, post_in_slack
from domainlm.config import RunConfiguration
from domainlm.errors import BookUnavailable, NoticeNotSent
from domainlm.retrain.batches import Batch, LandedFile, Result
from domainlm.retrain.book import Book, open_book
from domainlm.retrain.rounds import Terms

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def book(tmp_path: Path):
    made = open_book(f"sqlite:///{tmp_path / 'book.sqlite'}")
    yield made
    made.close()


@pytest.fixture
def terms() -> Terms:
    said = ["steps.settle.parameters.webhook={url_variable: HOOK_URL}"]
    return Terms.of(RunConfiguration.load(ROOT / "configs" / "retrain.yaml", said))


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch):
    with endpoint() as made:
        monkeypatch.setenv("HOOK_URL", f"http://127.0.0.1:{made.port}/")
        yield made


def waiting_batch(book: Book) -> Batch:
    file = LandedFile(path="news/Kim Min-su.csv", uri="/zone/news/Kim Min-su.csv", sha256="a" * 64, size_bytes=1)
    book.land(Batch(id="b" * 64, number=0, feed="news", name="news/Kim Min-su.csv", files=(file,), landed="2026-11-21"))
    return book.quarantine("b" * 64, "news/Kim Min-su.csv, row 3 (line 4): has no label in column 'label'")


def test_a_batch_that_waits_is_told_once_and_without_its_files_name(book, terms, hook: Endpoint) -> None:
    batch = waiting_batch(book)
    notify_quarantined(terms, book, batch)
    notify_quarantined(terms, book, batch)
    ((_, _, body),) = hook.got
    said = json.loads(body)
    assert said["kind"] == "landed-quarantined" and "row 3 (line 4): has no label in column" in said["cause"]
    assert "Min-su" not in body.decode() and said["next_action"] == f"domainlm batches show {'b' * 12}"


def test_a_run_that_failed_is_told_with_step_cause_and_next_action(book, terms, hook: Endpoint) -> None:
    notify(terms, book, "failed", run="r1", step="train", cause="TrainingError: no room", next_action="free some")
    said = json.loads(hook.got[0][2])
    assert [said[name] for name in ("run", "step", "cause", "next_action")] == [
        "r1", "train", "TrainingError: no room", "free some",
    ]  # fmt: skip


def test_a_dry_run_tells_nobody(book, terms, hook: Endpoint, monkeypatch) -> None:
    monkeypatch.setenv(QUIET_VARIABLE, "1")
    notify_quarantined(terms, book, waiting_batch(book))
    notify(terms, book, "failed", run="r1")
    assert hook.got == [] and book.next_notice_s() is None


def test_a_book_that_is_away_is_told_without_it_and_once_a_day(terms, hook: Endpoint, home, monkeypatch) -> None:
    monkeypatch.setattr("domainlm.retrain.book.open_book", _away)
    error = BookUnavailable("the batch book refuses", "postgresql://db.bank/books", "start it")
    hook.answers = [500]
    assert not notify_away(terms, error)
    hook.answers = [204]
    for _ in range(3):  # what was not taken is tried again, what was taken is not
        assert not notify_away(terms, error)
    first, second = (json.loads(body) for _, _, body in hook.got)
    assert first["id"] == second["id"] and second["kind"] == "book-unavailable"
    assert second["cause"] == "the batch book refuses" and second["next_action"] == "start it"


def _away() -> Book:
    raise BookUnavailable("the batch book refuses")


def test_a_batch_that_is_quarantined_again_is_told_again(book, terms, hook: Endpoint) -> None:
    notify_quarantined(terms, book, waiting_batch(book))
    book.release("b" * 64, "anna", check_again=True)
    notify_quarantined(terms, book, book.quarantine("b" * 64, "has no label"))
    assert len(hook.got) == 2


def test_a_dead_channel_ends_no_command_and_is_named_in_what_follows(book, terms, hook: Endpoint) -> None:
    hook.answers = [500]
    notify(terms, book, "failed", run="r1")
    lane = terms.lane
    claim = book.claim(lane, "test", 60, batches=(), allow_empty=True)
    book.accept_result(claim, Result(run_id="r", identity="a" * 64, version=f"{lane}/1"))
    notify(terms, book, "failed", run="r2")
    assert len(hook.got) == 2
    lines = following(terms, book)
    assert lines[0].startswith(f"{lane}/1: promotion is by people and the ledger")


def test_slack_without_an_alerter_is_an_error_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The child finds a stack that has none; what it says on its way stays with it."""
    monkeypatch.setenv("ZENML_CONFIG_PATH", str(tmp_path / "zenml"))
    monkeypatch.setenv("ZENML_LOCAL_STORES_PATH", str(tmp_path / "stores"))
    monkeypatch.setenv("ZENML_ANALYTICS_OPT_IN", "false")
    with pytest.raises(NoticeNotSent, match=r"was not posted \(exit code 1\)"):
        post_in_slack("x")
