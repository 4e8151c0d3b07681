"""A result that does not count: the run fails, and its version says so; unless the same model was accepted already."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from types import SimpleNamespace

import pytest

from domainlm.digests import digest_json
from domainlm.errors import BookUnavailable, LeaseLost, StageFailed
from domainlm.evaluate.contest_report import ContestReport, TaskScore
from domainlm.evaluate.report import Estimate
from domainlm.register import Registration
from domainlm.retrain.batches import Batch, Decision, LandedFile, Result, RetrainingPlan
from domainlm.retrain.book import Book, open_book

LANE = "finance"
DIGESTS = {"adapter": "a" * 64}
IDENTITY = digest_json(DIGESTS)
SCORE = Estimate(value=0.8, low=0.7, high=0.9, method="bootstrap")


@pytest.fixture
def book(stores: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Book:
    monkeypatch.setenv("DOMAINLM_HOME", str(stores))
    monkeypatch.setenv("DOMAINLM_BOOK", f"sqlite:///{tmp_path / 'book.sqlite'}")
    from steps import retrain

    given = Result(run_id="late", identity=IDENTITY, version=f"{LANE}/1")
    monkeypatch.setattr(retrain, "compiled", lambda: SimpleNamespace(run_id="late"))
    monkeypatch.setattr(retrain, "log_metadata", lambda said: None)
    monkeypatch.setattr(retrain, "result_of", lambda registration, contest, run: given)
    book = open_book()
    file = LandedFile(path="a.csv", uri="landing/a.csv", sha256="1" * 64, size_bytes=1)
    landed = Batch(id="b" * 64, number=0, feed="news", name="a", files=(file,), landed="2026-11-21T12:00:00Z")
    book.accept(book.land(landed).id, rows=3, first_day="", last_day="", files=(file,), profile={})
    return book


def late(book: Book) -> RetrainingPlan:
    """The plan of a run whose claim was taken over meanwhile."""
    plan = held(book)
    book.give_up(plan.claim, "taken over by claim 2")
    return plan


def held(book: Book) -> RetrainingPlan:
    claim = book.claim(LANE, "late", 3600)
    decision = Decision(id="d", decided="2026-11-21T12:00:00Z", retrain=True, reasons=())
    return RetrainingPlan(claim=claim, decision=decision, sources=(), digests={}, new_after={}, trusted=True)


def registered() -> tuple[Registration, object]:
    import mlflow

    from steps.registry import tracking_uri

    client = mlflow.MlflowClient(tracking_uri(), tracking_uri())
    if not client.search_registered_models(f"name = '{LANE}'"):
        client.create_registered_model(LANE)
    version = client.create_model_version(LANE, source=tracking_uri())
    found = Registration(
        name=LANE, version=str(version.version), run_id="r", model_uri="", existing=False, verdict="", digests=DIGESTS,
        licences=[], handling="public", aliases=[],
    )  # fmt: skip
    return found, client


def settle(plan: RetrainingPlan, registration: Registration) -> None:
    from steps.retrain import settle

    score = TaskScore(metric="accuracy", items=9, groups=9, rising=True, challenger=SCORE)
    contest = ContestReport(
        verdict="no-champion", reason="", tolerance=0.05, confidence=0.95, resamples=1, rows=[],
        overall={"sentiment": score}, digests={},
    )  # fmt: skip
    settle.entrypoint(plan=plan, registration=registration, contest=contest)


def test_the_version_of_a_lost_claim_says_that_it_does_not_count(book: Book) -> None:
    from steps.marks import SUPERSEDED

    registration, client = registered()
    with pytest.raises(LeaseLost):
        settle(late(book), registration)
    assert "given up" in client.get_model_version(LANE, registration.version).tags[SUPERSEDED]
    assert book.results(LANE) == []


def test_a_version_that_another_run_had_accepted_is_not_marked(book: Book) -> None:
    """Registering the same again finds the same version: the mark would hit the result that counts."""
    from steps.marks import SUPERSEDED

    plan = late(book)
    winner = book.claim(LANE, "winner", 3600)
    registration, client = registered()
    book.accept_result(winner, Result(run_id="winner", identity=IDENTITY, version=f"{LANE}/{registration.version}"))
    with pytest.raises(LeaseLost):
        settle(plan, registration)
    assert SUPERSEDED not in client.get_model_version(LANE, registration.version).tags
    assert [one.run_id for one in book.results(LANE)] == ["winner"]


def test_the_result_is_the_last_thing_that_can_fail(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that fails is one whose batches wait on: where the disk is full, or ZenML's store away, nothing counts."""
    from steps import retrain

    (registration, _), plan = registered(), held(book)
    base = sqlite3.connect(book.file, isolation_level=None)
    base.execute("CREATE TRIGGER full BEFORE INSERT ON retrain_scores BEGIN SELECT RAISE(FAIL, 'disk is full'); END")
    with pytest.raises(BookUnavailable):
        settle(plan, registration)
    base.execute("DROP TRIGGER full")
    base.close()

    def away(said: object) -> None:
        raise ConnectionError

    with monkeypatch.context() as patched, pytest.raises(StageFailed, match="ConnectionError"):
        patched.setattr(retrain, "log_metadata", away)
        settle(plan, registration)
    assert book.results(LANE) == [] and book.batches()[0].state == "accepted"
    settle(plan, registration)
    assert [one.identity for one in book.results(LANE)] == [IDENTITY]
    assert [(one.task, one.value) for one in book.scores(IDENTITY)] == [("sentiment", 0.8)]
