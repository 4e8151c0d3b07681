"""Rows become batches: padded to their longest, or packed end to end without any padding.

Both hold the same records for the same seed, so a training means the same either way: `batch_size` counts records,
an optimizer step takes `batch_size * gradient_accumulation` of them, and the loss is divided by what they hold. A
packed batch only lays its records out differently: one flat line of tokens, at most `batch_size * max_length` of them.

A batch has:
    input_ids       [lines, tokens]
    targets         [3, supervised]: the line and the place (counted from the line's end, so that virtual tokens before
                    it change nothing) whose logits are asked, and the token that should follow there
    weights         [supervised], only where records count equally: one over the record's supervised tokens
    index           the rows' numbers, a list: it never travels to the device
    attention_mask  packed: the rows' bounds (`domainlm.models.attention`); padded: none unless asked for, since padding
                    stands on the right, where a causal model never reads it, and a mask bars attention's fast path
    position_ids    packed only: each row counts from 0
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from domainlm.models.attention import bounds_mask, restarting_positions
from domainlm.train.rows import Row

WINDOW_BATCHES = 50  # batches among whose records like lengths are sought: more pads less and mixes less


class Rows(torch.utils.data.Dataset):
    """Tokenized examples, with their index for messages and their length for grouping."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        head, tail = self._rows[index]
        return {"input_ids": head + tail, "read": len(head), "index": index}


class RightPadding:
    """Pads a batch to its longest row.

    Args:
        pad: the pad token's id.
        by_record: whether each record counts the same, whatever its answer's length.
        masked: whether the model needs an attention mask (virtual tokens before the text, two-sided attention).
    """

    def __init__(self, pad: int, by_record: bool = False, masked: bool = False) -> None:
        self._pad, self._by_record, self._masked = pad, by_record, masked

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        lengths = [len(row["input_ids"]) for row in rows]
        width = max(lengths)
        filled = [row["input_ids"] + [self._pad] * (width - length) for row, length in zip(rows, lengths, strict=True)]
        batch = {"input_ids": torch.tensor(filled)}
        if self._masked:
            batch["attention_mask"] = (torch.arange(width) < torch.tensor(lengths)[:, None]).long()
        return batch | _supervision(rows, list(enumerate([-width] * len(rows))), self._by_record)


class EndToEnd:
    """Packs a batch: one flat line of all its rows.

    Args:
        by_record: whether each record counts the same, whatever its answer's length.
    """

    def __init__(self, by_record: bool = False) -> None:
        self._by_record = by_record

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        lengths = [len(row["input_ids"]) for row in rows]
        starts, at = [], -sum(lengths)
        for length in lengths:
            starts.append((0, at))
            at += length
        return {
            "input_ids": torch.tensor([[token for row in rows for token in row["input_ids"]]]),
            "attention_mask": bounds_mask(lengths),
            "position_ids": restarting_positions(lengths),
        } | _supervision(rows, starts, self._by_record)


def _supervision(rows: list[dict[str, Any]], starts: list[tuple[int, int]], by_record: bool) -> dict[str, Any]:
    """What is asked of each row, and the rows' numbers; `starts` has the line and place of each row's first token."""
    lines, places, wanted, weights = [], [], [], []
    for row, (line, start) in zip(rows, starts, strict=True):
        first = max(1, row["read"])  # nothing stands before a row's first token that could foretell it
        tail = row["input_ids"][first:]
        lines += [line] * len(tail)
        places += range(start + first - 1, start + first - 1 + len(tail))
        wanted += tail
        weights += [1 / len(tail)] * len(tail) if by_record else ()
    found = {"targets": torch.tensor([lines, places, wanted]), "index": [row["index"] for row in rows]}
    return found | ({"weights": torch.tensor(weights)} if by_record else {})


class LikeLengths(torch.utils.data.Sampler):
    """Draws records so that each batch holds like lengths and batches come in any order.

    transformers' own way sorts many batches by length and trains on them in that order, long ones first, and draws from
    the generator that dropout uses, so that a resumed training sees another order. Here an epoch's order follows from
    seed and epoch alone, and lengths are mixed within an optimizer step that accumulates.

    Args:
        lengths: tokens of each record.
        batch_size: records of a forward pass.
        seed: of the order.
        epoch: tells the epoch that begins, or in which a resumed training stands.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int, epoch: Callable[[], int]) -> None:
        self._lengths, self._batch, self._seed, self._epoch = lengths, batch_size, seed, epoch

    def __len__(self) -> int:
        return len(self._lengths)

    def __iter__(self) -> Iterator[int]:
        draw = random.Random(f"{self._seed}/{self._epoch()}")
        order = list(range(len(self._lengths)))
        draw.shuffle(order)
        window = WINDOW_BATCHES * self._batch
        alike: list[int] = []
        for start in range(0, len(order), window):
            alike += sorted(order[start : start + window], key=lambda index: self._lengths[index])
        whole = len(alike) // self._batch * self._batch
        batches = [alike[start : start + self._batch] for start in range(0, whole, self._batch)]
        draw.shuffle(batches)
        # what fills no batch comes last: anywhere else it would shift all batches behind it
        return itertools.chain(*batches, alike[whole:])


def most_tokens(lengths: Sequence[int], batch_size: int, packed: bool) -> int:
    """The most tokens that any forward pass over these rows can hold, padding included; memory is planned by it.

    >>> most_tokens([9, 3, 2], 2, packed=False), most_tokens([9, 3, 2], 2, packed=True)
    (18, 12)
    """
    largest = sorted(lengths, reverse=True)[:batch_size]
    return sum(largest) if packed else largest[0] * len(largest)
