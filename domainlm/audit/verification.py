"""Verification of a ledger: what is wrong, where, and one verdict.

    verification = verify_entries(ledger.raw(), ledger.checkpoints(), published(anchors), origin, root_keyids)
    verification, evidence = examine(...)       # the same, and what the entries say, for the checks beyond the log

Each entry is parsed strictly and passes the gate that the signer uses; the tree over all of them is computed anew and
compared with every signed checkpoint, those beside the entries and those published outside. Nothing stops at the first
fault, and nothing here raises because of what it reads. Signatures are checked by several processes.
"""

from __future__ import annotations

import os
from array import array
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor
from contextlib import ExitStack
from datetime import datetime
from functools import partial
from multiprocessing import get_context
from typing import NamedTuple, TypeVar

from pydantic import Field
from securesystemslib.signer import Key

from domainlm.audit.differences import Log, Mark, compare
from domainlm.audit.evidence import Evidence
from domainlm.errors import EvidenceRefused
from domainlm.ledger import entries
from domainlm.ledger.anchors import Published
from domainlm.ledger.checkpoints import Checkpoint
from domainlm.ledger.entries import Header
from domainlm.ledger.envelopes import Envelope
from domainlm.ledger.findings import Finding, Severity, verdict
from domainlm.ledger.merkle import leaf_hash
from domainlm.ledger.trust import LOG, Gate, Presented, present
from domainlm.reports import Report

CHUNK_ENTRIES, CHUNK_BYTES = 500, 4 << 20  # what one process checks at a time
ALONE = 5_000  # so many are checked before other processes are worth their start
MAX_OF_A_CODE = 100  # findings of one code that are listed; the others are counted

Item = TypeVar("Item")
Result = TypeVar("Result")
Keep = Callable[[int, Envelope], None]


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


class Findings:
    """Collects findings; of one code the first `MAX_OF_A_CODE` are kept and the others counted."""

    def __init__(self) -> None:
        self._kept: list[Finding] = []
        self._counts: Counter[tuple[str, Severity]] = Counter()

    def add(self, code: str, where: str, what: str, severity: Severity = "broken") -> None:
        self._counts[code, severity] += 1
        if self._counts[code, severity] <= MAX_OF_A_CODE:
            self._kept.append(Finding(code=code, severity=severity, where=where, what=what))

    def refused(self, error: EvidenceRefused) -> None:
        """What the gate or a parser says."""
        self.add(error.code, error.where, error.what)

    def all(self) -> list[Finding]:
        """Those kept, and a line for each code that has more."""
        return self._kept + [
            Finding(code=code, severity=severity, where="elsewhere", what=f"{count - MAX_OF_A_CODE} more of the kind")
            for (code, severity), count in self._counts.items()
            if count > MAX_OF_A_CODE
        ]


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
        pool = _Pool(stack, processes)
        passed = _read(read, Gate(origin, root_keyids), findings, pool, check or check_chunk, keep)
        gate, log = passed.gate, passed.log
        log.stored = stored
        keys = _LogKeys(gate)
        local = [Note(note, f"checkpoint {index}", False) for index, note in enumerate(checkpoints)]
        outside = outside_notes(published, findings)
        marks = _marks([*local, *outside], origin, keys, findings, pool)
    if not log.leaves:
        findings.add("untrusted-root", origin, "holds no entry, not even a policy")
    fit = compare(log, marks)
    anchored = max((mark.size for mark in fit.fitting if mark.published), default=0)
    if len(outside) < len(published):
        anchored = 0  # the checkpoint that would show a roll-back may be the one that cannot be read
    _coverage(len(log.leaves), marks, fit.fitting, anchored, findings)
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
        if envelope.statement["predicate"][entries.ENTRY]["kind"] in skip:
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


class Checked(NamedTuple):
    """What came of one entry before it was judged; small, so that it can come from another process.

    Args:
        leaf: its leaf hash.
        header: the fields of its header in their order; None where it is no entry.
        signed: key ids that it says signed it.
        verified: those whose signature verifies.
        refusal: (code, what) where it is no entry.
    """

    leaf: bytes
    header: tuple[int, str, str, str, str, str] | None = None
    signed: tuple[str, ...] = ()
    verified: tuple[str, ...] = ()
    refusal: tuple[str, str] = ("", "")


Check = Callable[[Sequence[bytes], dict[str, bytes]], list[Checked]]


def check_chunk(raws: Sequence[bytes], keys: dict[str, bytes]) -> list[Checked]:
    """Parse entries strictly and check their signatures; needs nothing of what stands before them.

    Args:
        raws: bytes of the entries.
        keys: key id -> ed25519 public key of 32 bytes; a signature by another key is left unverified.
    """
    return [_check(raw, keys) for raw in raws]


def _check(raw: bytes, keys: dict[str, bytes]) -> Checked:
    leaf = leaf_hash(raw)
    try:
        found = present(Envelope.parse(raw, ""), "", keys)
    except EvidenceRefused as error:
        return Checked(leaf, refusal=(error.code, error.what))
    header = found.header
    fields = (header.version, header.kind, header.ledger, header.time, header.by, header.nonce)
    return Checked(leaf, fields, found.signed, tuple(found.verified))


class _Read(NamedTuple):
    gate: Gate
    log: Log
    count: int


