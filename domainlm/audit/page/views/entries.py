"""The ledger itself: its entries, each with what was signed and the proof that it stands in the tree."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from starlette.responses import Response

from domainlm.audit.evidence import Stated
from domainlm.audit.page import visit as visits
from domainlm.audit.page.visit import NotThere, Slice, Visit, download
from domainlm.errors import EvidenceRefused
from domainlm.ledger import entries
from domainlm.ledger.checkpoints import Checkpoint
from domainlm.ledger.findings import Finding
from domainlm.ledger.merkle import InclusionProof, prove_inclusion, verify_inclusion
from domainlm.ledger.trust.gate import LOG

EVERYTHING = "all"


@dataclass(frozen=True)
class Inclusion:
    """The proof that an entry stands in the tree of a signed checkpoint.

    Args:
        note: the signed checkpoint.
        leaf: hash of the entry in the tree, hexadecimal digits.
        proof: as RFC 6962, section 4.5 writes it.
        holds: whether the proof leads from the leaf to the checkpoint's root, and the log's key in force signed that.
    """

    note: str
    size: int
    leaf: str
    proof: InclusionProof
    holds: bool


def listing(visit: Visit) -> Response:
    """The newest first; looks of readers only on request, and for officers."""
    kind = visit.asked("kind")
    kinds = [name for name in entries.KINDS if name != entries.READ or visit.may(visits.ACCESS)]
    wanted = {kind} & set(kinds) or set(kinds) - ({entries.READ} if kind != EVERYTHING else set())
    found = [stated for stated in reversed(visit.book.evidence.stated) if stated.header.kind in wanted]
    return visit.page("entries.html", slice=Slice.of(visit, found), kind=kind, kinds=kinds, everything=EVERYTHING)


def show(visit: Visit) -> Response:
    """One entry, with its proof."""
    stated = _entry(visit)
    visit.note("entry", stated.digest)
    policy = visit.book.evidence.policy
    return visit.page(
        "entry.html", stated=stated, subjects=entries.subjects(stated.envelope),
        raw=json.dumps(stated.envelope.statement, indent=2, ensure_ascii=False),
        signatures=[(keyid, policy.owner(keyid), signature.hex()) for keyid, signature in stated.envelope.signatures],
        inclusion=inclusion(visit, stated), findings=_findings(visit, stated.number), last=visit.book.size - 1,
    )  # fmt: skip


def envelope(visit: Visit) -> Response:
    """The very bytes that were signed and stored."""
    stated = _entry(visit)
    visit.note("entry", stated.digest)
    return download(stated.envelope.to_bytes(), f"entry-{stated.number}.json", "application/json")


def inclusion(visit: Visit, stated: Stated) -> Inclusion | None:
    """The proof under the largest signed checkpoint; None while no checkpoint covers the entry."""
    leaves, best = visit.book.leaves, None
    for note in visit.office.desk.checkpoints():
        try:
            found = Checkpoint.parse(note, "a checkpoint")
        except EvidenceRefused:  # the verification names it
            continue
        if stated.number < found.size <= len(leaves) and (best is None or found.size > best.size):
            best = found
    if best is None:
        return None
    proof, leaf = prove_inclusion(leaves, stated.number, best.size), leaves[stated.number]
    try:
        verify_inclusion(proof, leaf, best.root)
        holds = bool(best.verified_by(visit.book.evidence.policy.keys_of(LOG)))
    except EvidenceRefused:
        holds = False
    return Inclusion(best.note, best.size, leaf.hex(), proof, holds)


def _findings(visit: Visit, number: int) -> list[Finding]:
    """What the latest verification says against an entry; notes aside."""
    found = visit.office.watch.latest.verification
    told = found.findings if found else []
    return [one for one in told if one.severity != "note" and concerns(one.where, number)]


def concerns(where: str, number: int) -> bool:
    """Whether the place of a finding, such as `entry 3`, `entries 3 to 5` or `entries 3, 4 and 9`, holds an entry."""
    places = re.fullmatch(r"(?:\d+ )?entr(?:y|ies)\b(.*)", where, re.DOTALL)
    if places is None:
        return False
    rest = places[1]
    for first, last in re.findall(r"(\d+) to (\d+)", rest):
        if int(first) <= number <= int(last):
            return True
    return number in {int(one) for one in re.findall(r"\d+", rest)}


def _entry(visit: Visit) -> Stated:
    asked, stated = visit.request.path_params["number"], visit.book.evidence.stated
    number = int(asked) if re.fullmatch(r"[0-9]{1,12}", asked) else -1
    if not 0 <= number < len(stated):
        raise NotThere
    if stated[number].header.kind == entries.READ:
        visit.need(visits.ACCESS)
    return stated[number]
