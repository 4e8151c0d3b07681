"""Which linear layers LoRA adapts, by architecture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from domainlm.errors import ModelError, nearest

if TYPE_CHECKING:
    from torch.nn import Module

AUTO = ("auto",)

_LLAMA = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
_NEOX = ("query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h")

# All linear layers of a block: QLoRA (Dettmers et al. 2023, figure 2) needs them all to match full fine-tuning.
TARGET_MODULES: dict[str, tuple[str, ...]] = {
    "falcon": _NEOX,
    "gpt_neox": _NEOX,
    "bloom": _NEOX,
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "mixtral": ("q_proj", "k_proj", "v_proj", "o_proj"),
    "qwen2": _LLAMA,
    "qwen3": _LLAMA,
    "gemma": _LLAMA,
    "gemma2": _LLAMA,
    "gemma3_text": _LLAMA,
    "smollm3": _LLAMA,
    "olmo2": _LLAMA,
    "phi": ("q_proj", "k_proj", "v_proj", "dense", "fc1", "fc2"),
    "phi3": ("qkv_proj", "o_proj", "gate_up_proj", "down_proj"),
    "opt": ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"),
    "gpt2": ("c_attn", "c_proj", "c_fc"),
}


def linear_names(model: Module) -> list[str]:
    """Last name parts of all linear layers of a model except its output layer, sorted."""
    import torch
    from transformers.pytorch_utils import Conv1D

    head = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    return sorted(
        {
            name.rpartition(".")[2]
            for name, module in model.named_modules()
            if isinstance(module, torch.nn.Linear | Conv1D) and module is not head
        }
    )


def target_modules(model: Module, wanted: Sequence[str]) -> tuple[list[str], str]:
    """The linear layers to adapt, and a note for the report where they had to be found out.

    Args:
        model: the base model.
        wanted: names from the configuration, or `("auto",)` for the architecture's own.

    Raises:
        ModelError: the model has no linear layer of a wanted name.
    """
    present = linear_names(model)
    architecture = model.config.model_type
    if tuple(wanted) == AUTO:
        if architecture in TARGET_MODULES:
            wanted = TARGET_MODULES[architecture]
        else:
            return present, f"architecture '{architecture}' is not in the table: all its linear layers are adapted"
    for name in wanted:
        if name not in present:
            raise ModelError(
                f"a base of architecture '{architecture}' has no linear layer '{name}'",
                "steps.train.parameters.target_modules",
                nearest(name, present),
            )
    return sorted(wanted), ""
