"""What is encrypted opens with its key alone, and shows when it was altered."""

from __future__ import annotations

import io
from pathlib import Path

import pyrage
import pytest

from domainlm.audit.sealing import is_sealed, seal, unseal
from domainlm.errors import EvidenceRefused, SecretError

PLAIN = b"evidence" * 20_000


@pytest.fixture
def key(tmp_path: Path) -> tuple[Path, str]:
    """An identity file as age-keygen writes it, and its recipient."""
    identity = pyrage.x25519.Identity.generate()
    path = tmp_path / "identity.txt"
    path.write_text(f"# created: 2026-11-21\n# public key: {identity.to_public()}\n{identity}\n")
    path.chmod(0o600)
    return path, str(identity.to_public())


def sealed(recipients: list[str] | None = None, passphrase: str = "") -> bytes:
    target = io.BytesIO()
    seal(io.BytesIO(PLAIN), target, recipients or [], passphrase)
    return target.getvalue()


def test_a_recipient_opens_it_and_nobody_else(key: tuple[Path, str], tmp_path: Path) -> None:
    path, recipient = key
    data = sealed([recipient])
    assert is_sealed(io.BytesIO(data)) and not is_sealed(io.BytesIO(PLAIN)) and not is_sealed(io.BytesIO(b""))
    assert PLAIN[:100] not in data
    with unseal(io.BytesIO(data), "x", path) as plain:
        assert plain.read() == PLAIN
    other = tmp_path / "other.txt"
    other.write_text(str(pyrage.x25519.Identity.generate()))
    other.chmod(0o600)
    with pytest.raises(EvidenceRefused):
        unseal(io.BytesIO(data), "x", other)


def test_two_recipients_each_open_it(key: tuple[Path, str]) -> None:
    path, recipient = key
    second = str(pyrage.x25519.Identity.generate().to_public())
    with unseal(io.BytesIO(sealed([second, recipient])), "x", path) as plain:
        assert plain.read() == PLAIN


def test_a_passphrase_opens_it_and_another_does_not() -> None:
    data = sealed(passphrase="correct horse")
    with unseal(io.BytesIO(data), "x", passphrase="correct horse") as plain:
        assert plain.read() == PLAIN
    with pytest.raises(EvidenceRefused):
        unseal(io.BytesIO(data), "x", passphrase="battery staple")


@pytest.mark.parametrize("place", [0, 30, 100, 200, 70_000, -1])
def test_an_altered_or_cut_file_does_not_open(key: tuple[Path, str], place: int) -> None:
    path, recipient = key
    data = sealed([recipient])  # each sealing has its own length: age adds a stanza of random length
    place %= len(data)
    altered = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
    for other in (altered, data[:place]):
        with pytest.raises(EvidenceRefused) as raised:
            unseal(io.BytesIO(other), "x", path)
        assert raised.value.code == "malformed"


def test_it_asks_for_a_key_and_refuses_what_is_none(key: tuple[Path, str], tmp_path: Path) -> None:
    path, recipient = key
    data = io.BytesIO(sealed([recipient]))
    with pytest.raises(SecretError, match="--identity"):
        unseal(data, "x")
    for text in ("", "# nothing\n", "AGE-SECRET-KEY-1", "schlüssel"):
        bad = tmp_path / "bad.txt"
        bad.write_text(text)
        bad.chmod(0o600)
        with pytest.raises(SecretError, match="holds no age key"):
            unseal(data, "x", bad)
    path.chmod(0o644)
    with pytest.raises(SecretError, match="can be read by others"):
        unseal(data, "x", path)
    with pytest.raises(SecretError, match="age1"):
        sealed(["age1nonsense"])
    for recipients, passphrase in ([], ""), ([recipient], "both"):
        with pytest.raises(SecretError, match="one of the two"):
            sealed(recipients, passphrase)
