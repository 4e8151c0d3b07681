"""What follows a retraining, with real registries, a real book, and a ledger whose signer is a process of its own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from registering_bank import Bank
from small_ledgers import small_run

from domainlm.keys import create_development_key
from domainlm.ledger import entries
from domainlm.ledger.acts import Approval, Bound, Erasure, StandingApproval
from domainlm.ledger.run import manifest as manifests
from domainlm.ledger.run.manifest import ModelRecord, Source
from domainlm.retrain.batches import Batch, LandedFile, Result
from domainlm.retrain.book import Book, open_book
from domainlm.retrain.outcomes import Outcome
from domainlm.retrain.settings import SettleSettings

STANDING = SettleSettings(promote="standing")
PERSON = SettleSettings()
CLEAN = {"code": {"commit": "c" * 40, "dirty": False}}


class Following:
    """A bank with a book: results are accepted and followed."""

    def __init__(self, bank: Bank, book: Book) -> None:
        self.bank, self.book, self.lane = bank, book, bank.name
        self.number = 0

    def train(self, trusted: bool = True, batch_trusted: bool = True, entered: bool = True, **changes) -> ModelRecord:
        """A retraining that ended well: registered, entered, accepted."""
        self.number += 1
        sources = [Source(name="headlines", uri="landing", trusted=trusted)]
        given = CLEAN | {"sources": sources} | (changes if entered else {"status": "failed"})
        model = self.bank.register(self.number, False, True, **given)
        batch = Batch(
            id=f"{self.number:064x}", number=0, feed="headlines", name="a", landed="2026-11-21T00:00:00Z",
            files=(LandedFile(path="a", uri="file:a", sha256="a" * 64, size_bytes=1),), trusted=batch_trusted,
        )  # fmt: skip
        self.book.land(batch)
        self.book.accept(batch.id, 1, "", "", batch.files, {})
        claim = self.book.claim(self.lane, "test", 600)
        result = Result(run_id=f"run-{self.number}", identity=model.identity, version=f"{self.lane}/{model.version}")
        self.book.accept_result(claim, result)
        return model

    def stand(self, model: ModelRecord, **changes) -> None:
        fields = {"model": self.lane, "base": model.digests["base"], "sources": ["headlines"], "reason": "nightly",
                  "metrics": {"headline_accuracy": Bound(low=0.5)}, "until": "2099-12-31", "uses": 9,
                  "tier": 1}  # fmt: skip
        self.bank.made.state("anna", entries.STANDING, StandingApproval(**fields | changes))

    def follow(self, settings: SettleSettings = STANDING) -> list[tuple[str, str]]:
        return [(outcome.label.rpartition("/")[2], outcome.state) for outcome in self.outcomes(settings)]

    def outcomes(self, settings: SettleSettings = STANDING) -> list[Outcome]:
        from steps.followup import follow_up

        return follow_up(self.book, self.lane, settings)

    def notices(self) -> list[dict[str, str]]:
        """Those that wait to be sent, taken out."""
        found = []
        while (waiting := self.book.take_notice()) is not None:
            found.append(waiting.notice)
            self.book.notice_sent(waiting.key, (), done=True)
        return found

    def promotions(self) -> list[str]:
        evidence = self.bank.made.evidence()
        return [stated.act.model.rpartition("/")[2] for stated in evidence.of_kind(entries.PROMOTION)]

    def state(self, number: int) -> str:
        return self.book.batch(f"{number:064x}").state


@pytest.fixture
def following(stores: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest):
    monkeypatch.setenv("DOMAINLM_HOME", str(stores))
    bank = Bank(tmp_path, f"f-{request.node.name[5:40]}".replace("[", "-").replace("]", ""))
    for name, value in bank.made.as_files().items():
        monkeypatch.setenv(name, value)
    book = open_book(f"sqlite:///{tmp_path / 'book.sqlite'}")
    yield Following(bank, book)
    book.close()


def test_a_standing_approval_promotes_and_everybody_is_told_once(following: Following) -> None:
    from steps.registry import StackRegistries

    model = following.train()
    following.stand(model)
    assert following.follow() == [("1", "champion")] and following.promotions() == ["1"]
    assert following.bank.champions(StackRegistries())["MLflow"] == ("1", model.identity)
    assert following.state(1) == "promoted" and following.book.results(following.lane)[0].promoted_at
    (notice,) = following.notices()
    assert notice["kind"] == "promoted" and notice["run"] == "run-1" and "by a" not in notice["next_action"]
    assert following.follow() == [] and following.notices() == [] and following.promotions() == ["1"]


def test_by_default_a_person_has_the_word_although_a_standing_approval_is_there(following: Following) -> None:
    following.stand(following.train())
    assert following.follow(PERSON) == [("1", "by-standing")] and following.promotions() == []
    (notice,) = following.notices()
    assert "promote is person" in notice["cause"] and notice["next_action"] == f"domainlm promote {following.lane}/1"


def test_a_person_is_told_once_what_is_missing_and_no_person_is_named(following: Following) -> None:
    following.train()
    assert following.follow() == [("1", "waits")] and following.follow() == [("1", "waits")]
    (notice,) = following.notices()
    assert notice["kind"] == "waits-for-person" and "no standing approval serves" in notice["cause"]
    assert "the approval of an officer and the approval of a validator are missing" in notice["cause"]
    assert not [name for name in ("anna", "victor", "olga", "tina") if name in str(notice)]
    assert notice["next_action"].startswith(f"domainlm audit approve {following.lane}/1")
    assert following.promotions() == [] and following.state(1) == "trained"


@pytest.mark.parametrize("trusted", [(False, True), (True, False)])
def test_what_came_from_an_untrusted_source_waits_for_a_person(following: Following, trusted) -> None:
    """By the manifest's word on its sources, or by the book's on its batches."""
    model = following.train(*trusted)
    following.stand(model)
    following.follow()
    assert following.promotions() == [] and following.state(1) == "trained"
    (notice,) = following.notices()
    assert "untrusted source, and nothing promotes it by itself" in notice["cause"]


@pytest.mark.parametrize(
    ("changes", "bounds"),
    [
        ({}, {"tier": 2}),
        ({"metrics": {"headline_accuracy": 0.4}}, {}),
        ({"verdicts": {"contest": {"verdict": "worse", "champion": ""}}}, {}),
        ({"verdicts": {"contest": {"verdict": "not-assessable", "champion": ""}}}, {}),
        ({}, {"uses": 1, "until": "2026-01-01"}),
    ],
)
def test_a_standing_approval_that_does_not_cover_it_promotes_nothing(following: Following, changes, bounds) -> None:
    following.stand(following.train(**changes), **bounds)
    assert following.follow() == [("1", "waits")] and following.promotions() == []


def test_what_people_approved_is_told_and_promoted_by_their_hand(following: Following) -> None:
    model = following.train()
    run = following.bank.made.evidence().registered(model.identity)[0].digest
    for person in ("anna", "victor"):
        act = Approval(model=f"{following.lane}/1", identity=model.identity, run=run, decision="approve")
        following.bank.made.state(person, entries.APPROVAL, act)
    assert following.follow() == [("1", "approved")] and following.promotions() == []
    assert following.notices()[0]["next_action"] == f"domainlm promote {following.lane}/1"
    from steps.registry import StackRegistries

    following.bank.promote("1", StackRegistries())
    assert following.follow() == [("1", "champion")] and following.state(1) == "promoted"
    assert following.follow() == []


def test_only_the_newest_is_followed_and_what_it_overtook_is_left(following: Following) -> None:
    first = following.train()
    following.train()
    following.stand(first)
    assert following.follow() == [("2", "champion")] and following.promotions() == ["2"]
    assert following.follow() == [] and following.state(1) == "trained"


def test_a_run_that_is_not_in_the_ledger_waits_without_a_notice(following: Following) -> None:
    following.train(entered=False)
    assert following.follow() == [("1", "not-entered")] and following.notices() == []


@pytest.mark.parametrize(
    ("status", "pid", "told"),
    [("running", 1, "interrupted"), ("running", 0, ""), ("interrupted", 1, "interrupted"), ("failed", 1, "failed"),
     ("completed", 1, "")],
)  # fmt: skip
def test_a_run_that_ended_between_its_result_and_the_ledger_is_told_once_with_what_works(
    following: Following, status: str, pid: int, told: str
) -> None:
    """Of this machine by its manifest: one at `running` was killed where its process is gone."""
    create_development_key()
    following.train(entered=False)
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait(60)
    process = {"host": socket.gethostname(), "pid": gone.pid if pid else os.getpid()}
    manifests.write(small_run(1, run_id="run-1", status=status, environment={"process": process}))
    told_of = [following.outcomes() for _ in range(2)]
    assert {outcome.state for outcomes in told_of for outcome in outcomes} == {"not-entered"}
    assert ("--as-run run-1" in str(told_of[1][0])) == bool(told), "each round says what helps"
    notices = following.notices()
    assert [one["kind"] for one in notices] == (["failed"] if told else [])
    if told:
        assert f"ended after its result was accepted ({told})" in notices[0]["cause"] and notices[0]["run"] == "run-1"
        assert notices[0]["next_action"].startswith("domainlm retrain --once --as-run run-1")


def test_a_run_that_the_ledger_knows_as_failed_is_told_without_its_manifest(following: Following) -> None:
    following.train(run_id="run-1", status="failed")
    assert "accepted (failed); domainlm retrain" in str(following.outcomes()[0]) and len(following.notices()) == 1


def test_where_there_is_no_ledger_it_is_said(following: Following, monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    following.train()
    monkeypatch.setenv("DOMAINLM_ROOT", str(tmp_path / "none.pem"))
    assert following.follow() == [("1", "no-ledger")] and following.notices() == []


def test_data_that_were_erased_hold_it_back(following: Following) -> None:
    model = following.train()
    following.stand(model)
    act = Erasure(commitment="0" * 64, data=[], models=[model.identity], counts={}, by="x", reason="x")
    following.bank.made.state("recorder", entries.ERASURE, act)
    assert following.follow() == [("1", "waits")] and following.promotions() == []
    (notice,) = following.notices()
    assert "more than an approval is missing" in notice["cause"]
    assert notice["next_action"] == f"domainlm audit approvals {following.lane}/1 says what"  # none would help


def test_a_registry_that_holds_something_else_is_told_and_nothing_is_promoted(following: Following) -> None:
    import mlflow

    from steps.registry import tracking_uri

    model = following.train()
    following.stand(model)
    client = mlflow.MlflowClient(tracking_uri(), tracking_uri())
    client.set_model_version_tag(following.lane, model.version, "domainlm.identity", "f" * 64)
    assert following.follow() == [("1", "refused")] and following.promotions() == []
    (notice,) = following.notices()
    assert "ApprovalRefused" in notice["cause"] and notice["next_action"].endswith("--dry-run says why")


def test_several_at_once_promote_once(following: Following) -> None:
    following.stand(following.train())
    found: list[list[tuple[str, str]]] = []
    threads = [threading.Thread(target=lambda: found.append(following.follow())) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert following.promotions() == ["1"] and len(found) == 3 and following.state(1) == "promoted"
    assert [notice["kind"] for notice in following.notices()].count("promoted") == 1
