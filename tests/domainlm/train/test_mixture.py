"""The mixture: which records, how often, and the control whose answers belong to other prompts."""

from __future__ import annotations

from collections import Counter, defaultdict

import pytest

from domainlm.errors import ConfigurationError, TrainingError
from domainlm.train.mixture import Example, examples, shuffled, weighted
from domainlm.train.settings import TrainSettings


def _examples(groups: int = 60, rows: int = 3) -> list[Example]:
    return [
        Example(
            f"{group}-{row}", "mood", f"{group:03d}", f"prompt {group} {row}", f" {('good', 'bad', 'flat')[group % 3]}"
        )
        for group in range(groups)
        for row in range(rows)
    ]


def test_shuffled_labels_agree_with_the_truth_no_more_than_chance() -> None:
    before = _examples(300)
    after = shuffled(before, seed=0)
    agreement = sum(old.completion == new.completion for old, new in zip(before, after, strict=True)) / len(before)
    assert 0.23 < agreement < 0.44
    assert Counter(row.completion for row in after) == Counter(row.completion for row in before)


def test_shuffling_moves_answers_and_nothing_else_and_keeps_a_group_consistent() -> None:
    before = _examples()
    after = shuffled(before, seed=0)
    assert [row[:4] for row in after] == [row[:4] for row in before]
    said = defaultdict(set)
    for row in after:
        said[row.group].add(row.completion)
    assert all(len(answers) == 1 for answers in said.values())


def test_shuffling_never_crosses_tasks_and_follows_its_seed() -> None:
    mixed = [*_examples(), *(Example(f"t{n}", "term", f"t{n}", f"What is {n}?", f" It is {n}.") for n in range(20))]
    after = shuffled(mixed, seed=3)
    assert all(("It is" in row.completion) == (row.task == "term") for row in after)
    assert after == shuffled(mixed, seed=3) != shuffled(mixed, seed=4)


def test_a_weight_repeats_a_task_or_takes_a_stable_share_of_it() -> None:
    rows = _examples(400)
    assert Counter(Counter(row.id for row in weighted(rows, {"mood": 2}, 0)).values()) == {2: len(rows)}
    share = weighted(rows, {"mood": 0.25}, 0)
    assert 0.2 < len(share) / len(rows) < 0.3
    with_more = weighted(
        [*rows, *(Example(f"new{n}", "mood", "x", "p", " good") for n in range(50))], {"mood": 0.25}, 0
    )
    assert set(share) <= set(with_more)
    assert weighted(rows, {"mood": 0}, 0) == []


def test_records_are_taken_by_split_and_task_and_documents_never(toy_records, toy_tasks, table, row) -> None:
    found = examples(toy_records, "train", toy_tasks, TrainSettings(tasks=("term",)))
    assert {example.task for example in found} == {"term"}
    with_document = table(
        [row("document", "Plain text.", "", "d", "train", 1), row("term", "What?", "That.", "w", "train", 2)]
    )
    assert [example.task for example in examples(with_document, "train", toy_tasks, TrainSettings())] == ["term"]


def test_unknown_tasks_are_named(toy_records, toy_tasks, table, row) -> None:
    with pytest.raises(TrainingError, match="no task 'moods'") as caught:
        examples(toy_records, "train", toy_tasks, TrainSettings(tasks=("moods",)))
    assert "did you mean 'mood'?" in str(caught.value)
    with pytest.raises(ConfigurationError, match="unknown task 'mod'"):
        examples(table([row("mod", "What?", "That.", "w", "train", 2)]), "train", toy_tasks, TrainSettings())


def test_the_shuffle_is_the_same_whatever_key_named_the_groups() -> None:
    found = [Example(f"id{number}", "mood", f"g{number // 2}", "p", f" answer {number // 2}") for number in range(40)]
    renamed = [example._replace(group=f"{(int(example.group[1:]) * 7) % 20:02}") for example in found]
    told = [example.completion for example in shuffled(found, seed=3)]
    assert told == [example.completion for example in shuffled(renamed, seed=3)]
    assert told != [example.completion for example in found]
