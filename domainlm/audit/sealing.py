"""Files at rest, encrypted: the age format (age-encryption.org/v1, C2SP), by pyrage; the `age` tool opens them too.

A recipient is a public key (`age1...`), an identity file is what `age-keygen` writes. A passphrase goes through scrypt;
such a file passes through memory whole, one for a recipient does not.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from domainlm.errors import EvidenceRefused, SecretError

MAGIC = (b"age-encryption.org/", b"-----BEGIN AGE ENC")
MAX_PASSPHRASE_BYTES = 2 << 30  # a file sealed by a passphrase is held in memory, twice


def seal(source: BinaryIO, target: BinaryIO, recipients: Sequence[str] = (), passphrase: str = "") -> None:
    """Encrypt a stream for recipients, or by a passphrase.

    Args:
        recipients: public keys, `age1...`.
        passphrase: instead of recipients; age does not mix the two.

    Raises:
        SecretError: neither or both, no such recipient, or too large for a passphrase.
    """
    import pyrage

    if bool(recipients) == bool(passphrase):
        raise SecretError("takes recipients or a passphrase", "encryption", "give one of the two")
    if recipients:
        try:
            keys = [pyrage.x25519.Recipient.from_str(text.strip()) for text in recipients]
        except pyrage.RecipientError:
            raise SecretError("is no age recipient", "encryption", "a public key begins with age1") from None
        pyrage.encrypt_io(source, target, keys)
        return
    plain = source.read(MAX_PASSPHRASE_BYTES + 1)
    if len(plain) > MAX_PASSPHRASE_BYTES:
        raise SecretError("is too large for a passphrase", "encryption", "encrypt it to a recipient's key")
    target.write(pyrage.passphrase.encrypt(plain, passphrase))


def is_sealed(stream: BinaryIO) -> bool:
    """Whether a stream that is at its start holds an age file; it is at its start again afterwards."""
    head = stream.read(max(map(len, MAGIC)))
    stream.seek(0)
    return head.startswith(MAGIC)


def unseal(
    stream: BinaryIO, where: str, identity: Path | None = None, passphrase: str = "", folder: Path | None = None
) -> BinaryIO:
    """The plain content of an age file, in a temporary file without a name that goes with its last reader.

    Args:
        stream: the age file, at its start.
        where: what an error names.
        identity: file of private keys, as `age-keygen` writes it.
        passphrase: where the file was sealed by one.
        folder: where the temporary file lies; the system's place by default, which is small on some machines.

    Raises:
        SecretError: no key or passphrase was given, or the identity file holds no key.
        EvidenceRefused: `malformed`: it does not open with it, or it was altered.
    """
    import pyrage

    plain = tempfile.TemporaryFile(dir=folder)
    try:
        if passphrase:
            plain.write(pyrage.passphrase.decrypt(stream.read(MAX_PASSPHRASE_BYTES), passphrase))
        elif identity is not None:
            pyrage.decrypt_io(stream, plain, _identities(identity))
        else:
            raise SecretError("is encrypted", where, "give --identity FILE, or --passphrase to be asked for it")
    except (pyrage.DecryptError, OSError) as error:
        plain.close()
        if isinstance(error, OSError) and error.errno:  # the disk's; what fails within the stream has no number
            raise
        raise EvidenceRefused(
            "does not open: another key or passphrase, or it was altered", where, "check which key it was sealed for"
        ) from None
    except BaseException:
        plain.close()
        raise
    plain.seek(0)
    return plain


def _identities(path: Path) -> list[object]:
    import pyrage

    try:
        if os.stat(path).st_mode & 0o077:
            raise SecretError("the identity file can be read by others", str(path), f"chmod 600 {path}")
        lines = [line.strip() for line in path.read_text(encoding="ascii").splitlines()]
        found = [pyrage.x25519.Identity.from_str(line) for line in lines if line and not line.startswith("#")]
    except (OSError, UnicodeDecodeError, pyrage.IdentityError):
        raise SecretError("holds no age key", str(path), "give the file that age-keygen wrote") from None
    if not found:
        raise SecretError("holds no age key", str(path), "give the file that age-keygen wrote")
    return found
