"""Plays the acts of a timeline: every landing goes through zone, book, acceptance and decision as in earnest.

Time is simulated, so that two years pass in minutes: the zone settles by it, champions age by it, and cool-down and
budget are counted by it. Leases are not: their time is the database's, and whoever trains holds a living claim.

Prequential (Gama, Sebastiao and Rodrigues 2013): each month is scored by the champion that was there when the month
began, which has seen nothing of it; then its rows land and may be learnt from.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from domainlm.errors import DomainLMError
from domainlm.intervals import wilson
from domainlm.retrain.accepting.acceptance import Rules, accept, profile_sources
from domainlm.retrain.batches import ACCEPTED, LANDED, Batch, BriefBatch, Decision, Result, RetrainingPlan
from domainlm.retrain.book import Book
from domainlm.retrain.deciding.decision import decide
from domainlm.retrain.deciding.plan import make_plan, selected
from domainlm.retrain.deciding.signals import LedgerView, profiles_of, signals_of
from domainlm.retrain.settings import DecideSettings, DetectSettings
from domainlm.retrain.simulation.market import Headline
from domainlm.retrain.simulation.trained import Trained, Trainer
from domainlm.retrain.simulation.trouble import DAY_S, Act
from domainlm.retrain.zone import Zone

LANE, TASK = "simulation", "sentiment"
PERSON_DAYS = 30.0  # until a person promotes what may not promote itself
LEASE_S = 600.0


class Clock:
    """Simulated time: stands still unless it is set."""

    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Retraining(NamedTuple):
    """One training of the play."""

    time: float
    plan: RetrainingPlan
    trained: Trained
    batches: tuple[BriefBatch, ...]
    promoted: float  # when it became the champion


@dataclass
class Played:
    """What happened.

    Fields:
        decisions: every decision with its time, repeated ones left out.
        retrainings: in order of time; the first is the frozen champion.
        log: (time, sentence) for people: landings, refusals, withdrawals.
        failures: trainings that a stage refused, with the reason.
    """

    decisions: list[tuple[float, Decision]] = field(default_factory=list)
    retrainings: list[Retraining] = field(default_factory=list)
    log: list[tuple[float, str]] = field(default_factory=list)
    failures: list[tuple[float, str]] = field(default_factory=list)

    def champion(self, moment: float) -> int | None:
        """Which retraining's model was the champion at a moment."""
        there = [number for number, one in enumerate(self.retrainings) if one.promoted <= moment]
        return max(there, key=lambda number: self.retrainings[number].promoted) if there else None


