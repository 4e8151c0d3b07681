"""A landed batch against the contract of its feed: every row by the strict reader, as `ingest` will read it.

Heavy: the reader imports `datasets`, so a watcher does this in a child process. Rows stream; no file is held in memory.
What comes of it stands in the book: accepted with a profile, quarantined with a reason for a person, or withdrawn where
the content that landed is no longer there. A reason names file, row and column, and never a value: a column's name is
quoted only where it is known, because the first line of a file without a header is a row of data.
"""

from __future__ import annotations

import hashlib
from collections import ChainMap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from domainlm import reading
from domainlm.agreement import ENOUGH_TEXTS, label_agreement
from domainlm.digests import READ_BYTES, digest_json
from domainlm.errors import ConfigurationError, DomainLMError, SourceError, nearest
from domainlm.keys import KeyRing
from domainlm.project import resolve
from domainlm.records import TEST
from domainlm.retrain.accepting.columns import Columns, ColumnsDiffer, only_known
from domainlm.retrain.accepting.past import Labels, Past, alone, text_of
from domainlm.retrain.accepting.profile import Pack, Profile, Profiler
from domainlm.retrain.batches import ACCEPTED, LANDED, PROMOTED, TRAINED, Batch, LandedFile
from domainlm.retrain.deciding.signals import BASELINE, SOURCES
from domainlm.retrain.settings import FeedSettings
from domainlm.sources import DOCUMENTS, LABELLED, NEEDED, RawRow, RowStream, SourceSettings

if TYPE_CHECKING:
    from domainlm.retrain.book import Book

KEPT = (ACCEPTED, TRAINED, PROMOTED)  # states of batches whose rows are, or will be, trained on
_REPLACED = "content was replaced after it landed; it lands anew"
_BEFORE, _NOW = "before", "now"  # in this order `label_agreement` tells of them
_NO_COLUMN = ("has no column '", "has no '")  # begin of the reader's messages that a column is missing


@dataclass(frozen=True)
class Rules:
    """What acceptance holds rows against, besides their feed.

    Args:
        pack: tasks with their labels, and terms.
        keys: makes the buckets of a profile.
        allow_conflicting_answers: as `ingest` is told.
        max_label_disagreement: as `prepare` is told.
        sources: the configured static sources, whose labels count too.
        feeds: of the configuration: labels of those with the same task count too.
        pasts: feed -> what was read of its earlier batches in this process.
        given: static source -> labels that were read of it.
    """

    pack: Pack
    keys: KeyRing
    allow_conflicting_answers: bool = False
    max_label_disagreement: float = 0.1
    sources: tuple[SourceSettings, ...] = ()
    feeds: tuple[FeedSettings, ...] = ()
    pasts: dict[str, Past] = field(default_factory=dict, compare=False, repr=False)
    given: dict[str, Labels] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def read(
        cls,
        pack: str,
        keys: KeyRing | None = None,
        allow_conflicting_answers: bool = False,
        max_label_disagreement: float = 0.1,
        sources: Iterable[SourceSettings] = (),
        feeds: Iterable[FeedSettings] = (),
    ) -> Rules:
        """The rules of a pack.

        Args:
            pack: its folder, relative to the project.
            keys: by default the key ring that this process finds.
            allow_conflicting_answers, max_label_disagreement, sources, feeds: see the class.

        Raises:
            ConfigurationError: the pack is faulty.
            SecretError: there is no key.
        """
        return cls(
            Pack.read(pack), keys or KeyRing.load(), allow_conflicting_answers, max_label_disagreement, tuple(sources),
            tuple(feeds),
        )  # fmt: skip


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
    if feed.form != DOCUMENTS and feed.resolved_task not in rules.pack.tasks:
        remedy = nearest(feed.resolved_task, rules.pack.tasks)
        raise ConfigurationError(f"unknown task '{feed.resolved_task}'", f"feed '{feed.name}'", remedy)
    if batch.state != LANDED:
        return batch
    others = _others(book, feed, rules)
    past = _past(book, feed, rules, without=batch.id)
    try:
        look = _look(batch, feed, rules, past, others, allowed=bool(book.released_by(batch.id)))
    except (_Broken, ColumnsDiffer) as broken:
        return book.quarantine(batch.id, str(broken))
    except _Replaced as replaced:
        return book.withdraw(batch.id, str(replaced))
    profile = look.profile
    accepted = book.accept(
        batch.id, profile.rows, profile.first_day, profile.last_day, look.files, profile.model_dump(mode="json")
    )
    past.learn(batch, profile.columns, look.given)
    rules.pasts[feed.name] = past
    return accepted


