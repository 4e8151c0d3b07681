"""Duplicates, near duplicates, contradictions and torn groups. Of copies in several splits the test copy stays."""

from __future__ import annotations

from collections import defaultdict

from domainlm.prepare.rows import Rows
from domainlm.records import DEVELOPMENT, TEST, TRAIN

CONFLICTING_LABEL, EXACT_DUPLICATE, NEAR_DUPLICATE = "conflicting_label", "exact_duplicate", "near_duplicate"
PROMPT_HELD_OUT, NEAR_HELD_OUT, GROUP_HELD_OUT = "prompt_held_out", "near_duplicate_held_out", "group_held_out"
# Held-out rows come first, so that whatever they share with training is taken from training.
_RANK = {TEST: 0, DEVELOPMENT: 1, TRAIN: 2}


def _by_rank(rows: Rows) -> list[int]:
    return sorted(rows.kept(), key=lambda position: (_RANK[rows.split[position]], position))


def drop_conflicting_labels(rows: Rows, keep_first: bool) -> int:
    """Take out labelled texts that bear several labels; returns how many texts that were.

    Args:
        rows: what to decide on.
        keep_first: whether the first copy (a held-out one before a training one) stays.
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
    """Take out copies of prompt and answer, and training prompts that are held out with whatever answer."""
    pairs: set[tuple[str, bytes, bytes]] = set()
    held_by: dict[tuple[str, bytes], str] = {}
    for position in _by_rank(rows):
        prompt = rows.task[position], rows.prompt[position]
        pair = (*prompt, rows.response[position])
        split = held_by.setdefault(prompt, rows.split[position])
        if split != rows.split[position]:
            rows.drop(position, PROMPT_HELD_OUT)
        elif pair in pairs:
            rows.drop(position, EXACT_DUPLICATE)
        pairs.add(pair)


def drop_near(rows: Rows, threshold: float, shingle_words: int, permutations: int, seed: int) -> None:
    """Take out near copies of prompts by MinHash and locality-sensitive hashing; each candidate is verified exactly.

    Within a split a near copy goes only when its answer is the same: two questions that differ in one number are two
    questions. A training row near a held-out one goes in any case.
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
                rows.drop(position, NEAR_HELD_OUT)
            elif rows.response[other] == rows.response[position]:
                rows.drop(position, NEAR_DUPLICATE)
            if rows.dropped[position]:
                break
        else:
            index.insert(position, signature, check_duplication=False)


def drop_torn_groups(rows: Rows) -> None:
    """Take out training rows of a group (a customer, a term) that a source's fixed split holds out."""
    held_by: dict[str, str] = {}
    for position in _by_rank(rows):
        if held_by.setdefault(rows.group[position], rows.split[position]) != rows.split[position]:
            rows.drop(position, GROUP_HELD_OUT)
