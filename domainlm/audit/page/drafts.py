"""Statements that wait for a person's signature: shown first, signed elsewhere, then handed to the gate."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from domainlm.audit.decisions import statements
from domainlm.audit.decisions.statements import Act
from domainlm.audit.evidence import Evidence
from domainlm.audit.page.sessions import Session
from domainlm.digests import canonical_json
from domainlm.errors import EvidenceRefused
from domainlm.ledger.envelopes import Envelope

MOST = 20  # a session


@dataclass(frozen=True)
class Draft:
    """A statement to sign.

    Args:
        identity: of the model that it is about.
        model: its name, for people.
        words: what it says, in a few lines.
        envelope: the statement, without a signature.
    """

    id: str
    identity: str
    model: str
    kind: str
    act: Act
    words: list[str]
    envelope: Envelope

    def signed(self, keyid: str, signature: str) -> Envelope:
        """With a signature of 128 hexadecimal digits, which the gate will judge.

        Raises:
            EvidenceRefused: `bad-signature`: it is none.
        """
        try:
            raw = bytes.fromhex(signature)
        except ValueError:
            raw = b""
        if len(raw) != 64:
            raise EvidenceRefused("is no signature", "the form", "sign again", "bad-signature")
        return self.envelope.with_signature(keyid, raw)

    def matched(self, raw: bytes) -> Envelope:
        """A signed envelope that somebody uploads, if it is this very statement.

        Raises:
            EvidenceRefused: `malformed`: it is another statement, or no envelope.
        """
        found = Envelope.parse(raw.removesuffix(b"\n"), "the upload")
        if found.payload != self.envelope.payload:
            raise EvidenceRefused("is not the statement of this page", "the upload", "sign the one shown here")
        return found


def draft(session: Session, evidence: Evidence, act: Act, identity: str, model: str) -> Draft:
    """A new draft of a session's person; the oldest beyond `MOST` is dropped.

    Raises:
        ApprovalRefused: the person may not state that, or it would not count.
    """
    made = Draft(
        id=secrets.token_urlsafe(12),
        identity=identity,
        model=model,
        kind=statements.KINDS[type(act)],
        act=act,
        words=statements.shown(evidence, session.person, act),
        envelope=Envelope(canonical_json(statements.statement(evidence, session.person, act)), ()),
    )
    session.drafts[made.id] = made
    while len(session.drafts) > MOST:
        session.drafts.popitem(last=False)
    return made
