"""From the item scores of every training to one answer, with intervals over items and seeds."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from domainlm.compare.intervals import Interval, Scores, TwoWay
from domainlm.compare.report import BASE, ComparisonReport, Figure, Forgetting, Gain, Resources, TaskRow
from domainlm.compare.retention import RetentionReport
from domainlm.compare.settings import CLAIM_SEEDS, Experiment
from domainlm.errors import EvaluationError

SHOWN, NOT_SHOWN = "shown", "not shown"
DIGITS = 6


@dataclass(frozen=True)
class TrialRow:
    """One task and source in one trial.

    Args:
        metric: the task's first metric; greater is better.
        records: the items' keyed ids.
        scores: each system's score of each item: `tuned`, and `base` and others where the trial scored them.
        chance: what the majority answer scores, where the trial scored it.
    """

    task: str
    source: str
    metric: str
    records: Sequence[str]
    scores: Mapping[str, Sequence[float]]
    chance: float | None = None


@dataclass(frozen=True)
class Trial:
    """One training: a variant with a seed.

    Args:
        measured: what the training cost, as the train step measured it: `seconds`, `tokens_per_second`,
            `peak_allocated_gb`, `energy_kwh`, `cost`, the memory planner's `plan`; what is missing was not measured.
        curve: logged points of its loss.
    """

    variant: str
    seed: int
    rows: Sequence[TrialRow]
    trainable_parameters: int
    steps: int
    curve: Sequence[Mapping[str, float]] = ()
    measured: Mapping[str, Any] = field(default_factory=dict)
    retention: RetentionReport | None = None


def compare(experiment: Experiment, trials: Sequence[Trial], groups: Mapping[str, str]) -> ComparisonReport:
    """The answer to an experiment.

    Args:
        experiment: what was asked.
        trials: one training a variant and seed; the first one also scored the base.
        groups: the group of each record id; items of one group are not independent.

    Raises:
        EvaluationError: a trial is missing, or trials scored other items than the first one.
    """
    _check(experiment, trials)
    compared = [_row(experiment, trials, number, groups) for number in range(len(trials[0].rows))]
    rows = [row for row, _ in compared]
    notes = []
    if len(experiment.seeds) < CLAIM_SEEDS:
        notes.append(f"{len(experiment.seeds)} seeds: no gain counts as shown with fewer than {CLAIM_SEEDS}")
    return ComparisonReport(
        experiment=experiment,
        rows=rows,
        forgetting=[
            *(_forgotten(row, lost) for row, lost in compared if row.task in experiment.general_tasks),
            *_language(experiment, trials),
        ],
        resources={variant.name: _resources(_of(trials, variant.name)) for variant in experiment.variants},
        curves={variant.name: _mean_curve(_of(trials, variant.name)) for variant in experiment.variants},
        notes=notes,
    )


def _of(trials: Sequence[Trial], variant: str) -> list[Trial]:
    return [trial for trial in trials if trial.variant == variant]


def _check(experiment: Experiment, trials: Sequence[Trial]) -> None:
    wanted = [(variant.name, seed) for variant in experiment.variants for seed in experiment.seeds]
    if [(trial.variant, trial.seed) for trial in trials] != wanted:
        raise EvaluationError("trials are missing or in another order", experiment.name, "run the comparison again")
    first = trials[0]
    for row in first.rows:
        if BASE not in row.scores:
            raise EvaluationError("the first trial did not score the base", f"task {row.task}", "add it to its systems")
    for trial in trials:
        for row, other in zip(first.rows, trial.rows, strict=True):
            if list(row.records) != list(other.records):
                raise EvaluationError(
                    f"'{trial.variant}' with seed {trial.seed} was scored on other items", f"task {row.task}",
                    "run the comparison again",
                )  # fmt: skip


def _row(
    experiment: Experiment, trials: Sequence[Trial], number: int, groups: Mapping[str, str]
) -> tuple[TaskRow, dict[str, Gain]]:
    """The row, and what each variant lost against the base."""
    first = trials[0].rows[number]
    sampler = TwoWay([groups[record] for record in first.records], experiment.resamples, experiment.confidence)
    scores = {BASE: Scores(np.asarray([first.scores[BASE]], dtype=float))}
    for variant in experiment.variants:
        found = [trial.rows[number].scores["tuned"] for trial in _of(trials, variant.name)]
        scores[variant.name] = Scores(np.asarray(found, dtype=float))
    enough = len(experiment.seeds) >= CLAIM_SEEDS and sampler.groups >= experiment.min_groups
    intervals = {name: sampler.interval(found) for name, found in scores.items()}
    chance = first.chance or 0.0

    def gain(name: str, other: str) -> Gain:
        found = sampler.difference(scores[name], scores[other])
        better = intervals[name if found.value > 0 else other]
        # what does not beat the majority answer has learned nothing, whatever it is compared with
        return _gain(found, enough and better.low > chance)

    lost = {name: gain(BASE, name) for name in scores if name != BASE}
    row = TaskRow(
        task=first.task,
        source=first.source,
        metric=first.metric,
        items=len(first.records),
        groups=sampler.groups,
        scores={name: _figure(intervals[name], found) for name, found in scores.items()},
        gains={name: gain(name, experiment.reference) for name in scores if name != experiment.reference},
        chance=chance,
    )
    return row, lost


def _figure(interval: Interval, scores: Scores) -> Figure:
    value, low, high = (round(number, DIGITS) for number in interval)
    return Figure(value=value, low=low, high=high, by_seed=[round(score, DIGITS) for score in scores.by_seed])


def _gain(interval: Interval, enough: bool) -> Gain:
    value, low, high = (round(number, DIGITS) for number in interval)
    return Gain(value=value, low=low, high=high, verdict=SHOWN if enough and (low > 0 or high < 0) else NOT_SHOWN)


def _forgotten(row: TaskRow, lost: Mapping[str, Gain]) -> Forgetting:
    """Forgetting on a task: only what the base can do better than chance can be lost."""
    base = row.scores[BASE]
    assessable = base.low > row.chance
    return Forgetting(
        measure=f"{row.task} / {row.source}, {row.metric}",
        assessable=assessable,
        reason="the base is above chance" if assessable else f"the base scores {base}, chance is {row.chance:.3f}",
        base=base.value,
        chance=row.chance,
        lost=dict(lost) if assessable else {},
    )


def _language(experiment: Experiment, trials: Sequence[Trial]) -> list[Forgetting]:
    """Bits per character of held-out documents: the spread over seeds is its only noise, since the text is the same."""
    if any(trial.retention is None for trial in trials):
        return []
    first = trials[0].retention
    assessable = first.base < first.chance
    lost = {}
    for variant in experiment.variants:
        found = [trial.retention.tuned - trial.retention.base for trial in _of(trials, variant.name)]
        lost[variant.name] = _gain(_over_seeds(found, experiment.confidence), len(found) >= CLAIM_SEEDS)
    return [
        Forgetting(
            measure="held-out documents of the base's corpus, bits per character",
            assessable=assessable,
            reason="the base beats the frequency of characters" if assessable else "the base is no better than chance",
            base=first.base,
            chance=first.chance,
            lost=lost if assessable else {},
        )
    ]


def _over_seeds(values: Sequence[float], confidence: float) -> Interval:
    """Student's interval of a mean over seeds."""
    mean = statistics.fmean(values)
    if len(values) < 2:
        return Interval(mean, mean, mean)
    from scipy.stats import t

    half = t.ppf((1 + confidence) / 2, len(values) - 1) * statistics.stdev(values) / len(values) ** 0.5
    return Interval(mean, mean - float(half), mean + float(half))


