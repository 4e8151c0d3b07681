"""The policy of a ledger: people and services, their keys and roles, and what their acts ask for.

It is an entry of the ledger, signed by the root. Here is what it says and when it contradicts itself; who may replace
it by which, and what it means for every other entry, is the gate's part (`domainlm.ledger.trust.gate`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from typing import Any, Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pydantic import Field, ValidationError, model_serializer
from securesystemslib.signer import Key, SSlibKey

from domainlm.digests import digest_bytes
from domainlm.errors import EvidenceRefused
from domainlm.ledger import entries
from domainlm.ledger.envelopes import Envelope
from domainlm.reports import Report
from domainlm.risk import Tier

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
        tiers: registered name -> its risk tier. A run may state a higher risk than this, never a lower one. Left out
            where empty, as in policies from before there were tiers.
    """

    officers: int = Field(default=1, ge=0)
    validators: int = Field(default=1, ge=0)
    four_eyes: bool = True
    approval_days: int = Field(default=90, ge=1)
    outside: list[str] = Field(default_factory=list)
    production: bool = False
    tiers: dict[str, Tier] = Field(default_factory=dict)

    @model_serializer(mode="wrap")
    def _without_empty_tiers(self, write: Any) -> dict[str, Any]:
        return {name: value for name, value in write(self).items() if value or name != "tiers"}


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


def identity(person: str) -> str:
    """What stands for an e-mail address or a system user name in manifests and policies: "sha256:" and 64 digits.

    A guess can be tried against it: it keeps addresses out of plain sight, no more. Staff who act for the institution
    are named in the policy anyway.
    """
    return "sha256:" + digest_bytes(person.strip().lower().encode())


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
