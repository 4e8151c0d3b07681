"""One pass over stored entries: strict parsing and signatures by several processes, the gate's judgement in order."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

from domainlm.audit.proof.collected import Findings
from domainlm.audit.proof.differences import Log
from domainlm.audit.proof.processes import Pool
from domainlm.errors import EvidenceRefused
from domainlm.ledger import entries
from domainlm.ledger.entries import Header
from domainlm.ledger.envelopes import Envelope
from domainlm.ledger.merkle import leaf_hash
from domainlm.ledger.trust.gate import Gate, Presented, present

ROUTINE = frozenset({entries.ANCHOR, entries.READ})  # they follow each publication and each look, and decide nothing
CHUNK_ENTRIES, CHUNK_BYTES = 500, 4 << 20  # what one process checks at a time

Keep = Callable[[int, Envelope], None]
Chunk = list[tuple[int, bytes]]


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


class Read(NamedTuple):
    """What was read: the gate after it, the log's leaves and hints, and how many entries passed.

    Args:
        weighty: how many entries there are up to the last that is no routine.
    """

    gate: Gate
    log: Log
    count: int
    weighty: int


def read_entries(
    read: Iterable[tuple[int, bytes]], gate: Gate, findings: Findings, pool: Pool, check: Check, keep: Keep | None
) -> Read:
    """One pass over the entries: leaf hashes, and the gate's judgement on each."""
    leaves: list[bytes] = []
    numbers, times = array("q"), array("q")
    refused: set[int] = set()
    first_place: dict[bytes, int] = {}
    weighty = 0
    late: list[int] = []  # numbers of entries, one behind the other, whose clock was set back

    def job(chunk: Chunk) -> partial[list[Checked]]:
        return partial(check, [raw for _, raw in chunk], gate.keys)

    for chunk, done in pool.map(_chunks(read), job):
        for (number, raw), checked in zip(chunk, done, strict=True):
            place, where = len(leaves), f"entry {number}"
            leaves.append(checked.leaf)
            if checked.header is None or checked.header[1] not in ROUTINE:
                weighty = len(leaves)
            numbers.append(number)
            times.append(_milliseconds(checked, times[-1] if times else 0))
            if (earlier := first_place.setdefault(checked.leaf, place)) != place:
                findings.add("duplicate", where, f"is entry {numbers[earlier]} again")
                refused.add(place)
                continue
            try:
                _admit(gate, place, raw, checked, where)
            except EvidenceRefused as error:
                refused.add(place)
                late += [number] if error.code == "clock-set-back" else []
                if error.code != "clock-set-back" or len(late) == 1:
                    findings.refused(error)
                continue
            _tell_together(late, findings)
            if keep is not None:
                keep(number, Envelope.parse(raw, where))
    _tell_together(late, findings)
    return Read(gate, Log(leaves, numbers, times, refused), len(leaves) - len(refused), weighty)


def _tell_together(late: list[int], findings: Findings) -> None:
    """One entry with a late time in a wrong place sets back all that follow it: the first was told, and these are."""
    if len(late) > 1:
        where = f"entry {late[1]}" if len(late) == 2 else f"{len(late) - 1} entries from {late[1]} to {late[-1]}"
        findings.add("clock-set-back", where, "like the entry before, with a time before that of the same earlier one")
    late.clear()


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
