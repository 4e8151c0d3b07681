"""Copies, near copies and contradictions; what is held out is never what goes."""

from __future__ import annotations

import pytest

from domainlm.errors import ContractViolation
from domainlm.prepare import prepare
from domainlm.prepare.settings import PrepareSettings
from domainlm.records import question

SETTINGS = PrepareSettings(test_fraction=0.2, dev_fraction=0.1)
LONG = " ".join(f"word{number}" for number in range(60))


def texts(dataset) -> list[tuple[str, str]]:
    return [(question(row), row["split"]) for row in dataset]


def test_the_training_copy_goes_and_the_test_copy_stays(dataset, record) -> None:
    rows = dataset(
        record("Shares rise.", label="positive", split="train"),
        record("shares  RISE", label="positive", split="test", source="other"),
        record("Shares fall.", label="negative", split="dev"),
        record("Shares fall", label="negative", split="train"),
    )
    out, report = prepare(rows, SETTINGS)
    assert texts(out) == [("shares RISE", "test"), ("Shares fall.", "dev")]
    assert report.dropped == {"prompt_held_out": {"train": 2, "dev": 0, "test": 0}}


def test_within_a_split_the_first_copy_stays(dataset, record) -> None:
    rows = dataset(record("Q one?", "An answer."), record("q ONE", "an answer"), record("Q one?", "Another answer."))
    out, report = prepare(rows, SETTINGS)
    assert [row["messages"][1]["content"] for row in out] == ["An answer.", "Another answer."]
    assert report.dropped == {"exact_duplicate": {"train": 1, "dev": 0, "test": 0}}
    assert report.questions_with_several_answers == 1


def test_a_sign_makes_another_text(dataset, record) -> None:
    rows = dataset(record("Profit moved 3.5%", label="positive"), record("Profit moved -3.5%", label="negative"))
    assert len(prepare(rows, SETTINGS)[0]) == 2


def test_texts_of_signs_alone_are_compared_as_they_are(dataset, record) -> None:
    out, report = prepare(dataset(record("Q?", "✓"), record("Q?", "✗"), record("✓✓", "a"), record("R?", "a")), SETTINGS)
    assert len(out) == 3
    assert report.dropped == {"empty": {"train": 1, "dev": 0, "test": 0}}


def test_near_copies_go_within_a_split_and_from_training_across_splits(dataset, record) -> None:
    rows = dataset(
        record(LONG, label="neutral"),
        record(f"{LONG} more", label="neutral"),
        record(f"other {LONG}", label="neutral", split="test"),
        record(" ".join(reversed(LONG.split())), label="neutral"),
    )
    out, report = prepare(rows, SETTINGS)
    assert [split for _, split in texts(out)] == ["test", "train"]
    assert report.dropped == {"near_duplicate_held_out": {"train": 2, "dev": 0, "test": 0}}


def test_near_copies_with_another_answer_are_two_questions(dataset, record) -> None:
    first, second, third = LONG, LONG.replace("word30", "word31"), LONG.replace("word30", "word99")
    rows = dataset(record(first, "one"), record(second, "two"), record(third, "one"))
    out, report = prepare(rows, SETTINGS)
    assert [row["messages"][1]["content"] for row in out] == ["one", "two"]
    assert report.dropped == {"near_duplicate": {"train": 1, "dev": 0, "test": 0}}


def test_the_threshold_is_a_jaccard_similarity_that_is_kept_exactly(dataset, record) -> None:
    # One changed word in the middle of 60: 3 of 58 shingles differ on each side, so 55 of 61 are common (0.9016).
    rows = dataset(record(LONG), record(LONG.replace("word30", "changed")))
    assert len(prepare(rows, PrepareSettings(near_duplicate_threshold=0.90))[0]) == 1
    assert len(prepare(rows, PrepareSettings(near_duplicate_threshold=0.91))[0]) == 2
    assert len(prepare(rows, PrepareSettings(near_duplicate_threshold=1))[0]) == 2


def test_nearly_every_pair_above_the_threshold_is_found(dataset, record) -> None:
    pairs = 150
    base = [" ".join(f"p{pair}w{number}" for number in range(60)) for pair in range(pairs)]
    near = [text.replace("w30", "x") for text in base]
    out, _ = prepare(dataset(*(record(text) for text in base + near)), PrepareSettings(near_duplicate_threshold=0.85))
    assert pairs <= len(out) <= pairs * 1.03


def test_a_text_with_two_labels_goes_or_its_first_stays(dataset, record) -> None:
    rows = dataset(
        record("Shares move", label="positive"),
        record("Shares move", label="negative", split="test"),
        record("Calm", label="neutral"),
    )
    out, report = prepare(rows, SETTINGS)
    assert texts(out) == [("Calm", "train")]
    assert report.texts_with_several_labels == 1
    assert report.dropped == {"conflicting_label": {"train": 1, "dev": 0, "test": 1}}
    kept, _ = prepare(rows, SETTINGS.model_copy(update={"conflicting_labels": "first"}))
    assert texts(kept) == [("Shares move", "test"), ("Calm", "train")]


def test_swapped_classes_of_a_second_source_stop_the_run_and_are_named(dataset, record) -> None:
    swapped = {"positive": "neutral", "neutral": "positive", "negative": "negative"}
    labels = ["positive", "neutral", "negative"] * 10
    rows = [record(f"headline number {n} here", label=label, source="first") for n, label in enumerate(labels)]
    rows += [
        record(f"headline number {n} here", label=swapped[label], source="second") for n, label in enumerate(labels)
    ]
    with pytest.raises(ContractViolation, match=r"20 of 30 common texts") as caught:
        prepare(dataset(*rows), SETTINGS)
    assert "'first' and 'second'" in str(caught.value) and "neutral -> positive (10)" in str(caught.value)
    assert "headline number" not in str(caught.value)


def test_a_group_that_a_fixed_split_tears_leaves_training(dataset, record) -> None:
    customer = "c" * 32
    rows = dataset(
        record("first letter", label="neutral", split="train", group=customer),
        record("second letter", label="neutral", split="test", group=customer),
        record("third letter", label="neutral", split="train"),
    )
    out, report = prepare(rows, SETTINGS)
    assert texts(out) == [("second letter", "test"), ("third letter", "train")]
    assert report.dropped == {"group_held_out": {"train": 1, "dev": 0, "test": 0}}
