"""A look into the landing zone, and into what landed there; `domainlm watch` does the same without ZenML."""

from __future__ import annotations

from domainlm.errors import BookRefused, SourceError
from domainlm.names import INGEST, PREPARE
from domainlm.retrain.accepting.acceptance import Rules, accept, profile_sources
from domainlm.retrain.batches import ACCEPTED, LANDED, QUARANTINED, Detection
from domainlm.retrain.book import Book
from domainlm.retrain.settings import DetectSettings
from domainlm.retrain.zone import Zone
from steps.compiled import Compiled
from steps.keys import load_keys

PATIENCE = 3.0  # times `settle_s`: so long a look waits for files that are still settling


def look(book: Book, settings: DetectSettings, run: Compiled) -> Detection:
    """Scan the zone, and look into every batch that landed and was not looked into yet."""
    scan = Zone(settings, book).settled(PATIENCE * settings.settle_s)
    feeds = {feed.name: feed for feed in settings.feeds}
    ingest = run.settings(INGEST)
    keys = load_keys(run.pipeline.mode or None)
    rules = Rules.read(
        run.pipeline.pack, keys, ingest.allow_conflicting_answers,
        run.settings(PREPARE).max_label_disagreement, ingest.sources, settings.feeds,
    )  # fmt: skip
    profile_sources(book, rules.sources, rules)
    seen, unread = [], 0
    for batch in book.batches(state=LANDED):
        if batch.feed in feeds:
            try:
                seen.append(accept(book, batch, feeds[batch.feed], rules))
            except (SourceError, BookRefused):  # its store cannot be read now, or another runner moved it on meanwhile
                unread += 1
    return Detection(
        files=scan.files,
        landed=tuple(batch.name for batch in scan.landed),
        accepted=tuple(batch.name for batch in seen if batch.state == ACCEPTED),
        quarantined={batch.id: batch.reason for batch in seen if batch.state == QUARANTINED},
        removed=len(scan.removed),
        settling=scan.counts["settling"],
        unreadable=scan.counts["unreadable"] + unread,
        unknown=scan.counts["unknown"],
    )
