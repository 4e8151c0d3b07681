"""What is known of each architecture: the linear layers that LoRA adapts, its context, its faults.

Each fact of the table was measured with the pinned versions on a tiny model of that architecture, and a test measures
it again (tests/domainlm/train/test_trajectories.py). An architecture that is not here is trained, too: its linear
layers are found, and the report says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from domainlm.errors import ModelError, nearest

if TYPE_CHECKING:
    from torch.nn import Module

AUTO = ("auto",)


class Architecture(NamedTuple):
    """What holds for every base of one `model_type`.

    Args:
        modules: linear layers to adapt; a dotted name is the end of a path ("output.dense").
        context_key: the configuration's key for the longest text.
        context_offset: positions that the table has beyond the longest text.
        quantizable: whether 4 and 8 bits reach its weights; they miss experts that lie in one tensor.
        packs: whether rows end to end keep apart (`domainlm.models.attention`); others need padding.
        encoder: whether it reads in both directions and carries a head instead of writing text.
        faults: traps, in a sentence each, with what guards against them.
    """

    modules: tuple[str, ...]
    context_key: str = "max_position_embeddings"
    context_offset: int = 0
    quantizable: bool = True
    packs: bool = True
    encoder: bool = False
    faults: tuple[str, ...] = ()


_NO_PACKING = "its attention cannot be told where a row ends: batching packed is refused, grouped works"
_EXPERTS = (
    "its experts lie in tensors of three dimensions, which bitsandbytes does not quantize and LoRA does not adapt:"
    " qlora and 8 bits are refused, lora adapts the attention alone"
)
# All linear layers of a block: QLoRA (Dettmers et al. 2023, figure 2) needs them all to match full fine-tuning.
_LLAMA = Architecture(("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"))
_EXPERT_ATTENTION = Architecture(("q_proj", "k_proj", "v_proj", "o_proj"), quantizable=False, faults=(_EXPERTS,))
_NEOX = Architecture(("query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"))
# "dense" alone would also be the pooler and the layer inside RoBERTa's head, which are trained whole
_BERT = Architecture(("query", "key", "value", "output.dense", "intermediate.dense"), encoder=True, packs=False)
_ROBERTA = _BERT._replace(
    context_offset=2,
    faults=("positions count from the pad token's id + 1: a table of 514 rows holds 512 tokens",),
)

ARCHITECTURES: dict[str, Architecture] = {
    "falcon": _NEOX._replace(
        faults=(
            "transformers 5.23 does not quantize it (its FalconLinear is a subclass of nn.Linear): mended and asserted",
            "transformers' own packing leaks (position ids are ignored): rows are kept apart by our own attention",
        )
    ),
    "gpt_neox": _NEOX,
    "bloom": _NEOX._replace(
        context_key="seq_length",
        packs=False,
        faults=(_NO_PACKING, "a vocabulary of 250,880: its embedding alone weighs 0.5 to 7 GB at 16 bit"),
    ),
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "qwen2": _LLAMA,
    "qwen3": _LLAMA,
    "gemma": _LLAMA,
    "gemma2": _LLAMA._replace(packs=False, faults=("caps its attention scores: batching packed is refused",)),
    "gemma3_text": _LLAMA,
    "smollm3": _LLAMA,
    "olmo": _LLAMA,
    "olmo2": _LLAMA,
    "stablelm": _LLAMA,
    "exaone4": _LLAMA,
    "granite": _LLAMA,
    "mixtral": _EXPERT_ATTENTION,
    "qwen3_moe": _EXPERT_ATTENTION,
    "phi": Architecture(("q_proj", "k_proj", "v_proj", "dense", "fc1", "fc2")),
    "phi3": Architecture(("qkv_proj", "o_proj", "gate_up_proj", "down_proj")),
    "opt": Architecture(("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2")),
    "gpt2": Architecture(("c_attn", "c_proj", "c_fc")),
    "gpt_neo": Architecture(
        ("q_proj", "k_proj", "v_proj", "out_proj", "c_fc", "c_proj"), packs=False, faults=(_NO_PACKING,)
    ),
    "gptj": Architecture(
        ("q_proj", "k_proj", "v_proj", "out_proj", "fc_in", "fc_out"), packs=False, faults=(_NO_PACKING,)
    ),
    "mpt": Architecture(
        ("Wqkv", "out_proj", "up_proj", "down_proj"), context_key="max_seq_len", packs=False, faults=(_NO_PACKING,)
    ),
    "bert": _BERT,
    "electra": _BERT,
    "roberta": _ROBERTA,
    "xlm-roberta": _ROBERTA,
    "camembert": _ROBERTA,
    "deberta-v2": _BERT._replace(
        modules=("query_proj", "key_proj", "value_proj", "output.dense", "intermediate.dense")
    ),
    "distilbert": _BERT._replace(modules=("q_lin", "k_lin", "v_lin", "out_lin", "lin1", "lin2")),
    "modernbert": _BERT._replace(modules=("Wqkv", "Wo", "Wi")),
}
TARGET_MODULES: dict[str, tuple[str, ...]] = {name: known.modules for name, known in ARCHITECTURES.items()}
# parts that are no block: heads over an encoder are drawn anew and trained whole, never adapted
_HEADS = frozenset({"classifier", "score", "pooler", "pre_classifier", "head", "lm_head", "qa_outputs"})


def known_faults(architecture: str) -> tuple[str, ...]:
    """The traps of an architecture; one that is not in the table says so."""
    if architecture in ARCHITECTURES:
        return ARCHITECTURES[architecture].faults
    return (f"architecture '{architecture}' is not in the table: nobody has looked for its traps",)


def context_of(config: Mapping[str, Any] | Any) -> int | None:
    """How many tokens a text may have, virtual ones included; None where the configuration does not say.

    Args:
        config: a configuration of transformers, or the mapping of a config.json.
    """

    def read(key: str) -> Any:
        return config.get(key) if isinstance(config, Mapping) else getattr(config, key, None)

    known = ARCHITECTURES.get(read("model_type") or "")
    keys = (known.context_key if known else "max_position_embeddings", "max_position_embeddings", "n_positions")
    found = next((value for key in keys if isinstance(value := read(key), int)), None)
    return found - (known.context_offset if known else 0) if found else None


def linear_names(model: Module) -> list[str]:
    """Last name parts of all linear layers of a model except its output layer and heads, sorted."""
    return sorted({name.rpartition(".")[2] for name in linear_paths(model)})


def linear_paths(model: Module) -> list[str]:
    """Full names of all linear layers except the output layer and heads; GPT-2's `Conv1D` is one by another name."""
    import torch
    from transformers.pytorch_utils import Conv1D

    head = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear | Conv1D) and module is not head and _HEADS.isdisjoint(name.split("."))
    ]


