"""Work on a stream by several processes, its results in the stream's order."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor
from contextlib import ExitStack
from functools import partial
from multiprocessing import get_all_start_methods, get_context
from typing import TypeVar

ALONE = 5_000  # so many items are worked on here before other processes are worth their start

Item = TypeVar("Item")
Result = TypeVar("Result")


class Pool:
    """Other processes for long work, started when it has turned out to be long; without them all is done here.

    Args:
        stack: ends them.
        processes: how many; as many as there are processors by default, 1 for none beside this one.
    """

    def __init__(self, stack: ExitStack, processes: int | None) -> None:
        self._stack = stack
        self.processes = processes if processes is not None else _processors()
        self._executor: ProcessPoolExecutor | None = None
        self._broken = False

    def map(
        self, chunks: Iterable[Sequence[Item]], job: Callable[[Sequence[Item]], partial[Result]]
    ) -> Iterator[tuple[Sequence[Item], Result]]:
        """Each chunk with what its job gives, in order."""
        seen = 0
        waiting: deque[tuple[Sequence[Item], partial[Result], Future[Result]]] = deque()
        for chunk in chunks:
            seen += len(chunk)
            executor = self._start() if seen > ALONE and self.processes > 1 else None
            task = job(chunk)
            if executor is None:
                yield from self._finish(waiting, 0)
                yield chunk, task()
                continue
            try:
                waiting.append((chunk, task, executor.submit(task)))
            except (BrokenExecutor, RuntimeError, OSError, AssertionError):  # none can be started here
                self._broken = True
                yield from self._finish(waiting, 0)
                yield chunk, task()
            yield from self._finish(waiting, 3 * self.processes)
        yield from self._finish(waiting, 0)

    def _finish(
        self, waiting: deque[tuple[Sequence[Item], partial[Result], Future[Result]]], left: int
    ) -> Iterator[tuple[Sequence[Item], Result]]:
        while len(waiting) > left:
            chunk, task, future = waiting.popleft()
            try:
                yield chunk, future.result()
            except BrokenExecutor:  # a process was killed
                self._broken = True
                yield chunk, task()

    def _start(self) -> ProcessPoolExecutor | None:
        if self._executor is None and not self._broken:
            # never by fork alone: the page verifies in a process that has threads
            method = "forkserver" if "forkserver" in get_all_start_methods() else "spawn"
            self._executor = self._stack.enter_context(
                ProcessPoolExecutor(self.processes, mp_context=get_context(method))
            )
        return None if self._broken else self._executor


def _processors() -> int:
    """Those that this process may use, where the system tells."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
