"""Hashed n-grams: what was seen is found, what was not is not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from domainlm import ngrams
from domainlm.errors import ArtifactError

CORPUS = [" ".join(f"w{number}" for number in range(start, start + 40)) for start in (0, 100, 200)]


def _words(*numbers: range) -> str:
    return " ".join(f"w{number}" for run in numbers for number in run)


@pytest.fixture
def known(tmp_path: Path) -> np.ndarray:
    ngrams.save(tmp_path / ngrams.FILE, CORPUS)
    return ngrams.load(tmp_path / ngrams.FILE)


def test_thirteen_words_in_a_row_are_seen_and_twelve_of_a_longer_text_are_not(known: np.ndarray) -> None:
    thirteen = _words(range(900, 905), range(10, 23))
    twelve = _words(range(900, 905), range(10, 22), range(905, 910))
    assert ngrams.seen([thirteen, twelve], known).tolist() == [True, False]


def test_a_short_text_is_seen_only_as_a_whole(known: np.ndarray) -> None:
    whole, one_word_changed, too_short = _words(range(10, 18)), _words(range(10, 17), range(900, 901)), _words(range(5))
    assert ngrams.seen([whole, one_word_changed, too_short], known).tolist() == [True, False, False]


def test_no_ngram_spans_two_texts() -> None:
    halves = [_words(range(7)), _words(range(7, 14))]
    assert len(ngrams.hashes(halves)) == 0
    assert len(ngrams.hashes([" ".join(halves)])) == 2


def test_hashes_are_sorted_distinct_and_the_same_in_every_process() -> None:
    found = ngrams.hashes(["a b c a b c"], n=3)
    assert found.dtype == np.uint64
    assert (np.diff(found.astype(object)) > 0).all()
    assert len(found) == 3
    assert found[0] == ngrams.hashes(["a b c a b c"], n=3)[0] == PINNED


def test_order_of_words_counts() -> None:
    assert ngrams.hashes(["a b c"], n=3) != ngrams.hashes(["c b a"], n=3)


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / ngrams.FILE
    path.write_bytes(b"not an array")
    with pytest.raises(ArtifactError, match=ngrams.FILE):
        ngrams.load(path)
    np.save(path, np.zeros(3))
    with pytest.raises(ArtifactError):
        ngrams.load(path)


# A file of n-grams outlives the process and the version that wrote it.
PINNED = 5877509634172361754
