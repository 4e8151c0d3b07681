"""Who is signed in, and how often somebody may try. All of it lies in this process: a restart signs everybody out."""

from __future__ import annotations

import hashlib
import secrets
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from itsdangerous import BadSignature, Signer

MOST_SESSIONS = 1000
MOST_FAILURES, WINDOW_S = 10, 300  # failed sign-ins of one address within a window
MOST_ADDRESSES = 10_000


@dataclass
class Session:
    """A signed-in person.

    Args:
        keyid: the key that they signed in with; the session ends when the policy no longer lets it in.
        csrf: the token that every form of this session carries.
        made: when, in seconds of the store's clock.
        seen: the latest page.
        drafts: statements that wait for their signature (`domainlm.audit.page.drafts`).
        message: what the next page says first: (translation key, values).
    """

    id: str
    person: str
    keyid: str
    csrf: str
    made: float
    seen: float
    drafts: OrderedDict[str, object] = field(default_factory=OrderedDict)
    message: tuple[str, dict[str, object]] | None = None


class Sessions:
    """The sessions of this process.

    Args:
        idle_s: seconds without a page until one ends.
        absolute_s: seconds until it ends in any case.
        clock: seconds that never run backwards.
    """

    def __init__(self, idle_s: float, absolute_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._idle_s, self._absolute_s, self._clock = idle_s, absolute_s, clock
        self._signer = Signer(secrets.token_bytes(32), salt="domainlm-page", digest_method=hashlib.sha256)
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._lock = threading.Lock()

    def signed(self, value: str) -> str:
        """A cookie's value that only this process can have made."""
        return self._signer.sign(value).decode()

    def unsigned(self, cookie: str | None) -> str:
        """Undo `signed`; empty for anything else."""
        try:
            return self._signer.unsign(cookie or "").decode()
        except (BadSignature, UnicodeError):
            return ""

    def start(self, person: str, keyid: str) -> Session:
        """A fresh session; its id was never seen before, so none can be planted."""
        moment = self._clock()
        session = Session(secrets.token_urlsafe(32), person, keyid, secrets.token_urlsafe(32), moment, moment)
        with self._lock:
            while len(self._sessions) >= MOST_SESSIONS:
                self._sessions.popitem(last=False)
            self._sessions[session.id] = session
        return session

    def find(self, session_id: str, touch: bool = True) -> Session | None:
        """The session of this id, if it has not ended.

        Args:
            touch: counts as a page; false for what a page asks by itself.
        """
        found = self._sessions.get(session_id)
        if found is None:
            return None
        moment = self._clock()
        if moment - found.seen > self._idle_s or moment - found.made > self._absolute_s:
            self.end(found)
            return None
        if touch:
            found.seen = moment
        return found

    def end(self, session: Session) -> None:
        """Sign out."""
        with self._lock:
            self._sessions.pop(session.id, None)


class Limiter:
    """Counts failures by address, so that guessing is slow.

    Args:
        clock: seconds that never run backwards.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures: OrderedDict[str, deque[float]] = OrderedDict()
        self._lock = threading.Lock()

    def allows(self, address: str) -> bool:
        """Whether one more try is allowed."""
        with self._lock:
            found = self._failures.get(address)
            while found and self._clock() - found[0] > WINDOW_S:
                found.popleft()
            return not found or len(found) < MOST_FAILURES

    def failed(self, address: str) -> None:
        """Count a failure."""
        with self._lock:
            self._failures.setdefault(address, deque(maxlen=MOST_FAILURES)).append(self._clock())
            self._failures.move_to_end(address)
            while len(self._failures) > MOST_ADDRESSES:
                self._failures.popitem(last=False)
