"""Signals of forked processes."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

_open = 0


@contextmanager
def plain_signals_in_children() -> Iterator[None]:
    """What is forked in here ends by SIGTERM and SIGINT as any process does, whatever its parent does with them.

    A child inherits its parent's handlers. Under ZenML that of a step writes into the server that the step was stopped,
    and a pool ends its processes with SIGTERM; one that only makes a note leaves a process that never ends.
    """
    global _open
    _open += 1
    try:
        yield
    finally:
        _open -= 1


def _reset() -> None:
    if _open:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset)
