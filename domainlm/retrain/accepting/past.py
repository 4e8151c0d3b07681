"""What the batches of a feed before the present one hold: their columns, and digests of their rows.

Read once in a process and then kept up, since a first scan may land a thousand batches. No text is kept: 16 bytes for
each, so that a feed of a million rows takes some 250 MB in the process that accepts, and nothing elsewhere. Feeds and
static sources of one task are in memory together, since `prepare` compares their labels.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from domainlm.contradictions import Contradictions, digest_of
from domainlm.errors import SourceError
from domainlm.retrain.batches import Batch, LandedFile
from domainlm.retrain.settings import FeedSettings
from domainlm.sources import RawRow, RowStream, SourceSettings
from domainlm.text import comparable

if TYPE_CHECKING:
    from domainlm.retrain.book import Book


@dataclass
class Labels:
    """Which labels texts bear, by digests of the texts.

    Fields:
        first: text -> the first label that it bore.
        doubted: texts that bore another one too.
    """

    first: dict[bytes, str] = field(default_factory=dict)
    doubted: set[bytes] = field(default_factory=set)

    def add(self, text: bytes, label: str) -> None:
        """Note one label."""
        if self.first.setdefault(text, label) != label:
            self.doubted.add(text)

    def take_in(self, later: Labels) -> None:
        """Note the labels of later rows."""
        for text, label in later.first.items():
            self.add(text, label)
        self.doubted |= later.doubted

    @classmethod
    def of(cls, source: SourceSettings, known: frozenset[str]) -> Labels:
        """Those of a static source, as far as it can be read: `ingest` tells where it cannot."""
        found = cls()
        with suppress(SourceError, OSError):
            for row in RowStream(source):
                if row.answer in known:
                    found.add(text_of(row), row.answer)
        return found


class Past:
    """The past of one feed.

    Args:
        feed: its settings.
        labels: of the feed's task; none where rows bear no label of the pack.
        allow_conflicting_answers: two answers for one question are no fault.

    Fields:
        headers: batch -> its columns, in order of landing.
        given: labels of its texts.
        contradictions: finds what `ingest` would stop at; None where nothing can be.
    """

    def __init__(self, feed: FeedSettings, labels: frozenset[str], allow_conflicting_answers: bool) -> None:
        self._feed, self._labels = feed, labels
        self.headers: dict[str, tuple[str, ...]] = {}
        self.given = Labels()
        found = Contradictions(feed, allow_conflicting_answers)
        self.contradictions = found if found.questions or "id" in feed.columns else None

    def is_of(self, batches: Sequence[Batch]) -> bool:
        """Whether all that was read is still among these batches."""
        return self.headers.keys() <= {batch.id for batch in batches}

    def read(self, book: Book, batches: Sequence[Batch]) -> None:
        """Read those that were not read yet. A file that is gone is passed over, as a training does."""
        for batch in batches:
            if batch.id not in self.headers:
                profile = book.profile(batch.id) or {}
                self.headers[batch.id] = tuple(profile.get("columns", ()))
                if self._labels or self.contradictions:
                    for file in batch.files:
                        with suppress(SourceError, OSError):
                            self._note(() if file.removed else RowStream(alone(self._feed, file)))

    def _note(self, rows: Iterable[RawRow]) -> None:
        for row in rows:
            if row.answer in self._labels:
                self.given.add(text_of(row), row.answer)
            if self.contradictions:
                with suppress(SourceError):  # between two earlier batches: `ingest` tells of it
                    self.contradictions.check(row)

    def learn(self, batch: Batch, columns: Sequence[str], given: Labels) -> None:
        """Take in a batch that was accepted, whose rows `contradictions` has seen."""
        self.headers[batch.id] = tuple(columns)
        self.given.take_in(given)


def alone(feed: FeedSettings, file: LandedFile) -> SourceSettings:
    """One file of a feed as a source, by its very name: a pattern's signs may stand in it."""
    folder = file.uri.removesuffix(f"/{file.path}")
    return feed.model_copy(update={"uri": folder, "parts": (file.path,), "format": feed.resolved_format})


def text_of(row: RawRow) -> bytes:
    """By which a text is known again: its words, not their case or spacing."""
    return digest_of(comparable(row.question), comparable(row.context))
