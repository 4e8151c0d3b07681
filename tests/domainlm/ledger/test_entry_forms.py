"""Loose forms do not come into the ledger: an entry is spelled in one way, and is about what its subjects name."""

from __future__ import annotations

from typing import Any

import pytest
from small_ledgers import ORIGIN, small_ledger, small_run

from domainlm.digests import digest_bytes
from domainlm.errors import EvidenceRefused
from domainlm.ledger import acts, entries
from domainlm.ledger.contents import read_content
from domainlm.ledger.envelopes import Envelope
from domainlm.ledger.run.provenance import entry_of

A, B = "a" * 64, "b" * 64
ABOUT_A: dict[str, acts.Report] = {
    entries.APPROVAL: acts.Approval(model="m/1", identity=A, run=B, decision="approve"),
    entries.CONDITION_MET: acts.ConditionMet(approval=A, condition="bias", evidence="report 7"),
    entries.STANDING: acts.StandingApproval(
        model="m", base=A, sources=["s"], metrics={}, until="2026-12-31", uses=1, reason="nightly"
    ),
    entries.PROMOTION: acts.Promotion(model="m/1", identity=A, approvals=[B]),
    entries.ERASURE: acts.Erasure(commitment=A, data=[B], models=[], counts={}, by="root", reason="asked for it"),
    entries.HOLD: acts.Hold(data=A, case="C-1", reason="litigation"),
    entries.HOLD_RELEASE: acts.HoldRelease(hold=A, reason="settled"),
    entries.BACKUP: acts.Backup(file=A, content=B, size_bytes=1, checkpoint="note"),
    entries.RESTORE: acts.Restore(file=A, erasures=0),
}


def read(kind: str, act: acts.Report | dict[str, Any], subjects: dict[str, str]) -> Any:
    content = act if isinstance(act, dict) else act.model_dump(mode="json")
    return read_content(Envelope.sign(entries.statement(kind, ORIGIN, "somebody", subjects, content)), kind, "here")


@pytest.mark.parametrize("kind", ABOUT_A)
def test_an_act_is_about_its_subjects_and_nothing_else(kind):
    assert read(kind, ABOUT_A[kind], {"x": A}) == ABOUT_A[kind]
    for subjects in ({"x": B}, {"x": A, "y": B}):
        with pytest.raises(EvidenceRefused, match="other digests than its subjects"):
            read(kind, ABOUT_A[kind], subjects)


def test_a_published_checkpoint_is_about_its_note():
    act = acts.Anchored(place="git", size=1, note="n" * 60_000)
    assert read(entries.ANCHOR, act, {"checkpoint": digest_bytes(act.note.encode())}) == act
    with pytest.raises(EvidenceRefused, match="other digests"):
        read(entries.ANCHOR, act, {"checkpoint": A})


def test_a_run_is_about_its_manifest_and_what_it_made():
    subjects, content = entry_of(small_run())
    assert len(subjects) > 1
    for good in (subjects, {"manifest": subjects["manifest"]}):
        assert read(entries.RUN, content, good).digest == subjects["manifest"]
    made = next(name for name in subjects if name != "manifest")
    for wrong in ({"manifest": A}, subjects | {made: A}, subjects | {"x": A}, {made: subjects[made]}):
        with pytest.raises(EvidenceRefused, match="no run manifest"):
            read(entries.RUN, content, wrong)


@pytest.mark.parametrize(
    ("kind", "field"),
    [(entries.APPROVAL, "reason"), (entries.CONDITION_MET, "evidence"), (entries.STANDING, "reason"),
     (entries.ERASURE, "reason"), (entries.HOLD, "reason"), (entries.HOLD_RELEASE, "reason"), (entries.HOLD, "case")],
)  # fmt: skip
def test_words_have_an_end(kind, field):
    content = ABOUT_A[kind].model_dump(mode="json")
    assert getattr(read(kind, content | {field: "x" * 2000}, {"x": A}), field) == "x" * 2000
    with pytest.raises(EvidenceRefused, match=f"is no {kind}"):
        read(kind, content | {field: "x" * 2001}, {"x": A})


@pytest.mark.parametrize(
    "change",
    [{"version": True}, {"version": 1.5}, {"nonce": "0" * 15}, {"nonce": "0" * 17}, {"nonce": "A" * 16},
     {"nonce": "0" * 16 + "\n"}, {"nonce": ""}],
)  # fmt: skip
def test_a_header_has_one_spelling(change):
    statement = entries.statement(entries.READ, ORIGIN, "recorder", {"x": A}, {})
    assert entries.header(Envelope.sign(statement), "here").nonce
    statement["predicate"][entries.ENTRY] |= change
    with pytest.raises(EvidenceRefused):
        entries.header(Envelope.sign(statement), "here")


@pytest.mark.parametrize(
    "subject",
    [
        [],
        [{"name": "x", "digest": {"sha256": "a" * 63}}],
        [{"name": "x", "digest": {"sha256": "A" * 64}}],
        [{"name": "x", "digest": {"sha256": A, "sha1": "b" * 40}}],
        [{"name": "x", "digest": {"sha256": A}, "uri": "elsewhere"}],
        [{"name": "x", "digest": {"sha256": A}}, {"name": "x", "digest": {"sha256": A}}],
        [{"name": 1, "digest": {"sha256": A}}],
    ],
)
def test_subjects_have_one_spelling(subject):
    statement = entries.statement(entries.READ, ORIGIN, "recorder", {"x": A}, {}) | {"subject": subject}
    with pytest.raises(EvidenceRefused, match="not an entry of this format"):
        entries.header(Envelope.sign(statement), "here")


def test_the_signer_adds_none_of_them(tmp_path):
    made = small_ledger(tmp_path)
    size = made.ledger.frontier.size
    with pytest.raises(EvidenceRefused, match="other digests"):
        made.state("anna", entries.HOLD, ABOUT_A[entries.HOLD], {"x": B})
    assert made.ledger.frontier.size == size
