"""A landed batch against the contract of its feed: every row by the strict reader, as `ingest` will read it.

Heavy: the reader imports `datasets`, so a watcher does this in a child process. Rows stream; no file is held in memory.
What comes of it stands in the book: accepted with a profile, quarantined with a reason for a person, or withdrawn where
the content that landed is no longer there. A reason names file, row and column, and never a value: a column's name is
quoted only where it is known, because the first line of a file without a header is a row of data.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, get_args

from domainlm import reading
from domainlm.agreement import ENOUGH_TEXTS, label_agreement
from domainlm.contradictions import Contradictions, digest_of
from domainlm.digests import digest_json
from domainlm.errors import ConfigurationError, DomainLMError, SourceError, nearest
from domainlm.keys import KeyRing
from domainlm.project import resolve
from domainlm.records import TEST
from domainlm.retrain.batches import ACCEPTED, LANDED, PROMOTED, TRAINED, Batch, LandedFile
from domainlm.retrain.profile import Pack, Profile, Profiler
from domainlm.retrain.settings import FeedSettings
from domainlm.retrain.signals import BASELINE, SOURCES
from domainlm.sources import DOCUMENTS, LABELLED, NEEDED, OurColumn, RawRow, RowStream, SourceSettings
from domainlm.text import comparable

if TYPE_CHECKING:
    from domainlm.retrain.book import Book

KEPT = (ACCEPTED, TRAINED, PROMOTED)  # states of batches whose rows are, or will be, trained on
_REPLACED = "content was replaced after it landed; it lands anew"
_BEFORE, _NOW = "before", "now"  # in this order `label_agreement` tells of them
_NO_COLUMN = ("has no column '", "has no '")  # begin of the reader's messages that a column is missing
_QUOTED = re.compile(r"'([^']*)'")


@dataclass(frozen=True)
class Rules:
    """What acceptance holds rows against, besides their feed.

    Args:
        pack: tasks with their labels, and terms.
        keys: makes the buckets of a profile.
        allow_conflicting_answers: as `ingest` is told.
        max_label_disagreement: as `prepare` is told.
        sources: the configured static sources, whose labels count too.
    """

    pack: Pack
    keys: KeyRing
    allow_conflicting_answers: bool = False
    max_label_disagreement: float = 0.1
    sources: tuple[SourceSettings, ...] = ()

    @classmethod
    def read(
        cls,
        pack: str,
        keys: KeyRing | None = None,
        allow_conflicting_answers: bool = False,
        max_label_disagreement: float = 0.1,
        sources: Iterable[SourceSettings] = (),
    ) -> Rules:
        """The rules of a pack.

        Args:
            pack: its folder, relative to the project.
            keys: by default the key ring that this process finds.
            allow_conflicting_answers, max_label_disagreement, sources: see the class.

        Raises:
            ConfigurationError: the pack is faulty.
            SecretError: there is no key.
        """
        return cls(
            Pack.read(pack), keys or KeyRing.load(), allow_conflicting_answers, max_label_disagreement, tuple(sources)
        )


class _Broken(Exception):
    """The batch does not keep the contract: what a person reads."""


class _Replaced(Exception):
    """The content is not what landed: what the book is told."""


class _Unreadable(SourceError):
    """Its store cannot be read now: no fault of the batch."""


def accept(book: Book, batch: Batch, feed: FeedSettings, rules: Rules) -> Batch:
    """Look into a landed batch, and tell the book what came of it.

    Args:
        batch: as the book has it; one that is not `landed` comes back as it is.
        feed: its feed.
        rules: pack and keys.

    Returns:
        The batch, accepted, quarantined or withdrawn.

    Raises:
        SourceError: its store cannot be read now; the batch stays landed, and the next look may succeed.
        ConfigurationError: the feed cannot be accepted at all.
        BookUnavailable: the database cannot be asked.
    """
    if feed.limit:
        raise ConfigurationError(
            "a feed has no limit: it would cut off the newest rows", f"feed '{feed.name}'", "take `limit` away"
        )
    if batch.state != LANDED:
        return batch
    try:
        files, profile = _look(book, batch, feed, rules)
    except _Broken as broken:
        return book.quarantine(batch.id, str(broken))
    except _Replaced as replaced:
        return book.withdraw(batch.id, str(replaced))
    return book.accept(
        batch.id, profile.rows, profile.first_day, profile.last_day, files, profile.model_dump(mode="json")
    )


def profile_sources(book: Book, sources: Iterable[SourceSettings], rules: Rules) -> None:
    """Profile the configured static sources, each once for its content, and note in the book which ones there are.

    A source that cannot be read is passed over: `ingest` tells of it, and nothing is compared with it here.

    Raises:
        BookUnavailable: the database cannot be asked.
    """
    digests = []
    for source in sources:
        if source.split == TEST:  # never trained on, so nobody knows it
            continue
        try:
            files = [(file, _sha256(file)) for file in reading.locate(source.uri, source.parts)]
            digest = digest_json(
                {
                    "source": source.model_dump(mode="json"),
                    "files": [sha256 for _, sha256 in files],
                    "key": rules.keys.origin,
                    "labels": list(rules.pack.labels_of(source.resolved_task)),
                    "terms": sorted(rules.pack.terms.values()),
                }
            )
            if not book.value(SOURCES + digest):
                profiler = Profiler(source, rules.pack, rules.keys)
                stream = RowStream(source)
                for row in stream:
                    profiler.add(row)
                book.set_value(SOURCES + digest, profiler.profile(stream.header).model_dump_json())
        except (SourceError, OSError):
            continue
        digests.append(digest)
    if book.value(BASELINE) != " ".join(digests):
        book.set_value(BASELINE, " ".join(digests))


def _look(book: Book, batch: Batch, feed: FeedSettings, rules: Rules) -> tuple[list[LandedFile], Profile]:
    """Read every file of a batch.

    Raises:
        _Broken, _Replaced, SourceError: as `accept` says.
    """
    if feed.form != DOCUMENTS and feed.resolved_task not in rules.pack.tasks:
        remedy = nearest(feed.resolved_task, rules.pack.tasks)
        raise ConfigurationError(f"unknown task '{feed.resolved_task}'", f"feed '{feed.name}'", remedy)
    columns = _Columns(book, batch, feed)
    contradictions = _primed(book, batch, feed, rules)
    profiler = Profiler(feed, rules.pack, rules.keys)
    labels = frozenset(rules.pack.labels_of(feed.resolved_task)) if feed.form == LABELLED else frozenset()
    files, given = [], dict[bytes, str]()
    for file in batch.files:
        stream, kept = RowStream(_alone(feed, file)), profiler.rows
        try:
            for row in _rows(stream, file):
                _check_label(row, labels, feed)
                if contradictions:
                    contradictions.check(row)
                if labels:
                    given[_text_of(row)] = row.answer
                profiler.add(row)
        except SourceError as error:
            raise _told(error, file, columns, stream.header) from None
        if stream.files[0].sha256 != file.sha256:
            raise _Replaced(f"{file.path}: its {_REPLACED}")
        columns.read(stream.header, file)
        files.append(file.model_copy(update={"rows": profiler.rows - kept + stream.skipped_rows}))
    columns.compare(batch)
    if not profiler.rows:
        raise _Broken(f"{batch.name}: none of its rows matches the patterns of feed '{feed.name}'; mend the patterns")
    if not columns.waived:
        _check_agreement(given, _known_rows(book, batch, feed, rules), batch, rules)
    return files, profiler.profile(columns.found)


def _alone(feed: FeedSettings, file: LandedFile) -> SourceSettings:
    """One file of a feed as a source, by its very name: a pattern's signs may stand in it."""
    folder = file.uri.removesuffix(f"/{file.path}")
    return feed.model_copy(update={"uri": folder, "parts": (file.path,), "format": feed.resolved_format})


