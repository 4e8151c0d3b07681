"""Being told of changes below a folder, where the kernel can tell; where it cannot, a look every few seconds does.

The kernel tells (inotify, by `watchfiles`) of what this machine does to a local file system. It does not tell of what
another machine does to a shared one, nor where its limit of watches is reached; then `why` says so and somebody polls.
"""

from __future__ import annotations

import fnmatch
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

DEBOUNCE_MS, STEP_MS = 250, 50  # changes within so long of each other are told once
FAILS_S = 0.2  # a watch that cannot stand fails within so long; only then is it said that the kernel tells
CHECK_MS = 5000  # how often a folder that was replaced by another of its name is noticed
# File systems that other machines write to, or that tell nothing: their names in /proc/self/mountinfo.
SHARED = ("nfs", "cifs", "smb", "9p", "fuse", "ceph", "lustre", "gpfs", "beegfs", "glusterfs", "afs", "virtiofs")


class Changes:
    """Calls `wake` when something below a folder changes.

    Args:
        folder: what is watched; None where the zone is no local folder.
        ignore: patterns of names whose changes do not matter.
        wake: called from another thread; must not block.
        polls: called the same way when changes are no longer told of; `why` then says the reason.
    """

    def __init__(
        self,
        folder: Path | None,
        ignore: Sequence[str],
        wake: Callable[[], None],
        polls: Callable[[], None] = lambda: None,
    ) -> None:
        self.why = _untold(folder)
        self._folder, self._ignore, self._wake, self._polls = folder, ignore, wake, polls
        self._over, self._failed = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def told(self) -> bool:
        """Whether changes are told of; else somebody must look again and again."""
        return not self.why

    def start(self) -> Changes:
        """Begin to watch, where that can be done. What hinders it at once is known when this returns."""
        if self.told:
            import watchfiles  # noqa: F401 - loaded here, so that the thread comes to its watch at once

            self._thread = threading.Thread(target=self._run, name="changes", daemon=True)
            self._thread.start()
            self._failed.wait(FAILS_S)
        return self

    def stop(self) -> None:
        """Watch no more."""
        self._over.set()
        if self._thread is not None:
            self._thread.join(timeout=2)

    def _run(self) -> None:
        from watchfiles import watch

        try:
            place = _identity(self._folder)
            self._wake()  # what changed before the watch stood
            for changes in watch(
                self._folder, watch_filter=self._matters, debounce=DEBOUNCE_MS, step=STEP_MS, stop_event=self._over,
                rust_timeout=CHECK_MS, yield_on_timeout=True, raise_interrupt=False, force_polling=False,
                ignore_permission_denied=True,
            ):  # fmt: skip
                if changes:
                    self._wake()
                elif _identity(self._folder) != place:
                    raise FileNotFoundError("the folder was replaced")
        except Exception as error:  # whatever the library has against it: a poll needs no watch
            if not self._over.is_set():
                limit = "limit" in str(error).lower() or "inotify" in str(error).lower()
                self.why = (
                    "the kernel's limit of watches is reached (fs.inotify.max_user_watches)"
                    if limit
                    else f"the folder cannot be watched ({type(error).__name__})"
                )
                self._failed.set()
                self._polls()

    def _matters(self, change: object, path: str) -> bool:
        name = os.path.basename(path)
        return not any(fnmatch.fnmatchcase(name, pattern) for pattern in self._ignore)


def _untold(folder: Path | None) -> str:
    if folder is None:
        return "the zone is no local folder"
    kind = file_system_of(folder)
    if kind.startswith(SHARED):
        return f"other machines may write to this file system ({kind}), and of that the kernel does not tell"
    return ""


def file_system_of(path: Path, mounts: Path = Path("/proc/self/mountinfo")) -> str:
    """The type of the file system that a path lies on (proc(5), mountinfo); empty where that is not known.

    Args:
        path: need not be there yet.
        mounts: the kernel's list.
    """
    wanted, found, kind = os.path.realpath(path), "", ""
    try:
        lines = mounts.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return ""
    for line in lines:
        before, _, after = line.partition(" - ")
        point = before.split(" ")[4].encode("latin-1", "replace").decode("unicode_escape")
        inside = wanted == point or wanted.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(found):  # the later of two at one place covers the earlier
            found, kind = point, after.split(" ")[0]
    return kind


def _identity(folder: Path | None) -> tuple[int, int]:
    assert folder is not None
    state = folder.stat()
    return state.st_dev, state.st_ino
