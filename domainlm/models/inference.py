"""Greedy generation and completion scores, in batches sorted by length so that little is spent on padding."""

from __future__ import annotations

import copy
import inspect
import itertools
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from domainlm.errors import ModelError
from domainlm.models.architectures import context_of
from domainlm.models.attention import inner
from domainlm.models.encoding import encode, encode_prompts

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

WORTH_SHARING = 16  # tokens; reading fewer again costs less than copying the cache


class Generation(NamedTuple):
    """What a model said, and whether it ended by itself."""

    text: str
    stopped: bool


def generate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    max_new_tokens: int,
    batch: int = 32,
) -> list[Generation]:
    """Continue each prompt greedily, up to the eos token or the budget.

    Args:
        model: any causal language model, with or without an adapter.
        tokenizer: its tokenizer; pad must differ from eos.
        prompts: rendered prompts.
        max_new_tokens: budget of each answer.
        batch: prompts at a time; they are padded on the left and share a key-value cache.

    Raises:
        ModelError: a prompt and its budget do not fit into the model's context, or logits are not finite.
    """
    import torch

    rows = encode_prompts(tokenizer, prompts)
    _check_lengths(model, [len(row) + max_new_tokens for row in rows])
    pad, eos = tokenizer.pad_token_id, tokenizer.eos_token_id
    found: list[Generation | None] = [None] * len(rows)
    model.eval()
    with torch.inference_mode():
        for indices in _batches([len(row) for row in rows], batch):
            width = max(len(rows[index]) for index in indices)
            ids = torch.full((len(indices), width), pad)
            mask = torch.zeros_like(ids)
            for line, index in enumerate(indices):
                ids[line, width - len(rows[index]) :] = torch.tensor(rows[index])
                mask[line, width - len(rows[index]) :] = 1
            output = model.generate(
                input_ids=ids.to(model.device),
                attention_mask=mask.to(model.device),
                generation_config=_greedy(max_new_tokens, pad, eos),
            )
            for index, said in zip(indices, output[:, width:].tolist(), strict=True):
                stopped = eos in said
                kept = said[: said.index(eos)] if stopped else [token for token in said if token != pad]
                found[index] = Generation(tokenizer.decode(kept, skip_special_tokens=True), stopped)
    return found


def _greedy(max_new_tokens: int, pad: int, eos: int):
    from transformers import GenerationConfig

    return GenerationConfig(
        max_new_tokens=max_new_tokens, do_sample=False, num_beams=1, use_cache=True, pad_token_id=pad, eos_token_id=eos
    )


