"""Fits a training into the memory there is before anything is loaded, from the base's config.json and the recipe alone.

Given up in this order, and never more than needed: a smaller micro-batch (with as much more accumulation: the effective
batch stays what it is), then activations (recomputed in the backward pass), then bits of the frozen base, where the
recipe leaves them open (`bits: null` and a method other than `qlora` and `full`). Where nothing fits, the error says
what would.
"""

from __future__ import annotations

import json
import logging
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from domainlm.artifacts import BaseCheckpoint
from domainlm.errors import TrainingError
from domainlm.models.architectures import ARCHITECTURES
from domainlm.models.free_memory import Memory, free_memory
from domainlm.models.memory import GB, Bits, Estimate, Shape, estimate, scoring_bytes
from domainlm.train.settings import LORA_METHODS, TrainSettings

if TYPE_CHECKING:
    from transformers import PretrainedConfig

FILE = "plan.json"
_DOUBT = 0.8  # of the estimate of a training that then ran out of memory: what suffices must need less than this
_HOST_SHARE = 0.9  # of the host's free memory: others live there too
# A 4-bit or 8-bit layer is unpacked at every pass: measured, 5 s of one core for 10^9 weights forward and backward,
# before the first token is computed. A base beyond that is a GPU's.
CPU_QUANTIZED_PARAMETERS = 1_000_000_000

_log = logging.getLogger(__name__)


class Plan(NamedTuple):
    """How a training uses the memory that it has.

    Args:
        micro_batch: records of one forward pass.
        accumulation: forward passes of one optimizer step.
        checkpointing: whether activations are recomputed.
        bits: of the frozen weights.
        estimate: what that needs.
        reasons: what was given up and why, for people; empty where the recipe fits as it is.
        scoring_batch: records of one pass of a look at the development split, which has all logits at once.
    """

    micro_batch: int
    accumulation: int
    checkpointing: bool
    bits: Bits
    estimate: Estimate
    reasons: tuple[str, ...] = ()
    scoring_batch: int = 1


def planned(
    base: BaseCheckpoint, settings: TrainSettings, work: Path | None = None, sharing: int = 1, shards: int = 1
) -> tuple[TrainSettings, Plan | None]:
    """The recipe as it fits into this machine; with `fit_memory: off` as it is, and no plan.

    Args:
        base: the base, of which only config.json is read.
        settings: the recipe.
        work: where the plan is written down (`plan.json`); a training that goes on keeps its plan while it fits.
        sharing: processes of this training on this machine.
        shards: processes that weights are spread over.

    Raises:
        TrainingError: it does not fit, or it needs a GPU and there is none.
    """
    if settings.fit_memory == "off" or settings.strategy == "deepspeed":  # whose own configuration offloads
        return settings, None
    memory = free_memory(sharing)
    if settings.memory_gb is not None:
        memory = memory._replace(bytes=int(settings.memory_gb * GB))
    shape = Shape.of_folder(base.model_path)
    refuse_without_gpu(shape, settings, memory.gpu)
    if memory.bytes is None:
        return settings, None
    room = memory.bytes if memory.gpu or settings.memory_gb is not None else int(memory.bytes * _HOST_SHARE)
    longest = min(settings.max_length, shape.context or settings.max_length)
    found = plan(shape, settings, longest, room, gpu=memory.gpu, shards=shards, first=kept(work))
    for reason in found.reasons:
        _log.warning("%s", reason)
    if work is not None:
        write(work, found, memory, longest)
    return fitted(settings, found), found


def fitted(settings: TrainSettings, found: Plan) -> TrainSettings:
    """The recipe with a plan's micro-batch, accumulation, checkpointing and bits."""
    changes: dict[str, object] = {
        "batch_size": found.micro_batch,
        "gradient_accumulation": found.accumulation,
        "gradient_checkpointing": found.checkpointing,
    }
    if found.bits != _bits(settings):
        changes["bits"] = found.bits
    return TrainSettings(**(settings.model_dump() | changes))


