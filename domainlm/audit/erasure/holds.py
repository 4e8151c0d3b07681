"""Legal holds: what a named officer has forbidden to erase, for a stated case and reason, until it is released.

The ledger decides which holds stand. It names a person by a commitment alone; the erasure register keeps the salt that
tells whom. A hold that nobody can resolve any more (the register was lost) protects everybody.
"""

from __future__ import annotations

from collections.abc import Iterable

from domainlm.audit.erasure.suppression import ErasureRegister
from domainlm.audit.evidence import Evidence, Stated
from domainlm.errors import ApprovalRefused
from domainlm.ledger import entries
from domainlm.ledger.acts import Hold


def standing(evidence: Evidence) -> list[Stated]:
    """The holds that nobody has released, in order; the act of each is a `Hold`."""
    released = {stated.act.hold for stated in evidence.of_kind(entries.HOLD_RELEASE)}
    return [stated for stated in evidence.of_kind(entries.HOLD) if stated.digest not in released]


def find(evidence: Evidence, name: str) -> Stated:
    """A standing hold by the number of its entry, or by its digest or the first 8 digits of it or more.

    Raises:
        ApprovalRefused: there is none, or several.
    """
    found = [
        stated
        for stated in standing(evidence)
        if str(stated.number) == name or (len(name) >= 8 and stated.digest.startswith(name))
    ]
    if len(found) != 1:
        raise ApprovalRefused(
            "no legal hold stands under this name" if not found else "several holds begin so",
            name[:64],
            "name the number of its entry: `domainlm audit holds` lists them",
        )
    return found[0]


def in_the_way(
    evidence: Evidence, register: ErasureRegister, subjects: Iterable[str], data: Iterable[str]
) -> list[Stated]:
    """The standing holds that forbid to delete something of these persons or these data versions."""
    subjects, data = set(subjects), set(data)
    found = []
    for stated in standing(evidence):
        hold: Hold = stated.act
        if hold.data in data if hold.data else register.held(hold.commitment) in {None, *subjects}:
            found.append(stated)
    return found


def refuse(held: list[Stated]) -> None:
    """End an act that a hold forbids.

    Raises:
        ApprovalRefused: there is one; names who holds, the case and the reason.
    """
    if held:
        said = "; ".join(
            f"held by {stated.header.by} since {stated.header.time[:10]}, case {stated.act.case}: {stated.act.reason}"
            for stated in held
        )
        raise ApprovalRefused(
            f"a legal hold stands, so nothing is deleted: {said}",
            ", ".join(f"entry {stated.number}" for stated in held),
            "an officer releases it: `domainlm audit release ENTRY --reason ... --key FILE`",
        )
