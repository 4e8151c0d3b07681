"""Where rows of queries are put: a private file for each landing, whole or not there at all."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from domainlm.project import home, resolve
from domainlm.retrain.batches import LandedFile
from domainlm.retrain.book import Book
from domainlm.retrain.settings import SQL
from domainlm.retrain.zone.places import Local, Store, Unreadable, Unstable, ZoneUnreachable, place_of

_NAME_DIGITS = 32
DEFAULT = "retrain/landed"  # the spool, below the project's home, where none is configured


class Spool:
    """The folder of one feed below the spool.

    Args:
        place: the spool.
        feed: name of the feed and of its folder.
    """

    def __init__(self, place: Local | Store, feed: str) -> None:
        self._place, self._feed = place, feed

    @contextmanager
    def writing(self) -> Iterator[SpooledFile]:
        """A file that is dropped unless it is kept."""
        if isinstance(self._place, Local):
            folder = resolve(self._place.uri) / self._feed
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        else:  # gathered on the local disk, then sent in one go
            folder = home() / "retrain" / "zone" / self._feed
        handle, name = tempfile.mkstemp(suffix=".tmp", dir=folder)  # mode 0600
        try:
            with os.fdopen(handle, "wb") as stream:
                yield SpooledFile(stream, Path(name), self._place, self._feed)
        finally:
            Path(name).unlink(missing_ok=True)


def spooled_files(book: Book) -> list[tuple[str, str]]:
    """(batch, URI) of every spooled file, whatever became of its batch: rows as their database gave them, in clear.

    One whose folder cannot be looked into is named too: it may be there.

    Raises:
        BookUnavailable: the book does not answer.
    """
    found, there = [], {}
    for batch in book.batches():
        if not batch.name.startswith(SQL):  # as `Queries` calls them
            continue
        for file in batch.files:
            root = file.uri.removesuffix(f"/{file.path}")
            if (root, batch.feed) not in there:
                try:
                    there[root, batch.feed] = place_of(root).names(batch.feed)
                except Unstable:  # there is no such folder
                    there[root, batch.feed] = set()
                except (Unreadable, ZoneUnreachable):
                    there[root, batch.feed] = None
            names = there[root, batch.feed]
            if names is None or file.path in names:
                found.append((batch.id, file.uri))
    return found


class SpooledFile:
    """A file that is being written."""

    def __init__(self, stream: IO[bytes], path: Path, place: Local | Store, feed: str) -> None:
        self._stream, self._path, self._place, self._feed = stream, path, place, feed
        self._sha256, self._size_bytes = hashlib.sha256(), 0

    def write(self, line: bytes) -> None:
        """Add a line."""
        self._stream.write(line)
        self._sha256.update(line)
        self._size_bytes += len(line)

    def keep(self) -> LandedFile | None:
        """Put the file in its place, durably, under a name made of its content; None where it is empty.

        Raises:
            OSError: the disk is full, or the folder cannot be written.
            ZoneUnreachable: the store does not answer.
        """
        if not self._size_bytes:
            return None
        self._stream.flush()
        os.fsync(self._stream.fileno())
        sha256 = self._sha256.hexdigest()
        path = f"{self._feed}/{sha256[:_NAME_DIGITS]}.jsonl"
        self._place.put(self._path, path)
        uri = f"{self._place.uri}/{path}"
        return LandedFile(path=path, uri=uri, sha256=sha256, size_bytes=self._size_bytes)