def plan(
    shape: Shape,
    settings: TrainSettings,
    longest: int,
    memory_bytes: int,
    *,
    gpu: bool = True,
    shards: int = 1,
    first: Way | None = None,
) -> Plan:
    """The first way of running a recipe that fits.

    Args:
        shape: the base's.
        settings: the recipe.
        longest: tokens of the longest row.
        memory_bytes: what it must fit into.
        gpu: whether that is a GPU's.
        shards: processes that weights are spread over.
        first: how it ran before it was interrupted; it goes on so while that fits.

    Raises:
        TrainingError: nothing fits (`fit_memory: auto`), or the recipe as it is does not (`check`).
    """

    need = _Need(shape, settings, longest, gpu, shards)
    effective = settings.batch_size * settings.gradient_accumulation
    asked = Way(settings.batch_size, settings.gradient_checkpointing, _bits(settings))
    check = settings.fit_memory == "check"
    ways = [asked] if check else list(_ways(settings, need.open_bits()))
    if first in ways:  # what was trained beside a base of some bits does not go on beside one of others
        ways = [first, *(way for way in ways if way.bits == first.bits)]
    for way in ways:
        wanted = need.of(way)
        if wanted.total_gb * GB <= memory_bytes:
            reasons = _reasons(asked, way, need.of(asked), memory_bytes)
            scored = need.scoring_batch(way, memory_bytes)
            return Plan(
                way.micro_batch, effective // way.micro_batch, way.checkpointing, way.bits, wanted, reasons, scored
            )
    least = need.of(asked) if check else need.least()
    raise TrainingError(
        f"the training needs {least.total_gb:.3g} GB {'as it is' if check else 'at the least'} and there are"
        f" {memory_bytes / GB:.3g} ({told(least)})",
        "steps.train.parameters",
        remedies(shape, settings, longest, memory_bytes, gpu=gpu, shards=shards),
    )


class Way(NamedTuple):
    """One way of running a recipe."""

    micro_batch: int
    checkpointing: bool
    bits: Bits


class _Need(NamedTuple):
    """What a recipe needs, by the way it is run."""

    shape: Shape
    settings: TrainSettings
    longest: int
    gpu: bool
    shards: int

    def of(self, way: Way) -> Estimate:
        return estimate(
            self.shape,
            with_bits(self.settings, way.bits),
            way.micro_batch,
            self.longest,
            way.checkpointing,
            gpu=self.gpu,
            shards=self.shards,
        )

    def least(self) -> Estimate:
        """Of all ways, the one that needs least."""
        ways = [Way(1, True, bits) for bits in self.open_bits()]
        return min((self.of(way) for way in ways), key=lambda found: found.total_gb)

    def scoring_batch(self, way: Way, memory_bytes: int) -> int:
        """Rows that can be scored at a time while a training rests: as many as a pass has, or halves of that."""
        found = self.of(way)
        room = memory_bytes - (found.total_gb - found.activations_gb - found.logits_gb) * GB
        settings, rows = with_bits(self.settings, way.bits), way.micro_batch
        while rows > 1 and scoring_bytes(self.shape, settings, rows, self.longest, self.gpu) > room:
            rows //= 2
        return rows

    def open_bits(self) -> tuple[Bits, ...]:
        """The recipe's own bits, and fewer where it leaves them open: not by its method, nor by weights that are
        sharded, nor by experts that quantization misses."""
        known = ARCHITECTURES.get(self.shape.architecture)
        fixed = self.settings.bits is not None or self.settings.method in ("qlora", "full")
        if fixed or self.shards > 1 or (known and not known.quantizable):
            return (_bits(self.settings),)
        return (16, 8, 4)

    def fits(self, memory_bytes: int, longest: int | None = None, **changes: object) -> bool:
        """Whether the least that a changed recipe needs is there."""
        changed = TrainSettings(**(self.settings.model_dump() | changes))
        need = self._replace(settings=changed, longest=longest or self.longest)
        return need.least().total_gb * GB <= memory_bytes


