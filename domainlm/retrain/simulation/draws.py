"""Intervals that hold for other sentence shapes and for other seeds, of any score that is a function of sums.

A two-way bootstrap (Owen 2007, "The pigeonhole bootstrap"): each draw takes shapes with replacement, so that ten
headlines of one shape count as one observation, and seeds with replacement. As few seeds as three understate their own
variance by (S - 1) / S; the part of a draw that the seeds move is widened by the square root of its inverse.
Accuracy, macro-F1 and a correlation are all functions of sums over rows, so one resampling serves them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

Value = Callable[[np.ndarray], np.ndarray]


class Interval(NamedTuple):
    """A figure with the ends of its interval."""

    value: float
    low: float
    high: float


class Draws:
    """Draws of groups and seeds, made once, so that all models are compared on the same ones.

    Args:
        groups: the group of each row.
        resamples: how many draws.
        confidence: level of the intervals.
        seed: of the draws.
    """

    def __init__(self, groups: Sequence[str], resamples: int = 2000, confidence: float = 0.95, seed: int = 1) -> None:
        numbers = {name: number for number, name in enumerate(dict.fromkeys(groups))}
        self._codes = np.asarray([numbers[name] for name in groups], dtype=int)
        self.groups = len(numbers)
        self._generator = np.random.default_rng(seed)
        chances = np.full(self.groups, 1 / self.groups)
        self._draws = self._generator.multinomial(self.groups, chances, resamples).astype(float)
        self._ends = [(1 - confidence) / 2, (1 + confidence) / 2]

    def interval(self, value: Value, statistics: np.ndarray) -> Interval:
        """The mean score over seeds.

        Args:
            value: the score of summed statistics, over the last axis.
            statistics: additive numbers of each row, shape `(seeds, rows, numbers)`.
        """
        return self._interval(value, [statistics])

    def difference(self, value: Value, first: np.ndarray, second: np.ndarray) -> Interval:
        """The mean over seeds of first minus second, paired: the same draws of shapes and of seeds for both."""
        return self._interval(value, [first, second])

    def _interval(self, value: Value, systems: list[np.ndarray]) -> Interval:
        found = [self._scores(value, statistics) for statistics in systems]
        estimates, drawn = (_gained([part[place] for part in found]) for place in (0, 1))
        moved = self._over_seeds(estimates, drawn)
        low, high = np.nanquantile(moved, self._ends) if np.isfinite(moved).any() else (np.nan, np.nan)
        return Interval(float(estimates.mean()), float(low), float(high))

    def _scores(self, value: Value, statistics: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The score of each seed, `(seeds,)`, and in each draw, `(resamples, seeds)`."""
        sums = np.zeros((self.groups, *statistics.shape[::2]))
        np.add.at(sums, self._codes, statistics.transpose(1, 0, 2))
        drawn = np.einsum("rg,gsk->rsk", self._draws, sums)
        with np.errstate(invalid="ignore", divide="ignore"):  # a draw without variance has no correlation
            return value(statistics.sum(axis=1)), value(drawn)

    def _over_seeds(self, estimates: np.ndarray, drawn: np.ndarray) -> np.ndarray:
        seeds = len(estimates)
        mean = drawn.mean(axis=1)
        if seeds == 1:
            return mean
        picked = np.random.default_rng(seeds).integers(0, seeds, (len(drawn), seeds))
        moved = np.take_along_axis(drawn, picked, axis=1).mean(axis=1) - mean
        return mean + moved * (seeds / (seeds - 1)) ** 0.5


def _gained(parts: list[np.ndarray]) -> np.ndarray:
    """The one part, or the first minus the second."""
    return parts[0] if len(parts) == 1 else parts[0] - parts[1]


def confusion(labels: Sequence[str], predicted: Sequence[Sequence[str]], true: Sequence[str]) -> np.ndarray:
    """Statistics of `accuracy` and `macro_f1`: hits, said and true of each class, `(seeds, rows, 3 * labels)`."""
    said = np.asarray(predicted)[:, :, None] == np.asarray(labels)
    wanted = np.broadcast_to(np.asarray(true)[None, :, None] == np.asarray(labels), said.shape)
    return np.concatenate([said & wanted, said, wanted], axis=2).astype(float)


def accuracy(sums: np.ndarray) -> np.ndarray:
    """Share of right answers, of summed `confusion`."""
    hits, _, true = np.split(sums, 3, axis=-1)
    return hits.sum(axis=-1) / true.sum(axis=-1)


def macro_f1(sums: np.ndarray) -> np.ndarray:
    """Mean F1 of the classes; one that is neither there nor said counts 0, as in `domainlm.evaluate`."""
    hits, said, true = np.split(sums, 3, axis=-1)
    return (2 * hits / np.maximum(said + true, 1)).mean(axis=-1)


def pairs(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Statistics of `correlation`.

    Args:
        first: `(seeds, rows)`.
        second: `(rows,)`.
    """
    second = np.broadcast_to(second, first.shape)
    return np.stack([np.ones_like(first), first, second, first**2, second**2, first * second], axis=2)


def correlation(sums: np.ndarray) -> np.ndarray:
    """Pearson's r of summed `pairs`; not a number where one side does not vary."""
    count, x, y, xx, yy, xy = (sums[..., place] for place in range(6))
    return (count * xy - x * y) / np.sqrt((count * xx - x**2) * (count * yy - y**2))
