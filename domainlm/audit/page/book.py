"""The ledger as the page reads it: verified once, extended by what was added since, indexed for look-ups.

The gate judges each entry as it is read. A ledger that lost entries or holds one that does not pass closes the book:
from then on every page of evidence is refused, until somebody looked and started the page again.
"""

from __future__ import annotations

import threading
from collections import defaultdict

from domainlm.audit.evidence import Evidence, Stated
from domainlm.audit.page.desk import Desk
from domainlm.errors import EvidenceRefused
from domainlm.ledger import entries
from domainlm.ledger.merkle import leaf_hash


class Book:
    """The evidence so far, and where to find things in it.

    Args:
        desk: where the ledger is read.

    Attributes:
        evidence: all entries so far.
        models: identity -> the first run that registered it, in order.
        runs: run id -> its latest entry, in order of the first.
        promotions: registered name -> its promotions, in order.
        reads: the access log.
        leaves: hash of each entry in the ledger's tree.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._lock = threading.Lock()
        self._fault: EvidenceRefused | None = None
        self._indexed = 0
        self.evidence = Evidence((), desk.new_gate())
        self.models: dict[str, Stated] = {}
        self.runs: dict[str, Stated] = {}
        self.promotions: dict[str, list[Stated]] = defaultdict(list)
        self.reads: list[Stated] = []
        self.leaves: list[bytes] = []

    def refresh(self) -> None:
        """Take in what was added to the ledger.

        Raises:
            EvidenceRefused: the ledger cannot be believed, now or at an earlier call.
            ArtifactError: it cannot be read.
        """
        with self._lock:
            if self._fault is not None:
                raise self._fault
            size, known = self._desk.size(), len(self.evidence.stated)
            if size == known:
                return
            try:
                if size < known:
                    raise EvidenceRefused(
                        f"has {size} entries and had {known}",
                        self._desk.origin,
                        "restore it from a copy",
                        "rolled-back",
                    )
                self.evidence.extend(self._desk.entries(known))
                if len(self.evidence.stated) < size:
                    raise EvidenceRefused("lacks entries", self._desk.origin, "restore it from a copy", "deleted")
            except EvidenceRefused as error:
                self._fault = error
                raise
            finally:
                self._index()

    def entered_looks(self) -> frozenset[str]:
        """The nonces of all looks in the ledger. Raises as `refresh`."""
        self.refresh()
        return frozenset(stated.header.nonce for stated in self.reads)

    @property
    def size(self) -> int:
        """How many entries are in the book."""
        return self._indexed

    def champion(self, name: str) -> Stated | None:
        """The latest promotion of a registered name."""
        found = self.promotions.get(name)
        return found[-1] if found else None

    def champion_before(self, name: str, identity: str) -> str:
        """The identity that a model is measured against: the champion, or the one before where it is itself that."""
        for promotion in reversed(self.promotions.get(name, ())):
            if promotion.act.identity != identity:
                return promotion.act.identity
        return ""

    def _index(self) -> None:
        for stated in self.evidence.stated[self._indexed :]:
            act, kind = stated.act, stated.header.kind
            self.leaves.append(leaf_hash(stated.envelope.to_bytes()))
            if kind == entries.RUN:
                self.runs[act.run_id] = stated
                if act.model is not None:
                    self.models.setdefault(act.model.identity, stated)
            elif kind == entries.READ:
                self.reads.append(stated)
            elif kind == entries.PROMOTION:
                self.promotions[act.model.rpartition("/")[0]].append(stated)
            self._indexed += 1