def _read(
    read: Iterable[tuple[int, bytes]], gate: Gate, findings: Findings, pool: _Pool, check: Check, keep: Keep | None
) -> _Read:
    """One pass over the entries: leaf hashes, and the gate's judgement on each."""
    leaves: list[bytes] = []
    numbers, times = array("q"), array("q")
    refused: set[int] = set()
    first_place: dict[bytes, int] = {}

    def job(chunk: Chunk) -> partial[list[Checked]]:
        return partial(check, [raw for _, raw in chunk], gate.keys)

    for chunk, done in pool.map(_chunks(read), job):
        for (number, raw), checked in zip(chunk, done, strict=True):
            place, where = len(leaves), f"entry {number}"
            leaves.append(checked.leaf)
            numbers.append(number)
            times.append(_milliseconds(checked, times[-1] if times else 0))
            if (earlier := first_place.setdefault(checked.leaf, place)) != place:
                findings.add("duplicate", where, f"is entry {numbers[earlier]} again")
                refused.add(place)
                continue
            try:
                _admit(gate, place, raw, checked, where)
            except EvidenceRefused as error:
                findings.refused(error)
                refused.add(place)
                continue
            if keep is not None:
                keep(number, Envelope.parse(raw, where))
    return _Read(gate, Log(leaves, numbers, times, refused), len(leaves) - len(refused))


def _milliseconds(checked: Checked, otherwise: int) -> int:
    """The time that an entry bears, believed or not: a hint to the order of entries."""
    return round(entries.parse_time(checked.header[3]).timestamp() * 1000) if checked.header else otherwise


def _admit(gate: Gate, place: int, raw: bytes, checked: Checked, where: str) -> None:
    if checked.header is None:
        code, what = checked.refusal
        raise EvidenceRefused(what, where, "", code)
    version, kind, ledger, time, by, nonce = checked.header
    unknown_then = [keyid for keyid in checked.signed if keyid not in checked.verified and keyid in gate.keys]
    if kind == entries.POLICY or unknown_then:
        # a policy may have brought the key after the check began: a signature is only called bad by who has its key
        gate.admit(place, Envelope.parse(raw, where), where)
        return
    header = Header.model_construct(version=version, kind=kind, ledger=ledger, time=time, by=by, nonce=nonce)
    gate.take(place, Presented(header, checked.signed, frozenset(checked.verified), None), where)


Chunk = list[tuple[int, bytes]]


def _chunks(read: Iterable[tuple[int, bytes]]) -> Iterator[Chunk]:
    """The first entry alone, since its keys are what the others are checked with; then as much as one process takes."""
    chunk: Chunk = []
    taken, first = 0, True
    for item in read:
        chunk.append(item)
        taken += len(item[1])
        if first or len(chunk) == CHUNK_ENTRIES or taken > CHUNK_BYTES:
            yield chunk
            chunk, taken, first = [], 0, False
    if chunk:
        yield chunk


class _Pool:
    """Other processes for long work, started when it has turned out to be long; without them all is done here."""

    def __init__(self, stack: ExitStack, processes: int | None) -> None:
        self._stack = stack
        self.processes = processes if processes is not None else len(os.sched_getaffinity(0))
        self._executor: ProcessPoolExecutor | None = None
        self._broken = False

    def map(
        self, chunks: Iterable[Sequence[Item]], job: Callable[[Sequence[Item]], partial[Result]]
    ) -> Iterator[tuple[Sequence[Item], Result]]:
        """Each chunk with what its job gives, in order."""
        seen = 0
        waiting: deque[tuple[Sequence[Item], partial[Result], Future[Result]]] = deque()
        for chunk in chunks:
            seen += len(chunk)
            executor = self._start() if seen > ALONE and self.processes > 1 else None
            task = job(chunk)
            if executor is None:
                yield from self._finish(waiting, 0)
                yield chunk, task()
                continue
            try:
                waiting.append((chunk, task, executor.submit(task)))
            except (BrokenExecutor, RuntimeError):
                self._broken = True
                yield from self._finish(waiting, 0)
                yield chunk, task()
            yield from self._finish(waiting, 3 * self.processes)
        yield from self._finish(waiting, 0)

    def _finish(
        self, waiting: deque[tuple[Sequence[Item], partial[Result], Future[Result]]], left: int
    ) -> Iterator[tuple[Sequence[Item], Result]]:
        while len(waiting) > left:
            chunk, task, future = waiting.popleft()
            try:
                yield chunk, future.result()
            except (BrokenExecutor, OSError):  # a process was killed, or none can be started here
                self._broken = True
                yield chunk, task()

    def _start(self) -> ProcessPoolExecutor | None:
        if self._executor is None and not self._broken:
            # never by fork alone: the page verifies in a process that has threads
            self._executor = self._stack.enter_context(
                ProcessPoolExecutor(self.processes, mp_context=get_context("forkserver"))
            )
        return None if self._broken else self._executor


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


class _LogKeys:
    """Which keys may sign a checkpoint of a size: those of the policy in force over the entries that it covers."""

    def __init__(self, gate: Gate) -> None:
        self._starts = [index for index, _ in gate.policies]
        self._keys = [policy.keys_of(LOG, in_force=True) for _, policy in gate.policies]

    def at(self, size: int) -> dict[str, Key]:
        """Key id -> key for a size; none before the first policy."""
        found = bisect_left(self._starts, size)
        return self._keys[found - 1] if found else {}


def _marks(notes: Sequence[Note], origin: str, keys: _LogKeys, findings: Findings, pool: _Pool) -> list[Mark]:
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
    chunks = (asked[start : start + CHUNK_ENTRIES] for start in range(0, len(asked), CHUNK_ENTRIES))
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


def _coverage(size: int, marks: list[Mark], fitting: list[Mark], anchored: int, findings: Findings) -> None:
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
            "stand after the last published checkpoint: publish one (`domainlm audit anchor`)", "warning",
        )  # fmt: skip
