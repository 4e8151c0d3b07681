"""`domainlm probe` says at once where there is nothing to ask, and starts the pipeline where there is."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from cli import probe
from domainlm.retrain.batches import Batch, LandedFile
from domainlm.retrain.book import open_book
from domainlm.retrain.deciding.signals import LedgerView

ROOT = Path(__file__).resolve().parents[2]
CHAMPION = "c" * 64


class Started(Exception):
    """Stands for the launch of a pipeline."""


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch):
    """Runs the command for a project whose ledger names a champion, or none."""

    def run(champion: str = CHAMPION):
        monkeypatch.setattr(probe, "enter_project", lambda ready: ROOT)
        monkeypatch.setattr(probe, "quiet_libraries", lambda: ROOT / "log")
        view = LedgerView(champion=champion, version="domainlm-finance/1" if champion else "")
        monkeypatch.setattr(probe, "view_of", lambda configuration, terms: lambda: view)

        def launched(*given, **named):
            raise Started

        monkeypatch.setattr("cli.launch.launched", launched)
        app = typer.Typer()
        app.command()(probe.probe)
        return CliRunner().invoke(app, [])

    return run


def land() -> Batch:
    book = open_book()
    file = LandedFile(path="market/a/news.jsonl", uri="/zone/a", sha256="5" * 64, size_bytes=1, rows=3)
    batch = Batch(
        id=hashlib.sha256(b"a").hexdigest(), number=0, feed="market", name="a", files=(file,),
        landed="2026-11-01T00:00:00+00:00",
    )  # fmt: skip
    book.land(batch)
    return book.accept(batch.id, 3, "", "", [file])


def test_nothing_starts_where_the_champion_was_asked_about_everything(command) -> None:
    batch = land()
    open_book().score(CHAMPION, batch.id, "sentiment", 0.7)
    done = command()
    assert done.exit_code == 0 and "domainlm-finance/1 was asked about every accepted batch" in done.output


def test_the_pipeline_starts_where_something_waits_or_nobody_can_tell(command) -> None:
    assert not isinstance(command().exception, Started)
    assert isinstance(command(champion="").exception, Started)
    land()
    assert isinstance(command().exception, Started)
