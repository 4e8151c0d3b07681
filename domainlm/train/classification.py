"""Objective `classification`: a head over an encoder learns the labels of one task.

The same functions as for prompts and completions (examples, prepare, tokenize, a look at the development split), with
a text in place of the prompt and a label in place of the completion. The loss is the cross-entropy, averaged over the
records of an optimizer step; `train.heads` has it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from domainlm.artifacts import BaseCheckpoint, TokenizerFolder
from domainlm.errors import TrainingError, nearest
from domainlm.models.architectures import context_of, target_modules
from domainlm.models.classifiers import (
    has_own_head,
    head,
    label_log_likelihoods,
    load_classifier,
    read,
)
from domainlm.models.loading import FULL
from domainlm.models.runtime import compute_type
from domainlm.records import TRAIN, answer, asked
from domainlm.tasks import DOCUMENT_TASK, Task
from domainlm.train.development import Look, rounded
from domainlm.train.methods import Prepared, check_rank, name_of, new_tokens
from domainlm.train.mixture import Example
from domainlm.train.out_of_memory import smaller_batches
from domainlm.train.rows import fitting
from domainlm.train.settings import TrainSettings

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

HEAD_SEED = 0x4EAD  # apart from the seeds of LoRA and of the order
TASKS_KEY = "steps.train.parameters.tasks"


class Labelled(NamedTuple):
    """What a stage trains on: `rows[i]` = (token ids, number of the label) comes from record `ids[i]`."""

    ids: list[str]
    rows: list[tuple[list[int], int]]
    dropped: int

    @property
    def tokens(self) -> int:
        """All tokens of one epoch, none of them padding."""
        return sum(len(ids) for ids, _ in self.rows)

    @property
    def supervised(self) -> int:
        """What the loss counts: one decision a record."""
        return len(self.rows)

    @property
    def longest(self) -> int:
        """Tokens of the longest row."""
        return max(len(ids) for ids, _ in self.rows)


def the_task(records: Dataset, tasks: Mapping[str, Task], settings: TrainSettings) -> Task:
    """The one task that the head is for: the one that is named, or the only one with training records.

    Raises:
        TrainingError: several tasks or none, an unknown one, or one without labels.
    """
    present = {
        name for name, split in zip(records["task"], records["split"], strict=True)
        if split == TRAIN and name != DOCUMENT_TASK
    }  # fmt: skip
    wanted = sorted(settings.tasks or present)
    if len(wanted) != 1:
        choices = sorted(name for name in present if name in tasks and tasks[name].kind == "classification")
        raise TrainingError(
            f"a head answers one task, here are {len(wanted)}: {', '.join(wanted) or 'none'}",
            TASKS_KEY,
            f"name one classification task: {', '.join(choices) or 'the data have none'}",
        )
    if wanted[0] not in tasks:
        raise TrainingError(f"no task '{wanted[0]}'", TASKS_KEY, nearest(wanted[0], tasks))
    task = tasks[wanted[0]]
    if task.kind != "classification" or len(task.labels) < 2:
        raise TrainingError(
            f"task '{task.name}' is of kind '{task.kind}' with {len(task.labels)} labels: a head cannot answer it",
            TASKS_KEY,
            "name a classification task, or train a causal language model",
        )
    return task


def examples(records: Dataset, split: str, tasks: Mapping[str, Task], settings: TrainSettings) -> list[Example]:
    """The task's records of one split: the text as prompt, the label as completion, in stable order.

    Raises:
        TrainingError: a label that the task does not know, or a train split that holds one label only.
    """
    task = the_task(records, tasks, settings)
    wanted = [
        index
        for index, (name, part) in enumerate(zip(records["task"], records["split"], strict=True))
        if part == split and name == task.name
    ]
    found = []
    for record in records.select(wanted):
        label = answer(record).strip()
        if label not in task.labels:
            raise TrainingError(
                f"a record has no label that task '{task.name}' knows",
                f"source {record['source']}, row {record['row']}",
                f"give it one of {', '.join(task.labels)}, by a label_map of the source for instance",
            )
        found.append(Example(record["id"], task.name, record["group"], asked(record), label))
    if split == TRAIN and found and len({example.completion for example in found}) < 2:
        raise TrainingError(
            f"all {len(found)} training records of task '{task.name}' bear one label",
            "train",
            "add records of the other labels: there is nothing to tell apart",
        )
    return found


def prepare(base: BaseCheckpoint, tokenizer: TokenizerFolder, settings: TrainSettings, task: Task) -> Prepared:
    """Load the encoder with a head for the task's labels, and put on it what the method trains.

    The head is trained whole; LoRA adapts the encoder's linear layers. New tokens' rows and the embedding are adapted
    as for a causal model.

    Raises:
        ModelError: the base is no encoder, or base, tokenizer and settings do not fit together.
    """
    dtype = None if settings.method == FULL else compute_type(settings.compute_dtype)
    model, loaded = load_classifier(
        base, tokenizer, task.labels, settings.quantization, dtype, settings.initialisation, settings.seed ^ HEAD_SEED
    )
    note = f"a head of {len(task.labels)} labels for task '{task.name}'"
    if settings.initialisation != "random" and has_own_head(base, task.labels):
        note += ", begun from the base's own"
    if settings.method == FULL:
        return Prepared(model.requires_grad_(True), loaded, [], note)
    from peft import LoraConfig, get_peft_model

    model.requires_grad_(False)
    modules, found_out = target_modules(model.base_model, settings.target_modules)
    check_rank(model.base_model, modules, settings.rank)
    embedding = model.get_input_embeddings()
    rows = None
    if new_tokens(tokenizer, settings):
        rows = {name_of(model, embedding): sorted(loaded.convert_tokens_to_ids(list(tokenizer.card["new_tokens"])))}
    if settings.adapt_embedding:
        modules.append(name_of(model, embedding))
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        use_dora=settings.method == "dora",
        target_modules=modules,
        modules_to_save=sorted({name.rpartition(".")[2] for name in head(model)}),
        trainable_token_indices=rows,
        task_type="SEQ_CLS",
    )
    return Prepared(get_peft_model(model, config), loaded, modules, "; ".join(filter(None, (note, found_out))))


def tokenize(
    mixed: Sequence[Example], tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel, settings: TrainSettings
) -> Labelled:
    """Token ids and the label's number of each example; a text is never cut.

    Raises:
        TrainingError: there is nothing to train on, `max_length` exceeds the encoder's context, or texts are too long.
    """
    if not mixed:
        raise TrainingError(
            "no record of the train split belongs to the wanted task", "train", "check `tasks` and the splits"
        )
    numbers = model.config.label2id
    rows = read(tokenizer, [example.prompt for example in mixed])
    limit = min(settings.max_length, context_of(model.config) or settings.max_length)
    kept = fitting([len(row) for row in rows], mixed, limit, settings)
    return Labelled(
        [mixed[index].id for index in kept],
        [(rows[index], numbers[mixed[index].completion]) for index in kept],
        len(rows) - len(kept),
    )


class HeadLook(Look):
    """Looks at the development split by the head: bits of the right label a character of it, as for a model that writes
    it, so that figures of both can stand side by side; and accuracy and bits a record."""

    def __call__(self) -> dict[str, float]:
        """Bits per character of the right labels, by task."""
        if not self.held_out:
            return {}
        model, tokenizer, texts = self.prepared.model, self.prepared.tokenizer, [row.prompt for row in self.held_out]
        found = smaller_batches(lambda rows: label_log_likelihoods(model, tokenizer, texts, rows), self.batch)
        bits, characters, right, count = Counter(), Counter(), Counter(), Counter()
        for example, scores in zip(self.held_out, found, strict=True):
            bits[example.task] -= scores[example.completion] / math.log(2)
            characters[example.task] += len(example.completion)
            right[example.task] += max(scores, key=scores.__getitem__) == example.completion
            count[example.task] += 1
        self.accuracy = {task: rounded(right[task] / count[task]) for task in sorted(count)}
        self.bits_per_record = {task: rounded(bits[task] / count[task]) for task in sorted(count)}
        return {task: rounded(bits[task] / characters[task]) for task in sorted(count)}
