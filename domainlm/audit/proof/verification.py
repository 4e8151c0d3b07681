"""Verification of a ledger: what is wrong, where, and one verdict.

    verification = verify_entries(ledger.raw(), ledger.checkpoints(), published(anchors), origin, root_keyids)
    verification, evidence = examine(...)       # the same, and what the entries say, for the checks beyond the log

Each entry is parsed strictly and passes the gate that the signer uses; the tree over all of them is computed anew and
compared with every signed checkpoint, those beside the entries and those published outside. Nothing stops at the first
fault, and nothing here raises because of what it reads. Signatures are checked by several processes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from datetime import datetime

from pydantic import Field

from domainlm.audit.evidence import Evidence
from domainlm.audit.proof.collected import Findings
from domainlm.audit.proof.differences import Mark, compare
from domainlm.audit.proof.notes import LogKeys, Note, believed, outside_notes
from domainlm.audit.proof.processes import Pool
from domainlm.audit.proof.reading import Check, Keep, check_chunk, read_entries
from domainlm.errors import EvidenceRefused
from domainlm.ledger import entries
from domainlm.ledger.anchors import Published
from domainlm.ledger.entries import Header
from domainlm.ledger.envelopes import Envelope
from domainlm.ledger.findings import Finding, verdict
from domainlm.ledger.trust.gate import Gate, Presented
from domainlm.reports import Report


class Verification(Report):
    """The outcome.

    Fields:
        verdict: `good`, `unanchored` or `broken` (`domainlm.ledger.findings.verdict`).
        size: entries that were read.
        root: of the tree over them, 64 hexadecimal digits.
        anchored: size of the largest published checkpoint that the entries continue; 0 for none, or where one of them
            cannot be read.
        entries: how many passed the gate.
        artifacts: how many artifacts were compared with their digests.
        model: identity of the one model that a bundle is about; empty where all entries were read.
    """

    verdict: str
    origin: str
    size: int
    root: str
    anchored: int
    entries: int
    artifacts: int = 0
    model: str = ""
    findings: list[Finding] = Field(default_factory=list)

    def with_findings(self, more: Iterable[Finding], artifacts: int = 0) -> Verification:
        """The same with what further checks found; the verdict follows."""
        findings = [*self.findings, *more]
        changes = {
            "findings": findings,
            "verdict": verdict(findings, self.anchored > 0),
            "artifacts": self.artifacts + artifacts,
        }
        return self.model_copy(update=changes)


def verify_entries(
    read: Iterable[tuple[int, bytes]],
    checkpoints: Sequence[str],
    published: Sequence[Published],
    origin: str,
    root_keyids: frozenset[str],
    *,
    stored: Callable[[], Iterable[bytes]] | None = None,
    keep: Keep | None = None,
    processes: int | None = None,
    check: Check | None = None,
) -> Verification:
    """Verify stored entries against signed and published checkpoints.

    Args:
        read: (number, bytes) as stored, in order.
        checkpoints: signed notes that lie beside them; read before the entries.
        published: signed notes from outside.
        origin: the ledger's name.
        root_keyids: ids of the pinned root keys.
        stored: gives the leaf hashes that the store keeps beside the entries: a hint that names an edited entry where
            a checkpoint bears it out, never a proof.
        keep: is handed each entry that passed, in order.
        processes: that check signatures; as many as there are processors by default, 1 for none beside this one.
        check: checks a chunk of entries; `check_chunk` by default.
    """
    findings = Findings()
    with ExitStack() as stack:
        pool = Pool(stack, processes)
        passed = read_entries(read, Gate(origin, root_keyids), findings, pool, check or check_chunk, keep)
        gate, log = passed.gate, passed.log
        log.stored = stored
        keys = LogKeys(gate)
        local = [Note(note, f"checkpoint {index}", False) for index, note in enumerate(checkpoints)]
        outside = outside_notes(published, findings)
        marks = believed([*local, *outside], origin, keys, findings, pool)
    if not log.leaves:
        findings.add("untrusted-root", origin, "holds no entry, not even a policy")
    fit = compare(log, marks)
    anchored = max((mark.size for mark in fit.fitting if mark.published), default=0)
    if len(outside) < len(published):
        anchored = 0  # the checkpoint that would show a roll-back may be the one that cannot be read
    _coverage(len(log.leaves), passed.weighty, marks, fit.fitting, anchored, findings)
    if gate.policy is not None and not gate.policy.rules.production:
        findings.add("development-key", origin, "its keys were made by set-up on one machine", "warning")
    for taint in gate.tainted():
        findings.add(
            "revoked-key", f"entry {taint.number}",
            f"was signed before the key {taint.keyid[:12]}… was revoked, with effect from {taint.since}", "warning",
        )  # fmt: skip
    found = fit.findings + findings.all()  # what happened first, then what each entry says of it
    return Verification(
        verdict=verdict(found, anchored > 0), origin=origin, size=len(log.leaves), root=fit.root.hex(),
        anchored=anchored, entries=passed.count, findings=found,
    )  # fmt: skip


def examine(
    read: Iterable[tuple[int, bytes]],
    checkpoints: Sequence[str],
    published: Sequence[Published],
    origin: str,
    root_keyids: frozenset[str],
    *,
    stored: Callable[[], Iterable[bytes]] | None = None,
    skip: Sequence[str] = (entries.READ,),
) -> tuple[Verification, Evidence]:
    """`verify_entries`, and what the entries that passed say: each was read, and its signature checked, once.

    The evidence can be extended by later entries, which its gate then checks itself.

    Args:
        skip: kinds of entries that the evidence leaves out: who looked at what is much, and decides nothing.
    """
    gate, findings = _Passed(origin, root_keyids), Findings()
    evidence = Evidence((), gate)

    def keep(number: int, envelope: Envelope) -> None:
        header = entries.header(envelope, f"entry {number}")
        if header.kind in skip:
            evidence.pass_over(header)
            return
        try:
            evidence.extend([(number, envelope)])
        except EvidenceRefused as error:
            findings.refused(error)

    verification = verify_entries(read, checkpoints, published, origin, root_keyids, stored=stored, keep=keep)
    gate.trusting = False
    return verification.with_findings(findings.all()), evidence


class _Passed(Gate):
    """A gate for entries whose signatures were checked a moment ago; a strict one for what follows them."""

    trusting = True

    def admit(self, index: int, envelope: Envelope, where: str = "", now: datetime | None = None) -> Header:
        if not self.trusting:
            return super().admit(index, envelope, where, now)
        signed = tuple(keyid for keyid, _ in envelope.signatures)
        header = entries.header(envelope, where)
        policy = envelope if header.kind == entries.POLICY else None
        return self.take(index, Presented(header, signed, frozenset(signed), policy), where)


def _coverage(
    size: int, weighty: int, marks: list[Mark], fitting: list[Mark], anchored: int, findings: Findings
) -> None:
    """What no checkpoint covers, and what none outside does."""
    if not marks:
        findings.add("no-checkpoint", "the ledger", "has no checkpoint with a signature that holds")
    covered = max((mark.size for mark in fitting), default=0)
    if marks and covered < size and all(mark.size <= covered for mark in marks):
        findings.add(
            "uncovered", f"entries {covered} to {size - 1}",
            "stand after the last signed checkpoint: a deletion among them would not show", "warning",
        )  # fmt: skip
    if not any(mark.published for mark in marks):
        findings.add(
            "unanchored", "the ledger",
            "no checkpoint that was published outside bears it out: an older copy would not show", "warning",
        )  # fmt: skip
    elif 0 < anchored < size:
        findings.add(
            "stale-anchor", f"entries {anchored} to {size - 1}",
            "stand after the last published checkpoint: publish one (`domainlm audit anchor`)",
            # that a checkpoint was published is itself an entry after it
            "warning" if anchored < weighty else "note",
        )  # fmt: skip
