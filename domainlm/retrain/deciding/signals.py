"""What a decision looks at besides the batches that wait: models, their scores, the time, what was spent.

`decide` is a pure function of these; here they are gathered from the book, and from what the caller read out of the
ledger, which is no business of this stage (`LedgerView`).
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pydantic import Field

from domainlm.reports import Report
from domainlm.retrain.accepting.profile import Profile, added
from domainlm.retrain.deciding.sums import summed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from domainlm.retrain.batches import BriefBatch
    from domainlm.retrain.book import AcceptedResult, Book, Score

SOURCES = "profile/source/"  # values of the book: digest of a static source -> its profile
BASELINE = "profile/baseline"  # the digests of those that the configuration names now


class LedgerView(Report):
    """What the caller read out of the ledger and the configuration; empty is not known.

    Fields:
        champion: identity (64 digits) of the promoted model, with its version, when it was promoted, ISO 8601 UTC, and
            the digests of its base and policy.
        must_retrain: identity -> since when, of every model, promoted or not, that learnt from data erased since.
        base_now, policy_now: digests of what a training would use now.
    """

    champion: str = ""
    version: str = ""
    promoted: str = ""
    base: str = ""
    policy: str = ""
    must_retrain: dict[str, str] = Field(default_factory=dict)
    base_now: str = ""
    policy_now: str = ""


class KnownModel(Report):
    """A model of the lane.

    Fields:
        since: when it was promoted, or accepted where nobody has promoted it, ISO 8601 UTC.
        erased: since when it must be trained again, because data that it learnt from were erased; empty: it need not.
        batches: every batch that it learnt from.
    """

    identity: str
    version: str = ""
    since: str = ""
    base: str = ""
    policy: str = ""
    erased: str = ""
    batches: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """For people."""
        return self.version or self.identity[:12]


class FreshScore(Report):
    """A model's score on rows that it never saw, put beside that at its registration: same task, same metric.

    Fields:
        registered, fresh: the scores, 0 to 1.
        registered_sd, fresh_sd: their standard deviations; 0 where no interval is known.
        items: fresh rows.
    """

    task: str
    feed: str = ""
    registered: float
    fresh: float
    registered_sd: float = 0.0
    fresh_sd: float = 0.0
    items: int = 0


class Signals(Report):
    """All that a decision looks at, but batches and their profiles.

    Fields:
        now: ISO 8601 UTC.
        champion: the promoted model; None where nobody promoted one.
        candidate: the newest accepted result, where it is younger than the champion: it waits for a person, and what
            it was trained for is not asked for again.
        base_now, policy_now: digests; empty where not known.
        scores: of the champion, or of the candidate where there is no champion.
        last_start: of a training in this lane, ISO 8601 UTC.
        hours_used: in the calendar month (UTC).
        busy: a training runs.
    """

    now: str
    champion: KnownModel | None = None
    candidate: KnownModel | None = None
    base_now: str = ""
    policy_now: str = ""
    scores: tuple[FreshScore, ...] = ()
    last_start: str = ""
    hours_used: float = 0.0
    busy: bool = False

    @property
    def newest(self) -> KnownModel | None:
        """The model that knows most."""
        return self.candidate or self.champion


class Profiles(Report):
    """What drift is measured between, one profile for each key, task and source: waiting rows, and what is known."""

    new: tuple[Profile, ...] = ()
    known: tuple[Profile, ...] = ()


def signals_of(book: Book, lane: str, now: datetime, view: LedgerView | None = None) -> Signals:
    """Gather what the book and the ledger say.

    Args:
        lane: the registered name that results compete for.
        now: with a time zone.
        view: None where there is no ledger: then nobody promotes, and the newest result is a candidate.

    Raises:
        BookUnavailable: the database cannot be asked.
    """
    view = view or LedgerView()
    results = book.results(lane)
    champion = _champion(view, results)
    candidate = _candidate(view, results, champion)
    scored = champion or candidate
    now = now.astimezone(UTC)
    return Signals(
        now=now.isoformat(timespec="seconds"), champion=champion, candidate=candidate,
        base_now=view.base_now, policy_now=view.policy_now,
        # rows that a candidate has learnt from are answered by it, also where the champion fails on them
        scores=_fresh(book, scored.identity, (candidate or scored).batches) if scored else (),
        last_start=book.last_start(lane), hours_used=book.hours_used(lane, f"{now:%Y-%m}"), busy=book.busy(lane),
    )  # fmt: skip


def profiles_of(book: Book, waiting: Sequence[BriefBatch], signals: Signals) -> Profiles:
    """The profiles that a decision compares.

    What is known is everything that the newest model of the lane learnt from: batches, and the configured static
    sources, as `acceptance.profile_sources` left them in the book.
    """
    learnt = signals.newest.batches if signals.newest else ()
    digests = book.value(BASELINE).split()
    static = [Profile.model_validate_json(text) for digest in digests if (text := book.value(SOURCES + digest))]
    return Profiles(
        new=tuple(summed(book, "new", waiting)),
        known=tuple(added([*static, *summed(book, "known", book.briefs_of(learnt))])),
    )


def _champion(view: LedgerView, results: list[AcceptedResult]) -> KnownModel | None:
    if not view.champion:
        return None
    place = next((place for place, result in enumerate(results) if result.identity == view.champion), None)
    # one that was trained outside of this book: by `domainlm run`, or before it was kept
    mine = results[place] if place is not None else None
    return KnownModel(
        identity=view.champion, version=view.version or (mine.version if mine else ""),
        since=view.promoted or (mine.promoted_at or mine.accepted_at if mine else ""),
        base=view.base or (mine.base if mine else ""), policy=view.policy or (mine.policy if mine else ""),
        erased=view.must_retrain.get(view.champion, ""),
        batches=_learnt(results[: place + 1]) if place is not None else (),
    )  # fmt: skip


def _candidate(view: LedgerView, results: list[AcceptedResult], champion: KnownModel | None) -> KnownModel | None:
    newest = results[-1] if results else None
    if newest is None or (champion and newest.identity == champion.identity):
        return None
    if (
        champion
        and champion.since > (newest.promoted_at or newest.accepted_at)
        and not (champion.batches and not newest.promoted_at)
    ):
        return None  # a model from outside of this book was promoted after it, or it was promoted and then replaced
    return KnownModel(
        identity=newest.identity, version=newest.version, since=newest.accepted_at, base=newest.base,
        policy=newest.policy, erased=view.must_retrain.get(newest.identity, ""), batches=_learnt(results),
    )  # fmt: skip


def _learnt(results: list[AcceptedResult]) -> tuple[str, ...]:
    """Every training has the batches of those before it too."""
    return tuple(dict.fromkeys(batch for result in results for batch in result.batches))


def of_feed(feed: str) -> str:
    """Under what, in place of a batch, the book keeps a model's score at registration on the test rows of a feed."""
    return f"feed/{feed}"


