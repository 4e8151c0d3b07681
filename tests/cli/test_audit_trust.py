"""Keys, policies and the signer, as people type them: the ceremony of a production ledger from end to end."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from small_ledgers import small_run
from typer.testing import CliRunner

from cli.main import app
from domainlm.keys import create_development_key
from domainlm.ledger import client, entries
from domainlm.ledger.run import entering
from domainlm.ledger.run import manifest as manifests
from domainlm.ledger.settings import keys_folder, root_file
from domainlm.ledger.signer.spool import Spooled
from domainlm.ledger.trust.bootstrap import policy_in_force
from domainlm.ledger.trust.gate import Policy

PASSPHRASE = "correct horse battery"
LOOK = {"person": "p", "page": "q"}


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    """A command enters its project: variables and folder; other tests must not find themselves there."""
    variables, folder = dict(os.environ), Path.cwd()
    yield
    os.environ.clear()
    os.environ.update(variables)
    os.chdir(folder)


def do(*arguments: object, code: int = 0, typed: str | None = None) -> str:
    """Run a command in this process; returns what it printed, and what it refused with."""
    done = CliRunner().invoke(app, [str(one) for one in arguments], input=typed)
    if code == 0 and done.exception:
        raise done.exception
    assert done.exit_code == code, done.output
    return done.output + (str(done.exception) if done.exception else "")


def new_key(path: Path, sealed: bool = True) -> Path:
    """A private key and its public half beside it, made by the commands."""
    if sealed:
        do("audit", "keys", "new", path, typed=f"{PASSPHRASE}\n")
    else:
        do("audit", "keys", "new", path, "--no-passphrase")
    shown = CliRunner().invoke(app, ["audit", "keys", "show", str(path)], input=f"{PASSPHRASE}\n" if sealed else None)
    path.with_suffix(".pub").write_text(shown.stdout)
    return path


def sign(file: Path, key: Path, output: Path) -> Path:
    do("audit", "sign", file, "--key", key, "-o", output, "--yes", typed=f"{PASSPHRASE}\n")
    return output


def in_force() -> Policy:
    return policy_in_force(client.open_ledger(), client.new_gate())[0]


def edit(path: Path, change: Any) -> Path:
    content = yaml.safe_load(path.read_text())
    change(content)
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def people(content: dict[str, Any]) -> None:
    content["members"]["anna"] = {"roles": ["officer"], "keys": ["anna.pub"], "identities": ["anna@bank.example"]}


@pytest.fixture
def bank(tmp_path: Path, home: Path) -> Path:
    """A production ledger of two roots, with anna as officer; all keys lie in the folder."""
    for name in ("root-a", "root-b", "anna"):
        new_key(tmp_path / f"{name}.pem")
    roots = ["--root", tmp_path / "root-a.pub", "--root", tmp_path / "root-b.pub"]
    told = do("audit", "init", "--production", *roots, "-o", tmp_path / "policy.yaml")
    assert "next: add people" in told and not client.open_ledger().frontier.size
    told = do("audit", "policy", "propose", edit(tmp_path / "policy.yaml", people), "-o", tmp_path / "1.json")
    assert "new member anna: officer" in told and "signed by 2 root members" in told
    once = sign(tmp_path / "1.json", tmp_path / "root-a.pem", tmp_path / "1.once")
    assert "not signed by the root that was pinned" in do("audit", "policy", "enter", once, code=1)
    assert not client.open_ledger().frontier.size
    twice = sign(once, tmp_path / "root-b.pem", tmp_path / "1.twice")
    assert "entered: policy as entry 0" in do("audit", "policy", "enter", twice)
    return tmp_path


def propose(bank: Path, name: str, change: Any) -> Path:
    """The next policy, from the one in force, signed by both roots."""
    (bank / f"{name}.yaml").write_text(do("audit", "policy", "show", "--yaml"))
    told = do("audit", "policy", "propose", edit(bank / f"{name}.yaml", change), "-o", bank / f"{name}.json")
    assert "to be signed by 2" in told
    once = sign(bank / f"{name}.json", bank / "root-a.pem", bank / f"{name}.once")
    return sign(once, bank / "root-b.pem", bank / f"{name}.twice")


def test_a_production_ledger_begins_with_a_policy_that_all_roots_signed(bank: Path) -> None:
    policy = in_force()
    assert policy.rules.production and policy.root_threshold == 2 and policy.members["anna"].roles == ["officer"]
    assert len(client.root_keyids()) == 2 and not list(keys_folder().glob("*root*"))
    told = do("audit", "policy", "show")
    assert "policy 1 of ledger domainlm\n" in told and "member anna: officer" in told
    assert json.loads(do("audit", "policy", "show", "--json"))["version"] == 1
    assert "stands already" in do("audit", "init")
    assert "has a policy already" in do(
        "audit", "init", "--production", "--root", bank / "root-a.pub", "-o", bank / "x.yaml", code=1
    )


def test_a_service_key_is_rotated_and_what_the_old_one_signed_stays_valid(bank: Path) -> None:
    assert client.submit(entries.READ, {"x": "0" * 64}, LOOK).number == 1
    old = in_force().members["recorder"].keys[0]
    fresh = new_key(bank / "recorder-2.pem", sealed=False)

    def rotate(content: dict[str, Any]) -> None:
        content["members"]["recorder"]["keys"].append("recorder-2.pub")
        content["revoked"] = {old[:8]: {"since": "now", "reason": "yearly rotation"}}

    assert "entered" in do("audit", "policy", "enter", propose(bank, "2", rotate))
    with pytest.raises(Exception, match="revoked since"):
        client.submit(entries.READ, {"x": "0" * 64}, LOOK)
    os.replace(fresh, keys_folder() / "recorder.pem")
    assert client.submit(entries.READ, {"x": "0" * 64}, LOOK).number == 3
    gate = client.new_gate()
    for number, envelope in client.evidence_entries():
        gate.admit(number, envelope)
    assert gate.policy and gate.policy.revoked[old].reason == "yearly rotation" and not list(gate.tainted())


def test_a_policy_signed_twice_by_one_root_or_out_of_turn_is_refused(bank: Path) -> None:
    later = propose(bank, "2", lambda content: content["members"].pop("anna"))
    other = propose(bank, "2b", lambda content: content["rules"].update(officers=2))
    once = sign(bank / "2.json", bank / "root-a.pem", bank / "again")
    twice = sign(once, bank / "root-a.pem", bank / "again-twice")
    assert "2 are needed" in do("audit", "policy", "enter", twice, code=1)
    do("audit", "policy", "enter", later)
    assert "does not follow the policy in force" in do("audit", "policy", "enter", other, code=1)
    assert "anna" not in in_force().members


def test_a_signature_is_asked_for_after_what_it_is_for_was_shown(bank: Path, tmp_path: Path) -> None:
    statement = entries.statement(entries.HOLD, "domainlm", "anna", {"x": "0" * 64}, {"reason": "\x1b[2Jcase 7"})
    file = tmp_path / "hold.json"
    file.write_text(json.dumps(statement))
    told = do("audit", "sign", file, "--key", bank / "anna.pem", code=1, typed="n\n")
    assert "legal-hold by anna" in told and "\\u001b[2Jcase 7" in told and "\x1b" not in told
    assert not file.with_name("hold.json.signed").exists()
    do("audit", "sign", file, "--key", bank / "anna.pem", typed=f"y\n{PASSPHRASE}\n")
    signed = file.with_name("hold.json.signed")
    assert stat.S_IMODE(signed.stat().st_mode) == 0o600
    assert "already" in do("audit", "sign", file, "--key", bank / "anna.pem", "--yes", code=1, typed=f"{PASSPHRASE}\n")
    assert "is no policy" in do("audit", "policy", "enter", signed, code=1)
    for text in ("", "[]", "{}", '{"payload": 1}', json.dumps(statement | {"predicateType": "x"})):
        file.write_text(text)
        do("audit", "sign", file, "--key", bank / "anna.pem", "--yes", code=1)


def test_a_key_wants_a_passphrase_worth_the_name_and_another_root_is_not_pinned(bank: Path, tmp_path: Path) -> None:
    assert "fewer than 12" in do("audit", "keys", "new", tmp_path / "new.pem", code=1, typed="short\n")
    assert not (tmp_path / "new.pem").exists()
    assert "already" in do("audit", "keys", "new", bank / "anna.pem", code=1, typed=f"{PASSPHRASE}\n")
    wrong = do("audit", "keys", "show", bank / "anna.pem", code=1, typed="wrong passphrase\n")
    assert "cannot be opened" in wrong and "wrong passphrase" not in wrong.replace("key and the passphrase", "")
    pinned = root_file().read_text()
    do("audit", "init", "--production", "--root", bank / "anna.pub", "-o", tmp_path / "x.yaml", code=1)
    do("audit", "init", "--root", bank / "anna.pub", code=1)
    do("audit", "init", "--production", code=1)
    assert root_file().read_text() == pinned


def test_a_ledger_for_development_is_made_by_one_command_and_says_what_it_is(home: Path, tmp_path: Path) -> None:
    assert "not for production" in do("audit", "init")
    assert "stands already" in do("audit", "init")
    assert "(development)" in do("audit", "policy", "show")
    assert "ready: 1 entries" in do("audit", "signer", "ping")
    new_key(tmp_path / "anna.pem", sealed=False)
    (tmp_path / "p.yaml").write_text(do("audit", "policy", "show", "--yaml"))
    do("audit", "policy", "propose", edit(tmp_path / "p.yaml", people), "-o", tmp_path / "p.json", "--by", "root")
    do("audit", "sign", tmp_path / "p.json", "--key", keys_folder() / "development-root.pem", "--yes")
    do("audit", "policy", "enter", tmp_path / "p.json.signed")
    assert in_force().members["anna"].roles == ["officer"]
    assert "changes nothing" in do(
        "audit", "policy", "propose", _written(tmp_path / "q.yaml"), "-o", tmp_path / "q.json", code=1
    )
    assert "no root member" in do(
        "audit", "policy", "propose", tmp_path / "p.yaml", "-o", tmp_path / "q.json", "--by", "anna", code=1
    )


def test_in_production_no_root_is_made_here(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOMAINLM_MODE", "production")
    assert "--production --root" in do("audit", "init")
    assert not root_file().exists() and not keys_folder().exists()


def test_what_waits_is_entered_by_a_command(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    create_development_key()
    do("audit", "init")
    with monkeypatch.context() as away:
        away.setenv("DOMAINLM_SIGNER_KEYS", "/nowhere")
        assert isinstance(client.submit_or_spool(entries.READ, {"x": "0" * 64}, LOOK), Spooled)
        assert "waits" in do("audit", "signer", "flush", code=1)
    assert "entered: entry 1" in do("audit", "signer", "flush")
    assert do("audit", "signer", "flush") == ""
    assert "no socket is named" in do("audit", "signer", "serve", code=1)


def test_a_manifest_without_a_seal_is_entered_when_a_person_says_so(home: Path) -> None:
    create_development_key()
    do("audit", "init")
    path = manifests.write(small_run(1))
    path.with_suffix(".seal").unlink()
    assert entering.enter_waiting()[0].state == entering.WAITING
    assert "no manifest of this run waits" in do("audit", "signer", "flush", "--run", "x", code=1)
    assert "entry 1" in do("audit", "signer", "flush", "--run", path.stem)


def _written(path: Path) -> Path:
    path.write_text(do("audit", "policy", "show", "--yaml"))
    return path
