"""The listing of a zone against what the book knows of it: the part of a scan that is paid for when nothing is new.

Size, time and ETag only ever say "unchanged". Of 100,000 known files little more than these is in memory, and each is
dropped as soon as the listing shows it; what is left over at the end is gone.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Set
from dataclasses import dataclass, field

from domainlm.retrain.book import Book
from domainlm.retrain.settings import DetectSettings, FeedSettings
from domainlm.retrain.zone.completeness import EMPTY
from domainlm.retrain.zone.names import Names, fault_of, shown
from domainlm.retrain.zone.places import Found, Local, Store, Trouble
from domainlm.retrain.zone.scans import Scan

# A file that changes twice in one tick of its store's clock keeps its time (git: "racy clean"); FAT ticks every 2 s.
RACY_S = 2.0
CONFIRM_S = 60.0  # a feed whose files are all gone is held so long: its disk may only be unmounted
PRESENT, UNREADABLE, REMOVED = "present", "unreadable", "removed"
_Stamps = dict[str, tuple[tuple[int, int, str], float, str]]


def unit_of(feed: FeedSettings, path: str) -> str:
    """What a file lands with: itself, or its folder."""
    return path.rpartition("/")[0] if feed.batch == "folder" else path


@dataclass(slots=True)
class Unit:
    """What lands as one; there may be 100,000 of them, so that sets are made when something comes into them.

    Fields:
        files: all of it that the listing has; of a single file that looks unchanged there is no unit.
        pending: paths that do not look unchanged.
        missing: paths that were there before.
    """

    feed: FeedSettings
    name: str
    files: list[Found] = field(default_factory=list)
    pending: Set[str] = frozenset()
    missing: Set[str] = frozenset()


class Listing:
    """One reading of the listing.

    Args:
        settings: the zone's.
        place: where it lies.
        book: what was seen before.
        clock: Unix time in seconds.
        scan: names that no feed fits, counts and what is held are put in here.

    Raises:
        ZoneUnreachable: the zone cannot be listed; nothing is changed.
    """

    def __init__(
        self, settings: DetectSettings, place: Local | Store, book: Book, clock: Callable[[], float], scan: Scan
    ) -> None:
        self._names, self._redigest_s = Names(settings), settings.redigest_h * 3600
        self._book, self._clock, self._scan = book, clock, scan
        self.feeds = {feed.name: feed for feed in settings.feeds if not feed.query}
        self.units: dict[tuple[str, str], Unit] = {}
        self.companions: dict[str, Found] = {}
        self.troubles: dict[str, str] = {}
        self.due: list[tuple[float, str, Found]] = []
        self.look_again_s: float | None = None
        self._closed: list[str] = []  # folders that could not be listed
        self._read(place)

    def unit(self, feed: FeedSettings, path: str) -> Unit:
        """The unit that a path belongs to."""
        name = unit_of(feed, path)
        if (feed.name, name) not in self.units:
            self.units[feed.name, name] = Unit(feed, name)
        return self.units[feed.name, name]

    def doubt(self, feed: FeedSettings, found: Found) -> None:
        """A file only looked unchanged."""
        unit = self.unit(feed, found.path)
        unit.pending = _with(unit.pending, found.path)
        if found not in unit.files:
            unit.files.append(found)

    def _read(self, place: Local | Store) -> None:
        known = {name: self._stamps(name) for name in self.feeds}
        shown_any: set[str] = set()
        now = self._clock()
        for item in place.files(self._names.ignored):
            if isinstance(item, Trouble):
                self.troubles[shown(item.path)] = item.reason
                if item.folder:
                    self._closed.append(item.path)
            elif self._names.companion(item.path):
                self.companions[item.path] = item
            elif fault := fault_of(item.path):
                self.troubles[shown(item.path)] = fault
            elif (feed := self._names.feed_of(item.path)) is None:
                self._scan.tell("unknown", shown(item.path))
            else:
                self._scan.files += 1
                shown_any.add(feed.name)
                self._compare(feed, item, known[feed.name].pop(item.path, None), now)
        for name, rest in known.items():
            for path in self._gone(name, rest, name in shown_any):
                unit = self.unit(self.feeds[name], path)
                unit.missing = _with(unit.missing, path)

    def _stamps(self, feed: str) -> _Stamps:
        return {
            row.path: (
                (row.size_bytes, row.mtime_ns, row.etag),
                row.digested_at,
                EMPTY if row.state == UNREADABLE and row.note == EMPTY else row.state,
            )
            for row in self._book.known(feed)
        }

    def _compare(self, feed: FeedSettings, found: Found, known: tuple | None, now: float) -> None:
        same = known is not None and known[0] == found.stamp and (found.mtime_ns != 0 or found.etag != "")
        settled = same and known[2] in (PRESENT, EMPTY)
        if settled and known[2] == EMPTY:
            self._scan.counts["unreadable"] += 1
        elif settled and self._is_due(found, known[1], now):
            self.due.append((known[1], feed.name, found))
        if settled and feed.batch == "file":
            return
        unit = self.unit(feed, found.path)
        unit.files.append(found)
        if not settled:
            unit.pending = _with(unit.pending, found.path)

    def _is_due(self, found: Found, digested_at: float, now: float) -> bool:
        """Whether a file that looks unchanged shall be read again."""
        changed_at = found.mtime_ns / 1e9
        if not found.etag and abs(digested_at - changed_at) < RACY_S:
            if 0 <= now - changed_at < RACY_S:  # a second digest would be no surer yet
                self.look_again_s = RACY_S
                return False
            return now >= changed_at  # else a time in the future would ask for it in every scan
        # after half the interval at the earliest, the whole at the latest: what landed together is not due together
        age = now - digested_at
        if 0 <= age < self._redigest_s / 2:
            return False
        share = 0.5 + zlib.crc32(found.path.encode()) / (1 << 33)
        return age < -RACY_S or age >= self._redigest_s * share

    def _gone(self, feed: str, rest: _Stamps, shown_any: bool) -> set[str]:
        """Known files that the listing lacks and its folders would have shown; none at first where all are gone."""
        gone = {path for path, (_, _, state) in rest.items() if state != REMOVED}
        gone = {path for path in gone if not any(path.startswith(folder) for folder in self._closed)}
        key = f"zone/gone/{feed}"
        since = self._book.value(key)
        if not gone or shown_any:
            if since:
                self._book.set_value(key, "")
            return gone
        now = self._clock()
        if since and now - float(since) >= CONFIRM_S:
            self._book.set_value(key, "")
            return gone
        if not since or now < float(since):  # the first time, or the clock was set back
            self._book.set_value(key, repr(now))
        self._scan.held.append(
            f"feed {feed}: all its files are gone ({len(gone)}); taken for removed if so {CONFIRM_S:.0f} s from now"
        )
        return set()


def _with(paths: Set[str], path: str) -> Set[str]:
    if isinstance(paths, set):
        paths.add(path)
        return paths
    return {path}
