"""The signer: the one place that holds the service keys and adds to the ledger.

Training pods and pipelines hand it unsigned statements (signed by the recorder's key here) or envelopes that a person
signed. Each passes the gate (`domainlm.ledger.trust.Gate`) before it is appended, and each batch ends in a signed
checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from securesystemslib.signer import Signer

from domainlm.errors import EvidenceRefused
from domainlm.ledger.checkpoints import Checkpoint
from domainlm.ledger.envelopes import Envelope
from domainlm.ledger.log import Ledger
from domainlm.ledger.trust import Gate
from domainlm.reports import Report


class Receipt(Report):
    """What became of an entry: its number, its digest (`entry`), and the signed checkpoint that covers it."""

    number: int
    entry: str
    checkpoint: str


class SigningService:
    """Gate, recorder key and log key over one ledger, in this process.

    Args:
        ledger: where entries go.
        root_keyids: ids of the pinned root keys.
        recorder: signs machine-made entries.
        log: signs checkpoints.
        recorder_name: the member of the policy that the recorder key belongs to.
    """

    def __init__(
        self,
        ledger: Ledger,
        root_keyids: frozenset[str],
        recorder: Signer,
        log: Signer,
        recorder_name: str = "recorder",
    ) -> None:
        self.ledger, self.recorder, self.log, self.recorder_name = ledger, recorder, log, recorder_name
        self._gate = Gate(ledger.origin, root_keyids)
        self._seen = 0

    def record(self, *statements: Mapping[str, Any]) -> list[Receipt]:
        """Sign machine-made statements and add them."""
        return self.add([Envelope.sign(statement, self.recorder) for statement in statements])

    def add(self, envelopes: Sequence[Envelope]) -> list[Receipt]:
        """Let signed entries through the gate, add them, sign a checkpoint over all.

        Raises:
            EvidenceRefused: one does not pass; none is added.
            ArtifactError: the store cannot be written; none is added.
        """
        with self.ledger.named(), self.ledger.writing() as connection:
            frontier = self.ledger.locked_frontier(connection)
            # what other writers added meanwhile
            for number, envelope in self.ledger.entries(self._seen, frontier.size):
                self._gate.admit(number, envelope)
                self._seen = number + 1
            if self._seen != frontier.size:
                raise EvidenceRefused("lacks entries", self.ledger.place, "restore it from a copy", "deleted")
            for place, envelope in enumerate(envelopes):
                self._gate.admit(frontier.size + place, envelope, f"new entry {place}")
            numbers = self.ledger.append_in(connection, envelopes)
            after = self.ledger.locked_frontier(connection)
        self._seen = after.size
        note = Checkpoint(self.ledger.origin, after.size, after.root).signed(self.log).note
        self.ledger.add_checkpoint(after.size, note)
        return [
            Receipt(number=number, entry=envelope.digest, checkpoint=note)
            for number, envelope in zip(numbers, envelopes, strict=True)
        ]
