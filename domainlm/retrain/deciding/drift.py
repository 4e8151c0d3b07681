"""How far the labels, words and terms of new rows are from those of known ones, beyond what chance alone shows.

The measure is the Jensen-Shannon distance, base 2 (Lin 1991; the square root of the divergence is a metric: Endres and
Schindelin 2003): 0 for equal distributions, 1 for disjoint ones, and finite for what only one side has.

Two small samples of one and the same distribution differ, the more so the more kinds of words there are: 100 headlines
are 0.5 away from 1,000 of their own kind. So the divergence is put beside that of random divisions of all rows into two
parts of the same sizes, drawn with hypergeometric counts (a permutation test without the rows): what is told is
`(measured - expected) / (1 - expected)`, as the adjusted Rand index is adjusted for chance (Hubert and Arabie 1985;
Vinh, Epps and Bailey 2010), and it counts only where at most one of 1,000 such divisions is as far.

What the divisions do not know: rows of one shape or one day resemble each other, so that months of one distribution
differ by a little more than rows drawn at random (docs/retrain-decision.md has both, measured).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from domainlm.retrain.accepting.profile import Profile

if TYPE_CHECKING:
    import numpy as np

DIVISIONS = 1000
SEED = 20260101  # of the divisions: one comparison has one answer
MIN_TERMS = 30  # occurrences of terms among the new rows; fewer show nothing
_CELLS = 1 << 17  # drawn at once: 1 MB


class Drift(NamedTuple):
    """A comparison.

    Fields:
        distance: Jensen-Shannon distance of the two, 0 to 1, as it is.
        adjusted: the same beyond chance; 0 where it is no more than chance shows.
        beyond_chance: at most one of 1,000 random divisions is as far.
    """

    distance: float
    adjusted: float
    beyond_chance: bool


def label_drift(new: Profile, known: Profile) -> Drift | None:
    """Of the labels; None where one of the two has none."""
    return _drift(new.labels, known.labels)


def term_drift(new: Profile, known: Profile) -> Drift | None:
    """Of the pack's terms, among the rows that hold one; None where the new rows have fewer than 30 of them, or the
    known ones none."""
    return _drift(new.terms, known.terms) if sum(new.terms.values()) >= MIN_TERMS else None


def vocabulary_drift(new: Profile, known: Profile) -> Drift | None:
    """Of the words, in buckets; None where one of the two has none."""
    return _drift(new.buckets, known.buckets, (new.rows, known.rows))


def _drift(new: Mapping, known: Mapping, rows: tuple[int, int] | None = None) -> Drift | None:
    """A comparison of two counts.

    Args:
        new, known: kind -> in how many rows it occurs.
        rows: rows of the two, where a row is of several kinds; else a row is taken to be of one.
    """
    if not new or not known:
        return None
    kinds = sorted(new.keys() | known.keys())
    return _compared(tuple((new.get(kind, 0), known.get(kind, 0)) for kind in kinds), rows)


@lru_cache(maxsize=32)  # a watcher asks again each time it looks, mostly with nothing changed
def _compared(pairs: tuple[tuple[int, int], ...], rows: tuple[int, int] | None) -> Drift:
    import numpy as np

    counts = np.array(pairs, dtype=np.int64).T
    measured = float(_divergence(counts[0], counts[1]))
    chance = _of_divisions(counts, rows)
    expected = float(chance.mean())
    adjusted = max(0.0, (measured - expected) / (1 - expected)) if expected < 1 else 0.0
    beyond = bool((chance >= measured).sum() <= DIVISIONS // 1000)
    return Drift(measured**0.5, adjusted**0.5, beyond)


def _of_divisions(counts: np.ndarray, rows: tuple[int, int] | None) -> np.ndarray:
    """The divergences of random divisions of all rows into two parts as large as the two were."""
    import numpy as np

    random = np.random.default_rng(SEED)
    pooled = counts.sum(0)
    parts = max(1, min(DIVISIONS, _CELLS // len(pooled)))
    found = []
    for start in range(0, DIVISIONS, parts):
        size = min(parts, DIVISIONS - start)
        if rows is None:
            drawn = random.multivariate_hypergeometric(pooled, int(counts[0].sum()), size, method="marginals")
        else:
            # a row has many words: each bucket for itself, since how they stand together is not kept
            without = np.maximum(sum(rows) - pooled, 0)
            drawn = random.hypergeometric(pooled, without, min(rows[0], sum(rows)), (size, len(pooled)))
        found.append(_divergence(drawn, pooled - drawn))
    return np.concatenate(found)


def _divergence(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Jensen-Shannon divergence in bits, over the last axis; 0 where one side is empty."""
    import numpy as np

    def entropy(shares: np.ndarray) -> np.ndarray:
        return -(shares * np.log2(np.where(shares > 0, shares, 1.0))).sum(-1)

    p, q = (side / np.maximum(side.sum(-1, keepdims=True), 1) for side in (one, other))
    both = (one.sum(-1) > 0) & (other.sum(-1) > 0)
    return np.where(both, np.clip(entropy((p + q) / 2) - (entropy(p) + entropy(q)) / 2, 0.0, 1.0), 0.0)


def told_terms(new: Profile, known: Profile, most: int = 3) -> str:
    """The terms of the pack that moved most, for people: "value-up 3.1x as often, metaverse gone"."""
    moves = []
    for term in new.terms.keys() | known.terms.keys():
        fresh, before = new.terms.get(term, 0) / new.rows, known.terms.get(term, 0) / known.rows
        middle = (fresh + before) / 2
        share = sum(part * _log2(part / middle) for part in (fresh, before) if part)
        moves.append((-share, term, fresh, before))
    return ", ".join(_move(term, fresh, before) for _, term, fresh, before in sorted(moves)[:most])


def told_labels(new: Profile, known: Profile) -> str:
    """The share of each label before and now: "negative 31 % to 58 %". Labels are the pack's own words."""
    totals = [max(1, sum(side.labels.values())) for side in (known, new)]
    shares = {
        label: [side.labels.get(label, 0) / total for side, total in zip((known, new), totals, strict=True)]
        for label in sorted(new.labels.keys() | known.labels.keys())
    }
    return ", ".join(f"{label} {before:.0%} to {now:.0%}" for label, (before, now) in shares.items())


def _move(term: str, fresh: float, before: float) -> str:
    if not before:
        return f"{term} new"
    if not fresh:
        return f"{term} gone"
    return f"{term} {fresh / before:.1f}x as often"


def _log2(value: float) -> float:
    from math import log2

    return log2(value)