def is_target(path: str, modules: Iterable[str]) -> bool:
    """Whether a layer is among the adapted ones, as peft decides it: by the end of its path."""
    return any(path == name or path.endswith(f".{name}") for name in modules)


def target_modules(model: Module, wanted: Sequence[str]) -> tuple[list[str], str]:
    """The linear layers to adapt, and a note for the report where they had to be found out.

    Args:
        model: the base model.
        wanted: names from the configuration, or `("auto",)` for the architecture's own.

    Raises:
        ModelError: the model has no linear layer of a wanted name.
    """
    paths = linear_paths(model)
    architecture = model.config.model_type
    note = ""
    if tuple(wanted) == AUTO:
        if architecture in TARGET_MODULES:
            wanted = TARGET_MODULES[architecture]
        else:
            wanted = linear_names(model)
            note = f"architecture '{architecture}' is not in the table: all its linear layers are adapted"
    if not paths or not wanted:
        raise ModelError(
            f"a base of architecture '{architecture}' has no linear layer that could be adapted",
            "steps.train.parameters.target_modules",
            "use method full, or another base",
        )
    for name in wanted:
        if not any(is_target(path, [name]) for path in paths):
            raise ModelError(
                f"a base of architecture '{architecture}' has no linear layer '{name}'",
                "steps.train.parameters.target_modules",
                nearest(name, linear_names(model)),
            )
    return sorted(wanted), note
