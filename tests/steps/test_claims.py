"""A run keeps its claim while it is at work, gives it back however it ends, and ends when it is lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from domainlm.errors import LeaseLost, TrainingError
from domainlm.ledger.run import manifest as manifests
from domainlm.ledger.run.manifest import COMPLETED, FAILED, RunManifest
from domainlm.retrain.batches import Batch, LandedFile
from domainlm.retrain.book import Book, open_book


@pytest.fixture
def book(stores: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Book:
    from zenml.client import Client

    from domainlm.keys import KeyRing
    from pipelines import hooks

    monkeypatch.setenv("DOMAINLM_PROJECT", str(Path(__file__).resolve().parents[2]))
    monkeypatch.setenv("DOMAINLM_BOOK", f"sqlite:///{tmp_path / 'book.sqlite'}")
    monkeypatch.setattr(hooks, "load_keys", lambda *_: KeyRing("test", b"k" * 32))
    monkeypatch.setattr(hooks, "started", [])
    Client().activate_root(stores)
    book = open_book()
    file = LandedFile(path="a.csv", uri="landing/a.csv", sha256="1" * 64, size_bytes=1)
    landed = Batch(id="b" * 64, number=0, feed="news", name="a", files=(file,), landed="2026-11-21T12:00:00Z")
    book.accept(book.land(landed).id, rows=3, first_day="", last_day="", files=(file,), profile={})
    return book


def last(pipeline: str) -> RunManifest:
    found = [manifests.read(path) for path in manifests.manifest_folder().glob("*.json")]
    return max((one for one in found if one.pipeline == pipeline), key=lambda one: one.started)


def test_a_claim_outlives_its_lease_between_and_in_steps_and_ends_with_the_run(book: Book) -> None:
    from tests.support.claiming_pipelines import LANE, working

    run = working()
    assert last("working").status == COMPLETED
    (claim,) = book.claims(LANE)
    assert (claim.state, claim.run_id) == ("given up", str(run.id)), "it brought no result"
    assert run.run_metadata["claim"]["token"] == claim.token, "whoever looks at the run sees its claim"
    assert book.claim(LANE, "another", 60) is not None, "the batch is free at once"


def test_a_failure_frees_the_batches_and_says_where(book: Book) -> None:
    from tests.support.claiming_pipelines import LANE, failing

    with pytest.raises(TrainingError):
        failing()
    (claim,) = book.claims(LANE)
    assert (claim.state, claim.why) == ("given up", "step fails failed: TrainingError")
    assert book.claim(LANE, "another", 60) is not None


def test_a_lost_claim_ends_the_step_at_work_and_the_run(book: Book) -> None:
    from tests.support.claiming_pipelines import losing

    with pytest.raises(LeaseLost):
        losing()
    manifest = last("losing")
    assert (manifest.status, manifest.failure.step, manifest.failure.error) == (FAILED, "loses", "LeaseLost")
    assert "given up" in manifest.failure.message
    assert "never" not in {step.name for step in manifest.steps}
