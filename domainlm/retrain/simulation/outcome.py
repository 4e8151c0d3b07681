"""What a play shows: quality month by month with and without retraining, and whether the difference is one.

Every month is answered by two champions: the first one, which nobody trained again (frozen), and the one that was there
when the month began (retrained). The seeds train the same plans again, so that an interval holds for other seeds too.
Rows of one sentence shape are one observation. A shape that a champion has trained on is easy, so rows are also counted
apart: shapes that the retrained champion had learnt, and shapes that it had not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np

from domainlm.reports import Report
from domainlm.retrain.batches import Reason
from domainlm.retrain.simulation.draws import Draws, Value, accuracy, confusion, correlation, macro_f1, pairs
from domainlm.retrain.simulation.market import SIGN, Headline, Month
from domainlm.retrain.simulation.playing import Played
from domainlm.retrain.simulation.trained import Trained
from domainlm.retrain.simulation.trouble import start_of

LABELS = ("positive", "neutral", "negative")
SENTIMENT = {"positive": 1.0, "neutral": 0.0, "negative": -1.0}
FEWEST = 10  # rows below which no interval is drawn
SPAN = 6  # months at each end that are held against each other


class Figure(Report):
    """A score with its 95 % interval."""

    value: float
    low: float
    high: float

    signed: bool = False

    def __str__(self) -> str:
        sign = "+" if self.signed else ""
        return f"{self.value:{sign}.3f} [{self.low:{sign}.3f}, {self.high:{sign}.3f}]"


class MonthOutcome(Report):
    """One scored month.

    Fields:
        rows, shapes: what was scored.
        champion: number of the retraining whose model was there, from 1.
        frozen, retrained: accuracy.
        frozen_f1, retrained_f1: macro-F1.
        majority: accuracy of always saying the most frequent label of all months before.
        new_shapes: share of rows whose shape no month before had.
    """

    name: str
    rows: int
    shapes: int
    champion: int
    frozen: Figure
    retrained: Figure
    frozen_f1: Figure
    retrained_f1: Figure
    majority: float
    new_shapes: float


class Comparison(Report):
    """The two champions on the same rows; `gain` is retrained minus frozen, paired."""

    rows_of: str
    metric: str
    rows: int
    shapes: int
    frozen: Figure
    retrained: Figure
    gain: Figure
    verdict: str


class Change(Report):
    """What time did to a champion's accuracy: its last months minus its first ones. Negative is decay."""

    of: str
    first: tuple[str, ...]
    last: tuple[str, ...]
    change: Figure


class RetrainingOutcome(Report):
    """One training: when, why, on what, and when it became the champion."""

    number: int
    day: str
    reasons: tuple[str, ...]
    new_rows: int
    training_rows: int
    batches: tuple[str, ...]
    trusted: bool
    promoted: str
    minutes: tuple[float, ...]
    registered: float


class DecisionOutcome(Report):
    """One decision with every reason that was looked at."""

    day: str
    retrain: bool
    reasons: tuple[Reason, ...]
    barred: tuple[str, ...]


class Direction(Report):
    """What sentiment says of the next trading day: Pearson's r with where the close went, and with how far.

    Fields:
        of: labels (what a perfect model of sentiment would say), frozen or retrained.
        leak: its r with the direction is above that of the true labels, beyond chance: it knows what it cannot know.
    """

    of: str
    rows: int
    direction: Figure
    move: Figure
    agreement: float
    leak: bool = False


class Outcome(Report):
    """What a simulation found."""

    trouble: bool
    seeds: int
    months: tuple[MonthOutcome, ...]
    comparisons: tuple[Comparison, ...]
    changes: tuple[Change, ...]
    directions: tuple[Direction, ...]
    retrainings: tuple[RetrainingOutcome, ...]
    decisions: tuple[DecisionOutcome, ...]
    failures: tuple[str, ...]
    log: tuple[str, ...]


