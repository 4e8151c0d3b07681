"""Secret keys: where they come from, and the keyed ids and sealed files that they make.

A pseudonym made by a plain hash falls to a dictionary within seconds (there are only about 10^10 resident registration
numbers), so every id here is an HMAC-SHA-256 (RFC 2104) under a key that stays outside data and configuration.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import secrets
import stat
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from domainlm.errors import SecretError
from domainlm.project import home

KEY_FILE_VARIABLE = "DOMAINLM_KEY_FILE"
KEY_VARIABLE = "DOMAINLM_KEY"
SECRET_BYTES = 32
ID_HEX_DIGITS = 32  # 128 bits: a collision among 10^9 ids has odds of 10^-21
DEVELOPMENT = "development"


@dataclass(frozen=True)
class KeyRing:
    """One institution's secret, from which a separate key for each use is derived (HKDF, RFC 5869).

    Args:
        key_id: the public name of the key; part of every pseudonym's provenance and of the cache key.
        secret: 32 random bytes; never printed, logged or stored in an artifact.
    """

    key_id: str
    secret: bytes = field(repr=False)

    @classmethod
    def load(cls) -> KeyRing:
        """The key that this run shall use: `DOMAINLM_KEY`, else `DOMAINLM_KEY_FILE`, else the project's own key file.

        Both hold the JSON `{"key_id": ..., "secret": BASE64 of 32 bytes}`.

        Raises:
            SecretError: there is none, others may read the file, or it is malformed.
        """
        if text := os.environ.get(KEY_VARIABLE):
            return cls._parse(text, f"environment variable {KEY_VARIABLE}")
        path = Path(os.environ.get(KEY_FILE_VARIABLE) or development_key_file())
        if not path.is_file():
            raise SecretError(
                "the key for keyed ids is missing", str(path), f"run `make setup`, or set {KEY_FILE_VARIABLE}"
            )
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise SecretError("the key file can be read by others", str(path), f"chmod 600 {path}")
        return cls._parse(path.read_text(), str(path))

    @classmethod
    def _parse(cls, text: str, where: str) -> KeyRing:
        try:
            content = json.loads(text)
            ring = cls(str(content["key_id"]), base64.b64decode(content["secret"], validate=True))
        except (ValueError, KeyError, TypeError):
            # `from None`: the parser's own message would quote the secret
            raise SecretError("is not a key", where, 'expected {"key_id": ..., "secret": base64}') from None
        if len(ring.secret) != SECRET_BYTES:
            raise SecretError(f"the secret must have {SECRET_BYTES} bytes", where, "make a new key")
        return ring

    def _derive(self, use: str) -> bytes:
        return HKDF(SHA256(), SECRET_BYTES, salt=None, info=f"domainlm/{use}".encode()).derive(self.secret)

    def keyed_id(self, use: str, *values: str) -> str:
        """A pseudonymous id: HMAC-SHA-256 over the values under this use's own key, 32 hexadecimal digits.

        Args:
            use: what the id is for ("record", "group", "subject"): ids of two uses cannot be linked.
            values: the identifying values, in order; lengths are encoded, so ("ab", "c") differs from ("a", "bc").
        """
        message = b"".join(
            len(raw).to_bytes(8, "big") + raw for raw in (value.encode("utf-8", "surrogatepass") for value in values)
        )
        return hmac.new(self._derive(use), message, hashlib.sha256).hexdigest()[:ID_HEX_DIGITS]

    def seal(self, use: str, data: bytes, context: bytes) -> bytes:
        """Encrypt and authenticate bytes (AES-256-GCM, NIST SP 800-38D): 12 bytes of nonce, then the ciphertext."""
        nonce = secrets.token_bytes(12)
        return nonce + AESGCM(self._derive(use)).encrypt(nonce, data, context)

    def unseal(self, use: str, sealed: bytes, context: bytes) -> bytes:
        """Undo `seal`.

        Raises:
            SecretError: another key, another context, or a changed byte.
        """
        try:
            return AESGCM(self._derive(use)).decrypt(sealed[:12], sealed[12:], context)
        except (InvalidTag, ValueError):
            raise SecretError("cannot be decrypted: another key or changed bytes", use, "use the key it was made with") from None


def development_key_file() -> Path:
    """Where the project's own development key lies."""
    return home() / "keys" / "development.key"


def create_development_key() -> Path:
    """Create the project's development key once (file mode 0600); an existing one stays as it is.

    The file appears whole or not at all, also when two set-ups run at the same time.
    """
    path = development_key_file()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not path.exists():
        content = {
            "key_id": f"{DEVELOPMENT}-{secrets.token_hex(4)}",
            "secret": base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode(),
        }
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
            json.dump(content, stream)
        try:
            os.link(draft, path)
        except FileExistsError:
            pass  # another set-up was first
        finally:
            draft.unlink()
    return path
