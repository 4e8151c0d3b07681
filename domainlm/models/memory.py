"""How much memory a training will need, from its shape and its recipe alone; docs/memory.md has each formula's error.

One GB is 2^30 bytes here, as graphics cards are sold. Every figure is the need of one process on one device.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from domainlm.models.architectures import AUTO, TARGET_MODULES
from domainlm.models.shapes import Linear, Shape

if TYPE_CHECKING:
    from domainlm.train.settings import TrainSettings

__all__ = ["GB", "Estimate", "Linear", "Shape", "estimate", "weights_bytes"]

GB = 2**30
NF4_BYTES = 0.5 + 1 / 64 + 4 / (64 * 256)  # 4 bits, an 8-bit scale for 64 weights, a 32-bit one for 256 scales
NF4_TABLES = 4 * (16 + 256 + 1)  # of each layer: the code of NF4, the code of the scales, their offset
LORA = ("qlora", "lora", "dora")
Bits = Literal[4, 8, 16]


class Estimate(NamedTuple):
    """What a training needs, in GB.

    Args:
        weights_gb: the base.
        adapter_gb: what is trained beside the base.
        gradients_gb: of all trained parameters.
        optimizer_gb: its states; paged ones count 0 on a GPU, since they can leave it.
        activations_gb: what the forward pass keeps for the backward pass.
        logits_gb: scores over the vocabulary and what their loss keeps.
        overhead_gb: the device's context, dequantized copies of a layer, the allocator's gaps.
        total_gb: the peak.
    """

    weights_gb: float
    adapter_gb: float
    gradients_gb: float
    optimizer_gb: float
    activations_gb: float
    logits_gb: float
    overhead_gb: float
    total_gb: float


def estimate(
    shape: Shape, settings: TrainSettings, micro_batch: int, length: int, checkpointing: bool, *, gpu: bool = True
) -> Estimate:
    """The memory of a training at its peak.

    Args:
        shape: the base's.
        settings: the recipe: method, bits, rank, target modules, optimizer, dtype, loss chunk.
        micro_batch: rows of one forward pass.
        length: tokens of the longest row.
        checkpointing: whether activations are recomputed in the backward pass.
        gpu: on a GPU activations are 16-bit unless the recipe says otherwise, on a CPU 32-bit.
    """
    compute = activation_bytes(settings, gpu)
    trained = trained_parameters(shape, settings)
    full = settings.method == "full"
    weights = weights_bytes(shape, _bits(settings), 4 if full else compute)
    adapter = 0 if full else 4 * trained
    gradients = 4 * trained
    optimizer = _optimizer_bytes(shape, settings, trained, gpu)
    tokens = micro_batch * (length + (settings.virtual_tokens if settings.method in ("prefix", "prompt") else 0))
    activations = _activation_bytes(shape, settings, tokens, checkpointing, compute)
    logits = _logits_bytes(shape, settings, tokens, compute)
    overhead = _overhead_bytes(shape, settings, activations + logits, compute, gpu)
    parts = [weights, adapter, gradients, optimizer, activations, logits, overhead]
    return Estimate(*(part / GB for part in (*parts, sum(parts))))


def activation_bytes(settings: TrainSettings, gpu: bool) -> int:
    """Bytes of a number that passes through the layers."""
    if settings.method == "full":
        return 4
    return {"float32": 4, "bfloat16": 2, "float16": 2, "auto": 2 if gpu else 4}[settings.compute_dtype]


def weights_bytes(shape: Shape, bits: Bits, plain_bytes: int = 2) -> float:
    """The base's weights.

    Args:
        shape: the base's.
        bits: 4 is NF4 with double quantization (4.127 bits a weight), 8 is LLM.int8 (a 32-bit scale a row). Both leave
            embedding, norms and output layer alone, which are then kept in 32 bits while training.
        plain_bytes: bytes of a weight at 16 bits (4 on a CPU, where they are loaded in 32 bits).
    """
    if bits == 16:
        return shape.parameters * plain_bytes
    layers = sum(linear.count for linear in shape.linears)
    rows = sum(linear.outputs * linear.count for linear in shape.linears)
    small = shape.linear_parameters * NF4_BYTES + NF4_TABLES * layers
    if bits == 8:
        small = shape.linear_parameters + 4 * rows
    return small + 4 * (shape.parameters - shape.linear_parameters)


def _bits(settings: TrainSettings) -> Bits:
    return {"nf4": 4, "int8": 8, "none": 16}[settings.quantization]


def adapted(shape: Shape, settings: TrainSettings) -> list[Linear]:
    """The linear layers that a LoRA adapts."""
    wanted = settings.target_modules
    if tuple(wanted) == AUTO:
        wanted = TARGET_MODULES.get(shape.architecture) or tuple(linear.name for linear in shape.linears)
    return [linear for linear in shape.linears if linear.name in wanted]


def trained_parameters(shape: Shape, settings: TrainSettings) -> int:
    """How many parameters a method trains; rows of new tokens are not counted."""
    if settings.method == "full":
        return shape.parameters
    keys = shape.kv_heads * shape.head_width
    if settings.method == "prefix":
        return settings.virtual_tokens * shape.layers * 2 * keys
    if settings.method == "prompt":
        return settings.virtual_tokens * shape.hidden
    if settings.method == "llama_adapter":
        return shape.layers * (settings.virtual_tokens * shape.hidden + 1)
    layers = adapted(shape, settings)
    count = sum(settings.rank * (linear.inputs + linear.outputs) * linear.count for linear in layers)
    if settings.method == "dora":
        count += sum(linear.outputs * linear.count for linear in layers)
    if settings.adapt_embedding:
        count += settings.rank * (shape.vocab + shape.hidden)
    return count


def _optimizer_bytes(shape: Shape, settings: TrainSettings, trained: int, gpu: bool) -> float:
    """States: AdamW has two numbers a parameter; 8-bit ones have a 32-bit scale for 256 of each; Adafactor (Shazeer and
    Stern 2018) keeps sums of rows and columns; plain SGD keeps nothing."""
    name = settings.optimizer
    if name.startswith("paged_") and gpu:
        return 0
    if name.endswith("adamw_8bit"):
        return trained * 2 * (1 + 4 / 256)
    if name == "adafactor":
        return 4 * _rows_and_columns(shape, settings, trained)
    return 0 if name == "sgd" else 8 * trained


def _rows_and_columns(shape: Shape, settings: TrainSettings, trained: int) -> int:
    if settings.method == "full":
        sides = sum((linear.inputs + linear.outputs) * linear.count for linear in shape.linears)
        return sides + (1 if shape.tied or shape.encoder else 2) * (shape.vocab + shape.hidden)
    if settings.method not in LORA:
        return trained
    return sum(
        (linear.inputs + linear.outputs + 2 * settings.rank) * linear.count for linear in adapted(shape, settings)
    )


def _activation_bytes(shape: Shape, settings: TrainSettings, tokens: int, checkpointing: bool, compute: int) -> float:
    block = tokens * (8 * shape.hidden + 4 * shape.intermediate) * compute + tokens * 8 * shape.hidden
    if not checkpointing:
        return shape.layers * block
    return shape.layers * tokens * shape.hidden * compute + block


def _logits_bytes(shape: Shape, settings: TrainSettings, tokens: int, compute: int) -> float:
    if shape.encoder:
        return 0
    counted = min(tokens, settings.loss_chunk_tokens or tokens)
    return counted * shape.vocab * (compute + 8)


def _overhead_bytes(shape: Shape, settings: TrainSettings, transient: float, compute: int, gpu: bool) -> float:
    largest = max((linear.inputs * linear.outputs for linear in shape.linears), default=0)
    dequantized = largest * compute if settings.quantization != "none" else 0
    return dequantized + (0.6 * GB + 0.05 * transient if gpu else 0)
