"""The code that the present champion was made with: where the authors of its successor begin to count.

Reads policies, promotions and the one run of a ledger, each verified, and leaves the rest aside: runs ask this at their
end, and a ledger may hold thousands of others.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Iterator

from domainlm.audit.evidence import Evidence
from domainlm.ledger import entries
from domainlm.ledger.envelopes import Envelope
from domainlm.ledger.trust.gate import Gate

UNKNOWN = ""


def champion_commit(read: Callable[[], Iterable[tuple[int, bytes]]], gate: Callable[[], Gate], name: str) -> str | None:
    """The commit of the run that first registered the champion of a name.

    Args:
        read: gives (number, bytes) of the stored entries, in order; called twice.
        gate: gives a fresh gate of the ledger.
        name: the registered model.

    Returns:
        None where there is no champion; `UNKNOWN` where nobody knows its code: the authors are then unknown as well.

    Raises:
        EvidenceRefused: one of the entries that were read does not pass the gate.
    """
    marks = [_kind(entries.POLICY), _kind(entries.PROMOTION)]
    champion = Evidence(_with(read(), marks), gate()).champion(name)
    if champion is None:
        return None
    marks = [_kind(entries.POLICY), f'"identity":"{champion.act.identity}"'.encode()]
    made = Evidence(_with(read(), marks), gate()).models().get(champion.act.identity)
    return str(made.act.code.get("commit", UNKNOWN)) if made is not None else UNKNOWN


def _kind(kind: str) -> bytes:
    return f'"kind":"{kind}"'.encode()  # canonical JSON: in this one spelling, and inside of no string


def _with(read: Iterable[tuple[int, bytes]], marks: list[bytes]) -> Iterator[tuple[int, Envelope]]:
    """The entries whose payload has one of some marks; all others are not even parsed."""
    for number, raw in read:
        try:
            payload = base64.b64decode(json.loads(raw)["payload"])
        except (ValueError, KeyError, TypeError):
            continue  # verification names it
        if any(mark in payload for mark in marks):
            yield number, Envelope.parse(raw, f"entry {number}")
