"""The landing zone as the rest of retraining sees it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from domainlm.retrain.batches import SeenFile
from domainlm.retrain.book import Book
from domainlm.retrain.settings import DetectSettings
from domainlm.retrain.zone.changes import Changes
from domainlm.retrain.zone.completeness import Completeness, Stillness
from domainlm.retrain.zone.listing import REMOVED, UNREADABLE, Listing
from domainlm.retrain.zone.places import place_of
from domainlm.retrain.zone.queries import Queries
from domainlm.retrain.zone.scans import Scan

_NO_FEED = ""  # of what is no data file: links, pipes, folders that cannot be listed


class Zone:
    """A place where data lands, and what of it the book knows.

    Several processes may watch one zone: a batch is its content, and landing it twice changes nothing. How long a file
    has kept still is known to one `Zone` only, so a program that looks once calls `settled`.

    Args:
        settings: where, which feeds, and when a file is complete.
        book: what landed and what was seen.
        clock: Unix time in seconds; decides when digests are taken again, never whether a file is complete.
        monotonic: seconds that never go back; decides what has settled.
        aside: a folder where a dry run puts new rows of queries, and whatever it must remember of them.

    Raises:
        ZoneUnreachable: there is no client for such a store.
    """

    def __init__(
        self,
        settings: DetectSettings,
        book: Book,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        aside: Path | None = None,
    ) -> None:
        self.settings, self.aside = settings, aside
        self._book, self._clock, self._monotonic = book, clock, monotonic
        self._files = any(not feed.query for feed in settings.feeds)
        self._place = place_of(settings.zone) if self._files else None
        self._stillness = Stillness(settings.settle_s, monotonic)
        self._misfits: dict[str, object] = {}
        self._queries = Queries(settings, book, clock, monotonic, aside)
        self.next_settle_s: float | None = None

    def scan(self) -> Scan:
        """Look once: what is complete and new lands.

        Raises:
            ZoneUnreachable: the zone cannot be listed, or its store stopped answering; nothing is taken for removed.
            BookUnavailable: the book's database does not answer; the next scan finds the same again.
        """
        began, scan = time.monotonic(), Scan()
        self.next_settle_s = None
        if self._place is not None:
            self._scan_files(scan)
        self._queries.scan(scan)
        scan.seconds = time.monotonic() - began
        return scan

    def settled(self, patience_s: float, sleep: Callable[[float], None] = time.sleep) -> Scan:
        """Look until nothing is about to settle any more, at most for `patience_s`; the news of all together."""
        end = self._monotonic() + patience_s
        scan = self.scan()
        while scan.more or (self.next_settle_s is not None and scan.counts["settling"] and self._monotonic() < end):
            sleep(min(self.next_settle_s, max(0.0, end - self._monotonic())))
            scan.add(self.scan())
        return scan

    def _scan_files(self, scan: Scan) -> None:
        listing = Listing(self.settings, self._place, self._book, self._clock, scan)
        self._stillness.begin()
        if listing.due or any(unit.pending or unit.missing for unit in listing.units.values()):
            completeness = Completeness(self.settings, self._place, self._stillness, self._misfits, listing.companions)
            changes = Changes(
                listing, self._place.uri, self._book, completeness, self._stillness, self._clock, scan,
                redigest_all=self.settings.redigest_h == 0,
            )  # fmt: skip
            changes.run()
            scan.digested_bytes = completeness.digested_bytes
        waits = [one for one in (self._stillness.end(), listing.look_again_s) if one is not None]
        self.next_settle_s = 0.0 if scan.more else min(waits, default=None)
        self._tell_troubles(listing.troubles, scan)

    def _tell_troubles(self, troubles: dict[str, str], scan: Scan) -> None:
        """What is no file, or cannot be looked into: said when it begins."""
        before = {row.path: row for row in self._book.known(_NO_FEED) if row.state == UNREADABLE}
        now = self._clock()
        rows = [
            SeenFile(_NO_FEED, name, 0, 0, "", "", now, "", UNREADABLE, reason)
            for name, reason in troubles.items()
            if name not in before or before[name].note != reason
        ]
        scan.unreadable += [(row.path, row.note) for row in rows]
        scan.counts["unreadable"] += len(troubles)
        rows += [row._replace(state=REMOVED, note="") for name, row in before.items() if name not in troubles]
        if rows:
            self._book.observe(rows)
