"""Who may write what: the policy, its succession from a pinned root, and the gate that every entry passes.

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

import re
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Any, Literal, NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pydantic import Field, ValidationError
from securesystemslib.signer import Key, SSlibKey

from domainlm.digests import digest_bytes
from domainlm.errors import EvidenceRefused
from domainlm.ledger import entries
from domainlm.ledger.entries import Header
from domainlm.ledger.envelopes import Envelope
from domainlm.reports import Report

TRAINER, VALIDATOR, OFFICER = "trainer", "validator", "officer"  # people
ROOT, RECORDER, LOG = "root", "recorder", "log"  # the root's keys; services: of machine-made entries, of checkpoints
Role = Literal["trainer", "validator", "officer", "root", "recorder", "log"]
PERSONAL: tuple[str, ...] = (TRAINER, VALIDATOR, OFFICER)
SERVICES: tuple[str, ...] = (RECORDER, LOG)
MACHINE_MADE = (
    entries.RUN, entries.PROMOTION, entries.ERASURE, entries.RETENTION, entries.BACKUP, entries.RESTORE,
    entries.READ, entries.ANCHOR,
)  # fmt: skip
# which roles may sign which kind of entry; what people decide no service can sign
MAY_SIGN: dict[str, tuple[str, ...]] = {
    entries.POLICY: (ROOT,),
    entries.APPROVAL: (VALIDATOR, OFFICER),
    entries.CONDITION_MET: (VALIDATOR, OFFICER),
    entries.STANDING: (OFFICER,),
    entries.HOLD: (OFFICER,),
    entries.HOLD_RELEASE: (OFFICER,),
} | {kind: (RECORDER,) for kind in MACHINE_MADE}
CLOCK_TOLERANCE_S = 120  # writers on several machines
OFFLINE_TOLERANCE_S = 7 * 86_400  # what people sign on a machine that has no network may be entered days later
# public keys of small order, without their sign bit: anybody can make signatures under them, so that whoever got one
# listed could deny all that it signed (the list of libsodium 1.0, crypto_core/ed25519)
_WEAK_KEYS = frozenset(
    bytes.fromhex(text)
    for text in (
        "00" * 32,
        "01" + "00" * 31,
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "ec" + "ff" * 30 + "7f",
        "ed" + "ff" * 30 + "7f",
        "ee" + "ff" * 30 + "7f",
    )
)
_NAME = re.compile(r"\w[\w.@ -]{0,63}")
_IDENTITY = re.compile(r"sha256:[0-9a-f]{64}")


class Member(Report):
    """A person or service of the policy.

    Fields:
        keys: ids of the keys that are theirs, old ones too.
        roles: what they may do. People's roles, services' roles and the root's do not go together.
        identities: SHA-256 of each lower-cased e-mail address or system user name under which they author code,
            configuration and data (`identity`); four eyes are counted by these.
        until: last day, ISO 8601; empty for no end.
    """

    keys: list[str]
    roles: list[Role]
    identities: list[str] = Field(default_factory=list)
    until: str = ""


class Revocation(Report):
    """A key that counts no more.

    Fields:
        since: UTC time from which on what it signed is not believed; the policy's own time where it is merely retired.
        reason: for people.
    """

    since: str
    reason: str


class Rules(Report):
    """What the acts of the policy ask for.

    Fields:
        officers, validators: how many of them must approve a version before it is promoted.
        four_eyes: whoever wrote the code, the configuration or the data since the last champion, or ran the training,
            does not count.
        approval_days: an approval without a date of its own counts that long.
        outside: identities of authors who are no members (former colleagues, contractors) and so cannot approve; an
            author whom nobody knows closes the gate.
        production: false for the policy that set-up makes: every verdict then says "development-key".
    """

    officers: int = Field(default=1, ge=0)
    validators: int = Field(default=1, ge=0)
    four_eyes: bool = True
    approval_days: int = Field(default=90, ge=1)
    outside: list[str] = Field(default_factory=list)
    production: bool = False


class Policy(Report):
    """The content of a policy entry.

    Fields:
        version: 1 for the first, then one more each time.
        ledger: origin of the ledger.
        keys: key id -> public key as securesystemslib writes it.
        members: name -> who they are.
        root_threshold: how many root members must sign the next policy; a member with two keys counts once.
        revoked: key id -> revocation.
        previous: digest of the policy entry before; empty in the first.
    """

    version: int = Field(ge=1)
    ledger: str
    keys: dict[str, dict[str, Any]]
    members: dict[str, Member]
    root_threshold: int = Field(default=1, ge=1)
    revoked: dict[str, Revocation] = Field(default_factory=dict)
    rules: Rules = Field(default_factory=Rules)
    previous: str = ""

    @classmethod
    def of(cls, envelope: Envelope, where: str) -> Policy:
        """The policy that an entry holds, consistent in itself.

        Raises:
            EvidenceRefused: `bad-policy`.
        """
        try:
            found = cls(**entries.content(envelope))
            for keyid, key in found.keys.items():
                _check_key(keyid, key)
            for revocation in found.revoked.values():
                entries.parse_time(revocation.since)
            for member in found.members.values():
                if member.until:
                    _check_day(member.until)
        except (ValidationError, TypeError, ValueError, KeyError):
            raise EvidenceRefused("is not a policy", where, "let the root sign a correct one", "bad-policy") from None
        if fault := found._fault():
            raise EvidenceRefused(fault, where, "let the root sign a correct one", "bad-policy")
        return found

    def _fault(self) -> str:
        """What contradicts itself; empty where nothing does."""
        owners: dict[str, str] = {}
        persons: dict[str, str] = {}
        for name, member in self.members.items():
            if not _NAME.fullmatch(name):
                return f"has a member without a usable name: {name!r:.40}"  # it stands in messages and pages
            kinds = {PERSONAL if role in PERSONAL else SERVICES if role in SERVICES else role for role in member.roles}
            if len(kinds) > 1:
                return f"gives {name} roles that do not go together: {', '.join(member.roles)}"
            for keyid in member.keys:
                if keyid not in self.keys:
                    return f"names the key {keyid[:12]}… and does not list it"
                if owners.setdefault(keyid, name) != name or member.keys.count(keyid) > 1:
                    return f"gives the key {keyid[:12]}… twice; a key belongs to one member"
            if ROOT in member.roles and member.until:
                return f"lets the root member {name} end on a day; revoke the key when that day has come"
            for person in member.identities:
                if not _IDENTITY.fullmatch(person):
                    return f"gives {name} an identity that is no SHA-256"
                if persons.setdefault(person, name) != name:
                    return f"gives one identity to {persons[person]} and {name}"
        if unlisted := set(self.revoked) - set(self.keys):
            return f"revokes the key {min(unlisted)[:12]}… and does not list it"
        roots = {owners[keyid] for keyid in self.keys_of(ROOT) if keyid not in self.revoked}
        if len(roots) < self.root_threshold:
            return f"has {len(roots)} root members in force and asks for {self.root_threshold}: nobody could follow it"
        return ""

    def public_keys(self) -> dict[str, Key]:
        """Key id -> key, revoked ones too."""
        return {keyid: SSlibKey.from_dict(keyid, dict(key)) for keyid, key in self.keys.items()}

    def owner(self, keyid: str) -> str:
        """The member whose key it is; empty where it is nobody's."""
        return next((name for name, member in self.members.items() if keyid in member.keys), "")

    def keys_of(self, role: str, in_force: bool = False) -> dict[str, Key]:
        """The keys of all members with a role; only those that are not revoked where `in_force` is said."""
        wanted = {keyid for member in self.members.values() if role in member.roles for keyid in member.keys}
        wanted -= set(self.revoked) if in_force else set()
        return {keyid: SSlibKey.from_dict(keyid, dict(self.keys[keyid])) for keyid in self.keys if keyid in wanted}


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


