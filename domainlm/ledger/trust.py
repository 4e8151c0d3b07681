"""Who may write what: the policy, its succession from a pinned root, and the gate that every entry passes.

The first entry of a ledger is its policy, signed by the root keys. A third party needs one thing beforehand: the root's
public key (or its id). Each later policy must be signed by as many root keys of the policy before it as that one asks
for (The Update Framework, specification 1.0, section 5.3, does the same). An entry is judged by the policy in force at
its place in the log: a key that was rotated away or revoked later still verifies what it signed before.

`Gate` is fed the entries in order. The signer uses it before it appends, the verification on what it reads, so that
the two cannot disagree.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Literal

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
# which roles may sign which kind of entry; what people decide no service can sign
MAY_SIGN: dict[str, tuple[str, ...]] = {
    entries.POLICY: (ROOT,),
    entries.APPROVAL: (VALIDATOR, OFFICER),
    entries.CONDITION_MET: (VALIDATOR, OFFICER),
    entries.STANDING: (OFFICER,),
    entries.HOLD: (OFFICER,),
    entries.HOLD_RELEASE: (OFFICER,),
} | {
    kind: (RECORDER,)
    for kind in (
        entries.RUN, entries.PROMOTION, entries.ERASURE, entries.RETENTION, entries.BACKUP, entries.RESTORE,
        entries.READ, entries.ANCHOR,
    )
}  # fmt: skip
CLOCK_TOLERANCE_S = 120  # writers on several machines


class Member(Report):
    """A person or service of the policy.

    Fields:
        keys: ids of the keys that are theirs, old ones too.
        roles: what they may do.
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

    officers: int = 1
    validators: int = 1
    four_eyes: bool = True
    approval_days: int = 90
    outside: list[str] = Field(default_factory=list)
    production: bool = False


class Policy(Report):
    """The content of a policy entry.

    Fields:
        version: 1 for the first, then one more each time.
        ledger: origin of the ledger.
        keys: key id -> public key as securesystemslib writes it.
        members: name -> who they are.
        root_threshold: how many root keys must sign the next policy.
        revoked: key id -> revocation.
        previous: digest of the policy entry before; empty in the first.
    """

    version: int
    ledger: str
    keys: dict[str, dict[str, object]]
    members: dict[str, Member]
    root_threshold: int = 1
    revoked: dict[str, Revocation] = Field(default_factory=dict)
    rules: Rules = Field(default_factory=Rules)
    previous: str = ""

    @classmethod
    def of(cls, envelope: Envelope, where: str) -> Policy:
        """The policy that an entry holds.

        Raises:
            EvidenceRefused: `bad-policy`.
        """
        try:
            found = cls(**entries.content(envelope))
            for keyid, key in found.keys.items():
                SSlibKey.from_dict(keyid, dict(key))
        except (ValidationError, TypeError, ValueError, KeyError):
            raise EvidenceRefused("is not a policy", where, "let the root sign a correct one", "bad-policy") from None
        unknown = [keyid for member in found.members.values() for keyid in member.keys if keyid not in found.keys]
        if unknown:
            raise EvidenceRefused(
                f"names the key {unknown[0][:12]}… and does not list it", where, "list every key", "bad-policy"
            )
        owners = [keyid for member in found.members.values() for keyid in member.keys]
        if len(owners) != len(set(owners)):
            raise EvidenceRefused("gives one key to two members", where, "a key belongs to one", "bad-policy")
        return found

    def public_keys(self) -> dict[str, Key]:
        """Key id -> key, revoked ones too."""
        return {keyid: SSlibKey.from_dict(keyid, dict(key)) for keyid, key in self.keys.items()}

    def owner(self, keyid: str) -> str:
        """The member whose key it is; empty where it is nobody's."""
        return next((name for name, member in self.members.items() if keyid in member.keys), "")

    def keys_of(self, role: str) -> dict[str, Key]:
        """The keys of all members with a role."""
        wanted = {keyid for member in self.members.values() if role in member.roles for keyid in member.keys}
        return {keyid: key for keyid, key in self.public_keys().items() if keyid in wanted}


