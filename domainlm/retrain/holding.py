"""A claim in the process that works for it: renewed by a heartbeat, and its loss ends the work at once.

Whoever lost a claim works for nothing, and beside the runner that took it over. So the loss ends what is at work, a
training of hours too, by an exception in the main thread, as an interruption by hand would.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from domainlm.errors import LeaseLost
from domainlm.retrain.batches import Claim, Result

if TYPE_CHECKING:
    from domainlm.retrain.book import Book

SIGNAL = signal.SIGUSR1  # ours to this process: Python runs its handler in the main thread, where the work is


class Holding:
    """Keeps a claim alive until it is settled or released.

    Args:
        book: the claim's.
        claim: that was just made.
    """

    def __init__(self, book: Book, claim: Claim) -> None:
        from domainlm.retrain.book import Heartbeat

        self.book, self.claim = book, claim
        self._at_work = False
        self._before: Any = None
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(SIGNAL, self._end_work)
        self._heartbeat = Heartbeat(book, claim, lambda _: self._interrupt()).start()

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Around work that a loss shall end; outside of it a loss waits for the next work.

        Raises:
            LeaseLost: the claim is lost.
        """
        self._heartbeat.check()
        self._at_work = True
        try:
            yield
        finally:
            self._at_work = False

    def settle(self, result: Result) -> None:
        """Have the book accept the result.

        Raises:
            LeaseLost, BookRefused: it does not count.
        """
        self._at_work = False  # from here on the book's own answer decides, and no signal
        self._heartbeat.stop()
        self.book.accept_result(self.claim, result)

    def release(self, reason: str) -> None:
        """End the claim without a result, where it has not ended yet.

        Raises:
            BookUnavailable: the book is away; the lease ends the claim.
        """
        self._at_work = False
        self._heartbeat.stop()
        if self._before is not None:
            signal.signal(SIGNAL, self._before)
        self.book.give_up(self.claim, reason)

    def _interrupt(self) -> None:
        if self._before is not None:
            signal.pthread_kill(threading.main_thread().ident or 0, SIGNAL)

    def _end_work(self, *_: Any) -> None:
        if self._at_work:
            self._heartbeat.check()
            raise LeaseLost("it was lost", f"claim {self.claim.token}", "what comes of it is not accepted")
