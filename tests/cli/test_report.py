"""`domainlm audit report`, `checklist` and `checkpoint`, as a person types them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from full_runs import Reported, reported
from typer.testing import CliRunner

from cli.main import app
from domainlm.digests import digest_bytes
from domainlm.errors import ConfigurationError, EvidenceRefused
from domainlm.ledger import entries

ROOT = Path(__file__).resolve().parents[2]
MODEL = "domainlm-finance/2"


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    """A command enters its project: variables and folder; other tests must not find themselves there."""
    variables, folder = dict(os.environ), Path.cwd()
    yield
    os.environ.clear()
    os.environ.update(variables)
    os.chdir(folder)


@pytest.fixture
def bank(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Reported:
    """A ledger with a champion and an approved candidate."""
    found = reported(tmp_path)
    for name, value in found.made.as_files().items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    return found


def do(*arguments: str, code: int = 0) -> str:
    """Run a command in this process; returns what it printed."""
    done = CliRunner().invoke(app, ["audit", *arguments])
    if isinstance(done.exception, Exception) and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == code, done.output
    return done.output


def test_a_report_is_written_where_the_command_was_given(bank: Reported, tmp_path: Path) -> None:
    printed = do("report", MODEL, "--html", "model.html", "--pdf", "model.pdf")
    assert "Approved, but no published checkpoint was at hand." in printed
    assert (tmp_path / "model.pdf").read_bytes().startswith(b"%PDF-1.7")
    assert "domainlm-finance/2" in (tmp_path / "model.html").read_text(encoding="utf-8")
    for file in ("model.html", "model.pdf"):
        assert (tmp_path / file).stat().st_mode & 0o777 == 0o600
        assert do("checkpoint", str(tmp_path / file)) == bank.note
    assert not list(bank.made.evidence().of_kind(entries.READ))


def test_a_printed_checkpoint_anchors_the_verification(bank: Reported, tmp_path: Path) -> None:
    do("report", MODEL, "--html", "model.html")
    (tmp_path / "checkpoint.txt").write_text(do("checkpoint", str(tmp_path / "model.html")), encoding="utf-8")
    assert do("verify", "--anchor", str(tmp_path / "checkpoint.txt")).startswith("good: ")
    assert "unanchored: " in do("verify", code=2)


def test_a_report_is_anchored_by_the_checkpoint_that_it_is_given(bank: Reported, tmp_path: Path) -> None:
    do("report", MODEL, "--html", "first.html")
    (tmp_path / "checkpoint.txt").write_text(do("checkpoint", str(tmp_path / "first.html")), encoding="utf-8")
    os.chdir(tmp_path)  # the command before entered its project
    printed = do("report", MODEL, "--html", "model.html", "--anchor", "checkpoint.txt")
    assert "at hand" not in printed and "Approved" in printed
    assert "a checkpoint that was published outside binds" in (tmp_path / "model.html").read_text(encoding="utf-8")


def test_a_report_in_korean_of_a_model_named_by_its_identity(bank: Reported, tmp_path: Path) -> None:
    assert "승인되었으나" in do("report", bank.identity[:10], "--language", "ko", "--html", str(tmp_path / "k.html"))
    assert '<html lang="ko">' in (tmp_path / "k.html").read_text(encoding="utf-8")


def test_entering_a_report_notes_who_made_which_file(bank: Reported, tmp_path: Path) -> None:
    do("report", MODEL, "--html", "model.html", "--enter")
    (stated,) = bank.made.evidence().of_kind(entries.READ)
    assert (stated.act.page, stated.act.subject) == ("report.html", bank.identity)
    assert entries.subjects(stated.envelope) == {"report.html": digest_bytes((tmp_path / "model.html").read_bytes())}


def test_a_model_that_is_not_there_and_a_report_without_a_file_are_refused(bank: Reported) -> None:
    with pytest.raises(EvidenceRefused, match="no run in the ledger registered it") as raised:
        do("report", "domainlm-finance/3", "--html", "x.html")
    assert "did you mean" in str(raised.value)
    assert "name a file" in do("report", MODEL, code=2)
    with pytest.raises(ConfigurationError, match="no language of the report"):
        do("report", MODEL, "--html", "x.html", "--language", "de")


def test_the_checklist_of_a_model_in_words_and_in_json(bank: Reported) -> None:
    printed = do("checklist", MODEL, "--law", "gdpr")
    assert "+ Art. 30(1)(b): Record: purposes of the processing. [" in printed
    assert "~ Art. " in printed and ", 0 missing here" in printed and " in part, " in printed
    assert "- Art. 22: " in printed and "EU Artificial" not in printed and "no legal advice" in printed
    found = json.loads(do("checklist", MODEL, "--json"))
    assert {one["state"] for one in found} == {"answered", "in part", "not covered"}
    assert "처리 목적" in do("checklist", MODEL, "--law", "gdpr", "--language", "ko")
    with pytest.raises(ConfigurationError, match="did you mean 'gdpr'"):
        do("checklist", MODEL, "--law", "gdrp")


def test_without_a_model_the_checklist_is_the_page_of_the_docs() -> None:
    assert do("checklist") == (ROOT / "docs" / "regulation.md").read_text(encoding="utf-8")
    assert json.loads(do("checklist", "--json"))["sources"]["gdpr"]["verified"] is True


def test_a_broken_ledger_gives_a_report_that_says_so_and_the_exit_code(bank: Reported, tmp_path: Path) -> None:
    import sqlite3

    with sqlite3.connect(tmp_path / "ledger.sqlite") as store:
        for (name,) in store.execute("select name from sqlite_master where type = 'trigger'").fetchall():
            store.execute(f"drop trigger {name}")
        store.execute("delete from ledger_entries where number = 4")
    printed = do("report", MODEL, "--html", "model.html", code=1)
    assert "Do not rely on this model. Its evidence is broken." in printed
    assert "deleted" in (tmp_path / "model.html").read_text(encoding="utf-8")
