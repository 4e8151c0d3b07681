"""When a file is complete: its checksum fits, a marker says so, or it kept size and time for a while.

- A checksum file beside it (`news.csv.sha256`, `news.csv.md5`; bare digits, or "DIGITS  name" a line as `sha256sum` and
  `md5sum` write it) decides alone: the file is complete when its digest fits, whatever its age.
- A marker (`_SUCCESS`) covers the files of its folder that are not younger than it. Younger ones settle: programs that
  copy a folder in order of name bring the marker before the data.
- Else size and time must hold still for `settle_s`, by the monotonic clock of this process: the time of day, and the
  times of files, may jump or be set by whoever copies them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from domainlm.retrain.settings import DetectSettings, FeedSettings
from domainlm.retrain.zone.places import Digests, Found, Local, Store, Unreadable, Unstable

EMPTY = "is empty"
MISMATCH = "does not fit its checksum file"
TOO_LARGE = "is larger than its feed's max_file_bytes"
_CHECKSUM_BYTES = 1 << 16
_SOON_S = 0.1  # until the next look at a file that changed while it was read, where none has to settle
_DIGITS = re.compile(r"[0-9a-fA-F]{32,128}\Z")


class Waits(Exception):
    """Not complete yet."""


class Stillness:
    """Since when each file that is not taken in yet has kept its stamp.

    Args:
        settle_s: how long it must.
        monotonic: seconds that never go back.
    """

    def __init__(self, settle_s: float, monotonic: Callable[[], float]) -> None:
        self._settle_s, self._monotonic = settle_s, monotonic
        self._since: dict[str, tuple[object, float]] = {}
        self._looked: set[str] = set()
        self._restarted = False

    def begin(self) -> None:
        """A scan begins: what it does not ask for is forgotten at its end."""
        self._looked, self._restarted = set(), False

    def end(self) -> float | None:
        """The scan is over: seconds until the next file will have settled, None where no time is waited for."""
        self._since = {path: kept for path, kept in self._since.items() if path in self._looked}
        now = self._monotonic()
        left = (since + self._settle_s - now for _, since in self._since.values())
        return min((one for one in left if one > 0), default=_SOON_S if self._restarted else None)

    def settled(self, found: Found) -> bool:
        """Whether a file has kept size and time for long enough; the first call begins to measure."""
        now = self._monotonic()
        stamp, since = self._since.get(found.path, (None, now))
        if stamp != found.stamp:
            since = now
        self._since[found.path] = (found.stamp, since)
        self._looked.add(found.path)
        return now - since >= self._settle_s

    def restart(self, found: Found) -> None:
        """It changed just now, whatever the listing said."""
        self._restarted = True
        self._since[found.path] = (found.stamp, self._monotonic())
        self._looked.add(found.path)


class Completeness:
    """Takes the digests of files that are complete.

    Args:
        settings: marker and suffixes of checksum files.
        place: where the files lie.
        stillness: kept from scan to scan.
        misfits: kept from scan to scan: files whose digest did not fit, with the stamps of both when it was taken.
        companions: markers and checksum files of the listing, by path.
    """

    def __init__(
        self,
        settings: DetectSettings,
        place: Local | Store,
        stillness: Stillness,
        misfits: dict[str, object],
        companions: dict[str, Found],
    ) -> None:
        self._marker, self._suffixes = settings.marker, settings.checksum_suffixes
        self._place, self._stillness, self._misfits, self._companions = place, stillness, misfits, companions
        self.digested_bytes = 0

    def covered(self, files: Iterable[Found], folder: str, needed: bool) -> bool:
        """Whether the marker of a folder vouches for files: it is there and none of them is younger.

        Raises:
            Waits: it is needed and not there.
        """
        marker = self._companions.get(f"{folder}/{self._marker}" if folder else self._marker) if self._marker else None
        if marker is None:
            if needed and self._marker:
                raise Waits
            return False
        return all(file.mtime_ns <= marker.mtime_ns for file in files)

    def ready(self, files: Iterable[Found]) -> bool:
        """Whether each of some files kept still, or has a checksum file that will tell."""
        return all([self._stillness.settled(one) or bool(self._checksums(one)) for one in files])

    def digest(self, feed: FeedSettings, one: Found, whole: bool) -> str:
        """The SHA-256 of a complete file.

        Args:
            whole: a marker covers it.

        Raises:
            Waits: it is not complete, or changed while it was read.
            Unreadable: it is empty or too large, cannot be opened, or has settled and does not fit its checksum file.
        """
        if one.size_bytes > feed.max_file_bytes:
            raise Unreadable(TOO_LARGE)
        still = self._stillness.settled(one)
        checksums = self._checksums(one)
        if one.size_bytes == 0 and (still or whole):
            raise Unreadable(EMPTY)
        if one.size_bytes == 0 or not (checksums or ((still or whole) and not feed.checksum)):
            raise Waits
        try:
            if not checksums:
                return self.read(one).sha256
            if self._misfits.get(one.path) != (stamps := (one.stamp, *(sums.stamp for sums in checksums))):
                stated = {sums.path.rpartition(".")[2]: self._stated(sums, one) for sums in checksums}
                digests = self.read(one, tuple(stated))
                if all(digests.others[name] == digits for name, digits in stated.items()):
                    self._misfits.pop(one.path, None)
                    return digests.sha256
                self._misfits[one.path] = stamps
        except Unstable:
            self._stillness.restart(one)
            raise Waits from None
        if still:
            raise Unreadable(MISMATCH)
        raise Waits

    def read(self, one: Found, algorithms: tuple[str, ...] = ()) -> Digests:
        """The digests of a file as it is; raises as a place's `read`."""
        digests = self._place.read(one, algorithms)
        self.digested_bytes += one.size_bytes
        return digests

    def _checksums(self, one: Found) -> list[Found]:
        names = (one.path + suffix for suffix in self._suffixes)
        return [self._companions[name] for name in names if name in self._companions]

    def _stated(self, checksum: Found, one: Found) -> str:
        """What a checksum file states of a file; empty where it says nothing of it, as while it is being written."""
        name = one.path.rpartition("/")[2]
        for line in self._place.head(checksum, _CHECKSUM_BYTES).decode("utf-8", "replace").splitlines():
            # a backslash before the digits: the name is escaped; "*" before it: read in binary mode (coreutils manual)
            digits, _, named = line.strip().removeprefix("\\").partition(" ")
            named = named.strip().removeprefix("*").rpartition("/")[2]
            if _DIGITS.match(digits) and named in ("", name):
                return digits.lower()
        return ""
