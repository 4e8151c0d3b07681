"""What one process of the benchmark does: the smoke, one row of the table, or the trajectories of one base.

A job is a dictionary from the plan; what it returns is a dictionary for the table. Nothing here decides about time: the
deadline comes with the job.
"""

from __future__ import annotations

import contextlib
import gc
import math
import platform
import statistics
import tempfile
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from benchmarks.training import bases, recipes, rows
from benchmarks.training.meter import CLOCKS, Counted, Meter, figures, memory, now, on_gpu
from benchmarks.training.shapes import Base
from benchmarks.training.shapes import bases as table_of

Job = dict[str, Any]
Tell = Callable[[dict[str, Any]], None]
OUT_OF_MEMORY = "out of memory"
PACKAGES = ("torch", "transformers", "peft", "accelerate", "bitsandbytes", "triton")
PROBE_STEPS = 3
STEPS_OF_TRAJECTORY = 20


class Channel:
    """What a job says while it runs.

    Args:
        tell: takes what is known so far; the last word of a job that is killed.
        ready: waits until no other process of the benchmark is busy.
    """

    def __init__(self, tell: Tell = lambda partial: None, ready: Callable[[], None] = lambda: None) -> None:
        self.tell, self.ready = tell, ready


def device() -> str:
    """Where this process computes."""
    return "cuda" if on_gpu() else "cpu"


def device_name() -> str:
    """The card's own name, or the processor's."""
    if on_gpu():
        return torch.cuda.get_device_name()
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return f"CPU ({line.partition(':')[2].strip()})"
    return f"CPU ({platform.machine()})"


