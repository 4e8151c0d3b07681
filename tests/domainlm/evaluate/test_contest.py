"""Champion against challenger: the same rows, paired differences, and a verdict that never passes in silence."""

from __future__ import annotations

import pytest

from domainlm.errors import EvaluationError
from domainlm.evaluate.bootstrap import Resampler
from domainlm.evaluate.contest import System, contest
from domainlm.evaluate.contest_report import ContestRow, verdict_of
from domainlm.evaluate.settings import ContestSettings
from domainlm.models import completion_log_likelihoods, load_adapter
from domainlm.records import answer

# ten companies are tested, so few groups must do
QUICK = {"threads": 1, "resamples": 1000, "tolerance": 0.05, "min_groups": 3}
# rows of `toy_records` lie by company: the test rows of the upper half of the companies are new
NEW_AFTER = {"headlines": 160}


@pytest.fixture(scope="module")
def systems(toy):
    """A model that learnt and one that hardly did, as a champion or a challenger."""
    return {
        "good": System(toy.base, toy.tokenizer, toy.adapter),
        "poor": System(toy.base, toy.tokenizer, toy.controls["from scratch"]),
    }


@pytest.fixture(scope="module")
def rows(toy):
    """Without the source whose words the train part has not: neither model can know them."""
    return toy.records.filter(lambda record: record["source"] != "disjoint")


@pytest.fixture
def held(toy, systems, rows):
    """Runs a contest on sentiment alone."""

    def run(challenger="good", champion="good", records=rows, new_after=None, learnt=(), **changes):
        settings = ContestSettings(**(QUICK | {"tasks": ("sentiment",)} | changes))
        return contest(
            records, systems[challenger], systems.get(champion), "c" * 64 if champion else "",
            NEW_AFTER if new_after is None else new_after, toy.tasks, settings, learnt,
        )  # fmt: skip

    return run


def only(report, part: str) -> ContestRow:
    (row,) = [row for row in report.rows if row.part == part]
    return row


def test_old_and_new_rows_are_told_apart_by_source_and_row(held, rows) -> None:
    report = held()
    test = [record for record in rows.to_list() if record["split"] == "test" and record["task"] == "sentiment"]
    new = [record for record in test if record["source"] == "headlines" and record["row"] > 160]
    assert 0 < len(new) < len(test)
    assert (only(report, "new").items, only(report, "old").items) == (len(new), len(test) - len(new))
    assert report.overall["sentiment"].items == len(test)


def test_both_answer_the_same_rows_as_their_own_models_do(held, toy, systems, rows) -> None:
    """Scored here once more, by log-likelihood of each label."""
    report = held("good", "poor")
    asked = [record for record in rows.to_list() if record["split"] == "test" and record["task"] == "sentiment"]
    asked = [record for record in asked if record["row"] > 160]
    task, right = toy.tasks["sentiment"], {}
    for name in ("good", "poor"):
        model, tokenizer = load_adapter(*systems[name])
        hits = 0
        for record in asked:
            prompts = [task.render(record)[0]] * len(task.labels)
            scores = completion_log_likelihoods(model, tokenizer, prompts, [f" {label}" for label in task.labels], 3)
            hits += task.labels[scores.index(max(scores))] == answer(record)
        right[name] = hits / len(asked)
    found = only(report, "new")
    assert found.challenger.value == pytest.approx(right["good"], abs=1e-6)
    assert found.champion.value == pytest.approx(right["poor"], abs=1e-6)
    assert found.gain.value == pytest.approx(right["good"] - right["poor"], abs=1e-6)


def test_a_model_that_learnt_is_better_and_one_that_did_not_is_worse(held) -> None:
    forward, back = held("good", "poor"), held("poor", "good")
    assert forward.verdict == "better" and back.verdict == "worse"
    assert only(forward, "old").gain.value == -only(back, "old").gain.value > 0.2
    assert only(forward, "old").gain.low > 0 > only(back, "old").gain.high


def test_the_same_model_is_equal_only_where_the_rows_suffice(held) -> None:
    """Five groups exclude a loss of .43, not one of .05: that is said, and not passed."""
    assert held(tolerance=0.5).verdict == "equal"
    report = held(tolerance=0.05, min_groups=2)
    assert report.verdict == "not-assessable" and "not excluded" in report.reason
    assert only(report, "old").gain.method == "wilson, no pair differs"
    assert only(report, "old").gain.value == 0 > only(report, "old").gain.low


def test_the_interval_is_the_paired_one_over_groups(held, rows) -> None:
    """A challenger that differs in single rows has a narrower gain than two unpaired intervals would give."""
    report = held("good", "poor")
    row = only(report, "old")
    unpaired = (row.challenger.high - row.challenger.low) + (row.champion.high - row.champion.low)
    assert row.gain.high - row.gain.low < unpaired
    groups = [record["group"] for record in rows.to_list() if record["split"] == "test"]
    assert row.groups <= len(set(groups)) == Resampler(groups, 1000, 0.95, 1).groups


