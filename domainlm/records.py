"""The one schema that every stage reads and writes: a record, as a row of an Arrow table.

A record never carries a raw name or number of a person once it has left `redact`: its id, its group and its subjects
are keyed (HMAC), its texts hold placeholders.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, TypedDict

if TYPE_CHECKING:
    from datasets import Features

TRAIN, DEVELOPMENT, TEST = "train", "dev", "test"
SPLITS = (TRAIN, DEVELOPMENT, TEST)
USER, ASSISTANT, DOCUMENT = "user", "assistant", "document"
SPLIT_BUCKETS = 10_000


class Message(TypedDict):
    """One turn: `role` is user, assistant or document."""

    role: str
    content: str


class Record(TypedDict):
    """One row. Strings that do not apply are empty, never None, so that digests and contracts stay simple.

    Fields:
        id: keyed id over source name and content (32 hexadecimal digits).
        task: name of the task definition in the domain pack ("definition", "sentiment", ...; "document": plain text).
        messages: the turns; plain documents have one turn of role "document"; labelled text has one user turn.
        context: text that the question refers to.
        label: class label of a classification task.
        source: name of the source in the manifest.
        row: number of the row in its source, from 1 (for messages to people; not personal).
        licence: SPDX identifier or "proprietary".
        consent: the ground on which the text may be used ("public", "contract", "consent", ...).
        purpose: what it may be used for ("model-training").
        jurisdiction: comma-separated lower-case codes ("kr,eu").
        handling: public, internal, confidential or mnpi (`domainlm.handling`); the source's, as a model inherits it.
        language: ISO 639-1 code.
        timestamp: ISO 8601 date or date-time.
        group: keyed id of what must not be torn apart by a split (a term, a customer, a sentence shape).
        split_bucket: salted hash of the group, 0..9999, taken before keying, so that every key gives one split.
        split: train, dev or test; empty before `prepare` unless the source fixes it.
        subjects: keyed ids of the persons whom the text named.
    """

    id: str
    task: str
    messages: list[Message]
    context: str
    label: str
    source: str
    row: int
    licence: str
    consent: str
    purpose: str
    jurisdiction: str
    handling: str
    language: str
    timestamp: str
    group: str
    split_bucket: int
    split: str
    subjects: list[str]


def features() -> Features:
    """The Arrow schema of a record, as `datasets.Features`."""
    from datasets import Features, List, Value

    text = Value("string")
    types: dict[str, Any] = {name: text for name in Record.__annotations__}
    types |= {
        "messages": List({"role": text, "content": text}),
        "row": Value("int64"),
        "split_bucket": Value("int32"),
        "subjects": List(text),
    }
    return Features(types)


def split_bucket(salt: str, group: str) -> int:
    """The bucket of a group, 0..9999: SHA-256 over salt and group, so a group keeps its split whatever lands later."""
    hashed = hashlib.sha256(f"{salt}\0{group}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(hashed[:8], "big") % SPLIT_BUCKETS


def question(record: Record) -> str:
    """The text of the first user or document turn."""
    return next((turn["content"] for turn in record["messages"] if turn["role"] != ASSISTANT), "")


def asked(record: Record) -> str:
    """What is to be classified: the question, and the context where there is one."""
    return f"{question(record)} {record['context']}".strip()


def answer(record: Record) -> str:
    """What the model shall say: the last assistant turn, or the label of labelled text."""
    turns = [turn["content"] for turn in record["messages"] if turn["role"] == ASSISTANT]
    return turns[-1] if turns else record["label"]
