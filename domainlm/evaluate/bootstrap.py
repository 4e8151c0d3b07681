"""Confidence intervals by resampling whole groups, so that twenty headlines of one shape count as one observation.

Intervals are BCa (Efron 1987). Where BCa is undefined, because every resample gives the same score or lies on one side
of it, the percentile interval takes over; where the score cannot vary at all, Wilson's (1927), and Newcombe's hybrid of
two of them (1998) for a difference, with the number of groups as sample size: wider than needed, never of zero width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from domainlm.intervals import wilson

NORMAL = NormalDist()


class Interval(NamedTuple):
    """An estimate with its interval; `method` says how the interval was made."""

    value: float
    low: float
    high: float
    method: str


class Resampler:
    """Resampled groups, drawn once, so that all systems are compared on the same draws.

    Args:
        groups: the group of each item.
        resamples: how many times the groups are drawn, with replacement.
        confidence: level of the intervals.
        seed: seed of the draws.
    """

    def __init__(self, groups: Sequence[str], resamples: int, confidence: float, seed: int) -> None:
        # numbered as they come, since the keyed names of groups sort differently in every institution
        numbers = {name: number for number, name in enumerate(dict.fromkeys(groups))}
        self._codes = np.asarray([numbers[name] for name in groups])
        self.groups = len(numbers)
        self._confidence = confidence
        generator = np.random.default_rng(seed)
        self._draws = generator.multinomial(self.groups, np.full(self.groups, 1 / self.groups), resamples).astype(float)

    def interval(self, value: Callable[[np.ndarray], np.ndarray], statistics: np.ndarray, bounded: bool) -> Interval:
        """The interval of a score.

        Args:
            value: the score of summed statistics, over the last axis.
            statistics: one row of additive statistics an item.
            bounded: whether the score lies in [0, 1], as Wilson's interval asks.
        """
        found = self._interval(value, self._sums(statistics))
        if found.low < found.high or not bounded:
            return found
        return Interval(found.value, *wilson(found.value, self.groups, self._confidence), "wilson")

    def difference(
        self, value: Callable[[np.ndarray], np.ndarray], first: np.ndarray, second: np.ndarray, bounded: bool
    ) -> Interval:
        """The interval of the paired difference of two systems' scores, first minus second; else as `interval`."""
        width = first.shape[1]

        def gained(sums: np.ndarray) -> np.ndarray:
            return value(sums[..., :width]) - value(sums[..., width:])

        found = self._interval(gained, self._sums(np.hstack([first, second])))
        if found.low < found.high or not bounded:
            return found
        scores = [float(value(statistics.sum(axis=0))) for statistics in (first, second)]
        return Interval(found.value, *_newcombe(scores, (self.groups, self.groups), self._confidence), "newcombe")

    def _sums(self, statistics: np.ndarray) -> np.ndarray:
        sums = np.zeros((self.groups, statistics.shape[1]))
        np.add.at(sums, self._codes, statistics)
        return sums

    def _interval(self, value: Callable[[np.ndarray], np.ndarray], sums: np.ndarray) -> Interval:
        total = sums.sum(axis=0)
        estimate = float(value(total))
        resampled = value(self._draws @ sums)
        ends, method = self._bca_ends(estimate, resampled, value(total - sums) if self.groups > 1 else resampled)
        low, high = np.quantile(resampled, ends)
        return Interval(estimate, float(low), float(high), method)

    def _bca_ends(self, estimate: float, resampled: np.ndarray, left_out: np.ndarray) -> tuple[list[float], str]:
        """The two quantiles to read: corrected for bias, and for skewness by leaving out one group at a time."""
        plain = [(1 - self._confidence) / 2, (1 + self._confidence) / 2]
        # a sum in another order may differ in its last bit: that must not count as "below"
        near = np.isclose(resampled, estimate, rtol=1e-12, atol=1e-12)
        below = float(np.mean((resampled < estimate) & ~near) + np.mean(near) / 2)
        deviation = left_out.mean() - left_out
        spread = float((deviation**2).sum())
        if not 0 < below < 1 or spread < 1e-24:
            return plain, "percentile"
        bias = NORMAL.inv_cdf(below)
        acceleration = float((deviation**3).sum()) / (6 * spread**1.5)
        ends = []
        for share in plain:
            shifted = bias + NORMAL.inv_cdf(share)
            ends.append(NORMAL.cdf(bias + shifted / (1 - acceleration * shifted)))
        return ends, "BCa"


def _newcombe(shares: Sequence[float], counts: Sequence[int], confidence: float) -> tuple[float, float]:
    first, second = shares
    (low_1, high_1), (low_2, high_2) = (wilson(*pair, confidence) for pair in zip(shares, counts, strict=True))
    gained = first - second
    return (
        gained - ((first - low_1) ** 2 + (high_2 - second) ** 2) ** 0.5,
        gained + ((high_1 - first) ** 2 + (second - low_2) ** 2) ** 0.5,
    )