def _past(book: Book, feed: FeedSettings, rules: Rules, without: str = "") -> Past:
    """What is known of the feed, taken out of `rules.pasts`: a batch that is refused may leave traces in it."""
    others = [other for other in book.batches(state=KEPT, feed=feed.name) if other.id != without]
    past = rules.pasts.pop(feed.name, None)
    if past is None or not past.is_of(others):
        past = Past(feed, _labels(feed, rules), rules.allow_conflicting_answers)
    past.read(book, others)
    if past.contradictions is None:  # nothing of a refused batch can be in it
        rules.pasts[feed.name] = past
    return past


def _others(book: Book, feed: FeedSettings, rules: Rules) -> dict[str, Labels]:
    """Labels of the static sources, and of the other feeds' kept batches, that have the feed's task."""
    known, found = _labels(feed, rules), {}
    alike = lambda one: one.form == LABELLED and one.resolved_task == feed.resolved_task  # noqa: E731
    for source in filter(alike, rules.sources if known else ()):
        if source.name not in rules.given:
            rules.given[source.name] = Labels.of(source, known)
        found[source.name] = rules.given[source.name]
    for other in filter(alike, rules.feeds if known else ()):
        if other.name != feed.name:
            rules.pasts[other.name] = past = _past(book, other, rules)
            found[other.name] = past.given
    return found


def _labels(feed: FeedSettings, rules: Rules) -> frozenset[str]:
    return frozenset(rules.pack.labels_of(feed.resolved_task) if feed.form == LABELLED else ())


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


class _Look(NamedTuple):
    """What was found in a batch.

    Args:
        files: with their rows.
        profile: of all of them.
        given: labels of its texts.
    """

    files: list[LandedFile]
    profile: Profile
    given: Labels


def _look(
    batch: Batch, feed: FeedSettings, rules: Rules, past: Past, others: Mapping[str, Labels], allowed: bool
) -> _Look:
    """Read every file of a batch.

    Args:
        past: of the feed.
        others: labels of other sources of its task.
        allowed: a person has released the batch as it is.

    Raises:
        _Broken, ColumnsDiffer, _Replaced, SourceError: as `accept` says.
    """
    columns = Columns(feed, list(past.headers.values()), allowed)
    profiler = Profiler(feed, rules.pack, rules.keys)
    labels = _labels(feed, rules)
    found = _Look([], profiler.profile(()), Labels())
    for file in batch.files:
        stream, kept = RowStream(alone(feed, file)), profiler.rows
        try:
            for row in _rows(stream, file):
                _check_label(row, labels, feed)
                if past.contradictions:
                    past.contradictions.check(row)
                if labels:
                    found.given.add(text_of(row), row.answer)
                profiler.add(row)
        except SourceError as error:
            raise _told(error, file, columns, stream.header) from None
        if stream.files[0].sha256 != file.sha256:
            raise _Replaced(f"{file.path}: its {_REPLACED}")
        columns.read(stream.header, file.path)
        found.files.append(file.model_copy(update={"rows": profiler.rows - kept + stream.skipped_rows}))
    columns.compare(batch.name)
    if not profiler.rows:
        raise _Broken(f"{batch.name}: none of its rows matches the patterns of feed '{feed.name}'; mend the patterns")
    if not allowed:
        before = ChainMap(
            past.given.first, *(others[source.name].first for source in rules.sources if source.name in others)
        )
        _check_agreement(found.given.first, before, batch, rules)
    _check_sum(found.given, past.given, others, batch, rules)
    return found._replace(profile=profiler.profile(columns.found))


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