def _rows(stream: RowStream, file: LandedFile) -> Iterator[RawRow]:
    """The rows of a stream; what a storage client raises is an error of ours."""
    try:
        yield from stream
    except DomainLMError:
        raise
    except Exception as fault:  # its text may name what the client signed in with
        raise _unreadable(file, fault) from None


def _unreadable(file: LandedFile, fault: Exception) -> _Unreadable:
    remedy = "the batch stays landed, and it is tried again"
    return _Unreadable(f"cannot be read now ({type(fault).__name__})", file.path, remedy)


def _check_label(row: RawRow, labels: frozenset[str], feed: FeedSettings) -> None:
    if labels and row.answer not in labels:
        column = feed.columns.get("label", NEEDED[LABELLED]["label"])
        raise SourceError(
            f"column '{column}' holds a label that the task '{feed.resolved_task}' does not know", row.where,
            f"known labels: {', '.join(sorted(labels))}; map others by label_map of the feed",
        )  # fmt: skip


def _told(error: SourceError, file: LandedFile, columns: _Columns, header: Sequence[str]) -> Exception:
    """What a fault of a row means: of what landed, of what took its place, or of a store that cannot be read now.

    Args:
        header: what was read of it before the fault.
    """
    if isinstance(error, _Unreadable):
        return error
    try:
        now = _sha256(file.uri)
    except FileNotFoundError:
        return _Replaced(f"{file.path}: is no longer in the zone")
    except Exception as fault:  # whatever a storage client raises
        return _unreadable(file, fault)
    if now != file.sha256:
        return _Replaced(f"{file.path}: its {_REPLACED}")
    what, remedy = (_only_known(text, columns.known) for text in (error.what, error.remedy))
    if what.startswith(_NO_COLUMN):
        what += columns.hint(header)
    if remedy != error.remedy:
        remedy = "mend the file or its feed's settings"
    return _Broken("; ".join(part for part in (f"{error.where}: {what}", remedy) if part))


