"""How much memory a training will need, from its shape and its recipe alone; docs/memory.md has each formula's error.

One GB is 2^30 bytes here, as graphics cards are sold. Every figure is the need of one process on one device.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, Protocol

from domainlm.models.architectures import ARCHITECTURES, AUTO, TARGET_MODULES, is_target
from domainlm.models.shapes import Linear, Shape

__all__ = ["GB", "Estimate", "Linear", "Shape", "estimate", "scoring_bytes", "weights_bytes"]

GB = 2**30
NF4_BYTES = 0.5 + 1 / 64 + 4 / (64 * 256)  # 4 bits, an 8-bit scale for 64 weights, a 32-bit one for 256 scales
NF4_TABLES = 4 * (16 + 256 + 1)  # of each layer: the code of NF4, the code of the scales, their offset
LORA = ("qlora", "lora", "dora")
Bits = Literal[4, 8, 16]


class Recipe(Protocol):
    """What an estimate asks of a recipe; `domainlm.train.settings.TrainSettings` says what each means."""

    method: str
    quantization: str
    compute_dtype: str
    rank: int
    dropout: float
    target_modules: tuple[str, ...]
    virtual_tokens: int
    adapt_embedding: bool
    optimizer: str
    batching: str
    loss_chunk_tokens: int | None
    dev_records: int


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
    shape: Shape,
    settings: Recipe,
    micro_batch: int,
    length: int,
    checkpointing: bool,
    *,
    gpu: bool = True,
    shards: int = 1,
) -> Estimate:
    """The memory of a training at its peak.

    Args:
        shape: the base's.
        settings: the recipe: method, bits, rank, target modules, optimizer, dtype, loss chunk.
        micro_batch: rows of one forward pass.
        length: tokens of the longest row.
        checkpointing: whether activations are recomputed in the backward pass.
        gpu: on a GPU activations are 16-bit unless the recipe says otherwise, on a CPU 32-bit.
        shards: processes that weights, gradients and optimizer states are spread over (FSDP2); a block and the next are
            whole while they compute.
    """
    need = _Need(shape, settings, micro_batch, length, gpu)
    trained = trained_parameters(shape, settings)
    full = settings.method == "full"
    weights = weights_bytes(shape, need.bits, 4 if shape.encoder else need.compute)
    adapter = 0 if full else 4 * trained
    gradients = 4 * trained
    optimizer = _optimizer_bytes(shape, settings, trained, gpu)
    logits = need.logits()
    # the logits are gone when the backward pass begins: the larger of the two counts
    if checkpointing:  # one block's activations are there at a time
        kept, backward = shape.layers * need.tokens * shape.hidden * need.stream, need.block() + need.backward()
    else:
        kept, backward = shape.layers * need.block(), need.backward()
    activations = kept + max(0, backward - logits)
    if settings.dev_records:  # a look at the development split keeps no activations, but has all logits of a row
        logits = max(logits, scoring_bytes(shape, settings, 1, length, gpu) - activations)
    gathered = 2 * weights / max(1, shape.layers) if shards > 1 else 0
    weights, adapter, gradients, optimizer = (part / shards for part in (weights, adapter, gradients, optimizer))
    overhead = gathered + need.dequantized() + need.slack(activations + logits, gradients)
    parts = [weights, adapter, gradients, optimizer, activations, logits, overhead]
    return Estimate(*(part / GB for part in (*parts, sum(parts))))


def scoring_bytes(shape: Shape, settings: Recipe, rows: int, length: int, gpu: bool) -> float:
    """A look at the development split: all logits as they come, and in 32 bits before and after the softmax."""
    if shape.encoder:
        return 0
    need = _Need(shape, settings, rows, length, gpu)
    return need.tokens * shape.vocab * (need.stream + 8)


def activation_bytes(settings: Recipe, gpu: bool) -> int:
    """Bytes of a number that passes through the layers."""
    if settings.method == "full":
        return 4
    return {"float32": 4, "bfloat16": 2, "float16": 2, "auto": 2 if gpu else 4}[settings.compute_dtype]


def weights_bytes(shape: Shape, bits: Bits, plain_bytes: int = 2) -> float:
    """The base's weights.

    Args:
        shape: the base's.
        bits: 4 is NF4 with double quantization (4.127 bits a weight), 8 is LLM.int8 (a 32-bit scale a row). Both leave
            embedding, norms and output layer alone.
        plain_bytes: bytes of a weight that is not quantized (4 on a CPU, where they are loaded in 32 bits).
    """
    if bits == 16:
        return shape.parameters * plain_bytes
    layers = sum(linear.count for linear in shape.linears)
    rows = sum(linear.outputs * linear.count for linear in shape.linears)
    small = shape.linear_parameters * NF4_BYTES + NF4_TABLES * layers
    if bits == 8:
        small = shape.linear_parameters + 4 * rows
    return small + plain_bytes * (shape.parameters - shape.linear_parameters)


def adapted(shape: Shape, settings: Recipe) -> list[Linear]:
    """The linear layers that a LoRA adapts."""
    wanted = settings.target_modules
    if tuple(wanted) == AUTO:
        wanted = TARGET_MODULES.get(shape.architecture) or tuple(linear.name for linear in shape.linears)
    return [linear for linear in shape.linears if is_target(linear.name, wanted)]


def trained_parameters(shape: Shape, settings: Recipe) -> int:
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
    if shape.encoder:  # its head: one square layer (BERT's pooler, RoBERTa's dense), and a row for each of a few labels
        count += shape.hidden * (shape.hidden + 1)
    return count


def _optimizer_bytes(shape: Shape, settings: Recipe, trained: int, gpu: bool) -> float:
    """States: AdamW has two numbers a parameter; 8-bit ones have a 32-bit scale for 256 of each, and the Trainer keeps
    an embedding's in 32 bits; Adafactor (Shazeer and Stern 2018) sums rows and columns; plain SGD keeps nothing."""
    name = settings.optimizer
    if name.startswith("paged_") and gpu:
        return 0
    if name.endswith("adamw_8bit"):
        whole = shape.embedding_parameters if settings.method == "full" else 0
        return (trained - whole) * 2 * (1 + 4 / 256) + 8 * whole
    if name == "adafactor":
        return 4 * _rows_and_columns(shape, settings, trained)
    return 0 if name == "sgd" else 8 * trained


