"""The champion on fresh rows: batch by batch, all splits, without what it had trained on."""

from __future__ import annotations

import pytest

from domainlm.errors import EvaluationError
from domainlm.evaluate.contest import System, contest
from domainlm.evaluate.probe import probe
from domainlm.evaluate.settings import ContestSettings, ProbeSettings

ENDS = {"headlines": [(100, "a" * 64), (200, "b" * 64), (400, "c" * 64)]}


@pytest.fixture(scope="module")
def champion(toy) -> System:
    return System(toy.base, toy.tokenizer, toy.adapter)


@pytest.fixture(scope="module")
def rows(toy):
    return toy.records.filter(lambda record: record["source"] == "headlines")


@pytest.fixture
def probed(toy, champion, rows):
    def run(records=rows, ends=ENDS, learnt=(), **changes):
        settings = ProbeSettings(**({"threads": 1, "resamples": 1000} | changes))
        return probe(records, champion, "i" * 64, ends, toy.tasks, settings, learnt)

    return run


def test_each_batch_has_its_own_score_over_all_its_rows(probed, rows) -> None:
    report = probed()
    assert [(one.batch[0], one.task, one.metric) for one in report.scores] == [
        (batch, "sentiment", "accuracy") for batch in "abc"
    ]
    first = [record for record in rows.to_list() if record["row"] <= 100]
    assert report.scores[0].items == len(first) and {record["split"] for record in first} == {"train", "test"}
    assert sum(one.items for one in report.scores) == len(rows)
    assert all(one.score.low <= one.score.value <= one.score.high for one in report.scores)
    assert report.unscored == [] and report.learnt == 0


def test_the_score_is_the_one_that_the_contest_takes_at_registration(probed, champion, rows, toy) -> None:
    """The same rows, the same metric: what decays is the model, not the way of counting."""
    test = rows.filter(lambda record: record["split"] == "test")
    report = probed(records=test, ends={"headlines": [(400, "a" * 64)]})
    settings = ContestSettings(threads=1, resamples=1000, tasks=("sentiment",))
    at_registration = contest(rows, champion, None, "", {}, toy.tasks, settings).registration_scores()["sentiment"]
    assert (report.scores[0].score, report.scores[0].items) == at_registration


def test_rows_that_the_champion_trained_on_are_left_out(probed, rows) -> None:
    learnt = [record["id"] for record in rows.to_list() if record["row"] <= 100]
    report = probed(learnt=learnt)
    assert [one.batch[0] for one in report.scores] == ["b", "c"]
    assert report.learnt == len(learnt) and report.unscored == ["a" * 64]


def test_rows_without_an_answer_are_not_scored(probed, rows) -> None:
    bare = rows.map(lambda record: record | {"label": ""} if record["row"] <= 100 else record)
    assert probed(records=bare).unscored == ["a" * 64]


def test_a_metric_that_has_no_decay_in_zero_to_one_is_not_scored(probed, toy) -> None:
    task = toy.tasks["sentiment"].model_copy(update={"metrics": ("bits_per_character",)})
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(toy.tasks, "sentiment", task)
        report = probed()
    assert report.scores == [] and len(report.unscored) == 3


def test_a_row_of_no_batch_and_an_unknown_task_are_errors(probed) -> None:
    with pytest.raises(EvaluationError, match="a row belongs to no batch"):
        probed(ends={"headlines": [(100, "a" * 64)]})
    with pytest.raises(EvaluationError, match="unknown task 'sentimant'"):
        probed(tasks=("sentimant",))
