"""What the page needs from the rest of domainlm, handed in as callables: so that a test builds a desk over a small
ledger, and the page imports neither the project's configuration nor the signer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from domainlm.audit.evidence import Evidence
from domainlm.audit.proof.verification import Verification
from domainlm.ledger.acts import Read
from domainlm.ledger.envelopes import Envelope
from domainlm.ledger.trust.gate import Gate


@dataclass(frozen=True)
class Desk:
    """The project's evidence, as the page reaches it.

    Args:
        origin: the ledger's name.
        size: how many entries the ledger holds now; asked before every page.
        entries: (number, envelope) from a number on, parsed and not verified.
        new_gate: a fresh gate with the pinned root.
        checkpoints: the signed notes that lie beside the ledger, the smallest first.
        verify: a whole verification; runs in a thread of its own.
        submit: adds an entry that a person signed; raises what the gate refuses.
        record: adds an entry of kind `read`, signed by the recorder, for each (nonce of the entry, look).
        decide: `domainlm.audit.decisions.approvals.decide`.
        reports: file ending ("html", "pdf") -> (evidence, identity, verification, language) to the document's bytes.
    """

    origin: str
    size: Callable[[], int]
    entries: Callable[[int], Iterable[tuple[int, Envelope]]]
    new_gate: Callable[[], Gate]
    checkpoints: Callable[[], list[str]]
    verify: Callable[[], Verification]
    submit: Callable[[Envelope], Any]
    record: Callable[[Sequence[tuple[str, Read]]], None]
    decide: Callable[[Evidence, str], Any]
    reports: dict[str, Callable[[Evidence, str, Verification, str], bytes]] = field(default_factory=dict)


@dataclass(frozen=True)
class PageSettings:
    """How the page is reached, and how long it trusts a session.

    Args:
        public_url: scheme, host and port as the browser shows them; requests for any other host are refused.
        idle_s: seconds without a page until a session ends.
        absolute_s: seconds until it ends in any case.
        verify_every_s: seconds between two verifications.
    """

    public_url: str = "http://127.0.0.1:8642"
    idle_s: int = 15 * 60
    absolute_s: int = 8 * 3600
    verify_every_s: int = 600

    @property
    def secure(self) -> bool:
        """Whether browsers reach it over TLS."""
        return self.public_url.startswith("https:")
