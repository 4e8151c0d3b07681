"""Test text is kept out of training, and test rows that the base has read are taken out."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest

from domainlm import ngrams
from domainlm.artifacts import BaseCheckpoint
from domainlm.errors import ContractViolation
from domainlm.prepare import prepare
from domainlm.prepare.settings import PrepareSettings
from domainlm.records import question

SETTINGS = PrepareSettings()


def run(*numbers: range) -> str:
    return " ".join(f"w{number}" for part in numbers for number in part)


LONG, SHORT = run(range(30)), run(range(8))


def test_a_training_row_that_holds_thirteen_words_of_a_test_answer_goes(dataset, record) -> None:
    rows = dataset(
        record("What is it?", LONG, split="test"),
        record("Something else?", run(range(500, 520), range(5, 18)), split="train"),
        record("A third thing?", run(range(600, 620), range(5, 17)), split="train"),
    )
    out, report = prepare(rows, SETTINGS)
    assert [question(row) for row in out] == ["What is it?", "A third thing?"]
    counts = report.decontamination
    assert (counts.test_rows, counts.test_ngrams, counts.shared_with_train) == (1, 18, 1)
    assert (counts.train_rows_dropped, counts.test_rows_dropped) == (1, 0)
    assert report.dropped == {"holds_test_text": {"train": 1, "dev": 0, "test": 0}}


def test_a_short_test_text_is_found_whole_inside_a_training_document(dataset, record) -> None:
    rows = dataset(
        record(SHORT, label="neutral", split="test"),
        record(run(range(900, 910)) + " " + SHORT + " " + run(range(910, 920)), split="train"),
        record(run(range(920, 930)) + " " + run(range(7)) + " " + run(range(930, 940)), split="train"),
    )
    out, report = prepare(rows, SETTINGS)
    assert [row["row"] for row in out] and len(out) == 2
    assert report.dropped == {"holds_test_text": {"train": 1, "dev": 0, "test": 0}}


def test_a_short_question_that_two_rows_share_is_no_leak(dataset, record) -> None:
    asked = "What was the revenue in the year before that?"
    rows = dataset(
        record(asked, "1,300 won", context="passage one " + run(range(20)), split="test", task="extraction"),
        record(asked, "2,300 won", context="passage two " + run(range(50, 70)), split="train", task="extraction"),
    )
    assert len(prepare(rows, SETTINGS)[0]) == 2


def test_a_phrase_of_very_many_training_rows_is_the_form_and_no_leak(dataset, record) -> None:
    form = run(range(15))
    few = [record(f"{form} t{n} u{n}", f"a{n}", split="train") for n in range(3)]
    many = [record(f"{form} t{n} u{n}", f"a{n}", split="train") for n in range(12)]
    test = record(f"{form} x y", "b", split="test")
    settings = PrepareSettings(near_duplicate_threshold=1, template_rows=10)
    out, report = prepare(dataset(test, *few), settings)
    assert (len(out), report.decontamination.ignored_as_template) == (1, 0)
    out, report = prepare(dataset(test, *many), settings)
    assert (len(out), report.decontamination.ignored_as_template) == (13, 3)


@pytest.fixture
def base(tmp_path: Path) -> BaseCheckpoint:
    ngrams.save(tmp_path / ngrams.FILE, [run(range(100, 140)), f"before {SHORT} after"])
    return BaseCheckpoint(tmp_path)


def test_test_rows_that_the_base_has_read_go_and_training_rows_stay(dataset, record, base: BaseCheckpoint) -> None:
    rows = dataset(
        record("Read?", run(range(700, 705), range(110, 130)), split="test"),
        record("Unread?", run(range(700, 730)), split="test"),
        record(SHORT, label="neutral", split="test"),
        record(run(range(1, 9)), label="neutral", split="test"),
        record("Trained?", run(range(110, 130)), split="train"),
    )
    out, report = prepare(rows, SETTINGS, base)
    assert [question(row) for row in out] == ["Unread?", run(range(1, 9)), "Trained?"]
    counts = report.decontamination
    assert (counts.pretraining, counts.test_rows_dropped, counts.shared_with_pretraining) == ("assessed", 2, 8)
    assert counts.pretraining_ngrams > 0
    assert report.dropped == {"in_pretraining": {"train": 0, "dev": 0, "test": 2}}


def test_a_base_that_does_not_say_is_not_assessable_and_may_be_refused(dataset, record, tmp_path: Path) -> None:
    rows, silent = dataset(record("Q?", LONG, split="test"), record("R?", SHORT)), BaseCheckpoint(tmp_path)
    assert prepare(rows, SETTINGS, silent)[1].decontamination.pretraining.startswith("not assessable")
    assert prepare(rows, SETTINGS)[1].decontamination.pretraining.startswith("not assessed")
    strict = PrepareSettings(require_pretraining_ngrams=True)
    for given in (silent, None):
        with pytest.raises(ContractViolation, match="not assess"):
            prepare(rows, strict, given)


def test_the_known_leaks_of_banking77_are_found(dataset, record, request: pytest.FixtureRequest) -> None:
    folder = Path(request.config.getoption("--shared-data")) / "banking77"
    if not request.config.getoption("--shared-data") or not folder.is_dir():
        pytest.skip("needs the public data set banking77: give its parent folder with --shared-data")
    rows = {}
    for split in ("train", "test"):
        with open(folder / f"{split}.csv", encoding="utf-8", newline="") as stream:
            rows[split] = [(entry["text"], entry["category"]) for entry in csv.DictReader(stream)]

    def bare(text: str) -> str:
        return " ".join(re.sub(r"[^\w\s]", "", text.lower()).split())

    train = {text.strip() for text, _ in rows["train"]}
    bare_train = {bare(text) for text, _ in rows["train"]}
    assert sum(text.strip() in train for text, _ in rows["test"]) == 6
    assert sum(bare(text) in bare_train for text, _ in rows["test"]) == 11
    records = [
        record(text, label=label, task="intent", split=split, source=f"banking77_{split}", row=row)
        for split, entries in rows.items()
        for row, (text, label) in enumerate(entries, start=1)
    ]
    out, report = prepare(dataset(*records), SETTINGS)
    kept: dict[str, set[str]] = {"train": set(), "test": set()}
    for row in out:
        kept[row["split"]].add(bare(question(row)))
    leaked = {bare(text) for text, _ in rows["test"]} & bare_train
    assert not leaked & kept["train"] and not kept["train"] & kept["test"]
    assert leaked <= kept["test"], "the test copies are the ones that stay"
    assert report.dropped["prompt_held_out"]["train"] >= 11
