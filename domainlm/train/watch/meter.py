"""Tokens a second, MFU and memory of a running training: counted from the rows' lengths, so that no GPU has to wait."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from transformers import TrainerCallback

from domainlm.train.rows import Row
from domainlm.train.watch.flops import Work, peak_flops

GB = 2**30


class Counted(NamedTuple):
    """What was trained on, and for how long.

    Args:
        tokens: without padding.
        padded: as the model got them, padding in.
        supervised: those that the loss counts.
        flops: what the mathematics of these tokens needs.
        hardware_flops: with what was computed again.
        seconds: forward, backward, optimizer and loading of data; without looks, samples and checkpoints.
    """

    tokens: float = 0
    padded: float = 0
    supervised: float = 0
    flops: float = 0
    hardware_flops: float = 0
    seconds: float = 0

    def __add__(self, other: Counted) -> Counted:  # type: ignore[override]
        return Counted(*(mine + others for mine, others in zip(self, other, strict=True)))

    def figures(self, peak: float | None) -> dict[str, float]:
        """Speeds; MFU and HFU only where the device's peak is known.

        Args:
            peak: FLOP/s of all devices together.
        """
        if not self.seconds:
            return {}
        found = {
            "tokens_per_second": self.tokens / self.seconds,
            "padded_tokens_per_second": self.padded / self.seconds,
            "supervised_tokens_per_second": self.supervised / self.seconds,
        }
        if peak:
            found |= {
                "mfu": self.flops / self.seconds / peak,
                "hfu": self.hardware_flops / self.seconds / peak,
            }
        return found


class Meter(TrainerCallback):
    """Adds its figures to what the Trainer logs, before any destination sees it.

    Args:
        rows: the rows that are trained on.
        packed: whether batches hold no padding.
        work: the model's arithmetic.
        recompute: whether activations are computed twice.
        total: told what was counted since the last point; the account of the whole training.
    """

    def __init__(
        self, rows: Sequence[Row], packed: bool, work: Work, recompute: bool, total: Callable[[Counted], None]
    ) -> None:
        # where a head is trained, a row's second part is the number of a label: one decision
        self._learned = [len(tail) if isinstance(tail, list) else 1 for _, tail in rows]
        self._lengths = [len(head) + (len(tail) if isinstance(tail, list) else 0) for head, tail in rows]
        self._packed, self._work, self._recompute, self._total = packed, work, recompute, total
        self._peak: float | None = None
        self._mark = 0.0
        self._forget()

    def _forget(self) -> None:
        self._tokens = self._padded = self._supervised = self._squares = 0
        self._seconds = 0.0

    def seen(self, index: Sequence[int]) -> None:
        """Count the rows of one pass."""
        lengths = [self._lengths[position] for position in index]
        self._tokens += sum(lengths)
        self._padded += sum(lengths) if self._packed else len(lengths) * max(lengths)
        self._supervised += sum(self._learned[position] for position in index)
        self._squares += sum(length * length for length in lengths)

    def on_train_begin(self, args, state, control, **_):
        """Start the clock."""
        self._peak = peak_flops(device_name())
        self._mark = time.monotonic()

    def on_step_end(self, args, state, control, **_):
        """The clock runs from step to step, loading of data in."""
        self._tick()

    def on_evaluate(self, args, state, control, **_):
        """A look at the development split is no training."""
        self._mark = time.monotonic()

    def on_save(self, args, state, control, **_):
        """A checkpoint is none either."""
        self._mark = time.monotonic()

    def _tick(self) -> None:
        now = time.monotonic()
        self._seconds, self._mark = self._seconds + now - self._mark, now

    def on_log(self, args, state, control, logs: dict[str, Any] | None = None, **_):
        """Figures since the last point; by now the step's loss was read, so the device has done what is counted."""
        if logs is None or "loss" not in logs:
            return
        self._tick()
        counted = self._counted(args)
        logs |= counted.figures(self._peak * args.world_size if self._peak else None) | memory()
        self._total(counted)

    def on_train_end(self, args, state, control, **_):
        """Steps since the last point of the curve count too."""
        if self._tokens:
            self._total(self._counted(args))

    def _counted(self, args: Any) -> Counted:
        """Of all processes together; every process logs at the same steps."""
        sums = [float(self._tokens), float(self._padded), float(self._supervised), float(self._squares)]
        if args.world_size > 1:
            import torch

            shared = torch.tensor(sums, dtype=torch.float64, device=args.device)
            torch.distributed.all_reduce(shared)
            sums = shared.tolist()
        tokens, padded, supervised, squares = sums
        length = squares / tokens if tokens else 0.0
        counted = Counted(
            tokens,
            padded,
            supervised,
            tokens * self._work.model_flops(length),
            tokens * self._work.hardware_flops(length, self._recompute),
            self._seconds,
        )
        self._forget()
        return counted


def device_name() -> str:
    """The device's name as its maker writes it; for a CPU the model's name."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "CPU")


def forget_peaks() -> None:
    """Begin to look for the peaks of this training: earlier steps of the same process may have needed more."""
    import torch

    with contextlib.suppress(OSError):  # some kernels and sandboxes do not offer it: then the peak is the process's
        Path("/proc/self/clear_refs").write_text("5")  # proc(5): resets the high water mark
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def _peak_resident_bytes() -> int:
    """The high water mark of resident memory since `forget_peaks`."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux counts in KB


def memory() -> dict[str, float]:
    """Peak memory in GB of 2^30 bytes: of torch's allocator on a GPU, of the whole process beside it."""
    import torch

    found = {"peak_process_gb": _peak_resident_bytes() / GB}
    if torch.cuda.is_available():
        found |= {
            "peak_allocated_gb": torch.cuda.max_memory_allocated() / GB,
            "peak_reserved_gb": torch.cuda.max_memory_reserved() / GB,
        }
    return found
