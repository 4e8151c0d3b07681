"""The file of a SQLite book: private, and the same one for as long as it is open."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from domainlm.errors import BookUnavailable


class BookFile:
    """A SQLite book's file, of mode 0600 (its log files take the mode over) in a folder of 0700.

    Args:
        path: where it lies.
        create: whether to make it where it is missing.

    Raises:
        BookUnavailable: it is not there, cannot be made, or is a folder.
    """

    def __init__(self, path: Path, create: bool) -> None:
        self.path = path
        try:
            if create and not path.exists():
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
            found = path.stat()
        except OSError as error:
            if isinstance(error, FileNotFoundError) and not create:
                raise BookUnavailable(
                    "there is no batch book", str(path), "`domainlm watch` or `retrain` makes one; check the path"
                ) from None
            raise BookUnavailable(
                f"cannot be opened: {error.strerror}", str(path), "see to its folder and its rights"
            ) from None
        if stat.S_ISDIR(found.st_mode):
            raise BookUnavailable("is a folder, not a batch book", str(path), "name a file")
        self._same = found.st_dev, found.st_ino

    def check(self) -> None:
        """Refuse to go on in a file that has no name any more: what is written there, nobody else reads, and beside a
        new book in its place two results of one batch could be accepted.

        Raises:
            BookUnavailable: the file was removed, moved or replaced since it was opened.
        """
        try:
            found = os.stat(self.path)
        except OSError:
            found = None
        if found is None or (found.st_dev, found.st_ino) != self._same:
            raise BookUnavailable(
                "was removed or replaced while it was open", str(self.path),
                "stop every process that has the book open, put it in its place, and start them again",
            )  # fmt: skip
