"""What the terminal shows while a run goes on: one line a finished step, a spinner for the one at work."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.status import Status


class Progress:
    """Prints steps as they end. Without a terminal there is no spinner, only the lines."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._status: Status | None = console.status("") if console.is_terminal else None
        self._started = 0.0
        self.current = ""

    def __enter__(self) -> Progress:
        if self._status:
            self._status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._status:
            self._status.stop()

    def say(self, text: str) -> None:
        """Show what is being done, without a line of its own."""
        if self._status:
            self._status.update(text)

    def tell(self, step: str, event: str) -> None:
        """Take a step's event: "started" or "ended"."""
        if event == "started":
            self.current, self._started = step, time.monotonic()
            self.say(f"{step} ...")
            return
        self._console.print(f"  {step:<26}{time.monotonic() - self._started:7.1f} s")
