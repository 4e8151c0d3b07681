"""The present champion as the ledger has it: the model itself, for whoever is held against it, and the code that it was
made with, where the authors of its successor begin to count.

The commit is asked for at the end of each run, and a ledger may hold thousands of others: only policies, promotions and
the one run are read for it, each verified.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Iterator, Sequence

from domainlm.audit.decisions.approvals import erased_since, label_of, registrations
from domainlm.audit.decisions.promotion import Champion, alias_findings
from domainlm.audit.evidence import Evidence
from domainlm.errors import EvidenceRefused
from domainlm.ledger import entries
from domainlm.ledger.envelopes import Envelope
from domainlm.ledger.run.manifest import ModelRecord
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


def promoted_model(
    evidence: Evidence, champions: Iterable[Champion], registries: Sequence[str], name: str
) -> tuple[ModelRecord | None, bool]:
    """The model that the ledger promoted last under a name, and whether it learnt from data that were erased since.

    Args:
        evidence: the ledger's.
        champions: what the registries show.
        registries: those that were asked.
        name: the registered model.

    Raises:
        EvidenceRefused: a registry shows another champion than the ledger promoted, or no completed run registered it.
    """
    for finding in alias_findings(evidence, champions, registries):
        if finding.where.partition(" ")[2] == name:
            raise EvidenceRefused(
                finding.what, finding.where, "call `domainlm promote` again, or find out who moved it", finding.code
            )
    champion = evidence.champion(name)
    if champion is None:
        return None, False
    identity = champion.act.identity
    runs = registrations(evidence, identity, name)
    trusted = all(run.act.model.trusted for run in runs)  # any of them may have read an untrusted source
    for run in runs:
        if label_of(run) == champion.act.model:
            model = run.act.model.model_copy(update={"trusted": trusted})
            return model, erased_since(evidence, identity) is not None
    raise EvidenceRefused(
        "the champion was registered by no completed run",
        champion.act.model,
        "see `domainlm audit verify`",
        "unapproved",
    )


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