def _ways(settings: TrainSettings, open_bits: Sequence[Bits]) -> Iterator[Way]:
    """All ways in the order of what they give up."""
    effective = settings.batch_size * settings.gradient_accumulation
    micros = [size for size in range(settings.batch_size, 0, -1) if effective % size == 0]
    for bits in open_bits:
        for checkpointing in sorted({settings.gradient_checkpointing, True}):
            for micro in micros:
                yield Way(micro, checkpointing, bits)


def _bits(settings: TrainSettings) -> Bits:
    return {"nf4": 4, "int8": 8, "none": 16}[settings.quantization]


def with_bits(settings: TrainSettings, bits: Bits) -> TrainSettings:
    """The recipe with bits of the frozen base."""
    if bits == _bits(settings):
        return settings
    return TrainSettings(**(settings.model_dump() | {"bits": bits}))


def _reasons(asked: Way, way: Way, wanted: Estimate, memory_bytes: int) -> tuple[str, ...]:
    if way == asked:
        return ()
    reasons = [f"as configured it would need {wanted.total_gb:.3g} GB, {memory_bytes / GB:.3g} GB are there"]
    if way.micro_batch != asked.micro_batch:
        reasons.append(f"micro-batches of {way.micro_batch} in place of {asked.micro_batch}, the effective batch stays")
    if way.checkpointing != asked.checkpointing:
        reasons.append("activations are recomputed: steps take about a third longer")
    if way.bits != asked.bits:
        reasons.append(f"the frozen base is kept in {way.bits} bits in place of {asked.bits}")
    return tuple(reasons)


def told(found: Estimate) -> str:
    """An estimate for people, largest part first.

    >>> told(Estimate(7.3, 0.2, 0.2, 0.3, 0, 0, 0.6, 8.6))
    'weights 7.3, overhead 0.6, optimizer 0.3, adapter 0.2, gradients 0.2'
    """
    parts = {name.removesuffix("_gb"): value for name, value in found._asdict().items() if name != "total_gb"}
    ordered = sorted(parts.items(), key=lambda part: -part[1])
    least = min(0.05, ordered[0][1])  # of a small base all parts are below it
    return ", ".join(f"{name} {value:.3g}" for name, value in ordered if value >= least)


def remedies(
    shape: Shape, settings: TrainSettings, longest: int, memory_bytes: int, *, gpu: bool = True, shards: int = 1
) -> str:
    """What would fit, for an error: each change that suffices alone, else all together; and the memory it takes."""
    need = _Need(shape, settings, longest, gpu, shards)
    found = []
    if settings.fit_memory == "check" and need.fits(memory_bytes, fit_memory="auto"):
        found.append("fit_memory: auto (smaller micro-batches, recomputation)")
    for changes in _changes(settings, gpu):
        if need.fits(memory_bytes, **changes):
            found.append(_yaml(changes))
    if shorter := next((size for size in _halves(longest) if need.fits(memory_bytes, size)), None):
        found.append(f"max_length: {shorter}")
    if not found:
        found += _together(need, memory_bytes)
    found.append(f"a device with {math.ceil(need.least().total_gb)} GB free")
    return f"what would fit: {'; '.join(found)}; or a smaller base (domainlm bases --gpu-memory GB)"


def after_all(config: PretrainedConfig, settings: TrainSettings, gpu: bool) -> str:
    """What would fit, where a training that was planned to fit ran out of memory: the estimate was too small."""
    recipe = settings.model_copy(update={"fit_memory": "auto"})
    shape = Shape.of(config)
    longest = min(settings.max_length, shape.context or settings.max_length)
    asked = _Need(shape, recipe, longest, gpu, 1)
    need = asked.of(Way(1, settings.gradient_checkpointing, _bits(settings)))
    found = remedies(shape, recipe, longest, int(_DOUBT * need.total_gb * GB), gpu=gpu)
    return found if settings.gradient_checkpointing else f"set gradient_checkpointing: true; {found}"


