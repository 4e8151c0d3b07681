"""Sequences that teach a model to copy from its context, before and beside text.

Finding where a token stood before and saying what followed it (an induction head, Olsson et al. 2022) is what
extraction rests on. From text alone it forms only after many millions of tokens; on random tokens that repeat with a
random period nothing else lowers the loss, and it forms within a few hundred steps. The sequences hold no text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

COPY_LENGTH = 32  # tokens of a warm-up sequence: short ones repeat more often for the same work
SHORTEST_PERIOD = 3


def repeated_tokens(
    generator: np.random.Generator, rows: int, length: int, vocab_size: int, special: int
) -> np.ndarray:
    """Rows of random tokens, each repeating with a period of its own of at most half its length.

    Args:
        generator: where the tokens and periods come from.
        rows: how many sequences.
        length: tokens of each.
        vocab_size: how many tokens there are.
        special: how many of the first ids are special tokens, which do not occur.
    """
    import numpy as np

    tokens = generator.integers(special, vocab_size, size=(rows, length))
    periods = generator.integers(SHORTEST_PERIOD, length // 2 + 1, size=rows)
    return tokens[np.arange(rows)[:, None], np.arange(length)[None, :] % periods[:, None]]
