"""What `collect` refuses, retries and leaves alone; the whole of it runs in tests/end_to_end/test_pods.py."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from small_ledgers import small_run
from small_outboxes import RUN, Dictionary, begun, leave
from zenml.client import Client
from zenml.enums import ExecutionStatus

from domainlm.errors import ArtifactError, SecretError
from domainlm.keys import KeyRing, create_development_key
from domainlm.ledger.run import manifest as manifests
from domainlm.ledger.run.asked import Asked
from domainlm.ledger.run.entering import ENTERED, WAITING, enter_waiting, seen_folder
from domainlm.ledger.run.manifest import RUNNING, Failure, StepEntry
from domainlm.ledger.run.outbox import MANIFEST, Outbox
from domainlm.ledger.run.submission import state
from domainlm.ledger.trust import bootstrap
from steps import collected as module
from steps import left_by_pods
from steps.client_errors import reading
from steps.collected import collect
from steps.run_view import reap_interrupted

STEPS = ("prepare", "train", "record")


@pytest.fixture
def run(home: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A run of three pods as ZenML's store tells it, a ledger, and an outbox in a dictionary."""
    create_development_key()
    bootstrap.bootstrap()
    keys, files = KeyRing.load(), Dictionary()
    steps = {name: SimpleNamespace(version=1, status=ExecutionStatus.COMPLETED) for name in STEPS}
    store = SimpleNamespace(id="store")
    made = SimpleNamespace(
        id=RUN, name="finetuning_pipeline-1", status=ExecutionStatus.COMPLETED, steps=steps,
        config=SimpleNamespace(extra={}), snapshot=SimpleNamespace(id="compiled-1"), stack=SimpleNamespace(
            id="stack", name="bank-a", components={"artifact_store": [store]}),
    )  # fmt: skip
    entries = [StepEntry(name=name, status="completed", outputs={"out": "e" * 64}) for name in STEPS[:-1]]
    told = small_run(1, steps=entries, started=manifests.now(), ended=manifests.now())
    leave(files, keys, *map(begun, STEPS)).put(MANIFEST, told.sealed().model_dump(mode="json"))
    monkeypatch.setattr(module, "Client", lambda: SimpleNamespace(get_pipeline_run=lambda *_, **__: made))
    monkeypatch.setattr(left_by_pods, "load_artifact_store", lambda _: store)
    monkeypatch.setattr(left_by_pods, "StoreFiles", lambda _: files)
    monkeypatch.setattr(
        module, "manifest_of", lambda _, status, begun: told.model_copy(update={"status": status, "code": begun.code})
    )
    monkeypatch.setattr(module, "rows_of", lambda manifest: manifest)
    monkeypatch.setattr(module, "with_rows", lambda manifest: manifest)
    return SimpleNamespace(run=made, files=files, keys=keys)


def test_a_whole_run_is_entered_once(run: SimpleNamespace) -> None:
    first, second = collect(RUN), collect(RUN)
    assert first.entered.state == ENTERED and second.entered == first.entered
    assert second.manifest == first.manifest and manifests.read(first.path).collected.missing == []


def test_a_wrong_seal_makes_it_wait_and_a_person_can_vouch_for_it(run: SimpleNamespace) -> None:
    leave(run.files, KeyRing("bank-b", b"2" * 32), begun("train"))
    found = collect(RUN)
    assert found.entered.state == WAITING and "no seal" in found.entered.reason
    assert [line.split(":")[0] for line in found.manifest.collected.refused] == ["places/train.1"]
    assert found.path.with_suffix(".seal").read_text() == ""
    manifests.vouch(manifests.read(found.path), KeyRing.load)
    assert module.enter(manifests.read(found.path), KeyRing.load).state == ENTERED


