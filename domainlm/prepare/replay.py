"""Replay: how many old training rows go with the new ones, so that a model forgets little and a training stays short.

A model that learns from new text alone forgets the old (McCloskey & Cohen 1989); mixing in a part of the old again is
the plainest remedy (rehearsal, Robins 1995). All new training rows stay. Of the old ones as many stay as the ratio
says, from each task its share, in the order of a seeded hash of their keyed ids: the same ones in every run, and a
larger ratio keeps all that a smaller one kept. Development and test rows stay whole, so that old and new models are
scored on the same rows.

What is held out must not take old rows out of training either: whoever may land text could land a near copy of every
old row, and some of the copies are test rows. So rows give way to those that came before them (`Replay.age`).
"""

from __future__ import annotations

import hashlib
import sys
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Mapping, Sequence

from pydantic import Field

from domainlm.prepare.rows import Rows
from domainlm.records import TRAIN
from domainlm.reports import Report

NOT_REPLAYED = "not_replayed"


class Replay(Report):
    """What is new in the data, and how much of the rest is trained on.

    Fields:
        new_after: source -> the number of its last old row; a source that is not named here has only old ones.
        ratio: old training rows for each new one; None keeps all. Where there are no new training rows (an erasure, a
            changed base), all old ones stay too: there is nothing that they would go with.
        rounds: source -> (number of a last row, the training that first learnt up to it, from 1), in order; for its
            old rows. So rows keep the order in which they came, whatever is added later.
    """

    new_after: dict[str, int]
    ratio: float | None = None
    rounds: dict[str, tuple[tuple[int, int], ...]] = Field(default_factory=dict)

    def is_new(self, source: str, number: int) -> bool:
        """Whether a row is of the claimed batches."""
        return source in self.new_after and number > self.new_after[source]

    def age(self, source: str, number: int) -> int:
        """When a row came: 0 for the configured sources, then by the training that first learnt it, new ones last."""
        if source not in self.new_after:
            return 0
        if self.is_new(source, number):
            return sys.maxsize
        rounds = self.rounds.get(source, ())
        place = bisect_left(rounds, number, key=lambda found: found[0])
        return rounds[place][1] if place < len(rounds) else 1


class ReplayedTask(Report):
    """Training rows of one task: new ones, old ones, and those of the old ones that stayed."""

    task: str
    new: int
    old: int
    kept: int


class ReplayReport(Report):
    """What replay did."""

    ratio: float | None
    tasks: tuple[ReplayedTask, ...]


def replay(rows: Rows, ids: Sequence[str], numbers: Sequence[int], asked: Replay, seed: int) -> ReplayReport:
    """Drop the old training rows that the ratio has no room for.

    Args:
        rows: what is left after every other rule of the preparation.
        ids: keyed id of each row.
        numbers: number of each row in its source, from 1.
        asked: what is new, and the ratio.
        seed: of the order in which old rows are taken.
    """
    old: dict[str, list[int]] = defaultdict(list)
    new: dict[str, int] = defaultdict(int)
    for position in rows.kept():
        if rows.split[position] != TRAIN:
            continue
        if asked.is_new(rows.source[position], numbers[position]):
            new[rows.task[position]] += 1
        else:
            old[rows.task[position]].append(position)
    room = {task: len(found) for task, found in old.items()}
    if asked.ratio is not None and new:
        room = _shares(room, round(asked.ratio * sum(new.values())))
    for task, found in old.items():
        for position in sorted(found, key=lambda position: _order(seed, ids[position]))[room[task] :]:
            rows.drop(position, NOT_REPLAYED)
    return ReplayReport(
        ratio=asked.ratio,
        tasks=tuple(
            ReplayedTask(task=task, new=new[task], old=len(old[task]), kept=room.get(task, 0))
            for task in sorted({*old, *new})
        ),
    )


def _shares(there: Mapping[str, int], total: int) -> dict[str, int]:
    """Share out some rows among tasks by how many each has: whole numbers by the largest remainders (Hamilton)."""
    everything = sum(there.values())
    if total >= everything:
        return dict(there)
    exact = {task: total * count / everything for task, count in there.items()}
    shares = {task: int(value) for task, value in exact.items()}
    for task in sorted(exact, key=lambda task: (shares[task] - exact[task], task))[: total - sum(shares.values())]:
        shares[task] += 1
    return shares


def _order(seed: int, identity: str) -> bytes:
    return hashlib.blake2b(f"{seed}\0{identity}".encode(), digest_size=16).digest()