class Gate:
    """Judges entries one after the other, from the first on.

    Args:
        origin: the ledger's name.
        root_keyids: ids of the root keys that the caller trusts beforehand; the first policy must be signed by one.

    Attributes:
        policy: the one in force after the entries so far.
        policies: (index, policy) of all so far.
        last_time: time of the latest entry so far.
    """

    def __init__(self, origin: str, root_keyids: frozenset[str]) -> None:
        self.origin, self.root_keyids = origin, root_keyids
        self.policy: Policy | None = None
        self.policies: list[tuple[int, Policy]] = []
        self.last_time: datetime | None = None
        self._last_policy_digest = ""
        self._keys: Mapping[str, Key] = {}

    def admit(self, index: int, envelope: Envelope, where: str = "") -> Header:
        """Judge the entry at a place and take it into account.

        Returns:
            Its header.

        Raises:
            EvidenceRefused: see the codes in `domainlm.ledger.findings`; the gate's state is then unchanged.
        """
        where = where or f"entry {index}"
        found = entries.header(envelope, where)
        if found.ledger != self.origin:
            raise EvidenceRefused(
                "was made for another ledger", where, "two ledgers must not be merged", "foreign-entry"
            )
        moment = entries.parse_time(found.time)
        if self.last_time and moment < self.last_time - timedelta(seconds=CLOCK_TOLERANCE_S):
            raise EvidenceRefused(
                f"bears a time {self.last_time - moment} before an earlier entry's", where,
                "set the clock right and make the entry again", "clock-set-back",
            )  # fmt: skip
        if found.kind == entries.POLICY:
            policy = self._succession(index, envelope, where)
            self.policy, self._keys = policy, policy.public_keys()
            self.policies.append((index, policy))
            self._last_policy_digest = envelope.digest
        else:
            self._judge(found, envelope, moment, where)
        self.last_time = max(moment, self.last_time or moment)
        return found

    def _judge(self, found: Header, envelope: Envelope, moment: datetime, where: str) -> None:
        if self.policy is None:
            raise EvidenceRefused(
                "stands before any policy", where, "a ledger begins with its policy", "untrusted-root"
            )
        if not envelope.signatures:
            raise EvidenceRefused("is not signed", where, "", "bad-signature")
        for keyid, _ in envelope.signatures:
            if keyid not in self._keys:
                raise EvidenceRefused(
                    f"is signed by the key {keyid[:12]}…, which no policy lists",
                    where,
                    "add it to the policy",
                    "unknown-key",
                )
        good = envelope.verified_by(self._keys.values())
        if len(good) != len(envelope.signatures):
            raise EvidenceRefused(
                "bears a signature that does not verify", where, "restore it from a copy", "bad-signature"
            )
        for keyid in good:
            revoked = self.policy.revoked.get(keyid)
            if revoked and moment >= entries.parse_time(revoked.since):
                raise EvidenceRefused(
                    f"is signed by a key revoked since {revoked.since}",
                    where,
                    "sign with a key in force",
                    "revoked-key",
                )
        signers = {self.policy.owner(keyid) for keyid in good}
        if signers != {found.by}:
            raise EvidenceRefused("says that it is by another than who signed it", where, "", "wrong-role")
        member = self.policy.members[found.by]
        if member.until and moment.date().isoformat() > member.until:
            raise EvidenceRefused(f"is by a member until {member.until}", where, "", "wrong-role")
        if not set(member.roles) & set(MAY_SIGN[found.kind]):
            raise EvidenceRefused(
                f"is a {found.kind} by {found.by}, whose roles are {', '.join(member.roles) or 'none'}", where,
                f"it takes one of: {', '.join(MAY_SIGN[found.kind])}", "wrong-role",
            )  # fmt: skip

    def _succession(self, index: int, envelope: Envelope, where: str) -> Policy:
        policy = Policy.of(envelope, where)
        if policy.ledger != self.origin:
            raise EvidenceRefused("is the policy of another ledger", where, "", "foreign-entry")
        if self.policy is None:
            trusted = {keyid: key for keyid, key in policy.keys_of(ROOT).items() if keyid in self.root_keyids}
            if index != 0 or not envelope.verified_by(trusted.values()):
                raise EvidenceRefused(
                    "is not signed by the root that was pinned",
                    where,
                    "check the root key that you were given",
                    "untrusted-root",
                )
            return policy
        before = self.policy
        if policy.version != before.version + 1 or policy.previous != self._last_policy_digest:
            raise EvidenceRefused("does not follow the policy in force", where, "make it from that one", "bad-policy")
        roots = {keyid: key for keyid, key in before.keys_of(ROOT).items() if keyid not in before.revoked}
        if len(envelope.verified_by(roots.values())) < before.root_threshold:
            raise EvidenceRefused(
                f"is signed by fewer than {before.root_threshold} root keys of the policy before",
                where,
                "",
                "bad-policy",
            )
        lost = set(before.keys) - set(policy.keys)
        if lost:
            raise EvidenceRefused(
                "drops keys, so that old signatures could not be checked", where, "revoke them", "bad-policy"
            )
        return policy


def identity(person: str) -> str:
    """What stands for an e-mail address or a system user name in manifests and policies: "sha256:" and 64 digits.

    A guess can be tried against it: it keeps addresses out of plain sight, no more. Staff who act for the institution
    are named in the policy anyway.
    """
    return "sha256:" + digest_bytes(person.strip().lower().encode())


def now() -> datetime:
    """The present moment, UTC."""
    return datetime.now(UTC)
