"""How a prompt and its completion become token ids: one way for training, scoring and generating."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from domainlm.errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PAD = "<|pad|>"


def ensure_pad(tokenizer: PreTrainedTokenizerBase) -> None:
    """Give the tokenizer a pad token of its own.

    Where pad is eos, masking the padding also masks the eos that the model shall learn to say, and it never stops.

    Raises:
        ModelError: the tokenizer has no eos token at all.
    """
    if tokenizer.eos_token_id is None:
        raise ModelError(
            "the tokenizer has no end-of-sequence token", tokenizer.name_or_path, "set eos_token in its configuration"
        )
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id == tokenizer.eos_token_id:
        tokenizer.add_special_tokens({"pad_token": PAD})


def encode(
    tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str], completions: Sequence[str], end: bool = True
) -> list[tuple[list[int], list[int]]]:
    """Token ids of each prompt and of each completion.

    The two are tokenized apart, so that the border lies where generation has it, whatever the tokenizer would merge.

    Args:
        tokenizer: the tokenizer.
        prompts: texts that the model reads; they get the tokenizer's own special tokens (a bos where it has one).
        completions: texts that the model says.
        end: whether the eos token follows the completion.
    """
    heads = encode_prompts(tokenizer, prompts)
    tails = tokenizer(list(completions), add_special_tokens=False)["input_ids"] if completions else []
    closing = [tokenizer.eos_token_id] if end else []
    return [(head, tail + closing) for head, tail in zip(heads, tails, strict=True)]


def encode_prompts(tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str]) -> list[list[int]]:
    """Token ids of prompts; a special token that the tokenizer would put at their end is taken off."""
    heads = tokenizer(list(prompts))["input_ids"] if prompts else []
    closes = tokenizer("a")["input_ids"][-1] == tokenizer.eos_token_id
    return [head[:-1] for head in heads] if closes else heads


def completion_lengths(tokenizer: PreTrainedTokenizerBase, completions: Sequence[str], end: bool = True) -> list[int]:
    """How many tokens each completion has, for figures per token or per character."""
    rows = tokenizer(list(completions), add_special_tokens=False)["input_ids"] if completions else []
    return [len(row) + end for row in rows]
