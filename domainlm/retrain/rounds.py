"""One round of retraining: look into the zone, look into what landed, decide, and start what was decided.

`domainlm retrain --once` does it all in one process; `domainlm watch` does the same parts one by one, the heavy ones in
children. Nothing here imports a heavy library: what is heavy is handed in.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from statistics import median
from typing import TYPE_CHECKING, Literal, NamedTuple

from domainlm.digests import digest_json
from domainlm.errors import ConfigurationError, DomainLMError, nearest
from domainlm.reports import Report
from domainlm.retrain.batches import ACCEPTED, LANDED, QUARANTINED, Batch, BriefBatch, Decision
from domainlm.retrain.deciding.foreseen import Foreseen
from domainlm.retrain.settings import DecideSettings, DetectSettings, FeedSettings, SettleSettings

if TYPE_CHECKING:
    from domainlm.config import RunConfiguration
    from domainlm.retrain.book import Book
    from domainlm.retrain.deciding.signals import LedgerView
    from domainlm.retrain.zone import Scan, Zone

ONCE = ("asked", "as_run", "since", "until", "batches")  # of `DecideSettings`: what a person asks of one round
Outcome = Literal["no", "busy", "trained", "failed", "would-train"]


class Terms(NamedTuple):
    """What a run configuration says of retraining.

    Args:
        lane: the registered name that results compete for.
        detect, decide, settle: the checked parameters of these steps.
    """

    lane: str
    detect: DetectSettings
    decide: DecideSettings
    settle: SettleSettings

    @classmethod
    def of(cls, configuration: RunConfiguration) -> Terms:
        """Read them.

        Raises:
            ConfigurationError: it names no feed: it is of another pipeline.
        """
        steps = configuration.content.get("steps") or {}
        if not ((steps.get("detect") or {}).get("parameters") or {}).get("feeds"):
            raise ConfigurationError(
                "it does not say what may land", f"{configuration.path}: steps.detect.parameters.feeds",
                "name feeds there; configs/retrain.yaml shows how",
            )  # fmt: skip
        found = (configuration.step(name) for name in ("detect", "decide", "settle"))
        return cls(configuration.step("register").name, *found)  # type: ignore[attr-defined, arg-type]

    def require_lasting(self) -> None:
        """For a program that goes on deciding: what is asked for once would be done again and again.

        Raises:
            ConfigurationError: a key says what a person asks for once.
        """
        for name in ONCE:
            if getattr(self.decide, name):
                remedy = "take it out: the options of `domainlm retrain` say it for one round"
                raise ConfigurationError(
                    "is asked for once, and a watcher goes on", f"steps.decide.parameters.{name}", remedy
                )

    def feed(self, name: str) -> FeedSettings:
        """What is said of a feed.

        Raises:
            ConfigurationError: nothing; a batch of a feed that was taken out of the configuration waits.
        """
        for feed in self.detect.feeds:
            if feed.name == name:
                return feed
        remedy = nearest(name, [feed.name for feed in self.detect.feeds])
        raise ConfigurationError("the configuration knows no such feed (any more)", name, remedy)


class RoundReport(Report):
    """What a round found and did; names of places, counts and reasons, no value of the data.

    Fields:
        landed: new batches of this scan, by id.
        settling: places that are not complete yet.
        unreadable: how many files cannot be read; the scan says each.
        unusable: (name, reason) of those among them that were not said before.
        failing: (feed, reason) of feeds by query that cannot be asked.
        waiting: batches that were accepted and wait to be trained on, by id, and their rows.
        quarantined: batches that this round sent to a person, by id.
        unheard: what hindered the look into a batch, in a line each.
        run_id: of the run that was started; empty where none was.
        told: what followed, in a line each; of a dry run the plan.
        plan: the same plan as data.
    """

    at: str
    zone: str
    landed: tuple[str, ...] = ()
    settling: int = 0
    unreadable: int = 0
    unusable: tuple[tuple[str, str], ...] = ()
    failing: tuple[tuple[str, str], ...] = ()
    waiting: tuple[str, ...] = ()
    waiting_rows: int = 0
    quarantined: tuple[str, ...] = ()
    unheard: tuple[str, ...] = ()
    decision: Decision | None = None
    outcome: Outcome = "no"
    run_id: str = ""
    told: tuple[str, ...] = ()
    plan: Foreseen | None = None


class Launched(NamedTuple):
    """What came of a run that a round started.

    Args:
        outcome: `no` where the pipeline's own look at it, with the claim in hand, said no.
    """

    outcome: Outcome
    run_id: str = ""


class Round:
    """One look, and what follows from it.

    Args:
        terms: the configuration's.
        book: the book of batches.
        zone: the landing zone.
        view: what the ledger says now of the champion.
        accept: looks into one landed batch and enters what it found (heavy).
        launch: runs the pipeline (heavy).
        probe: asks the champion about rows that landed since, so that a decay of its score is seen (heavy).
        follow_up: what follows a run, or is still open of earlier ones, in lines (heavy).
        say: tells a person a line.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        terms: Terms,
        book: Book,
        zone: Zone,
        view: Callable[[], LedgerView | None],
        accept: Callable[[Batch, FeedSettings], Batch] | None = None,
        launch: Callable[[Decision], Launched] | None = None,
        probe: Callable[[], None] | None = None,
        follow_up: Callable[[], Sequence[str]] = lambda: (),
        say: Callable[[str], None] = lambda line: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.terms, self.book, self.zone, self._view, self._clock = terms, book, zone, view, clock
        self._accept, self._probe, self._launch = accept, probe, launch
        self._follow_up, self._say = follow_up, say

    def once(self, patience_s: float = 0.0, dry: bool = False) -> RoundReport:
        """The whole round in this process.

        Args:
            patience_s: how long to wait for files that are still settling.
            dry: start nothing; book and zone are copies then, as whoever calls has seen to.

        Raises:
            ZoneUnreachable, BookUnavailable: nothing was decided.
        """
        scan = self.zone.settled(patience_s)
        for line in scan.lines():
            self._say(line)
        for line in self.left_out():
            self._say(line)
        quarantined, unheard = self.look_into(self.landed())
        report = RoundReport(
            at=datetime.now(UTC).isoformat(timespec="seconds"),
            zone=self.shown_zone,
            landed=tuple(batch.id for batch in scan.landed),
            settling=scan.counts["settling"],
            unreadable=scan.counts["unreadable"],
            unusable=tuple(self.unusable(scan)),
            failing=tuple(scan.failing),
            quarantined=tuple(batch.id for batch in quarantined),
            unheard=tuple(unheard),
        )
        decision = self.decided()
        if self._probe is not None and self.to_probe(decision):
            self._probe()
            decision = self.decided()
        waiting = self.waiting()
        report.waiting, report.waiting_rows = tuple(b.id for b in waiting), sum(b.rows for b in waiting)
        report.decision = decision
        self.note(decision)
        if not decision.retrain:
            report.outcome = "busy" if "busy" in decision.barred else "no"
        elif dry:
            report.outcome = "would-train"
        else:
            assert self._launch is not None
            report.outcome, report.run_id = self._launch(decision)
        if not dry:
            report.told = self._followed()
        return report

    def _followed(self) -> tuple[str, ...]:
        """What followed; that it cannot be done now takes nothing back of what was."""
        try:
            return tuple(self._follow_up())
        except DomainLMError as error:
            return (f"what follows runs is still open, and is tried again: {error}",)

    def unusable(self, scan: Scan) -> list[tuple[str, str]]:
        """Files that a scan could not use, without the feeds by query, which it names as failing too."""
        queries = {feed.uri for feed in self.terms.detect.feeds if feed.query}
        return [(name, reason) for name, reason in scan.unreadable if name not in queries]

    def landed(self, only: Sequence[str] = (), limit: int | None = None) -> list[BriefBatch]:
        """Batches of the configured feeds that nobody looked into, in order of landing.

        Args:
            only: the beginnings of their ids; empty: any.
            limit: look at no more of them than so many.
        """
        feeds = [feed.name for feed in self.terms.detect.feeds]
        found = self.book.briefs(state=LANDED, feeds=feeds, limit=limit)
        return [batch for batch in found if not only or batch.id.startswith(tuple(only))]

    def waiting(self) -> list[BriefBatch]:
        """Batches that wait to be trained on, within what the configuration asks for."""
        from domainlm.retrain.deciding.plan import selected

        return selected(self.book, self.terms.decide, self.terms.detect.feeds)

    def left_out(self) -> list[str]:
        """Feeds that the configuration does not name any more, while batches of theirs wait, in a line each."""
        names = {feed.name for feed in self.terms.detect.feeds}
        found = Counter(one.feed for one in self.book.briefs(state=(LANDED, ACCEPTED)) if one.feed not in names)
        return [
            f"{count} batches of feed '{feed}' wait, which the configuration does not name any more: they are left out"
            for feed, count in sorted(found.items())
        ]

    def has_open_result(self) -> bool:
        """Whether the newest result of this lane may still be promoted."""
        results = self.book.results(self.terms.lane)
        return bool(results) and not results[-1].promoted_at

    def newest_claim(self) -> int:
        """The token of the newest claim of this lane; 0 where there was none."""
        return next((start.token for start in self.book.claims(self.terms.lane, limit=1)), 0)

    def hours_of_a_training(self) -> float | None:
        """Median of the trainings that brought a result; None where there was none yet."""
        past = [start for start in self.book.claims(self.terms.lane, limit=200) if start.state == "accepted"]
        hours = [
            (datetime.fromisoformat(one.seen) - datetime.fromisoformat(one.began)).total_seconds() / 3600
            for one in past
        ]
        return median(hours) if hours else None

    @property
    def shown_zone(self) -> str:
        """The zone as people may see it: without the user and the password that a URI may hold."""
        zone = self.terms.detect.zone
        scheme, separator, rest = zone.partition("://")
        return f"{scheme}://{rest.rpartition('@')[2] if '@' in rest.split('/')[0] else rest}" if separator else zone

    def look_into(self, landed: Sequence[BriefBatch]) -> tuple[list[Batch], list[str]]:
        """Hold each batch against its feed's contract. What hinders one does not hold up the others.

        Returns:
            What was quarantined, and a line for each that could not be looked into; it is tried again next time.

        Raises:
            BookUnavailable: what was found cannot be entered.
        """
        from domainlm.retrain.book import BookUnavailable

        quarantined, unheard = [], []
        for batch in landed:
            try:
                assert self._accept is not None
                seen = self._accept(self.book.batch(batch.id), self.terms.feed(batch.feed))
            except BookUnavailable:
                raise
            except DomainLMError as error:
                unheard.append(f"batch {batch.id[:12]} of {batch.feed}: {error}")
                self._say(f"batch {batch.id[:12]} of {batch.feed} could not be looked into: {error}")
                continue
            if seen.state == QUARANTINED:
                quarantined.append(seen)
            self._say(said_of(seen))
        return quarantined, unheard

    def decided(self) -> Decision:
        """The decision of now; nothing is written."""
        from domainlm.retrain.deciding.decision import decide
        from domainlm.retrain.deciding.signals import profiles_of, signals_of

        now = datetime.fromtimestamp(self._clock(), UTC)
        signals = signals_of(self.book, self.terms.lane, now, self._view())
        waiting = self.waiting()
        return decide(self.terms.decide, waiting, profiles_of(self.book, waiting, signals), signals)

    def to_probe(self, decision: Decision) -> list[BriefBatch]:
        """Batches about which the champion should be asked before a "no" is believed; none where it does not matter.

        It costs a run, so it waits for as many rows as drift does: fewer show no decay.
        """
        from domainlm.retrain.deciding.probing import to_probe

        asked = self.terms.decide
        if decision.retrain or decision.barred or asked.score_decay is None:
            return []
        view = self._view()
        if view is None or not view.champion:
            return []
        found = to_probe(self.book, view.champion, self.terms.detect.feeds)
        return found if sum(batch.rows for batch in found) >= asked.min_drift_rows else []

    def decide(self) -> Decision:
        """The decision of now; a "no" is noted."""
        decision = self.decided()
        self.note(decision)
        return decision

    def note(self, decision: Decision) -> bool:
        """Record a "no" where its grounds are others than those of the last answer: not each second anew.

        A "yes" is recorded by the run that follows from it.

        Returns:
            Whether the answer is another one than the last.
        """
        grounds = answer_of(decision)
        place = f"watch/answer/{self.terms.lane}"
        if self.book.value(place) == grounds:
            return False
        if not decision.retrain:
            self.book.record_decision(decision)
        self.book.set_value(place, grounds)
        return True


def answer_of(decision: Decision) -> str:
    """A digest of what a decision says, without how much was measured: `6 of 200 rows`, `7 of 200` are one answer.

    What would stand against a training (a cool-down) counts only where one would begin.
    """
    from domainlm.retrain.deciding.decision import GROUNDS

    held = sorted(reason.code for reason in decision.reasons if reason.holds and reason.code in GROUNDS)
    return digest_json([decision.retrain, held, sorted(decision.barred), decision.policy])


def said_of(batch: Batch) -> str:
    """A batch after the look into it, in a line."""
    short = f"batch {batch.id[:12]} of {batch.feed}"
    if batch.state == QUARANTINED:
        return f"{short} is quarantined: {batch.reason}"
    days = f", {batch.first_day} to {batch.last_day}" if batch.first_day else ""
    return f"{short} is {batch.state}: {batch.rows} rows{days}"
