"""Trainings over two processes, one after another in the same two: what test_processes.py and test_fsdp.py look at.

    torchrun --nproc-per-node 2 many_trainings.py PLACE

PLACE has what `write_inputs` puts there. Of each training the first process leaves `NAME.json` and `NAME/adapter`, and
each process `NAME.rows.RANK.json`: the rows that it read, by optimizer step.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

# What two processes may differ by, against the norm, as sums are added in another order. Measured 1.5e-7 at most for
# weights after a whole training; reports have five digits.
GRADIENT_TOLERANCE, WEIGHTS_TOLERANCE, LOSS_TOLERANCE = 2e-6, 1e-5, 1e-4

COMMON = {
    "max_steps": 6,
    "batch_size": 8,
    "rank": 4,
    "alpha": 8,
    "learning_rate": 5e-3,
    "logging_steps": 2,
    "save_steps": 2,
    "threads": 1,
    "report_to": [],
    "dev_records": 12,
}
# one optimizer step of plain descent: what the weights lose is the gradient
GRADIENT = {
    "method": "lora",
    "max_steps": 1,
    "optimizer": "sgd",
    "learning_rate": 1.0,
    "scheduler": "constant",
    "warmup_ratio": 0.0,
    "max_grad_norm": 1e9,
}
# 91 rows in steps of 10: the last step of an epoch has one row for two processes
WHOLE_EPOCHS = {"max_steps": None, "epochs": 2, "batch_size": 5, "batching": "grouped", "loss_weighting": "record"}
# by name: the recipe; one process has batch_size 16 where two have 8 each
RECIPES = {
    "gradient": GRADIENT,
    "gradient_by_record": GRADIENT | {"loss_weighting": "record", "gradient_accumulation": 2},
    "qlora": {"method": "qlora", **WHOLE_EPOCHS, "grown": True},
    "full": {"method": "full", "gradient_accumulation": 2, "gradient_checkpointing": True, "sample_prompts": 1},
    "stopped_early": {
        **{"method": "lora", "learning_rate": 0.05, "max_steps": 12, "sample_prompts": 1},
        **{"eval_steps": 2, "early_stopping": 1},
    },
    "dropout": {"method": "lora", "dropout": 0.1, "max_steps": 8},
    "long": {"method": "lora", "dropout": 0.1, "max_steps": 60},  # long enough to be hit by a signal
    "curriculum": {
        "method": "lora",
        "max_steps": None,
        "stages": [{"name": "first", "max_steps": 3, "tasks": ["term"]}, {"name": "second", "max_steps": 3}],
    },
}
PLAN = [
    *(("ddp", name) for name in ("gradient", "gradient_by_record", "qlora", "stopped_early", "dropout", "curriculum")),
    ("ddp", "long"),
    *(("fsdp2", name) for name in ("gradient", "gradient_by_record", "qlora", "full", "stopped_early", "dropout")),
]
# once more, broken off in step 5
INTERRUPTED = [("ddp", "dropout"), ("fsdp2", "dropout"), ("fsdp2", "full"), ("fsdp2", "qlora")]


class Broken(RuntimeError):
    """What breaks a training off."""


def weights(folder: Path):
    """The tensors of an adapter or of whole weights."""
    from safetensors.torch import load_file

    return load_file(next(folder.glob("*.safetensors")))


def distance(found, wanted) -> float:
    """How far weights lie apart, against their norm."""
    assert found.keys() == wanted.keys()
    apart = sum((found[name] - wanted[name]).square().sum() for name in wanted)
    return (apart / sum(value.square().sum() for value in wanted.values())).sqrt().item()


def write_inputs(place: Path, records, tasks) -> None:
    """What the processes read."""
    records.save_to_disk(str(place / "records"))
    (place / "tasks.json").write_text(json.dumps({name: task.model_dump() for name, task in tasks.items()}))


def recipe(name: str, processes: int):
    """The settings of a recipe, and whether its tokenizer has new tokens."""
    from domainlm.train.settings import TrainSettings

    changes = dict(RECIPES[name])
    grown = changes.pop("grown", False)
    settings = COMMON | changes
    batch = settings["batch_size"] * 2 // processes
    return TrainSettings(**settings | {"batch_size": batch, "processes": processes}), grown


def main(place: Path) -> None:
    """Run the plan as one of two processes."""
    import torch.distributed as dist
    from datasets import load_from_disk
    from transformers import TrainerCallback

    from domainlm.artifacts import BaseCheckpoint, TokenizerFolder
    from domainlm.tasks import Task
    from domainlm.train import train
    from domainlm.train.processes.distributed import joined
    from domainlm.train.watch import monitoring

    class Break(TrainerCallback):
        def on_step_begin(self, args, state, control, **_):
            if state.global_step == 5:
                raise Broken

    dist.init_process_group("gloo")
    rank = dist.get_rank()
    tasks = {name: Task(**fields) for name, fields in json.loads((place / "tasks.json").read_text()).items()}
    records = load_from_disk(str(place / "records"))
    read: list[tuple[int, list[int]]] = []
    batch = monitoring.Watch.batch

    def noted(self, step, index, loss):
        read.append((step, list(index)))
        batch(self, step, index, loss)

    monitoring.Watch.batch = noted

    def run(strategy: str, name: str, folder: Path, callbacks=None):
        settings, grown = recipe(name, 2)
        tokenizer = TokenizerFolder(Path(os.environ["GROWN" if grown else "PLAIN"]))
        base = BaseCheckpoint(Path(os.environ["BASE"]))
        return train(records, tokenizer, base, settings, tasks, folder / "adapter", folder / "work", callbacks)

    for strategy, name in PLAN:
        folder = place / f"{strategy}_{name}"
        read.clear()
        with joined(strategy):
            adapter, report = run(strategy, name, folder)
        folder.with_suffix(f".rows.{rank}.json").write_text(json.dumps(read))
        if rank == 0:
            told = json.loads((folder / "work" / "throughput.json").read_text())
            found = {"digest": adapter.digest, "report": report.model_dump(mode="json"), "throughput": told}
            folder.with_suffix(".json").write_text(json.dumps(found))
    for strategy, name in INTERRUPTED:
        folder = place / f"{strategy}_{name}_again"
        with joined(strategy):
            try:
                run(strategy, name, folder, lambda before, look: [Break()])
            except Broken:
                dist.barrier()
                kept = sorted(path.name for path in (folder / "work").glob("checkpoint-*"))
                adapter, _ = run(strategy, name, folder)
        if rank == 0:
            folder.with_suffix(".json").write_text(json.dumps({"digest": adapter.digest, "kept": kept}))
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