def test_too_few_groups_are_said(held) -> None:
    report = held(min_groups=50, tolerance=0.9)
    assert report.verdict == "not-assessable"
    assert "independent groups, 50 are needed" in report.reason


def test_new_rows_without_a_test_row_are_said(held, rows) -> None:
    last = max(record["row"] for record in rows.to_list() if record["split"] == "test")
    records = rows.filter(lambda record: record["split"] != "test" or record["row"] <= 160)
    assert last > 160
    report = held("good", "poor", records=records)
    assert report.verdict == "not-assessable" and "none of the new rows is a test row" in report.reason
    assert (only(report, "new").items, only(report, "old").verdict) == (0, "better")
    # a retraining for another reason than new data has old rows only, and is judged by them
    assert held("good", "poor", records=records, new_after={}).verdict == "better"


def test_without_a_champion_the_challenger_alone_is_scored(held) -> None:
    report = held(champion=None)
    assert report.verdict == "no-champion" and report.champion == ""
    assert only(report, "old").champion is None and only(report, "old").challenger.value > 0.5
    assert report.registration_scores()["sentiment"][0].value > 0.5
    assert {name.rpartition("/")[2] for name in report.metrics()} == {"challenger"}


def test_a_feed_has_a_score_of_its_own_at_registration(held, rows) -> None:
    parted = rows.map(lambda record: {"source": "wire" if record["row"] % 3 else "desk"})
    report = held("good", "poor", records=parted, new_after={"wire": 160, "desk": 160})
    (score, items), feeds = report.registration_scores()["sentiment"], report.feed_scores()
    test = [record for record in parted.to_list() if record["split"] == "test" and record["task"] == "sentiment"]
    own = {feed: feeds[feed]["sentiment"] for feed in ("desk", "wire")}
    assert {feed: count for feed, (_, count) in own.items()} == {
        feed: sum(record["source"] == feed for record in test) for feed in own
    }
    # accuracy is a mean over rows, so that those of the parts give that of the whole
    assert sum(one.value * count for one, count in own.values()) / items == pytest.approx(score.value, abs=1e-5)
    assert held(new_after={}).feed_scores() == {}  # static sources alone


def test_a_row_that_the_champion_learnt_from_is_refused(held, rows) -> None:
    leaked = next(record for record in rows.to_list() if record["split"] == "test")
    with pytest.raises(EvaluationError, match="trained on 1 rows that are test rows now") as refused:
        held(learnt=[leaked["id"], "0" * 32])
    assert leaked["messages"][0]["content"] not in str(refused.value)


def test_metrics_have_stable_names_and_the_lower_end_of_the_gain(held) -> None:
    report = held("good", "poor")
    names = {f"contest/{part}/sentiment/{side}" for part in ("old", "new")
             for side in ("champion", "challenger", "gain", "gain_low")}  # fmt: skip
    assert set(report.metrics()) == names
    assert report.metrics()["contest/old/sentiment/gain_low"] == only(report, "old").gain.low
    summary = report.summary()
    assert summary["champion"] == "c" * 64 and summary["verdict"] == "better"
    rule = {"tolerance": report.tolerance, "min_groups": 3, "confidence": 0.95, "tasks": "sentiment"}
    assert {name: summary[name] for name in rule} == rule
    assert not any(":" in key for key in summary)
    assert report.lines()[0].startswith("better: ")


def test_twice_is_once(held) -> None:
    assert held("good", "poor").digest == held("good", "poor").digest


def test_a_generation_task_is_compared_by_its_own_first_metric(held) -> None:
    report = held("good", "poor", tasks=("metal",), new_after={})
    assert only(report, "old").metric == "exact_match"


def test_an_unknown_task_and_no_row_are_errors(held, rows) -> None:
    with pytest.raises(EvaluationError, match="unknown task 'sentimant'"):
        held(tasks=("sentimant",))
    with pytest.raises(EvaluationError, match="no row to compare on"):
        held(records=rows.filter(lambda record: record["split"] == "train"))


def part(task: str, verdict: str, items: int = 20) -> ContestRow:
    return ContestRow(
        task=task, version=1, part="new", metric="accuracy", items=items, groups=items, verdict=verdict, reason="..."
    )


@pytest.mark.parametrize(
    ("verdicts", "whole"),
    [
        (("better", "worse"), "worse"),
        (("better", "not-assessable"), "not-assessable"),
        (("worse", "not-assessable"), "worse"),
        (("better", "equal"), "better"),
        (("equal", "equal"), "equal"),
        (("no-champion", "no-champion"), "no-champion"),
    ],
)
def test_the_worst_part_decides(verdicts: tuple[str, str], whole: str) -> None:
    assert verdict_of([part(f"task{place}", verdict) for place, verdict in enumerate(verdicts)])[0] == whole
