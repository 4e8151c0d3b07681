"""Children of the watcher: the heavy work is done by commands of their own, in process groups of their own, so that the
watcher stays small, goes on noticing, and does not end when one of them does."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from domainlm.errors import DomainLMError
from domainlm.retrain.watch.health import notify_systemd

KEPT_LOGS = 60
GRACE_S = 60.0  # for a training to stop between two steps, before it is ended
OnStop = Literal["stop", "leave"]
BUSY = 75  # EX_TEMPFAIL of sysexits.h: nothing is wrong, another time it may go


class Child:
    """A command at work.

    Args:
        name: what it does, for people.
        command: its arguments; no secret among them.
        log: where its output goes, mode 0600.
        ended: called from another thread when it has ended.
        keys: what it works on.

    Raises:
        LaunchFailed: the system started no process.
    """

    def __init__(
        self, name: str, command: Sequence[str], log: Path, ended: Callable[[], None], keys: Sequence[str] = ()
    ) -> None:
        self.name, self.log, self.keys = name, log, tuple(keys)
        self.overdue = False
        self._began = time.monotonic()
        try:
            log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with open(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "wb") as out:
                self._process = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
                )
        except OSError as error:
            raise LaunchFailed(
                f"it cannot be started ({error.strerror})", name, "see memory, disk and limits"
            ) from None
        self._ended = ended
        threading.Thread(target=self._wait, name=f"waits for {name}", daemon=True).start()

    @property
    def pid(self) -> int:
        """Its process, which leads its group."""
        return self._process.pid

    @property
    def code(self) -> int | None:
        """Its exit code; negative where a signal ended it, None while it is at work."""
        return self._process.poll()

    @property
    def seconds(self) -> float:
        """Since its start."""
        return time.monotonic() - self._began

    def told(self) -> str:
        """How it ended, in words."""
        code = self.code
        if code is None:
            return "is at work"
        if self.overdue:
            return "took longer than it may, and was ended"
        if code < 0:
            with suppress(ValueError):
                return f"was ended by {signal.Signals(-code).name}"
        return f"ended with code {code}"

    def ask_to_stop(self) -> None:
        """SIGTERM: a training stops between two steps, and keeps its checkpoint."""
        with suppress(ProcessLookupError):
            self._process.terminate()

    def end(self) -> None:
        """SIGKILL to it and all that it started. Its claim runs out, or the next runner takes it over."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=5)

    def forget_log(self) -> None:
        """Delete its output."""
        with suppress(OSError):
            self.log.unlink()

    def wait(self, seconds: float) -> bool:
        """Whether it has ended, at the latest after so long."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=max(0.0, seconds))
        return self.code is not None

    def _wait(self) -> None:
        self._process.wait()
        self._ended()


class LaunchFailed(DomainLMError):
    """No process could be started."""


def new_log(folder: Path, name: str) -> Path:
    """A file for the output of a child; all but the latest are deleted."""
    kept = sorted(folder.glob(f"{name}-*.log")) if folder.is_dir() else []
    for old in kept[: max(0, len(kept) - KEPT_LOGS + 1)]:
        with suppress(OSError):
            old.unlink()
    return folder / f"{name}-{datetime.now(UTC):%Y%m%dT%H%M%S%f}.log"


class Children:
    """The children at work, one of a kind at a time.

    Args:
        logs: folder of their output.
        ended: called from another thread when one has ended.
        say: a line for the log.
    """

    def __init__(self, logs: Path, ended: Callable[[], None], say: Callable[[str], None]) -> None:
        self._logs, self._ended, self._say = logs, ended, say
        self._at_work: dict[str, Child] = {}

    def __contains__(self, name: object) -> bool:
        return name in self._at_work

    def start(self, name: str, command: Sequence[str], keys: Sequence[str] = ()) -> Child:
        """Start one.

        Raises:
            LaunchFailed: the system starts no process.
        """
        child = Child(name, command, new_log(self._logs, name), self._ended, keys)
        self._at_work[name] = child
        return child

    def end_overdue(self, limits_s: Mapping[str, float]) -> None:
        """End those that took longer than their kind may, with all that they started."""
        for name, child in self._at_work.items():
            if not child.overdue and child.code is None and child.seconds > (limit := limits_s.get(name, float("inf"))):
                child.overdue = True
                self._say(f"{name} took longer than {limit:g} s and is ended: process {child.pid}, log {child.log}")
                child.end()

    def ended(self) -> list[tuple[str, Child]]:
        """Those that have ended since the last call."""
        over = [(name, child) for name, child in self._at_work.items() if child.code is not None]
        for name, _ in over:
            del self._at_work[name]
        return over

    def stop(self, on_stop: OnStop) -> None:
        """Leave none behind without a word: each is asked to stop, and ended where it does not in time.

        Args:
            on_stop: `leave` lets a training go on by itself.
        """
        if on_stop == "leave" and (child := self._at_work.pop("retrain", None)):
            self._say(f"the training goes on without the watcher: process {child.pid}, log {child.log}")
        for child in self._at_work.values():
            child.ask_to_stop()
        until = time.monotonic() + GRACE_S
        notify_systemd(f"EXTEND_TIMEOUT_USEC={int((GRACE_S + 10) * 1e6)}")
        for name, child in self._at_work.items():
            if not child.wait(until - time.monotonic()):
                self._say(f"{name} did not stop within {GRACE_S:.0f} s and is ended")
                child.end()
            elif name == "retrain":
                after = "the next goes on from its checkpoint, where there is one"
                self._say(f"the training was asked to stop and {child.told()}; {after}")
        self._at_work.clear()
