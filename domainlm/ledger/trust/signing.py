"""Private keys of people and services: ed25519 in PKCS #8 PEM files of mode 0600, sealed by a passphrase on wish."""

from __future__ import annotations

import os
import re
import secrets
import stat
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.signer import CryptoSigner, SSlibKey

from domainlm.errors import SecretError

LEAST_PASSPHRASE_CHARACTERS = 12
_PEM_BLOCK = re.compile(r"-----BEGIN [A-Z ]+-----.*?-----END [A-Z ]+-----\n?", re.DOTALL)


def new_key(path: Path, passphrase: str = "") -> CryptoSigner:
    """Make a key in a new file, which appears whole or not at all.

    Raises:
        SecretError: there is a file already, its folder is not there, or it cannot be written.
    """
    if not path.parent.is_dir():  # a slip of the pen must not leave a key in a folder that nobody looks into
        raise SecretError("its folder is not there", str(path), "make the folder, or name another place")
    key = Ed25519PrivateKey.generate()
    sealing = serialization.BestAvailableEncryption(passphrase.encode()) if passphrase else serialization.NoEncryption()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, sealing)
    try:
        write_new(path, pem)
    except FileExistsError:
        raise SecretError("there is a file already", str(path), "name another") from None
    except OSError as error:
        raise SecretError(f"cannot be written: {error.strerror}", str(path), "name another place") from None
    return CryptoSigner(key)


def write_new(path: Path, content: bytes) -> None:
    """Write a new file of mode 0600 in a folder of mode 0700; it is on the disk when this returns.

    Raises:
        FileExistsError: there is one already; it stays as it is.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.link(draft, path)
    finally:
        draft.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def load_key(path: Path, passphrase: str = "") -> CryptoSigner:
    """The key of a file that only its owner may read.

    Raises:
        SecretError: there is none, others may read it, it is sealed by another passphrase, or it is no ed25519 key.
    """
    try:
        with open(path, "rb") as stream:
            if stat.S_IMODE(os.fstat(stream.fileno()).st_mode) & 0o077:
                raise SecretError("the key file can be read by others", str(path), f"chmod 600 {path}")
            pem = stream.read()
    except OSError:
        raise SecretError("the signing key is missing", str(path), "make one: `domainlm audit keys new`") from None
    try:
        key = serialization.load_pem_private_key(pem, passphrase.encode() if passphrase else None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        # `from None`: what the library says could quote the file
        raise SecretError("cannot be opened as a key", str(path), "check the file and the passphrase") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise SecretError("is no ed25519 key", str(path), "make one: `domainlm audit keys new`")
    return CryptoSigner(key)


def is_sealed(path: Path) -> bool:
    """Whether a key file wants a passphrase; false where it cannot be read, which `load_key` then names."""
    try:
        return b"ENCRYPTED" in path.read_bytes()
    except OSError:
        return False


def public_pem(key: SSlibKey) -> str:
    """The public key as SubjectPublicKeyInfo PEM (RFC 8410): what a verifier is given, and what openssl reads."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    raw = Ed25519PublicKey.from_public_bytes(bytes.fromhex(key.keyval["public"]))
    return raw.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()


def key_of_pem(text: str, where: str) -> SSlibKey:
    """Undo `public_pem`.

    Raises:
        SecretError: it is no ed25519 public key.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        key = serialization.load_pem_public_key(text.encode())
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise SecretError("is no ed25519 public key", where, "give the PEM file that `domainlm audit keys show` writes")
    return SSlibKey.from_crypto(key)


def keys_of_pem(text: str, where: str) -> list[SSlibKey]:
    """The keys of one or several `public_pem` texts, one after the other, such as a pinned root of three people.

    Raises:
        SecretError: one is no ed25519 public key, or there is none at all.
    """
    blocks = _PEM_BLOCK.findall(text) or [text]
    return [key_of_pem(block, where) for block in blocks]
