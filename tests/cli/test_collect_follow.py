"""What the collector does after a retraining, beside collecting; and that nothing of it ends the collector."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.audit import collect
from cli.audit.collect import _Following
from domainlm.retrain.batches import Result
from domainlm.retrain.book import open_book

ROOT = Path(__file__).resolve().parents[2]
CONFIGURATION = ROOT / "configs" / "retrain.yaml"


@pytest.fixture
def book(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    url = tmp_path / "url"
    url.write_text(f"sqlite:///{tmp_path / 'book.sqlite'}\n")
    url.chmod(0o600)
    monkeypatch.delenv("DOMAINLM_BOOK", raising=False)
    monkeypatch.setenv("DOMAINLM_BOOK_FILE", str(url))
    made = open_book()
    yield made
    made.close()


def trained(book, lane: str = "domainlm-finance") -> None:
    claim = book.claim(lane, "test", 60, batches=(), allow_empty=True)
    book.accept_result(claim, Result(run_id="r", identity="a" * 64, version=f"{lane}/1"))


def test_it_says_how_the_newest_model_stands_and_says_it_once(book, monkeypatch, capsys) -> None:
    monkeypatch.setattr(collect, "FOLLOW_S", 0.0)
    following = _Following(CONFIGURATION)
    following.look()
    assert capsys.readouterr().out == "", "nothing was trained"
    trained(book)
    following.look()
    assert "domainlm-finance/1: promotion is by people and the ledger" in capsys.readouterr().out
    following.look()
    assert capsys.readouterr().out == ""


def test_between_two_looks_it_rests(book, capsys) -> None:
    following = _Following(CONFIGURATION)
    following.look()
    trained(book)
    following.look()
    assert capsys.readouterr().out == ""


def test_where_nothing_is_retrained_it_is_silent(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("DOMAINLM_BOOK_FILE", str(tmp_path / "no-such-secret"))
    _Following(CONFIGURATION).look()
    _Following(None).look()
    assert capsys.readouterr() == ("", "")


def test_a_book_or_a_configuration_that_is_broken_ends_no_collector(book, tmp_path: Path, monkeypatch, capsys) -> None:
    _Following(tmp_path / "none.yaml").look()
    assert "what follows a retraining was not done" in capsys.readouterr().out
    (tmp_path / "url").write_text(f"sqlite:///{tmp_path / 'other.sqlite'}\n")
    _Following(CONFIGURATION).look()
    assert "there is no batch book" in capsys.readouterr().out and not (tmp_path / "other.sqlite").exists()
    monkeypatch.setattr("cli.landing.following", lambda *given: 1 / 0)
    (tmp_path / "url").write_text(f"sqlite:///{tmp_path / 'book.sqlite'}\n")
    _Following(CONFIGURATION).look()
    assert "not done: ZeroDivisionError" in capsys.readouterr().out
