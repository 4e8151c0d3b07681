"""Signed checkpoints, those beside the entries and those published outside: which of them can be believed."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from functools import partial
from typing import NamedTuple

from securesystemslib.signer import Key

from domainlm.audit.proof.collected import Findings
from domainlm.audit.proof.differences import Mark
from domainlm.audit.proof.processes import Pool
from domainlm.errors import EvidenceRefused
from domainlm.ledger.anchors import Published
from domainlm.ledger.checkpoints import Checkpoint
from domainlm.ledger.findings import Severity
from domainlm.ledger.trust.gate import LOG, Gate

CHUNK_NOTES = 500  # what one process checks at a time


class Note(NamedTuple):
    """A signed note, where it lies, and whether that is outside of the ledger."""

    note: str
    where: str
    published: bool


def outside_notes(published: Iterable[Published], findings: Findings) -> list[Note]:
    """The published notes that can be read; a place that cannot is a finding."""
    notes = []
    for item in published:
        if item.problem:
            findings.add("unreadable-anchor", item.place, item.problem, "warning")
        else:
            notes.append(Note(item.note, f"the checkpoint published at {item.place}", True))
    return notes


class LogKeys:
    """Which keys may sign a checkpoint of a size: those of the policy in force over the entries that it covers."""

    def __init__(self, gate: Gate) -> None:
        self._starts = [index for index, _ in gate.policies]
        self._keys = [policy.keys_of(LOG, in_force=True) for _, policy in gate.policies]

    def at(self, size: int) -> dict[str, Key]:
        """Key id -> key for a size; none before the first policy."""
        found = bisect_left(self._starts, size)
        return self._keys[found - 1] if found else {}


def believed(notes: Sequence[Note], origin: str, keys: LogKeys, findings: Findings, pool: Pool) -> list[Mark]:
    """The checkpoints whose signature holds."""
    asked: list[tuple[Note, Checkpoint]] = []
    for note in notes:
        try:
            found = Checkpoint.parse(note.note, note.where)
        except EvidenceRefused as error:
            findings.refused(error)
            continue
        if found.origin == origin:
            asked.append((note, found))
        else:
            severity: Severity = "warning" if note.published else "broken"  # a place outside may serve two ledgers
            findings.add("foreign-entry", note.where, f"is of the ledger '{found.origin}'", severity)
    marks = []
    chunks = (asked[start : start + CHUNK_NOTES] for start in range(0, len(asked), CHUNK_NOTES))
    for chunk, verified in pool.map(
        chunks, lambda chunk: partial(_signed, [(one, keys.at(one.size)) for _, one in chunk])
    ):
        for (note, found), good in zip(chunk, verified, strict=True):
            where = note.where if note.published else f"the checkpoint of size {found.size}"
            known = keys.at(found.size)
            if good:
                marks.append(Mark(found.size, found.root, where, note.published))
            elif known:  # without any policy that was said already
                code = "bad-signature" if known.keys() & {name for name, _, _ in found.signatures} else "unknown-key"
                findings.add(code, where, "bears no signature of a key that could sign checkpoints then")
    return marks


def _signed(asked: Sequence[tuple[Checkpoint, dict[str, Key]]]) -> list[bool]:
    return [bool(checkpoint.verified_by(keys)) for checkpoint, keys in asked]
