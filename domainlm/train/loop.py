"""One stage of a training: the Trainer with this project's settings, run to its end or on from a checkpoint."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from domainlm.train.methods import Prepared, training_type
from domainlm.train.processes.distributed import on_first, over_processes, trainer_options, whole
from domainlm.train.rows import Tokenized
from domainlm.train.settings import CLASSIFICATION, PROMPT_METHODS, TrainSettings

if TYPE_CHECKING:
    from transformers import TrainingArguments

    from domainlm.train.batching import EndToEnd, RightPadding
    from domainlm.train.trainer import CompletionTrainer

VIRTUAL_METHODS = PROMPT_METHODS | {"llama_adapter"}  # what they put before the text needs a mask of its own

_log = logging.getLogger(__name__)


def build(
    prepared: Prepared,
    tokenized: Tokenized,
    settings: TrainSettings,
    work: Path,
    measure: Callable[[], dict[str, float]],
    **watched: Any,
) -> CompletionTrainer:
    """The Trainer of one stage.

    Args:
        prepared: the model that is trained.
        tokenized: what it is trained on.
        settings: the stage's recipe.
        work: where this stage's checkpoints and curves lie.
        measure: bits per character of the development split by task, for early stopping.
        watched: what else `observers` are given: held_out, account, stage.
    """
    from transformers import EarlyStoppingCallback, PrinterCallback

    from domainlm.train import out_of_memory
    from domainlm.train.trainer import CompletionTrainer
    from domainlm.train.watch.observers import observers

    if settings.objective == CLASSIFICATION:
        from domainlm.train.heads import HeadTrainer, LabelledRows, LabelPadding

        kind, dataset, collator = HeadTrainer, LabelledRows, LabelPadding(prepared.tokenizer.pad_token_id)
    else:
        from domainlm.train.batching import Rows

        with whole(prepared.model):
            kind, dataset, collator = CompletionTrainer, Rows, ready_for_batches(prepared, settings)

    kind = over_processes(kind)
    watch, callbacks = observers(prepared, tokenized, settings, work, **watched)
    if settings.early_stopping is not None:
        callbacks.append(EarlyStoppingCallback(early_stopping_patience=settings.early_stopping))
    trainer = kind(
        model=prepared.model,
        args=arguments(settings, len(tokenized.rows), work),
        train_dataset=dataset(tokenized.rows),
        data_collator=collator,
        by_record=settings.loss_weighting == "record",
        compiled=settings.compile,
        measure=measure,
        watch=watch,
        callbacks=callbacks,
    )
    trainer.remove_callback(PrinterCallback)  # prints each log line as a dict to standard output
    # peft's wrapper says that it is being trained while the loaded base inside it is not: without dropout, and without
    # recomputing anything; the Trainer asks only the outermost module
    prepared.model.train()
    out_of_memory.know(trainer.micro_batches, prepared.model.config, settings, work)
    return trainer


def ready_for_batches(prepared: Prepared, settings: TrainSettings) -> EndToEnd | RightPadding:
    """Put the loss into the model, let it read packed batches where it shall, and say how rows become batches.

    Raises:
        TrainingError: this architecture cannot keep packed rows apart.
    """
    from domainlm.models.attention import keep_rows_apart, prove_apart
    from domainlm.train.batching import EndToEnd, RightPadding
    from domainlm.train.losses import put_inside

    model = prepared.model
    by_record = settings.loss_weighting == "record"
    if note := put_inside(model, settings.loss_chunk_tokens):
        _log.warning("%s", note)
    if settings.batching != "packed":
        return RightPadding(prepared.tokenizer.pad_token_id, by_record, masked=settings.method in VIRTUAL_METHODS)
    keep_rows_apart(model)
    prove_apart(model)
    return EndToEnd(by_record)


def steps_of(settings: TrainSettings, rows: int) -> int:
    """Optimizer steps of a stage over so many rows."""
    processes = settings.processes * settings.nodes
    per_epoch = math.ceil(rows / (settings.batch_size * settings.gradient_accumulation * processes))
    return settings.max_steps or max(1, round(settings.epochs * per_epoch))


def arguments(settings: TrainSettings, rows: int, work: Path) -> TrainingArguments:
    """The Trainer's own arguments."""
    import torch
    from transformers import TrainingArguments

    dtype = training_type(settings)
    steps = steps_of(settings, rows)
    looks = settings.eval_steps is not None
    known = TrainingArguments.__dataclass_fields__  # transformers up to 5.17 has the old name
    recompute = "activation_checkpointing" if "activation_checkpointing" in known else "gradient_checkpointing"
    return TrainingArguments(
        output_dir=str(work),
        max_steps=steps,
        per_device_train_batch_size=settings.batch_size,
        gradient_accumulation_steps=settings.gradient_accumulation,
        train_sampling_strategy="group_by_length" if settings.batching == "grouped" else "random",
        optim=settings.optimizer,
        learning_rate=settings.learning_rate,
        lr_scheduler_type=settings.scheduler,
        warmup_steps=math.ceil(settings.warmup_ratio * steps),
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        neftune_noise_alpha=settings.neftune_alpha or None,
        bf16=dtype is torch.bfloat16,
        fp16=dtype is torch.float16,
        **{recompute: settings.gradient_checkpointing, f"{recompute}_kwargs": {"use_reentrant": False}},
        seed=settings.seed,
        data_seed=settings.seed,
        logging_steps=min(settings.logging_steps, steps),  # a report needs one loss at least
        logging_nan_inf_filter=False,
        save_strategy="steps",
        # the best weights can only be kept where each look leaves a checkpoint
        save_steps=settings.eval_steps if settings.early_stopping is not None else settings.save_steps,
        eval_strategy="steps" if looks else "no",
        eval_steps=settings.eval_steps,
        load_best_model_at_end=settings.early_stopping is not None,
        restore_callback_states_from_checkpoint=True,  # looks without improvement are counted on
        metric_for_best_model="bits_per_character" if settings.early_stopping is not None else None,
        greater_is_better=False if settings.early_stopping is not None else None,
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_num_workers=settings.loader_workers,
        dataloader_pin_memory=torch.cuda.is_available(),
        use_cpu=not torch.cuda.is_available(),
        **trainer_options(settings.deepspeed_config),
    )


