"""How others see that a watcher lives: a heartbeat file for probes, and systemd's notifications (sd_notify(3)).

A first scan may digest for hours, and that is no fault; a listing that hangs on a dead mount is one. So the pulse beats
as long as the main thread came by lately, or the process is really computing; the heartbeat's age is by the monotonic
clock of the same boot, which no change of the wall clock moves.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from domainlm.retrain.book.clock import boot_id

BEAT_S = 10.0
STALE_S = 90.0  # a heartbeat that is older is that of a watcher which hangs or is gone
PATIENCE_S = 120.0  # the main thread may be so long in one call without the process computing anything
AT_WORK = 0.01  # share of a core from which on a process counts as computing; idle it uses a tenth of that


def notify_systemd(*lines: str) -> bool:
    """Tell systemd, where it asked to be told (`NOTIFY_SOCKET`); never a reason to end.

    Returns:
        Whether it was told.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return False
    if address.startswith("@"):  # an abstract socket
        address = "\0" + address[1:]
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as told:
        told.settimeout(1.0)
        told.sendto("\n".join(lines).encode(), address)
        return True
    return False


class Pulse:
    """Writes the heartbeat file and tells systemd's watchdog, from a thread of its own, while the main thread lives.

    Args:
        file: the heartbeat; made private, replaced as a whole.
        every_s: seconds between two beats; half of what systemd's watchdog allows where that is shorter.
    """

    def __init__(self, file: Path, every_s: float = BEAT_S) -> None:
        self.file = file
        asked = float(os.environ.get("WATCHDOG_USEC") or 0) / 1e6
        self._every_s = min(every_s, asked / 2) if asked else every_s
        self._over = threading.Event()
        self._touched = time.monotonic()
        self._state: dict[str, Any] = {}
        self._thread = threading.Thread(target=self._run, name="pulse", daemon=True)

    def __enter__(self) -> Pulse:
        self.file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()
        self._thread.join(timeout=5)
        with suppress(OSError):
            if read_heartbeat(self.file).get("pid") == os.getpid():  # not that of a watcher which took over since
                self.file.unlink()

    def touch(self, **state: Any) -> None:
        """The main thread came by; `state` is what the heartbeat says of it: words and numbers, nothing of the data."""
        self._touched = time.monotonic()
        if state:
            self._state = state

    def _run(self) -> None:
        before = self._computed()
        self._beat()
        while not self._over.wait(self._every_s):
            computed = self._computed()
            at_work = computed - before > AT_WORK * self._every_s
            before = computed
            if at_work or time.monotonic() - self._touched < PATIENCE_S:
                self._beat()

    @staticmethod
    def _computed() -> float:
        """CPU seconds of every other thread: of an fsspec file system the listing runs in one of its own."""
        return time.process_time() - time.thread_time()

    def _beat(self) -> None:
        notify_systemd("WATCHDOG=1")
        said = {
            "pid": os.getpid(),
            "boot": boot_id(),
            "pids": _pids(),
            "monotonic_s": time.monotonic(),
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            **self._state,
        }
        place = self.file.with_name(f".{self.file.name}.{os.getpid()}")
        with suppress(OSError):  # a full disk stops no watcher; the probe will say that the file is old
            place.write_text(json.dumps(said), encoding="utf-8")
            place.replace(self.file)


def read_heartbeat(file: Path) -> dict[str, Any]:
    """What the last heartbeat said; empty where there is none that can be read."""
    try:
        said = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return said if isinstance(said, dict) else {}


def age_s(said: dict[str, Any]) -> float:
    """Seconds since a heartbeat; infinite for none, for one of another boot, and where its process is gone (which is
    known only among the processes that this one sees: not of another container)."""
    try:
        then, pid = float(said["monotonic_s"]), int(said.get("pid", 0))
    except (KeyError, TypeError, ValueError):
        return float("inf")
    gone = said.get("boot") != boot_id() or (said.get("pids") == _pids() and not _there(pid))
    return float("inf") if gone else max(0.0, time.monotonic() - then)


def _there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _pids() -> str:
    """The namespace in which process numbers count (pid_namespaces(7))."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""
