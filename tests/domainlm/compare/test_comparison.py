"""A comparison says what the trials show, with intervals over seeds and groups, and claims nothing on too little."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from domainlm.compare import RetentionReport, Trial, TrialRow, compare
from domainlm.compare.intervals import Scores, TwoWay
from domainlm.compare.settings import Experiment, Variant
from domainlm.errors import EvaluationError

ITEMS = [f"item{number}" for number in range(60)]
GROUPS = {item: f"group{number // 3}" for number, item in enumerate(ITEMS)}


def _experiment(**changes) -> Experiment:
    given = {
        "name": "toy", "question": "Which of the two is better?",
        "variants": [{"name": "good", "title": "<b>good</b>"}, {"name": "bad"}],
    }  # fmt: skip
    return Experiment(**(given | changes))


def _trials(experiment: Experiment, rates: dict[str, float], spread: float = 0.0, **more) -> list[Trial]:
    generator = np.random.default_rng(3)
    base = (generator.random(60) < rates["base"]).astype(float)
    trials = []
    for variant in experiment.variants:
        for seed in experiment.seeds:
            rate = rates[variant.name] + spread * (seed - 2)
            scores = {"tuned": (generator.random(60) < rate).astype(float).tolist()}
            if not trials:
                scores["base"] = base.tolist()
            row = TrialRow("general", "toy", "accuracy", ITEMS, scores, 0.2 if not trials else None)
            measured = {"seconds": 10.0 + seed, "plan": {"estimate": {"total_gb": 0.5}}}
            trials.append(
                Trial(variant.name, seed, [row], 1000, 10, [{"step": 5, "loss": 1.0 + seed}], measured, **more)
            )
    return trials


def test_a_real_difference_is_shown_and_none_is_not() -> None:
    experiment = _experiment()
    report = compare(experiment, _trials(experiment, {"base": 0.4, "good": 0.9, "bad": 0.4}), GROUPS)
    gains = report.rows[0].gains
    assert gains["good"].verdict == "shown" and gains["good"].low > 0.2
    assert gains["bad"].verdict == "not shown" and gains["bad"].low < 0 < gains["bad"].high
    cost = report.resources["good"]
    assert (cost.seconds, cost.planned_gb, cost.peak_gb, cost.energy_kwh) == (12.0, 0.5, None, None)
    assert report.curves["good"] == [{"step": 5, "loss": 3.0, "low": 1.0, "high": 5.0}]


def test_a_gain_that_only_reaches_the_majority_answer_is_not_shown() -> None:
    experiment = _experiment()
    report = compare(experiment, _trials(experiment, {"base": 0.0, "good": 0.2, "bad": 0.9}), GROUPS)
    gains = report.rows[0].gains
    assert gains["good"].low > 0 and gains["good"].verdict == "not shown"
    assert gains["bad"].verdict == "shown"


def test_gains_count_over_the_reference_that_was_asked_for() -> None:
    experiment = _experiment(reference="bad")
    report = compare(experiment, _trials(experiment, {"base": 0.1, "good": 0.9, "bad": 0.5}), GROUPS)
    assert set(report.rows[0].gains) == {"base", "good"}
    assert report.rows[0].gains["base"].value < 0 < report.rows[0].gains["good"].low


def test_fewer_than_five_seeds_claim_nothing_and_say_so() -> None:
    experiment = _experiment(seeds=(0, 1))
    report = compare(experiment, _trials(experiment, {"base": 0.1, "good": 1.0, "bad": 0.1}), GROUPS)
    assert report.rows[0].gains["good"].verdict == "not shown"
    assert "fewer than 5" in report.notes[0]


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    """Items in groups of like difficulty, seeds of unlike quality: an interval over items alone would miss often."""
    generator = np.random.default_rng(0)
    hit = narrow = 0
    rounds = 200
    for _ in range(rounds):
        difficulty = np.repeat(generator.normal(0, 0.1, 30), 4)
        quality = generator.normal(0, 0.05, (5, 1))
        scores = Scores((generator.random((5, 120)) < np.clip(0.5 + difficulty + quality, 0, 1)).astype(float))
        sampler = TwoWay([str(number // 4) for number in range(120)], 1000, 0.95, seed=1)
        found = sampler.interval(scores)
        hit += found.low <= 0.5 <= found.high
        spread = 1.96 * (0.25 / scores.items.size) ** 0.5
        narrow += abs(found.value - 0.5) <= spread
    assert hit / rounds > 0.88
    assert narrow / rounds < hit / rounds - 0.1


def test_what_the_base_cannot_do_cannot_be_forgotten() -> None:
    experiment = _experiment()
    report = compare(experiment, _trials(experiment, {"base": 0.15, "good": 0.1, "bad": 0.1}), GROUPS)
    assert not report.forgetting[0].assessable and report.forgetting[0].lost == {}
    assert "chance is 0.200" in report.forgetting[0].reason
    report = compare(experiment, _trials(experiment, {"base": 0.9, "good": 0.85, "bad": 0.2}), GROUPS)
    assert report.forgetting[0].assessable
    assert report.forgetting[0].lost["bad"].value > 0.5 and report.forgetting[0].lost["bad"].verdict == "shown"


def test_what_is_lost_counts_against_the_base_whatever_the_reference() -> None:
    experiment = _experiment(reference="good")
    report = compare(experiment, _trials(experiment, {"base": 0.9, "good": 0.3, "bad": 0.3}), GROUPS)
    assert report.forgetting[0].lost["bad"].value > 0.4


def test_language_is_lost_in_bits_and_only_where_the_base_had_any() -> None:
    experiment = _experiment()
    kept = RetentionReport(documents=3, characters=1000, chance=4.2, base=2.0, tuned=2.5)
    rates = {"base": 0.4, "good": 0.5, "bad": 0.5}
    found = compare(experiment, _trials(experiment, rates, retention=kept), GROUPS).forgetting[-1]
    assert found.assessable and found.lost["good"].value == pytest.approx(0.5)
    poor = kept.model_copy(update={"base": 4.5})
    assert not compare(experiment, _trials(experiment, rates, retention=poor), GROUPS).forgetting[-1].assessable


def test_a_trial_that_is_missing_or_saw_other_items_fails_the_comparison() -> None:
    experiment = _experiment()
    trials = _trials(experiment, {"base": 0.4, "good": 0.9, "bad": 0.4})
    with pytest.raises(EvaluationError, match="missing or in another order"):
        compare(experiment, trials[:-1], GROUPS)
    other = TrialRow("general", "toy", "accuracy", ITEMS[::-1], trials[-1].rows[0].scores)
    with pytest.raises(EvaluationError, match="scored on other items"):
        compare(experiment, [*trials[:-1], Trial("bad", 4, [other], 1, 1)], GROUPS)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"variants": [{"name": "a"}, {"name": "a"}]}, "two variants have one name"),
        ({"variants": [{"name": "base"}]}, "give the variant another name"),
        ({"reference": "none"}, "neither base nor a variant"),
        ({"seeds": (1, 1)}, "a seed stands there twice"),
        ({"sweep": "ratio"}, "needs `x`"),
    ],
)
def test_an_experiment_that_cannot_answer_its_question_is_refused(changes, said) -> None:
    with pytest.raises(ValidationError, match=said):
        _experiment(**changes)


def test_the_page_holds_every_figure_escapes_names_and_loads_nothing() -> None:
    experiment = _experiment(
        sweep="ratio", variants=[Variant(name="good", title="<b>good</b>", x=1.0), Variant(name="bad", x=2.0)]
    )
    kept = RetentionReport(documents=3, characters=1000, chance=4.2, base=2.0, tuned=2.5)
    rates = {"base": 0.8, "good": 0.9, "bad": 0.4}
    report = compare(experiment, _trials(experiment, rates, spread=0.01, retention=kept), GROUPS)
    page = report.html()
    assert "<b>good</b>" not in page and "&lt;b&gt;good&lt;/b&gt;" in page
    assert str(report.rows[0].scores["good"]) in page and "not measured" in page
    assert page.count("<svg") == 4 and "<script" not in page
    assert "http://" not in page.replace("http://www.w3.org", "").replace("http://purl.org", "").replace(
        "http://creativecommons.org", ""
    )
    assert page == report.html()
