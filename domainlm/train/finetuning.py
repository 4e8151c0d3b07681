"""Fine-tune a base, stage after stage, resumably and reproducibly, and export a canonical adapter folder."""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from domainlm.artifacts import AdapterFolder, BaseCheckpoint, TokenizerFolder
from domainlm.errors import TrainingError
from domainlm.models.loading import FULL, quantized_layers
from domainlm.models.runtime import reproducible
from domainlm.records import DEVELOPMENT, TRAIN
from domainlm.tasks import Task
from domainlm.train.augmentation import augmented
from domainlm.train.development import Look, rounded, sample
from domainlm.train.methods import Prepared, export, new_tokens, prepare
from domainlm.train.mixture import Example, examples, shuffled, weighted
from domainlm.train.report import StageReport, TrainingReport
from domainlm.train.rows import tokenize
from domainlm.train.settings import CLASSIFICATION, CONTINUED, TrainSettings
from domainlm.train.start import check, go_on

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import TrainerCallback

    from domainlm.train.trainer import CompletionTrainer


def train(
    records: Dataset,
    tokenizer: TokenizerFolder,
    base: BaseCheckpoint,
    settings: TrainSettings,
    tasks: dict[str, Task],
    folder: Path,
    work: Path,
    callbacks: Callable[[int, Look], Iterable[TrainerCallback]] | None = None,
    start: AdapterFolder | None = None,
) -> tuple[AdapterFolder, TrainingReport]:
    """Train on the train split, look at the dev split, leave the test split alone.

    Args:
        records: validated records with their splits.
        tokenizer: the extended tokenizer.
        base: the base model.
        settings: the recipe.
        tasks: task definitions by name; they render prompts.
        folder: an empty folder to fill with the adapter (or, for method `full`, the weights).
        work: where checkpoints of exactly this training lie; an interrupted one goes on from there.
        callbacks: who else listens to a stage, given the steps before it and how the development split is looked at.
        start: the adapter to go on from, such as the champion's; None begins at the base.

    Raises:
        TrainingError: no records, records that are too long, too little memory, or a loss that is not finite.
        ModelError: base, tokenizer, settings and the adapter to go on from do not fit together.
    """
    from domainlm.train import loop, out_of_memory
    from domainlm.train.belonging import claim, owner
    from domainlm.train.planner import planned
    from domainlm.train.processes import distributed, launchers
    from domainlm.train.watch import curves
    from domainlm.train.watch.cost import Account

    curves.check(settings.report_to)
    if launchers.many(settings):
        return launchers.launch(records, tokenizer, base, settings, tasks, folder, work, start)
    stages = settings.by_stage()
    parts = _parts(records, settings, tasks)
    # every stage's data is rendered before a model is loaded: what is wrong with the last one is said at once
    mixtures = [_mixture(records, recipe, tasks, parts, name) for name, recipe in stages]
    held_out = sample(_held_out(records, stages, tasks, parts), settings.dev_records)
    if settings.eval_steps is not None and not held_out:
        raise TrainingError(
            "the development split has no record to look at", "steps.train.parameters.eval_steps",
            "hold some out (prepare's dev_fraction, dev_records above 0), or set eval_steps to null",
        )  # fmt: skip
    distributed.on_first(claim, work, owner(base, tokenizer, settings, mixtures, start))
    # from here on the recipe is the one that fits into this machine's memory
    asked, here = settings, distributed.world()
    shards = here.size if here.strategy == distributed.FSDP2 else 1
    settings, plan = distributed.on_first(planned, base, asked, work, here.local_size, shards)
    stages = settings.by_stage()
    if start is not None:
        check(start, base, tokenizer, settings)
    account = Account(work, settings)
    with reproducible(settings.seed, settings.threads):
        with distributed.loading(settings.quantization != "none"):
            with out_of_memory.named("while the base was loaded"):
                prepared = parts.prepare(base, tokenizer, settings)
                if start is not None:
                    prepared = go_on(prepared, start, settings)
            counted = _counted(prepared)
            distributed.shard(prepared.model)
        measure = parts.look(prepared, held_out, plan.scoring_batch if plan else settings.batch_size)
        tokenized = [
            parts.tokenize(_seen(found, recipe), prepared.tokenizer, prepared.model, recipe)
            for found, (_, recipe) in zip(mixtures, stages, strict=True)
        ]
        before = measure()
        reports, curve = [], []
        for number, ((name, recipe), found, data) in enumerate(zip(stages, mixtures, tokenized, strict=True)):
            place = work / f"{number + 1}-{name}" if name else work
            with reproducible(settings.seed + number, settings.threads):
                trainer = loop.build(
                    prepared, data, recipe, place, measure, held_out=held_out, account=account, stage=name
                )
                for callback in callbacks(sum(report.steps for report in reports), measure) if callbacks else ():
                    trainer.add_callback(callback)
                loop.run(trainer, place)
            points = loop.curve(trainer.state.log_history, sum(report.steps for report in reports))
            reports.append(_stage_report(name, recipe, found, data, trainer, measure, points))
            curve += points
        state = distributed.gathered(prepared.model, everything=settings.method == FULL)
        adapter = distributed.on_first(export, prepared.model, folder, base, tokenizer, settings, state, start)
        digest = distributed.on_first(lambda: adapter.digest)
    report = TrainingReport(
        # micro-batch and recomputation are this machine's affair; in how many bits the base was read is the result's
        recipe=asked.model_copy(update={"bits": settings.bits}),
        base=base.card["name"],
        base_digest=base.card["digest"],
        tokenizer_digest=tokenizer.digest,
        adapter_digest=digest,
        started_from=start.digest if start is not None else "",
        steps=sum(stage.steps for stage in reports),
        **counted,
        target_modules=prepared.modules,
        new_tokens_trained=new_tokens(tokenizer, settings),
        note=prepared.note,
        stages=reports,
        dev_records=len(held_out),
        dev_bits_per_character_before=before,
        dev_bits_per_character=reports[-1].dev_bits_per_character,
        loss=reports[-1].loss,
        curve=curve,
    )
    account.close()
    return adapter, report


