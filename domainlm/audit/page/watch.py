"""Verification in the background: at the start, every few minutes, and when somebody asks."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from domainlm.audit.proof.verification import Verification
from domainlm.errors import DomainLMError
from domainlm.ledger.trust.gate import now

FAILED, NEVER = "failed", "never"  # beside the verdicts of `domainlm.ledger.findings`


@dataclass(frozen=True)
class Watched:
    """What is known of the ledger's soundness.

    Args:
        verdict: `good`, `unanchored`, `broken`, or `failed` where a verification could not be made, or `never`.
        at: when it was found, UTC.
        verification: the whole of it; None for `failed` and `never`.
        problem: why it failed.
    """

    verdict: str = NEVER
    at: datetime | None = None
    verification: Verification | None = None
    problem: str = ""


class Watch:
    """Runs verifications one after the other.

    Args:
        verify: makes one.
        every_s: seconds between two.
        clock: UTC now.
    """

    def __init__(self, verify: Callable[[], Verification], every_s: float, clock: Callable[[], datetime] = now) -> None:
        self._verify, self._every_s, self._clock = verify, every_s, clock
        self._wake, self._stop = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._work, name="verification", daemon=True)
        self.latest = Watched()
        self.running = False

    def start(self) -> None:
        """Begin, with a first verification at once."""
        self._wake.set()
        self._thread.start()

    def stop(self) -> None:
        """End; a verification that runs is not waited for."""
        self._stop.set()
        self._wake.set()

    def ask(self) -> None:
        """Verify now; a verification that runs already is followed by one more."""
        self.running = True
        self._wake.set()

    def once(self) -> Watched:
        """Verify in this thread."""
        self.running = True
        try:
            found = self._verify()
            self.latest = Watched(found.verdict, self._clock(), found)
        except DomainLMError as error:
            self.latest = Watched(FAILED, self._clock(), None, f"{error.where}: {error.what}")
        except Exception as error:
            self.latest = Watched(FAILED, self._clock(), None, type(error).__name__)
        finally:
            self.running = False
        return self.latest

    def _work(self) -> None:
        while not self._stop.is_set():
            self._wake.wait(self._every_s)
            self._wake.clear()
            if not self._stop.is_set():
                self.once()
