"""Intervals: against scipy, on clustered data, and where a bootstrap alone would give nonsense."""

from __future__ import annotations

import numpy as np
import pytest

from domainlm.evaluate.bootstrap import Resampler


def mean(sums: np.ndarray) -> np.ndarray:
    return sums[..., 0] / sums[..., 1]


def as_statistics(scores) -> np.ndarray:
    return np.column_stack([np.asarray(scores, dtype=float), np.ones(len(scores))])


def clustered(generator: np.random.Generator, groups: int = 40, size: int = 15) -> tuple[list[str], np.ndarray]:
    """Items that agree within their group: half of the variance lies between groups; the true mean is 0.5."""
    centres = generator.normal(0.5, 0.2, groups)
    scores = np.repeat(centres, size) + generator.normal(0, 0.2, groups * size)
    return [f"g{index}" for index in range(groups) for _ in range(size)], scores


def test_the_interval_equals_scipys_bca_when_every_item_is_its_own_group():
    from scipy.stats import bootstrap

    scores = np.random.default_rng(0).exponential(1.0, 60)  # skewed, so that the correction matters
    ours = Resampler([str(index) for index in range(60)], 20_000, 0.95, seed=1).interval(
        mean, as_statistics(scores), bounded=False
    )
    theirs = bootstrap(
        (scores,), np.mean, n_resamples=20_000, method="BCa", rng=np.random.default_rng(2)
    ).confidence_interval
    assert ours.method == "BCa"
    assert ours.value == pytest.approx(scores.mean())
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.02)


def test_resampling_groups_covers_the_truth_and_resampling_items_does_not():
    generator = np.random.default_rng(5)
    covered = {"groups": 0, "items": 0}
    for trial in range(200):
        groups, scores = clustered(generator)
        for kind, units in (("groups", groups), ("items", [str(index) for index in range(len(scores))])):
            found = Resampler(units, 1000, 0.95, seed=trial).interval(mean, as_statistics(scores), bounded=False)
            covered[kind] += found.low <= 0.5 <= found.high
    assert 180 <= covered["groups"] <= 199  # 95 % of 200 is 190, one standard deviation 3
    assert covered["items"] < 150


def test_a_group_interval_is_wider_than_an_item_interval_on_clustered_data():
    groups, scores = clustered(np.random.default_rng(1))
    by_group = Resampler(groups, 2000, 0.95, seed=0).interval(mean, as_statistics(scores), bounded=False)
    by_item = Resampler(list(map(str, range(len(scores)))), 2000, 0.95, seed=0).interval(
        mean, as_statistics(scores), bounded=False
    )
    assert by_group.high - by_group.low > 1.5 * (by_item.high - by_item.low)


def test_a_paired_difference_is_narrower_than_the_two_scores_apart():
    generator = np.random.default_rng(2)
    first = generator.normal(0.5, 0.2, 200)
    second = first - 0.05 + generator.normal(0, 0.01, 200)
    resampler = Resampler(list(map(str, range(200))), 2000, 0.95, seed=0)
    gained = resampler.difference(mean, as_statistics(first), as_statistics(second), bounded=False)
    alone = resampler.interval(mean, as_statistics(first), bounded=False)
    assert gained.low > 0.04 and gained.high < 0.06
    assert gained.high - gained.low < (alone.high - alone.low) / 5


def test_constant_scores_fall_back_to_wilson_with_the_groups_as_sample_size():
    from scipy.stats import binomtest

    groups = [f"g{index // 10}" for index in range(200)]
    found = Resampler(groups, 1000, 0.95, seed=0).interval(mean, as_statistics(np.ones(200)), bounded=True)
    expected = binomtest(20, 20).proportion_ci(method="wilson")
    assert found.method == "wilson"
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


def test_a_constant_difference_gets_newcombes_interval_and_not_a_point():
    groups = [f"g{index}" for index in range(20)]
    resampler = Resampler(groups, 1000, 0.95, seed=0)
    everything = resampler.difference(mean, as_statistics(np.ones(20)), as_statistics(np.zeros(20)), bounded=True)
    assert everything.method == "newcombe" and 0.7 < everything.low < 1 == everything.high
    nothing = resampler.difference(mean, as_statistics(np.ones(20)), as_statistics(np.ones(20)), bounded=True)
    assert nothing.low < 0 < nothing.high


def test_newcombes_interval_is_the_published_one():
    from domainlm.evaluate.bootstrap import _newcombe

    # Newcombe 1998 (Statistics in Medicine 17, 873-890), table II, method 10: 56/70 against 48/80
    assert _newcombe((56 / 70, 48 / 80), (70, 80), 0.95) == pytest.approx((0.0524, 0.3339), abs=5e-5)


def test_the_draws_depend_on_the_seed_and_not_on_the_names_of_the_groups():
    scores = as_statistics(np.random.default_rng(0).random(30))
    found = [
        Resampler([f"{name}{(index * 7) % 10}" for index in range(30)], 1000, 0.95, seed).interval(mean, scores, True)
        for name, seed in (("a", 1), ("z", 1), ("a", 2))
    ]
    assert found[0] == found[1] != found[2]
    renamed = Resampler([{3: "x", 5: "a"}.get(index % 10, f"m{index % 10}") for index in range(30)], 1000, 0.95, 1)
    plain = Resampler([f"m{index % 10}" for index in range(30)], 1000, 0.95, 1)
    assert renamed.interval(mean, scores, True) == plain.interval(mean, scores, True)
