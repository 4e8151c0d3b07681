"""What a ledger says, read once in order: runs, models, approvals and all other acts, as typed values.

Built from entries that passed the gate; verification, page, report and promotion all read this.
"""

from __future__ import annotations

import copy
import heapq
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from domainlm.errors import EvidenceRefused
from domainlm.ledger import entries
from domainlm.ledger.acts import MODELS
from domainlm.ledger.contents import read_content
from domainlm.ledger.entries import Header
from domainlm.ledger.envelopes import Envelope
from domainlm.ledger.trust.gate import Gate, Policy


@dataclass(frozen=True)
class Stated:
    """One entry and what it says.

    Args:
        number: its place in the log, from 0.
        digest: of the entry.
        header: kind, time, by whom.
        act: a model of `domainlm.ledger.acts`, a `RunManifest`, or a `Policy`.
        policy: the one in force at its place.
        clock: the latest time that any entry up to this one bears. What a person signed may bear an earlier time of its
            own, which nobody can check: where that matters, this is when the ledger took it in at the earliest.
    """

    number: int
    digest: str
    header: Header
    act: Any
    policy: Policy
    envelope: Envelope
    clock: datetime


class Evidence:
    """A ledger's entries as typed values.

    Args:
        read: (number, envelope) in order, from 0.
        gate: judges each; a fresh one.

    Raises:
        EvidenceRefused: an entry does not pass the gate, or is malformed.
    """

    def __init__(self, read: Iterable[tuple[int, Envelope]], gate: Gate) -> None:
        self.gate = gate
        self.stated: list[Stated] = []
        self._places = _Places()
        self._end: int | None = None  # entries from this number on do not count: see `until`
        self._clock: datetime | None = None
        self.extend(read)

    def extend(self, read: Iterable[tuple[int, Envelope]]) -> None:
        """Take in the entries that follow.

        Raises:
            EvidenceRefused: as the constructor; the evidence then ends before that entry, and stays there.
        """
        gate = self.gate
        for number, envelope in read:
            where = f"entry {number}"
            header = gate.admit(number, envelope, where)
            if gate.policy is None:
                raise EvidenceRefused("stands before any policy", where, "", "untrusted-root")
            act = gate.policy if header.kind == entries.POLICY else read_content(envelope, header.kind, where)
            clock = self.pass_over(header)
            self.stated.append(Stated(number, envelope.digest, header, act, gate.policy, envelope, clock))
            self._places.add(self.stated[-1])

    def pass_over(self, header: Header) -> datetime:
        """Let an entry move the ledger's clock, also one that is left out (the signer dates a late one's receipt so).

        Returns:
            The latest time so far.
        """
        moment = entries.parse_time(header.time)
        self._clock = max(moment, self._clock) if self._clock else moment
        return self._clock

    def until(self, number: int) -> Evidence:
        """What the ledger said before the entry of this number: for questions of the kind "was that right then?".

        Only for reading: it shares the gate and the index, and cannot be extended.
        """
        earlier = copy.copy(self)
        earlier._end = number
        earlier.stated = earlier._so_far(self.stated)
        return earlier

    def _so_far(self, found: list[Stated]) -> list[Stated]:
        # by number, not by place: a verification leaves out entries that it refuses or that decide nothing
        return found if self._end is None else found[: bisect_left(found, self._end, key=_number)]

    @property
    def policy(self) -> Policy:
        """The policy in force now.

        Raises:
            EvidenceRefused: the ledger is empty.
        """
        if not self.stated:
            raise EvidenceRefused(
                "the ledger is empty", self.gate.origin, "run `domainlm audit init`", "untrusted-root"
            )
        return self.stated[-1].policy

    def of_kind(self, *kinds: str) -> Iterator[Stated]:
        """The entries of some kinds, in order."""
        return heapq.merge(*(self._so_far(self._places.kinds.get(kind, [])) for kind in set(kinds)), key=_number)

    def entry(self, digest: str) -> Stated | None:
        """The entry with this digest."""
        found = self._places.digests.get(digest)
        return found if found is not None and (self._end is None or found.number < self._end) else None

    def run(self, run_id: str) -> Stated | None:
        """The latest entry of a run: a run that was entered as running or interrupted may be entered again."""
        found = self._so_far(self._places.runs.get(run_id, []))
        return found[-1] if found else None

    def registered(self, identity: str) -> list[Stated]:
        """The entries of all runs that name a model as theirs, however they ended, in order."""
        return self._so_far(self._places.registered.get(identity, []))

    def models(self) -> dict[str, Stated]:
        """Identity -> the first run that registered this model, in order."""
        known = list(self._places.registered)  # a page extends the evidence while others read it
        return {identity: found[0] for identity in known if (found := self.registered(identity))}

    def model(self, name: str) -> Stated | None:
        """The run that registered a model, named by identity (or its first 8 digits or more) or NAME/VERSION."""
        for identity, stated in self.models().items():
            model = stated.act.model
            if name in (identity, f"{model.name}/{model.version}") or (len(name) >= 8 and identity.startswith(name)):
                return stated
        return None

    def about(self, identity: str, *kinds: str) -> list[Stated]:
        """Entries of some kinds (all, where none is named) that name a model by its identity."""
        wanted = kinds or MODELS
        return [stated for stated in self._so_far(self._places.about.get(identity, [])) if stated.header.kind in wanted]

    def champion(self, name: str) -> Stated | None:
        """The latest promotion of a registered name."""
        wanted = [stated for stated in self.of_kind(entries.PROMOTION) if stated.act.model.rpartition("/")[0] == name]
        return wanted[-1] if wanted else None


class _Places:
    """Where entries stand: by kind, by digest, by the run or the model that they are about. Lists in order."""

    def __init__(self) -> None:
        self.kinds: dict[str, list[Stated]] = defaultdict(list)
        self.digests: dict[str, Stated] = {}
        self.runs: dict[str, list[Stated]] = defaultdict(list)
        self.registered: dict[str, list[Stated]] = defaultdict(list)
        self.about: dict[str, list[Stated]] = defaultdict(list)

    def add(self, stated: Stated) -> None:
        """Take in the latest entry."""
        act, kind = stated.act, stated.header.kind
        self.kinds[kind].append(stated)
        self.digests[stated.digest] = stated
        if kind == entries.RUN:
            self.runs[act.run_id].append(stated)
            if act.model is not None:
                self.registered[act.model.identity].append(stated)
        elif kind in MODELS:
            for identity in {getattr(act, "identity", ""), *getattr(act, "models", ())} - {""}:
                self.about[identity].append(stated)


def _number(stated: Stated) -> int:
    return stated.number
