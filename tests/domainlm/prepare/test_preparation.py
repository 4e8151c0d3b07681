"""Splits, order, counts and repeatability of prepare."""

from __future__ import annotations

import random

import pytest
from pydantic import ValidationError

from domainlm.digests import digest_dataset
from domainlm.errors import ContractViolation
from domainlm.prepare import prepare
from domainlm.prepare.settings import PrepareSettings
from domainlm.records import features, question, split_bucket


def grouped(record, number: int, task: str = "definition"):
    text = f"question number {number} about topic {number * 7919}"
    answer = "" if task == "document" else f"answer {number}"
    return record(text, answer, task=task, split_bucket=split_bucket("salt", f"group {number}"), row=number + 1)


def test_groups_fall_into_splits_by_their_bucket_in_the_stated_shares(dataset, record) -> None:
    out, report = prepare(dataset(*(grouped(record, n) for n in range(2000))), PrepareSettings())
    found = list(out["split"])
    shares = {split: found.count(split) / len(found) for split in ("train", "dev", "test")}
    assert shares["test"] == pytest.approx(0.20, abs=0.03)
    assert shares["dev"] == pytest.approx(0.05, abs=0.02)
    assert report.rows_out == len(out) == 2000


def test_rows_that_come_later_move_no_row_and_another_dev_share_moves_no_test_row(dataset, record) -> None:
    rows = [grouped(record, number) for number in range(400)]
    early = {row["id"]: row["split"] for row in prepare(dataset(*rows[:200]), PrepareSettings())[0]}
    late = {row["id"]: row["split"] for row in prepare(dataset(*reversed(rows)), PrepareSettings(dev_fraction=0.3))[0]}
    assert {key for key, split in early.items() if split == "test"} == {key for key in early if late[key] == "test"}


def test_documents_are_never_test_rows_and_a_fixed_split_stays(dataset, record) -> None:
    rows = [grouped(record, number, "document") for number in range(200)]
    fixed = record("fixed question", "fixed answer", split="test", split_bucket=9999)
    out, _ = prepare(dataset(*rows, fixed), PrepareSettings(test_fraction=0.5))
    assert {row["split"] for row in out if row["task"] == "document"} == {"train", "dev"}
    assert [row["split"] for row in out if row["task"] != "document"] == ["test"]


def test_order_schema_and_every_other_column_stay(dataset, record) -> None:
    rows = [grouped(record, number) for number in random.Random(1).sample(range(100), 50)]
    out, _ = prepare(dataset(*rows), PrepareSettings())
    assert out.features == features()
    assert [row["id"] for row in out] == [row["id"] for row in rows]
    for before, after in zip(rows, out, strict=True):
        assert {**after, "split": ""} == dict(before)


def test_texts_are_normalised_and_counted(dataset, record) -> None:
    out, report = prepare(dataset(record("What\u200b is “it”?", "−3.5 %")), PrepareSettings())
    assert (question(out[0]), out[0]["messages"][1]["content"]) == ('What is "it"?', "-3.5 %")
    assert report.texts_changed == 2


def test_two_runs_give_equal_data_and_reports(dataset, record) -> None:
    rows = dataset(*(grouped(record, number % 90) for number in range(200)))
    (first, first_report), (second, second_report) = prepare(rows, PrepareSettings()), prepare(rows, PrepareSettings())
    assert digest_dataset(first) == digest_dataset(second)
    assert first_report.digest == second_report.digest
    assert first_report.settings["seed"] == 1


def test_the_counts_of_the_report_add_up(dataset, record) -> None:
    rows = [grouped(record, number % 60) for number in range(100)] + [record("\u200b", "nothing asked")]
    out, report = prepare(dataset(*rows), PrepareSettings())
    dropped = sum(sum(by_split.values()) for by_split in report.dropped.values())
    assert report.rows_in == len(rows) == len(out) + dropped
    assert sum(part.rows_in for part in report.parts) == report.rows_in
    assert sum(part.rows_out for part in report.parts) == report.rows_out == 60
    assert report.dropped["empty"]["train"] == 1
    assert report.summary()["dropped_exact_duplicate"] == 40


def test_no_text_stands_in_the_report(dataset, record) -> None:
    _, report = prepare(dataset(*(grouped(record, number) for number in range(20))), PrepareSettings())
    assert "question number" not in report.model_dump_json()


def test_nothing_left_is_an_error(dataset, record) -> None:
    with pytest.raises(ContractViolation, match="no row is left"):
        prepare(dataset(record("\u200b", "a")), PrepareSettings())
    with pytest.raises(ContractViolation, match="no row is left"):
        prepare(dataset(), PrepareSettings())


def test_fractions_that_leave_no_training_are_refused() -> None:
    with pytest.raises(ValidationError, match="nothing to train on"):
        PrepareSettings(test_fraction=0.6, dev_fraction=0.4)
