"""Signed entries: an in-toto statement (in-toto Attestation Framework, Statement v1) in a DSSE envelope (secure-systems-lab
DSSE v1.0.2), with ed25519 signatures (RFC 8032).

Each envelope has exactly one spelling: payload and envelope are canonical JSON (RFC 8785), base64 is the standard
alphabet with its padding, signatures are sorted by key. A flipped bit then always shows; elsewhere several spellings of
base64 decode to the same bytes.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from securesystemslib.dsse import Envelope as DSSE
from securesystemslib.exceptions import UnverifiedSignatureError
from securesystemslib.signer import Key, Signature, Signer

from domainlm.digests import canonical_json, digest_bytes
from domainlm.errors import EvidenceRefused

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
MAX_ENTRY_BYTES = 8 << 20  # a run manifest with some 1,000 code files takes about 0.2 MB
_HEX = frozenset("0123456789abcdef")


@dataclass(frozen=True)
class Envelope:
    """One signed statement.

    Args:
        payload: canonical JSON of the statement.
        signatures: (key id, 64 bytes of ed25519 signature), sorted by key id.
    """

    payload: bytes
    signatures: tuple[tuple[str, bytes], ...]

    @classmethod
    def sign(cls, statement: Mapping[str, Any], *signers: Signer) -> Envelope:
        """Sign a statement with each signer's key."""
        envelope = cls(canonical_json(dict(statement)), ())
        for signer in signers:
            envelope = envelope.with_signature(
                signer.public_key.keyid, bytes.fromhex(signer.sign(envelope.pae).signature)
            )
        return envelope

    @classmethod
    def parse(cls, raw: bytes, where: str) -> Envelope:
        """The envelope that bytes are the one spelling of.

        Args:
            raw: the bytes.
            where: what an error names.

        Raises:
            EvidenceRefused: `too-large`, or `malformed`: not canonical, not strictly encoded, not this payload type.
        """
        if len(raw) > MAX_ENTRY_BYTES:
            raise EvidenceRefused(
                f"has {len(raw)} bytes, at most {MAX_ENTRY_BYTES} are allowed", where, "", "too-large"
            )
        try:
            outer = json.loads(raw)
            payload = base64.b64decode(outer["payload"], validate=True)
            signatures = tuple(
                (str(item["keyid"]), base64.b64decode(item["sig"], validate=True)) for item in outer["signatures"]
            )
            found = cls(payload, signatures)
            # a statement's number beyond 2**53 or a lone surrogate has no canonical form, which is an error as well
            same = found.to_bytes() == raw and canonical_json(found.statement) == payload
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, binascii.Error):
            same = False
        if not same or not all(len(keyid) == 64 and _HEX.issuperset(keyid) for keyid, _ in signatures):
            raise EvidenceRefused("is not a canonical envelope", where, "restore it from a copy", "malformed")
        if [keyid for keyid, _ in signatures] != sorted({keyid for keyid, _ in signatures}):
            raise EvidenceRefused("its signatures are not in order", where, "restore it from a copy", "malformed")
        return found

    def to_bytes(self) -> bytes:
        """Canonical JSON of the envelope: what the ledger stores, and the leaf of its tree."""
        return canonical_json(
            {
                "payload": base64.b64encode(self.payload).decode(),
                "payloadType": PAYLOAD_TYPE,
                "signatures": [
                    {"keyid": keyid, "sig": base64.b64encode(signature).decode()}
                    for keyid, signature in self.signatures
                ],
            }
        )

    @property
    def pae(self) -> bytes:
        """What is signed: DSSE's pre-authentication encoding of type and payload."""
        return DSSE(self.payload, PAYLOAD_TYPE, {}).pae()

    @property
    def digest(self) -> str:
        """SHA-256 of `to_bytes()`, 64 hexadecimal digits: how one entry refers to another."""
        return digest_bytes(self.to_bytes())

    @cached_property
    def statement(self) -> dict[str, Any]:
        """The statement; use `domainlm.ledger.entries.header` and a kind's own model to read it."""
        found = json.loads(self.payload)
        if not isinstance(found, dict):
            raise ValueError("not a statement")
        return found

    def with_signature(self, keyid: str, signature: bytes) -> Envelope:
        """The same statement with one more signature (a browser's or another person's)."""
        return Envelope(self.payload, tuple(sorted({**dict(self.signatures), keyid: signature}.items())))

    def verified_by(self, keys: Iterable[Key]) -> list[str]:
        """The key ids, among these keys, whose signature on this envelope verifies."""
        known = {key.keyid: key for key in keys}
        return [
            keyid
            for keyid, signature in self.signatures
            if keyid in known and _verifies(known[keyid], keyid, signature, self.pae)
        ]


def _verifies(key: Key, keyid: str, signature: bytes, message: bytes) -> bool:
    try:
        key.verify_signature(Signature(keyid, signature.hex()), message)
    except (UnverifiedSignatureError, ValueError):
        return False
    return True
