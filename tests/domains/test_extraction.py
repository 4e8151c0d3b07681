"""Extraction items: the answer is one unambiguous span of the context, and nothing else gives it away."""

import json
import re
from collections import Counter

from domains.makers import extraction

ITEMS = [json.loads(line) for line in (extraction.PACK / "extraction.jsonl").read_text(encoding="utf-8").splitlines()]
PATTERNS = {
    "currency": r"-?(?:[$€£₩]|USD |EUR )?[\d,]+(?:\.\d+)?(?: (?:million|billion|trillion))?"
    r"(?: (?:dollars|euros|pounds|won|yen|francs))?",
    "date": rf"(?:\d{{1,2}} )?(?:{'|'.join(extraction.MONTHS)})(?: \d{{1,2}},)?(?: \d{{4}})?"
    r"|\d{4}|[Tt]he (?:first|second|third|fourth) (?:quarter|half) of \d{4}",
    "number": r"[\d,]+(?:\.\d+)?(?:%| percent| basis points| times)?|[A-Za-z]+(?:[ -](?:years?|months?|weeks?|days?))?",
    "name": r".*[A-Za-z].*",
}  # fmt: skip


def test_there_are_enough_items_shapes_and_kinds():
    assert len(ITEMS) >= 1_600
    assert len({item["group"] for item in ITEMS}) >= 120
    kinds = Counter(item["kind"] for item in ITEMS)
    assert set(kinds) == set(PATTERNS) and min(kinds.values()) >= 150


def test_the_answer_is_a_literal_span_of_the_context_and_not_in_the_question():
    for item in ITEMS:
        assert item["response"] in item["context"], item
        assert item["response"] not in item["instruction"], item
        assert re.fullmatch(PATTERNS[item["kind"]], item["response"]), item


def test_contexts_are_short_filled_and_hold_distractors_of_the_answers_kind():
    for item in ITEMS:
        assert 12 <= len(item["context"].split()) <= 45, item["context"]
        assert not re.search(r"[{}<>]|  ", item["context"] + item["instruction"]), item
    numbers = [
        len(re.findall(r"\d[\d,.]*", item["context"])) for item in ITEMS if item["kind"] in ("currency", "number")
    ]
    assert sum(count >= 3 for count in numbers) / len(numbers) > 0.75


def test_a_company_name_occurs_in_one_item_only_so_test_names_are_unseen():
    seeds = extraction.yaml.safe_load((extraction.SEEDS / "extraction_names.yaml").read_text(encoding="utf-8"))
    root = re.compile(
        f"\\b(?:{'|'.join(seeds['onset'])})(?:{'|'.join(seeds['middle'])})(?:{'|'.join(seeds['ending'])})\\b"
    )
    owners = Counter(name for item in ITEMS for name in set(root.findall(item["context"])))
    assert len(owners) > 1_500 and set(owners.values()) == {1}


def test_shapes_differ_in_wording():
    shapes = extraction.yaml.safe_load((extraction.SEEDS / "extraction_shapes.yaml").read_text(encoding="utf-8"))
    trigrams = []
    for context, _ in shapes:
        words = re.findall(r"\w+", re.sub(r"\{[^}]*\}", " slot ", context).lower())
        trigrams.append({gram for gram in zip(words, words[1:], words[2:], strict=False) if gram.count("slot") < 2})
    for at, one in enumerate(trigrams):
        for other in trigrams[at + 1 :]:
            assert len(one & other) / len(one | other) < 0.4


def test_the_maker_writes_the_file_byte_for_byte(tmp_path):
    extraction.write(tmp_path / "extraction.jsonl")
    assert (tmp_path / "extraction.jsonl").read_bytes() == (extraction.PACK / "extraction.jsonl").read_bytes()
