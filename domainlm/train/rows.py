"""Examples as token ids: prompts with their completions, or documents cut at the context's length."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from domainlm.errors import TrainingError
from domainlm.models.encoding import encode
from domainlm.models.inference import context_length
from domainlm.train.mixture import Example
from domainlm.train.settings import CONTINUED, PROMPT_METHODS, TrainSettings

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

SHORTEST = 16  # tokens; as the least that `max_length` may be
Row = tuple[list[int], list[int]]  # ids that are read, ids that are learned


class Tokenized(NamedTuple):
    """What a stage trains on: `rows[i]` comes from record `ids[i]`."""

    ids: list[str]
    rows: list[Row]
    dropped: int

    @property
    def tokens(self) -> int:
        """All tokens of one epoch, none of them padding."""
        return sum(len(head) + len(tail) for head, tail in self.rows)

    @property
    def supervised(self) -> int:
        """The tokens of one epoch that the loss counts."""
        return sum(len(tail) for _, tail in self.rows)

    @property
    def longest(self) -> int:
        """Tokens of the longest row."""
        return max(len(head) + len(tail) for head, tail in self.rows)


def tokenize(
    mixed: Sequence[Example], tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel, settings: TrainSettings
) -> Tokenized:
    """Token ids of each example. An answer is never cut, since a cut one teaches to stop anywhere; a document is.

    Raises:
        TrainingError: there is nothing to train on, `max_length` exceeds the base's context, or records are too long.
    """
    if not mixed:  # weights of 0 leave nothing
        raise TrainingError("the task weights leave no record to train on", "train", "check `task_weights`")
    limit = row_limit(model, settings)
    if settings.objective == CONTINUED:
        return _documents(mixed, tokenizer, limit)
    rows = encode(tokenizer, [example.prompt for example in mixed], [example.completion for example in mixed])
    kept = fitting([len(head) + len(tail) for head, tail in rows], mixed, limit, settings)
    return Tokenized([mixed[index].id for index in kept], [rows[index] for index in kept], len(rows) - len(kept))


def fitting(lengths: Sequence[int], mixed: Sequence[Example], limit: int, settings: TrainSettings) -> list[int]:
    """Which examples are short enough.

    Raises:
        TrainingError: some are not and `too_long` says so, or none is.
    """
    kept = [index for index, length in enumerate(lengths) if length <= limit]
    long = [mixed[index] for index, length in enumerate(lengths) if length > limit]
    if long and (settings.too_long == "error" or not kept):
        over = Counter(example.task for example in long)
        raise TrainingError(
            f"{len(long)} of {len(lengths)} records exceed {limit} tokens"
            f" (longest {max(lengths)}; {dict(sorted(over.items()))})",
            f"records {', '.join(example.id for example in long[:3])}",
            "raise max_length (up to the base's context), shorten them, or set too_long: drop",
        )
    return kept


def row_limit(model: PreTrainedModel, settings: TrainSettings) -> int:
    """Tokens of the longest row: `max_length`, the base's context less virtual tokens, whichever is smaller.

    Raises:
        TrainingError: the virtual tokens leave nothing of the context.
    """
    context = context_length(model)
    if context is None:
        return settings.max_length
    room = context - (settings.virtual_tokens if settings.method in PROMPT_METHODS else 0)
    if room < SHORTEST:
        raise TrainingError(
            f"{settings.virtual_tokens} virtual tokens leave no room for a text in the base's context of {context}",
            "steps.train.parameters.virtual_tokens",
            f"use at most {max(1, context - SHORTEST)}; 10 to 100 are usual",
        )
    return min(settings.max_length, room)


def _documents(mixed: Sequence[Example], tokenizer: PreTrainedTokenizerBase, limit: int) -> Tokenized:
    """Documents in pieces of at most `limit` tokens; each follows an eos as in pre-training, the last ends in one."""
    texts = [example.completion for example in mixed]
    encoded = tokenizer(texts, add_special_tokens=False, return_attention_mask=False)["input_ids"]
    eos = tokenizer.eos_token_id
    ids, rows = [], []
    for example, tokens in zip(mixed, encoded, strict=True):
        tokens = [*tokens, eos]
        for start in range(0, len(tokens), limit - 1):
            ids.append(example.id)
            rows.append(([eos], tokens[start : start + limit - 1]))
    return Tokenized(ids, rows, 0)