def _rows_and_columns(shape: Shape, settings: Recipe, trained: int) -> int:
    if settings.method == "full":
        sides = sum((linear.inputs + linear.outputs) * linear.count for linear in shape.linears)
        head = 0 if shape.tied or shape.encoder else shape.vocab * shape.hidden
        tables = (1 + bool(head)) * (shape.vocab + shape.hidden)
        vectors = shape.parameters - shape.linear_parameters - shape.embedding_parameters - head
        return sides + tables + vectors  # norms and biases have no rows and columns: a number each
    if settings.method not in LORA:
        return trained
    return sum(
        (linear.inputs + linear.outputs + 2 * settings.rank) * linear.count for linear in adapted(shape, settings)
    )


class _Block(NamedTuple):
    """What one block keeps for its backward pass, in numbers a token; read off autograd, held by a test.

    Args:
        norms: residual streams that norms keep.
        rms: whether those are RMS norms, which transformers computes in 32 bits whatever comes in.
        middle: how many numbers of the feed-forward's width its activation function keeps: 1, or 3 where it is gated.
        scores: how often attention keeps its scores (heads x length numbers a token); flash attention never does.
        head_norms: whether the queries and keys of each head are normed too.
        fused: whether values are a slice of one matrix's output, all of which stays as long as they do.
        shared: linear layers that read one and the same input.
        dropout: hidden states that the architecture's own dropout keeps a mask of.
    """

    norms: int = 2
    rms: bool = False
    middle: float = 1
    scores: int = 0
    head_norms: bool = False
    fused: bool = False
    shared: tuple[tuple[str, ...], ...] = ()
    dropout: int = 0


_QKV = ("q_proj", "k_proj", "v_proj")
_GATED = _Block(rms=True, middle=3, shared=(_QKV, ("gate_proj", "up_proj")))
_BERT = _Block(scores=2, dropout=2, shared=(("query", "key", "value"),))
_TANH_GELU = 4  # written out in Python, it keeps each of its steps
_BLOCKS: dict[str, _Block] = {
    **dict.fromkeys(("llama", "mistral", "qwen2", "smollm3", "gemma"), _GATED),
    **dict.fromkeys(("qwen3", "olmo2"), _GATED._replace(head_norms=True)),
    "phi3": _GATED._replace(shared=(), fused=True),
    "gemma2": _GATED._replace(norms=4, scores=2),
    "gemma3_text": _GATED._replace(norms=4, head_norms=True),
    "falcon": _Block(norms=1, scores=1, shared=(("query_key_value", "dense_h_to_4h"),)),
    "gpt_neox": _Block(norms=1, fused=True),
    "bloom": _Block(scores=1),
    "phi": _Block(norms=1, middle=_TANH_GELU, shared=((*_QKV, "fc1"),)),
    "opt": _Block(dropout=2, shared=(_QKV,)),
    "gpt2": _Block(middle=_TANH_GELU, scores=3, fused=True, dropout=2),
    **{name: _BERT for name, known in ARCHITECTURES.items() if known.encoder},
}
_UNKNOWN = _Block(norms=4, rms=True, middle=3)  # an architecture that is not above: rather too much than too little