class Player:
    """Plays a timeline into a zone of its own.

    Args:
        detect: where the zone lies, and its feeds.
        wanted: when to retrain.
        rules: what acceptance holds rows against; its sources are what every training reads beside what landed.
        book: the batch book.
        headlines: what every model answers, in order; their months are scored.
        train: trains a plan.
        clock: the simulated time, by which the book must have been opened too.
        say: told each event as it happens.
    """

    def __init__(
        self,
        detect: DetectSettings,
        wanted: DecideSettings,
        rules: Rules,
        book: Book,
        headlines: Sequence[Headline],
        train: Trainer,
        clock: Clock,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.detect, self.wanted, self.book, self.train = detect, wanted, book, train
        self.headlines, self.say = headlines, say
        self.rules = rules
        profile_sources(book, rules.sources, rules)
        self.feeds = {feed.name: feed for feed in detect.feeds}
        self.clock = clock
        self.zone = Zone(detect, book, clock=self.clock, monotonic=self.clock)
        self.played = Played()
        self._place = {headline.text: number for number, headline in enumerate(headlines)}

    def play(self, acts: Sequence[Act]) -> Played:
        """Do every act, look at the zone after it, and retrain where the decision says so."""
        folder = Path(self.detect.zone)
        folder.mkdir(parents=True, exist_ok=True)
        for act in acts:
            self.clock.now = act.time
            act.do(folder)
            if act.trouble:
                self._tell(f"trouble ({act.trouble}): {act.told}")
            self._round()
        return self.played

    def _round(self) -> None:
        """What `domainlm retrain --once` does, in the same order."""
        scan = self.zone.settled(self.detect.settle_s + 1, sleep=self._wait)
        for line in scan.lines():
            self._tell(line)
        for name in scan.settling:
            self._tell(f"not complete yet: {name}")
        for batch in self.book.batches(state=LANDED):
            found = accept(self.book, batch, self.feeds[batch.feed], self.rules)
            self._tell(f"{found.name} ({found.feed}): {found.state}{f', {found.rows} rows' if found.rows else ''}"
                       f"{f': {found.reason}' if found.reason else ''}")  # fmt: skip
            if found.state == ACCEPTED:
                self._score(found)
        self._person()
        self._decide()

    def _wait(self, seconds: float) -> None:
        self.clock.now += seconds

    def _score(self, batch: Batch) -> None:
        """The champion's score on rows that it has not seen, with the labels that landed."""
        number = self.played.champion(self.clock.now)
        if number is None:
            return
        trained = self.played.retrainings[number].trained
        right = [trained.answers[self._place[text]] == label for text, label in _rows(self.detect.zone, batch)
                 if text in self._place]  # fmt: skip
        if right:
            share = sum(right) / len(right)
            self.book.score(trained.identity, batch.id, TASK, share, *wilson(share, len(right)), len(right))

    def _decide(self) -> None:
        waiting = selected(self.book, self.wanted, self.detect.feeds)
        signals = signals_of(self.book, LANE, datetime.fromtimestamp(self.clock.now, UTC), self._view())
        decision = decide(self.wanted, waiting, profiles_of(self.book, waiting, signals), signals)
        if not any(known.id == decision.id for _, known in self.played.decisions[-1:]):
            self.played.decisions.append((self.clock.now, decision))
        self.book.record_decision(decision)
        if decision.retrain:
            self._retrain(waiting, decision)

    def _retrain(self, waiting: list[BriefBatch], decision: Decision) -> None:
        began = self.clock.now
        claim = self.book.claim(LANE, "simulation", LEASE_S, batches=[batch.id for batch in waiting], allow_empty=True)
        if claim is None:
            raise DomainLMError(
                "nobody else should claim a simulation's batches", LANE, "use another --out, or wait ten minutes"
            )
        with self.book.keep_alive(claim) as beat:
            plan = make_plan(self.book, claim, decision, self.wanted, self.detect.feeds, self.detect.zone)
            grounds = ", ".join(reason.code for reason in decision.reasons if reason.holds)
            self._tell(f"training on {len(waiting)} new batches ({grounds})")
            try:
                trained = self.train(plan, 0)
            except DomainLMError as error:
                self.book.give_up(claim, f"{type(error).__name__}: {error.what.splitlines()[0]}")
                self.played.failures.append((began, f"{type(error).__name__}: {error.what.splitlines()[0]}"))
                self._tell(f"the training failed: {self.played.failures[-1][1]}")
                return
            beat.check()
            self.clock.now += trained.seconds
            self.book.accept_result(
                claim,
                Result(run_id=f"{LANE}-{len(self.played.retrainings) + 1}", identity=trained.identity,
                       version=f"{LANE}/{len(self.played.retrainings) + 1}", base=trained.base, policy=trained.policy),
            )  # fmt: skip
        low, high = wilson(trained.score, trained.items)
        self.book.score(trained.identity, "", TASK, trained.score, low, high, trained.items)
        after = 0.0 if plan.trusted else PERSON_DAYS * DAY_S
        self.played.retrainings.append(Retraining(began, plan, trained, tuple(waiting), self.clock.now + after))
        self._tell(
            "promoted by a standing approval" if plan.trusted else "an untrusted source is in it: a person decides"
        )
        self._person()

    def _person(self) -> None:
        """Whatever is due by now is the champion."""
        number = self.played.champion(self.clock.now)
        if number is not None:
            self.book.promoted(self.played.retrainings[number].trained.identity)

    def _view(self) -> LedgerView:
        number = self.played.champion(self.clock.now)
        if number is None:
            return LedgerView()
        one = self.played.retrainings[number]
        return LedgerView(
            champion=one.trained.identity,
            version=f"{LANE}/{number + 1}",
            promoted=datetime.fromtimestamp(one.promoted, UTC).isoformat(),
            base=one.trained.base,
            policy=one.trained.policy,
            base_now=one.trained.base,
            policy_now=one.trained.policy,
        )

    def _tell(self, sentence: str) -> None:
        self.played.log.append((self.clock.now, sentence))
        self.say(f"{datetime.fromtimestamp(self.clock.now, UTC):%Y-%m-%d}  {sentence}")


def _rows(zone: str, batch: Batch) -> Iterator[tuple[str, str]]:
    """Text and label of each row of a batch."""
    for file in batch.files:
        with (Path(zone) / file.path).open(encoding="utf-8") as lines:
            for line in lines:
                row = json.loads(line)
                yield row["headline"], row["label"]