def _told(error: SourceError, file: LandedFile, columns: Columns, header: Sequence[str]) -> Exception:
    """What a fault of a row means: of what landed, of what took its place, or of a store that cannot be read now.

    Args:
        header: what was read of it before the fault.
    """
    if isinstance(error, _Unreadable):
        return error
    try:
        now = _sha256(file.uri, file.size_bytes)
    except (FileNotFoundError, IsADirectoryError):
        return _Replaced(f"{file.path}: is no longer in the zone")
    except SourceError:  # a pipe or a device took its place
        return _Replaced(f"{file.path}: is no file any more")
    except Exception as fault:  # whatever a storage client raises
        return _unreadable(file, fault)
    if now != file.sha256:
        return _Replaced(f"{file.path}: its {_REPLACED}")
    what, remedy = (only_known(text, columns.known) for text in (error.what, error.remedy))
    if what.startswith(_NO_COLUMN):
        what += columns.hint(header)
    if remedy != error.remedy:
        remedy = "mend the file or its feed's settings"
    return _Broken("; ".join(part for part in (f"{error.where}: {what}", remedy) if part))


def _check_agreement(given: Mapping[bytes, str], before: Mapping[bytes, str], batch: Batch, rules: Rules) -> None:
    """Compare the labels of a batch with those that the same texts bear already. Classes that were swapped show nowhere
    else: every row is valid.

    Args:
        given, before: digest of a text -> its label, of the pack's, in the batch and before it.

    Raises:
        _Broken: too many differ.
    """
    common = [text for text in given if text in before]
    rows = [("", name, text, side[text]) for name, side in ((_BEFORE, before), (_NOW, given)) for text in common]
    for found in label_agreement(rows):
        if found.texts >= ENOUGH_TEXTS and found.share > rules.max_label_disagreement:
            most, times = next(iter(found.confusions.items()))
            raise _Broken(
                f"{batch.name}: {found.differing} of {found.texts} texts that were there before bear another label "
                f"now, at most {rules.max_label_disagreement:.0%} may; most often {most} ({times}); "
                "look for swapped classes; if it is meant, release the batch"
            )


def _check_sum(given: Labels, before: Labels, others: Mapping[str, Labels], batch: Batch, rules: Rules) -> None:
    """Sum the disagreement as `prepare` will, over everything that it will read: what tips it over would stop every
    later training, so that no release lets it pass.

    Args:
        given, before: labels of the feed's texts, in the batch and before it.
        others: labels of other sources of the task.

    Raises:
        _Broken: with the batch more differ than may, and without it they do not, or fewer do.
    """
    with_it = {text for text, label in given.first.items() if before.first.get(text, label) != label} | given.doubted
    new = [text for text in given.first if text not in before.first]
    sums = [("texts of its feed bear two labels", _Sum(len(before.first), len(before.doubted)),
             _Sum(len(before.first) + len(new), len(before.doubted | with_it)))]  # fmt: skip
    for name, other in others.items():
        added = [given.first[text] != other.first[text] for text in new if text in other.first]
        if added:
            was = _sum(before.first, other.first)
            both = _Sum(was.texts + len(added), was.differing + sum(added))
            sums.append((f"texts that '{name}' has too bear another label there", was, both))
    for told, was, now in sums:
        over = rules.max_label_disagreement
        if now.is_over(over) and (now.differing > was.differing or not was.is_over(over)):
            raise _Broken(
                f"{batch.name}: with it {now.differing} of {now.texts} {told} ({was.differing} of {was.texts} without "
                f"it), at most {over:.0%} may: every training would stop at it; withdraw it or the earlier ones, or "
                "raise max_label_disagreement of prepare"
            )


class _Sum(NamedTuple):
    """Texts that two sources have, or one in all, and those of them with two labels."""

    texts: int
    differing: int

    def is_over(self, share: float) -> bool:
        """Whether `prepare` stops at it."""
        return self.texts >= ENOUGH_TEXTS and self.differing / self.texts > share


def _sum(one: Mapping[bytes, str], other: Mapping[bytes, str]) -> _Sum:
    few, many = sorted((one, other), key=len)
    differ = [label != many[text] for text, label in few.items() if text in many]
    return _Sum(len(differ), sum(differ))


def _sha256(uri: str, size_bytes: int | None = None) -> str:
    """The digest of a file; empty where it is larger than it was, so that no more than that is read.

    Raises:
        SourceError: it is no file.
        OSError: it cannot be opened; of a store whatever its client raises.
    """
    digest, left = hashlib.sha256(), size_bytes
    with reading.opened(uri if "://" in uri else str(resolve(uri))) as stream:
        while chunk := stream.read(READ_BYTES):
            if left is not None and (left := left - len(chunk)) < 0:
                return ""
            digest.update(chunk)
    return digest.hexdigest()