def identity(person: str) -> str:
    """What stands for an e-mail address or a system user name in manifests and policies: "sha256:" and 64 digits.

    A guess can be tried against it: it keeps addresses out of plain sight, no more. Staff who act for the institution
    are named in the policy anyway.
    """
    return "sha256:" + digest_bytes(person.strip().lower().encode())


def now() -> datetime:
    """The present moment, UTC."""
    return datetime.now(UTC)


def _check_key(keyid: str, key: Mapping[str, Any]) -> None:
    """A key id that is not the digest of its key could mean one key here and another there."""
    public = bytes.fromhex(key["keyval"]["public"])
    if dict(key) != (expected := SSlibKey.from_crypto(Ed25519PublicKey.from_public_bytes(public))).to_dict():
        raise ValueError("not an ed25519 key in its one spelling")
    if keyid != expected.keyid:
        raise ValueError("not the id of this key")
    if public[:31] + bytes([public[31] & 0x7F]) in _WEAK_KEYS:
        raise ValueError("a key under which anybody can sign")


def _check_day(text: str) -> None:
    if date.fromisoformat(text).isoformat() != text:
        raise ValueError("not a day")


@lru_cache(maxsize=1024)
def _parsed(public: bytes) -> Ed25519PublicKey:
    return Ed25519PublicKey.from_public_bytes(public)


def _signed(public: bytes, signature: bytes, message: bytes) -> bool:
    try:
        _parsed(public).verify(signature, message)
    except InvalidSignature:
        return False
    return True
