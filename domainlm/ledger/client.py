"""The ledger at hand: what every other part of domainlm uses to add evidence and to read it.

receipt = submit(entries.ANCHOR, {"checkpoint": digest}, Anchored(...))    # machine-made, signed by the recorder
receipt = submit_signed(envelope)                                         # signed by a person
outcome = submit_or_spool(entries.RUN, subjects, content)                 # a Receipt, or Spooled where it must wait
flushed = flush_spool()                                                   # enters what waits
evidence = evidence_entries()                                             # (number, envelope), unverified
"""

from __future__ import annotations

from collections.abc import Iterator

from domainlm.ledger.envelopes import Envelope
from domainlm.ledger.log import Ledger
from domainlm.ledger.settings import AuditSettings, root_keyids
from domainlm.ledger.signer.calls import ping, submit, submit_signed
from domainlm.ledger.signer.spool import Flushed, Spooled, flush_spool, submit_or_spool
from domainlm.ledger.trust.gate import Gate

__all__ = [
    "Flushed", "Spooled", "evidence_entries", "flush_spool", "new_gate", "open_ledger", "ping", "root_keyids", "submit",
    "submit_or_spool", "submit_signed",
]  # fmt: skip


def open_ledger(settings: AuditSettings | None = None) -> Ledger:
    """The project's ledger."""
    settings = settings or AuditSettings.load()
    return Ledger(settings.ledger_url, settings.origin)


def new_gate(settings: AuditSettings | None = None) -> Gate:
    """A gate for the project's ledger."""
    return Gate((settings or AuditSettings.load()).origin, root_keyids())


def evidence_entries() -> Iterator[tuple[int, Envelope]]:
    """All entries of the project's ledger, parsed and not verified."""
    return open_ledger().entries()
