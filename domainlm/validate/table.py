"""The table that a contract speaks about: columns of the records, and measures of their texts instead of the texts."""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from domainlm.records import ASSISTANT, answer, features, question
from domainlm.text import comparable

if TYPE_CHECKING:
    import pandas as pd
    from datasets import Dataset

BATCH_ROWS = 1000
TAKEN = (
    "id", "task", "source", "row", "licence", "consent", "purpose", "jurisdiction", "handling", "language", "timestamp",
    "group", "split_bucket", "split", "label",
)  # fmt: skip
PLACEHOLDER = re.compile(r"\[[A-Z][A-Z_]*_\d+\]")
_KEYED = re.compile(r"[0-9a-f]{32}")


def table_of(records: Dataset) -> pd.DataFrame:
    """One row a record.

    The measures are: `turns` (roles in order), `question_characters`, `context_characters`, `answer_characters` (the
    answering turn or the label), `words_beside_placeholders`, `placeholder_share` (of all characters),
    `damaged_characters` (U+FFFD and control characters), `unkeyed_subjects`, `group_splits` (splits that the row's
    group stands in), `label_share` (share of the row's label within its task), `text_labels` (labels that the row's
    text bears).

    Args:
        records: prepared records.
    """
    import pandas as pd

    columns: dict[str, list] = {name: [] for name in (*TAKEN, *_MEASURES)}
    texts: list[bytes] = []
    for start in range(0, len(records), BATCH_ROWS):
        batch = records[start : start + BATCH_ROWS]
        for name in TAKEN:
            columns[name] += batch[name]
        for values in zip(*batch.values(), strict=True):
            record = dict(zip(batch, values, strict=True))
            for name, measure in _measures(record).items():
                columns[name].append(measure)
            text = comparable(f"{question(record)}\n{record['context']}")
            texts.append(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest())
    return pd.DataFrame(columns | _over_rows(columns, texts))


def unlike_schema(records: Dataset) -> list[str]:
    """Columns that are missing, superfluous or of another type than the record schema has."""
    found, wanted = records.features, features()
    return sorted(name for name in found.keys() | wanted.keys() if found.get(name) != wanted.get(name))


_MEASURES = (
    "turns", "question_characters", "context_characters", "answer_characters", "words_beside_placeholders",
    "placeholder_share", "damaged_characters", "unkeyed_subjects",
)  # fmt: skip


def _measures(record: dict) -> dict[str, str | int | float]:
    asked, context = question(record), record["context"]
    replied = next((turn["content"] for turn in record["messages"][::-1] if turn["role"] == ASSISTANT), "")
    whole = "\n".join(part for part in (asked, context, replied) if part)
    beside = PLACEHOLDER.sub(" ", whole)
    placeholders = sum(len(match) for match in PLACEHOLDER.findall(whole))
    return {
        "turns": " ".join(turn["role"] for turn in record["messages"]),
        "question_characters": len(asked.strip()),
        "context_characters": len(context.strip()),
        "answer_characters": len(answer(record).strip()),
        "words_beside_placeholders": len(re.findall(r"\w+", beside)),
        "placeholder_share": placeholders / len(whole) if whole else 0.0,
        "damaged_characters": len(re.findall(r"[\ufffd\x00-\x08\x0b-\x1f\x7f]", whole)),
        "unkeyed_subjects": sum(_KEYED.fullmatch(subject) is None for subject in record["subjects"]),
    }


def _over_rows(columns: dict[str, list], texts: list[bytes]) -> dict[str, list]:
    splits: dict[str, set[str]] = defaultdict(set)
    for group, split in zip(columns["group"], columns["split"], strict=True):
        splits[group].add(split)
    labels = list(zip(columns["task"], columns["label"], strict=True))
    sizes, tasks = Counter(labels), Counter(task for task, label in labels if label)
    of_text: dict[tuple[str, bytes], set[str]] = defaultdict(set)
    for (task, label), text in zip(labels, texts, strict=True):
        of_text[task, text].add(label)
    return {
        "group_splits": [len(splits[group]) for group in columns["group"]],
        "label_share": [sizes[key] / tasks[key[0]] if key[1] else 0.0 for key in labels],
        "text_labels": [len(of_text[task, text]) for (task, _), text in zip(labels, texts, strict=True)],
    }
