"""Which root is believed: what the project has pinned, and not what a variable of whoever runs a command says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner
from small_ledgers import small_ledger

from domainlm.errors import ConfigurationError, SecretError
from domainlm.ledger import client
from domainlm.ledger.settings import AuditSettings, evidence_folder, root_file, root_keyids
from domainlm.ledger.trust.bootstrap import MADE, bootstrap, pin
from domainlm.ledger.trust.signing import public_pem

FIRST, SECOND = (CryptoSigner.generate_ed25519().public_key for _ in range(2))


def configure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *keyids: str) -> None:
    """A `configs/audit.yaml` that names these root keys."""
    path = tmp_path / "pinned.yaml"
    path.write_text(json.dumps({"root": keyids}))
    monkeypatch.setenv("DOMAINLM_AUDIT", str(path))


def test_a_variable_does_not_replace_the_root_of_the_project(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert bootstrap() == MADE
    own = root_keyids()
    for name, value in small_ledger(tmp_path / "forged").as_files().items():
        if name != "DOMAINLM_AUDIT":  # the three that suffice, where both ledgers have one name
            monkeypatch.setenv(name, value)
    for attempt in (root_file, root_keyids, client.new_gate):
        with pytest.raises(SecretError, match="not the root that this project has pinned"):
            attempt()
    monkeypatch.setenv("DOMAINLM_ROOT", str(tmp_path / "nowhere.pem"))
    with pytest.raises(SecretError, match="missing"):
        pin([FIRST])
    assert not (tmp_path / "nowhere.pem").exists()
    copy = tmp_path / "copy.pem"
    copy.write_text((evidence_folder() / "root.pem").read_text())
    monkeypatch.setenv("DOMAINLM_ROOT", str(copy))
    assert root_file() == copy and root_keyids() == own


def test_keys_in_another_order_are_the_same_root(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pin([FIRST, SECOND])
    other = tmp_path / "other.pem"
    other.write_text(public_pem(SECOND) + public_pem(FIRST))
    monkeypatch.setenv("DOMAINLM_ROOT", str(other))
    assert root_keyids() == {FIRST.keyid, SECOND.keyid}
    other.write_text(public_pem(FIRST))  # a part of the keys is another root
    with pytest.raises(SecretError, match="has pinned"):
        root_keyids()


def test_the_configuration_names_the_keys_that_the_root_must_have(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pin([FIRST, SECOND])
    configure(tmp_path, monkeypatch, SECOND.keyid, FIRST.keyid)
    assert root_keyids() == AuditSettings.load().root == {FIRST.keyid, SECOND.keyid}
    for keyids in ([FIRST.keyid], [FIRST.keyid, "0" * 64], [FIRST.keyid, SECOND.keyid, "0" * 64]):
        configure(tmp_path, monkeypatch, *keyids)
        with pytest.raises(SecretError, match="not the root that configs"):
            root_keyids()
    configure(tmp_path, monkeypatch, FIRST.keyid[:8])
    with pytest.raises(ConfigurationError, match="root"):
        root_keyids()


def test_the_configuration_also_holds_a_root_that_a_variable_names(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other.pem"
    other.write_text(public_pem(SECOND))
    monkeypatch.setenv("DOMAINLM_ROOT", str(other))
    configure(tmp_path, monkeypatch, FIRST.keyid)
    with pytest.raises(SecretError, match="not the root that configs"):
        root_keyids()


def test_a_root_that_the_configuration_does_not_name_is_not_pinned(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(tmp_path, monkeypatch, FIRST.keyid)
    with pytest.raises(SecretError, match="not the root that configs"):
        pin([SECOND])
    assert not root_file().exists()
    pin([FIRST])
    assert root_keyids() == {FIRST.keyid}