def _stage_report(
    name: str,
    recipe: TrainSettings,
    found: list[Example],
    data: Any,
    trainer: CompletionTrainer,
    measure: Look,
    points: list[dict[str, float]],
) -> StageReport:
    return StageReport(
        name=name,
        objective=recipe.objective,
        records_by_task=dict(sorted(Counter(example.task for example in found).items())),
        examples=len(data.rows),
        dropped_too_long=data.dropped,
        longest=data.longest,
        steps=trainer.state.global_step,
        epochs=rounded(trainer.state.epoch or 0.0),
        tokens_per_epoch=data.tokens,
        supervised_tokens_per_epoch=data.supervised,
        dev_bits_per_character=measure(),
        dev_accuracy=measure.accuracy,
        dev_bits_per_record=measure.bits_per_record,
        stopped_early=trainer.state.global_step < trainer.args.max_steps,
        loss=points[-1]["loss"] if points else math.nan,
    )


def held_out_examples(records: Dataset, settings: TrainSettings, tasks: dict[str, Task]) -> list[Example]:
    """The development examples that a training is measured on."""
    found = _held_out(records, settings.by_stage(), tasks, _parts(records, settings, tasks))
    return sample(found, settings.dev_records)


class _Parts(NamedTuple):
    """What differs between a model that writes answers and an encoder with a head."""

    examples: Callable[..., list[Example]]
    prepare: Callable[..., Prepared]
    tokenize: Callable[..., Any]
    look: type[Look]


def _parts(records: Dataset, settings: TrainSettings, tasks: dict[str, Task]) -> _Parts:
    if settings.objective != CLASSIFICATION:
        return _Parts(examples, prepare, tokenize, Look)
    from domainlm.train import classification

    task = classification.the_task(records, tasks, settings)
    return _Parts(
        classification.examples,
        functools.partial(classification.prepare, task=task),
        classification.tokenize,
        classification.HeadLook,
    )


def _mixture(
    records: Dataset, recipe: TrainSettings, tasks: dict[str, Task], parts: _Parts, stage: str
) -> list[Example]:
    found = parts.examples(records, TRAIN, tasks, recipe)
    if not found:
        documents = recipe.objective == CONTINUED
        raise TrainingError(
            f"the train split has no {'document' if documents else 'record of the wanted tasks'}",
            f"stage '{stage}'" if stage else "train",
            "add a source of `form: documents`" if documents else "check `tasks` and the splits",
        )
    return shuffled(found, recipe.seed) if recipe.labels == "shuffled" else found


def _seen(found: list[Example], recipe: TrainSettings) -> list[Example]:
    """What one epoch really shows: each record as often as its task's weight says, and its changed copies."""
    return augmented(weighted(found, recipe.task_weights, recipe.seed), recipe)


def _held_out(
    records: Dataset, stages: list[tuple[str, TrainSettings]], tasks: dict[str, Task], parts: _Parts
) -> list[Example]:
    """The development examples of all stages, each once."""
    found: dict[str, Example] = {}
    for _, recipe in stages:
        found |= {example.id: example for example in parts.examples(records, DEVELOPMENT, tasks, recipe)}
    return list(found.values())


def _counted(prepared: Prepared) -> dict[str, int]:
    """The report's counts, while the model is whole."""
    model = prepared.model
    return {
        "trainable_parameters": sum(value.numel() for value in model.parameters() if value.requires_grad),
        "parameters": model.num_parameters(),
        "quantized_layers": len(quantized_layers(model)),
    }
