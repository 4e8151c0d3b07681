"""What a training is told about text that it does not learn from: bits per character of the development split."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from domainlm.models.inference import bits_per_character, completion_log_likelihoods
from domainlm.tasks import DOCUMENT_TASK
from domainlm.train.mixture import Example
from domainlm.train.out_of_memory import smaller_batches

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from domainlm.train.methods import Prepared


def sample(found: Sequence[Example], wanted: int) -> list[Example]:
    """At most `wanted` examples, as many of each task, spread evenly over a task's rows."""
    by_task: dict[str, list[Example]] = defaultdict(list)
    for example in found:
        by_task[example.task].append(example)
    chosen = []
    for rows in by_task.values():
        count = min(len(rows), wanted // len(by_task))
        chosen += [rows[index * len(rows) // count] for index in range(count)]
    return chosen


class Look:
    """Looks at the development split: called, it measures bits per character by task.

    Args:
        prepared: the model that is trained, and its tokenizer.
        held_out: examples that it does not learn from.
        batch: rows of a forward pass.

    `accuracy` and `bits_per_record` hold what the last call told besides, by task; only a classification head does.
    """

    def __init__(self, prepared: Prepared, held_out: Sequence[Example], batch: int) -> None:
        self.prepared, self.held_out, self.batch = prepared, held_out, batch
        self.accuracy: dict[str, float] = {}
        self.bits_per_record: dict[str, float] = {}

    def __call__(self) -> dict[str, float]:
        """Bits per character of the held-out answers and documents, by task."""
        model, tokenizer = self.prepared.model, self.prepared.tokenizer
        return smaller_batches(lambda rows: dev_bits_per_character(model, tokenizer, self.held_out, rows), self.batch)


def dev_bits_per_character(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, held_out: Sequence[Example], batch: int
) -> dict[str, float]:
    """Bits that the model needs for a character of the held-out answers and documents, by task."""
    answers = [row for row in held_out if row.task != DOCUMENT_TASK]
    scores = completion_log_likelihoods(
        model, tokenizer, [row.prompt for row in answers], [row.completion for row in answers], batch
    )
    bits, characters = defaultdict(float), Counter()
    for example, score in zip(answers, scores, strict=True):
        bits[example.task] -= score / math.log(2)
        characters[example.task] += len(example.completion)
    found = {task: rounded(bits[task] / characters[task]) for task in sorted(bits)}
    if documents := [row.completion for row in held_out if row.task == DOCUMENT_TASK]:
        found[DOCUMENT_TASK] = rounded(bits_per_character(model, tokenizer, documents, batch=batch))
    return found


def mean_bits(by_task: dict[str, float]) -> float:
    """One figure to compare weights by: each task counts the same."""
    return sum(by_task.values()) / len(by_task)


def rounded(value: float) -> float:
    """Five digits: what differs further behind is noise of the arithmetic."""
    return float(f"{value:.5g}")
