"""Verification of a ledger or an exported bundle: what is wrong, where, and one verdict."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pydantic import Field

from domainlm.ledger.anchors import Published
from domainlm.ledger.findings import Finding
from domainlm.reports import Report


class Verification(Report):
    """The outcome.

    Fields:
        verdict: `good`, `unanchored` or `broken` (`domainlm.ledger.findings.verdict`).
        size: entries that were read.
        root: of the tree over them, 64 hexadecimal digits.
        anchored: size of the largest published checkpoint that the entries continue; 0 for none.
        entries: how many passed the gate.
        artifacts: how many artifacts were compared with their digests.
    """

    verdict: str
    origin: str
    size: int
    root: str
    anchored: int
    entries: int
    artifacts: int = 0
    findings: list[Finding] = Field(default_factory=list)


def verify_entries(
    read: Iterable[tuple[int, bytes]],
    checkpoints: Sequence[str],
    published: Sequence[Published],
    origin: str,
    root_keyids: frozenset[str],
) -> Verification:
    """Verify stored entries against signed and published checkpoints.

    Args:
        read: (number, bytes) as stored.
        checkpoints: signed notes that lie beside them.
        published: signed notes from outside.
        origin: the ledger's name.
        root_keyids: ids of the pinned root keys.
    """
    raise NotImplementedError
