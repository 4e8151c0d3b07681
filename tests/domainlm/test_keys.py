"""Keys: where they may come from, and what ids and sealed bytes made with them guarantee."""

from __future__ import annotations

import base64
import json
import os
import stat
from pathlib import Path

import pytest

from domainlm.errors import SecretError
from domainlm.keys import KeyRing, create_development_key

ONE, TWO = KeyRing("one", b"1" * 32), KeyRing("two", b"2" * 32)


def test_the_development_key_is_private_and_made_once() -> None:
    path = create_development_key()
    first = path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert create_development_key().read_text() == first
    assert KeyRing.load().key_id.startswith("development-")
    assert not list(path.parent.glob(".*")), "a draft was left behind"


def test_a_missing_key_is_an_error_that_says_what_to_do() -> None:
    with pytest.raises(SecretError, match="missing") as caught:
        KeyRing.load()
    assert "make setup" in str(caught.value)


def test_a_key_file_that_others_can_read_is_refused() -> None:
    path = create_development_key()
    path.chmod(0o644)
    with pytest.raises(SecretError, match="read by others"):
        KeyRing.load()


@pytest.mark.parametrize(
    "text", ["", "{}", '{"key_id": "a", "secret": "c2hvcnQ="}', '{"key_id": "a", "secret": "###hunter2"}']
)
def test_a_malformed_key_is_refused_without_being_quoted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str
) -> None:
    path = tmp_path / "key"
    path.write_text(text)
    path.chmod(0o600)
    monkeypatch.setenv("DOMAINLM_KEY_FILE", str(path))
    with pytest.raises(SecretError) as caught:
        KeyRing.load()
    assert "hunter2" not in str(caught.value) and "c2hvcnQ" not in str(caught.value)


def test_the_environment_wins_over_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    create_development_key()
    secret = base64.b64encode(os.urandom(32)).decode()
    monkeypatch.setenv("DOMAINLM_KEY", json.dumps({"key_id": "bank-2026", "secret": secret}))
    assert KeyRing.load().key_id == "bank-2026"


def test_keyed_ids_link_equal_values_under_one_key_and_use_only() -> None:
    assert ONE.keyed_id("subject", "PERSON", "kim") == ONE.keyed_id("subject", "PERSON", "kim")
    others = {
        ONE.keyed_id("subject", "PERSON", "kim"),
        TWO.keyed_id("subject", "PERSON", "kim"),
        ONE.keyed_id("record", "PERSON", "kim"),
        ONE.keyed_id("subject", "PERSO", "Nkim"),
    }
    assert len(others) == 4


def test_sealed_bytes_open_with_the_same_key_use_and_context_only() -> None:
    sealed = ONE.seal("quarantine", b"secret", b"record 1")
    assert ONE.unseal("quarantine", sealed, b"record 1") == b"secret"
    assert b"secret" not in sealed
    flipped = sealed[:-1] + bytes([sealed[-1] ^ 1])
    for ring, use, data, context in (
        (TWO, "quarantine", sealed, b"record 1"),
        (ONE, "vault", sealed, b"record 1"),
        (ONE, "quarantine", sealed, b"record 2"),
        (ONE, "quarantine", flipped, b"record 1"),
        (ONE, "quarantine", b"", b"record 1"),
    ):
        with pytest.raises(SecretError):
            ring.unseal(use, data, context)


def test_the_secret_is_not_in_the_representation() -> None:
    assert "1111" not in repr(ONE)
