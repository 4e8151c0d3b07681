"""A few prepared records that name persons, for the tests of the row-level index."""

from __future__ import annotations

from datasets import Dataset

from domainlm.keys import KeyRing
from domainlm.records import features

DATA, OTHER = "a" * 64, "b" * 64
KEYS = KeyRing.new("k1")


def person(name: str) -> str:
    return KEYS.keyed_id("subject", "SUBJECT", name)


def records(count: int = 30) -> Dataset:
    """Rows of two sources; every fifth names anna, every tenth names bert as well."""
    found = []
    for number in range(count):
        named = [person("anna")] if number % 5 == 0 else []
        named += [person("bert")] if number % 10 == 0 else []
        found.append(
            {
                "id": KEYS.keyed_id("record", "s", str(number)), "task": "definition", "messages": [], "context": "",
                "label": "", "source": "glossary" if number % 2 else "letters", "row": number + 1,
                "licence": "MIT" if number % 2 else "proprietary", "consent": "contract", "purpose": "model-training",
                "jurisdiction": "kr", "handling": "internal", "language": "ko", "timestamp": "",
                "group": "g", "split_bucket": 1, "split": ("train", "train", "dev", "test")[number % 4],
                "subjects": named,
            }
        )  # fmt: skip
    return Dataset.from_list(found, features=features())
