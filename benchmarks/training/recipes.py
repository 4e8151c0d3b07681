"""The recipes that are compared: the paper's on the plain Trainer, and the product's own training loop.

The baseline is written out here and calls nothing of `domainlm.train` but its settings, so that it does not grow faster
with the product. Ours is the product: `methods.prepare` and `loop.build`, no copy of either.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.training import bases
from benchmarks.training.rows import PAD, ROOT
from benchmarks.training.shapes import Base

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, Trainer

    from domainlm.train.rows import Tokenized
    from domainlm.train.settings import TrainSettings

PAPER_FILE = ROOT / "configs" / "falcon-7b-paper.yaml"
NEVER = 10**9
IGNORED = -100

# what a benchmark does without: looks at a development split, checkpoints, curves, changes of the micro-batch
QUIET: dict[str, Any] = {
    "report_to": (),
    "eval_steps": None,
    "save_steps": NEVER,
    "fit_memory": "off",
    "dev_records": 0,
}


def paper(**changes: Any) -> TrainSettings:
    """The paper's recipe, from the configuration file that ships with the project."""
    import yaml

    from domainlm.train.settings import TrainSettings

    parameters = yaml.safe_load(PAPER_FILE.read_text(encoding="utf-8"))["steps"]["train"]["parameters"]
    return TrainSettings(**(parameters | QUIET | changes))


def ours(**changes: Any) -> TrainSettings:
    """The paper's adapter (rank, scale, dropout, layers, rate, clipping) with the product's means of speed.

    No padding, logits in chunks, one fused optimizer, no recomputation, weights in 16 bits where the card is large
    enough for them.
    """
    chosen = {
        "method": "lora",
        "batching": "packed",
        "optimizer": "adamw_torch_fused",
        "gradient_accumulation": 1,
        "gradient_checkpointing": False,
    }
    return paper(**(chosen | changes))


def product_trainer(prepared: Any, tokenized: Tokenized, settings: TrainSettings, work: Path) -> Trainer:
    """The product's Trainer for a prepared model."""
    from domainlm.train import loop

    return loop.build(prepared, tokenized, settings, work, measure=dict)


def paper_trainer(base: Base, tokenized: Tokenized, settings: TrainSettings, device: str, work: Path) -> Trainer:
    """The paper's way: peft's preparation, batches padded to their longest row, the model's own loss.

    Its one amendment is that Falcon's layers really are in 4 bits. bfloat16 stands for whatever type its card computed
    in: on a Hopper card float16 is no faster.
    """
    from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training

    from domainlm.models.runtime import compute_type

    model = bases.random_base(base, settings.quantization, compute_type(), device, settings.seed)
    model.config.use_cache = False
    model = prepare_model_for_kbit_training(
        model,
        use_gradient_checkpointing=settings.gradient_checkpointing,
        gradient_checkpointing_kwargs={"use_reentrant": False},
    )
    adapter = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=list(settings.target_modules),
        task_type="CAUSAL_LM",
    )
    return plain_trainer(get_peft_model(model, adapter), tokenized, settings, work)


def plain_trainer(model: PreTrainedModel, tokenized: Tokenized, settings: TrainSettings, work: Path) -> Trainer:
    """transformers' Trainer as it comes, with the arguments of a recipe."""
    import torch
    from transformers import PrinterCallback, Trainer, TrainingArguments

    on_gpu = torch.cuda.is_available()
    arguments = TrainingArguments(
        output_dir=str(work),
        max_steps=settings.max_steps,
        per_device_train_batch_size=settings.batch_size,
        gradient_accumulation_steps=settings.gradient_accumulation,
        optim=settings.optimizer,
        learning_rate=settings.learning_rate,
        lr_scheduler_type=settings.scheduler,
        warmup_steps=round(settings.warmup_ratio * settings.max_steps),
        max_grad_norm=settings.max_grad_norm,
        bf16=on_gpu,
        gradient_checkpointing=settings.gradient_checkpointing,
        gradient_checkpointing_kwargs={"use_reentrant": False},
        seed=settings.seed,
        logging_steps=settings.logging_steps,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
        use_cpu=not on_gpu,
    )
    trainer = Trainer(model=model, args=arguments, train_dataset=_Whole(tokenized.rows), data_collator=padded)
    trainer.remove_callback(PrinterCallback)
    return trainer


class _Whole(list):
    """Each row as one text, all of which is learned."""

    def __init__(self, rows: list[tuple[list[int], list[int]]]) -> None:
        super().__init__({"input_ids": head + tail} for head, tail in rows)


def padded(rows: list[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
    """Rows padded on the right to the longest of them; padding is neither read nor learned."""
    import torch

    width = max(len(row["input_ids"]) for row in rows)
    missing = [width - len(row["input_ids"]) for row in rows]
    pairs = list(zip((row["input_ids"] for row in rows), missing, strict=True))
    return {
        "input_ids": torch.tensor([ids + [PAD] * count for ids, count in pairs]),
        "attention_mask": torch.tensor([[1] * len(ids) + [0] * count for ids, count in pairs]),
        # a row's first token is nobody's next one; so both recipes learn and count the same tokens
        "labels": torch.tensor([[IGNORED] + ids[1:] + [IGNORED] * count for ids, count in pairs]),
    }
