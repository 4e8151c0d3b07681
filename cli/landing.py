"""What `domainlm watch` and `domainlm retrain` share: book, zone, the ledger's word and notices, without ZenML."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from cli.environment import enter_stack
from domainlm.config import RunConfiguration
from domainlm.errors import ConfigurationError, DomainLMError, NoticeNotSent
from domainlm.project import SOURCE_ROOT, home, resolve

if TYPE_CHECKING:
    from collections.abc import Callable

    from domainlm.retrain.batches import Batch
    from domainlm.retrain.book import Book
    from domainlm.retrain.deciding.signals import LedgerView
    from domainlm.retrain.notices import Notice
    from domainlm.retrain.rounds import RoundReport, Terms
    from domainlm.retrain.settings import FeedSettings
    from domainlm.retrain.zone import Zone

SLACK_S = 40.0  # less than a channel has (`domainlm.retrain.notices.delivery`)
QUIET_VARIABLE = "DOMAINLM_TELLS_NOBODY"  # of the children of a dry run
CONFIGURATION = "configs/retrain.yaml"  # what the two commands read where no other is named


def zone_of(terms: Terms, book: Book, aside: Path | None = None) -> Zone:
    """The landing zone.

    Args:
        terms: the configuration's.
        book: what it notes files in.
        aside: where new rows of queries go in place of where the configuration says: a dry run keeps nothing.
    """
    from domainlm.retrain.zone import Zone

    return Zone(terms.detect, book, aside=aside)


def local_folder(terms: Terms) -> Path | None:
    """The zone as a folder whose changes the kernel may tell of; None for any other, and where queries are asked."""
    zone = terms.detect.zone.removeprefix("file://")
    if "://" in zone or "::" in zone or any(feed.query for feed in terms.detect.feeds):
        return None
    return resolve(zone)


def view_of(configuration: RunConfiguration, terms: Terms) -> Callable[[], LedgerView | None]:
    """Asks the ledger of the champion, and the configuration of what a training would stand on now."""
    from steps.ledger_view import ledger_view, standing_of

    return lambda: ledger_view(terms.lane, standing_of(configuration))


def acceptance_of(configuration: RunConfiguration, book: Book) -> Callable[[Batch, FeedSettings], Batch]:
    """Looks into one batch. The rules are read at the first: it takes seconds and hundreds of megabytes."""
    rules = None

    def look(batch: Batch, feed: FeedSettings) -> Batch:
        nonlocal rules
        from domainlm.retrain.accepting.acceptance import Rules, accept, profile_sources
        from steps.keys import load_keys

        if rules is None:
            pipeline, ingest = configuration.pipeline, configuration.step("ingest")
            keys = load_keys(pipeline.mode or None)
            rules = Rules.read(
                pipeline.pack, keys, ingest.allow_conflicting_answers,  # type: ignore[attr-defined]
                configuration.step("prepare").max_label_disagreement, ingest.sources,  # type: ignore[attr-defined]
                configuration.step("detect").feeds,  # type: ignore[attr-defined]
            )  # fmt: skip
            profile_sources(book, rules.sources, rules)
        return accept(book, batch, feed, rules)

    return look


def overrides_of(
    zone: str = "",
    since: str = "",
    until: str = "",
    batches: Sequence[str] = (),
    as_run: str = "",
    asked: bool = False,
) -> list[str]:
    """What options say, as assignments to keys of the configuration."""
    decide = {"since": since, "until": until, "as_run": as_run}
    said = [f"steps.decide.parameters.{name}={_quoted(value)}" for name, value in decide.items() if value]
    if zone:
        said.append(f"steps.detect.parameters.zone={_quoted(zone)}")
    if batches:
        said.append(f"steps.decide.parameters.batches=[{', '.join(map(_quoted, batches))}]")
    return [*said, *(["steps.decide.parameters.asked=true"] if asked else [])]


def _quoted(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"  # a YAML scalar: 2026-11-01 stays a string, and 1e5 a name


def configuration_path(named: Path | None, root: Path) -> Path:
    """The run configuration of a command.

    Raises:
        ConfigurationError: none is named, and the project has none of its own.
    """
    path = named or root / CONFIGURATION
    if not path.is_file():
        raise ConfigurationError("there is no such configuration file", str(path), f"-c FILE, such as {CONFIGURATION}")
    return path


def there_is_a_book() -> bool:
    """Whether the project names one, or has one of its own."""
    from domainlm.retrain.book import book_url

    url = book_url()
    return not url.startswith("sqlite:///") or Path(url.removeprefix("sqlite:///")).exists()


def following(terms: Terms, book: Book, stack: str | None = None) -> list[str]:
    """What follows earlier runs, and what is told of it, in lines.

    Args:
        stack: whose registries show the champion; entered only where there is one to show.
    """
    from domainlm.retrain.notices import deliver
    from steps.followup import follow_up

    def promote(name: str, version: str) -> object:
        if stack and "zenml" not in sys.modules:  # a training has entered it
            enter_stack(stack)
        from steps.promoting import promote_in_stack

        return promote_in_stack(name, version)

    lines = [str(outcome) for outcome in follow_up(book, terms.lane, terms.settle, promote)]
    return lines + [f"a notice waits: {line}" for line in deliver(book, terms.settle, post_in_slack)]


def notify(terms: Terms, book: Book, kind: str, **said: str) -> None:
    """Tell people; a channel that is away, or a book that is, is no reason to end."""
    from domainlm.retrain.notices import Notice

    _tell(terms, book, Notice(kind=kind, **said))  # type: ignore[arg-type]


def notify_quarantined(terms: Terms, book: Book, batch: Batch) -> None:
    """Tell people that a batch waits for them."""
    from domainlm.retrain.batches import QUARANTINED
    from domainlm.retrain.notices import quarantined

    times = sum(one.after == QUARANTINED != one.before for one in book.transitions(batch.id))
    _tell(terms, book, quarantined(batch, times))


def notify_of(terms: Terms, book: Book, report: RoundReport) -> None:
    """Tell people what a round found that they must see to: batches that wait, feeds and files that cannot be used."""
    from domainlm.retrain.notices import feed_failing, unreadable

    for id in report.quarantined:
        notify_quarantined(terms, book, book.batch(id))
    for feed, reason in report.failing:
        _tell(terms, book, feed_failing(feed, reason))
    if report.unusable:
        _tell(terms, book, unreadable(report.unusable))


def notify_away(terms: Terms, error: DomainLMError) -> bool:
    """Tell people once a day (UTC) that no round could be made: zone or book are away.

    Returns:
        Whether waiting will not help: the zone is a folder of this machine that never was there.
    """
    from domainlm.retrain.book import BookUnavailable, open_book
    from domainlm.retrain.notices import Notice

    kind = "book-unavailable" if isinstance(error, BookUnavailable) else "zone-unreachable"
    notice = Notice.of(kind, error, key=kind)  # type: ignore[arg-type]
    try:
        book = open_book()
        never = kind == "zone-unreachable" and _never_was(terms, book)
    except BookUnavailable:
        _tell_past_book(terms, notice)
        return False
    _tell(terms, book, notice)
    return never


def _never_was(terms: Terms, book: Book) -> bool:
    zone = terms.detect.zone.removeprefix("file://").removeprefix("local://")
    if "://" in zone or "::" in zone or os.path.exists(resolve(zone)):
        return False
    return all(next(iter(book.known(feed.name)), None) is None for feed in terms.detect.feeds)


def _tell(terms: Terms, book: Book, notice: Notice) -> None:
    from domainlm.retrain.book import BookUnavailable
    from domainlm.retrain.notices import deliver, tell

    if not os.environ.get(QUIET_VARIABLE):
        with suppress(DomainLMError, OSError):
            try:
                tell(book, notice)
            except BookUnavailable:
                _tell_past_book(terms, notice)
            else:
                deliver(book, terms.settle, post_in_slack)


def _tell_past_book(terms: Terms, notice: Notice) -> None:
    from domainlm.retrain.notices import tell_past_book

    if not os.environ.get(QUIET_VARIABLE):
        with suppress(DomainLMError, OSError):
            tell_past_book(home() / "retrain" / "told", notice, terms.settle, post_in_slack)


def post_in_slack(text: str) -> None:
    """Post by a process of its own: ZenML, whose alerter does it, takes seconds and 200 MB.

    Raises:
        NoticeNotSent: it was not posted.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-m", "steps.alert"], input=text, text=True, capture_output=True, timeout=SLACK_S,
            check=False, cwd=SOURCE_ROOT,
        )  # fmt: skip
        failed = "" if done.returncode == 0 else f"exit code {done.returncode}"
    except (OSError, subprocess.TimeoutExpired) as error:
        failed = type(error).__name__
    if failed:
        raise NoticeNotSent(f"it was not posted ({failed})", "Slack", "python -m steps.alert < FILE says why")
