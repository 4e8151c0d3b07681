"""What entries say is held against each other, against the files beside them, and against stores and registries."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from small_ledgers import SmallLedger, small_ledger, small_run

from domainlm.audit.proof.bundle import examine_bundle
from domainlm.audit.proof.bundle_export import about, export
from domainlm.audit.proof.cross_checks import Artifact, is_entered, known_runs, manifest_files, stored_artifacts, within
from domainlm.ledger import entries
from domainlm.ledger.acts import Approval, Bound, Erasure, Promotion, Retention, StandingApproval
from domainlm.ledger.findings import Finding
from domainlm.ledger.run import manifest as manifests
from domainlm.ledger.run.manifest import INTERRUPTED, RUNNING, RunManifest, Source
from domainlm.ledger.run.provenance import MANIFEST
from domainlm.ledger.trust.gate import Rules


def approve(made: SmallLedger, who: str, run: RunManifest, entry: str, decision: str = "approve", **changes) -> str:
    act = Approval(model="domainlm-finance/1", identity=run.model.identity, run=entry, decision=decision,
                   reason="because of what was measured", **changes)  # fmt: skip
    return made.state(who, entries.APPROVAL, act).entry


def promoted(
    folder: Path, approvers: tuple[str, ...] = ("anna", "victor"), until: str = ""
) -> tuple[SmallLedger, RunManifest, str]:
    made = small_ledger(folder, Rules(production=True))
    run = small_run(1)
    entry = made.enter_run(run).entry
    approvals = [approve(made, who, run, entry, until=until) for who in approvers]
    act = Promotion(model="domainlm-finance/1", identity=run.model.identity, approvals=approvals)
    made.state("recorder", entries.PROMOTION, act)
    return made, run, entry


def told(findings: list[Finding]) -> list[tuple[str, str, str]]:
    return [(finding.severity, finding.code, finding.where) for finding in findings]


def test_a_promotion_that_the_policy_allows_is_no_finding(tmp_path: Path) -> None:
    made, _, _ = promoted(tmp_path)
    assert within(made.evidence()) == []


def test_a_bundle_of_one_model_has_all_that_its_promotion_rests_on(tmp_path: Path) -> None:
    made, first, _ = promoted(tmp_path / "ledger")
    standing = made.state("anna", entries.STANDING, StandingApproval(
        model="domainlm-finance", base=first.model.digests["base"], sources=["headlines"], until="2099-12-31", uses=2,
        metrics={"headline_accuracy": Bound(over_champion=0.005)}, reason="nightly")).entry  # fmt: skip
    second = small_run(2, sources=[Source(name="headlines", uri="x")], code={"commit": "a" * 40, "dirty": False})
    made.enter_run(second)
    made.state("recorder", entries.PROMOTION, Promotion(
        model="domainlm-finance/2", identity=second.model.identity, previous=first.model.identity, approvals=[],
        standing=standing))  # fmt: skip
    made.enter_run(small_run(3))
    assert within(made.evidence()) == []
    for run, count in ((first, 6), (second, 6)):
        identity = run.model.identity
        numbers = about(made.evidence(), identity)
        assert len(numbers) == count
        export(tmp_path / "model.tar", made.ledger.raw(), made.ledger.checkpoints(), [], "bank/models", model=identity,
               numbers=numbers)  # fmt: skip
        found, evidence = examine_bundle(tmp_path / "model.tar", made.root_keyids)
        assert found.verdict == "unanchored" and within(evidence, identity) == []
    # without the champion's run nobody can say by how much the second one was better
    numbers -= {1}
    export(tmp_path / "model.tar", made.ledger.raw(), made.ledger.checkpoints(), [], "bank/models", model=identity,
           numbers=numbers)  # fmt: skip
    _, evidence = examine_bundle(tmp_path / "model.tar", made.root_keyids)
    assert ("broken", "unapproved", "entry 7") in told(within(evidence, identity))


def test_a_promotion_without_enough_approvals_breaks_the_verdict(tmp_path: Path) -> None:
    made, _, _ = promoted(tmp_path, ("anna",))
    assert ("broken", "unapproved", "entry 3") in told(within(made.evidence()))


def test_approvals_that_ended_or_were_taken_back_are_said_of_the_champion(tmp_path: Path) -> None:
    today = datetime.now(UTC).date()
    made, run, entry = promoted(tmp_path, until=(today + timedelta(days=3)).isoformat())
    assert within(made.evidence(), today=today) == []
    later = today + timedelta(days=30)
    assert told(within(made.evidence(), today=later)) == [("warning", "expired-approval", "domainlm-finance/1")]
    approve(made, "anna", run, entry, "revoke")
    assert told(within(made.evidence(), today=today)) == [("warning", "unapproved", "domainlm-finance/1")]


def test_a_model_that_learnt_from_what_was_erased_is_said_louder_where_it_is_the_champion(tmp_path: Path) -> None:
    made, run, _ = promoted(tmp_path)
    other = small_run(2)
    made.enter_run(other)
    models = [run.model.identity, other.model.identity, "7" * 64]
    made.state("recorder", entries.ERASURE, Erasure(
        commitment="1" * 64, data=["2" * 64], models=models, counts={"rows": 1}, by="sha256:" + "3" * 64,
        reason="asked for by the subject"))  # fmt: skip
    found = {(severity, where) for severity, code, where in told(within(made.evidence())) if code == "must-retrain"}
    assert found == {("warning", "domainlm-finance/1"), ("note", "domainlm-finance/2"), ("note", "7" * 16)}
    # its approvals have not run out: what it needs is to be trained again
    assert {code for _, code, _ in told(within(made.evidence()))} == {"must-retrain"}


def test_a_run_from_uncommitted_code_is_noted(tmp_path: Path) -> None:
    made = small_ledger(tmp_path)
    made.enter_run(small_run(1, code={"commit": "a" * 40, "dirty": True}))
    made.enter_run(small_run(2, code={"commit": "a" * 40, "dirty": False}))
    assert told(within(made.evidence())) == [("note", "dirty-code", "entry 1")]


@pytest.fixture
def with_files(tmp_path: Path, home: Path) -> tuple[SmallLedger, list[Path]]:
    """A ledger of three runs, and the files of their manifests."""
    made = small_ledger(tmp_path)
    # keys of a mapping in an order that is not the alphabet's, a float that JSON writes as an integer, and Korean
    runs = [small_run(number, metrics={"zeta": 1.0, "alpha": 0.25, "정확도": 1e-7}) for number in range(3)]
    for run in runs:
        made.enter_run(run)
    return made, [manifests.write(run) for run in runs]


def test_the_manifests_beside_the_ledger_are_compared_byte_by_byte(with_files: tuple[SmallLedger, list[Path]]) -> None:
    made, paths = with_files
    assert manifest_files(made.evidence(), paths) == []
    raw = paths[1].read_bytes()
    entered = made.evidence().stated[2].envelope.statement["predicate"][MANIFEST]
    assert is_entered(raw, entered)
    for place in range(len(raw)):
        flipped = raw[:place] + bytes([raw[place] ^ (1 << place % 8)]) + raw[place + 1 :]
        assert not is_entered(flipped, entered), place
    for other in (raw + b" ", raw[:-1], b"", b"{}", b"[" * 100_000, raw.replace(b"1.0", b"true")):
        assert not is_entered(other, entered)
    paths[1].write_bytes(raw.replace(b"0.25", b"0.75"))
    paths[2].unlink()
    assert told(manifest_files(made.evidence(), paths)) == [
        ("broken", "replaced-artifact", f"runs/{paths[1].name}"),
        ("broken", "missing-artifact", f"runs/{paths[2].name}"),
    ]  # fmt: skip


def test_a_run_that_ended_without_an_entry_is_named_and_one_at_work_is_not(
    with_files: tuple[SmallLedger, list[Path]],
) -> None:
    made, _ = with_files
    ended, at_work = (manifests.write(small_run(number, status=status)) for number, status in
                      ((8, INTERRUPTED), (9, RUNNING)))  # fmt: skip
    garbage = ended.with_name("garbage.json")
    garbage.write_text("[]")
    assert told(manifest_files(made.evidence(), [ended, at_work, garbage])) == [
        ("broken", "missing-manifest", f"runs/{ended.name}"), ("broken", "missing-manifest", "runs/garbage.json"),
    ]  # fmt: skip
    known = [(small_run(1).run_id, "one"), ("00000000-0000-4000-8000-000000000009", "nine")]
    assert told(known_runs(made.evidence(), known)) == [("broken", "missing-manifest", "run nine")]


def test_stored_artifacts_are_the_same_replaced_missing_or_erased_on_the_record(tmp_path: Path) -> None:
    made = small_ledger(tmp_path)
    made.state("recorder", entries.ERASURE, Erasure(
        commitment="1" * 64, data=["e" * 64], models=[], counts={}, by="sha256:" + "3" * 64,
        reason="asked for"))  # fmt: skip
    made.state("recorder", entries.RETENTION, Retention(deleted={"d" * 64: "prepared_records"}, rule="30 days"))
    artifacts = [
        Artifact("same", "a" * 64, "a" * 64), Artifact("other", "a" * 64, "b" * 64), Artifact("altered", "a" * 64, ""),
        Artifact("gone", "a" * 64, None), Artifact("erased", "e" * 64, None), Artifact("expired", "d" * 64, None),
        Artifact("back again", "e" * 64, "f" * 64),
    ]  # fmt: skip
    found, count = stored_artifacts(made.evidence(), artifacts)
    assert count == 7 and told(found) == [
        ("broken", "replaced-artifact", "other"), ("broken", "replaced-artifact", "altered"),
        ("broken", "missing-artifact", "gone"), ("note", "erased-artifact", "erased"),
        ("note", "erased-artifact", "expired"), ("broken", "replaced-artifact", "back again"),
    ]  # fmt: skip


def test_the_day_is_the_present_one_by_default(tmp_path: Path) -> None:
    made, _, _ = promoted(tmp_path, until=(datetime.now(UTC).date() + timedelta(days=1)).isoformat())
    assert within(made.evidence()) == [] and within(made.evidence(), today=date(2099, 1, 1)) != []
