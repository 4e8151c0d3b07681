"""Signed entries: an in-toto statement (in-toto Attestation Framework, Statement v1) in a DSSE envelope
(secure-systems-lab DSSE v1.0.2), with ed25519 signatures (RFC 8032).

Each envelope has exactly one spelling: payload and envelope are canonical JSON (RFC 8785), base64 is the standard
alphabet with its padding, signatures are sorted by key. A flipped bit then always shows; elsewhere several spellings of
base64 decode to the same bytes.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from securesystemslib.dsse import Envelope as DSSE
from securesystemslib.exceptions import UnverifiedSignatureError
from securesystemslib.signer import Key, Signature, Signer

from domainlm.digests import canonical_json, digest_bytes, parse_canonical
from domainlm.errors import EvidenceRefused

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
MAX_ENTRY_BYTES = 8 << 20  # a run manifest with some 1,000 code files takes about 0.2 MB
MAX_SIGNATURES = 64  # a check costs 0.1 ms each
SIGNATURE_BYTES = 64  # RFC 8032
_KEYID = re.compile(r"[0-9a-f]{64}")


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
        """Sign a statement with each signer's key; without one, the envelope that others sign."""
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
            outer = json.loads(raw.decode("ascii"))
            items = outer["signatures"]
            if len(items) > MAX_SIGNATURES:
                raise ValueError("too many signatures")
            found = cls(
                base64.b64decode(outer["payload"], validate=True),
                tuple((item["keyid"], base64.b64decode(item["sig"], validate=True)) for item in items),
            )
            keyids = [keyid for keyid, _ in found.signatures]
            good = (
                found.to_bytes() == raw  # one spelling: no other key, order, blank or base64
                and keyids == sorted(set(keyids))
                and all(_KEYID.fullmatch(keyid) and len(sig) == SIGNATURE_BYTES for keyid, sig in found.signatures)
            )
            statement = parse_canonical(found.payload)
            if good and isinstance(statement, dict):
                found.__dict__["statement"] = statement
                return found
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, binascii.Error):
            pass
        raise EvidenceRefused("is not a canonical envelope", where, "restore it from a copy", "malformed")

    def to_bytes(self) -> bytes:
        """Canonical JSON of the envelope: what the ledger stores, and the leaf of its tree.

        Spelled by hand, since nothing in it needs escaping: base64, hexadecimal digits and constants.
        """
        signatures = ",".join(
            f'{{"keyid":"{keyid}","sig":"{base64.b64encode(signature).decode()}"}}'
            for keyid, signature in self.signatures
        )
        payload = base64.b64encode(self.payload).decode()
        return f'{{"payload":"{payload}","payloadType":"{PAYLOAD_TYPE}","signatures":[{signatures}]}}'.encode()

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
        found = parse_canonical(self.payload)
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
