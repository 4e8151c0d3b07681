"""What the benchmark trains on: rows of random tokens with real lengths.

Speed depends on how long rows are and not on what they say. Both sides of a comparison get the same rows, and learn all
their tokens but the first: the paper's recipe knows no prompt that is masked.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from domainlm.train.rows import Tokenized

ROOT = Path(__file__).resolve().parent.parent.parent
GLOSSARY = ROOT / "domains" / "finance" / "glossary.csv"
PAPER_TOKENS = 42  # a pair of the paper, on average: 27 tokens/s at 0.639 samples/s
PAD, EOS, FIRST_FREE = 0, 1, 2


def glossary_lengths() -> list[int]:
    """Tokens of each pair of the pack's glossary, if the paper's tokens have as many characters as its pairs say.

    No tokenizer of the real bases is at hand without a download; the histogram is that of the characters, scaled to the
    paper's mean.
    """
    with open(GLOSSARY, encoding="utf-8", newline="") as file:
        characters = [len(row["QA_text"]) for row in csv.DictReader(file)]
    scale = PAPER_TOKENS * len(characters) / sum(characters)
    return [max(2, round(count * scale)) for count in characters]


def drawn(lengths: list[int], count: int, vocabulary: int, seed: int, variety: int | None = None) -> Tokenized:
    """So many rows whose lengths are drawn from a list.

    Args:
        lengths: the histogram.
        count: how many rows.
        vocabulary: rows of the base's embedding; no row holds the padding token.
        seed: draws lengths and tokens.
        variety: how many different tokens there are; few of them are soon learned, so that a loss moves.
    """
    import torch

    from domainlm.train.rows import Tokenized

    chance = torch.Generator().manual_seed(seed)
    chosen = [lengths[index] for index in torch.randint(len(lengths), (count,), generator=chance).tolist()]
    last = min(vocabulary, FIRST_FREE + (variety or vocabulary))
    # the smaller of two: some tokens are more frequent than others, as in a text
    tokens = torch.randint(FIRST_FREE, last, (2, sum(chosen)), generator=chance).min(dim=0).values.tolist()
    found, at = [], 0
    for length in chosen:
        found.append((tokens[at : at + 1], tokens[at + 1 : at + length]))
        at += length
    return Tokenized([f"row-{number}" for number in range(count)], found, 0)


def effective_length(tokenized: Tokenized) -> float:
    """The length by which attention's work counts: each token pays for its own row's length."""
    lengths = [len(head) + len(tail) for head, tail in tokenized.rows]
    return sum(length**2 for length in lengths) / sum(lengths)
