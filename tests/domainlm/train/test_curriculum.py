"""Stages in order with one adapter, early stopping on the development split, and the options that change the input."""

from __future__ import annotations

import shutil

import pytest
from datasets import concatenate_datasets

from domainlm.errors import TrainingError

CURRICULUM = (
    {"name": "general-finance", "objective": "continued_pretraining", "max_steps": 6, "learning_rate": 2e-3},
    {"name": "task", "tasks": ("mood",), "task_weights": {"mood": 2.0}, "max_steps": 8},
)
BY_HEART = {"tasks": ("term",), "max_steps": 60, "eval_steps": 2, "learning_rate": 2e-2, "scheduler": "constant"}


@pytest.fixture(scope="module")
def mixed_records(toy_records, toy_corpus):
    return concatenate_datasets([toy_corpus, toy_records])


def test_one_adapter_goes_through_all_stages_and_is_measured_after_each(tune, mixed_records) -> None:
    _, report = tune(records=mixed_records, stages=CURRICULUM)
    first, second = report.stages
    assert (first.name, first.objective, first.steps) == ("general-finance", "continued_pretraining", 6)
    assert (second.name, second.objective, second.steps) == ("task", "instruction", 8)
    assert set(first.records_by_task) == {"document"} and set(second.records_by_task) == {"mood"}
    assert second.examples == 2 * second.records_by_task["mood"]
    assert [point["step"] for point in report.curve] == [2, 4, 6, 8, 10, 12, 14]
    before, between, after = (
        report.dev_bits_per_character_before, first.dev_bits_per_character, second.dev_bits_per_character
    )  # fmt: skip
    assert between["document"] < before["document"]
    assert after["mood"] < between["mood"]
    assert report.dev_bits_per_character == after and report.steps == 14
    peaks = [max(point["learning_rate"] for point in report.curve if (point["step"] > 6) == late) for late in (0, 1)]
    assert peaks[0] <= 2e-3 < peaks[1]


def test_the_second_stage_goes_on_from_the_first(tune, mixed_records) -> None:
    adapter, _ = tune("both", records=mixed_records, stages=CURRICULUM)
    alone, _ = tune("alone", records=mixed_records, stages=CURRICULUM[1:])
    assert adapter.digest != alone.digest


def test_a_curriculum_that_was_cut_between_or_within_stages_ends_in_the_same_weights(
    tune, mixed_records, tmp_path
) -> None:
    given = {"records": mixed_records, "stages": CURRICULUM, "dropout": 0.1}
    whole, report = tune("whole", **given)
    for name, lost in (("between", "2-task"), ("within", "2-task/checkpoint-8")):
        shutil.copytree(tmp_path / "whole" / "work", tmp_path / name / "work")
        shutil.rmtree(tmp_path / name / "work" / lost)
        resumed, again = tune(name, **given)
        assert resumed.digest == whole.digest
        assert again == report


def test_documents_are_learned_in_pieces_that_end_in_an_eos_once(tune, mixed_records, tiny_base) -> None:
    from domainlm.models import load_base
    from domainlm.train.mixture import examples
    from domainlm.train.rows import tokenize
    from domainlm.train.settings import TrainSettings

    settings = TrainSettings(objective="continued_pretraining", max_length=16)
    model, tokenizer = load_base(tiny_base, None, "none")
    found = examples(mixed_records, "train", {}, settings)
    data = tokenize(found, tokenizer, model, settings)
    assert data.longest <= 16 and data.dropped == 0
    assert len({row_id for row_id in data.ids}) == len(found) < len(data.rows)
    assert sum(tail.count(tokenizer.eos_token_id) for _, tail in data.rows) == len(found)
    pieces = zip(data.ids, data.rows, strict=True)
    text = "".join(tokenizer.decode(tail) for row_id, (_, tail) in pieces if row_id == found[0].id)
    assert text.removesuffix(tokenizer.eos_token) == found[0].completion


def test_training_stops_where_the_development_split_gets_no_better_and_keeps_the_best(tune) -> None:
    """Seven definitions learned by heart: what is held out becomes less likely with each pass."""
    given = BY_HEART
    _, report = tune("stopped", early_stopping=3, **given)
    _, on = tune("on", **given)
    assert report.stages[0].stopped_early and report.stages[0].steps < 60 == on.stages[0].steps
    mean = [sum(found.values()) / len(found) for found in (report.dev_bits_per_character, on.dev_bits_per_character)]
    assert mean[0] < mean[1]


def test_a_stopped_training_is_taken_over_as_it_is(tune) -> None:
    first, report = tune("run", early_stopping=3, **BY_HEART)
    second, again = tune("run", early_stopping=3, **BY_HEART)
    assert second.digest == first.digest and again == report


def test_looking_at_the_development_split_changes_no_weight(tune) -> None:
    plain, _ = tune("plain", dropout=0.1)
    looked, _ = tune("looked", dropout=0.1, eval_steps=1)
    assert looked.digest == plain.digest


def test_neftune_is_noise_on_the_training_alone(tune) -> None:
    plain, _ = tune("plain")
    noisy, _ = tune("noisy", neftune_alpha=5.0)
    again, _ = tune("again", neftune_alpha=5.0)
    assert noisy.digest != plain.digest and noisy.digest == again.digest
    _, same = tune("quiet", neftune_alpha=5.0, learning_rate=1e-12)
    assert same.dev_bits_per_character == pytest.approx(same.dev_bits_per_character_before, rel=1e-3)


def test_changed_copies_join_the_training_and_nothing_else(tune) -> None:
    _, plain = tune("plain")
    _, more = tune("more", augment_copies=2, augment_rate=0.3)
    assert more.stages[0].examples > plain.stages[0].examples
    assert more.stages[0].records_by_task == plain.stages[0].records_by_task
    assert more.dev_bits_per_character_before == plain.dev_bits_per_character_before


def test_an_empty_split_is_named_before_a_model_is_loaded(tune, toy_records, monkeypatch) -> None:
    from domainlm.train import finetuning

    monkeypatch.setattr(finetuning, "prepare", None)
    train_only = toy_records.filter(lambda part: part == "train", input_columns="split")
    dev_only = toy_records.filter(lambda part: part == "dev", input_columns="split")
    with pytest.raises(TrainingError, match="train split has no record"):
        tune("no-train", records=dev_only)
    with pytest.raises(TrainingError, match="development split has no record"):
        tune("no-dev", records=train_only, eval_steps=2)


def test_a_stage_without_records_is_named_with_what_it_lacks(tune) -> None:
    stages = ({"name": "task"}, {"name": "general", "objective": "continued_pretraining"})
    with pytest.raises(TrainingError, match=r"stage 'general': the train split has no document\n.*form: documents"):
        tune(stages=stages)


def test_weights_that_leave_nothing_are_named(tune) -> None:
    with pytest.raises(TrainingError, match="leave no record"):
        tune(task_weights={"mood": 0.0, "term": 0.0})
