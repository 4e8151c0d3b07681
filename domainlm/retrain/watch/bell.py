"""What wakes the watcher's one thread: other threads, children that end, and signals."""

from __future__ import annotations

import os
import select
import signal
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Any


class Bell:
    """Wakes one thread from any other, and from signals: a pipe, since an Event may deadlock in a signal's handler."""

    def __init__(self) -> None:
        self._in, self._out = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def ring(self) -> None:
        """Wake it."""
        with suppress(OSError):  # full: it has been rung enough
            os.write(self._out, b"!")

    def wait(self, seconds: float) -> bool:
        """Whether it was rung, at the latest after so long."""
        ready, _, _ = select.select([self._in], [], [], max(0.0, seconds))
        if ready:
            with suppress(BlockingIOError):
                while os.read(self._in, 4096):
                    pass
        return bool(ready)

    @property
    def number(self) -> int:
        """Of the end that is written to, for `signal.set_wakeup_fd`."""
        return self._out


class Interrupted(BaseException):
    """SIGTERM or SIGINT came while a look was at work that may take hours; no `except Exception` takes it."""


class Signals:
    """SIGTERM and SIGINT ask to stop, SIGHUP to read the configuration again; each rings the bell.

    Args:
        bell: rung by Python itself when a signal arrives, also while the thread waits.
    """

    def __init__(self, bell: Bell) -> None:
        self.stop = self.reload = False
        self.may_interrupt = False  # set around what may be torn apart: a look, whose writes are transactions
        self._bell = bell
        self._before: dict[int, Any] = {}
        self._descriptor = -1

    def __enter__(self) -> Signals:
        self._descriptor = signal.set_wakeup_fd(self._bell.number, warn_on_full_buffer=False)
        for number, handler in ((signal.SIGTERM, self._end), (signal.SIGINT, self._end), (signal.SIGHUP, self._again)):
            self._before[number] = signal.signal(number, handler)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        signal.set_wakeup_fd(self._descriptor)
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _end(self, number: int, frame: FrameType | None) -> None:
        self.stop = True
        if self.may_interrupt:
            self.may_interrupt = False
            raise Interrupted

    def _again(self, number: int, frame: FrameType | None) -> None:
        self.reload = True
