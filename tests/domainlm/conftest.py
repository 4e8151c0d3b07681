"""A really pre-trained base of 0.1 million parameters, and records for it: what tests of models and training share."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from domainlm.tasks import Task

SUBJECTS = ("profit", "revenue", "margin", "the dividend", "output", "the order book", "cash flow", "demand")
RISES = ("rises", "climbs", "improves", "recovers")
FALLS = ("falls", "slides", "worsens", "shrinks")
FIRMS = ("Haneul Bank", "Dorvane Steel", "Kestrel Foods", "Mirae Shipping", "Oakmere Energy", "Solbit Chips")


def _row(
    task: str, text: str, answer: str, group: str, split: str, number: int, label: str = "", context: str = ""
) -> dict:
    turns = [{"role": "document" if task == "document" else "user", "content": text}]
    if answer:
        turns.append({"role": "assistant", "content": answer})
    return {
        "id": hashlib.sha256(f"{task}{number}{text}".encode()).hexdigest()[:32],
        "task": task,
        "messages": turns,
        "context": context,
        "label": label,
        "source": "toy",
        "row": number,
        "licence": "CC0-1.0",
        "consent": "public",
        "purpose": "model-training",
        "jurisdiction": "us",
        "handling": "public",
        "language": "en",
        "timestamp": "2024-01-02",
        "group": hashlib.sha256(group.encode()).hexdigest()[:32],
        "split_bucket": number % 10_000,
        "split": split,
        "subjects": [],
    }


@pytest.fixture(scope="session")
def row() -> Callable[..., dict]:
    """Makes one record."""
    return _row


@pytest.fixture(scope="session")
def table() -> Callable[[list[dict]], object]:
    """Makes a data set of records."""
    from datasets import Dataset

    from domainlm.records import features

    return lambda rows: Dataset.from_list(rows, features=features())


@pytest.fixture(scope="session")
def toy_tasks() -> dict[str, Task]:
    """A classification and a definition task."""
    return {
        "mood": Task(name="mood", version=1, kind="classification", claim="classification", labels=("good", "bad")),
        "term": Task(name="term", version=1, kind="generation", claim="format elicitation", max_new_tokens=24),
    }


@pytest.fixture(scope="session")
def toy_records(table) -> object:
    """96 headlines in 16 groups (a subject and a direction each) and 8 definitions; every fifth is held out."""
    rows = []
    for number, (subject, firm, turn) in enumerate(itertools.product(SUBJECTS, FIRMS, ("good", "bad"))):
        verb = (RISES if turn == "good" else FALLS)[number % 4]
        split = "dev" if SUBJECTS.index(subject) % 5 == 4 else "train"
        rows.append(_row("mood", f"{firm}: {subject} {verb}", "", f"{subject}/{turn}", split, number, label=turn))
    for number, subject in enumerate(SUBJECTS):
        said = f"It is what {subject} means to an owner."
        rows.append(
            _row("term", f"What is {subject}?", said, subject, "dev" if number % 5 == 4 else "train", 1000 + number)
        )
    return table(rows)


@pytest.fixture(scope="session")
def toy_corpus(table) -> object:
    """Plain documents about the same words."""
    rows = []
    for number, (firm, subject, verb) in enumerate(itertools.product(FIRMS, SUBJECTS, RISES + FALLS)):
        mood = "good" if verb in RISES else "bad"
        said = f"At {firm} {subject} {verb} in quarter {number % 4 + 1}."
        text = f"{said} For owners this is {mood} news, and the shares move."
        rows.append(_row("document", text, "", text, "dev" if number % 10 == 0 else "train", number))
    return table(rows)


@pytest.fixture(scope="session")
def tiny(toy_corpus, tmp_path_factory: pytest.TempPathFactory):
    """The base checkpoint and its report, pre-trained once for the whole session."""
    from domainlm.pretrain import pretrain
    from domainlm.pretrain.settings import PretrainSettings

    place = tmp_path_factory.mktemp("tiny")
    settings = PretrainSettings(
        name="tiny",
        copy_steps=0,
        vocab_size=400,
        hidden_size=64,
        layers=2,
        heads=2,
        context=128,
        sequence_length=32,
        max_steps=60,
        batch_size=8,
        threads=1,
        dev_characters=2000,
    )
    return pretrain(toy_corpus, settings, place / "base", place / "work")


@pytest.fixture(scope="session")
def tiny_base(tiny):
    """The base checkpoint alone."""
    return tiny[0]


@pytest.fixture(scope="session")
def plain_tokenizer(tiny_base, toy_records, tmp_path_factory: pytest.TempPathFactory):
    """The base's tokenizer without any new token."""
    from domainlm.vocabulary import extend
    from domainlm.vocabulary.settings import VocabularySettings

    folder: Path = tmp_path_factory.mktemp("tokenizer") / "plain"
    return extend(toy_records, tiny_base, VocabularySettings(max_new_tokens=0), folder)[0]


@pytest.fixture(scope="session")
def grown_tokenizer(tiny_base, toy_records, tmp_path_factory: pytest.TempPathFactory):
    """The base's tokenizer with mined terms, the prompt's marks and the labels."""
    from domainlm.vocabulary import extend
    from domainlm.vocabulary.settings import VocabularySettings

    folder: Path = tmp_path_factory.mktemp("tokenizer") / "grown"
    return extend(
        toy_records,
        tiny_base,
        VocabularySettings(max_new_tokens=6, min_groups=1, template_tokens=True, gate=False),
        folder,
    )[0]
