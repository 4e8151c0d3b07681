"""The project's ledger, verified and read whole: what a promotion is decided upon."""

from __future__ import annotations

from domainlm.audit.evidence import Evidence
from domainlm.audit.proof.verification import Verification, examine
from domainlm.ledger.anchors import published
from domainlm.ledger.log import Ledger
from domainlm.ledger.settings import AuditSettings, root_keyids


def examined() -> tuple[Verification, Evidence]:
    """Every entry judged, held against the checkpoints here and outside."""
    settings, roots = AuditSettings.load(), root_keyids()
    ledger = present_ledger(settings)
    outside, checkpoints = published(settings.anchors, settings.origin), ledger.checkpoints()
    return examine(ledger.raw(), checkpoints, outside, settings.origin, roots, stored=ledger.leaves)


def present_ledger(settings: AuditSettings) -> Ledger:
    """The project's ledger; one that is missing is not made."""
    return Ledger(settings.ledger_url, settings.origin, create=False)
