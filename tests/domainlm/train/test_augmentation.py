"""Changed copies of prompts: the same each time, and never in what an answer hangs on."""

from __future__ import annotations

import random

from domainlm.train.augmentation import augmented, changed
from domainlm.train.mixture import Example
from domainlm.train.settings import TrainSettings

PROMPT = (
    "##Question: The bank said yesterday that quarterly profit did not reach EUR 1,200 million, down 3.5% from 2023."
    " What was the amount that Haneul reported?\n##Answer:"
)


def test_numbers_negations_directions_and_the_answer_stay() -> None:
    for seed in range(200):
        copy = changed(PROMPT, " EUR 1,200 million reported", 0.5, random.Random(seed))
        for word in "not EUR 1,200 million down 3.5% from 2023. Haneul ##Question: ##Answer:".split():
            assert word in copy
        assert "reported" in copy


def test_a_copy_differs_and_keeps_most_words() -> None:
    copies = {changed(PROMPT, " 1,200", 0.1, random.Random(seed)) for seed in range(50)}
    assert len(copies - {PROMPT}) > 10
    original = set(PROMPT.lower().split())
    assert all(len(original - set(copy.lower().split())) <= 2 for copy in copies)


def test_copies_hang_on_seed_and_record_alone() -> None:
    examples = [Example(f"id{number}", "mood", "g", PROMPT, " good") for number in range(5)]
    settings = TrainSettings(augment_copies=3, seed=7)
    whole = augmented(examples, settings)
    assert len(whole) > len(examples)
    assert whole == augmented(examples, settings)
    alone = augmented(examples[2:3], settings)
    assert alone == [example for example in whole if example.id == "id2"]
    assert augmented(examples, settings.model_copy(update={"seed": 8})) != whole


def test_no_copies_unless_asked_and_none_where_nothing_is_free() -> None:
    example = Example("id", "mood", "g", "##Question: KOSPI 2,300 up 3%\n##Answer:", " up")
    assert augmented([example], TrainSettings()) == [example]
    assert augmented([example], TrainSettings(augment_copies=4)) == [example]
