"""What prepare knows of each row while it decides: hashes of words, keys, split; never a second copy of the text."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from domainlm.ngrams import WordNumbers
from domainlm.records import ASSISTANT, answer, question
from domainlm.tasks import DOCUMENT_TASK

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset

QUESTION, CONTEXT, ANSWER = range(3)  # the texts of a row, in this order, in `Rows.words`
FIELDS = 3
BATCH_ROWS = 1000


@dataclass
class Rows:
    """Compact columns over all records, by position.

    Fields:
        words: three texts a row as runs of word hashes.
        prompt: digest of question and context as words: equal for texts that differ only in case, spacing, punctuation.
        response: the same of the answer or label.
        labelled: the row has a label and no answering turn.
        split: where the row stands; decided by `preparation`.
        age: when the row came, smaller is earlier; all 0 outside of a retraining. What came later gives way.
        dropped: the reason a row is left out, or "".
    """

    words: WordNumbers
    task: list[str]
    source: list[str]
    group: list[str]
    label: list[str]
    labelled: list[bool]
    prompt: list[bytes]
    response: list[bytes]
    split: list[str]
    age: list[int]
    dropped: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.task)

    def kept(self) -> Iterator[int]:
        """Positions of the rows that nothing has dropped yet, in order."""
        return (position for position, reason in enumerate(self.dropped) if not reason)

    def drop(self, position: int, reason: str) -> None:
        """Leave a row out; the first reason stays."""
        self.dropped[position] = self.dropped[position] or reason

    def is_document(self, position: int) -> bool:
        """Whether a row is plain text without a question."""
        return self.task[position] == DOCUMENT_TASK

    def shingles(self, n: int) -> Iterator[np.ndarray]:
        """The n-grams of each row's question and context, sorted and each once; a shorter text is one shingle."""
        import numpy as np

        hashed, text = self.words.ngrams(n)
        prompt = text % FIELDS != ANSWER
        hashed, row = hashed[prompt], text[prompt] // FIELDS
        borders = np.searchsorted(row, np.arange(len(self) + 1))
        for position in range(len(self)):
            found = np.unique(hashed[borders[position] : borders[position + 1]])
            yield found if len(found) else np.frombuffer(self.prompt[position][:8], dtype=np.uint64)


def read(records: Dataset, split: list[str], age: list[int] | None = None) -> Rows:
    """Read the records once, in batches.

    Args:
        records: normalised records.
        split: the split of each.
        age: as in `Rows`; by default all came at once.
    """
    rows = Rows(WordNumbers(()), [], [], [], [], [], [], [], split, age or [0] * len(split), [""] * len(split))
    rows.words = WordNumbers(_texts(records, rows))  # fills the other columns on its way
    borders = [0, *rows.words.lengths.cumsum().tolist()]
    for position in range(len(rows)):
        start, context, response, end = borders[FIELDS * position : FIELDS * position + FIELDS + 1]
        numbers = rows.words.numbers
        if end > start:  # else the digest of the raw text stays: a text of signs alone has no words
            rows.prompt[position] = _digest(numbers[start:context].tobytes(), numbers[context:response].tobytes())
            if end > response:
                rows.response[position] = _digest(numbers[response:end].tobytes())
    return rows


def _texts(records: Dataset, rows: Rows) -> Iterator[str]:
    for record in _iterate(records):
        asked, context, replied = question(record), record["context"], answer(record)
        rows.task.append(record["task"])
        rows.source.append(record["source"])
        rows.group.append(record["group"])
        rows.label.append(record["label"])
        rows.labelled.append(bool(record["label"]) and all(turn["role"] != ASSISTANT for turn in record["messages"]))
        rows.prompt.append(_digest(asked.encode(), context.encode()))
        rows.response.append(_digest(replied.encode()))
        yield from (asked, context, replied)


def _iterate(records: Dataset) -> Iterator[dict]:
    for start in range(0, len(records), BATCH_ROWS):
        batch = records[start : start + BATCH_ROWS]
        for values in zip(*batch.values(), strict=True):
            yield dict(zip(batch, values, strict=True))


def _digest(*parts: bytes) -> bytes:
    hashed = hashlib.blake2b(digest_size=16)
    for part in parts:
        hashed.update(len(part).to_bytes(8, "big") + part)
    return hashed.digest()
