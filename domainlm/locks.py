"""One process at a time in a folder, among those of one machine or one file system that knows locks."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOCK = ".lock"


@contextmanager
def alone(place: Path, patience_s: float = 0.0) -> Iterator[bool]:
    """Whether nobody else works in a place; nobody will inside the block then. A process that dies lets go.

    Args:
        place: the folder.
        patience_s: how long to wait for whoever does.
    """
    end = time.monotonic() + patience_s
    with open(place / LOCK, "w") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() < end:
                    time.sleep(0.2)
                    continue
                yield False
            else:
                yield True
            return