def test_rows_that_were_changed_since_are_refused(run: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    def changed(_: object) -> None:
        raise ArtifactError("was changed after it was stored", "s3://bank/tenant-a/prepared_records")

    monkeypatch.setattr(module, "rows_of", changed)
    found = collect(RUN)
    assert found.entered.state == WAITING
    assert found.manifest.collected.refused == ["rows: was changed after it was stored"]


def test_a_server_or_store_that_is_away_is_asked_again_later_and_not_quoted(
    run: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object, **__: object) -> None:
        raise ConnectionError("https://AKIAEXAMPLE@store:9000 refused")

    for name in ("Client", "load_artifact_store", "manifest_of", "rows_of"):
        with monkeypatch.context() as patch:
            patch.setattr(left_by_pods if name == "load_artifact_store" else module, name, away)
            with pytest.raises(ArtifactError, match="cannot be read") as caught:
                collect(RUN)
            assert "AKIA" not in str(caught.value)
            assert not list(manifests.manifest_folder().glob("*.json")), "nothing is written that would be half"
    assert collect(RUN).entered.state == ENTERED


def test_a_run_of_another_ledger_is_shown_and_not_entered(run: SimpleNamespace) -> None:
    found = collect(RUN, only_seen=True)
    assert found.entered.state == "elsewhere" and "nothing is entered here" in found.entered.line(anchored=False)
    assert found.manifest.status == "completed" and found.path.parent == seen_folder()
    assert not list(manifests.manifest_folder().glob("*.json")) and enter_waiting(KeyRing.load) == []
    assert collect(RUN).entered.state == ENTERED


def test_a_statement_that_came_with_another_submission_is_refused(run: SimpleNamespace) -> None:
    run.run.config.extra = state(Asked("configs/kubernetes.yaml"), ["tina"], KeyRing.load)
    assert collect(RUN).entered.state == ENTERED
    again = "00000000-0000-4000-8000-000000000002"
    run.run.id, run.run.snapshot = again, SimpleNamespace(id="compiled-2")  # by another, who copied it
    found = left_by_pods.left_of(run.run)
    assert "submission: is the statement of another submission" in found.refused
    run.run.snapshot = SimpleNamespace(id="compiled-1")  # the next run of a schedule
    assert not [line for line in left_by_pods.left_of(run.run).refused if line.startswith("submission")]


@pytest.mark.parametrize("seal", ["\ud800", "x", 5])
def test_a_seal_of_no_meaning_blocks_no_run(run: SimpleNamespace, seal: object) -> None:
    run.run.config.extra = {"domainlm": {"file": "x", "overridden": False, "by": [], "seal": seal}}
    run.files.files[f"evidence-outbox/{RUN}/places/x.1.json"] = b'{"content": {}, "seal": "\\ud800"}'
    found = collect(RUN)
    assert found.entered.state == WAITING
    assert [line.split(":")[0] for line in found.manifest.collected.refused] == ["places/x.1", "submission"]


def test_a_fault_of_our_own_is_not_called_a_store_that_is_away() -> None:
    with pytest.raises(AttributeError), reading("run"):
        Outbox(None, RUN, KeyRing.load).get(MANIFEST)
    with pytest.raises(ArtifactError, match="cannot be read"), reading("run"):
        Client().get_pipeline_run("no-such-run")  # a KeyError out of ZenML's own code


def test_a_run_of_another_stack_or_of_none_is_not_collected_for_this_one(run: SimpleNamespace) -> None:
    with pytest.raises(ArtifactError, match="on the stack 'bank-a', not on 'bank-b'"):
        collect(RUN, stack="bank-b")
    own, run.run.stack = run.run.stack, None
    with pytest.raises(ArtifactError, match="was deleted"):
        collect(RUN)
    run.run.stack = own
    assert collect(RUN, stack="bank-a").entered.state == ENTERED


def test_without_the_key_nothing_is_collected(run: SimpleNamespace, home: Path) -> None:
    (home / "keys" / "development.key").unlink()
    with pytest.raises(SecretError):
        collect(RUN)


def test_a_run_at_work_is_left_alone_unless_its_follower_knows_better(run: SimpleNamespace) -> None:
    run.run.status = ExecutionStatus.RUNNING
    with pytest.raises(ArtifactError, match="still at work"):
        collect(RUN)
    lost = Failure(step="train", error="OrchestratorLost", message="its pod is gone")
    found = collect(RUN, failure=lost)
    assert (found.manifest.status, found.manifest.failure) == ("failed", lost)
    assert found.entered.state == ENTERED


def test_a_run_that_zenml_calls_complete_and_its_follower_failed_has_failed(run: SimpleNamespace) -> None:
    why = Failure(step="train", error="OOMKilled", message="asked 4Gi")
    assert collect(RUN, failure=why).manifest.status == "failed"


@pytest.mark.parametrize("status", [ExecutionStatus.STOPPED, ExecutionStatus.CANCELLED])
def test_a_stopped_run_is_interrupted(run: SimpleNamespace, status: ExecutionStatus) -> None:
    run.run.status = status
    assert collect(RUN).manifest.status == "interrupted"


def test_nobody_calls_a_clusters_run_interrupted_because_its_processes_are_elsewhere(home: Path) -> None:
    create_development_key()
    manifests.write(small_run(1, status=RUNNING, environment={"python": "3.11.7"}))
    assert reap_interrupted() == []
    assert manifests.read(manifests.manifest_folder() / f"{RUN}.json").status == RUNNING


def test_our_own_errors_pass_as_they_are() -> None:
    with pytest.raises(SecretError), reading("run"):
        raise SecretError("the key is missing", "key.json")
