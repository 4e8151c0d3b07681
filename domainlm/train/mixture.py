"""Which records a training sees, how often, and as what: the mixture of tasks, and the shuffled-label control."""

from __future__ import annotations

import hashlib
import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from domainlm.errors import TrainingError, nearest
from domainlm.records import answer, question
from domainlm.tasks import DOCUMENT_TASK, Task, task_of
from domainlm.train.settings import CONTINUED

if TYPE_CHECKING:
    from datasets import Dataset

    from domainlm.train.settings import TrainSettings


class Example(NamedTuple):
    """A record as a training sees it."""

    id: str
    task: str
    group: str
    prompt: str
    completion: str


def examples(records: Dataset, split: str, tasks: Mapping[str, Task], settings: TrainSettings) -> list[Example]:
    """The records of one split that the settings ask for, rendered, in stable order; documents have no prompt.

    Raises:
        TrainingError: a wanted task has no record in this split's data, or a record has no answer.
    """
    for name in (*settings.tasks, *settings.task_weights):
        if name not in tasks:
            raise TrainingError(f"no task '{name}'", "steps.train.parameters.tasks", nearest(name, tasks))
    if settings.objective == CONTINUED:
        return _documents(records, split)
    wanted = set(settings.tasks or tasks) - {DOCUMENT_TASK}
    chosen = records.select(
        [
            index
            for index, (name, part) in enumerate(zip(records["task"], records["split"], strict=True))
            if part == split and name != DOCUMENT_TASK and (name in wanted or name not in tasks)
        ]
    )
    found = []
    for record in chosen:
        task = task_of(record, tasks)
        if not answer(record).strip():
            raise TrainingError(
                "a record has no answer", f"source {record['source']}, row {record['row']}", "give it one or drop it"
            )
        found.append(Example(record["id"], task.name, record["group"], *task.render(record)))
    return found


def _documents(records: Dataset, split: str) -> list[Example]:
    chosen = records.select(
        [
            index
            for index, (name, part) in enumerate(zip(records["task"], records["split"], strict=True))
            if part == split and name == DOCUMENT_TASK
        ]
    )
    return [Example(row["id"], DOCUMENT_TASK, row["group"], "", question(row)) for row in chosen]


def weighted(found: Sequence[Example], weights: Mapping[str, float], seed: int) -> list[Example]:
    """Repeat each task's examples `weight` times; a fraction takes those whose hashed id falls under it.

    A hash and not a draw decides, so that a record that lands later moves no other in or out.
    """
    mixed: list[Example] = []
    for example in found:
        whole, share = divmod(weights.get(example.task, 1.0), 1)
        hashed = hashlib.sha256(f"{seed}\0{example.id}".encode()).digest()
        extra = int.from_bytes(hashed[:8], "big") < share * 2**64
        mixed += [example] * (int(whole) + extra)
    return mixed


def shuffled(found: Sequence[Example], seed: int) -> list[Example]:
    """The control: each group gets the answers of another group of its task, so prompts and answers tell nothing.

    Whole groups are exchanged and not single records: rows of one sentence shape keep saying one label, and the
    control is as easy to fit as the truth.
    """
    groups: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for index, example in enumerate(found):
        groups[example.task][example.group].append(index)
    result = list(found)
    for task in sorted(groups):
        members = list(groups[task].values())  # as they come: keyed names sort differently in every institution
        donors = members.copy()
        random.Random(f"{seed}/{task}").shuffle(donors)
        for own, other in zip(members, donors, strict=True):
            for position, index in enumerate(own):
                result[index] = found[index]._replace(completion=found[other[position % len(other)]].completion)
    return result
