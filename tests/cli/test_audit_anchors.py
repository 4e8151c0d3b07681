"""`domainlm audit anchor` and `checkpoint`, as a person types them."""

from __future__ import annotations

import os
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result

from cli.main import app
from domainlm.errors import ArtifactError, ConfigurationError
from domainlm.keys import create_development_key
from domainlm.ledger import entries
from domainlm.ledger.acts import Anchored, read_act
from domainlm.ledger.checkpoints import Checkpoint
from domainlm.ledger.client import open_ledger, submit
from domainlm.ledger.trust.bootstrap import bootstrap


def do(*arguments: str) -> Result:
    """Run a command in this process."""
    done = CliRunner().invoke(app, ["audit", *arguments])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    """A command enters its project: variables and folder; other tests must not find themselves there."""
    variables, folder = dict(os.environ), Path.cwd()
    yield
    os.environ.clear()
    os.environ.update(variables)
    os.chdir(folder)


@pytest.fixture
def place(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder and a git repository as the configured anchors of a fresh ledger."""
    (tmp_path / "folder").mkdir()
    subprocess.run(["git", "init", "-q", str(tmp_path / "git")], check=True, timeout=60)
    configured = [
        {"folder": str(tmp_path / "folder"), "same_volume": True},
        {"git": str(tmp_path / "git"), "same_volume": True},
    ]
    (tmp_path / "audit.yaml").write_text(yaml.safe_dump({"anchors": configured}))
    monkeypatch.setenv("DOMAINLM_AUDIT", str(tmp_path / "audit.yaml"))
    bootstrap()
    return tmp_path


def anchored() -> list[Anchored]:
    """The ANCHOR entries of the ledger."""
    return [
        read_act(envelope, entries.ANCHOR, f"entry {number}")
        for number, envelope in open_ledger().entries()
        if entries.header(envelope, "").kind == entries.ANCHOR
    ]


def files(place: Path) -> list[Path]:
    return sorted(path for path in (place / "folder").rglob("*") if path.is_file())


def test_the_checkpoint_is_printed_as_it_is_signed(place: Path) -> None:
    printed = do("checkpoint").stdout
    assert printed == open_ledger().latest_checkpoint() and Checkpoint.parse(printed, "printed").size == 1


def test_the_latest_checkpoint_goes_to_every_place_and_the_ledger_says_so(place: Path) -> None:
    note = open_ledger().latest_checkpoint()
    said = do("anchor")
    assert said.exit_code == 0 and said.stdout.count("published: size 1: ") == 2
    (file,) = files(place)
    assert file.read_text() == note
    tag = subprocess.run(
        ["git", "-C", str(place / "git"), "cat-file", "blob", "domainlm/domainlm/1^{}"],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert tag.stdout == note
    assert [(act.size, act.note) for act in anchored()] == [(1, note)] * 2
    assert str(file) in [act.place for act in anchored()]


def test_a_day_later_the_ledger_is_shown_to_continue(place: Path) -> None:
    do("anchor")
    submit(entries.READ, {"page": "0" * 64}, {"person": "anna", "page": "models", "subject": ""})
    assert do("anchor").exit_code == 0
    assert [int(file.name.split("-")[0]) for file in files(place)] == [1, 4]
    assert len(anchored()) == 4


def test_a_given_place_is_used_instead_of_the_configured_ones(place: Path) -> None:
    other = place / "other"
    other.mkdir()
    assert do("anchor", "--folder", str(other), "--same-volume").exit_code == 0
    assert len([path for path in other.rglob("*") if path.is_file()]) == 1 and files(place) == []
    assert "own volume" in do("anchor", "--folder", str(other)).stderr  # refused without the word
    for kind, where in (("--git", str(place / "git")), ("--object", f"file://{place / 'store'}")):
        assert do("anchor", kind, where).exit_code == 1 and "own volume" in do("anchor", kind, where).stderr
    assert do("anchor", "--object", f"file://{place / 'store'}", "--same-volume").exit_code == 0
    assert len([path for path in (place / "store").rglob("*") if path.is_file()]) == 1


def test_one_place_that_fails_does_not_hinder_the_other(place: Path) -> None:
    (place / "folder").rmdir()
    done = do("anchor")
    assert done.exit_code == 1 and "mounted" in done.stderr and "published: size 1" in done.stdout
    assert len(anchored()) == 1


def test_a_ledger_that_was_rolled_back_is_not_published(place: Path) -> None:
    ledger = open_ledger()
    assert ledger.file is not None
    ledger.close()
    before = ledger.file.read_bytes()
    do("anchor")
    do("anchor")
    for path in ledger.file.parent.glob("ledger.sqlite*"):
        path.unlink()
    ledger.file.write_bytes(before)
    there = files(place)
    done = do("anchor")
    assert done.exit_code == 1 and "rolled-back" in done.stderr and "nothing was published" in done.stderr
    assert files(place) == there and anchored() == []


def test_a_ledger_that_was_edited_is_not_published(place: Path) -> None:
    submit(entries.READ, {"page": "0" * 64}, {"person": "anna", "page": "models", "subject": ""})
    ledger = open_ledger()
    assert ledger.file is not None
    by_hand = sqlite3.connect(ledger.file)
    by_hand.execute("DROP TRIGGER ledger_keeps_ledger_entries_UPDATE")
    by_hand.execute("UPDATE ledger_entries SET entry = replace(entry, 'a', 'b') WHERE number = 1")
    by_hand.commit()
    by_hand.close()
    assert do("anchor").exit_code == 1 and files(place) == []


def test_without_any_place_or_ledger_the_command_says_what_is_missing(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOMAINLM_AUDIT", str(tmp_path / "none.yaml"))
    with pytest.raises(ConfigurationError, match="no place"):
        do("anchor")
    with pytest.raises(ArtifactError, match="there is no ledger"):
        do("checkpoint")
    assert list(home.rglob("ledger.sqlite")) == []


def test_where_no_signer_answers_everything_is_published_and_entered_later(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_development_key()
    with monkeypatch.context() as away:
        away.setenv("DOMAINLM_SIGNER_KEYS", str(place / "nowhere"))
        done = do("anchor")
        assert done.exit_code == 0 and done.output.count("published: size 1") == 2
        assert done.output.count("not entered yet") == 2 and not anchored()
    assert do("signer", "flush").exit_code == 0
    assert len({act.place for act in anchored()}) == 2
