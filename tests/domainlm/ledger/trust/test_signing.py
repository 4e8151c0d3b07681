"""Key files: who may read them, what opens them, and that nothing of them is ever quoted."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from domainlm.errors import SecretError
from domainlm.ledger.trust.signing import (
    is_sealed,
    key_of_pem,
    keys_of_pem,
    load_key,
    new_key,
    public_pem,
    write_new,
)

PASSPHRASE = "correct horse battery"


def test_a_sealed_key_opens_with_its_passphrase_alone(tmp_path: Path) -> None:
    path = tmp_path / "anna.pem"
    made = new_key(path, PASSPHRASE)
    assert path.stat().st_mode & 0o777 == 0o600 and path.parent.stat().st_mode & 0o777 == 0o700
    assert is_sealed(path) and b"ENCRYPTED" in path.read_bytes()
    assert load_key(path, PASSPHRASE).public_key == made.public_key
    for wrong in ("", "correct horse", PASSPHRASE + "!"):
        with pytest.raises(SecretError, match="cannot be opened") as refused:
            load_key(path, wrong)
        assert refused.value.__cause__ is None and (not wrong or wrong not in str(refused.value))


def test_an_unsealed_key_wants_no_passphrase(tmp_path: Path) -> None:
    made = new_key(tmp_path / "recorder.pem")
    assert not is_sealed(tmp_path / "recorder.pem")
    assert load_key(tmp_path / "recorder.pem").public_key.keyid == made.public_key.keyid
    with pytest.raises(SecretError, match="cannot be opened"):
        load_key(tmp_path / "recorder.pem", PASSPHRASE)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o666, 0o700 | 0o010])
def test_a_key_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "key.pem"
    new_key(path)
    path.chmod(mode)
    with pytest.raises(SecretError, match="others"):
        load_key(path)


def test_a_key_is_never_written_over_and_leaves_no_draft(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    new_key(path)
    kept = path.read_bytes()
    with pytest.raises(SecretError, match="already"):
        new_key(path)
    assert path.read_bytes() == kept and [one.name for one in tmp_path.iterdir()] == ["key.pem"]


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_new(tmp_path / "file", b"content")
    with pytest.raises(SecretError, match="No space"):
        new_key(tmp_path / "key.pem")
    assert not list(tmp_path.iterdir())


def test_other_kinds_of_keys_and_other_files_are_refused(tmp_path: Path) -> None:
    for place, key in enumerate((ec.generate_private_key(ec.SECP256R1()), rsa.generate_private_key(65537, 2048))):
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        write_new(tmp_path / f"{place}.pem", pem)
        with pytest.raises(SecretError, match="no ed25519 key"):
            load_key(tmp_path / f"{place}.pem")
        public = key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        with pytest.raises(SecretError, match="no ed25519 public key"):
            key_of_pem(public.decode(), "file")
    for text in ("", "hello", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"):
        with pytest.raises(SecretError):
            keys_of_pem(text, "file")
    with pytest.raises(SecretError, match="missing"):
        load_key(tmp_path / "nowhere.pem")


def test_public_keys_stand_one_after_the_other_and_openssl_reads_them(tmp_path: Path) -> None:
    keys = [new_key(tmp_path / f"{name}.pem").public_key for name in "abc"]
    text = "".join(public_pem(key) for key in keys)
    assert keys_of_pem(text, "file") == keys
    with pytest.raises(SecretError):  # a private key in a file of public ones is no root
        keys_of_pem(text + (tmp_path / "a.pem").read_text(), "file")
    read = subprocess.run(
        ["openssl", "pkey", "-pubin", "-noout", "-text"], input=public_pem(keys[0]), capture_output=True, text=True,
        timeout=30, check=True,
    )  # fmt: skip
    assert (
        read.stdout.startswith("ED25519")
        and "".join(read.stdout.split())[-95:].replace(":", "") == (keys[0].keyval["public"])
    )


def test_a_key_in_a_folder_that_is_not_there_is_refused_and_makes_none(tmp_path):
    with pytest.raises(SecretError, match="folder is not there"):
        new_key(tmp_path / "nowhere" / "key.pem")
    assert list(tmp_path.iterdir()) == []
