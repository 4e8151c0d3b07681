"""`domainlm erase`, legal holds, backup and restore, as a person types them; the store itself is tried end to end."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from small_ledgers import PEOPLE, SmallLedger, small_ledger
from typer.testing import CliRunner

from cli.erase import in_the_spool
from cli.main import app
from domainlm.audit.erasure.holds import standing
from domainlm.errors import DomainLMError
from domainlm.keys import KeyRing, create_development_key
from domainlm.ledger import entries
from domainlm.ledger.settings import evidence_folder
from domainlm.ledger.trust.signing import new_key
from domainlm.retrain.book import open_book
from domainlm.retrain.settings import DetectSettings, FeedSettings
from domainlm.retrain.zone import Zone
from steps.erased import erased_subjects, erasure_register

REASON = "request 2026-117"


def do(*arguments: str, code: int = 0, typed: str | None = None) -> str:
    """Run a command in this process; returns what it printed, and what it raised."""
    done = CliRunner().invoke(app, list(arguments), input=typed)
    if code == 0 and done.exception:
        raise done.exception
    assert done.exit_code == code, done.output
    return done.output + (str(done.exception) if done.exception else "")


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    variables, folder, mask = dict(os.environ), Path.cwd(), os.umask(0o022)
    yield
    os.environ.clear()
    os.environ.update(variables)
    os.chdir(folder)
    os.umask(mask)


@pytest.fixture
def ledger(home: Path, monkeypatch: pytest.MonkeyPatch) -> SmallLedger:
    create_development_key()
    made = small_ledger(evidence_folder())
    for name, value in made.as_files().items():
        monkeypatch.setenv(name, value)
    (made.folder / "root.pem").unlink()  # the root's own key does not lie where the project pins its public half
    return made


@pytest.fixture
def subject(ledger: SmallLedger) -> str:
    return KeyRing.load().keyed_id("subject", "PERSON", "ottoline quist")


def key(ledger: SmallLedger, who: str) -> str:
    assert who in PEOPLE
    return str(ledger.folder / f"{who}.pem")


def test_an_officer_holds_and_another_releases(ledger: SmallLedger, subject: str) -> None:
    said = do(
        "audit", "hold", subject, "--case", "C-1", "--reason", "litigation 2026", "--key", key(ledger, "anna"), "--yes"
    )
    assert "held: entry 1 (" in said
    raw = b"".join(entry for _, entry in ledger.ledger.raw())
    assert subject.encode() not in raw
    assert "entry 1: a person, by anna since" in do("audit", "holds")
    register = erasure_register(KeyRing.load())
    committed = standing(ledger.evidence())[0].act.commitment
    assert register.held(committed) == subject
    said = do("audit", "release", "1", "--reason", "settled out of court", "--key", key(ledger, "olga"), "--yes")
    assert said.endswith("released: hold of entry 1, by entry 2\n")
    assert do("audit", "holds") == "no legal hold stands\n"
    assert register.held(committed) is None, "the salt is still there"
    assert "no legal hold stands under this name" in do(
        "audit", "release", "1", "--reason", "settled out of court", "--key", key(ledger, "olga"), "--yes", code=1
    )


def test_a_hold_and_its_release_are_shown_before_and_asked(ledger: SmallLedger, subject: str) -> None:
    hold = ("audit", "hold", subject, "--case", "C-1", "--reason", "litigation 2026", "--key", key(ledger, "anna"))
    said = do(*hold, typed="n\n", code=1)
    for shown in (f"legal hold on: {subject}", "case: C-1", "reason: litigation 2026", "signed by: anna", "sign this?"):
        assert shown in said, shown
    assert "nothing was signed" in said and ledger.ledger.frontier.size == 1
    assert not erasure_register(KeyRing.load()).hold_commitments(), "a salt of nothing"
    assert "held: entry 1 (" in do(*hold, typed="y\n")
    release = ("audit", "release", "1", "--reason", "settled out of court", "--key", key(ledger, "olga"))
    said = do(*release, typed="n\n", code=1)
    assert "end the legal hold of entry 1 on: a person" in said and "case C-1: litigation 2026" in said
    assert "nothing was signed" in said and len(standing(ledger.evidence())) == 1
    do(*release, typed="y\n")
    assert not standing(ledger.evidence())


def test_a_data_version_is_held_by_its_digest(ledger: SmallLedger) -> None:
    do(
        "audit",
        "hold",
        "--data",
        "a" * 64,
        "--case",
        "C-2",
        "--reason",
        "litigation 2026",
        "--key",
        key(ledger, "anna"),
        "--yes",
    )
    assert standing(ledger.evidence())[0].act.data == "a" * 64
    assert f"data {'a' * 12}…" in do("audit", "holds")


def test_no_reason_of_a_hold_names_whom_it_protects(ledger: SmallLedger, subject: str) -> None:
    by = ("--key", key(ledger, "anna"), "--yes")
    for case, reason in (("C-1", "litigation of Ottoline Quist 2026"), ("Ottoline Quist", "litigation 2026")):
        said = do("audit", "hold", subject, "--case", case, "--reason", reason, *by, code=1)
        assert "names a person" in said and "Quist" not in said
    do("audit", "hold", subject, "--case", "C-1", "--reason", "litigation 2026", *by)
    assert "names a person" in do("audit", "release", "1", "--reason", "settled with Ottoline Quist", *by, code=1)
    assert ledger.ledger.frontier.size == 2


@pytest.mark.parametrize("who", ["victor", "tina"])
def test_who_is_no_officer_cannot_hold(ledger: SmallLedger, subject: str, who: str) -> None:
    said = do(
        "audit",
        "hold",
        subject,
        "--case",
        "C-1",
        "--reason",
        "litigation 2026",
        "--key",
        key(ledger, who),
        "--yes",
        code=1,
    )
    assert "it takes one of: officer" in said
    assert not list(ledger.evidence().of_kind(entries.HOLD))


def test_a_stranger_s_key_and_a_wrong_passphrase_are_refused(ledger: SmallLedger, subject: str, tmp_path: Path) -> None:
    new_key(tmp_path / "stranger.pem")
    new_key(tmp_path / "sealed.pem", "a long passphrase")
    hold = ("audit", "hold", subject, "--case", "C-1", "--reason", "litigation 2026", "--key")
    assert "does not list this key" in do(*hold, str(tmp_path / "stranger.pem"), code=1)
    said = do(*hold, str(tmp_path / "sealed.pem"), code=1, typed="another one\n")
    assert "check the file and the passphrase" in said
    assert "another one" not in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "name a subject id, or --data"),
        (("--data", "abc"), "64 hexadecimal digits"),
        (("Ottoline Quist",), "no subject id of this institution's keys"),
    ],
)
def test_a_hold_on_nothing_or_on_a_name_is_refused(ledger: SmallLedger, arguments: tuple[str, ...], said: str) -> None:
    found = do(
        "audit",
        "hold",
        *arguments,
        "--case",
        "C-1",
        "--reason",
        "litigation 2026",
        "--key",
        key(ledger, "anna"),
        code=1,
    )
    assert said in found
    assert "Ottoline" not in found


def test_a_run_on_a_machine_without_the_register_is_refused(home: Path) -> None:
    keys = KeyRing.new("bank-key")
    assert erased_subjects(keys, "") == frozenset()
    register = erasure_register(keys)
    from domainlm.audit.erasure.suppression import Plan

    gone = keys.keyed_id("subject", "PERSON", "anna")
    register.intend(gone, Plan(reason=REASON, by="anna"))
    assert erased_subjects(keys, register.mark()) == {gone}
    for mark in ("", "0" * 64):
        with pytest.raises(DomainLMError, match="start the run again"):
            erased_subjects(keys, mark)


def test_new_files_of_a_command_are_their_owner_s_alone(ledger: SmallLedger, home: Path) -> None:
    do("audit", "holds")
    (home / "written").write_text("after a command")
    assert (home / "written").stat().st_mode & 0o777 == 0o600


def test_an_erasure_on_a_stack_waits_for_its_runs(
    ledger: SmallLedger, subject: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended, working = SimpleNamespace(is_finished=True), SimpleNamespace(is_finished=False)
    runs = [SimpleNamespace(name="ended", status=ended), SimpleNamespace(name="working", status=working)]
    asked = []

    class Server:
        active_stack_model = SimpleNamespace(name="domainlm-kubernetes")

        def list_pipeline_runs(self, stack: str) -> SimpleNamespace:
            asked.append(stack)
            return SimpleNamespace(items=runs, index=1, total_pages=1)

    monkeypatch.setattr("zenml.client.Client", Server)
    for name in ("enter_project", "quiet_libraries"):
        monkeypatch.setattr(f"cli.erase.{name}", lambda: None)
    monkeypatch.setattr("cli.erase.enter_stack", asked.append)
    said = do("erase", subject, "--reason", REASON, "-s", "kubernetes", code=1)
    assert "working: a run is at work on the stack" in said
    assert asked == ["kubernetes", "domainlm-kubernetes"]
    assert subject not in erasure_register(KeyRing.load()).subjects(), "nothing was begun"


def test_files_of_rows_that_queries_landed_are_named_as_left_over(
    ledger: SmallLedger, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No id tells whom the raw rows are about, so each file of them is named, whatever became of its batch."""
    assert in_the_spool() == []
    monkeypatch.setenv("MARKET", f"sqlite:///{tmp_path}/market.sqlite")
    with sqlite3.connect(tmp_path / "market.sqlite") as market:
        market.execute("CREATE TABLE complaints (text TEXT)")
        market.execute("INSERT INTO complaints VALUES ('Ottoline Quist complained')")
    feed = FeedSettings(
        name="desk", uri="sql:desk.jsonl", format="jsonl", query="SELECT text FROM complaints", database="MARKET",
        form="documents", licence="proprietary", consent="contract", purpose="model-training", jurisdiction="us",
        language="en",
    )  # fmt: skip
    book = open_book()
    (batch,) = Zone(DetectSettings(zone=str(tmp_path), feeds=(feed,)), book).scan().landed
    book.withdraw(batch.id, "request 2026-117", by="olga")  # its file is still there
    said = in_the_spool()
    assert said[0].startswith("NOT ERASED: 1 files") and said[1:] == [f"  batch {batch.id[:12]}: {batch.files[0].uri}"]
    damaged = home / "retrain" / "book.sqlite"
    book.close()
    damaged.write_bytes(b"no book" * 1000)
    said = in_the_spool()
    assert said[0].startswith("NOT ERASED: rows that queries landed may hold the person; the book that lists them: ")
    assert len(said) == 3, "the file is found by its folder"
    monkeypatch.setenv("DOMAINLM_BOOK", f"sqlite:///{tmp_path}/none.sqlite")
    said = in_the_spool()
    assert said[0].startswith("NOT ERASED: 1 files") and said[1].startswith("  of another book: ")
    next((home / "retrain/landed").rglob("*.jsonl")).unlink()
    assert in_the_spool() == []
