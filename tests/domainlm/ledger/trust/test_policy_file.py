"""Policies as people write them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from domainlm.errors import ConfigurationError, DomainLMError, SecretError
from domainlm.ledger.envelopes import Envelope
from domainlm.ledger.trust.bootstrap import policy_statement
from domainlm.ledger.trust.gate import Policy, identity
from domainlm.ledger.trust.policy_file import changes, read_policy, write_policy
from domainlm.ledger.trust.signing import new_key, public_pem

NOW = datetime(2026, 11, 20, 9, tzinfo=UTC)


@pytest.fixture
def first(tmp_path: Path) -> dict[str, Any]:
    """The content of a policy's file, whose keys lie beside it."""
    for name in ("root", "recorder", "log", "anna", "anna-2"):
        (tmp_path / f"{name}.pem").write_text(public_pem(new_key(tmp_path / f"{name}.key").public_key))
    return {
        "ledger": "bank/models",
        "members": {
            "root": {"roles": ["root"], "keys": ["root.pem"]},
            "recorder": {"roles": ["recorder"], "keys": ["recorder.pem"]},
            "log": {"roles": ["log"], "keys": ["log.pem"]},
            "anna": {"roles": ["officer"], "keys": ["anna.pem"], "identities": ["Anna@Bank.example", "anna"],
                     "until": "2027-06-30"},
        },
        "rules": {"production": True, "outside": ["old@bank.example"]},
    }  # fmt: skip


def read(folder: Path, content: Any, before: Policy | None = None) -> Policy:
    path = folder / "policy.yaml"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return read_policy(path, before, "f" * 64 if before else "", NOW)


def test_names_files_and_addresses_become_ids_and_digests(tmp_path: Path, first: dict[str, Any]) -> None:
    policy = read(tmp_path, first)
    assert (policy.version, policy.previous, policy.ledger) == (1, "", "bank/models")
    assert policy.members["anna"].identities == [identity("anna@bank.example"), identity("anna")]
    assert policy.members["anna"].until == "2027-06-30"
    assert policy.rules.outside == [identity("old@bank.example")] and policy.rules.production
    assert set(policy.keys) == {member.keys[0] for member in policy.members.values()}
    assert "bank.example" not in policy.model_dump_json()


def test_a_policy_that_was_written_out_is_read_again_the_same(tmp_path: Path, first: dict[str, Any]) -> None:
    policy = read(tmp_path, first)
    again = read(tmp_path, write_policy(policy), policy)
    assert again == policy.model_copy(update={"version": 2, "previous": "f" * 64})
    assert changes(policy, again) == []


def test_a_key_is_rotated_and_the_old_one_stays_listed(tmp_path: Path, first: dict[str, Any]) -> None:
    policy = read(tmp_path, first)
    old = policy.members["anna"].keys[0]
    first["members"]["anna"]["keys"].append("anna-2.pem")
    first["revoked"] = {old[:8]: {"since": "now", "reason": "lost"}}
    later = read(tmp_path, first, policy)
    assert later.revoked[old].since == "2026-11-20T09:00:00.000Z" and later.members["anna"].keys[0] == old
    told = "\n".join(changes(policy, later))
    assert f"key {old[:12]} of anna revoked since 2026-11-20T09:00:00.000Z: lost" in told and "member anna:" in told
    del first["revoked"], first["members"]["anna"]
    last = read(tmp_path, first, later)
    assert old in last.keys and old in last.revoked and "member anna is gone" in changes(later, last)


def test_a_key_may_be_named_by_digits_that_look_like_a_number(tmp_path: Path, first: dict[str, Any]) -> None:
    keyid = "00012345" + "0" * 56
    before = read(tmp_path, first).model_copy(update={"keys": {keyid: {}}})
    text = yaml.safe_dump(first) + "revoked:\n  00012345: {since: 2026-11-20T08:00:00Z, reason: lost}\n"
    assert read(tmp_path, text, before).revoked[keyid].since == "2026-11-20T08:00:00.000Z"


def test_the_example_of_the_docs_is_a_policy(tmp_path: Path) -> None:
    page = (Path(__file__).resolve().parents[4] / "docs" / "trust.md").read_text()
    text = page.partition("```yaml\n")[2].partition("```")[0]
    keys = {}
    for name in ("anna-root.pub", "bo-root.pub", "recorder.public", "log.public", "anna.pub"):
        key = new_key(tmp_path / f"{name}.key").public_key
        (tmp_path / f"{name}.pem").write_text(public_pem(key))
        keys[key.keyid] = key.to_dict()
    old = new_key(tmp_path / "old.key").public_key
    before = Policy(version=1, ledger="bank/models", keys={old.keyid: old.to_dict()}, members={})
    found = read(tmp_path, text.replace("0a1b2c3d", old.keyid[:8]), before)
    statement = policy_statement(found, "root-anna", NOW)
    assert Policy.of(Envelope.sign(statement), "the docs' example") == found
    assert found.revoked[old.keyid].reason == "the laptop was stolen" and found.members["anna"].until == "2027-06-30"


def test_what_a_reader_is_shown_names_everything_that_changed(tmp_path: Path, first: dict[str, Any]) -> None:
    policy = read(tmp_path, first)
    first["root_threshold"] = 2
    first["rules"]["officers"] = 3
    told = changes(policy, read(tmp_path, first, policy))
    assert len(told) == 2 and "root threshold: 2" in told and "officers 3" in told[1]
    assert len(changes(None, policy)) == 6


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("- a list", "mapping"), ("{", "mapping"), ({"memberss": {}}, "memberss"), ({"ledger": []}, "ledger"),
        ({"members": {"eve": {"roles": ["king"]}}}, "members.eve.roles"),
        ({"members": {"eve": {"key": []}}}, "members.eve.key"),
        ({"members": {"eve": {"keys": ["12345678"]}}}, "no key begins with"),
        ({"revoked": {"12345678": {"since": "now", "reason": "lost"}}}, "no key begins with"),
        ({"revoked": {"anna.pem": {"since": "soon", "reason": "lost"}}}, "no moment"),
        ({"revoked": {"anna.pem": {"since": "2026-11-20T09:00:00", "reason": "lost"}}}, "no moment"),
        ({"revoked": {"anna.pem": {"since": "now", "reason": ""}}}, "reason"),
        ({"rules": {"officers": -1}}, "rules.officers"),
    ],
)  # fmt: skip
def test_what_no_policy_can_have_is_named(tmp_path: Path, first: dict[str, Any], change: Any, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        read(tmp_path, first | change if isinstance(change, dict) else change)


def test_a_missing_key_is_named_and_so_is_a_file_of_two(tmp_path: Path, first: dict[str, Any]) -> None:
    first["members"]["anna"]["keys"] = ["nowhere.pem"]
    with pytest.raises(SecretError, match=r"nowhere.pem"):
        read(tmp_path, first)
    (tmp_path / "two.pem").write_text((tmp_path / "anna.pem").read_text() + (tmp_path / "log.pem").read_text())
    first["members"]["anna"]["keys"] = ["two.pem"]
    with pytest.raises(DomainLMError, match="several"):
        read(tmp_path, first)
