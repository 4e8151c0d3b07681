"""What is shown of a run on a cluster: on a terminal a table of its steps that is drawn anew, elsewhere lines."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from domainlm.cluster.following import COMPLETED, FAILED, OVER, Row
from domainlm.cluster.reasons import Reason

WAITS = "waits"
_COLOUR = {COMPLETED: "green", "cached": "green", FAILED: "bold red", "running": "cyan", WAITS: "dim"}
_AROUND = 8  # lines of the terminal that the table leaves free


class StepsTable:
    """Shows rows while they change.

    Args:
        console: where; with a terminal the table is live, else each change of a state is a line.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._spinner = Spinner("dots")
        self._live: Live | None = None
        self._told: set[tuple[str, str, str, int]] = set()
        self._reasons: set[tuple[str, str, str]] = set()
        self._lost: set[str] = set()

    def __enter__(self) -> StepsTable:
        self.go_on()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.pause()

    def pause(self) -> None:
        """Take the table away, to ask or to end."""
        if self._live:
            self._live.stop()
            self._live = None

    def go_on(self) -> None:
        """Show it, or show it again."""
        if self._console.is_terminal:
            # drawn by whoever shows it: a thread of its own would write into a question. A new one each time: what was
            # drawn before is not its own to take away.
            self._live = Live(console=self._console, transient=True, auto_refresh=False)
            self._live.start()

    def tell(self, waiting: dict[str, Reason], mishaps: dict[str, tuple[str, Reason]]) -> None:
        """Say what keeps the run up; each thing once.

        Args:
            waiting: {step: why its pod does not start}; told again when it is another cause or another pod. Not when
                Kubernetes has another word for it: ErrImagePull and ImagePullBackOff take turns for one image.
            mishaps: {pod: (step, what the cluster did to it)}.
        """
        for pod, (step, why) in mishaps.items():
            if pod not in self._lost:
                self._lost.add(pod)
                self._say(f"  {step or 'the run'} lost the pod {pod}: {why}")
        for step, why in waiting.items():
            if (now := (step, why.pod, why.what)) not in self._reasons:
                self._reasons.add(now)
                self._say(f"  {step or 'the run'} waits: {why}")

    def show(self, rows: list[Row], notes: list[str], status: str) -> None:
        """Show how the run stands.

        Args:
            rows: the steps.
            notes: what is out of order, such as a server that does not answer.
            status: a line above the table.
        """
        if self._live is None:
            self._lines(rows)
            return
        self._spinner.update(text=Text(status))
        told = [Text(note, style="yellow") for note in notes]
        self._live.update(Group(self._spinner, table(self._fitting(rows)), *told), refresh=True)

    def _say(self, text: str) -> None:
        self._console.print(text.replace("\n", "\n  "), style="yellow", markup=False, soft_wrap=True)

    def _fitting(self, rows: list[Row]) -> list[Row]:
        """What the terminal has room for: those at work and those that ended last rather than those that wait."""
        room = max(self._console.height - _AROUND, 4)
        if len(rows) <= room:
            return rows
        begun = [row for row in rows if row.state != WAITS]
        chosen = {row.step for row in (begun[-room:] + [row for row in rows if row.state == WAITS])[:room]}
        return [row for row in rows if row.step in chosen]

    def _lines(self, rows: list[Row]) -> None:
        for row in rows:
            cause = row.reason.what if row.reason and row.reason.code == row.state else row.state
            now = (row.step, cause, row.pod, row.restarts)
            if row.state == WAITS or now in self._told:
                continue
            self._told.add(now)
            self._console.print(line(row), markup=False, soft_wrap=True)


def table(rows: list[Row]) -> Table:
    """The steps with state, seconds, restarts, node and pod."""
    drawn = Table(box=None, padding=(0, 1), header_style="bold")
    for name, side in (("step", "left"), ("state", "left"), ("seconds", "right"), ("restarts", "right"),
                       ("node", "left"), ("pod", "left")):  # fmt: skip
        drawn.add_column(name, justify=side, overflow="ellipsis", no_wrap=True)  # type: ignore[arg-type]
    for row in rows:
        colour = _COLOUR.get(row.state, "yellow" if row.reason else "")
        restarts = str(row.restarts or "")
        drawn.add_row(row.step, Text(row.state, style=colour), _seconds(row), restarts, row.node, row.pod)
    return drawn


def line(row: Row) -> str:
    """A step in a line."""
    seconds = f"{_seconds(row)} s" if row.seconds is not None and row.state in OVER else ""
    restarts = f"{row.restarts} restart{'s' * (row.restarts > 1)}, " if row.restarts else ""
    place = f"{restarts}{row.pod}" + (f" on {row.node}" if row.node else "") if row.pod else ""
    return f"  {row.step:<26}{row.state:<22}{seconds:>9}  {place}".rstrip()


def _seconds(row: Row) -> str:
    return "" if row.seconds is None else f"{row.seconds:.1f}"