def _only_known(text: str, known: frozenset[str]) -> str:
    """A message of the reader without quoted words that are no names of ours: they may be cells of a row.

    The readers quote in single marks; a list of a header's names follows "known:".
    """
    quoted = _QUOTED.findall(text)
    if "known: " not in text and text.count("'") == 2 * len(quoted) and known.issuperset(quoted):
        return text
    start, end = text.find("'"), text.rfind("'") + 1
    return f"{text[:start]}(no known name){text[end:]}" if end and "known: " not in text else ""


class _Columns:
    """The columns of a batch against those of the batches of its feed before it.

    Args:
        book, batch, feed: as `accept` has them.
    """

    def __init__(self, book: Book, batch: Batch, feed: FeedSettings) -> None:
        self._feed, self.waived = feed, bool(book.released_by(batch.id))
        headers = [
            tuple(profile["columns"])
            for other in book.batches(state=KEPT, feed=feed.name)
            if (profile := book.profile(other.id)) and other.id != batch.id
        ]
        self._csv = feed.resolved_format == "csv"
        self._before = headers[-1] if headers else ()
        self._all = frozenset(name for header in headers for name in header)
        self._always = frozenset(self._before).intersection(*headers) if headers else frozenset()
        configured = {*NEEDED[feed.form].values(), *feed.columns.values(), *feed.label_map, *get_args(OurColumn)}
        self.known = frozenset(configured | {feed.name, feed.resolved_task} | self._all)
        self.found: list[str] = []

    def read(self, header: Sequence[str], file: LandedFile) -> None:
        """Note the columns of a file. Files of CSV have the same ones in the same order: they are read as one source.

        Raises:
            _Broken: they have not.
        """
        before = self.found or list(self._before)
        self.found += [name for name in header if name not in self.found]
        if self._csv and before and list(header) != before:
            remedy = f"ask who delivers it; if it is meant, give it a feed of its own beside '{self._feed.name}'"
            raise _Broken(f"{file.path}: {self._difference(before, header)}; {remedy}")

    def compare(self, batch: Batch) -> None:
        """Compare the columns of JSON lines with those of the batches before.

        One that only some of them had may be left out; that another one is missing or new a person must allow, by
        releasing the batch.

        Raises:
            _Broken: they differ, and nobody has allowed it.
        """
        differ = not self._all.issuperset(self.found) or not self._always.issubset(self.found)
        if self._before and not self._csv and differ and not self.waived:
            told = self._difference(sorted(self._always), self.found)
            raise _Broken(f"{batch.name}: {told}; ask who delivers it; if it is meant, release the batch")

    def hint(self, header: Sequence[str]) -> str:
        """How a file that lacks a column differs from those before it; nothing where there are none."""
        before = self._before if self._csv else sorted(self._always)
        return f"; {self._difference(before, header)}" if before and not set(before).issubset(header) else ""

    def _difference(self, before: Sequence[str], header: Sequence[str]) -> str:
        new = [name for name in header if name not in self._all.union(before)]
        missing = [name for name in before if name not in header]
        if not new and not missing:
            return "its columns stand in another order than in the files before it"
        parts = [f"missing {_names(missing)}"] if missing else []
        if 2 * len(new) > len(header):  # then the first line may be no header but a row
            parts.append(f"{len(new)} that are not known")
        elif new:
            parts.append(f"new {_names(new)}")
        return f"its columns are not those of the files before it: {'; '.join(parts)}"