def run(trainer: CompletionTrainer, work: Path) -> None:
    """Train to the end, from the newest complete checkpoint on; a finished training is taken over as it is.

    Raises:
        TrainingError: a SIGTERM stopped it, after a complete checkpoint; or there is too little memory for one record.
        KeyboardInterrupt: Ctrl-C did.
    """
    from domainlm.train import out_of_memory
    from domainlm.train.checkpoints import newest, tidy
    from domainlm.train.stopping import StopOnSignal

    work.mkdir(parents=True, exist_ok=True)
    on_first(tidy, work)
    name = on_first(lambda: found.name if (found := newest(work)) else None)  # the folder may lie elsewhere on a node
    last = work / name if name else None
    stopper = next(found for found in trainer.callback_handler.callbacks if isinstance(found, StopOnSignal))
    try:
        if last and finished(last):
            _restore(trainer, last)
        else:
            with out_of_memory.named("between passes: at an optimizer's step, a look or a checkpoint"):
                trainer.train(resume_from_checkpoint=str(last) if last else None)
    finally:
        stopper.release()
    stopper.raise_if_stopped(trainer.state.global_step, work)


def finished(checkpoint: Path) -> bool:
    """Whether a checkpoint is the end of its stage, by its last step or by an early stop."""
    from transformers import TrainerState

    state = TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))
    stopper = state.stateful_callbacks.get("TrainerControl", {}).get("args", {})
    return state.global_step >= state.max_steps or bool(stopper.get("should_training_stop"))


def _restore(trainer: Any, checkpoint: Path) -> None:
    """Take a finished training over as it is: asked to resume at its end, the Trainer would do one step more."""
    from transformers import TrainerState

    trainer.state = TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))
    best = trainer.state.best_model_checkpoint if trainer.args.load_best_model_at_end else None
    trainer._load_from_checkpoint(str(Path(trainer.args.output_dir) / Path(best).name if best else checkpoint))


def curve(history: Sequence[dict[str, float]], offset: int = 0) -> list[dict[str, float]]:
    """The logged points of a stage: loss, learning rate, gradient norm; steps count over all stages."""
    from domainlm.train.development import rounded

    return [
        {
            "step": entry["step"] + offset,
            "loss": rounded(entry["loss"]),
            "learning_rate": rounded(entry["learning_rate"]),
            "gradient_norm": rounded(entry.get("grad_norm", 0.0)),
        }
        for entry in history
        if "loss" in entry
    ]