def outcome_of(
    months: Sequence[Month], played: Played, replicas: Sequence[Sequence[Trained]], trouble: bool
) -> Outcome:
    """Score a play.

    Args:
        months: all months, in order; their headlines are what the models answered.
        played: what happened.
        replicas: for each further seed, the models of the same plans; the play's own models are the first seed.
        trouble: as the timeline was asked for.
    """
    seeds = [[one.trained for one in played.retrainings], *replicas]
    scored = _Scored(months, played, seeds)
    return Outcome(
        trouble=trouble,
        seeds=len(seeds),
        months=tuple(scored.months()),
        comparisons=tuple(scored.comparisons()),
        changes=tuple(scored.changes()),
        directions=tuple(scored.directions()),
        retrainings=tuple(_retrainings(played, seeds)),
        decisions=tuple(
            DecisionOutcome(day=_day(when), retrain=one.retrain, reasons=one.reasons, barred=one.barred)
            for when, one in played.decisions
        ),
        failures=tuple(f"{_day(when)} {why}" for when, why in played.failures),
        log=tuple(f"{_day(when)} {line}" for when, line in played.log),
    )


class _Scored:
    """Rows of the months that had a champion, and what both champions said to them, for every seed."""

    def __init__(self, months: Sequence[Month], played: Played, seeds: Sequence[Sequence[Trained]]) -> None:
        self.rows: list[Headline] = []
        self.month: list[str] = []
        self.champion: list[int] = []
        self.frozen: list[list[str]] = [[] for _ in seeds]
        self.retrained: list[list[str]] = [[] for _ in seeds]
        self.learnt: list[bool] = []
        self.first_learnt: list[bool] = []
        self.new: list[bool] = []
        self.majority: dict[str, float] = {}
        place, before, labels = 0, set(), Counter()
        for month in months:
            champion = played.champion(start_of(month.name))
            for number, headline in enumerate(month.headlines, start=place):
                if champion is None:
                    continue
                self.rows.append(headline)
                self.month.append(month.name)
                self.champion.append(champion)
                for seed, models in enumerate(seeds):
                    self.frozen[seed].append(models[0].answers[number])
                    self.retrained[seed].append(models[champion].answers[number])
                self.learnt.append(headline.shape in seeds[0][champion].learnt)
                self.first_learnt.append(headline.shape in seeds[0][0].learnt)
                self.new.append(headline.shape not in before)
            if labels:
                usual = min(labels, key=lambda label: (-labels[label], label))
                self.majority[month.name] = sum(one.label == usual for one in month.headlines) / len(month.headlines)
            place += len(month.headlines)
            before |= {one.shape for one in month.headlines}
            labels.update(one.label for one in month.headlines)

    def months(self) -> list[MonthOutcome]:
        """Every month on its own."""
        found = []
        for name in dict.fromkeys(self.month):
            chosen = [place for place, month in enumerate(self.month) if month == name]
            frozen, retrained, draws = self._chosen(chosen)
            found.append(
                MonthOutcome(
                    name=name, rows=len(chosen), shapes=draws.groups, champion=self.champion[chosen[0]] + 1,
                    frozen=_figure(draws, accuracy, frozen), retrained=_figure(draws, accuracy, retrained),
                    frozen_f1=_figure(draws, macro_f1, frozen), retrained_f1=_figure(draws, macro_f1, retrained),
                    majority=round(self.majority.get(name, 0.0), 4),
                    new_shapes=round(sum(self.new[place] for place in chosen) / len(chosen), 4),
                )
            )  # fmt: skip
        return found

    def comparisons(self) -> list[Comparison]:
        """Both champions on all months, on the second year, and on its parts by what was learnt of them."""
        years = sorted({month[:4] for month in self.month})
        last = [month.startswith(years[-1]) for month in self.month] if years else []
        parts = {
            "all months": [True] * len(self.rows),
            **({f"{years[0]}": [not flag for flag in last]} if len(years) > 1 else {}),
            **({f"{years[-1]}": last} if len(years) > 1 else {}),
            "shapes that both had learnt": self.first_learnt,
            "shapes that retraining had learnt": [
                now and not first for now, first in zip(self.learnt, self.first_learnt, strict=True)
            ],
            "shapes that neither had learnt": [
                not now and not first for now, first in zip(self.learnt, self.first_learnt, strict=True)
            ],
            "shapes that no month before had": self.new,
        }
        found = []
        for name, flags in parts.items():
            chosen = [place for place, flag in enumerate(flags) if flag]
            if len(chosen) >= FEWEST:
                frozen, retrained, draws = self._chosen(chosen)
                for metric, value in (("accuracy", accuracy), ("macro-F1", macro_f1)):
                    gain = draws.difference(value, retrained, frozen)
                    found.append(
                        Comparison(
                            rows_of=name, metric=metric, rows=len(chosen), shapes=draws.groups,
                            frozen=_figure(draws, value, frozen), retrained=_figure(draws, value, retrained),
                            gain=_told(*gain, signed=True), verdict=_verdict(gain.low, gain.high),
                        )
                    )  # fmt: skip
        return found

    def changes(self) -> list[Change]:
        """The last months beside the first ones, of each champion."""
        names = list(dict.fromkeys(self.month))
        span = min(SPAN, len(names) // 2)
        if not span:
            return []
        first, last = (np.isin(self.month, part)[None, :, None] for part in (names[:span], names[-span:]))
        frozen, retrained, draws = self._chosen(list(range(len(self.rows))))

        def changed(sums: np.ndarray) -> np.ndarray:
            before, after = np.split(sums, 2, axis=-1)
            return accuracy(after) - accuracy(before)

        return [
            Change(
                of=name, first=tuple(names[:span]), last=tuple(names[-span:]),
                change=_told(
                    *draws.interval(changed, np.concatenate([statistics * first, statistics * last], axis=2)),
                    signed=True,
                ),
            )
            for name, statistics in (("frozen", frozen), ("retrained", retrained))
        ]  # fmt: skip

    def directions(self) -> list[Direction]:
        """Sentiment beside the prices: of the labels, and of both champions."""
        if len(self.rows) < FEWEST:
            return []
        draws = Draws([row.shape for row in self.rows])
        directions = np.asarray([SIGN[row.direction] for row in self.rows], dtype=float)
        moves = np.asarray([row.move for row in self.rows])
        labels = [[row.label for row in self.rows]]
        true = pairs(_signs(labels), directions)
        found = []
        for name, said in (("labels", labels), ("frozen", self.frozen), ("retrained", self.retrained)):
            signs = _signs(said)
            if np.ptp(signs, axis=1).min() == 0:
                continue  # who always says the same is correlated with nothing
            statistics = pairs(signs, directions)
            over = draws.difference(correlation, statistics, np.broadcast_to(true, statistics.shape))
            found.append(
                Direction(
                    of=name, rows=len(self.rows),
                    direction=_told(*draws.interval(correlation, statistics), signed=True),
                    move=_told(*draws.interval(correlation, pairs(signs, moves)), signed=True),
                    agreement=round(float((signs == directions).mean()), 4),
                    leak=name != "labels" and over.low > 0,
                )
            )  # fmt: skip
        return found

    def _chosen(self, chosen: list[int]) -> tuple[np.ndarray, np.ndarray, Draws]:
        true = [self.rows[place].label for place in chosen]
        frozen, retrained = (
            confusion(LABELS, [[said[place] for place in chosen] for said in answers], true)
            for answers in (self.frozen, self.retrained)
        )
        return frozen, retrained, Draws([self.rows[place].shape for place in chosen])


def _signs(said: Sequence[Sequence[str]]) -> np.ndarray:
    return np.asarray([[SENTIMENT[label] for label in answers] for answers in said])


def _retrainings(played: Played, seeds: Sequence[Sequence[Trained]]) -> list[RetrainingOutcome]:
    return [
        RetrainingOutcome(
            number=number + 1, day=_day(one.time),
            reasons=tuple(reason.code for reason in one.plan.decision.reasons if reason.holds),
            new_rows=sum(batch.rows for batch in one.batches), training_rows=one.trained.rows,
            batches=tuple(batch.name for batch in one.batches), trusted=one.plan.trusted, promoted=_day(one.promoted),
            minutes=tuple(round(models[number].seconds / 60, 2) for models in seeds),
            registered=round(one.trained.score, 4),
        )
        for number, one in enumerate(played.retrainings)
    ]  # fmt: skip


def _figure(draws: Draws, value: Value, statistics: np.ndarray) -> Figure:
    found = draws.interval(value, statistics)
    return _told(found.value, max(0.0, found.low), min(1.0, found.high))


def _told(value: float, low: float, high: float, signed: bool = False) -> Figure:
    return Figure(value=round(value, 4), low=round(low, 4), high=round(high, 4), signed=signed)


def _verdict(low: float, high: float) -> str:
    if low > 0:
        return "retraining helps"
    return "retraining harms" if high < 0 else "no difference shown"


def _day(moment: float) -> str:
    return f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%d}"