def _names(columns: Sequence[str]) -> str:
    """Names that somebody else chose, for a message: short, few, and without signs that a terminal would follow."""
    shown = [name[:40] if name.isprintable() else ascii(name)[:40] for name in columns[:10]]
    return ", ".join([*shown, *([f"and {len(columns) - 10} more"] if len(columns) > 10 else [])])


def _primed(book: Book, batch: Batch, feed: FeedSettings, rules: Rules) -> Contradictions | None:
    """What finds a contradiction to rows of earlier batches, which `ingest` would stop at; None where none can be."""
    contradictions = Contradictions(feed, rules.allow_conflicting_answers)
    if not contradictions.questions and "id" not in feed.columns:
        return None
    for row in _Earlier(book, batch, feed):
        with suppress(SourceError):  # of two earlier batches `ingest` tells
            contradictions.check(row)
    return contradictions


class _Earlier:
    """The rows of a feed's earlier batches, read again; a file that is gone is passed over, as a training does.

    Args:
        book, batch, feed: as `accept` has them.
    """

    def __init__(self, book: Book, batch: Batch, feed: FeedSettings) -> None:
        self._feed = feed
        others = [other for other in book.batches(state=KEPT, feed=feed.name) if other.id != batch.id]
        self._files = [file for other in others for file in other.files if not file.removed]

    def __iter__(self) -> Iterator[RawRow]:
        for file in self._files:
            with suppress(SourceError):
                yield from _rows(RowStream(_alone(self._feed, file)), file)


def _known_rows(book: Book, batch: Batch, feed: FeedSettings, rules: Rules) -> Iterator[RawRow]:
    """Rows whose labels count already: of the feed's earlier batches, and of the static sources of its task."""
    yield from _Earlier(book, batch, feed)
    for source in rules.sources:
        if source.form == LABELLED and source.resolved_task == feed.resolved_task:
            with suppress(SourceError, OSError):  # `ingest` tells of it
                yield from RowStream(source)


def _check_agreement(given: Mapping[bytes, str], known: Iterable[RawRow], batch: Batch, rules: Rules) -> None:
    """Compare the labels of a batch with those that the same texts bear already. Classes that were swapped show nowhere
    else: every row is valid.

    Args:
        given: digest of a text -> its label, of the pack's; none where the task has no labels.

    Raises:
        _Broken: too many differ.
    """
    if not given:
        return
    labels = set(given.values()).union(*(task.labels for task in rules.pack.tasks.values()))
    before = ((text, row.answer) for row in known if (text := _text_of(row)) in given and row.answer in labels)
    rows = chain((("", _NOW, *one) for one in given.items()), (("", _BEFORE, *one) for one in before))
    for found in label_agreement(rows):
        if found.source != found.other and found.texts >= ENOUGH_TEXTS and found.share > rules.max_label_disagreement:
            most, times = next(iter(found.confusions.items()))
            raise _Broken(
                f"{batch.name}: {found.differing} of {found.texts} texts that were there before bear another label "
                f"now, at most {rules.max_label_disagreement:.0%} may; most often {most} ({times}); "
                "look for swapped classes; if it is meant, release the batch"
            )


def _text_of(row: RawRow) -> bytes:
    return digest_of(comparable(row.question), comparable(row.context))


def _sha256(uri: str) -> str:
    import fsspec

    with fsspec.open(uri if "://" in uri else str(resolve(uri)), "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
