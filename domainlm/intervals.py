"""Confidence interval of a share, for every stage that counts hits."""

from __future__ import annotations

from statistics import NormalDist


def wilson(share: float, count: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval (1927) of a share: never outside 0 to 1, and not of zero width at either end.

    Args:
        share: hits over `count`.
        count: observations; none at all say nothing: (0, 1).
        confidence: probability with which such intervals cover the true share.
    """
    if count == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    centre = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * (max(share * (1 - share), 0) / count + z * z / (4 * count * count)) ** 0.5
    return max(0.0, centre - half), min(1.0, centre + half)
