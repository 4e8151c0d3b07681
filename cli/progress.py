"""What the terminal shows while a run goes on: one line a finished step, and for the one at work a spinner or a bar."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TaskID, TextColumn
from rich.progress import Progress as Bars

from domainlm.train.watch import progress

EVERY_S = 30.0  # without a terminal: a line of a training's progress this often


class Progress:
    """Prints steps as they end. Without a terminal there are only lines, for a long training several."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars: Bars | None = None
        self._task: TaskID | None = None
        if console.is_terminal:
            self._bars = Bars(
                SpinnerColumn(),
                TextColumn("{task.description}"),
                _OnlyWithSteps(),
                _OnlyWithSteps(BarColumn(bar_width=30)),
                TextColumn("{task.fields[detail]}"),
                console=console,
                transient=True,
            )
        self._started = self._last = 0.0
        self.current = ""

    def __enter__(self) -> Progress:
        progress.listeners.append(self.advance)
        if self._bars:
            self._task = self._bars.add_task("", total=None, detail="")
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.advance in progress.listeners:  # one that broke was dropped
            progress.listeners.remove(self.advance)
        if self._bars:
            self._bars.stop()

    def say(self, text: str) -> None:
        """Show what is being done, without a line of its own."""
        if self._bars and self._task is not None:
            self._bars.remove_task(self._task)  # a reset would keep the number of steps: rich takes None for "as it is"
            self._task = self._bars.add_task(text, total=None, detail="")

    def tell(self, step: str, event: str) -> None:
        """Take a step's event: "started" or "ended"."""
        if event == "started":
            self.current, self._started = step, time.monotonic()
            self._last = self._started
            self.say(f"{step} ...")
            return
        self._console.print(f"  {step:<26}{time.monotonic() - self._started:7.1f} s")

    def advance(self, found: progress.Advance) -> None:
        """Take how far a training is: a bar with the time left, or now and then a line."""
        if self._bars and self._task is not None:
            name = f"{self.current} {found.stage}".strip()
            self._bars.update(
                self._task, description=name, completed=found.step, total=found.steps, detail=progress.figures(found)
            )
        elif time.monotonic() - self._last >= EVERY_S:
            self._last = time.monotonic()
            self._console.print(f"    {progress.line(found)}")


class _OnlyWithSteps(MofNCompleteColumn):
    """A column that is empty while nobody knows how long a step will take.

    Args:
        shown: what is shown then; the count of steps by default.
    """

    def __init__(self, shown: BarColumn | None = None) -> None:
        self._shown = shown
        super().__init__()

    def render(self, task):
        """The column for a task."""
        if task.total is None:
            return ""
        return self._shown.render(task) if self._shown else super().render(task)
