"""The signer's work: the one place that holds the service keys and adds to the ledger.

Training pods and pipelines hand it what happened (signed by the recorder's key here) or envelopes that a person signed.
Each passes the gate (`domainlm.ledger.trust.gate`) before it is appended, and each batch ends in a signed checkpoint.

The service believes the store nothing but what it has judged itself: it computes the tree over the entries that it saw,
and signs a checkpoint only as the continuation of the last one that it signed (`Remembered`). A ledger that was rolled
back, rewritten or merged gets no signature any more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from securesystemslib.signer import Signer

from domainlm.errors import EvidenceRefused
from domainlm.ledger import entries
from domainlm.ledger.checkpoints import Checkpoint
from domainlm.ledger.contents import read_content
from domainlm.ledger.envelopes import Envelope
from domainlm.ledger.log import Ledger
from domainlm.ledger.merkle import Frontier, leaf_hash
from domainlm.ledger.signer.memory import Memory, Remembered
from domainlm.ledger.store import ENTRIES
from domainlm.ledger.trust.gate import LOG, RECORDER, Gate, now
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
        memory: keeps what this signer knows, before anybody is told that an entry was added; without one, or with an
            empty one, it judges every entry from the first.
        clock: the present moment; an entry of the future is refused.
    """

    def __init__(
        self,
        ledger: Ledger,
        root_keyids: frozenset[str],
        recorder: Signer,
        log: Signer,
        recorder_name: str = "recorder",
        memory: Memory | None = None,
        clock: Callable[[], datetime] = now,
    ) -> None:
        self.ledger, self.recorder, self.log, self.recorder_name = ledger, recorder, log, recorder_name
        self._memory, self._clock = memory, clock
        self._known, self._kept = Remembered(), 0
        self._gate = Gate(ledger.origin, root_keyids, remember=False)

    def ready(self) -> int:
        """The size of the ledger, once it is sure that entries could be added now.

        Raises:
            EvidenceRefused: the ledger has no policy, does not continue what was signed, or a key is not in force.
            ArtifactError: the store cannot be written.
        """
        try:
            with self.ledger.named(), self.ledger.writing() as connection:
                self._recall()
                known = Remembered(self._caught_up(self.ledger.locked_frontier(connection)), self._gate.state)
                if self._gate.policy is None:
                    raise EvidenceRefused(
                        "the ledger has no policy", self.ledger.place, "run `domainlm audit init`", "untrusted-root"
                    )
                self._must_be_in_force(LOG, self.log)
                self._must_be_in_force(RECORDER, self.recorder)
        except BaseException:
            self._gate.state = self._known.gate
            raise
        self._keep(known)
        return known.tree.size

    def holds(self, envelope: Envelope) -> bool:
        """Whether the ledger has this very entry already."""
        with self.ledger.named(), self.ledger.engine.connect() as connection:
            return _stands(connection, leaf_hash(envelope.to_bytes()))

    def record(self, *statements: Mapping[str, Any]) -> list[Receipt]:
        """Sign machine-made statements and add them. Raises as `add`."""
        return self.add([self.recorded(statement) for statement in statements])

    def recorded(self, statement: Mapping[str, Any]) -> Envelope:
        """A machine-made statement with the recorder's signature."""
        return Envelope.sign(statement, self.recorder)

    def add(self, envelopes: Sequence[Envelope]) -> list[Receipt]:
        """Let signed entries through the gate, add them, sign a checkpoint over all.

        An entry that the ledger holds already is not added again: its receipt is given once more.

        Raises:
            EvidenceRefused: one does not pass, or the ledger does not continue what was signed; none is added.
            ArtifactError: the store cannot be written; none is added.
        """
        (outcome,) = self.enter([envelopes])
        if isinstance(outcome, EvidenceRefused):
            raise outcome
        return outcome

    def enter(self, requests: Sequence[Sequence[Envelope]]) -> list[list[Receipt] | EvidenceRefused]:
        """`add` for several requests in one transaction and under one checkpoint; each is added whole or refused whole.

        Returns:
            For each request its receipts, or why it was refused.

        Raises:
            EvidenceRefused: the ledger does not continue what was signed, or the log key is not in force; none is
                added.
            ArtifactError: the store cannot be written; none is added.
        """
        try:
            after, numbered, note = self._in_one_transaction(requests)
        except BaseException:
            self._gate.state = self._known.gate  # what was judged and not added must not count
            raise
        self._keep(after)
        return [
            found
            if isinstance(found, EvidenceRefused)
            else [
                Receipt(number=number, entry=envelope.digest, checkpoint=note)
                for number, envelope in zip(found, envelopes, strict=True)
            ]
            for found, envelopes in zip(numbered, requests, strict=True)
        ]

    def _in_one_transaction(
        self, requests: Sequence[Sequence[Envelope]]
    ) -> tuple[Remembered, list[list[int] | EvidenceRefused], str]:
        with self.ledger.named(), self.ledger.writing() as connection:
            stored = self.ledger.locked_frontier(connection)
            self._recall()
            tree = self._caught_up(stored)
            moment = self._clock()
            outcomes: list[list[Envelope] | EvidenceRefused] = []
            fresh: dict[str, Envelope] = {}
            for envelopes in requests:
                judged = self._judged(connection, envelopes, tree.size, fresh, moment)
                if not isinstance(judged, EvidenceRefused):
                    fresh |= judged
                outcomes.append(judged if isinstance(judged, EvidenceRefused) else list(envelopes))
            accepted = [envelope for outcome in outcomes if isinstance(outcome, list) for envelope in outcome]
            if not accepted:
                return Remembered(tree, self._gate.state), [got for got in outcomes if not isinstance(got, list)], ""
            numbers = iter(self.ledger.append_in(connection, accepted))
            tree = tree.extended(leaf_hash(envelope.to_bytes()) for envelope in fresh.values())
            if self.ledger.locked_frontier(connection) != tree:
                raise _no_continuation("the tree in the store is not the one over the entries", self.ledger.place)
            self._must_be_in_force(LOG, self.log)
            note = Checkpoint(self.ledger.origin, tree.size, tree.root).signed(self.log).note
            self.ledger.add_checkpoint_in(connection, tree.size, note)
            numbered = [[next(numbers) for _ in got] if isinstance(got, list) else got for got in outcomes]
        return Remembered(tree, self._gate.state), numbered, note

    def _must_be_in_force(self, role: str, signer: Signer) -> None:
        """Refuse to work with a key that the policy in force (which there is) does not list for this role."""
        policy = self._gate.policy
        if policy is None or signer.public_key.keyid not in policy.keys_of(role, in_force=True):
            raise EvidenceRefused(
                f"is no {role} key of the policy in force", signer.public_key.keyid[:12] + "…",
                "let the root list it: `domainlm audit policy propose`", "unknown-key",
            )  # fmt: skip

    def _recall(self) -> None:
        """Take over what another signer of these keys knows more."""
        found = self._memory.recall() if self._memory else None
        if found is not None and found.tree.size > self._known.tree.size:
            self._known, self._kept = found, found.tree.size
            self._gate.state = found.gate

    def _keep(self, known: Remembered) -> None:
        self._known = known
        if self._memory and known.tree.size > self._kept:
            self._memory.keep(known)
            self._kept = known.tree.size

    def _caught_up(self, stored: Frontier) -> Frontier:
        """The tree over what is stored, from what is known and the entries that other signers added since.

        Raises:
            EvidenceRefused: `rolled-back`, `forked`, `deleted`, `bad-signature`, or what the gate says of an entry.
        """
        known, place = self._known.tree, self.ledger.place
        if stored.size < known.size:
            raise EvidenceRefused(
                f"has {stored.size} entries; the last checkpoint signed here covers {known.size}", place,
                "restore the later copy; where there is none, see docs/trust.md", "rolled-back",
            )  # fmt: skip
        last = None
        if not known.size and (note := self.ledger.latest_checkpoint()):  # nothing is remembered: then that at least
            last = Checkpoint.parse(note, place)
            if stored.size < last.size:
                raise EvidenceRefused(f"has {stored.size} entries, a checkpoint {last.size}", place, "", "truncated")
        tree = known
        for number, envelope in self.ledger.entries(known.size, stored.size):
            if number != tree.size:
                break
            self._gate.admit(number, envelope)
            tree = tree.extended([leaf_hash(envelope.to_bytes())])
            if last and tree.size == last.size:
                if not last.verified_by(self._gate.log_keys(last.size)):
                    raise EvidenceRefused("its last checkpoint is not signed by the log", place, "", "bad-signature")
                if last.root != tree.root:
                    raise _no_continuation("does not hold the entries that its last checkpoint covers", place)
        if tree.size != stored.size:
            raise EvidenceRefused("lacks entries", place, "restore it from a copy", "deleted")
        if tree != stored:
            raise _no_continuation("is no continuation of the checkpoint that was signed here last", place)
        return tree

    def _judged(
        self,
        connection: sa.Connection,
        envelopes: Sequence[Envelope],
        size: int,
        fresh: Mapping[str, Envelope],
        moment: datetime,
    ) -> dict[str, Envelope] | EvidenceRefused:
        """The entries of one request that are new and pass, by digest; or why it is refused, as if never judged."""
        before, added = self._gate.state, {}
        try:
            for place, envelope in enumerate(envelopes):
                digest = envelope.digest
                leaf = leaf_hash(envelope.to_bytes())
                if digest in fresh or digest in added or _stands(connection, leaf):
                    continue
                where = f"new entry {place}" if len(envelopes) > 1 else "the new entry"
                parsed = Envelope.parse(envelope.to_bytes(), where)  # what could not be read again must not stand
                number = size + len(fresh) + len(added)
                header = self._gate.admit(number, parsed, where, moment)
                if header.kind != entries.POLICY:
                    read_content(parsed, header.kind, where)
                _check_follows(number, parsed, where)
                added[digest] = envelope
        except EvidenceRefused as refusal:
            self._gate.state = before
            return refusal
        return added


def _stands(connection: sa.Connection, leaf: bytes) -> bool:
    return connection.execute(sa.select(ENTRIES.c.number).where(ENTRIES.c.leaf == leaf)).scalar() is not None


def _no_continuation(what: str, where: str) -> EvidenceRefused:
    return EvidenceRefused(what, where, "run `domainlm audit verify`; restore it from a copy", "forked")


def _check_follows(number: int, envelope: Envelope, where: str) -> None:
    """An act that was decided upon so many entries (its field `follows`) stands directly after them, or not at all."""
    follows = envelope.statement["predicate"].get(entries.FOLLOWS)
    if follows not in (None, number):
        raise EvidenceRefused(
            f"was decided upon {follows} entries, and there are {number} by now", where, "decide anew", "overtaken"
        )