def _resources(trials: Sequence[Trial]) -> Resources:
    def median(value: Callable[[Mapping[str, Any]], float | None]) -> float | None:
        found = [value(trial.measured) for trial in trials]
        return round(statistics.median(found), 4) if found and None not in found else None

    return Resources(
        trainable_parameters=trials[0].trainable_parameters,
        steps=trials[0].steps,
        seconds=median(lambda measured: measured.get("seconds")),
        tokens_per_second=median(lambda measured: measured.get("tokens_per_second")),
        peak_gb=median(lambda measured: measured.get("peak_allocated_gb")),
        planned_gb=median(lambda measured: measured.get("plan", {}).get("estimate", {}).get("total_gb")),
        energy_kwh=median(lambda measured: measured.get("energy_kwh")),
        cost=median(lambda measured: measured.get("cost")),
    )


def _mean_curve(trials: Sequence[Trial]) -> list[dict[str, float]]:
    """The loss at each logged step, as the mean over seeds with its least and greatest."""
    points = []
    for step in sorted(set.intersection(*({int(point["step"]) for point in trial.curve} for trial in trials))):
        losses = [point["loss"] for trial in trials for point in trial.curve if point["step"] == step]
        points.append({"step": step, "loss": statistics.fmean(losses), "low": min(losses), "high": max(losses)})
    return points
