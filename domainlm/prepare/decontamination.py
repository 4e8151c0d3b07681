"""Decontamination: no test text in training, and no test row that the base has read in its pre-training."""

from __future__ import annotations

from typing import TYPE_CHECKING

from domainlm import ngrams
from domainlm.artifacts import BaseCheckpoint
from domainlm.errors import ContractViolation
from domainlm.ngrams import LENGTH, SHORT_LENGTH
from domainlm.prepare.report import Decontamination
from domainlm.prepare.rows import ANSWER, FIELDS, QUESTION, Rows
from domainlm.records import TEST

if TYPE_CHECKING:
    import numpy as np

IN_TEST, IN_PRETRAINING, IN_OLD_TRAINING = "holds_test_text", "in_pretraining", "not_held_out_text"
NO_BASE, NOT_ASSESSABLE = (
    "not assessed: no base given",
    "not assessable: the base does not say what it was pre-trained on",
)


def decontaminate(
    rows: Rows, base: BaseCheckpoint | None, template_rows: int, require_pretraining_ngrams: bool
) -> Decontamination:
    """Compare test rows with training rows and with the base's pre-training corpus, by 13-grams of words.

    A training row that holds test text goes, unless it is older than the test row: then the test row goes.

    A text of 13 words and more is looked for by each of its 13-grams. Of shorter ones only what carries the row counts
    (labelled text, or the answer), and only whole: inside training text word for word, inside the pre-training corpus
    by all of its 6-grams. Below six words nothing is looked for; equal prompts were taken out before.

    Raises:
        ContractViolation: the base has no n-grams and the settings require them.
    """
    known, status = _pretraining(base, require_pretraining_ngrams)
    test_rows = [position for position in rows.kept() if rows.split[position] == TEST]
    seen_rows, shared_pretraining = _seen_in_pretraining(rows, known) if known is not None else (set(), 0)
    for position in test_rows:
        if position in seen_rows:
            rows.drop(position, IN_PRETRAINING)
    if any(rows.age):
        _drop_from_test(rows, template_rows)
    counts = _drop_from_training(rows, template_rows)
    return Decontamination(
        test_rows=len(test_rows),
        pretraining=status,
        pretraining_ngrams=0 if known is None else len(known),
        shared_with_pretraining=shared_pretraining,
        test_rows_dropped=rows.dropped.count(IN_PRETRAINING),
        **counts,
    )


def _pretraining(base: BaseCheckpoint | None, required: bool) -> tuple[np.ndarray | None, str]:
    if base is not None and (base.path / ngrams.FILE).is_file():
        return ngrams.load(base.path / ngrams.FILE), "assessed"
    status = NO_BASE if base is None else NOT_ASSESSABLE
    if required:
        raise ContractViolation(
            f"decontamination against the pre-training corpus is required and {status}",
            str(base.path) if base else "",
            f"give a base with {ngrams.FILE}, or set require_pretraining_ngrams: false",
        )
    return None, status