class _Need:
    """What one forward and backward pass needs, in bytes."""

    def __init__(self, shape: Shape, settings: Recipe, micro_batch: int, length: int, gpu: bool) -> None:
        self._shape, self._settings, self._gpu, self._length = shape, settings, gpu, length
        self._virtual = settings.method in ("prefix", "prompt", "llama_adapter")
        self._kind = _BLOCKS.get(shape.architecture, _UNKNOWN)
        self.tokens = micro_batch * (length + (settings.virtual_tokens if self._virtual else 0))
        self.compute = activation_bytes(settings, gpu)
        self.bits: Bits = {"nf4": 4, "int8": 8, "none": 16}[settings.quantization]
        # an encoder is loaded in 32 bits, and so is what runs between its linear layers
        self.stream = 4 if shape.encoder else self.compute

    def block(self) -> float:
        """Activations of one block."""
        shape, kind = self._shape, self._kind
        wide = kind.norms * shape.hidden + kind.head_norms * (shape.heads + shape.kv_heads) * shape.head_width
        norms = wide * (4 if kind.rms else self.stream)
        if kind.rms and self._settings.method == "full":
            norms *= 2  # the weight's gradient needs what it was multiplied with
        middle = kind.middle * shape.intermediate * self.stream
        dropped = kind.dropout * shape.hidden * self._mask_bytes
        return self.tokens * (norms + middle + dropped + self._attention() + self._inputs()) + self._casts()

    def backward(self) -> float:
        """Gradients that one block's backward pass has in hand."""
        shape = self._shape
        scores = (2 + self._scores + self._virtual) * shape.heads * self._length * 4 if self._scores else 0
        return self.tokens * ((shape.intermediate + 2 * shape.hidden) * self.stream + scores)

    @property
    def _scores(self) -> int:
        # packed rows have a flash attention of their own; with dropout inside even that keeps its scores on a CPU
        own = self._settings.batching == "packed" and not self._kind.dropout
        return 0 if own else self._kind.scores

    @property
    def _mask_bytes(self) -> int:
        return 1 if self._gpu else 4  # CUDA keeps a dropout mask as booleans, a CPU as numbers

    def _attention(self) -> float:
        shape = self._shape
        queries, keys = shape.heads * shape.head_width, shape.kv_heads * shape.head_width
        if self._scores:  # in 32 bits, and with a copy in 16 where the layers have those
            scores = self._scores * shape.heads * self._length * (4 if self.compute == 4 else 6)
            return 3 * queries * 4 + scores
        masked = self._length * self.compute if self._virtual else 0
        fused = queries + keys if self._kind.fused else 0
        return (
            (2 * queries + 2 * (queries if self._virtual else keys) + fused) * self.compute + 4 * shape.heads + masked
        )

    def _inputs(self) -> float:
        """What linear layers keep: a frozen one nothing, a LoRA its own input, a trained one its input."""
        if self._settings.method in LORA:
            layers = adapted(self._shape, self._settings)
        else:
            layers = self._shape.linears if self._settings.method == "full" else ()
        layers = [(layer, layer.count / self._shape.layers) for layer in layers]
        dropped = self._settings.method in LORA and self._settings.dropout > 0
        kept = 0.0
        seen: set[tuple[str, ...]] = set()
        for layer, each in layers:
            group = next((names for names in self._kind.shared if layer.last in names), (layer.name, str(layer.inputs)))
            if group not in seen or (self.compute == 2 or dropped):  # a cast or a dropout makes a copy for each
                kept += layer.inputs * each * self.compute
            seen.add(group)
            if dropped:
                kept += layer.inputs * each * self._mask_bytes
            if self._settings.method in LORA:
                kept += self._settings.rank * each * self.compute
            if self._settings.method == "dora":
                kept += 2 * layer.outputs * each * self.compute
        return kept

    def _casts(self) -> float:
        """16-bit copies of a block's LoRA weights."""
        if self.compute == 4 or self._settings.method not in LORA:
            return 0
        layers = adapted(self._shape, self._settings)
        count = sum(self._settings.rank * (layer.inputs + layer.outputs) * layer.count for layer in layers)
        return 2 * count / self._shape.layers

    def logits(self) -> float:
        """Scores of as many tokens as the loss looks at together: as they come, in 32 bits, and their gradient; and
        the output layer's weights in 16 bits where they are kept in 32."""
        if self._shape.encoder:
            return 0
        chunk = self._settings.loss_chunk_tokens
        counted = min(self.tokens, chunk) if chunk else self.tokens
        cast = 0 if self.stream == self.compute else self._shape.hidden * self._shape.vocab * self.compute
        return counted * self._shape.vocab * (self.stream + 8) + cast

    def dequantized(self) -> float:
        """The largest layer's weights as they are multiplied with."""
        largest = max((linear.inputs * linear.outputs for linear in self._shape.linears), default=0)
        return 0 if self.bits == 16 else largest * self.compute

    def slack(self, transient: float, gradients: float) -> float:
        """CUDA's context and cuBLAS's workspace, gaps between the allocator's blocks, and what AdamW has in hand while
        no activations are there."""
        if not self._gpu:
            return 0
        step = gradients if self._settings.optimizer == "adamw_torch" else 0
        return 0.6 * GB + 0.05 * transient + max(0, step - transient)
