"""Each run's manifest ends in the ledger exactly once, whatever is down meanwhile, and production asks beforehand."""

from __future__ import annotations

import json
import multiprocessing
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from small_ledgers import small_run

from domainlm.audit.evidence import Evidence
from domainlm.digests import digest_json
from domainlm.errors import ArtifactError, DomainLMError, EvidenceRefused
from domainlm.keys import KeyRing, create_development_key, development_key_file, write_secret_file
from domainlm.ledger import client, entries
from domainlm.ledger.envelopes import MAX_ENTRY_BYTES
from domainlm.ledger.run import entering
from domainlm.ledger.run import manifest as manifests
from domainlm.ledger.run.entering import ENTERED, NO_LEDGER, WAITING, enter_waiting, receipt_of
from domainlm.ledger.run.manifest import FAILED, INTERRUPTED, RUNNING, RunManifest
from domainlm.ledger.run.provenance import MANIFEST
from domainlm.ledger.settings import evidence_folder
from domainlm.ledger.signer import calls
from domainlm.ledger.trust import bootstrap


@pytest.fixture
def ledger(home: Path) -> Path:
    """The project of the test has a ledger of its own."""
    create_development_key()
    bootstrap.bootstrap()
    return home


def enter(run: RunManifest) -> entering.Entered:
    """As the pipeline does: it writes the manifest, and enters what it reads again."""
    return entering.enter(manifests.read(manifests.write(run)))


def runs() -> list[RunManifest]:
    read = Evidence(client.evidence_entries(), client.new_gate())
    return [stated.act for stated in read.of_kind(entries.RUN)]


def now(number: int = 1, **changes: object) -> RunManifest:
    """A run of just now: entries are looked for from its start on."""
    return small_run(number, started=manifests.now(), ended=manifests.now(), **changes)


def down(*_: object, **__: object) -> None:
    raise ArtifactError("the signer cannot be reached: Connection refused", "signer.sock")


@pytest.mark.parametrize("status", ["completed", FAILED, INTERRUPTED])
def test_a_run_is_entered_once_however_it_ended(ledger: Path, status: str) -> None:
    run = now(status=status)
    first, second = enter(run), enter(run)
    assert first.state == ENTERED and second == first and first.size == first.number + 1
    assert [(found.run_id, found.status) for found in runs()] == [(run.run_id, status)]
    told = first.line(anchored=False)
    assert told == "entry 1, checkpoint of 2 entries, unanchored: no checkpoint is published outside"


def test_a_lost_receipt_does_not_make_a_second_entry(ledger: Path) -> None:
    first = enter(now())
    for number in range(2, 5):
        enter(now(number))
    (evidence_folder() / "receipts" / f"{now().run_id}.json").unlink()
    again = enter(now())
    assert (again.number, again.entry) == (first.number, first.entry) and len(runs()) == 4


