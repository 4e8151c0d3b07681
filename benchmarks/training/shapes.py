"""Which models the benchmark trains: the real shapes on a GPU, toys of the same architectures on a CPU.

The two tables have the same keys, so that every phase runs through the same code; only the numbers differ.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Base:
    """A base with random weights.

    Args:
        name: what the table calls it.
        config: what its config.json would say.
        long: tokens of a row of full length.
        middle: tokens of a row for the card of 12 GB.
        context: tokens of a packed row of short texts.
        narrow_layers: blocks of the same width that smoke and correctness use.
    """

    name: str
    config: dict[str, Any] = field(repr=False)
    long: int
    middle: int
    context: int
    narrow_layers: int = 2

    def narrowed(self) -> Base:
        """The same width with few blocks."""
        config = self.config | {"num_hidden_layers": self.narrow_layers}
        return Base(f"{self.name}, {self.narrow_layers} layers", config, self.long, self.middle, self.context)


# tiiuae/falcon-7b and meta-llama/Meta-Llama-3-8B, as their config.json files have them
_FALCON_7B = {
    "model_type": "falcon",
    "vocab_size": 65024,
    "hidden_size": 4544,
    "num_hidden_layers": 32,
    "num_attention_heads": 71,
    "max_position_embeddings": 2048,
    "multi_query": True,
    "parallel_attn": True,
    "new_decoder_architecture": False,
    "bias": False,
    "alibi": False,
    "hidden_dropout": 0.0,
    "attention_dropout": 0.0,
}
_LLAMA_3_8B = {
    "model_type": "llama",
    "vocab_size": 128256,
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "max_position_embeddings": 8192,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": False,
}
# random weights that are wider than usual, so that attention weighs something in so narrow a model
_TOY = {"hidden_size": 64, "num_hidden_layers": 2, "vocab_size": 512, "initializer_range": 0.1}

GPU_BASES = {
    "falcon": Base("falcon-7b", _FALCON_7B, long=2048, middle=2048, context=2048),
    "llama": Base("llama-3-8b", _LLAMA_3_8B, long=4096, middle=2048, context=4096),
}
CPU_BASES = {
    "falcon": Base(
        "toy falcon",
        _FALCON_7B | _TOY | {"num_attention_heads": 2, "max_position_embeddings": 512},
        long=256,
        middle=128,
        context=256,
    ),
    "llama": Base(
        "toy llama",
        _LLAMA_3_8B
        | _TOY
        | {"num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 192}
        | {"max_position_embeddings": 512},
        long=256,
        middle=128,
        context=256,
    ),
}


def bases(toy: bool) -> dict[str, Base]:
    """The table of a machine: toys where there is no GPU."""
    return CPU_BASES if toy else GPU_BASES
