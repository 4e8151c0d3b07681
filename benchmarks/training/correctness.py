"""Does each means of speed train the same model? Twenty deterministic steps on the same batches, loss by loss.

The baseline pads, makes all logits at once, recomputes nothing and takes plain AdamW. Each variant changes one thing,
and the last one all that the product's recipe changes. A control, which packs rows without a border between them, must
be seen to differ: else the comparison could not see a leak.
"""

from __future__ import annotations

import itertools
import math
import time
from typing import Any

import torch

from benchmarks.training import bases, recipes, rows
from benchmarks.training.jobs import STEPS_OF_TRAJECTORY, Channel, Job, device, forget, on_gpu, workplace
from benchmarks.training.shapes import Base
from benchmarks.training.shapes import bases as table_of

ROWS_OF_A_STEP = 4
VARIETY = 48  # tokens that occur: a loss over so few falls within twenty steps
# The largest difference of any step's loss that still counts as following. Measured on a CPU, widths 64 and 512: the
# variants differ by at most 1.5e-6 in float32 and 3e-3 in bfloat16, rows that leak into each other by 5e-2 to 2.4e-1.
TOLERANCE = {"float32": 1e-4, "bfloat16": 2e-2}

PLAIN: dict[str, Any] = {
    "method": "lora",
    "rank": 16,
    "alpha": 32,
    "dropout": 0.0,
    "target_modules": ("auto",),
    "batching": "random",
    "loss_chunk_tokens": None,
    "optimizer": "adamw_torch",
    "gradient_checkpointing": False,
    "gradient_accumulation": 1,
    "batch_size": ROWS_OF_A_STEP,
    "learning_rate": 2e-3,
    "warmup_ratio": 0.0,
    "max_grad_norm": 1.0,
    "logging_steps": 1,
    "max_steps": STEPS_OF_TRAJECTORY,
}
FAST = {"batching": "packed", "loss_chunk_tokens": 64, "optimizer": "adamw_torch_fused"}
VARIANTS: dict[str, dict[str, Any]] = {
    "packed": {"batching": "packed"},
    "chunked loss": {"loss_chunk_tokens": 64},
    "fused optimizer": {"optimizer": "adamw_torch_fused"},
    "checkpointing": {"gradient_checkpointing": True},
    "batch 1 x 4": {"batch_size": 1, "gradient_accumulation": ROWS_OF_A_STEP},
    "all of ours": FAST,
    "compiled": {"compile": True},
}
CONTROL = "control: packed without borders"


def correctness(job: Job, channel: Channel) -> dict[str, Any]:
    """The trajectories of one base: how far each variant strays from the baseline of its own precision.

    The job names the variants as pairs of a method and a name of `VARIANTS`, and says whether the control is run.
    """
    base = table_of(job["toy"])[job["base"]].narrowed()
    dtype = "bfloat16" if on_gpu() else "float32"
    found: dict[str, Any] = {
        "base": base.name,
        "dtype": dtype,
        "tolerance": TOLERANCE[dtype],
        "baselines": {},
        "variants": {},
        "control": None,
    }
    tokenized = rows.drawn(
        rows.glossary_lengths(),
        STEPS_OF_TRAJECTORY * ROWS_OF_A_STEP,
        base.config["vocab_size"],
        seed=3,
        variety=VARIETY,
    )
    baselines: dict[str, list[float]] = {}
    for method, name in job["variants"]:
        recipe = PLAIN | {"method": method}
        if method not in baselines:
            baseline = baselines[method] = _trajectory(base, tokenized, recipe)
            found["baselines"][method] = {"first": baseline[0], "last": baseline[-1]}
            if not baseline[0] - baseline[-1] > 5 * TOLERANCE[dtype]:
                raise RuntimeError(f"the baseline's loss does not fall ({method}): following it would prove nothing")
            if job["control"] and found["control"] is None:
                compared = _compared(baseline, base, tokenized, recipe, dtype, leaking=True)
                found["control"] = compared | {"name": CONTROL, "seen": compared["status"] == "strays"}
        entry = f"{method}, {name}"
        if time.monotonic() > job["deadline"]:
            found["variants"][entry] = {"status": "not run: out of time"}
            continue
        found["variants"][entry] = _compared(baselines[method], base, tokenized, recipe | VARIANTS[name], dtype)
        channel.tell(found)
    followed = all(entry["status"] == "follows" for entry in found["variants"].values())
    return found | {"passed": followed and (found["control"] is None or found["control"]["seen"])}


def _compared(
    baseline: list[float], base: Base, tokenized: Any, changes: dict[str, Any], dtype: str, leaking: bool = False
) -> dict[str, Any]:
    try:
        losses = _trajectory(base, tokenized, changes, leaking)
    except Exception as error:  # a variant that cannot run is an entry of the table, as a row that fails is
        return {"status": "failed", "difference": None, "error": f"{type(error).__name__}: {str(error)[:300]}"}
    finally:
        forget()
    apart = max(abs(one - other) for one, other in zip(baseline, losses, strict=True))
    follows = math.isfinite(apart) and apart <= TOLERANCE[dtype]
    return {"status": "follows" if follows else "strays", "difference": apart, "last": losses[-1]}


def _trajectory(base: Base, tokenized: Any, changes: dict[str, Any], leaking: bool = False) -> list[float]:
    """The loss of each of the twenty steps, on rows in their given order."""
    from domainlm.models.runtime import reproducible
    from domainlm.train import loop

    settings = recipes.ours(**changes)
    with workplace() as folder, reproducible(0, torch.get_num_threads()):
        prepared = bases.prepared(base, settings, device(), folder)
        trainer = recipes.product_trainer(prepared, tokenized, settings, folder / "work")
        _in_order(trainer, settings.batch_size, len(tokenized.rows))
        if leaking:
            trainer.data_collator = _without_borders(trainer.data_collator)
        loop.run(trainer, folder / "work")
        losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    if len(losses) != STEPS_OF_TRAJECTORY:
        raise RuntimeError(f"{len(losses)} losses of {STEPS_OF_TRAJECTORY} steps")
    return losses


def _in_order(trainer: Any, batch: int, count: int) -> None:
    """Let a Trainer read the rows as they stand, so that every variant has the same ones in each step."""
    batches = [list(range(start, start + batch)) for start in range(0, count, batch)]

    def loader() -> Any:
        found = torch.utils.data.DataLoader(
            trainer.train_dataset, batch_sampler=batches, collate_fn=lambda rows: trainer.data_collator(rows)
        )
        return trainer.accelerator.prepare(found)

    trainer.get_train_dataloader = loader


def _without_borders(collate: Any) -> Any:
    """One line of all rows that nothing keeps apart: what packing must not be."""

    def leaking(examples: list[dict[str, Any]]) -> dict[str, Any]:
        batch = collate(examples)
        tokens = batch["input_ids"].shape[1]
        lengths = [len(example["input_ids"]) for example in examples]
        line = torch.cat([ids[:length] for ids, length in zip(batch["input_ids"], lengths, strict=True)])[None]
        starts = [0, *itertools.accumulate(lengths)]
        which, place, wanted = batch["targets"]
        place = torch.tensor(starts)[which] + place + tokens - line.shape[1]
        return {"input_ids": line, "targets": torch.stack([torch.zeros_like(which), place, wanted]),
                "index": batch["index"]}  # fmt: skip

    return leaking
