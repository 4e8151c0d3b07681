"""How a training is timed: blocks of synchronised steps after a warm-up, and every token counted.

The meter is a callback, so that it sees any Trainer from outside: the product's and the plain one of the paper's
recipe. Tokens are counted where the batch already lies on the device, by small kernels that nobody waits for.
"""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import Trainer, TrainerCallback

IGNORED = -100
GIGABYTE = 1e9


def on_gpu() -> bool:
    """Whether this process trains on a CUDA device."""
    return torch.cuda.is_available()


def now() -> float:
    """Seconds: of the wall on a GPU, of this process's own processor time on a CPU that others may use too."""
    if on_gpu():
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time()


CLOCKS = {True: "wall time between synchronisations", False: "processor time of the process"}


def memory() -> dict[str, Any]:
    """The most memory that this process held, and which counter says so; GB are 10^9 bytes."""
    if on_gpu():
        return {
            "peak_gb": torch.cuda.max_memory_allocated() / GIGABYTE,
            "peak_reserved_gb": torch.cuda.max_memory_reserved() / GIGABYTE,
            "memory_counter": "torch.cuda.max_memory_allocated",
        }
    return {
        "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GIGABYTE,
        "peak_reserved_gb": None,
        "memory_counter": "getrusage ru_maxrss, libraries included",
    }


@dataclass
class Block:
    """So many optimizer steps in a row, with loading of data and optimizer."""

    seconds: float
    steps: int
    tokens: int
    padded: int
    supervised: int

    @property
    def rate(self) -> float:
        """Tokens a second, padding not counted."""
        return self.tokens / self.seconds


class Counted:
    """Stands in front of a Trainer's `training_step` and counts what goes in.

    `tokens` and `supervised` stay on the device until a block ends; `padded` is known from the batch's shape.
    """

    def __init__(self, trainer: Trainer, pad: int) -> None:
        self._inner, self._pad = trainer.training_step, pad
        self.tokens: torch.Tensor | int = 0
        self.supervised: torch.Tensor | int = 0
        self.padded = 0
        # the product goes on with smaller passes where memory runs out; a row's micro-batch is the one that it names
        self._pieces = getattr(trainer, "micro_batches", None)
        trainer.training_step = self

    def __call__(self, model: Any, inputs: dict[str, Any], *rest: Any, **named: Any) -> torch.Tensor:
        ids = inputs["input_ids"]
        self.tokens = self.tokens + (ids != self._pad).sum()
        self.padded += ids.numel()
        if "targets" in inputs:  # the product's batches list what is asked for
            self.supervised = self.supervised + inputs["targets"].shape[1]
        else:
            self.supervised = self.supervised + (inputs["labels"] != IGNORED).sum()
        loss = self._inner(model, inputs, *rest, **named)
        if self._pieces is not None and self._pieces.rows is not None:
            raise torch.OutOfMemoryError(f"out of memory: passes of {self._pieces.rows} rows would fit")
        return loss

    def read(self) -> tuple[int, int, int]:
        """Tokens, tokens with padding, supervised tokens so far."""
        return int(self.tokens), self.padded, int(self.supervised)


@dataclass
class Meter(TrainerCallback):
    """Times blocks of steps and stops the training after the last one, or before the deadline is passed.

    Args:
        counted: the counter in front of the Trainer.
        warmup: optimizer steps before the first block.
        steps: optimizer steps of a block.
        wanted: how many blocks.
        deadline: `time.monotonic()` at which the row must end.
        ready: called once between warm-up and first block; it may wait until the machine is quiet.
        tell: called with all blocks so far after each one.
    """

    counted: Counted
    warmup: int
    steps: int
    wanted: int
    deadline: float
    ready: Callable[[], None] = lambda: None
    tell: Callable[[list[Block]], None] = lambda blocks: None
    blocks: list[Block] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    late: bool = False

    def __post_init__(self) -> None:
        self._mark: tuple[float, tuple[int, int, int]] | None = None
        self._started = time.monotonic()

    def on_step_end(self, args, state, control, **_):
        """Close a block where one ends; stop in time."""
        done = state.global_step - self.warmup
        if done == 0:
            self.ready()
            self._mark = now(), self.counted.read()
            self._started = time.monotonic()
        elif done > 0 and done % self.steps == 0:
            self._close()
            control.should_training_stop = len(self.blocks) >= self.wanted
        if not control.should_training_stop and self._would_be_late(done):
            self.late = control.should_training_stop = True
        return control

    def _close(self) -> None:
        clock, before = self._mark
        moment, counts = now(), self.counted.read()
        tokens, padded, supervised = (after - first for after, first in zip(counts, before, strict=True))
        self.blocks.append(Block(moment - clock, self.steps, tokens, padded, supervised))
        self.tell(self.blocks)
        self._mark = now(), counts

    def _would_be_late(self, done: int) -> bool:
        """A block that cannot be finished is not begun; inside one, the deadline itself counts."""
        moment = time.monotonic()
        if done <= 0 or done % self.steps:
            return moment > self.deadline
        return moment + (moment - self._started) / len(self.blocks) > self.deadline

    def on_log(self, args, state, control, logs=None, **_):
        """Keep the losses that the Trainer logs."""
        if logs and "loss" in logs:
            self.losses.append(float(logs["loss"]))


def figures(blocks: list[Block], flop: float, peak_flops: float | None, measured_flops: float | None) -> dict[str, Any]:
    """The table's figures of one row: the middle block's speed, with the slowest and the fastest beside it.

    Args:
        blocks: at least one.
        flop: floating-point operations a token.
        peak_flops: what the datasheet promises a second; None where there is no such sheet.
        measured_flops: what a large matrix product reached on this very device.
    """
    rates = [block.rate for block in blocks]
    rate = statistics.median(rates)
    tokens, seconds = sum(block.tokens for block in blocks), sum(block.seconds for block in blocks)
    return {
        "tokens_per_second": rate,
        "tokens_per_second_low": min(rates),
        "tokens_per_second_high": max(rates),
        "step_seconds": statistics.median(block.seconds / block.steps for block in blocks),
        "blocks": [vars(block) for block in blocks],
        "seconds": seconds,
        "tokens": tokens,
        "padded_tokens": sum(block.padded for block in blocks),
        "supervised_tokens": sum(block.supervised for block in blocks),
        "tokens_per_step": tokens / sum(block.steps for block in blocks),
        "flop_per_token": flop,
        "mfu": rate * flop / peak_flops if peak_flops else None,
        "mfu_of_measured_rate": rate * flop / measured_flops if measured_flops else None,
    }
