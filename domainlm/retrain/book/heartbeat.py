"""A claim is kept alive while its work goes on, and its loss is noticed."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from domainlm.errors import BookUnavailable, DomainLMError, LeaseLost
from domainlm.retrain.batches import Claim
from domainlm.retrain.book.claims import Claims

BEATS = 3  # in a lease: two may fail
_LOG = logging.getLogger(__name__)


class Heartbeat:
    """Renews a claim in a thread of its own until it is stopped or the claim is lost.

    A database that does not answer is asked again: nobody else can take the claim over in it meanwhile, and if
    somebody did on the other side of a broken line, the next answer says so.

    Args:
        book: the claim's.
        claim: what is renewed, `BEATS` times in a lease.
        on_loss: called once, from the thread, when the claim is lost.
    """

    def __init__(self, book: Claims, claim: Claim, on_loss: Callable[[LeaseLost], None] | None = None) -> None:
        self.claim = claim
        self.lost = threading.Event()
        self.error: DomainLMError | None = None  # of the last beat; None when it was answered
        self._book, self._on_loss = book, on_loss
        self._stopped = threading.Event()
        self._answered = time.monotonic()
        self._thread = threading.Thread(target=self._beat, name=f"claim-{claim.token}", daemon=True)

    @property
    def silent_s(self) -> float:
        """Seconds since the book last confirmed the claim."""
        return time.monotonic() - self._answered

    def start(self) -> Heartbeat:
        """Begin to renew."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """Renew no more; the claim stays as it is. Waits for a beat under way."""
        self._stopped.set()
        if self._thread is not threading.current_thread():
            self._thread.join(self._book.patience_s + 1)

    def check(self) -> None:
        """Raises LeaseLost where the claim is known to be lost."""
        if self.lost.is_set() and isinstance(self.error, LeaseLost):
            raise self.error

    def _beat(self) -> None:
        while not self._stopped.wait(self.claim.lease_s / BEATS):
            try:
                self._book.renew(self.claim)
                self._answered, self.error = time.monotonic(), None
            except LeaseLost as error:
                if self._stopped.is_set() or self._settled():  # the claim ended as it should
                    return
                self.error = error
                self.lost.set()
                if self._on_loss is not None:
                    self._on_loss(error)
                return
            except BookUnavailable as error:
                self.error = error
                _LOG.warning("claim %d was not renewed for %.0f s: %s", self.claim.token, self.silent_s, error.what)

    def _settled(self) -> bool:
        try:
            return self._book.settled(self.claim)
        except BookUnavailable:
            return False


class KeptAlive(Claims):
    """Claims with a heartbeat."""

    @contextmanager
    def keep_alive(self, claim: Claim, on_loss: Callable[[LeaseLost], None] | None = None) -> Iterator[Heartbeat]:
        """Renew the claim inside the block.

        Args:
            on_loss: called once, from another thread, when another runner took the claim over.
        """
        heartbeat = Heartbeat(self, claim, on_loss).start()
        try:
            yield heartbeat
        finally:
            heartbeat.stop()
