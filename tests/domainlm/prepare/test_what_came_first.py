"""In a retraining nothing that lands takes old rows out of training: a new held-out row like one goes itself."""

from __future__ import annotations

import pytest

from domainlm.prepare import prepare
from domainlm.prepare.replay import Replay
from domainlm.prepare.settings import PrepareSettings
from domainlm.records import split_bucket

SETTINGS = PrepareSettings()
FRESH = Replay(new_after={"news": 300})


def words(number: int, many: int = 14) -> str:
    return " ".join(f"w{number * 100 + place}" for place in range(many))


def row(record, text: str, number: int, **more):
    found = {"task": "definition", "source": "news", "row": number, "split_bucket": split_bucket("salt", text)} | more
    return record(text, f"answer {number}", **found)


def ids(rows, split: str) -> set[str]:
    return {found["id"] for found in rows if found["split"] == split}


def flood(record, old: list, variants: int) -> list:
    """New rows, so many near copies of each old one: some of them are test rows."""
    texts = [f"{found['messages'][0]['content']} z{n}" for found in old for n in range(variants)]
    return [row(record, text, 301 + n) for n, text in enumerate(texts)]


@pytest.fixture
def old(record) -> list:
    return [row(record, words(number), number + 1) for number in range(300)]


@pytest.mark.parametrize("variants", [1, 10])
def test_near_copies_of_old_rows_take_none_of_them_out(dataset, record, old: list, variants: int) -> None:
    before, _ = prepare(dataset(*old), SETTINGS)
    new = flood(record, old, variants)
    plain, _ = prepare(dataset(*old, *new), SETTINGS)
    after, report = prepare(dataset(*old, *new), SETTINGS, None, FRESH)
    assert len(ids(plain, "train") & ids(before, "train")) < len(ids(before, "train")), "the attack works elsewhere"
    for split in ("train", "dev", "test"):
        assert ids(after, split) >= ids(before, split), split
    gone = {reason: counts for reason, counts in report.dropped.items() if reason.startswith("not_held_out")}
    assert sum(counts["test"] for counts in gone.values()) > 10
    assert all(counts["train"] == 0 for counts in gone.values())


def test_they_do_not_in_the_training_after_that_either(dataset, record, old: list) -> None:
    before, _ = prepare(dataset(*old), SETTINGS)
    rows = [*old, *flood(record, old, 3)]
    first, _ = prepare(dataset(*rows), SETTINGS, None, FRESH)
    later = [row(record, words(5000 + n), len(rows) + 1 + n) for n in range(20)]
    asked = Replay(new_after={"news": len(rows)}, rounds={"news": ((300, 1), (len(rows), 2))})
    second, _ = prepare(dataset(*rows, *later), SETTINGS, None, asked)
    assert ids(second, "train") >= ids(first, "train") >= ids(before, "train")
    assert ids(second, "test") >= ids(first, "test"), "what was held out once stays so"


def test_of_two_old_feeds_the_rows_that_were_learnt_first_stay(dataset, record) -> None:
    text = words(1)
    learnt = row(record, text, 1, source="desk", split="train")
    held = row(record, f"{text} more", 1, source="news", split="test")
    for rounds, stays in (
        ({"desk": ((1, 1),), "news": ((1, 2),)}, "train"),
        ({"desk": ((1, 2),), "news": ((1, 1),)}, "test"),
    ):
        asked = Replay(new_after={"desk": 1, "news": 1}, rounds=rounds)
        out, _ = prepare(dataset(learnt, held), SETTINGS, None, asked)
        assert [found["split"] for found in out] == [stays]


def test_the_configured_sources_came_before_every_feed(dataset, record) -> None:
    static = row(record, words(1), 9, source="static", split="train")
    held = row(record, words(1), 1, split="test")
    out, report = prepare(dataset(held, static), SETTINGS, None, Replay(new_after={"news": 1}))
    assert [found["source"] for found in out] == ["static"]
    assert report.dropped == {"not_held_out_prompt": {"train": 0, "dev": 0, "test": 1}}


@pytest.mark.parametrize(
    ("old_text", "new_text", "more", "reason"),
    [
        (words(1), words(1).upper(), {}, "not_held_out_prompt"),
        (words(1), f"{words(1)} more", {}, "not_held_out_near_duplicate"),
        (words(1), words(2), {"group": "c" * 32}, "not_held_out_group"),
        (f"{words(3, 40)} {words(1)}", f"{words(1)} {words(4, 30)}", {}, "not_held_out_text"),
    ],
)
def test_whatever_they_share_the_new_row_goes_and_says_why(
    dataset, record, old_text: str, new_text: str, more: dict, reason: str
) -> None:
    rows = dataset(
        row(record, new_text, 301, split="test", **more),
        row(record, old_text, 1, split="train", **more),
        row(record, words(9), 302, split="test"),
    )
    out, report = prepare(rows, SETTINGS, None, FRESH)
    assert [found["row"] for found in out] == [1, 302]
    assert report.dropped == {reason: {"train": 0, "dev": 0, "test": 1}}
    assert report.summary()[f"dropped_{reason}"] == 1
    assert [found["row"] for found in prepare(rows, SETTINGS)[0]] == [301, 302], "the plain pipeline keeps the test row"


def test_short_test_text_inside_an_old_row_goes_too(dataset, record) -> None:
    short = words(1, 8)
    inside = f"{words(2, 20)} {short} {words(3, 20)}"
    test = record(short, label="neutral", source="news", row=301, split="test", task="sentiment")
    rows = dataset(test, record(inside, label="positive", source="news", row=1, split="train", task="sentiment"))
    out, report = prepare(rows, SETTINGS, None, FRESH)
    assert [found["split"] for found in out] == ["train"] and list(report.dropped) == ["not_held_out_text"]


def test_a_new_training_row_still_gives_way_to_every_test_row(dataset, record) -> None:
    rows = dataset(
        row(record, words(1), 1, split="test"),
        row(record, f"{words(1)} more", 301, split="train"),
        row(record, words(2), 302, split="test"),
        row(record, f"{words(2)} more", 303, split="train"),
    )
    out, report = prepare(rows, SETTINGS, None, FRESH)
    assert [found["row"] for found in out] == [1, 302]
    assert report.dropped == {"near_duplicate_held_out": {"train": 2, "dev": 0, "test": 0}}


def test_a_phrase_of_the_form_makes_no_new_test_row_go(dataset, record) -> None:
    form = words(1, 15)
    settings = PrepareSettings(near_duplicate_threshold=1, template_rows=10)
    old_rows = [row(record, f"{form} t{n} u{n}", n + 1, split="train") for n in range(12)]
    test = row(record, f"{form} x y", 301, split="test")
    assert len(prepare(dataset(*old_rows, test), settings, None, FRESH)[0]) == 13
    assert len(prepare(dataset(*old_rows[:3], test), settings, None, FRESH)[0]) == 3
