"""Notices on their way: into the book's outbox once, and out of it until every channel took them.

A channel that is dead is given up for the rest of a delivery, and tried again later with pauses that double; it holds
up no other channel and no round. At least once, never exactly once: a process that dies between sending and noting it
sends again, under the same id.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

from pydantic import ValidationError

from domainlm.errors import BookRefused, BookUnavailable, DomainLMError
from domainlm.retrain.batches import QUARANTINED
from domainlm.retrain.notices.mail import mail
from domainlm.retrain.notices.notice import COMING_BACK, Notice
from domainlm.retrain.notices.webhook import post

if TYPE_CHECKING:
    from pathlib import Path

    from domainlm.retrain.book import Book
    from domainlm.retrain.settings import SettleSettings

WEBHOOK, EMAIL, SLACK = "webhook", "email", "slack"
SEND_S = 45.0  # a channel that takes longer is dead, whatever it trickles
DELIVERY_S = 90.0  # no further notice is begun after so long
MARK_KEPT_S = 7 * 86400.0
NEWS_S = 600.0  # a notice that is younger is news, also where a channel was switched on only now
_SILENT = "notices/silent"  # whether the book was last seen by somebody without a channel
_OF_THE_MOMENT = (*COMING_BACK, "configuration-refused", "child-failing", "unreadable")
Send = Callable[[Notice, float], None]
Alert = Callable[[str], None]  # posts a text in Slack (`steps.alert`), or raises


def tell(book: Book, notice: Notice) -> bool:
    """Put a notice into the outbox, unless one of its key ever was (of a trouble that comes back: today); whether it
    was put in.

    Raises:
        BookUnavailable: the book is away.
    """
    notice = notice.dated()
    return book.post_notice(notice.about, notice.model_dump(mode="json"))


def deliver(book: Book, settings: SettleSettings, alert: Alert | None = None) -> list[str]:
    """Send what is due, by every channel that is configured.

    Args:
        alert: posts in Slack; without it, what is for Slack waits for a process that has one.

    Returns:
        One line for each channel that failed. Where no channel is configured, notices wait in the book for a week.

    Raises:
        BookUnavailable: the book is away.
    """
    channels, lines = channels_of(settings, alert), {}
    wanted = wanted_of(settings)
    _switched_on(book, bool(wanted))
    end = time.monotonic() + DELIVERY_S
    while set(channels) - set(lines) and time.monotonic() < end and (waiting := book.take_notice()) is not None:
        try:
            notice, sent = Notice(**waiting.notice), list(waiting.sent)
        except ValidationError:
            lines["outbox"] = "a notice of another version of domainlm waits: let that one deliver it"
            continue
        for name, send in channels.items():
            if name not in sent and name not in lines:
                if why := _tried(send, notice, waiting.since):
                    lines[name] = f"{name}: {why}"
                else:
                    sent.append(name)
        if set(sent) != set(waiting.sent) or wanted <= set(sent):
            book.notice_sent(waiting.key, tuple(sent), done=wanted <= set(sent))
    return list(lines.values())


def send_past_book(notice: Notice, settings: SettleSettings, alert: Alert | None = None) -> bool:
    """Send while the book is away, which else remembers what was sent; whether a channel took it."""
    sent = [not _tried(send, notice, time.time()) for send in channels_of(settings, alert).values()]
    return any(sent)


def tell_past_book(marks: Path, notice: Notice, settings: SettleSettings, alert: Alert | None = None) -> bool:
    """As `send_past_book`, for processes that come and go: what was sent is remembered in a folder of this machine.

    Args:
        marks: private folder; holds an empty file for each notice of the last days, named by its id.

    Raises:
        OSError: the folder cannot be written.
    """
    notice = notice.dated()
    marks.mkdir(mode=0o700, parents=True, exist_ok=True)
    for old in marks.iterdir():
        if time.time() - old.stat().st_mtime > MARK_KEPT_S:
            old.unlink(missing_ok=True)
    mark = marks / notice.id
    try:
        mark.touch(0o600, exist_ok=False)
    except FileExistsError:
        return False
    sent = send_past_book(notice, settings, alert)
    if not sent:
        mark.unlink(missing_ok=True)
    return sent


def _switched_on(book: Book, wanted: bool) -> None:
    """Where no channel was configured, and now one is: what was overtaken meanwhile is dropped, not told late.

    What people still have to do is told: each batch that waits, and the newest of what is said of models and runs.
    A trouble that is over by now, or is met again, is none of these.
    """
    if bool(book.value(_SILENT)) != wanted:
        return
    if not wanted:
        book.set_value(_SILENT, "yes")
        return
    newest: dict[str, str] = {}
    before = time.time() - NEWS_S
    overtaken = []
    for waiting in reversed(book.notices_waiting()):
        kind = str(waiting.notice.get("kind"))
        if waiting.since > before:
            newest.setdefault(kind, waiting.key)
        elif waiting.key.startswith(f"{QUARANTINED}/"):
            if not _still_waits(book, waiting.key):
                overtaken.append(waiting.key)
        elif kind in _OF_THE_MOMENT or newest.setdefault(kind, waiting.key) != waiting.key:
            overtaken.append(waiting.key)
    book.drop_notices(overtaken)
    book.set_value(_SILENT, "")


def _still_waits(book: Book, key: str) -> bool:
    try:
        return book.batch(key.split("/")[1]).state == QUARANTINED
    except BookRefused:
        return False


def channels_of(settings: SettleSettings, alert: Alert | None = None) -> dict[str, Send]:
    """The channels that this process can use, by name."""
    found: dict[str, Send] = {}
    if (webhook := settings.webhook) is not None:
        found[WEBHOOK] = lambda notice, since: post(notice, since, webhook)
    if (email := settings.email) is not None:
        found[EMAIL] = lambda notice, since: mail(notice, since, email)
    if settings.slack and alert is not None:
        found[SLACK] = lambda notice, since: alert("\n".join(notice.lines()))
    return found


def wanted_of(settings: SettleSettings) -> set[str]:
    """The channels that have to take a notice before it leaves the outbox."""
    wanted = {WEBHOOK: settings.webhook is not None, EMAIL: settings.email is not None, SLACK: settings.slack}
    return {name for name, one in wanted.items() if one}


def _tried(send: Send, notice: Notice, since: float) -> str:
    """Why it was not sent; empty where it was. In a thread of its own: a server may answer a byte a second for ever."""
    said = [f"did not end within {SEND_S:g} s"]

    def work() -> None:
        try:
            send(notice, since)
            said[0] = ""
        except DomainLMError as error:
            said[0] = f"{error.what} ({error.where})" if error.where else error.what
        except Exception as error:  # a library's words may quote an address
            said[0] = type(error).__name__

    thread = threading.Thread(target=work, name="notice", daemon=True)
    thread.start()
    thread.join(SEND_S)
    return said[0]


class Courier:
    """Delivers beside the work of a long-lived process, which it never holds up.

    Args:
        book: where notices wait.
        settings: asked for anew each time, since a configuration may be read again.
        alert: posts in Slack.
        say: gets a line for each channel that begins to fail.
    """

    def __init__(
        self,
        book: Book,
        settings: Callable[[], SettleSettings],
        alert: Alert | None = None,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._book, self._settings, self._alert, self._say = book, settings, alert, say
        self._bell, self._over = threading.Event(), False
        self._direct: dict[str, Notice] = {}  # while the book is away
        self._said: frozenset[str] = frozenset()
        self._thread = threading.Thread(target=self._run, name="courier", daemon=True)

    def start(self) -> Courier:
        """Begin; what waits from before is sent too."""
        self._thread.start()
        return self

    def post(self, notice: Notice) -> None:
        """Have a notice delivered; returns at once."""
        notice = notice.dated()
        self._direct[notice.about] = notice
        self._bell.set()

    def stop(self, wait_s: float = 5.0) -> None:
        """End; what is not sent by then stays in the book."""
        self._over = True
        self._bell.set()
        self._thread.join(wait_s)

    def _run(self) -> None:
        sent_directly: set[str] = set()
        while not self._over:
            pause = 60.0
            with suppress(BookUnavailable):
                self._into_book(sent_directly)
                self._tell_of(deliver(self._book, self._settings(), self._alert))
                pause = min(pause, self._book.next_notice_s() or pause)
            for about, notice in self._left(sent_directly):  # the book is away: better twice than never
                if send_past_book(notice, self._settings(), self._alert):
                    sent_directly.add(about)
            self._bell.wait(max(1.0, pause))
            self._bell.clear()

    def _into_book(self, sent_directly: set[str]) -> None:
        for about, notice in list(self._direct.items()):
            if about in sent_directly:
                sent_directly.discard(about)
                self._book.noticed(about)
            else:
                tell(self._book, notice)
            del self._direct[about]

    def _left(self, sent_directly: set[str]) -> Iterator[tuple[str, Notice]]:
        yield from ((about, notice) for about, notice in list(self._direct.items()) if about not in sent_directly)

    def _tell_of(self, lines: list[str]) -> None:
        for line in lines:
            if line not in self._said:
                self._say(f"a notice could not be sent, and is tried again: {line}")
        self._said = frozenset(lines)