def completion_log_likelihoods(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    completions: Sequence[str],
    batch: int = 32,
    end: bool = True,
) -> list[float]:
    """The natural logarithm of the probability of each completion (with its eos token) given its prompt.

    What all prompts begin with (the worked examples of a few-shot prompt) is read only once.

    Args:
        model: any causal language model, with or without an adapter.
        tokenizer: its tokenizer.
        prompts: rendered prompts.
        completions: one completion a prompt.
        batch: rows at a time, padded on the right.
        end: whether the eos token counts as part of the completion.

    Raises:
        ModelError: a row does not fit into the model's context, or a score is not finite.
    """
    import torch

    rows = encode(tokenizer, prompts, completions, end)
    _check_lengths(model, [len(head) + len(tail) for head, tail in rows])
    if any(not head for head, _ in rows):
        raise ModelError(
            "an empty prompt has no first token to condition on", "completion_log_likelihoods", "give a prompt"
        )
    # at least one token of each prompt stays behind the shared part: the completion's first token is read off its end
    shared = _common_prefix([head[:-1] for head, _ in rows]) if len(rows) > 1 else []
    shared = shared if len(shared) >= WORTH_SHARING and not _has_virtual_tokens(model) else []
    rows = [(head[len(shared) :], tail) for head, tail in rows]
    scores = [0.0] * len(rows)
    keeps_few = "logits_to_keep" in inspect.signature(inner(model).forward).parameters
    model.eval()
    with torch.inference_mode():
        read = None
        if shared:
            read = model(input_ids=torch.tensor([shared], device=model.device), use_cache=True).past_key_values
        for indices in _batches([len(head) + len(tail) for head, tail in rows], batch):
            width = max(len(rows[index][0]) + len(rows[index][1]) for index in indices)
            ids = torch.full((len(indices), width), tokenizer.pad_token_id)
            mask = torch.zeros_like(ids)
            wanted = torch.zeros(ids.shape, dtype=torch.bool)
            for line, index in enumerate(indices):
                head, tail = rows[index]
                ids[line, : len(head) + len(tail)] = torch.tensor(head + tail)
                mask[line, : len(head) + len(tail)] = 1
                wanted[line, len(head) : len(head) + len(tail)] = True
            # logits from the last token of the shortest prompt on: before it no row is asked for anything
            kept = width - min(len(rows[index][0]) for index in indices) + 1
            mask = torch.cat([torch.ones((len(indices), len(shared)), dtype=mask.dtype), mask], dim=1)
            asked = ids[:, width - kept + 1 :].to(model.device)
            wanted = wanted[:, width - kept + 1 :].to(model.device)
            past = copy.deepcopy(read)
            if past is not None:
                past.batch_repeat_interleave(len(indices))
            output = model(
                input_ids=ids.to(model.device),
                attention_mask=mask.to(model.device),
                past_key_values=past,
                use_cache=bool(shared),
                **({"logits_to_keep": kept} if keeps_few else {}),
            )
            logits = output.logits[:, -kept:-1]  # virtual tokens, where there are any, stand before the text
            # only the completion's positions go through the softmax: a prompt is most of a row
            picked = torch.log_softmax(logits[wanted].float(), dim=-1)
            gained = picked.gather(1, asked[wanted].unsqueeze(1)).squeeze(1)
            lines = wanted.nonzero()[:, 0]
            sums = torch.zeros(len(indices), device=gained.device).index_add_(0, lines, gained)
            for index, score in zip(indices, sums.tolist(), strict=True):
                scores[index] = score
    if not all(map(math.isfinite, scores)):
        bad = sum(not math.isfinite(score) for score in scores)
        raise ModelError(
            f"the model gave no finite score for {bad} of {len(scores)} completions", "", "its weights are broken"
        )
    return scores


def _has_virtual_tokens(model: PreTrainedModel) -> bool:
    """Prefix and prompt tuning put their own past before the text: it cannot be joined with a shared one."""
    return any(config.is_prompt_learning for config in getattr(model, "peft_config", {}).values())


def _common_prefix(rows: list[list[int]]) -> list[int]:
    first, last = min(rows), max(rows)  # what the two extremes of an order share, all between them share
    length = next(
        (place for place, (one, other) in enumerate(zip(first, last, strict=False)) if one != other), len(first)
    )
    return first[:length]


def bits_per_character(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], length: int = 128, batch: int = 16
) -> float:
    """Bits that a model needs for a character of texts; comparable between tokenizers, unlike a loss per token.

    Args:
        model: any causal language model.
        tokenizer: its tokenizer.
        texts: texts that it was not trained on.
        length: texts are cut between words into pieces of about this many tokens.
        batch: pieces at a time.
    """
    pieces = []
    for text in texts:
        words = text.split(" ")
        size = max(1, length // 2)  # two tokens a word at most, nearly always
        pieces += [
            (" " if start else "") + " ".join(words[start : start + size]) for start in range(0, len(words), size)
        ]
    # each piece follows an eos, as a document does in training
    scores = completion_log_likelihoods(model, tokenizer, [tokenizer.eos_token] * len(pieces), pieces, batch, end=False)
    return -sum(scores) / math.log(2) / sum(map(len, pieces))


def first_characters(texts: Sequence[str], budget: int) -> list[str]:
    """Whole texts in order until a budget of characters is used up, at least one."""
    totals = itertools.accumulate(map(len, texts))
    return [text for text, total in zip(texts, totals, strict=True) if total - len(text) < budget]


def _batches(lengths: Sequence[int], batch: int) -> Iterator[list[int]]:
    order = sorted(range(len(lengths)), key=lambda index: (lengths[index], index))
    for start in range(0, len(order), batch):
        yield order[start : start + batch]


def context_length(model: PreTrainedModel) -> int | None:
    """How many tokens the model was made for; None where its configuration does not say."""
    return context_of(model.config)


def _check_lengths(model: PreTrainedModel, lengths: Sequence[int]) -> None:
    limit = context_length(model)
    over = sum(length > limit for length in lengths) if limit else 0
    if over:
        raise ModelError(
            f"{over} of {len(lengths)} rows need up to {max(lengths)} tokens, the model's context has {limit}",
            "",
            "shorten the prompts, the few-shot examples or max_new_tokens",
        )