def test_without_a_signer_the_run_waits_and_the_next_one_enters_it(
    ledger: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifests.write(now())
    with monkeypatch.context() as patched:
        patched.setattr(calls, "ask", down)
        waits = enter(now())
        assert waits.state == WAITING and "cannot be reached" in waits.line(anchored=True)
        assert receipt_of(waits.run_id) is None and runs() == []
    (done,) = enter_waiting()
    assert done.state == ENTERED and [found.run_id for found in runs()] == [waits.run_id]
    assert enter_waiting() == []


def test_a_killed_run_is_entered_by_whoever_marks_it_and_a_running_one_is_not(ledger: Path) -> None:
    manifests.write(now(1, status=RUNNING))
    manifests.write(now(2, status=INTERRUPTED))
    assert [found.status for found in (enter_waiting(), runs())[1]] == [INTERRUPTED]


def test_what_another_process_is_about_to_enter_is_left_to_it(ledger: Path) -> None:
    other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        manifests.write(now(environment={"process": {"host": socket.gethostname(), "pid": other.pid}}))
        assert enter_waiting() == [] and runs() == []
    finally:
        other.communicate(b"\n", timeout=60)
    assert len(enter_waiting()) == 1


def test_a_changed_manifest_is_not_entered(ledger: Path) -> None:
    path = manifests.write(now())
    path.write_text(path.read_text().replace('"seed": 1', '"seed": 2'))
    assert enter_waiting() == [] and runs() == []


def test_manifests_from_before_the_ledger_are_entered_as_they_were_written(ledger: Path) -> None:
    old = {
        "format": "domainlm.run/1", "run_id": "1", "run_name": "run", "pipeline": "p", "status": "completed",
        "started": "2026-11-21T06:43:54.495", "ended": "", "key_id": "k", "failure": None, "configuration": {},
        "steps": [{"name": "train", "status": "completed", "cached": False, "parameters": {}, "inputs": {},
                   "outputs": {"adapter": "a" * 64}, "code": "", "started": "", "ended": ""}],
        "code": {"commit": "c" * 40, "dirty": False, "lock": ""}, "environment": {},
    }  # fmt: skip
    old["digest"] = digest_json(old)
    (manifests.manifest_folder() / "1.json").write_text(json.dumps(old, indent=2))
    manifests.write(now(2))
    assert {found.run_id: found.state for found in enter_waiting()} == {now(2).run_id: ENTERED, "1": WAITING}
    path = manifests.manifest_folder() / "1.json"
    manifests.vouch(manifests.read(path))
    assert [found.state for found in enter_waiting()] == [ENTERED]
    *_, (_, envelope) = client.evidence_entries()
    assert envelope.statement["predicate"][MANIFEST] == old
    assert enter_waiting() == []


def test_one_that_is_refused_keeps_none_of_the_others_out(ledger: Path) -> None:
    huge = "x" * MAX_ENTRY_BYTES
    for number in (1, 2, 3):
        manifests.write(now(number, configuration={"file": huge if number == 2 else "", "parameters": {}}))
    done = {found.run_id[-1]: found for found in enter_waiting()}
    assert [done[number].state for number in "123"] == [ENTERED, WAITING, ENTERED]
    assert "bytes" in done["2"].reason and len(runs()) == 2


def test_a_refused_entry_is_said_and_hinders_nothing(ledger: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(*_: object, **__: object) -> None:
        raise EvidenceRefused("bears a time before an earlier entry's", "new entry 0", "", "clock-set-back")

    monkeypatch.setattr(calls, "ask", refuses)
    assert enter(now()).reason == "bears a time before an earlier entry's"


def test_a_project_without_a_ledger_says_so(home: Path) -> None:
    manifests.write(now())
    assert enter(now()).state == NO_LEDGER and enter_waiting() == []
    assert "no ledger" in enter(now()).line(anchored=False)


def test_production_asks_the_signer_before_a_run_starts(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entering.require_ledger("development")
    with pytest.raises(DomainLMError):
        entering.require_ledger("production")
    bootstrap.bootstrap()
    entering.require_ledger("production")
    monkeypatch.setenv("DOMAINLM_MODE", "production")
    monkeypatch.setenv("DOMAINLM_SIGNER_KEYS", str(home / "elsewhere"))
    with pytest.raises(DomainLMError):
        entering.require_ledger("")


def _enter(run: RunManifest) -> tuple[str, int]:
    found = enter(run)
    return found.state, found.number


def test_two_processes_that_enter_one_run_make_one_entry(ledger: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        answers = pool.map_async(_enter, [now(), now()]).get(timeout=120)
    assert answers[0] == answers[1] == (ENTERED, 1)
    assert len(runs()) == 1


def forged(run: RunManifest, name: str) -> RunManifest:
    """A copy under another id with the best of metrics, its digest made to fit, as anybody can make it."""
    return run.model_copy(update={"run_id": name, "metrics": {"exact_match": 1.0}}).sealed()


def put(run: RunManifest) -> Path:
    path = manifests.manifest_folder() / f"{run.run_id}.json"
    path.write_text(json.dumps(run.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n")
    return path


def test_a_manifest_that_the_pipeline_did_not_write_is_not_signed_and_keeps_none_out(ledger: Path) -> None:
    genuine = manifests.read(manifests.write(now(1)))
    for number in range(entering.RUNS_AT_ONCE + 1):
        put(forged(genuine, f"0-{number:02}"))
    copied = put(forged(genuine, "other"))
    copied.with_suffix(".seal").write_text((copied.parent / f"{genuine.run_id}.seal").read_text())
    done = {found.run_id: found for found in enter_waiting()}
    assert [run.run_id for run in runs()] == [genuine.run_id] and done[genuine.run_id].state == ENTERED
    assert "no seal" in done["0-00"].reason and "not sealed by this project's key" in done["other"].reason
    assert {found.state for name, found in done.items() if name != genuine.run_id} == {WAITING}
    assert entering.enter(manifests.read(copied)).state == WAITING and len(runs()) == 1


def test_a_sealed_manifest_that_was_replaced_waits(ledger: Path) -> None:
    run = manifests.read(manifests.write(now(1)))
    put(run.model_copy(update={"metrics": {"exact_match": 1.0}}).sealed())
    assert [found.state for found in enter_waiting()] == [WAITING] and runs() == []


def test_what_was_sealed_before_a_rotation_is_entered_after_it(ledger: Path) -> None:
    manifests.write(now(1))
    ring = KeyRing.load().succeeded_by(KeyRing.new("next"))
    write_secret_file(development_key_file(), ring.to_json(), replace=True)
    assert [found.state for found in enter_waiting()] == [ENTERED]
    manifests.write(now(2))
    write_secret_file(development_key_file(), KeyRing.new("foreign").to_json(), replace=True)
    assert [found.state for found in enter_waiting()] == [WAITING], "the key of another institution"


def test_without_the_key_a_run_waits_and_says_so(ledger: Path) -> None:
    manifests.write(now(1))
    kept = development_key_file().read_bytes()
    development_key_file().unlink()
    (waits,) = enter_waiting()
    assert waits.state == WAITING and "key" in waits.reason
    manifests.write(now(2))  # a run leaves its manifest all the same
    development_key_file().write_bytes(kept)
    development_key_file().chmod(0o600)
    assert sorted(found.state for found in enter_waiting()) == [ENTERED, WAITING]
