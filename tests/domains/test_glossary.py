"""The hand-written part of the finance pack: glossary, general knowledge, and the handbook for the base.

`python -m pytest tests/domains/test_glossary.py -s` prints the shared 8-grams as well.
"""

from __future__ import annotations

import csv
import json
import math
import re
from collections import Counter
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import pytest

from domainlm.text import words

PACK = Path(__file__).resolve().parents[2] / "domains" / "finance"
FORM = re.compile(r"##Question: (?P<question>[^#]+[?.])## Answer: (?P<answer>[^#]+\.)")
TOPICS = {"equities", "bonds", "fx", "derivatives", "risk", "accounting", "regulation", "banking", "korea"}
SUMS = {
    r"What is (\d+) times (\d+)\?": lambda a, b: a * b,
    r"What is (\d+) plus (\d+)\?": lambda a, b: a + b,
    r"What is (\d+) minus (\d+)\?": lambda a, b: a - b,
    r"What is (\d+) divided by (\d+)\?": Fraction,
    r"What is the square of (\d+)\?": lambda a: a**2,
    r"What is the cube of (\d+)\?": lambda a: a**3,
    r"What is the square root of (\d+)\?": math.isqrt,
    r"What is half of (\d+)\?": lambda a: Fraction(a, 2),
    r"What is double (\d+)\?": lambda a: 2 * a,
}


@pytest.fixture(scope="module")
def glossary() -> list[dict[str, str]]:
    with (PACK / "glossary.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        parsed = FORM.fullmatch(row["QA_text"])
        assert parsed, f"glossary.csv, term {row['term']!r}: not in the form ##Question: ...## Answer: ..."
        row.update(parsed.groupdict())
    return rows


@pytest.fixture(scope="module")
def general() -> list[dict[str, str]]:
    return [json.loads(line) for line in (PACK / "general.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def handbook() -> dict[str, str]:
    return {path.name: path.read_text(encoding="utf-8") for path in sorted((PACK / "corpus").glob("handbook_*.md"))}


def ngrams(text: str, n: int) -> set[tuple[str, ...]]:
    run = words(text)
    return {tuple(run[start : start + n]) for start in range(len(run) - n + 1)}


def shared(answers: Iterable[str], text: str, n: int) -> list[str]:
    """The n-grams of the answers that stand in the text."""
    known = ngrams(text, n)
    return sorted(" ".join(gram) for answer in answers for gram in ngrams(answer, n) & known)


def repeated(values: Iterable[str]) -> list[str]:
    return [value for value, count in Counter(value.casefold() for value in values).items() if count > 1]


def test_glossary_has_the_papers_form_and_more_rows_than_the_paper(glossary):
    assert len(glossary) >= 330
    assert list(glossary[0])[:3] == ["QA_text", "term", "topic"]
    assert glossary[0]["QA_text"].startswith("##Question: What is an Index?## Answer: An index is ")


def test_one_term_one_question_one_answer(glossary):
    for column in ("term", "question", "answer"):
        assert not repeated(row[column] for row in glossary), column


def test_topics_are_nine_and_balanced(glossary):
    counts = Counter(row["topic"] for row in glossary)
    assert set(counts) == TOPICS
    assert min(counts.values()) >= 35


def test_an_answer_is_a_short_definition_of_the_term_that_was_asked(glossary):
    for row in glossary:
        assert 15 <= len(row["answer"].split()) <= 45, row["term"]
        assert row["term"].casefold() in row["question"].casefold(), row["term"]
        assert row["term"].casefold() in row["answer"].casefold(), row["term"]


def test_questions_are_asked_in_many_ways(glossary):
    openings = Counter(" ".join(row["question"].split()[:2]) for row in glossary)
    assert len(openings) >= 12
    assert openings.most_common(1)[0][1] < 0.8 * len(glossary)


def test_general_knowledge_has_short_answers_in_named_groups(general):
    assert len(general) >= 300
    assert not repeated(row["instruction"] for row in general)
    for row in general:
        assert set(row) == {"instruction", "response", "group"}
        assert 1 <= len(row["response"].split()) <= 6, row
        assert re.fullmatch(r"[a-z-]+-[a-z0-9-]+", row["group"]), row


def test_general_knowledge_asks_nothing_of_the_glossary(general, glossary):
    terms = [f" {' '.join(words(row['term']))} " for row in glossary if " " in row["term"]]
    for row in general:
        question = f" {' '.join(words(row['instruction']))} "
        assert not [term for term in terms if term in question], row


def test_sums_are_right(general):
    checked = 0
    for row in general:
        for pattern, compute in SUMS.items():
            if found := re.fullmatch(pattern, row["instruction"]):
                assert compute(*map(int, found.groups())) == int(row["response"]), row
                checked += 1
    assert checked >= 40


def test_handbook_is_large_and_is_prose(handbook):
    assert len(handbook) >= 12
    assert sum(len(text.encode()) for text in handbook.values()) >= 220_000
    for name, text in handbook.items():
        assert text.startswith("# "), name
        assert not re.search(r"##|Question:|Answer:", text), f"{name} has the form of the tuning data"


def test_no_sentence_of_the_handbook_stands_there_twice(handbook):
    sentences = [
        sentence.strip()
        for text in handbook.values()
        for sentence in re.split(r"(?<=[.!?])\s+", text)
        if len(sentence.split()) > 4
    ]
    assert not repeated(sentences)


def test_handbook_speaks_of_every_term_of_the_glossary(handbook, glossary):
    text = f" {' '.join(words(' '.join(handbook.values())))} "
    assert not [row["term"] for row in glossary if f" {' '.join(words(row['term']))} " not in text]


def test_handbook_gives_no_glossary_answer_away(handbook, glossary):
    text = "\n".join(handbook.values())
    answers = [row["answer"] for row in glossary]
    print("shared 8-grams:", shared(answers, text, 8) or "none")
    assert shared(answers, text, 13) == []


def test_an_answer_copied_into_the_handbook_would_be_found(handbook, glossary):
    answer = glossary[100]["answer"]
    copied = "\n".join(handbook.values()) + "\nAs everybody knows, " + answer.upper().replace(",", " ;")
    assert len(shared([answer], copied, 13)) == len(words(answer)) - 12
