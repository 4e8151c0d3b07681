"""Duplicates, near duplicates, contradictions and torn groups. Of copies in several splits the test copy stays.

In a retraining what came earlier stays: a new held-out row that is much like an older training row goes itself. It
would be no honest test row, since the champion learnt its like, and taking the old row out of training instead would
let whoever lands text decide what the next model forgets.
"""

from __future__ import annotations

from collections import defaultdict

from domainlm.prepare.rows import Rows
from domainlm.records import DEVELOPMENT, TEST, TRAIN

CONFLICTING_LABEL, EXACT_DUPLICATE, NEAR_DUPLICATE = "conflicting_label", "exact_duplicate", "near_duplicate"
PROMPT_HELD_OUT, NEAR_HELD_OUT, GROUP_HELD_OUT = "prompt_held_out", "near_duplicate_held_out", "group_held_out"
# held-out rows that go themselves, because an older row of another split is like them
NOT_HELD_OUT = {reason: f"not_held_out_{reason.removesuffix('_held_out')}"
                for reason in (PROMPT_HELD_OUT, NEAR_HELD_OUT, GROUP_HELD_OUT)}  # fmt: skip
# Held-out rows come first, so that whatever they share with training is taken from training.
_RANK = {TEST: 0, DEVELOPMENT: 1, TRAIN: 2}


def _by_rank(rows: Rows) -> list[int]:
    return sorted(rows.kept(), key=lambda position: (rows.age[position], _RANK[rows.split[position]], position))


def _drop_for(rows: Rows, position: int, split: str, reason: str) -> None:
    """Drop a row because one of another split stays, which is a held-out one, or an older one."""
    older = _RANK[split] > _RANK[rows.split[position]]
    rows.drop(position, NOT_HELD_OUT[reason] if older else reason)


def drop_conflicting_labels(rows: Rows, keep_first: bool) -> int:
    """Take out labelled texts that bear several labels; returns how many texts that were.

    Args:
        rows: what to decide on.
        keep_first: whether the first copy (an older one, and a held-out one before a training one) stays.
    """
    labels: dict[tuple[str, bytes], set[str]] = defaultdict(set)
    for position in rows.kept():
        if rows.labelled[position]:
            labels[rows.task[position], rows.prompt[position]].add(rows.label[position])
    conflicting = {key for key, found in labels.items() if len(found) > 1}
    spared: set[tuple[str, bytes]] = set()
    for position in _by_rank(rows):
        key = rows.task[position], rows.prompt[position]
        if rows.labelled[position] and key in conflicting:
            if keep_first and key not in spared:
                spared.add(key)
            else:
                rows.drop(position, CONFLICTING_LABEL)
    return len(conflicting)


def count_several_answers(rows: Rows) -> int:
    """How many prompts have more than one answer, such as a term that two glossaries define."""
    answers: dict[tuple[str, bytes], set[bytes]] = defaultdict(set)
    for position in rows.kept():
        if not rows.labelled[position]:
            answers[rows.task[position], rows.prompt[position]].add(rows.response[position])
    return sum(len(found) > 1 for found in answers.values())


def drop_exact(rows: Rows) -> None:
    """Take out copies of prompt and answer, and prompts that stand in another split with whatever answer."""
    pairs: set[tuple[str, bytes, bytes]] = set()
    held_by: dict[tuple[str, bytes], str] = {}
    for position in _by_rank(rows):
        prompt = rows.task[position], rows.prompt[position]
        pair = (*prompt, rows.response[position])
        split = held_by.setdefault(prompt, rows.split[position])
        if split != rows.split[position]:
            _drop_for(rows, position, split, PROMPT_HELD_OUT)
        elif pair in pairs:
            rows.drop(position, EXACT_DUPLICATE)
        pairs.add(pair)


def drop_near(rows: Rows, threshold: float, shingle_words: int, permutations: int, seed: int) -> None:
    """Take out near copies of prompts by MinHash and locality-sensitive hashing; each candidate is verified exactly.

    Within a split a near copy goes only when its answer is the same: two questions that differ in one number are two
    questions. A training row near a held-out one goes in any case (of an older training row, the held-out one).
    """
    if threshold >= 1:
        return
    import numpy as np
    from datasketch import MinHash, MinHashLSH

    # Missed pairs weigh more than false candidates, because these are verified: recall at the threshold is above 0.95.
    index = MinHashLSH(threshold=threshold, num_perm=permutations, weights=(0.02, 0.98))
    # `scheme` and the shared permutations are stated: datasketch's default differs between versions.
    empty = MinHash(num_perm=permutations, seed=seed, scheme="affine64")
    shingles = list(rows.shingles(shingle_words))
    for position in _by_rank(rows):
        signature = MinHash(
            num_perm=permutations, seed=seed, hashfunc=int, permutations=empty.permutations, scheme="affine64"
        )
        signature.update_batch(shingles[position].tolist())
        for other in sorted(index.query(signature)):
            if rows.task[other] != rows.task[position]:
                continue
            common = len(np.intersect1d(shingles[other], shingles[position], assume_unique=True))
            if common < threshold * (len(shingles[other]) + len(shingles[position]) - common):
                continue
            if rows.split[other] != rows.split[position]:
                _drop_for(rows, position, rows.split[other], NEAR_HELD_OUT)
            elif rows.response[other] == rows.response[position]:
                rows.drop(position, NEAR_DUPLICATE)
            if rows.dropped[position]:
                break
        else:
            index.insert(position, signature, check_duplication=False)


def drop_torn_groups(rows: Rows) -> None:
    """Take out rows of a group (a customer, a term) that a source's fixed split tears: the training rows, unless they
    are older than what is held out."""
    held_by: dict[str, str] = {}
    for position in _by_rank(rows):
        split = held_by.setdefault(rows.group[position], rows.split[position])
        if split != rows.split[position]:
            _drop_for(rows, position, split, GROUP_HELD_OUT)
