"""Which names in a zone are data, of which feed, and which no message or store should have to bear.

Names are kept as they are: `A.csv` and `a.csv` are two files, and so are the composed and the decomposed spelling of
one accent (Unicode NFC and NFD, UAX #15); a feed's pattern matches both spellings.
"""

from __future__ import annotations

import fnmatch
import re
import unicodedata

from fsspec.utils import glob_translate

from domainlm.retrain.settings import DetectSettings, FeedSettings

LONGEST_PATH_BYTES = 1024  # what S3 allows a key (Amazon S3 user guide, "Naming Amazon S3 objects")
LONGEST_SHOWN = 200
# Controls, surrogates (bytes that are no UTF-8), line separators, and what turns the direction of writing round, so
# that a name reads as another one (Unicode TR #36).
_HIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def shown(path: str) -> str:
    """A path as messages, logs and the book name it: one line, printable, at most 200 characters."""
    escaped = _HIDDEN.sub(lambda sign: f"\\u{ord(sign[0]):04x}", path)
    return escaped if len(escaped) <= LONGEST_SHOWN else f"{escaped[:120]}...{escaped[-77:]}"


def fault_of(path: str) -> str:
    """Why a path below the zone is not used; empty where it is fine."""
    if _HIDDEN.search(path):
        return "its name holds a control character, or bytes that are no UTF-8"
    if len(path.encode()) > LONGEST_PATH_BYTES:
        return f"its path is longer than {LONGEST_PATH_BYTES} bytes"
    if "::" in path:
        return "its name holds '::', by which file systems are chained"
    if any(segment in ("", ".", "..") for segment in path.split("/")):
        return "its path holds an empty folder name, '.' or '..'"
    return ""


class Names:
    """What the settings say of names.

    Args:
        settings: patterns of the feeds, ignored names, marker, suffixes of checksum files.
    """

    def __init__(self, settings: DetectSettings) -> None:
        self._feeds = [
            (feed, re.compile(glob_translate(unicodedata.normalize("NFC", feed.uri))))
            for feed in settings.feeds
            if not feed.query
        ]
        self._ignored = re.compile("|".join(map(fnmatch.translate, settings.ignore)) or r"(?!)")
        self._marker, self._suffixes = settings.marker, settings.checksum_suffixes

    def ignored(self, name: str) -> bool:
        """Whether a name, of a file or a folder, is no data wherever it lies."""
        return name != self._marker and self._ignored.match(name) is not None

    def companion(self, path: str) -> bool:
        """Whether a file says something of others: a marker or a checksum file."""
        return (self._marker != "" and path.rpartition("/")[2] == self._marker) or path.endswith(self._suffixes)

    def feed_of(self, path: str) -> FeedSettings | None:
        """The first feed, in the order of the configuration, whose pattern fits."""
        if not path.isascii():
            path = unicodedata.normalize("NFC", path)
        return next((feed for feed, pattern in self._feeds if pattern.match(path)), None)
