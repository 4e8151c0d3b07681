"""Intervals that hold both for other test items and for other seeds.

A two-way bootstrap (Owen 2007, "The pigeonhole bootstrap"): each draw takes groups of items with replacement, so that
twenty headlines of one shape count as one observation, and seeds with replacement. As few seeds as five understate
their own variance by (S - 1) / S; the part of a draw that the seeds move is widened by the square root of its inverse.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Scores(NamedTuple):
    """What one system scored: `(seeds, items)`; a system without seeds (the base) has one row."""

    items: np.ndarray

    @property
    def value(self) -> float:
        """The mean over seeds and items."""
        return float(self.items.mean())

    @property
    def by_seed(self) -> list[float]:
        """The score of each seed."""
        return [float(score) for score in self.items.mean(axis=1)]


class Interval(NamedTuple):
    """A figure with the ends of its interval."""

    value: float
    low: float
    high: float


class TwoWay:
    """Draws of groups and seeds, made once, so that all systems are compared on the same groups.

    Args:
        groups: the group of each item.
        resamples: how many draws.
        confidence: level of the intervals.
        seed: seed of the draws.
    """

    def __init__(self, groups: Sequence[str], resamples: int, confidence: float, seed: int = 1) -> None:
        numbers = {name: number for number, name in enumerate(dict.fromkeys(groups))}
        self._codes = np.asarray([numbers[name] for name in groups])
        self.groups = len(numbers)
        self._generator = np.random.default_rng(seed)
        self._draws = self._generator.multinomial(self.groups, np.full(self.groups, 1 / self.groups), resamples).astype(
            float
        )
        self._counts = self._draws @ np.bincount(self._codes, minlength=self.groups)
        self._ends = [(1 - confidence) / 2, (1 + confidence) / 2]

    def interval(self, scores: Scores) -> Interval:
        """The interval of one system's score."""
        low, high = np.quantile(self._drawn(scores), self._ends)
        least, most = scores.items.min(), scores.items.max()  # the widening for few seeds knows no bounds
        return Interval(scores.value, float(max(low, least)), float(min(high, most)))

    def difference(self, first: Scores, second: Scores) -> Interval:
        """The interval of first minus second: on the same groups, with seeds drawn apart."""
        low, high = np.quantile(self._drawn(first) - self._drawn(second), self._ends)
        return Interval(first.value - second.value, float(low), float(high))

    def _drawn(self, scores: Scores) -> np.ndarray:
        """The score in each draw, shape `(resamples,)`."""
        seeds = len(scores.items)
        sums = np.zeros((self.groups, seeds))
        np.add.at(sums, self._codes, scores.items.T)
        by_seed = (self._draws @ sums) / self._counts[:, None]
        mean = by_seed.mean(axis=1)
        if seeds == 1:
            return mean
        chosen = self._generator.multinomial(seeds, np.full(seeds, 1 / seeds), len(mean)) / seeds
        return mean + (seeds / (seeds - 1)) ** 0.5 * ((chosen * by_seed).sum(axis=1) - mean)