@contextlib.contextmanager
def workplace() -> Iterator[Path]:
    """A folder that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="domainlm-benchmark-") as name:
        yield Path(name)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out; bitsandbytes and the product say so in words alone."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "out of memory" in str(error).lower()


def forget() -> None:
    """Give back what a finished or failed training held; the next one has a peak of its own."""
    gc.collect()
    if on_gpu():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


# ---------------------------------------------------------------------------------------------------------- smoke


def smoke(job: Job, channel: Channel) -> dict[str, Any]:
    """Whether this machine can carry the benchmark: card, rate of a large matrix product, 4-bit layers that learn."""
    from domainlm.train.watch.flops import peak_flops

    found: dict[str, Any] = {
        "device": device_name(),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in PACKAGES},
        "memory_gb": torch.cuda.get_device_properties(0).total_memory / 1e9 if on_gpu() else None,
        "compute_capability": ".".join(map(str, torch.cuda.get_device_capability())) if on_gpu() else None,
        "memory_counter": memory()["memory_counter"],
    }
    found |= matrix_rate() | {"peak_flops": peak_flops(found["device"])}
    channel.tell(found)
    found["four_bit_layers"] = {}
    for kind in table_of(job["toy"]):
        base = table_of(job["toy"])[kind].narrowed()
        found["four_bit_layers"][base.name] = _four_bit_layers(base)
        channel.tell(found)
        forget()
    return found


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def matrix_rate(blocks: int = 3) -> dict[str, Any]:
    """Floating-point operations a second of a large matrix product on random data (zeros would be faster).

    A block lasts long enough on a GPU for its clock to settle under load.
    """
    products = 200 if on_gpu() else 20
    size, dtype = (8192, torch.bfloat16) if on_gpu() else (768, torch.float32)
    left, right = (torch.randn(size, size, device=device(), dtype=dtype) for _ in range(2))
    out = torch.empty_like(left)
    for _ in range(3):
        torch.matmul(left, right, out=out)
    rates = []
    for _ in range(blocks):
        started = now()
        for _ in range(products):
            torch.matmul(left, right, out=out)
        rates.append(products * 2 * size**3 / (now() - started))
    return {
        "matrix_flops": statistics.median(rates),
        "matrix_flops_low": min(rates),
        "matrix_flops_high": max(rates),
        "matrix": f"{size} x {size} x {size}, {str(dtype).removeprefix('torch.')}",
    }


def _four_bit_layers(base: Base) -> int:
    """How many layers are in 4 bits, once one step through them gave each adapter a gradient.

    Raises:
        RuntimeError: a layer is missing, or a gradient is.
    """
    from domainlm.models.loading import quantized_layers
    from domainlm.models.shapes import Shape
    from domainlm.train.settings import TrainSettings

    settings = TrainSettings(method="qlora", rank=8, alpha=8, max_steps=1, **recipes.QUIET)
    with workplace() as folder:
        model = bases.prepared(base, settings, device(), folder).model
        found = len(quantized_layers(model))
        wanted = sum(linear.count for linear in Shape.of(base.config).linears)
        if found != wanted:
            raise RuntimeError(f"{found} layers of {base.name} are in 4 bits, {wanted} should be")
        ids = torch.randint(rows.FIRST_FREE, base.config["vocab_size"], (1, 16), device=device())
        with torch.autocast("cuda", torch.bfloat16, enabled=on_gpu()):
            model(input_ids=ids, labels=ids).loss.backward()
        gradients = [value.grad for name, value in model.named_parameters() if "lora_B" in name]
        if not gradients or not all(grad is not None and grad.isfinite().all() and grad.any() for grad in gradients):
            raise RuntimeError(f"an adapter of {base.name} got no gradient through its 4-bit layer")
    return found


# ------------------------------------------------------------------------------------------------------------ row


def row(job: Job, channel: Channel) -> dict[str, Any]:
    """One row of the table, of one of its candidates.

    A candidate is a micro-batch, with or without recomputation. Where the job wants the `fastest`, each is tried for a
    few steps; else the first one that memory holds is taken. Those that it does not hold stand in `probes`.
    """
    found: dict[str, Any] = {"probes": []}
    candidates = job["candidates"]
    if job["choose"] == "fastest":
        candidates = _fastest(job, found, channel)
    for candidate in candidates:
        try:
            return found | _measured(job, candidate, job["warmup"], job["steps"], job["blocks"], channel, found)
        except Exception as error:
            found["probes"].append(candidate | _too_large(error))
            channel.tell(found)
            error.__traceback__ = error.__cause__ = error.__context__ = None  # their frames hold the model
        forget()
    return found | {"status": OUT_OF_MEMORY}


def _fastest(job: Job, found: dict[str, Any], channel: Channel) -> list[dict[str, Any]]:
    """The candidates that fit, the fastest first."""
    for candidate in job["candidates"]:
        try:
            # no step of a probe waits for a quiet machine: it only chooses
            tried = _measured(job, candidate, PROBE_STEPS - 1, PROBE_STEPS, 1, Channel(), {})
            probe = {key: tried.get(key) for key in ("status", "tokens_per_second", "peak_gb")}
        except Exception as error:
            probe = _too_large(error)
            error.__traceback__ = error.__cause__ = error.__context__ = None
        found["probes"].append(candidate | probe)
        channel.tell(found)
        forget()
    order = sorted(
        zip(found["probes"], job["candidates"], strict=True),
        key=lambda pair: pair[0]["tokens_per_second"] or 0.0,
        reverse=True,
    )
    return [candidate for probe, candidate in order if probe["tokens_per_second"]]


def _too_large(error: Exception) -> dict[str, Any]:
    if not is_out_of_memory(error):
        raise error
    return {"status": OUT_OF_MEMORY, "tokens_per_second": None, "peak_gb": memory()["peak_gb"]}


def _measured(
    job: Job, candidate: dict[str, Any], warmup: int, steps: int, blocks: int, channel: Channel, known: dict[str, Any]
) -> dict[str, Any]:
    from domainlm.models.runtime import reproducible
    from domainlm.models.shapes import Shape
    from domainlm.train import loop
    from domainlm.train.watch.flops import flops_per_token

    base = table_of(job["toy"])[job["base"]]
    total = warmup + steps * blocks
    lengths = rows.glossary_lengths() if job["data"] == "glossary" else [job["data"]]
    settings = settings_of(job, candidate, base, total, max(lengths))
    tokenized = rows.drawn(lengths, _rows_needed(settings, total), base.config["vocab_size"], seed=1)
    described = {
        "shape": base.name,
        "method": settings.method,
        "frozen_weights": "nf4" if settings.quantization == "nf4" else _compute_type(),
        "compute_type": _compute_type(),
        "micro_batch": settings.batch_size,
        "accumulation": settings.gradient_accumulation,
        "checkpointing": settings.gradient_checkpointing,
        "batching": settings.batching if job["recipe"] != "paper" else "padded to the longest",
        "rank": settings.rank,
        "optimizer": settings.optimizer,
        "compile": settings.compile,
        "loss_chunk_tokens": settings.loss_chunk_tokens if job["recipe"] != "paper" else None,
        "rows_of_tokens": job["data"] if job["data"] != "glossary" else f"glossary, {rows.PAPER_TOKENS} on average",
        "clock": CLOCKS[on_gpu()],
    }
    with workplace() as folder, reproducible(settings.seed, job["threads"]):
        if job["recipe"] == "paper":
            trainer = recipes.paper_trainer(base, tokenized, settings, device(), folder / "work")
        else:
            prepared = bases.prepared(base, settings, device(), folder)
            trainer = recipes.product_trainer(prepared, tokenized, settings, folder / "work")
        adapter = sum(value.numel() for value in trainer.model.parameters() if value.requires_grad)
        flop = flops_per_token(Shape.of(base.config), "lora", rows.effective_length(tokenized), adapter)

        def so_far(done: list[Any]) -> dict[str, Any]:
            return described | figures(done, flop, job["peak_flops"], job["matrix_flops"]) | memory()

        meter = Meter(
            Counted(trainer, rows.PAD),
            warmup,
            steps,
            blocks,
            job["deadline"],
            channel.ready,
            lambda done: channel.tell(known | so_far(done)),
        )
        trainer.add_callback(meter)
        if job["recipe"] == "paper":
            trainer.train()
        else:
            loop.run(trainer, folder / "work")
        losses = meter.losses
    if not meter.blocks:
        return described | memory() | {"status": "out of time"}
    loss = losses[-1] if losses else None
    status = "ok" if len(meter.blocks) == blocks else "short"
    if loss is not None and not math.isfinite(loss):
        status = "failed"
    return so_far(meter.blocks) | {"status": status, "loss": loss, "first_loss": losses[0] if losses else None}


def _compute_type() -> str:
    from domainlm.models.runtime import compute_type

    return str(compute_type()).removeprefix("torch.")


def settings_of(job: Job, candidate: dict[str, Any], base: Base, steps: int, longest: int) -> Any:
    """The recipe of a row with what its candidate says."""
    changes = job["changes"] | {
        "max_steps": steps + 1,  # stopped by the meter: the Trainer saves a checkpoint at its own end
        "batch_size": candidate["micro_batch"],
        "gradient_checkpointing": candidate["checkpointing"],
        "threads": job["threads"],
        "logging_steps": 10,
    }
    changes |= {key: candidate[key] for key in ("batching", "compile") if key in candidate}
    changes.setdefault("max_length", max(longest, 16))
    return recipes.paper(**changes) if job["recipe"] == "paper" else recipes.ours(**changes)


def _rows_needed(settings: Any, steps: int) -> int:
    """Rows for all steps without a second epoch, within reason."""
    return min(20_000, max(64, (steps + 4) * settings.gradient_accumulation * settings.batch_size))
