"""Signed checkpoints: what a ledger was at one size, in the text form of C2SP's tlog-checkpoint and signed note
(c2sp.org/tlog-checkpoint, c2sp.org/signed-note), which tools of other transparency logs read as well:

    ORIGIN
    SIZE
    BASE64 of the root
    (an empty line)
    — KEY_NAME BASE64 of (4 bytes of key hash, 64 bytes of ed25519 signature)

Read strictly: one spelling for one checkpoint, no extension lines (nothing here would know what they say), at least one
signature. Signatures of unknown keys and other types, such as a witness's, are kept and not counted.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

from securesystemslib.exceptions import UnverifiedSignatureError
from securesystemslib.signer import Key, Signature, Signer

from domainlm.errors import EvidenceRefused

ED25519 = b"\x01"  # the signature type of signed notes
ORIGIN = re.compile(r"(?=.{1,200}$)[A-Za-z0-9][A-Za-z0-9._:-]*(/[A-Za-z0-9][A-Za-z0-9._:-]*)*")  # no "..", no "//"
MAX_NOTE_BYTES = 64 << 10
MAX_SIZE = 1 << 62
_NAME = r"[^\s+\x00-\x1f\x7f]{1,200}"  # the specification: no Unicode space, no plus
_SIGNATURE = re.compile(f"— ({_NAME}) ([A-Za-z0-9+/]+=*)")


@dataclass(frozen=True)
class Checkpoint:
    """A ledger's size and root, and who signed it.

    Args:
        origin: the ledger's name.
        size: how many entries.
        root: of the tree over them, 32 bytes.
        signatures: (key name, key hash of 4 bytes, signature; 64 bytes where it is ed25519).
    """

    origin: str
    size: int
    root: bytes
    signatures: tuple[tuple[str, bytes, bytes], ...] = ()

    @property
    def body(self) -> str:
        """What is signed."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"

    def signed(self, signer: Signer) -> Checkpoint:
        """The checkpoint with a signature of this key, named by its key id.

        Raises:
            ValueError: the key's id is no name that a note can hold.
        """
        name = signer.public_key.keyid
        if re.fullmatch(_NAME, name) is None:
            raise ValueError("a key's name has no space and no plus")
        signature = bytes.fromhex(signer.sign(self.body.encode()).signature)
        return Checkpoint(
            self.origin, self.size, self.root, (*self.signatures, (name, key_hash(name, signer.public_key), signature))
        )

    @property
    def note(self) -> str:
        """The signed note; one spelling for one checkpoint."""
        lines = [
            f"— {name} {base64.b64encode(mark + signature).decode()}\n" for name, mark, signature in self.signatures
        ]
        return f"{self.body}\n{''.join(lines)}"

    @classmethod
    def parse(cls, note: str, where: str) -> Checkpoint:
        """Undo `note`.

        Raises:
            EvidenceRefused: `malformed`, or `too-large`.
        """
        if len(note) > MAX_NOTE_BYTES:
            raise EvidenceRefused("is too large for a checkpoint", where, "restore it from a copy", "too-large")
        try:
            body, _, tail = note.partition("\n\n")
            origin, size, root = body.split("\n")
            signatures = []
            for line in tail.removesuffix("\n").split("\n"):
                match = _SIGNATURE.fullmatch(line)
                if match is None:
                    raise ValueError("no signature line")
                raw = base64.b64decode(match[2], validate=True)
                if len(raw) < 5:
                    raise ValueError("a signature without content")
                signatures.append((match[1], raw[:4], raw[4:]))
            found = cls(origin, int(size), base64.b64decode(root, validate=True), tuple(signatures))
            if (
                found.note == note
                and len(found.root) == 32
                and 0 <= found.size < MAX_SIZE
                and ORIGIN.fullmatch(origin)
                and len({signature[:2] for signature in signatures}) == len(signatures)
            ):
                return found
        except (ValueError, binascii.Error):
            pass
        raise EvidenceRefused("is not a checkpoint", where, "restore it from a copy", "malformed")

    def verified_by(self, keys: Mapping[str, Key]) -> list[str]:
        """The key ids, among these keys, whose signature verifies.

        Args:
            keys: key id -> key.
        """
        found = []
        for name, mark, signature in self.signatures:
            key = keys.get(name)
            if key is None or mark != key_hash(name, key):
                continue
            try:
                key.verify_signature(Signature(name, signature.hex()), self.body.encode())
            except (UnverifiedSignatureError, ValueError):
                continue
            found.append(name)
        return found


def key_hash(name: str, key: Key) -> bytes:
    """The first 4 bytes of SHA-256(name, newline, type, public key), after the signed-note specification."""
    return hashlib.sha256(name.encode() + b"\n" + ED25519 + bytes.fromhex(key.keyval["public"])).digest()[:4]
