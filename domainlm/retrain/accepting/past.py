"""What the batches of a feed before the present one hold: their columns, and digests of their rows.

Read once in a process and then kept up, since a first scan may land a thousand batches. No text is kept: 16 bytes for
each, so that a feed of a million rows takes some 250 MB in the process that accepts, and nothing elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from domainlm.contradictions import Contradictions, digest_of
from domainlm.errors import SourceError
from domainlm.retrain.batches import Batch, LandedFile
from domainlm.retrain.settings import FeedSettings
from domainlm.sources import LABELLED, RawRow, RowStream, SourceSettings
from domainlm.text import comparable

if TYPE_CHECKING:
    from domainlm.retrain.book import Book


class Past:
    """The past of one feed.

    Args:
        feed: its settings.
        labels: of the feed's task; none where rows bear no label of the pack.
        allow_conflicting_answers: two answers for one question are no fault.
        sources: static sources whose labels count too.

    Fields:
        headers: batch -> its columns, in order of landing.
        given: digest of a text -> the first label that it bore.
        contradictions: finds what `ingest` would stop at; None where nothing can be.
    """

    def __init__(
        self,
        feed: FeedSettings,
        labels: frozenset[str],
        allow_conflicting_answers: bool,
        sources: Iterable[SourceSettings],
    ) -> None:
        self._feed, self._labels = feed, labels
        self.headers: dict[str, tuple[str, ...]] = {}
        self.given: dict[bytes, str] = {}
        found = Contradictions(feed, allow_conflicting_answers)
        self.contradictions = found if found.questions or "id" in feed.columns else None
        for source in sources:
            if labels and source.form == LABELLED and source.resolved_task == feed.resolved_task:
                with suppress(SourceError, OSError):  # `ingest` tells of it
                    self._note(RowStream(source))

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
                self.given.setdefault(text_of(row), row.answer)
            if self.contradictions:
                with suppress(SourceError):  # between two earlier batches: `ingest` tells of it
                    self.contradictions.check(row)

    def learn(self, batch: Batch, columns: Sequence[str], given: Mapping[bytes, str]) -> None:
        """Take in a batch that was accepted, whose rows `contradictions` has seen."""
        self.headers[batch.id] = tuple(columns)
        for text, label in given.items():
            self.given.setdefault(text, label)


def alone(feed: FeedSettings, file: LandedFile) -> SourceSettings:
    """One file of a feed as a source, by its very name: a pattern's signs may stand in it."""
    folder = file.uri.removesuffix(f"/{file.path}")
    return feed.model_copy(update={"uri": folder, "parts": (file.path,), "format": feed.resolved_format})


def text_of(row: RawRow) -> bytes:
    """By which a text is known again: its words, not their case or spacing."""
    return digest_of(comparable(row.question), comparable(row.context))
