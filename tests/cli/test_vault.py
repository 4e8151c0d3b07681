"""`domainlm vault` and `domainlm keys`, as a person types them."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.main import app
from domainlm.keys import KeyRing, create_development_key, key_file
from domainlm.redact.quarantine import Quarantine
from domainlm.redact.vault import Entry, Vault

ROOT = Path(__file__).resolve().parents[2]
NAME, REASON = "Ottoline Fairweather-Quist", "complaint 2024-117"


def do(*arguments: str, code: int = 0, typed: str | None = None, **environment: str) -> str:
    """Run a command in this process; returns what it printed."""
    done = CliRunner(env=environment).invoke(app, list(arguments), input=typed)
    if code == 0 and done.exception:
        raise done.exception
    assert done.exit_code == code, done.output
    return done.output + (str(done.exception) if done.exception else "")


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    """A command enters its project: variables and folder; other tests must not find themselves there."""
    variables, folder = dict(os.environ), Path.cwd()
    yield
    os.environ.clear()
    os.environ.update(variables)
    os.chdir(folder)


@pytest.fixture
def ids(home: Path) -> dict[str, str]:
    """A vault and a quarantine of the development key; the ids of what they hold."""
    create_development_key()
    keys = KeyRing.load()
    record, subject = keys.keyed_id("record", "letters", "1"), keys.keyed_id("subject", "PERSON", NAME.casefold())
    Vault(home / "vault", keys).put(record, [Entry(subject, "[PERSON_1]", "PERSON", NAME)], date(2024, 3, 15))
    risky = {"id": record, "source": "letters", "row": 1, "messages": [{"role": "document", "content": NAME}]}
    sealed = Quarantine(home / "quarantine", keys).store(risky, "too-long", today=date(2024, 3, 15))
    return {"record": record, "subject": subject, "sealed": sealed}


def test_a_reviewer_reveals_by_what_stands_in_the_text(ids):
    assert NAME in do("vault", "reveal", f"{ids['record']}:[PERSON_1]", "--reason", REASON)
    assert NAME in do("vault", "reveal", f"{ids['record']}:PERSON_1", "--reason", REASON)
    assert NAME in do("vault", "reveal", ids["subject"], "--reason", REASON)


def test_without_a_reason_the_exit_code_is_1_and_the_log_has_it(ids):
    for command in (["reveal", ids["subject"]], ["forget", ids["subject"]], ["quarantine", ids["sealed"]]):
        assert NAME not in do("vault", *command, code=1)
    entries = [json.loads(line) for line in do("vault", "log").splitlines()]
    assert [entry["action"] for entry in entries] == ["reveal", "forget", "quarantine"]
    assert all(entry["outcome"].startswith("refused") for entry in entries)


def test_a_person_is_forgotten_from_the_value_alone(ids):
    assert NAME not in do("vault", "subject", "PERSON", typed=f"{NAME}\n", code=1)
    subject = do("vault", "subject", "PERSON", "--reason", REASON, typed=f"{NAME}\n").strip().splitlines()[-1]
    assert subject == ids["subject"]
    assert "1 values" in do("vault", "forget", subject, "--reason", REASON)
    assert "forgotten" in do("vault", "reveal", subject, "--reason", REASON, code=1)
    assert "0 values" in do("vault", "list")
    assert "4 entries, none changed" in do("vault", "log", "--verify")


def test_the_list_says_everything_but_the_value(ids):
    shown = do("vault", "list")
    assert f"{ids['record']}:[PERSON_1]" in shown and "2025-03-15" in shown and NAME not in shown
    (entry,) = [json.loads(line) for line in do("vault", "list", "--json").splitlines()]
    assert entry["subject"] == ids["subject"]


def test_a_quarantined_record_is_listed_and_shown(ids):
    assert do("vault", "quarantine").strip() == ids["sealed"]
    assert NAME in do("vault", "quarantine", ids["sealed"], "--reason", REASON)


def test_expiry_is_a_daily_job(ids, home):
    assert "deleted: 0 values, 1 quarantined" in do("vault", "expire", "--today", "2024-07-01")
    assert "deleted: 1 values, 0 quarantined" in do("vault", "expire", "--today", "2025-03-15")
    (home / "quarantine" / f"{'0' * 32}.sealed").write_bytes(b"not ours")
    assert "not opened" in do("vault", "expire", "--today", "2025-03-16", code=1)


def test_a_tampered_log_is_told(ids, home):
    do("vault", "reveal", ids["subject"], "--reason", REASON)
    log = home / "vault" / "access.jsonl"
    log.write_text(log.read_text().replace(REASON, "complaint 2024-118"))
    assert "entry 1 was changed" in do("vault", "log", "--verify", code=1)


def test_rotation_keeps_ids_of_before_useful(ids, home):
    do("keys", "rotate")
    new = KeyRing.load()
    assert new.key_id.startswith("development-") and len(new.retired) == 1
    assert do("keys", "carry", ids["subject"]).split() == [ids["subject"], new.carried("subject", ids["subject"])]
    assert "none of the ring's keys" in do("keys", "carry", "f" * 32, code=1)
    assert NAME in do("vault", "reveal", ids["subject"], "--reason", REASON)
    assert NAME in do("vault", "quarantine", ids["sealed"], "--reason", REASON)
    assert new.retired[0].key_id in do("keys", "show")


def test_rotation_away_from_the_development_key(ids, home, tmp_path):
    place = tmp_path / "bank.key"
    production = {"DOMAINLM_MODE": "production"}
    assert "refused in production" in do("vault", "list", code=1, **production)
    assert "bank-2024" in do("keys", "rotate", "--new-file", str(place), "--key-id", "bank-2024", **production)
    assert stat.S_IMODE(place.stat().st_mode) == 0o600
    named = production | {"DOMAINLM_KEY_FILE": str(place)}
    assert NAME in do("vault", "reveal", ids["subject"], "--reason", REASON, **named)
    assert "belongs to the key 'bank-2024'" in do("vault", "list", code=1)


def test_a_key_from_the_environment_needs_a_place_for_its_successor(ids, tmp_path):
    environment = {"DOMAINLM_KEY": key_file().read_text()}
    assert "--new-file" in do("keys", "rotate", code=1, **environment)
    assert "point the runs at" in do("keys", "rotate", "--new-file", str(tmp_path / "new.key"), **environment)


def test_a_new_key_is_made_once(tmp_path):
    place = tmp_path / "bank.key"
    assert "bank-2024" in do("keys", "new", str(place), "--key-id", "bank-2024")
    made = KeyRing.of_file(place)
    assert stat.S_IMODE(place.stat().st_mode) == 0o600 and made.key_id == "bank-2024"
    assert "already" in do("keys", "new", str(place), code=1) and KeyRing.of_file(place) == made


def test_the_commands_import_nothing_heavy_and_say_errors_on_one_line(ids, home):
    code = (
        "import sys\n"
        "from cli.main import main\n"
        "sys.argv = ['domainlm', 'vault', 'list']\n"
        "try:\n"
        "    main()\n"
        "except SystemExit as end:\n"
        "    assert not end.code, end.code\n"
        "print(sorted({'torch', 'zenml', 'spacy', 'presidio_analyzer', 'datasets'} & set(sys.modules)))\n"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT), "DOMAINLM_HOME": str(home)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    refused = subprocess.run(
        [sys.executable, "-m", "cli.main", "vault", "reveal", ids["subject"]],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert refused.returncode == 1 and "AccessRefused" in refused.stderr and "Traceback" not in refused.stderr
