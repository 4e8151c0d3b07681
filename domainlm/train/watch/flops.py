"""How much arithmetic a token costs, and how much a device can do: what MFU and HFU are the quotient of.

    flops_per_token(model, "lora", 4096) / peak_flops("NVIDIA H100 80GB HBM3") * tokens_per_second

A multiply-add is 2 FLOP. A weight costs 2 FLOP a token forward, 2 for the gradient of its input, and 2 more for its own
gradient where it is trained: 6 for what is trained, 4 for what is frozen under LoRA. Attention has no weights: a token
that sees s others costs 2 x 2 x s x (heads x head width) FLOP a layer forward, and a causal model sees s / 2 on
average; backward is twice forward. Grouped key-value heads change weights, not this term (Chowdhery et al. 2022, PaLM,
appendix B, for full training; Hu et al. 2021 for what LoRA leaves frozen).

MFU counts what the mathematics needs; HFU also what checkpointing computes twice. Not counted in either: dequantizing
4-bit weights, norms, softmax, virtual tokens, the embedding's lookup, the optimizer, and the second pass over scores
inside FlashAttention's backward.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    from domainlm.models.shapes import Shape

Trained = Literal["lora", "full"]

# Dense 16-bit tensor-core FLOP/s with 32-bit accumulation, by words of the device's name; the first row whose words all
# stand in the name holds. Source: NVIDIA's datasheets and architecture whitepapers (half the figure "with sparsity").
PEAK: tuple[tuple[tuple[str, ...], float], ...] = (
    (("B200",), 2250e12),
    (("GH200",), 990e12),
    (("H200", "NVL"), 835e12),
    (("H200",), 989e12),
    (("H100", "NVL"), 835e12),
    (("H100", "PCIe"), 756e12),
    (("H100", "HBM3"), 989e12),  # SXM
    (("H100", "SXM5"), 989e12),
    (("A100",), 312e12),
    (("A40",), 149.7e12),
    (("A30",), 165e12),
    (("A10",), 125e12),
    (("A6000",), 154.8e12),
    (("L40S",), 362e12),
    (("L40",), 181e12),
    (("L4",), 121e12),
    (("5090",), 209.5e12),
    (("4090",), 165.2e12),
    (("3090",), 71e12),
    (("V100",), 125e12),  # float16: these two have no bfloat16
    (("T4",), 65e12),
)


def peak_flops(device_name: str) -> float | None:
    """FLOP/s that a device's datasheet promises; None for a CPU, an unknown card or a slice (MIG) of one."""
    words = set(re.split(r"[^A-Za-z0-9]+", device_name))
    if "MIG" in words:
        return None
    return next((rate for wanted, rate in PEAK if words.issuperset(wanted)), None)


class Work(NamedTuple):
    """The arithmetic of one model.

    Args:
        frozen: weights that a token is multiplied by and that stay as they are; output layer in, embedding out.
        trained: weights that a token is multiplied by and that are trained.
        attention: FLOP forward of a token for each token of its row.
    """

    frozen: int
    trained: int
    attention: float

    def model_flops(self, length: float) -> float:
        """FLOP a token, forward and backward, in a row of so many tokens."""
        return 4 * self.frozen + 6 * self.trained + 3 * self.attention * length

    def hardware_flops(self, length: float, recompute: bool) -> float:
        """The same with what activation checkpointing computes again: one more forward pass."""
        again = 2 * (self.frozen + self.trained) + self.attention * length if recompute else 0
        return self.model_flops(length) + again

    @classmethod
    def of_shape(cls, shape: Shape, trained: Trained, adapter_parameters: int = 0) -> Work:
        """From a shape alone, before anything is loaded."""
        attention = _attention(shape.layers, shape.heads * shape.head_width, causal=not shape.encoder)
        if trained == "full":
            return cls(0, shape.matmul_parameters, attention)
        return cls(shape.matmul_parameters, adapter_parameters, attention)

    @classmethod
    def of_model(cls, model: Any, trained: Trained) -> Work:
        """By the layers of a loaded model, quantized ones by the shape that they stand for."""
        matmul = adapter = 0
        for name, module in model.named_modules():
            if hasattr(module, "in_features") and not hasattr(module, "base_layer"):
                weights = module.in_features * module.out_features
            elif type(module).__name__ == "Conv1D":  # GPT-2's linear layer
                weights = module.weight.numel()
            else:
                continue
            if ".lora_" in name:
                adapter += weights
            else:
                matmul += weights
        config = model.config.get_text_config()
        heads = config.num_attention_heads
        width = heads * (getattr(config, "head_dim", None) or config.hidden_size // heads)
        causal = getattr(model, "main_input_name", "input_ids") == "input_ids" and not _reads_both_ways(model)
        attention = _attention(config.num_hidden_layers, width, causal=causal)
        return cls(0, matmul, attention) if trained == "full" else cls(matmul, adapter, attention)


def _attention(layers: int, width: int, *, causal: bool) -> float:
    """Scores and weighted values: two products of 2 FLOP a number; over half the row where none sees a later one."""
    return layers * 4 * width * (0.5 if causal else 1.0)


def _reads_both_ways(model: Any) -> bool:
    """Encoders of BERT's family classify whole texts; what generates reads one way."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    return base.get_output_embeddings() is None and not getattr(base.config, "is_decoder", False)


def flops_per_token(subject: Any, trained: Trained, length: float, adapter_parameters: int = 0) -> float:
    """FLOP of training on one token.

    Args:
        subject: a loaded model, or a `Shape`.
        trained: `lora` for anything beside frozen weights, `full` for all weights.
        length: tokens of the row; of rows of several lengths the sum of squares by the sum.
        adapter_parameters: for a shape: LoRA's weights (a model shows them).
    """
    if hasattr(subject, "named_modules"):
        return Work.of_model(subject, trained).model_flops(length)
    return Work.of_shape(subject, trained, adapter_parameters).model_flops(length)
