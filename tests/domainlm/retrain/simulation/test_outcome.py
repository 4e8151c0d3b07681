"""What a play is said to show: planted answers must come out as the figures that they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from domainlm.retrain.batches import Claim, Decision, Reason, RetrainingPlan
from domainlm.retrain.simulation import plots
from domainlm.retrain.simulation.market import Headline, Month, read_market
from domainlm.retrain.simulation.outcome import Outcome, outcome_of
from domainlm.retrain.simulation.playing import Played, Retraining
from domainlm.retrain.simulation.trained import Trained
from domainlm.retrain.simulation.trouble import scored, start_of

MONTHS = read_market(Path(__file__).parents[4] / "domains" / "finance" / "market")
HEADLINES = scored(MONTHS)
SENTIMENT_OF = {"up": "positive", "flat": "neutral", "down": "negative"}
PLAN = RetrainingPlan(
    claim=Claim(token=1, lane="simulation", owner="test", batches=(), lease_s=60),
    decision=Decision(
        id="d", decided="2023-02-01T00:00:00+00:00", retrain=True, reasons=(Reason(code="first", holds=True, told="x"),)
    ),
    sources=(), digests={}, new_after={}, trusted=True,
)  # fmt: skip


def trained(answers: list[str], learnt: tuple[str, ...] = ()) -> Trained:
    return Trained(identity="1" * 64, base="2" * 64, policy="3" * 64, seconds=90.0, rows=10, learnt=learnt,
                   answers=tuple(answers), score=0.5, items=100)  # fmt: skip


def truth(headline: Headline) -> str:
    return headline.label


def neutral(_: Headline) -> str:
    return "neutral"


def oracle(headline: Headline) -> str:
    return SENTIMENT_OF[headline.direction]


def played(*models: tuple[str, object, tuple[str, ...]]) -> Played:
    """Models that became champions at the start of a month."""
    found = Played()
    for month, says, learnt in models:
        moment = start_of(month)
        found.retrainings.append(
            Retraining(moment, PLAN, trained([says(one) for one in HEADLINES], learnt), (), moment)
        )
    return found


def outcome(*models: tuple[str, object, tuple[str, ...]]) -> Outcome:
    return outcome_of(MONTHS, played(*models), [], trouble=False)


def test_each_month_is_answered_by_the_champion_that_was_there_when_it_began() -> None:
    found = outcome(("2023-03", neutral, ()), ("2024-01", truth, ()))
    by_name = {month.name: month for month in found.months}
    assert list(by_name) == [month.name for month in MONTHS[2:]]
    assert by_name["2023-12"].champion == 1 and by_name["2024-01"].champion == 2
    assert by_name["2023-12"].retrained == by_name["2023-12"].frozen
    assert by_name["2024-01"].retrained.value == 1.0 == by_name["2024-01"].retrained_f1.value
    share = sum(one.label == "neutral" for one in MONTHS[12].headlines) / len(MONTHS[12].headlines)
    assert by_name["2024-01"].frozen.value == pytest.approx(share, abs=1e-4)


def test_the_gain_is_paired_and_told_for_each_year() -> None:
    found = outcome(("2023-03", neutral, ()), ("2024-01", truth, ()))
    gains = {one.rows_of: one for one in found.comparisons if one.metric == "accuracy"}
    neutrals = [one.label == "neutral" for month in MONTHS[12:] for one in month.headlines]
    assert gains["2024"].gain.value == pytest.approx(1 - sum(neutrals) / len(neutrals), abs=1e-3)
    assert gains["2024"].verdict == "retraining helps"
    assert gains["2023"].gain.value == 0.0
    assert gains["2023"].verdict == "no difference shown"


def test_a_worse_model_is_called_harm() -> None:
    found = outcome(("2023-03", truth, ()), ("2023-04", neutral, ()))
    assert {one.verdict for one in found.comparisons if one.rows_of == "2024"} == {"retraining harms"}


def test_shapes_that_were_learnt_are_counted_apart() -> None:
    shapes = sorted({one.shape for one in HEADLINES})
    found = outcome(("2023-03", neutral, tuple(shapes[:10])), ("2023-06", truth, tuple(shapes[:60])))
    rows = {one.rows_of: one.rows for one in found.comparisons if one.metric == "accuracy"}
    later = [one for month in MONTHS[5:] for one in month.headlines]
    assert rows["shapes that retraining had learnt"] == sum(one.shape in shapes[10:60] for one in later)
    everything = [name for name in rows if "both" in name or "retraining" in name or "neither" in name]
    assert sum(rows[name] for name in everything) == rows["all months"]


def test_new_shapes_are_those_of_no_month_before() -> None:
    found = outcome(("2023-01", neutral, ()))
    assert found.months[0].new_shapes == 1.0
    before = {one.shape for month in MONTHS[:12] for one in month.headlines}
    wanted = sum(one.shape not in before for one in MONTHS[12].headlines) / len(MONTHS[12].headlines)
    assert found.months[12].new_shapes == pytest.approx(wanted, abs=1e-4)


def test_perfect_sentiment_has_the_ceiling_of_the_pack_and_is_no_leak() -> None:
    found = {one.of: one for one in outcome(("2023-01", truth, ())).directions}
    assert found["labels"].direction.value == pytest.approx(0.223, abs=1e-3)  # domains/finance/README.md
    assert found["labels"].move.value == pytest.approx(0.169, abs=1e-3)
    assert found["retrained"].direction.value == found["labels"].direction.value
    assert not any(one.leak for one in found.values())


def test_who_knows_the_next_day_is_called_a_leak() -> None:
    found = {one.of: one for one in outcome(("2023-01", neutral, ()), ("2023-02", oracle, ())).directions}
    assert found["retrained"].leak
    assert found["retrained"].direction.value > 0.9
    assert "frozen" not in found  # who always says the same has no correlation


def test_decay_is_the_last_months_against_the_first() -> None:
    def fades(headline: Headline) -> str:
        return headline.label if headline.day < "2024" else "neutral"

    changes = {one.of: one for one in outcome(("2023-01", fades, ()), ("2024-01", truth, ())).changes}
    neutrals = [one.label == "neutral" for month in MONTHS[-6:] for one in month.headlines]
    assert changes["frozen"].change.value == pytest.approx(sum(neutrals) / len(neutrals) - 1, abs=1e-3)
    assert changes["frozen"].change.high < 0
    assert changes["retrained"].change.value == 0
    assert changes["frozen"].last == tuple(month.name for month in MONTHS[-6:])


def test_further_seeds_count() -> None:
    play = played(("2023-03", truth, ()))
    other = [trained([neutral(one) for one in HEADLINES])]
    month = outcome_of(MONTHS, play, [other], trouble=False).months[0]
    share = sum(one.label == "neutral" for one in MONTHS[2].headlines) / len(MONTHS[2].headlines)
    assert month.frozen.value == pytest.approx((1 + share) / 2, abs=1e-3)


def test_before_the_first_champion_nothing_is_scored() -> None:
    assert outcome_of(MONTHS, Played(), [], trouble=False).months == ()


def test_a_report_is_read_again_as_it_was_written() -> None:
    found = outcome(("2023-03", neutral, ()), ("2024-01", truth, ()))
    assert Outcome.model_validate_json(found.model_dump_json()) == found


def test_equal_outcomes_are_equal_pictures(tmp_path: Path) -> None:
    found = outcome(("2023-03", neutral, ()), ("2024-01", truth, ()))
    for draw in (plots.draw_quality, plots.draw_gains):
        pictures = []
        for name in ("a.png", "b.png"):
            draw(found, tmp_path / name)
            pictures.append((tmp_path / name).read_bytes())
        assert pictures[0] == pictures[1]
        assert pictures[0].startswith(b"\x89PNG")


def test_a_play_without_any_champion_is_drawn_too(tmp_path: Path) -> None:
    empty: tuple[Month, ...] = MONTHS
    found = outcome_of(empty, Played(), [], trouble=True)
    plots.draw_quality(found, tmp_path / "empty.png")
    plots.draw_gains(found, tmp_path / "none.png")
    assert (tmp_path / "empty.png").stat().st_size > 0
