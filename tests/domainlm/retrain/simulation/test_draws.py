"""Intervals of a simulation: right scores, shapes as observations, seeds as another source of chance."""

from __future__ import annotations

import numpy as np
import pytest

from domainlm.retrain.simulation.draws import Draws, accuracy, confusion, correlation, macro_f1, pairs

LABELS = ("positive", "neutral", "negative")


def answers(seed: int, rows: int) -> list[str]:
    return list(np.random.default_rng(seed).choice(LABELS, rows))


def test_accuracy_and_macro_f1_are_those_of_scikit_learn() -> None:
    from sklearn.metrics import accuracy_score, f1_score

    said, true = answers(1, 200), answers(2, 200)
    sums = confusion(LABELS, [said], true).sum(axis=1)
    assert accuracy(sums)[0] == pytest.approx(accuracy_score(true, said))
    assert macro_f1(sums)[0] == pytest.approx(f1_score(true, said, average="macro"))


def test_the_correlation_is_pearsons() -> None:
    generator = np.random.default_rng(0)
    first, second = generator.normal(size=(2, 100)), generator.normal(size=100)
    found = correlation(pairs(first, second).sum(axis=1))
    assert found == pytest.approx([np.corrcoef(row, second)[0, 1] for row in first])


def test_rows_of_one_shape_are_one_observation() -> None:
    true = ["positive"] * 40
    said = [["positive"] * 20 + ["negative"] * 20]
    alone = Draws([str(row) for row in range(40)]).interval(accuracy, confusion(LABELS, said, true))
    together = Draws([str(row // 10) for row in range(40)]).interval(accuracy, confusion(LABELS, said, true))
    assert alone.value == together.value == 0.5
    assert together.high - together.low > 2 * (alone.high - alone.low)


def test_seeds_that_disagree_widen_an_interval() -> None:
    true = ["positive"] * 60
    groups = [str(row) for row in range(60)]
    half = ["positive"] * 30 + ["negative"] * 30
    same = confusion(LABELS, [half, half], true)
    apart = confusion(LABELS, [["positive"] * 60, ["negative"] * 60], true)
    narrow, wide = (Draws(groups).interval(accuracy, statistics) for statistics in (same, apart))
    assert narrow.value == wide.value == 0.5
    assert wide.high - wide.low > 2 * (narrow.high - narrow.low)


def test_a_difference_is_paired() -> None:
    """Two models that are right on the same rows but one differ by that one row, whatever rows a draw takes."""
    true, said = ["positive"] * 50, answers(3, 50)
    better = [true[0], *said[1:]]
    said[0] = "negative"
    first, second = (confusion(LABELS, [one], true) for one in (better, said))
    gain = Draws([str(row) for row in range(50)]).difference(accuracy, first, second)
    assert gain.value == pytest.approx(1 / 50)
    assert 0 <= gain.low <= gain.value <= gain.high <= 5 / 50


def test_a_95_percent_interval_covers_about_95_of_100_truths() -> None:
    generator, covered = np.random.default_rng(7), 0
    for _ in range(200):
        right = generator.random(80) < 0.7
        said = [["positive" if hit else "negative" for hit in right]]
        found = Draws([str(row) for row in range(80)], 500).interval(
            accuracy, confusion(LABELS, said, ["positive"] * 80)
        )
        covered += found.low <= 0.7 <= found.high
    assert 178 <= covered <= 200  # binomial(200, .95) lies there with more than .999


def test_what_does_not_vary_has_no_correlation_and_no_error() -> None:
    found = Draws(["a", "b", "c"]).interval(correlation, pairs(np.ones((1, 3)), np.asarray([1.0, 0.0, -1.0])))
    assert np.isnan(found.value)
