"""Drift beyond chance: what is finite, what is told, and that chance alone gives no alarm; on the pack's own drops."""

from __future__ import annotations

import random
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon

from domainlm.keys import KeyRing
from domainlm.retrain.accepting.profile import Pack, Profile, Profiler
from domainlm.retrain.deciding.drift import label_drift, term_drift, told_labels, told_terms, vocabulary_drift
from domainlm.retrain.settings import DecideSettings
from domainlm.sources import RawRow, RowStream, SourceSettings

ROOT = Path(__file__).resolve().parents[4]
KEYS = KeyRing("one", b"1" * 32)
SOURCE = SourceSettings(
    name="market", uri="news.jsonl", form="labelled", task="sentiment", licence="CC0-1.0", consent="public",
    purpose="model-training", jurisdiction="us", language="en",
    columns={"text": "headline", "group": "shape", "timestamp": "date"},
)  # fmt: skip
DEFAULT = DecideSettings()
COUNTS = st.dictionaries(st.sampled_from("abcdefgh"), st.integers(1, 500), min_size=1)


def labels(**counts: int) -> Profile:
    return Profile(key="k", task="sentiment", rows=sum(counts.values()), labels=counts)


@pytest.fixture(scope="module")
def pack() -> Pack:
    return Pack.read(str(ROOT / "domains/finance"))


@pytest.fixture(scope="module")
def months() -> dict[str, list[RawRow]]:
    """The headlines of the 24 simulated months."""
    found = {}
    for file in sorted((ROOT / "domains/finance/market").glob("*/news.jsonl")):
        found[file.parent.name] = list(RowStream(SOURCE.model_copy(update={"uri": str(file)})))
    return found


def profiled(pack: Pack, rows: list[RawRow]) -> Profile:
    profiler = Profiler(SOURCE, pack, KEYS)
    for row in rows:
        profiler.add(row)
    return profiler.profile(())


@given(COUNTS, COUNTS)
@settings(max_examples=60, deadline=None)
def test_the_distance_is_that_of_scipy_and_finite_for_what_one_side_alone_has(one: dict, other: dict) -> None:
    found = label_drift(labels(**one), labels(**other))
    kinds = sorted(one.keys() | other.keys())
    expected = jensenshannon([one.get(k, 0) for k in kinds], [other.get(k, 0) for k in kinds], base=2)
    assert found and found.distance == pytest.approx(expected, abs=1e-7)
    assert 0 <= found.adjusted <= found.distance + 1e-9


@given(COUNTS)
@settings(max_examples=30, deadline=None)
def test_equal_counts_do_not_drift(counts: dict) -> None:
    found = label_drift(labels(**counts), labels(**counts))
    assert found and found.adjusted == 0 and not (found.beyond_chance and found.distance > 1e-6)


def test_labels_that_share_nothing_are_as_far_as_can_be() -> None:
    found = label_drift(labels(positive=500), labels(negative=500))
    assert found and found.distance == pytest.approx(1) and found.beyond_chance and found.adjusted == pytest.approx(1)


def test_a_side_without_labels_is_not_compared() -> None:
    assert label_drift(labels(), labels(a=1)) is None and label_drift(labels(a=1), labels()) is None


def test_the_same_shares_alarm_with_many_rows_and_not_with_few() -> None:
    few, many = (label_drift(labels(a=6 * n, b=4 * n), labels(a=4 * n, b=6 * n)) for n in (1, 100))
    assert few and many and not few.beyond_chance and many.beyond_chance
    assert few.distance == pytest.approx(many.distance) and few.adjusted < 0.5 * many.adjusted


def test_one_comparison_has_one_answer() -> None:
    one, other = labels(a=60, b=40), labels(a=40, b=70)
    assert label_drift(one, other) == label_drift(one, other)


def test_rows_divided_at_random_never_reach_the_thresholds(pack: Pack, months: dict[str, list[RawRow]]) -> None:
    rows = [row for month in months.values() for row in month]
    reached = []
    for seed in range(24):
        random.Random(seed).shuffle(rows)
        for size in (DEFAULT.min_drift_rows, len(rows) // 2):
            new, known = profiled(pack, rows[:size]), profiled(pack, rows[size:])
            for measure, threshold in (
                (label_drift, DEFAULT.label_drift),
                (vocabulary_drift, DEFAULT.vocabulary_drift),
                (term_drift, DEFAULT.term_drift),
            ):
                found = measure(new, known)
                if found and found.beyond_chance and found.adjusted >= (threshold or 0):
                    reached.append((seed, size, measure.__name__, found))
    assert not reached
    # without the correction the words of a hundred headlines would alarm each time
    found = vocabulary_drift(profiled(pack, rows[:100]), profiled(pack, rows[100:]))
    assert found and found.distance > (DEFAULT.vocabulary_drift or 1)


def test_the_second_year_of_the_market_drops_alarms_and_the_first_does_not(
    pack: Pack, months: dict[str, list[RawRow]]
) -> None:
    names = list(months)

    def alarms(new: list[str], known: list[str]) -> set[str]:
        sides = [profiled(pack, [row for name in part for row in months[name]]) for part in (new, known)]
        found = {
            "label": (label_drift(*sides), DEFAULT.label_drift),
            "words": (vocabulary_drift(*sides), DEFAULT.vocabulary_drift),
            "terms": (term_drift(*sides), DEFAULT.term_drift),
        }
        return {name for name, (one, at) in found.items() if one and one.beyond_chance and one.adjusted >= (at or 0)}

    for place in range(6, 11):  # two months of year one against all before them
        assert alarms(names[place : place + 2], names[:place]) == set(), names[place]
    for place, after in pairwise(range(12, 25, 3)):  # quarters of year two against year one
        assert "terms" in alarms(names[place:after], names[:12]), names[place]
    assert alarms(names[15:], names[:12]) == {"words", "terms"}  # tone did not drift, and is not said to


def test_the_terms_that_moved_are_named(pack: Pack, months: dict[str, list[RawRow]]) -> None:
    names = list(months)
    new, known = (profiled(pack, [row for name in part for row in months[name]]) for part in (names[18:], names[:12]))
    told = told_terms(new, known, most=6)
    assert "value-up new" in told and "reopening gone" in told
    assert told_terms(known, known).count("1.0x as often") == 3


def test_few_terms_show_nothing() -> None:
    known = Profile(key="k", task="t", rows=500, terms={"bond": 400})
    assert term_drift(Profile(key="k", task="t", rows=500, terms={"value-up": 29}), known) is None
    found = term_drift(Profile(key="k", task="t", rows=500, terms={"value-up": 30}), known)
    assert found and found.beyond_chance


def test_shares_of_labels_are_told() -> None:
    assert told_labels(labels(a=60, b=40), labels(a=20, b=80)) == "a 20% to 60%, b 80% to 40%"