def _changes(settings: TrainSettings, gpu: bool) -> Iterator[dict[str, object]]:
    """Changes of a recipe that save memory, the gentle ones first."""
    if settings.loss_chunk_tokens is None:
        yield {"loss_chunk_tokens": 1024}
    if not settings.optimizer.endswith("8bit"):
        yield {"optimizer": "paged_adamw_8bit" if gpu else "adamw_8bit"}
    if settings.method in LORA_METHODS:
        if settings.rank > 8:
            yield {"rank": 8}
        if settings.bits == 16:
            yield {"bits": 8}
    if settings.method == "full" and settings.initialisation == "pretrained":
        yield {"method": "lora", "bits": 16}
    if settings.quantization != "nf4" and settings.initialisation == "pretrained":
        yield {"method": "qlora", "bits": None}


def _yaml(changes: dict[str, object]) -> str:
    return ", ".join(f"{key}: {'null' if value is None else value}" for key, value in changes.items())


def _halves(longest: int) -> Iterator[int]:
    while longest >= 32:
        longest //= 2
        yield longest


def _together(need: _Need, memory_bytes: int) -> list[str]:
    """As many changes as it takes, the strongest first; then shorter rows."""
    changes: dict[str, object] = {}
    for change in reversed(list(_changes(need.settings, need.gpu))):
        changes = change | changes
        if need.fits(memory_bytes, **changes):
            return [_yaml(changes)]
    for size in _halves(need.longest):
        if need.fits(memory_bytes, size, **changes):
            return [_yaml(changes | {"max_length": size})]
    return []


def refuse_without_gpu(shape: Shape, settings: TrainSettings, gpu: bool) -> None:
    """A recipe that only a GPU can run in human time is refused before anything is loaded.

    Four bits on a CPU are fine for a small base: that is the default of this project.

    Raises:
        TrainingError: there is no GPU, and the recipe asks for 16-bit floating point that only GPUs train in, or for
            4 or 8 bits of a large base.
    """
    if gpu:
        return
    if settings.compute_dtype == "float16" and settings.method != "full":
        raise TrainingError(
            "compute_dtype float16 needs a GPU, and none is visible (CUDA)",
            "steps.train.parameters.compute_dtype",
            "use float32 or bfloat16 on a CPU, or run this step where a GPU is",
        )
    if settings.quantization != "none" and shape.linear_parameters > CPU_QUANTIZED_PARAMETERS:
        seconds = 5 * shape.linear_parameters / 1e9
        raise TrainingError(
            f"a base of {shape.parameters / 1e9:.1f} billion parameters in {_bits(settings)} bits needs a GPU, and none"
            f" is visible (CUDA): unpacking its weights alone takes about {seconds:.0f} s of a core at every pass",
            "steps.train.parameters.method",
            "run this step where a GPU is, take a base of at most 1 billion parameters, or set fit_memory: off to try",
        )


# ------------------------------------------------------------------------------------------------- written down


def write(work: Path, found: Plan, memory: Memory, longest: int) -> None:
    """Leave the plan in the work folder: for the run's record, and for a training that goes on."""
    work.mkdir(parents=True, exist_ok=True)
    rounded = {name: round(value, 3) for name, value in found.estimate._asdict().items()}
    content = found._asdict() | {
        "estimate": rounded,
        "longest": longest,
        "device": memory.device,
        "memory_gb": round((memory.bytes or 0) / GB, 2),
    }
    draft = work / f"{FILE}.draft"
    draft.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")
    os.replace(draft, work / FILE)


def kept(work: Path | None) -> Way | None:
    """How a training ran whose checkpoints lie in a work folder."""
    try:
        content = json.loads((work / FILE).read_text()) if work and any(work.glob("**/checkpoint-*")) else {}
        return Way(content["micro_batch"], content["checkpointing"], content["bits"])
    except (OSError, ValueError, KeyError):
        return None
