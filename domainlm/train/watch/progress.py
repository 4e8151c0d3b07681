"""How far a training is: told to whoever listens (the command line draws a bar), by the first process alone.

Light to import, so that who listens need not wait for torch; `telling` has the callback that tells.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

PAUSE_S = 0.5  # between two looks at what another process says


class Advance(NamedTuple):
    """The state after a step.

    Args:
        stage: the stage's name in a curriculum; empty without one.
        step: optimizer steps done.
        steps: those of the whole stage.
        seconds_left: by the speed of recent steps, looks and checkpoints in; None before the first.
        loss: of the last point of the curve.
        tokens_per_second: likewise.
    """

    stage: str
    step: int
    steps: int
    seconds_left: float | None
    loss: float | None
    tokens_per_second: float | None


listeners: list[Callable[[Advance], None]] = []


def tell(advance: Advance) -> None:
    """Tell all listeners; one that breaks is dropped, since a display must not end a training."""
    for listener in tuple(listeners):
        try:
            listener(advance)
        except Exception:
            listeners.remove(listener)


def line(advance: Advance) -> str:
    """One line of plain text.

    >>> line(Advance("", 50, 200, 90.0, 2.31, 1234.5))
    'step 50 of 200, loss 2.31, 1,234 tokens/s, 1:30 left'
    """
    name = f"{advance.stage}: " if advance.stage else ""
    return ", ".join(filter(None, (f"{name}step {advance.step} of {advance.steps}", figures(advance))))


def figures(advance: Advance) -> str:
    """Loss, speed and the time left, as far as they are known."""
    parts = []
    if advance.loss is not None:
        parts.append(f"loss {advance.loss:.3g}")
    if advance.tokens_per_second is not None:
        parts.append(f"{advance.tokens_per_second:,.0f} tokens/s")
    if advance.seconds_left is not None and advance.step < advance.steps:
        parts.append(f"{clock(advance.seconds_left)} left")
    return ", ".join(parts)


def clock(seconds: float) -> str:
    """Minutes and seconds, with hours where there are any.

    >>> clock(59.6), clock(3725)
    ('1:00', '1:02:05')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


class Written:
    """A listener of a process that somebody else started: leaves the newest state in a file, which `followed` reads."""

    def __init__(self, path: Path) -> None:
        self._path, self._last = path, -PAUSE_S

    def __call__(self, advance: Advance) -> None:
        now = time.monotonic()
        if now - self._last >= PAUSE_S or advance.step in (0, advance.steps):
            self._last = now
            draft = self._path.with_suffix(f".{os.getpid()}.draft")
            draft.write_text(json.dumps(advance))
            os.replace(draft, self._path)


@contextmanager
def followed(path: Path) -> Iterator[None]:
    """Inside the block, listeners hear what another process writes to a file; one from before counts for nothing."""
    path.unlink(missing_ok=True)
    over = threading.Event()
    thread = threading.Thread(target=_follow, args=(path, over), daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _follow(path: Path, over: threading.Event) -> None:
    told, done = None, False
    while not done:
        done = over.wait(PAUSE_S)  # once more when it is over: the last state
        try:
            found = Advance(*json.loads(path.read_text()))
        except (OSError, ValueError, TypeError):
            continue
        if found != told:
            told = found
            tell(found)
