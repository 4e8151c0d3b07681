"""A landing zone in a folder, with a real book and clocks that a test moves."""

from __future__ import annotations

import os
from pathlib import Path

from domainlm.retrain.batches import Batch, Claim, Result
from domainlm.retrain.book import Book
from domainlm.retrain.settings import DetectSettings, FeedSettings
from domainlm.retrain.zone import Scan, Zone

SETTLE_S = 5.0
TERMS = {
    "form": "labelled", "task": "sentiment", "licence": "proprietary", "consent": "contract",
    "purpose": "model-training", "jurisdiction": "us", "language": "en",
}  # fmt: skip


def feed(name: str = "news", uri: str = "news/**/*.csv", **values: object) -> FeedSettings:
    """A feed with the terms of use that every source must state."""
    return FeedSettings(name=name, uri=uri, **TERMS | values)


class Desk:
    """A zone with its book; `pass_time` moves both clocks of the process that watches, never those of the files."""

    def __init__(self, root: Path, book: Book, settings: DetectSettings) -> None:
        self.root, self.book, self.settings = root, book, settings
        self.wall, self.ticks = 2_000_000_000.0, 100.0  # far from the files' own times: none is "racy" by accident
        self.zone = self.another()

    def another(self) -> Zone:
        """A second process's view of the same zone."""
        return Zone(self.settings, self.book, clock=lambda: self.wall, monotonic=lambda: self.ticks)

    def pass_time(self, seconds: float) -> None:
        self.wall += seconds
        self.ticks += seconds

    def write(self, path: str, text: str | bytes = "text,label\nRates rise,up\n", mtime: float | None = None) -> Path:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(text.encode() if isinstance(text, str) else text)
        if mtime is not None:
            os.utime(target, (mtime, mtime))
        return target

    def scan(self) -> Scan:
        return self.zone.scan()

    def settle(self) -> Scan:
        """Two looks with the settle time in between, as `settled` does by itself."""
        return self.zone.settled(3600, sleep=self.pass_time)

    def states(self) -> dict[str, str]:
        """Path of a batch's first file -> state, in order of landing."""
        return {batch.files[0].path: batch.state for batch in self.book.batches()}

    def train(self, batch: Batch) -> None:
        """Let a training learn from a batch."""
        self.book.accept(batch.id, rows=1)
        claim = self.book.claim("model", "tina", 60, batches=[batch.id])
        assert isinstance(claim, Claim)
        self.book.accept_result(claim, Result(run_id=f"run-{batch.number}", identity=f"{batch.number:064x}"))
