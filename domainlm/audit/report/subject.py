"""What a report is about: one model, the run that registered it, and everything that was said of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from domainlm.audit.decisions.approvals import Decision
from domainlm.audit.evidence import Evidence, Stated
from domainlm.audit.proof.verification import Verification
from domainlm.audit.regulation import Checklist
from domainlm.audit.report.words import Words
from domainlm.errors import EvidenceRefused
from domainlm.ledger import entries
from domainlm.ledger.checkpoints import Checkpoint
from domainlm.ledger.run.manifest import ModelRecord, RunManifest
from domainlm.ledger.trust.gate import LOG, Policy


@dataclass(frozen=True)
class Subject:
    """One model and its evidence.

    Args:
        run: the entry of the run that registered it.
        checkpoint: a signed note of the ledger that covers the entry; empty for none.
        checklist: the domain pack's; None where it is not at hand.
    """

    evidence: Evidence
    run: Stated
    verification: Verification
    decision: Decision
    words: Words
    checkpoint: str = ""
    checklist: Checklist | None = None

    @property
    def manifest(self) -> RunManifest:
        """Of the run."""
        return self.run.act

    @property
    def model(self) -> ModelRecord:
        """The registered version."""
        model = self.manifest.model
        if model is None:
            raise EvidenceRefused("registered no model", f"entry {self.run.number}", "", "missing-manifest")
        return model

    @property
    def name(self) -> str:
        """NAME/VERSION."""
        return f"{self.model.name}/{self.model.version}"

    @property
    def policy(self) -> Policy:
        """In force now."""
        return self.evidence.policy

    @property
    def created(self) -> str:
        """The latest time that the evidence knows: the date of the report."""
        moment = self.evidence.stated[-1].clock
        return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")

    @cached_property
    def champion(self) -> Stated | None:
        """The promotion that stands for this name; None where nothing was promoted."""
        return self.evidence.champion(self.model.name)

    @property
    def is_champion(self) -> bool:
        """Whether it is this model."""
        return self.champion is not None and self.champion.act.identity == self.model.identity

    @cached_property
    def erased(self) -> Stated | None:
        """The first erasure of data that the model learnt from."""
        return next(iter(self.evidence.about(self.model.identity, entries.ERASURE)), None)

    @property
    def rival(self) -> RunManifest | None:
        """The run of the champion to compare with: the present one, or the one before where the model is it."""
        if self.champion is None:
            return None
        identity = self.champion.act.previous if self.is_champion else self.champion.act.identity
        found = self.evidence.models().get(identity)
        return found.act if found else None

    @property
    def is_covered(self) -> bool:
        """Whether a published checkpoint covers the run's entry."""
        return self.run.number < self.verification.anchored

    def person(self, identity: str) -> str:
        """The member of the policy who authors under an identity; empty where it is nobody's."""
        return next((name for name, member in self.policy.members.items() if identity in member.identities), "")

    def checked_checkpoint(self) -> Checkpoint | None:
        """The checkpoint to print, where it covers the run's entry.

        Raises:
            EvidenceRefused: it is none, is another ledger's, or no log key of the policy signed it.
        """
        if not self.checkpoint:
            return None
        found = Checkpoint.parse(self.checkpoint, "checkpoint to print")
        if found.origin != self.evidence.gate.origin:
            raise EvidenceRefused("is another ledger's", "checkpoint to print", "", "foreign-entry")
        if not found.verified_by(self.policy.keys_of(LOG)):
            raise EvidenceRefused("bears no signature of the ledger", "checkpoint to print", "", "bad-signature")
        return found if found.size > self.run.number else None
