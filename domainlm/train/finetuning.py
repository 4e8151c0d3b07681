"""Fine-tune a base on prompts and completions, resumably and reproducibly, and export a canonical adapter folder."""

from __future__ import annotations

import json
import math
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from domainlm.artifacts import AdapterFolder, BaseCheckpoint, TokenizerFolder
from domainlm.errors import TrainingError
from domainlm.models.architectures import target_modules
from domainlm.models.encoding import encode
from domainlm.models.inference import completion_log_likelihoods, context_length
from domainlm.models.loading import FULL, load_base, quantized_layers, tied
from domainlm.models.runtime import compute_type, reproducible
from domainlm.records import DEVELOPMENT, TRAIN
from domainlm.tasks import Task
from domainlm.train.mixture import Example, examples, shuffled, weighted
from domainlm.train.report import TrainingReport
from domainlm.train.settings import TrainSettings

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

ADAPTER_CONFIG = "adapter_config.json"


def train(
    records: Dataset,
    tokenizer: TokenizerFolder,
    base: BaseCheckpoint,
    settings: TrainSettings,
    tasks: dict[str, Task],
    folder: Path,
    work: Path,
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

    Raises:
        TrainingError: no records, records that are too long, or a loss that is not finite.
        ModelError: base, tokenizer and settings do not fit together.
    """
    started = time.monotonic()
    found = examples(records, TRAIN, tasks, settings)
    if settings.labels == "shuffled":
        found = shuffled(found, settings.seed)
    held_out = _sample(examples(records, DEVELOPMENT, tasks, settings), settings.dev_records)
    with reproducible(settings.seed, settings.threads):
        model, loaded_tokenizer, modules, note = _prepare_model(base, tokenizer, settings)
        mixed, rows, dropped = _tokenize(
            weighted(found, settings.task_weights, settings.seed), loaded_tokenizer, model, settings
        )
        before = dev_bits_per_character(model, loaded_tokenizer, held_out, settings)
        trainer = _trainer(model, loaded_tokenizer, mixed, rows, settings, work)
        seconds = _run(trainer, work)
        after = dev_bits_per_character(model, loaded_tokenizer, held_out, settings)
        adapter = _export(model, folder, base, tokenizer, settings)
    supervised = sum(len(tail) for _, tail in rows)
    tokens = sum(len(head) for head, _ in rows) + supervised
    curve = _curve(trainer.state.log_history)
    report = TrainingReport(
        recipe=settings,
        base=base.card["name"],
        base_digest=base.card["digest"],
        tokenizer_digest=tokenizer.digest,
        adapter_digest=adapter.digest,
        records_by_task=dict(sorted(Counter(example.task for example in found).items())),
        examples=len(mixed),
        dropped_too_long=dropped,
        longest=max(len(head) + len(tail) for head, tail in rows),
        steps=trainer.state.global_step,
        epochs=_rounded(trainer.state.epoch or 0.0),
        tokens_per_epoch=tokens,
        supervised_tokens_per_epoch=supervised,
        trainable_parameters=sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad),
        parameters=model.num_parameters(),
        quantized_layers=len(quantized_layers(model)),
        target_modules=modules,
        new_tokens_trained=_new_tokens(tokenizer, settings),
        note=note,
        dev_records=len(held_out),
        dev_bits_per_character_before=before,
        dev_bits_per_character=after,
        loss=curve[-1]["loss"] if curve else math.nan,
        curve=curve,
    )
    # seconds vary from run to run, so they stay out of report and digest
    (work / "throughput.json").write_text(
        json.dumps(
            {
                "train_seconds": round(seconds, 1),
                "seconds": round(time.monotonic() - started, 1),
                "tokens": round(tokens * report.epochs),
            }
        )
    )
    return adapter, report


def _prepare_model(
    base: BaseCheckpoint, tokenizer: TokenizerFolder, settings: TrainSettings
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, list[str], str]:
    import torch

    # all weights are trained in float32: small updates vanish in 16 bits
    dtype = torch.float32 if settings.method == FULL else compute_type(settings.compute_dtype)
    model, loaded = load_base(base, tokenizer, _quantization(settings), dtype, settings.initialisation, settings.seed)
    model.config.use_cache = False
    if settings.method == FULL:
        model.requires_grad_(True)
        return model, loaded, [], ""
    from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training

    modules, note = target_modules(model, settings.target_modules)
    if settings.method == "qlora":
        model = prepare_model_for_kbit_training(
            model,
            use_gradient_checkpointing=settings.gradient_checkpointing,
            gradient_checkpointing_kwargs={"use_reentrant": False},
        )
    if settings.adapt_embedding:
        modules.append(_name_of(model, model.get_input_embeddings()))
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=modules,
        trainable_token_indices=_token_indices(model, loaded, tokenizer) if _new_tokens(tokenizer, settings) else None,
        task_type="CAUSAL_LM",
    )
    return get_peft_model(model, config), loaded, modules, note


def _quantization(settings: TrainSettings) -> str:
    return "nf4" if settings.method == "qlora" else "none"


def _new_tokens(tokenizer: TokenizerFolder, settings: TrainSettings) -> int:
    """How many new tokens get rows of their own; a LoRA over the whole embedding covers them already."""
    separately = settings.train_new_tokens and settings.method != FULL and not settings.adapt_embedding
    return len(tokenizer.card["new_tokens"]) if separately else 0


def _name_of(model: PreTrainedModel, wanted: Any) -> str:
    return next(name for name, module in model.named_modules() if module is wanted).rpartition(".")[2]


def _token_indices(
    model: PreTrainedModel, loaded: PreTrainedTokenizerBase, tokenizer: TokenizerFolder
) -> dict[str, list[int]]:
    """The new tokens' rows by embedding layer; an untied output layer has rows of its own and must be named too."""
    indices = sorted(loaded.convert_tokens_to_ids(list(tokenizer.card["new_tokens"])))
    layers = [model.get_input_embeddings()]
    if not tied(model):
        layers.append(model.get_output_embeddings())
    return {_name_of(model, layer): indices for layer in layers}


def _tokenize(
    mixed: list[Example], tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel, settings: TrainSettings
) -> tuple[list[Example], list[tuple[list[int], list[int]]], int]:
    """Token ids of each example; none is ever cut, since a cut answer teaches to stop anywhere."""
    if not mixed:
        raise TrainingError(
            "no record of the train split belongs to the wanted tasks", "train", "check `tasks` and the splits"
        )
    rows = encode(tokenizer, [example.prompt for example in mixed], [example.completion for example in mixed])
    limit = min(settings.max_length, context_length(model) or settings.max_length)
    fits = [len(head) + len(tail) <= limit for head, tail in rows]
    over = Counter(example.task for example, fit in zip(mixed, fits, strict=True) if not fit)
    if over and (settings.too_long == "error" or not any(fits)):
        longest = max(len(head) + len(tail) for head, tail in rows)
        first = [example.id for example, fit in zip(mixed, fits, strict=True) if not fit][:3]
        raise TrainingError(
            f"{sum(over.values())} of {len(rows)} records exceed {limit} tokens"
            f" (longest {longest}; {dict(sorted(over.items()))})",
            f"records {', '.join(first)}",
            "raise max_length (up to the base's context), shorten them, or set too_long: drop",
        )
    kept = [index for index, fit in enumerate(fits) if fit]
    return [mixed[index] for index in kept], [rows[index] for index in kept], len(rows) - len(kept)


def _trainer(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    mixed: list[Example],
    rows: list[tuple[list[int], list[int]]],
    settings: TrainSettings,
    work: Path,
):
    import torch
    from transformers import TrainingArguments

    from domainlm.train import checkpoints, curves
    from domainlm.train.trainer import CompletionTrainer, RightPadding, Rows

    dtype = torch.float32 if settings.method == FULL else compute_type(settings.compute_dtype)
    per_epoch = math.ceil(len(rows) / (settings.batch_size * settings.gradient_accumulation))
    steps = settings.max_steps or max(1, round(settings.epochs * per_epoch))
    arguments = TrainingArguments(
        output_dir=str(work),
        max_steps=steps,
        per_device_train_batch_size=settings.batch_size,
        gradient_accumulation_steps=settings.gradient_accumulation,
        train_sampling_strategy="group_by_length" if settings.group_by_length else "random",
        optim=settings.optimizer,
        learning_rate=settings.learning_rate,
        lr_scheduler_type=settings.scheduler,
        warmup_steps=math.ceil(settings.warmup_ratio * steps),
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        bf16=dtype is torch.bfloat16,
        fp16=dtype is torch.float16,
        activation_checkpointing=settings.gradient_checkpointing,
        activation_checkpointing_kwargs={"use_reentrant": False},
        seed=settings.seed,
        data_seed=settings.seed,
        logging_steps=settings.logging_steps,
        logging_nan_inf_filter=False,
        save_strategy="steps",
        save_steps=settings.save_steps,
        save_total_limit=2,  # the older one is the way back while the newer one is being written
        eval_strategy="no",
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=torch.cuda.is_available(),
        use_cpu=not torch.cuda.is_available(),
    )
    trainer = CompletionTrainer(
        model=model,
        args=arguments,
        train_dataset=Rows(rows),
        data_collator=RightPadding(tokenizer.pad_token_id),
        by_record=settings.loss_weighting == "record",
        record_ids=[example.id for example in mixed],
        callbacks=[
            checkpoints.CompletenessMarker(),
            checkpoints.StopOnTermination(),
            *curves.callbacks(settings.report_to, work),
        ],
    )
    _silence(trainer)
    return trainer


def _silence(trainer: Any) -> None:
    from transformers import PrinterCallback

    trainer.remove_callback(PrinterCallback)  # prints each log line as a dict to standard output


def _run(trainer: Any, work: Path) -> float:
    from domainlm.train.checkpoints import StopOnTermination, newest

    work.mkdir(parents=True, exist_ok=True)
    last = newest(work)
    terminator = next(
        callback for callback in trainer.callback_handler.callbacks if isinstance(callback, StopOnTermination)
    )
    started = time.monotonic()
    try:
        if last and _step(last) >= trainer.args.max_steps:
            _restore(trainer, last)
        else:
            trainer.train(resume_from_checkpoint=str(last) if last else None)
    finally:
        terminator.release()
    if terminator.stopped:
        raise TrainingError(
            f"stopped by SIGTERM after step {trainer.state.global_step}; its checkpoint is complete",
            str(work),
            "run again to go on",
        )
    return time.monotonic() - started


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])


