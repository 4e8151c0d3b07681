"""Sign-in by a personal key: the page asks, the key answers.

The question is canonical JSON (page, ledger, a random nonce, times). It is signed as a DSSE message of a type of its
own, so that an answer can never serve as an entry of the ledger, nor an entry as an answer.
"""

from __future__ import annotations

import base64
import binascii
import json
import secrets
from collections.abc import Callable
from datetime import datetime, timedelta

from pydantic import Field, ValidationError
from securesystemslib.dsse import Envelope as DSSE
from securesystemslib.exceptions import UnverifiedSignatureError
from securesystemslib.signer import Key, Signature, Signer

from domainlm.digests import canonical_json
from domainlm.errors import EvidenceRefused
from domainlm.ledger.trust.gate import PERSONAL, Member, Policy, now
from domainlm.reports import Report

SIGN_IN_TYPE = "application/vnd.domainlm.sign-in+json"
LIFE_S = 300
TIME = r"^[0-9T:.-]{10,30}Z$"
MOST_PENDING = 10_000


class Challenge(Report):
    """What a person signs to sign in.

    Fields:
        page: scheme, host and port of the page that asks; look at it before you sign.
        ledger: the ledger's name.
        nonce: 64 hexadecimal digits, used once.
        time: when it was asked, UTC.
        expires: until when an answer counts, UTC.
    """

    # patterns: what a page made up is printed in a terminal before it is signed
    page: str = Field(pattern=r"^https?://[A-Za-z0-9.:\[\]-]{1,260}$")
    ledger: str = Field(pattern=r"^[A-Za-z0-9._:/-]{1,200}$")
    nonce: str = Field(pattern=r"^[0-9a-f]{64}$")
    time: str = Field(pattern=TIME)
    expires: str = Field(pattern=TIME)

    @property
    def payload(self) -> bytes:
        """Canonical JSON."""
        return canonical_json(self.model_dump())

    @property
    def text(self) -> str:
        """One word to copy: base64url of the payload."""
        return base64.urlsafe_b64encode(self.payload).decode()

    @classmethod
    def parse(cls, text: str) -> Challenge:
        """Undo `text`.

        Raises:
            EvidenceRefused: `malformed`.
        """
        try:
            found = cls(**json.loads(base64.b64decode(text.strip(), altchars=b"-_", validate=True)))
        except (ValueError, TypeError, binascii.Error, ValidationError):
            raise EvidenceRefused("is no challenge of the page", "sign-in", "copy it whole", "malformed") from None
        return found

    def answered(self, signer: Signer) -> str:
        """The token to paste: public key and signature, in hexadecimal digits with a dot between."""
        signature = signer.sign(DSSE(self.payload, SIGN_IN_TYPE, {}).pae())
        return f"{signer.public_key.keyval['public']}.{signature.signature}"

    def answered_by(self, token: str, policy: Policy) -> str:
        """The id of the key, among those of the policy, whose answer a token is.

        Raises:
            EvidenceRefused: `unknown-key`, `bad-signature`.
        """
        public, _, signature = token.strip().partition(".")
        key: Key | None = next(
            (key for key in policy.public_keys().values() if key.keyval.get("public") == public and public), None
        )
        if key is None:
            raise EvidenceRefused("no key of the policy", "sign-in", "ask for your key to be added", "unknown-key")
        try:
            key.verify_signature(Signature(key.keyid, signature), DSSE(self.payload, SIGN_IN_TYPE, {}).pae())
        except (UnverifiedSignatureError, ValueError):
            raise EvidenceRefused("the answer does not verify", "sign-in", "sign again", "bad-signature") from None
        return key.keyid


class Challenges:
    """The questions that wait for their answer; each is for one browser and serves once.

    Args:
        page: as in `Challenge`.
        ledger: as in `Challenge`.
        clock: UTC now.
    """

    def __init__(self, page: str, ledger: str, clock: Callable[[], datetime] = now) -> None:
        self._page, self._ledger, self._clock = page, ledger, clock
        self._pending: dict[str, tuple[str, datetime, Challenge]] = {}

    def ask(self, browser: str) -> Challenge:
        """A new question to one browser."""
        moment = self._clock()
        end = moment + timedelta(seconds=LIFE_S)
        challenge = Challenge(
            page=self._page,
            ledger=self._ledger,
            nonce=secrets.token_hex(32),
            time=moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            expires=end.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        )
        while self._pending and (len(self._pending) >= MOST_PENDING or next(iter(self._pending.values()))[1] < moment):
            self._pending.pop(next(iter(self._pending)), None)
        self._pending[challenge.nonce] = (browser, end, challenge)
        return challenge

    def take(self, nonce: str, browser: str) -> Challenge:
        """The question with this nonce, which then is used up, whatever the answer is worth.

        Raises:
            EvidenceRefused: there is none, it was asked of another browser, or it has expired.
        """
        found = self._pending.pop(nonce, None)
        if found is None or not secrets.compare_digest(found[0], browser) or self._clock() > found[1]:
            raise EvidenceRefused("the challenge has expired or was used", "sign-in", "sign the new one", "malformed")
        return found[2]


def member_of(policy: Policy, keyid: str, moment: datetime) -> tuple[str, Member]:
    """Name and entry of the person whose key it is, if the policy lets them in at that moment.

    Raises:
        EvidenceRefused: `unknown-key`, `revoked-key`, `wrong-role` (a service, or a member no more).
    """
    name = policy.owner(keyid)
    if not name:
        raise EvidenceRefused("the key is nobody's", "sign-in", "ask for it to be added", "unknown-key")
    # one that is to be revoked later opens no session either: it is known to be lost
    if keyid in policy.revoked:
        raise EvidenceRefused("the key is revoked", "sign-in", "use your key in force", "revoked-key")
    member = policy.members[name]
    if not set(member.roles) & set(PERSONAL):
        raise EvidenceRefused("has no role that may enter", "sign-in", f"it takes one of: {', '.join(PERSONAL)}",
                              "wrong-role")  # fmt: skip
    if member.until and moment.date().isoformat() > member.until:
        raise EvidenceRefused(f"was a member until {member.until}", "sign-in", "", "wrong-role")
    return name, member
