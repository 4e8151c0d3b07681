"""Who may write what: the succession of policies from a pinned root, and the gate that every entry passes.

The first entry of a ledger is its policy, signed by every root key that was pinned and by as many root members as it
asks for itself. A third party needs one thing beforehand: the pinned root's public keys. Each later policy must be
signed by as many root members of the policy before it as that one asks for, and likewise of its own, so that no root
takes over whose keys nobody holds (The Update Framework, specification 1.0, section 5.3.4, does the same). An entry is
judged by the policy in force at its place in the log: a key that was rotated away or revoked later still verifies what
it signed before; `Gate.tainted` names what a later revocation casts doubt on.

`Gate` is fed the entries in order. The signer uses it before it appends, the verification on what it reads, so that
the two cannot disagree. Signatures cost 20 times the rest: `present` checks them, in any process; `Gate.take` judges
what it found.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from securesystemslib.signer import Key

from domainlm.errors import EvidenceRefused
from domainlm.ledger import entries
from domainlm.ledger.entries import Header
from domainlm.ledger.envelopes import Envelope
from domainlm.ledger.trust.policy import (
    LOG,
    MACHINE_MADE,
    MAY_SIGN,
    OFFICER,
    PERSONAL,
    RECORDER,
    ROOT,
    SERVICES,
    TRAINER,
    VALIDATOR,
    Member,
    Policy,
    Revocation,
    Role,
    Rules,
    identity,
)

__all__ = [
    "LOG", "MACHINE_MADE", "MAY_SIGN", "OFFICER", "PERSONAL", "RECORDER", "ROOT", "SERVICES", "TRAINER", "VALIDATOR",
    "Gate", "GateState", "Member", "Policy", "Presented", "Revocation", "Role", "Rules", "Taint", "identity", "now",
    "present",
]  # fmt: skip
CLOCK_TOLERANCE_S = 120  # writers on several machines
OFFLINE_TOLERANCE_S = 7 * 86_400  # what people sign on a machine that has no network may be entered days later


class Presented(NamedTuple):
    """What the gate needs to know of an entry; small, so that it can come from another process.

    Args:
        header: of the entry.
        signed: key ids that the entry says signed it.
        verified: those of them whose signature verifies.
        policy: the entry itself where it holds a policy, else None.
    """

    header: Header
    signed: tuple[str, ...]
    verified: frozenset[str]
    policy: Envelope | None


def present(envelope: Envelope, where: str, keys: Mapping[str, bytes]) -> Presented:
    """Read an entry's header and check its signatures, before any judgement: the costly part, which needs no order.

    Args:
        envelope: the entry.
        where: what an error names.
        keys: key id -> ed25519 public key of 32 bytes (`Gate.keys`). A key id is a digest of its key, so that it does
            not matter from which policy a key was taken; a signature by a key that is not there is left unverified.

    Raises:
        EvidenceRefused: `malformed`, `unknown-version`, `unknown-kind`.
    """
    header = entries.header(envelope, where)
    message = envelope.pae
    good = frozenset(
        keyid for keyid, signature in envelope.signatures if keyid in keys and _signed(keys[keyid], signature, message)
    )
    signed = tuple(keyid for keyid, _ in envelope.signatures)
    return Presented(header, signed, good, envelope if header.kind == entries.POLICY else None)


class Taint(NamedTuple):
    """An entry that passed the gate and that a later revocation casts doubt on."""

    number: int
    keyid: str
    since: str


@dataclass(frozen=True)
class GateState:
    """What a gate knows after some entries; it does not change, so that keeping one is a way back.

    Args:
        policies: (place of the entry, its digest, the policy) of all so far.
        last_time: of the latest entry so far.
    """

    policies: tuple[tuple[int, str, Policy], ...] = ()
    last_time: datetime | None = None


class Gate:
    """Judges entries one after the other, from the first on.

    Args:
        origin: the ledger's name.
        root_keyids: ids of the root keys that the caller trusts beforehand; all of them must sign the first policy.
        state: where to go on, from a `Gate.state` that the caller trusts.
        remember: whether to keep who signed each entry (16 bytes an entry), which `tainted` needs.

    Attributes:
        state: after the entries so far. Setting an earlier one takes back what was admitted since.
        keys: key id -> public key (32 bytes) of every policy so far: what `present` is given.
    """

    def __init__(
        self, origin: str, root_keyids: frozenset[str], state: GateState | None = None, remember: bool = True
    ) -> None:
        self.origin, self.root_keyids = origin, root_keyids
        self._signed: dict[str, tuple[array[int], array[float]]] | None = {} if remember else None
        self.state = state or GateState()

    @property
    def state(self) -> GateState:
        return self._state

    @state.setter
    def state(self, state: GateState) -> None:
        self._state = state
        policy = state.policies[-1][2] if state.policies else None
        self.keys = (
            {keyid: bytes.fromhex(key["keyval"]["public"]) for keyid, key in policy.keys.items()} if policy else {}
        )
        self._owners = (
            {keyid: name for name, member in policy.members.items() for keyid in member.keys} if policy else {}
        )
        self._revoked = (
            {keyid: entries.parse_time(item.since) for keyid, item in policy.revoked.items()} if policy else {}
        )

    @property
    def policy(self) -> Policy | None:
        """The one in force after the entries so far."""
        return self._state.policies[-1][2] if self._state.policies else None

    @property
    def policies(self) -> list[tuple[int, Policy]]:
        """(place, policy) of all so far."""
        return [(index, policy) for index, _, policy in self._state.policies]

    @property
    def last_time(self) -> datetime | None:
        """The latest time of the entries so far: the log's own clock."""
        return self._state.last_time

    def log_keys(self, size: int) -> dict[str, Key]:
        """The keys that may sign a checkpoint of a size: of the policy in force after so many entries."""
        found = [policy for index, policy in self.policies if index < size]
        return found[-1].keys_of(LOG, in_force=True) if found else {}

    def admit(self, index: int, envelope: Envelope, where: str = "", now: datetime | None = None) -> Header:
        """Judge the entry at a place and take it into account.

        Args:
            index: its place.
            envelope: the entry.
            where: what an error names; the place by default.
            now: where it is entered just now: an entry of the future is then refused.

        Returns:
            Its header.

        Raises:
            EvidenceRefused: see the codes in `domainlm.ledger.findings`; the gate's state is then unchanged.
        """
        where = where or f"entry {index}"
        return self.take(index, present(envelope, where, self.keys), where, now)

    def take(self, index: int, presented: Presented, where: str = "", now: datetime | None = None) -> Header:
        """`admit` for an entry whose signatures were checked elsewhere.

        Where the checker did not know a key yet, which a policy just before brought, this refuses as `bad-signature`:
        ask `admit` with the entry itself before believing that.
        """
        where = where or f"entry {index}"
        header = presented.header
        if header.ledger != self.origin:
            raise EvidenceRefused(
                "was made for another ledger", where, "two ledgers must not be merged", "foreign-entry"
            )
        moment = entries.parse_time(header.time)
        last = self._state.last_time
        clock = moment if last is None or moment > last else last
        if moment is not clock:
            tolerance_s = CLOCK_TOLERANCE_S if header.kind in MACHINE_MADE else OFFLINE_TOLERANCE_S
            if clock - moment > timedelta(seconds=tolerance_s):
                raise EvidenceRefused(
                    f"bears a time {clock - moment} before an earlier entry's", where,
                    "set the clock right and make the entry again", "clock-set-back",
                )  # fmt: skip
        if now is not None and moment - now > timedelta(seconds=CLOCK_TOLERANCE_S):
            raise EvidenceRefused(
                f"bears a time {moment - now} ahead of the clock here", where,
                "set the clock right and make the entry again", "clock-ahead",
            )  # fmt: skip
        if presented.policy is not None:
            policy = self._succession(index, presented.policy, header, clock, where)
            self.state = GateState((*self._state.policies, (index, presented.policy.digest, policy)), clock)
        else:
            self._judge(presented, clock, where)
            if clock is not last:
                self._state = replace(self._state, last_time=clock)
        if self._signed is not None:
            for keyid in presented.signed:
                numbers, times = self._signed.setdefault(keyid, (array("q"), array("d")))
                numbers.append(index)
                times.append(clock.timestamp())  # a thief would claim an earlier time
        return header

    def tainted(self) -> Iterator[Taint]:
        """Entries that stand in the log and whose key was revoked later with effect from before them.

        Before and after go by the log's clock. They passed when they were made, and stay in the log. Whether what they
        say still counts is for those to decide who rely on it.
        """
        for keyid, since in sorted(self._revoked.items()):
            numbers, times = (self._signed or {}).get(keyid, ((), ()))
            for number, time in zip(numbers, times, strict=True):
                if time >= since.timestamp():
                    yield Taint(number, keyid, self.policy.revoked[keyid].since)  # type: ignore[union-attr]

    def _judge(self, presented: Presented, clock: datetime, where: str) -> None:
        policy, header = self.policy, presented.header
        if policy is None:
            raise EvidenceRefused(
                "stands before any policy", where, "a ledger begins with its policy", "untrusted-root"
            )
        if not presented.signed:
            raise EvidenceRefused("is not signed", where, "", "bad-signature")
        if len(presented.signed) > 1:
            raise EvidenceRefused(
                "bears more signatures than one", where, "one person or service makes one entry", "bad-signature"
            )
        keyid = presented.signed[0]
        if keyid not in self.keys:
            raise EvidenceRefused(
                f"is signed by the key {keyid[:12]}…, which no policy lists",
                where,
                "add it to the policy",
                "unknown-key",
            )
        if keyid not in presented.verified:
            raise EvidenceRefused(
                "bears a signature that does not verify", where, "restore it from a copy", "bad-signature"
            )
        self._in_force(keyid, clock, where)
        if self._owners.get(keyid) != header.by:
            raise EvidenceRefused("says that it is by another than who signed it", where, "", "wrong-role")
        member = policy.members[header.by]
        if member.until and clock.date().isoformat() > member.until:
            raise EvidenceRefused(f"is by a member until {member.until}", where, "", "wrong-role")
        allowed = MAY_SIGN[header.kind]
        if not any(role in allowed for role in member.roles):
            raise EvidenceRefused(
                f"is a {header.kind} by {header.by}, whose roles are {', '.join(member.roles) or 'none'}", where,
                f"it takes one of: {', '.join(allowed)}", "wrong-role",
            )  # fmt: skip

    def _in_force(self, keyid: str, clock: datetime, where: str) -> None:
        # by the log's clock, not by the time that the entry claims: whoever stole a key would set that back
        since = self._revoked.get(keyid)
        if since is not None and clock >= since:
            raise EvidenceRefused(
                f"is signed by a key revoked since {since:%Y-%m-%dT%H:%M:%SZ}", where, "sign with a key in force",
                "revoked-key",
            )  # fmt: skip

    def _succession(self, index: int, envelope: Envelope, header: Header, clock: datetime, where: str) -> Policy:
        policy, before = Policy.of(envelope, where), self.policy
        if policy.ledger != self.origin:
            raise EvidenceRefused("is the policy of another ledger", where, "", "foreign-entry")
        signed = [keyid for keyid, _ in envelope.signatures]
        if before is None:
            if index != 0 or not self.root_keyids or not self.root_keyids <= set(signed) & set(policy.keys_of(ROOT)):
                raise EvidenceRefused(
                    "is not signed by the root that was pinned", where, "check the root keys that you were given",
                    "untrusted-root",
                )  # fmt: skip
            if policy.version != 1 or policy.previous:
                raise EvidenceRefused("is not a first policy", where, "make it anew", "bad-policy")
        else:
            if policy.version != before.version + 1 or policy.previous != self._state.policies[-1][1]:
                raise EvidenceRefused(
                    "does not follow the policy in force", where, "make it from that one", "bad-policy"
                )
            self._check_heritage(before, policy, where)
        roots = (before.keys_of(ROOT) if before else {}) | policy.keys_of(ROOT)
        for keyid in signed:
            if keyid not in policy.keys:
                raise EvidenceRefused(
                    f"is signed by the key {keyid[:12]}…, which no policy lists", where, "list it", "unknown-key"
                )
            if keyid not in roots:
                raise EvidenceRefused("is signed by a key that is no root's", where, "let the root sign", "wrong-role")
            self._in_force(keyid, clock, where)
        if len(envelope.verified_by(roots.values())) != len(signed):
            raise EvidenceRefused(
                "bears a signature that does not verify", where, "restore it from a copy", "bad-signature"
            )
        for one in (before, policy) if before else (policy,):
            entitled = one.keys_of(ROOT, in_force=True)
            people = {one.owner(keyid) for keyid in signed if keyid in entitled}
            if len(people) < one.root_threshold:
                which = "the policy before" if one is before else "its own"
                raise EvidenceRefused(
                    f"is signed by {len(people)} root members of {which}, {one.root_threshold} are needed", where,
                    "let them sign as well: `domainlm audit sign`", "bad-policy",
                )  # fmt: skip
        if header.by not in {one.owner(keyid) for keyid in signed for one in (before or policy, policy)}:
            raise EvidenceRefused("says that it is by another than who signed it", where, "", "wrong-role")
        return policy

    def _check_heritage(self, before: Policy, policy: Policy, where: str) -> None:
        """What a later policy may not take back."""
        fault = ""
        if set(before.keys) - set(policy.keys):
            fault = "drops keys, so that old signatures could not be checked"
        for keyid, old in before.revoked.items():
            new = policy.revoked.get(keyid)
            if new is None or entries.parse_time(new.since) > entries.parse_time(old.since):
                fault = f"takes the revocation of the key {keyid[:12]}… back"
        for _, earlier in self.policies:
            for name, member in earlier.members.items():
                for keyid in member.keys:
                    if policy.owner(keyid) not in (name, ""):
                        fault = f"gives the key {keyid[:12]}… of {name} to another"
        if fault:
            raise EvidenceRefused(fault, where, "let the root sign a correct one", "bad-policy")


def now() -> datetime:
    """The present moment, UTC."""
    return datetime.now(UTC)


@lru_cache(maxsize=1024)
def _parsed(public: bytes) -> Ed25519PublicKey:
    return Ed25519PublicKey.from_public_bytes(public)


def _signed(public: bytes, signature: bytes, message: bytes) -> bool:
    try:
        _parsed(public).verify(signature, message)
    except InvalidSignature:
        return False
    return True
