"""Replay: all new training rows, a part of the old ones, the held-out rows whole; and no test row ever in training."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domainlm.errors import ContractViolation
from domainlm.prepare import prepare
from domainlm.prepare.preparation import PreparationReport
from domainlm.prepare.replay import Replay
from domainlm.prepare.settings import PrepareSettings
from domainlm.records import TRAIN, split_bucket


def row(record, number: int, source: str = "news", task: str = "definition", at: int | None = None):
    text = f"question number {number} about {task} topic {number * 7919}"
    return record(
        text, f"answer {number}", task=task, source=source, row=at or number + 1,
        split_bucket=split_bucket("salt", f"{task} {number}"),
    )  # fmt: skip


def training(out) -> list[dict]:
    return [found for found in out if found["split"] == TRAIN]


def test_all_new_rows_stay_and_old_ones_by_the_ratio_from_each_task_its_share(dataset, record) -> None:
    old = [row(record, n, task="definition") for n in range(600)] + [
        row(record, n, source="static", task="extraction") for n in range(200)
    ]
    new = [row(record, 600 + n) for n in range(100)]
    everything, _ = prepare(dataset(*old, *new), PrepareSettings())
    out, report = prepare(dataset(*old, *new), PrepareSettings(), None, Replay(new_after={"news": 600}, ratio=2.0))
    is_new = {found["id"] for found in new}
    kept_new = [found for found in training(out) if found["id"] in is_new]
    kept_old = [found for found in training(out) if found["id"] not in is_new]
    assert len(kept_new) == sum(found["id"] in is_new for found in training(everything)) > 50
    assert len(kept_old) == 2 * len(kept_new)
    shares = Counter(found["task"] for found in kept_old)
    assert shares["extraction"] / len(kept_old) == pytest.approx(
        sum(found["task"] == "extraction" for found in training(everything))
        / sum(found["id"] not in is_new for found in training(everything)),
        abs=0.01,
    )
    held_out = [found["id"] for found in everything if found["split"] != TRAIN]
    assert [found["id"] for found in out if found["split"] != TRAIN] == held_out, "test and development stay whole"
    told = {task.task: task for task in report.replay.tasks}
    assert told["definition"].new == len(kept_new) and told["extraction"].kept == shares["extraction"]
    assert report.dropped["not_replayed"][TRAIN] == len(everything) - len(out)
    assert report.summary()["new_definition"] == len(kept_new)


def test_a_larger_ratio_keeps_what_a_smaller_one_kept_and_a_seed_gives_one_choice(dataset, record) -> None:
    rows = dataset(*(row(record, n) for n in range(400)))

    def chosen(ratio: float, seed: int = 1) -> set[str]:
        asked = Replay(new_after={"news": 350}, ratio=ratio)
        return {found["id"] for found in training(prepare(rows, PrepareSettings(seed=seed), None, asked)[0])}

    assert chosen(0.5) < chosen(1.0) < chosen(3.0)
    assert chosen(1.0) == chosen(1.0) and chosen(1.0) != chosen(1.0, seed=2)


def test_without_ratio_or_without_new_rows_every_old_row_stays(dataset, record) -> None:
    rows = dataset(*(row(record, n) for n in range(100)))
    whole = len(prepare(rows, PrepareSettings())[0])
    for asked in (
        Replay(new_after={"news": 50}),
        Replay(new_after={}, ratio=1.0),
        Replay(new_after={"news": 100}, ratio=1),
    ):
        out, report = prepare(rows, PrepareSettings(), None, asked)
        assert len(out) == whole and "not_replayed" not in report.dropped and report.replay is not None


def test_a_ratio_of_nought_trains_on_new_rows_alone(dataset, record) -> None:
    rows = dataset(*(row(record, n) for n in range(100)))
    out, _ = prepare(rows, PrepareSettings(), None, Replay(new_after={"news": 60}, ratio=0))
    assert all(found["row"] > 60 for found in training(out)) and training(out)


def test_a_report_without_replay_is_written_as_before(dataset, record) -> None:
    _, report = prepare(dataset(*(row(record, n) for n in range(10))), PrepareSettings())
    assert "replay" not in report.model_dump(mode="json")
    assert PreparationReport(**report.model_dump(mode="json")).digest == report.digest


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(1, 60), min_size=1, max_size=4), st.sampled_from([None, 0.0, 0.5, 2.0]))
def test_no_test_row_of_an_earlier_run_is_ever_trained_on(
    dataset, record, landings: list[int], ratio: float | None
) -> None:
    """Data land in several batches, with copies of earlier rows among them, and the model is trained after each."""
    rows, tested, seen = [], set(), 0
    for batch, size in enumerate(landings):
        before = len(rows)
        rows += [row(record, seen + n, at=before + n + 1) for n in range(size)]
        rows += [found | {"row": len(rows) + 1 + n} for n, found in enumerate(rows[: min(5, before)])]  # lands again
        seen += size
        asked = Replay(new_after={"news": before}, ratio=ratio)
        try:
            out, _ = prepare(dataset(*rows), PrepareSettings(), None, asked)
        except ContractViolation as error:  # a few rows may all be test rows
            assert "no row is left" in str(error)
            continue
        trained = {found["id"] for found in training(out)}
        assert not trained & tested, batch
        tested |= {found["id"] for found in out if found["split"] == "test"}
