"""Which rows of a query have landed: an index over the spooled files, on disk, that can always be made again.

The spooled files that the book names are the truth. The index holds a digest of each of their lines, so that a query
that gives a million rows again is compared in constant memory. It follows the book: where it knows a file that the book
does not (another book is used, or an older copy was put in its place), it is made again of the files of this book. It
is private like the rows: a plain digest of a short row can be guessed.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from domainlm.retrain.batches import LandedFile
from domainlm.retrain.zone.places import Local, Store, Unstable

_DIGEST_BYTES = 16  # 10^9 rows collide with odds of 10^-21


class SeenRows:
    """The index of one feed.

    Args:
        path: its file; made, with mode 0600, where it is missing.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        self._base = sqlite3.connect(path, isolation_level=None)
        try:
            self._make()
        except sqlite3.DatabaseError as error:  # damaged: it is made again of the spooled files
            if getattr(error, "sqlite_errorname", "") not in ("SQLITE_NOTADB", "SQLITE_CORRUPT"):
                self._base.close()
                raise
            self._base.close()
            path.unlink()
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
            self._base = sqlite3.connect(path, isolation_level=None)
            self._make()

    def _make(self) -> None:
        self._base.execute("CREATE TABLE IF NOT EXISTS lines (digest BLOB PRIMARY KEY) WITHOUT ROWID")
        self._base.execute("CREATE TABLE IF NOT EXISTS files (sha256 TEXT PRIMARY KEY) WITHOUT ROWID")

    def close(self) -> None:
        """Let go of the file."""
        self._base.close()

    def take_in(self, place: Local | Store, files: Sequence[LandedFile]) -> None:
        """Bring the index to what has landed: forget what another book knew and what was deleted since, whose rows land
        again if the database still gives them, and take in the lines of files that it does not know, such as those that
        another host landed.

        Args:
            files: of the book's batches of the feed, in whatever state, as far as they lie in the spool.

        Raises:
            Unreadable, Unstable, ZoneUnreachable: one cannot be read as it landed; the next call goes on from there.
        """
        known = {sha256 for (sha256,) in self._base.execute("SELECT sha256 FROM files")}
        if known - {file.sha256 for file in files}:
            with self.changing():  # which lines were that file's alone is not known
                self._base.execute("DELETE FROM lines")
                self._base.execute("DELETE FROM files")
            known = set()
        for file in files:
            if file.sha256 not in known:
                with self.changing():
                    digest = hashlib.sha256()
                    for line in place.lines(file.path):
                        digest.update(line)
                        self.add(line)
                    if digest.hexdigest() != file.sha256:
                        raise Unstable
                    self.landed(file.sha256)

    @contextmanager
    def changing(self) -> Iterator[None]:
        """A transaction: what is added inside is forgotten if the block fails."""
        self._base.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._base.execute("ROLLBACK")
            raise
        self._base.execute("COMMIT")

    def add(self, line: bytes) -> bool:
        """Note a line; whether it was not known."""
        digest = hashlib.blake2b(line, digest_size=_DIGEST_BYTES).digest()
        return self._base.execute("INSERT OR IGNORE INTO lines VALUES (?)", (digest,)).rowcount == 1

    def landed(self, sha256: str) -> None:
        """Note that all lines of a file are known."""
        self._base.execute("INSERT OR IGNORE INTO files VALUES (?)", (sha256,))
