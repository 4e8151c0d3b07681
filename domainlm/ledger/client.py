"""The ledger at hand: what every other part of domainlm uses to add evidence and to read it.

receipt = submit(entries.ANCHOR, {"checkpoint": digest}, Anchored(...))     # machine-made, signed by the recorder
receipt = submit_signed(envelope)                                          # signed by a person
evidence = evidence_entries()                                              # (number, envelope), unverified
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from domainlm.ledger import entries
from domainlm.ledger.envelopes import Envelope
from domainlm.ledger.log import Ledger
from domainlm.ledger.service import Receipt, SigningService
from domainlm.ledger.settings import AuditSettings, keys_folder, root_file
from domainlm.ledger.signing import key_of_pem, load_key
from domainlm.ledger.trust import RECORDER, Gate

RECORDER_KEY, LOG_KEY = "recorder.pem", "log.pem"


def open_ledger(settings: AuditSettings | None = None) -> Ledger:
    """The project's ledger."""
    settings = settings or AuditSettings.load()
    return Ledger(settings.ledger_url, settings.origin)


def root_keyids() -> frozenset[str]:
    """Ids of the pinned root keys: those of the PEM file that was given out with the ledger.

    Raises:
        SecretError: the file is missing or holds no key.
    """
    path = root_file()
    return frozenset({key_of_pem(path.read_text(), str(path)).keyid})


def new_gate(settings: AuditSettings | None = None) -> Gate:
    """A gate for the project's ledger."""
    return Gate((settings or AuditSettings.load()).origin, root_keyids())


def submit(kind: str, subjects: Mapping[str, str], content: Mapping[str, Any]) -> Receipt:
    """Add a machine-made entry, signed by the recorder.

    Raises:
        EvidenceRefused: it does not pass the gate.
        ArtifactError: the ledger cannot be written.
        SecretError: there is no signer.
    """
    service = _service()
    return service.record(entries.statement(kind, service.ledger.origin, RECORDER, subjects, content))[0]


def submit_signed(envelope: Envelope) -> Receipt:
    """Add an entry that a person signed. Raises as `submit`."""
    return _service().add([envelope])[0]


def evidence_entries() -> Iterator[tuple[int, Envelope]]:
    """All entries of the project's ledger, parsed and not verified."""
    return open_ledger().entries()


def _service() -> SigningService:
    folder = keys_folder()
    return SigningService(open_ledger(), root_keyids(), load_key(folder / RECORDER_KEY), load_key(folder / LOG_KEY))
