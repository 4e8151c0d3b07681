"""Records made by hand for the tests of prepare."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import pytest
from datasets import Dataset

from domainlm.records import Record, features


def record(text: str, answer: str = "", label: str = "", **more: Any) -> Record:
    """A record with sensible values: labelled text, a pair, or (with neither) a document."""
    task = more.pop("task", "sentiment" if label else "definition" if answer else "document")
    turns = [{"role": "document" if task == "document" else "user", "content": text}]
    turns += [{"role": "assistant", "content": answer}] if answer else []
    key = hashlib.sha256(f"{text}{answer}{label}{more.get('source')}".encode()).hexdigest()[:32]
    values: dict[str, Any] = {
        "id": key, "task": task, "messages": turns, "context": "", "label": label, "source": "source", "row": 1,
        "licence": "CC0-1.0", "consent": "public", "purpose": "model-training", "jurisdiction": "us",
        "handling": "public", "language": "en", "timestamp": "", "group": key, "split_bucket": 9999, "split": "",
        "subjects": [],
    }  # fmt: skip
    return Record(**(values | more))


@pytest.fixture
def dataset() -> Callable[..., Dataset]:
    """Records -> the dataset that redact would hand on."""
    return lambda *records: Dataset.from_dict(
        {name: [entry[name] for entry in records] for name in features()}, features=features()
    )


@pytest.fixture(name="record")
def record_fixture() -> Callable[..., Record]:
    return record