def _restore(trainer: Any, checkpoint: Path) -> None:
    """Take a finished training over as it is: asked to resume at its end, the Trainer would do one step more."""
    from transformers import TrainerState

    trainer.state = TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))
    trainer._load_from_checkpoint(str(checkpoint))


def _sample(found: list[Example], wanted: int) -> list[Example]:
    """At most `wanted` examples, as many of each task, spread evenly over a task's rows."""
    by_task: dict[str, list[Example]] = defaultdict(list)
    for example in found:
        by_task[example.task].append(example)
    chosen = []
    for rows in by_task.values():
        count = min(len(rows), wanted // len(by_task))
        chosen += [rows[index * len(rows) // count] for index in range(count)]
    return chosen


def dev_bits_per_character(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, held_out: list[Example], settings: TrainSettings
) -> dict[str, float]:
    """Bits that the model needs for a character of the held-out answers, by task."""
    scores = completion_log_likelihoods(
        model, tokenizer, [row.prompt for row in held_out], [row.completion for row in held_out], settings.batch_size
    )
    bits, characters = defaultdict(float), Counter()
    for example, score in zip(held_out, scores, strict=True):
        bits[example.task] -= score / math.log(2)
        characters[example.task] += len(example.completion)
    return {task: _rounded(bits[task] / characters[task]) for task in sorted(bits)}


def _export(
    model: PreTrainedModel, folder: Path, base: BaseCheckpoint, tokenizer: TokenizerFolder, settings: TrainSettings
) -> AdapterFolder:
    folder.mkdir(parents=True, exist_ok=True)
    if settings.method == FULL:
        model.config.use_cache = True
        model.save_pretrained(folder)
    else:
        model.save_pretrained(str(folder), save_embedding_layers=False)
        (folder / "README.md").unlink(missing_ok=True)  # a template that names this machine's path of the base
        config = json.loads((folder / ADAPTER_CONFIG).read_text())
        config["base_model_name_or_path"] = base.card["name"]
        (folder / ADAPTER_CONFIG).write_text(json.dumps(canonical(config), indent=2, sort_keys=True) + "\n")
    adapter = AdapterFolder(folder)
    adapter.write_card(
        method=settings.method,
        quantization=_quantization(settings),
        base_digest=base.card["digest"],
        tokenizer_digest=tokenizer.digest,
    )
    return adapter


def canonical(value: Any) -> Any:
    """A configuration with its lists sorted: peft keeps sets, whose order changes with PYTHONHASHSEED."""
    if isinstance(value, dict):
        return {key: canonical(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return sorted((canonical(entry) for entry in value), key=lambda entry: json.dumps(entry, sort_keys=True))
    return value


def _curve(history: list[dict[str, float]]) -> list[dict[str, float]]:
    return [
        {
            "step": entry["step"],
            "loss": _rounded(entry["loss"]),
            "learning_rate": _rounded(entry["learning_rate"]),
            "gradient_norm": _rounded(entry.get("grad_norm", 0.0)),
        }
        for entry in history
        if "loss" in entry
    ]


def _rounded(value: float) -> float:
    return float(f"{value:.5g}")
