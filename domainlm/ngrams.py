"""Hashes of word n-grams, by which test text is looked for in what a model was trained on.

A set of n-grams is a sorted array of 64-bit hashes: 8 bytes an n-gram, looked up by binary search, and no text can be
read back from it. Thirteen words is the length that GPT-3's contamination study used (Brown et al. 2020, appendix C).
The words are `domainlm.text.words`, so case, spacing and punctuation do not count; signs and currencies do.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from domainlm.errors import ArtifactError
from domainlm.text import words

if TYPE_CHECKING:
    import numpy as np

LENGTH = 13
SHORT_LENGTH = 6  # a text of 6 to 12 words is known by its 6-grams; below six words any text looks familiar
FILE = "pretraining_ngrams.npy"
_FACTOR = 0x9E3779B97F4A7C15  # odd, so that multiplying by it loses no bit (2^64 over the golden ratio)


class WordNumbers:
    """Texts as runs of 64-bit word hashes in one array; the base of every n-gram computed of them.

    Args:
        texts: read once, in order.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        import numpy as np

        known: dict[str, int] = {}
        numbers: list[np.ndarray] = []
        for text in texts:
            found = words(text)
            for word in found:
                if word not in known:
                    hashed = hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest()
                    known[word] = int.from_bytes(hashed, "big")
            numbers.append(np.fromiter((known[word] for word in found), dtype=np.uint64, count=len(found)))
        self.lengths = np.array([len(run) for run in numbers], dtype=np.int64)
        self.numbers = np.concatenate(numbers) if numbers else np.empty(0, np.uint64)

    def ngrams(self, n: int) -> tuple[np.ndarray, np.ndarray]:
        """The hash of each n-gram and the position of its text; no n-gram spans two texts."""
        import numpy as np

        count = max(len(self.numbers) - n + 1, 0)
        hashed = np.full(count, n, dtype=np.uint64)  # begins with n, so that lengths do not mix
        for offset in range(n):
            hashed = (hashed ^ self.numbers[offset : offset + count]) * np.uint64(_FACTOR)
            hashed ^= hashed >> np.uint64(29)
        text = np.repeat(np.arange(len(self.lengths)), self.lengths)
        inside = text[:count] == text[n - 1 : n - 1 + count]
        return hashed[inside], text[:count][inside]


def hashes(texts: Iterable[str], n: int = LENGTH) -> np.ndarray:
    """The hashes of all n-grams of some texts: sorted, each once."""
    import numpy as np

    return np.unique(WordNumbers(texts).ngrams(n)[0])


def save(path: Path, texts: Iterable[str]) -> int:
    """Write what a model was trained on as n-grams of 13 and of 6 words; returns how many.

    Args:
        path: usually `FILE` in the folder of the model.
        texts: everything that it was trained on.
    """
    import numpy as np

    numbers = WordNumbers(texts)
    found = np.unique(np.concatenate([numbers.ngrams(LENGTH)[0], numbers.ngrams(SHORT_LENGTH)[0]]))
    with open(path, "wb") as stream:  # a stream, since numpy would add its suffix to another name
        np.save(stream, found, allow_pickle=False)
    return len(found)


def load(path: Path) -> np.ndarray:
    """Read what `save` wrote.

    Raises:
        ArtifactError: it is not such a file.
    """
    import numpy as np

    try:
        found = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ArtifactError("is not a file of n-grams", str(path), "let pretrain run again") from error
    if found.dtype != np.uint64 or found.ndim != 1:
        raise ArtifactError("is not a file of n-grams", str(path), "let pretrain run again")
    return found


def seen(texts: Iterable[str], known: np.ndarray) -> np.ndarray:
    """Which texts stand, in whole or in part, in what a model was trained on.

    A text of 13 words and more was seen when any of its 13-grams is known; one of 6 to 12 words, when all of its
    6-grams are; a shorter one cannot be told from chance and counts as not seen.

    Args:
        texts: what to look for.
        known: what `load` returned.

    Returns:
        One boolean a text.
    """
    import numpy as np

    numbers = WordNumbers(texts)
    long_hits = _hits(*numbers.ngrams(LENGTH), known, len(numbers.lengths)) > 0
    short_hits = _hits(*numbers.ngrams(SHORT_LENGTH), known, len(numbers.lengths))
    short = (numbers.lengths >= SHORT_LENGTH) & (numbers.lengths < LENGTH)
    return np.where(short, short_hits == numbers.lengths - SHORT_LENGTH + 1, long_hits)


def contains(sorted_hashes: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Which of some hashes a sorted array holds."""
    import numpy as np

    if not len(sorted_hashes):
        return np.zeros(len(wanted), dtype=bool)
    position = np.minimum(np.searchsorted(sorted_hashes, wanted), len(sorted_hashes) - 1)
    return sorted_hashes[position] == wanted


def _hits(hashed: np.ndarray, text: np.ndarray, known: np.ndarray, texts: int) -> np.ndarray:
    import numpy as np

    return np.bincount(text[contains(known, hashed)], minlength=texts)
