"""What a retraining works on: the batches that were trained on before, then the new ones, file by file.

Rows keep their place: old files stand before new ones, each part in order of landing, so that the row number after
which rows are new is known (`new_after`), and a training on the same batches reads the same rows in the same order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from domainlm.errors import ConfigurationError, nearest
from domainlm.project import resolve
from domainlm.reading import display, spelled
from domainlm.retrain.batches import (
    ACCEPTED,
    PROMOTED,
    TRAINED,
    Batch,
    BriefBatch,
    Claim,
    Decision,
    LandedFile,
    RetrainingPlan,
)
from domainlm.retrain.settings import DecideSettings, FeedSettings
from domainlm.sources import SourceSettings

if TYPE_CHECKING:
    from domainlm.retrain.book import Book


def selected(book: Book, settings: DecideSettings, feeds: Sequence[FeedSettings]) -> list[BriefBatch]:
    """The accepted batches that a training may learn from now, in order of landing: what a claim asks for.

    Args:
        feeds: of the configuration; a batch of a feed that it does not name any more waits on.
        settings: `since`, `until` and `batches` limit them; where an earlier run is repeated there are none, since a
            batch has one result.

    Raises:
        BookRefused: a named batch is not in the book.
        ConfigurationError: a named batch is in no state to be trained on.
    """
    if settings.as_run:
        return []
    names = [feed.name for feed in feeds]
    waiting = book.briefs(state=ACCEPTED, feeds=names, since=settings.since, until=settings.until)
    if not settings.batches:
        return waiting
    named = {book.batch(prefix).id: prefix for prefix in settings.batches}
    found = [batch for batch in waiting if batch.id in named]
    for missing in named.keys() - {batch.id for batch in found}:
        batch = book.batch(missing)
        where = f"batch {named[missing]}"
        if batch.feed not in names:
            raise ConfigurationError(f"no feed is called '{batch.feed}' any more", where, nearest(batch.feed, names))
        if batch.state == ACCEPTED:
            raise ConfigurationError("holds no data of the days that are asked for", where, "mend since and until")
        remedy = "a trained batch is repeated with its run: as_run" if batch.rows else "see `domainlm batches show`"
        raise ConfigurationError(f"is {batch.state}: it does not wait to be trained on", where, remedy)
    return found


def make_plan(
    book: Book,
    claim: Claim,
    decision: Decision,
    settings: DecideSettings,
    feeds: Sequence[FeedSettings],
    zone: str,
    aside: str = "",
) -> RetrainingPlan:
    """The plan of a claim.

    Files that are no longer in the zone are left out, and so are old batches of feeds that the configuration does not
    name any more. Of a path that holds other content by now the later batch counts, and equal content counts once.

    Args:
        claim: the right to its batches; none where something else asked for a training.
        decision: why.
        settings: start, replay ratio, the run that is repeated.
        feeds: of the configuration.
        zone: where the files should lie, for the message that they do not.
        aside: where a dry run has put what would lie beside a feed's other files.

    Raises:
        BookRefused: a claimed batch is not in the book.
        ConfigurationError: there is no such run to repeat, a new batch is of no feed, or a feed's files lie in two
            places.
    """
    old, new = _batches(book, claim, settings)
    names = [feed.name for feed in feeds]
    for batch in new:
        if batch.feed not in names:
            remedy = nearest(batch.feed, names)
            raise ConfigurationError(f"no feed is called '{batch.feed}' any more", f"batch {batch.id[:12]}", remedy)
    sources, digests, new_after, rounds = [], {}, {}, {}
    learnt = {id: place for place, result in enumerate(book.results(claim.lane), 1) for id in result.batches}
    for feed in feeds:
        before, after = ([batch for batch in part if batch.feed == feed.name] for part in (old, new))
        entries = _entries(before, after)
        if not entries:
            continue
        # a feed that is trusted by now does not wash what landed when it was not
        trusted = feed.trusted and all(batch.trusted for batch in (*before, *after))
        sources.append(_source(feed, [entry.file for entry in entries], trusted, zone, aside))
        digests |= {_named(entry.file): entry.file.sha256 for entry in entries}
        new_after[feed.name] = sum(entry.file.rows for entry in entries if not entry.new)
        rounds[feed.name] = _rounds(entries, learnt)
    return RetrainingPlan(
        claim=claim, decision=decision, sources=tuple(sources), digests=digests, new_after=new_after,
        rounds=rounds, trusted=all(source.trusted for source in sources), start=settings.start,
        replay_ratio=settings.replay_ratio, as_run=settings.as_run,
    )  # fmt: skip


class Fresh(NamedTuple):
    """Batches alone, as sources.

    Args:
        sources: one a feed.
        digests: file -> SHA-256, as it was accepted.
        ends: feed -> (number of the last row, batch) in order, over the rows as they are read.
    """

    sources: tuple[SourceSettings, ...]
    digests: dict[str, str]
    ends: dict[str, list[tuple[int, str]]]


def fresh(batches: Sequence[Batch], feeds: Sequence[FeedSettings], zone: str) -> Fresh:
    """Some batches without those before them: what the champion is probed on before anything learns from them.

    Args:
        batches: accepted ones, in order of landing; of feeds that the configuration still names.
        feeds: of the configuration.
        zone: as in `make_plan`.

    Raises:
        ConfigurationError: a feed's files lie in two places.
    """
    found = Fresh((), {}, {})
    for feed in feeds:
        own = [batch for batch in batches if batch.feed == feed.name]
        entries = _entries((), own)
        if not entries:
            continue
        trusted = feed.trusted and all(batch.trusted for batch in own)
        found = found._replace(sources=(*found.sources, _source(feed, [one.file for one in entries], trusted, zone)))
        ends, last = [], 0
        for one in entries:
            found.digests[_named(one.file)] = one.file.sha256
            last += one.file.rows
            ends.append((last, next(batch.id for batch in own if one.file in batch.files)))
        found.ends[feed.name] = ends
    return found


def _batches(book: Book, claim: Claim, settings: DecideSettings) -> tuple[list[Batch], list[Batch]]:
    """Old and new batches, each in order of landing."""
    if not settings.as_run:
        return book.batches(state=(TRAINED, PROMOTED)), _numbered(book, claim.batches)
    results = book.results(claim.lane)
    place = next((place for place, result in enumerate(results) if result.run_id == settings.as_run), None)
    if place is None:
        remedy = nearest(settings.as_run, [result.run_id for result in results]) if results else "no run was accepted"
        raise ConfigurationError(
            f"no accepted result of {claim.lane} is of this run", f"as_run {settings.as_run}", remedy
        )
    again = results[place].batches
    if settings.batches:
        named = [book.batch(prefix).id for prefix in settings.batches]
        if strange := [id for id in named if id not in again]:
            remedy = f"its batches: {', '.join(id[:12] for id in again) or 'none'}"
            raise ConfigurationError(f"run {settings.as_run} had no batch {strange[0][:12]}", "batches", remedy)
        again = tuple(named)
    before = [batch for result in results[:place] for batch in result.batches]
    return _numbered(book, before), _numbered(book, again)


def _numbered(book: Book, batches: Iterable[str]) -> list[Batch]:
    wanted = set(batches)
    found = [batch for batch in book.batches(state=(ACCEPTED, TRAINED, PROMOTED)) if batch.id in wanted]
    # one that was taken back since it was trained on, or that is not in the book
    others = [book.batch(id) for id in wanted - {batch.id for batch in found}]
    return sorted(found + others, key=lambda batch: batch.number)


def _rounds(entries: Iterable[_Entry], learnt: Mapping[str, int]) -> tuple[tuple[int, int], ...]:
    """By which result old rows were first learnt: the last row of each run of files of one result."""
    found, last = [], 0
    for entry in entries:
        last += entry.file.rows
        if entry.new:
            break
        place = learnt.get(entry.batch, 1)
        if found and found[-1][1] == place:
            found.pop()
        found.append((last, place))
    return tuple(found)


class _Entry(NamedTuple):
    file: LandedFile
    new: bool
    batch: str


def _entries(old: Sequence[Batch], new: Sequence[Batch]) -> list[_Entry]:
    """The files of a feed that count, old ones first."""
    last = {
        file.path: batch.number
        for batch in sorted((*old, *new), key=lambda one: one.number)
        for file in batch.files
        if not file.removed  # content that came back under a path lies there now, whatever lay there meanwhile
    }
    entries: dict[str, _Entry] = {}
    for batch, fresh in (*((batch, False) for batch in old), *((batch, True) for batch in new)):
        for file in batch.files:
            if not file.removed and last[file.path] == batch.number:
                entries.setdefault(file.sha256, _Entry(file, fresh, batch.id))
    return list(entries.values())


def _source(
    feed: FeedSettings, files: Sequence[LandedFile], trusted: bool, zone: str, aside: str = ""
) -> SourceSettings:
    places = {_folder(file) for file in files}
    folders = sorted(places - {aside} or places)
    if len(folders) > 1:
        raise ConfigurationError(
            f"the files of feed '{feed.name}' lie in several places: {', '.join(folders)}",
            "steps.detect.parameters.zone",
            f"bring the older ones into {zone}; the next scan finds them there",
        )  # fmt: skip
    stated = {name: getattr(feed, name) for name in SourceSettings.model_fields}
    changed = {
        "uri": display(folders[0]), "parts": tuple(file.path for file in files), "format": feed.resolved_format,
        "trusted": trusted,
    }  # fmt: skip
    return SourceSettings(**stated | changed)


def _folder(file: LandedFile) -> str:
    return _full(file.uri).removesuffix(f"/{file.path}")


def _named(file: LandedFile) -> str:
    """As the manifest names the file."""
    return display(spelled(file.uri))


def _full(uri: str) -> str:
    return uri if "://" in uri else str(resolve(uri))