def _fresh(book: Book, identity: str, learnt: tuple[str, ...]) -> tuple[FreshScore, ...]:
    """For each feed and task, all fresh rows together: each batch counts by its rows.

    They are put beside the score at registration on the feed's own test rows where there is one, since a feed may be
    harder for good than the sources that most test rows are of; else beside that on all test rows of the task.

    Args:
        learnt: batches whose rows a model of the lane has learnt from: not fresh.
    """
    scores = book.scores(identity)
    registered = {(score.batch, score.task): score for score in scores}
    known = set(learnt)
    fresh: dict[tuple[str, str], list[Score]] = {}
    feeds = {one.id: one.feed for one in book.briefs_of(score.batch for score in scores)}
    for score in scores:
        if score.batch in feeds and score.batch not in known and score.items:
            fresh.setdefault((feeds[score.batch], score.task), []).append(score)
    found = []
    for (feed, task), parts in sorted(fresh.items()):
        first = registered.get((of_feed(feed), task)) or registered.get(("", task))
        if first is not None:
            items = sum(score.items for score in parts)
            found.append(
                FreshScore(
                    feed=feed, task=task, registered=first.value, registered_sd=_sd(first), items=items,
                    fresh=sum(score.items * score.value for score in parts) / items,
                    fresh_sd=sum((score.items * _sd(score)) ** 2 for score in parts) ** 0.5 / items,
                )
            )  # fmt: skip
    return tuple(found)


def _sd(score: Score) -> float:
    """Out of the 95 % interval that came with it."""
    if score.low is None or score.high is None:
        return 0.0
    return max(0.0, (score.high - score.low) / (2 * 1.96))