def _carries_row(rows: Rows, text: np.ndarray) -> np.ndarray:
    """Which texts carry their row: the answer of a question, the text itself where there is only a label."""
    import numpy as np

    labelled = np.array(rows.labelled, dtype=bool)[text // FIELDS]
    return np.where(labelled, text % FIELDS == QUESTION, text % FIELDS == ANSWER)


def _in_rows(rows: Rows, text: np.ndarray, test: bool) -> np.ndarray:
    """Which texts belong to rows that are kept and are (or are not) test rows."""
    import numpy as np

    pairs = zip(rows.dropped, rows.split, strict=True)
    return np.array([not reason and (split == TEST) == test for reason, split in pairs], bool)[text // FIELDS]


def _seen_in_pretraining(rows: Rows, known: np.ndarray) -> tuple[set[int], int]:
    import numpy as np

    lengths = rows.words.lengths
    hashed, text = rows.words.ngrams(LENGTH)
    hit = ngrams.contains(known, hashed) & _in_rows(rows, text, test=True)
    short_hashed, short_text = rows.words.ngrams(SHORT_LENGTH)
    short_hits = np.bincount(short_text[ngrams.contains(known, short_hashed)], minlength=len(lengths))
    every = np.arange(len(lengths))
    short = (
        (lengths >= SHORT_LENGTH) & (lengths < LENGTH) & _carries_row(rows, every) & _in_rows(rows, every, test=True)
    )
    whole = short & (short_hits == lengths - SHORT_LENGTH + 1)
    seen = set((text[hit] // FIELDS).tolist()) | set((every[whole] // FIELDS).tolist())
    return seen, len(np.unique(hashed[hit]))


def _drop_from_test(rows: Rows, template_rows: int) -> None:
    """Drop the test rows whose text older training rows hold."""
    lengths = rows.words.lengths
    gone: set[int] = set()
    for length in range(SHORT_LENGTH, LENGTH + 1):
        hashed, text = rows.words.ngrams(length)
        asked = _in_rows(rows, text, test=True)
        if length < LENGTH:
            asked &= (lengths[text] == length) & _carries_row(rows, text)
        gone |= _learnt_before(rows, hashed, text, asked, template_rows)
    for position in sorted(gone):
        rows.drop(position, IN_OLD_TRAINING)


def _learnt_before(rows: Rows, hashed: np.ndarray, text: np.ndarray, asked: np.ndarray, template_rows: int) -> set[int]:
    """The rows of the asked n-grams of which one stands in older training rows, and in no more than a template does."""
    import numpy as np

    age = np.array(rows.age, np.int64)
    held = ngrams.contains(np.unique(hashed[asked]), hashed) & _in_rows(rows, text, test=False)
    pairs = np.unique(np.stack([hashed[held], (text[held] // FIELDS).astype(np.uint64)]), axis=1)
    came = age[pairs[1].astype(np.int64)]
    hashes, row = hashed[asked], text[asked] // FIELDS
    gone: set[int] = set()
    for moment in np.unique(age[row]):
        older, count = np.unique(pairs[0][came < moment], return_counts=True)
        hit = (age[row] == moment) & ngrams.contains(older[count <= template_rows], hashes)
        gone |= set(row[hit].tolist())
    return gone


def _drop_from_training(rows: Rows, template_rows: int) -> dict[str, int]:
    """Drop the training rows that hold test text; returns the counts of the report."""
    import numpy as np

    hashed, text = rows.words.ngrams(LENGTH)
    test = np.unique(hashed[_in_rows(rows, text, test=True)])
    shared, ignored, hit = _hits(rows, hashed, text, test, template_rows)
    lengths = rows.words.lengths
    for length in range(SHORT_LENGTH, LENGTH):
        hashed, text = rows.words.ngrams(length)
        whole = (lengths[text] == length) & _carries_row(rows, text) & _in_rows(rows, text, test=True)
        hit |= _hits(rows, hashed, text, np.unique(hashed[whole]), template_rows)[2]
    for position in sorted(hit):
        rows.drop(position, IN_TEST)
    return {
        "test_ngrams": len(test),
        "shared_with_train": shared,
        "ignored_as_template": ignored,
        "train_rows_dropped": len(hit),
    }


def _hits(
    rows: Rows, hashed: np.ndarray, text: np.ndarray, wanted: np.ndarray, template_rows: int
) -> tuple[int, int, set[int]]:
    """Shared n-grams, those ignored as template, and the training rows that hold one of the others."""
    import numpy as np

    found = ngrams.contains(wanted, hashed) & _in_rows(rows, text, test=False)
    pairs = np.unique(np.stack([hashed[found], (text[found] // FIELDS).astype(np.uint64)]), axis=1)
    shared, inverse, row_counts = np.unique(pairs[0], return_inverse=True, return_counts=True)
    leak = row_counts[inverse] <= template_rows
    return len(shared), int((row_counts > template_rows).sum()), set(pairs[1][leak].astype(np.int64).tolist())
