"""The shape of a model: how many parameters it has, which of them are linear layers, and how wide everything is.

    Shape.of(AutoConfig.from_pretrained(folder))     exact: the model is built on torch's meta device, without memory
    Shape.of({"model_type": "llama", ...})           by formula, without torch: a config.json's or catalogue's keys

A test holds the two equal for each architecture below. Nothing is loaded for either.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from domainlm.errors import ModelError, nearest
from domainlm.models.architectures import ARCHITECTURES, context_of

if TYPE_CHECKING:
    from transformers import PretrainedConfig


def is_encoder(architecture: str) -> bool:
    """Whether it reads in both directions, and has no output layer over the vocabulary."""
    return architecture in ARCHITECTURES and ARCHITECTURES[architecture].encoder


class Linear(NamedTuple):
    """Linear layers of one name and size, the output layer left out.

    Args:
        name: the end of its path, from the block on where the model was looked at ("self_attn.q_proj").
        inputs, outputs: its size.
        count: how many there are in the whole model.
    """

    name: str
    inputs: int
    outputs: int
    count: int

    @property
    def last(self) -> str:
        """The last part of its name."""
        return self.name.rpartition(".")[2]

    @property
    def weights(self) -> int:
        """Entries of all their matrices, without biases."""
        return self.inputs * self.outputs * self.count


@dataclass(frozen=True)
class Shape:
    """Counts of a model.

    Args:
        architecture: transformers' `model_type`.
        parameters: all of them, tied ones once.
        matmul_parameters: entries of all matrices that an activation is multiplied with: the linear layers and the
            output layer (also where it is tied to the embedding), not the embedding. The N of "6 N FLOP a token".
        embedding_parameters: entries of the tables of tokens, positions and segments.
        layers: blocks.
        hidden: width of the residual stream.
        heads: attention heads of the queries.
        kv_heads: attention heads of keys and values.
        head_width: numbers of one head.
        intermediate: width inside the feed-forward.
        vocab: rows of the token table.
        context: positions that it was made for; 0 where its configuration does not say.
        tied: whether output layer and token table are one tensor.
        linears: the linear layers of all blocks, by name and size.
    """

    architecture: str
    parameters: int
    matmul_parameters: int
    embedding_parameters: int
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_width: int
    intermediate: int
    vocab: int
    context: int
    tied: bool
    linears: tuple[Linear, ...]

    @classmethod
    def of(cls, config: PretrainedConfig | Mapping[str, Any]) -> Shape:
        """The shape that a configuration describes.

        Args:
            config: a configuration of transformers, for exact counts from the meta device; or a mapping with the keys
                of a config.json, for formulae that need no torch. Keys that are left out have transformers' defaults.

        Raises:
            ModelError: no formula for the architecture, or a number is missing.
        """
        return _from_formulae(config) if isinstance(config, Mapping) else _from_meta_device(config)

    @classmethod
    def of_folder(cls, path: Path) -> Shape:
        """The exact shape of a base's folder; only its config.json is read.

        Raises:
            ModelError: the folder has no config.json that transformers knows.
        """
        from transformers import AutoConfig

        try:
            config = AutoConfig.from_pretrained(path, local_files_only=True)
        except (OSError, ValueError, KeyError) as error:
            raise ModelError(
                "holds no config.json that transformers can read", str(path), "name a folder made by save_pretrained"
            ) from error
        return _from_meta_device(config)

    @property
    def encoder(self) -> bool:
        """Whether it is an encoder: no output layer over the vocabulary."""
        return is_encoder(self.architecture)

    @property
    def linear_parameters(self) -> int:
        """Entries of the matrices of all linear layers but output layer and pooler: what 4 and 8 bits apply to."""
        return sum(linear.weights for linear in self.linears if not linear.name.startswith("pooler"))


# ------------------------------------------------------------------------------------- exact, from the meta device


def _from_meta_device(config: PretrainedConfig) -> Shape:
    import torch
    from transformers import AutoModel, AutoModelForCausalLM
    from transformers.pytorch_utils import Conv1D

    encoder = is_encoder(config.model_type)
    with torch.device("meta"):
        model = (AutoModel if encoder else AutoModelForCausalLM).from_config(config)
    text = config.get_text_config()
    head = None if encoder else model.get_output_embeddings()
    found: Counter[tuple[str, int, int]] = Counter()
    for name, module in model.named_modules():
        if module is head:
            continue
        within = name.split(".")
        within = ".".join(within[1 + max((place for place, part in enumerate(within) if part.isdigit()), default=-1) :])
        if isinstance(module, torch.nn.Linear):
            found[within, module.in_features, module.out_features] += 1
        elif isinstance(module, Conv1D):
            found[within, module.weight.shape[0], module.weight.shape[1]] += 1
    linears = tuple(Linear(*key, count) for key, count in found.items())
    tables = sum(module.weight.numel() for module in model.modules() if isinstance(module, torch.nn.Embedding))
    hidden, heads = text.hidden_size, text.num_attention_heads
    width = getattr(text, "head_dim", None) or hidden // heads
    return Shape(
        architecture=config.model_type,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        matmul_parameters=sum(linear.weights for linear in linears) + (head.weight.numel() if head is not None else 0),
        embedding_parameters=tables,
        layers=text.num_hidden_layers,
        hidden=hidden,
        heads=heads,
        kv_heads=_kv_heads(text.to_dict(), heads),
        head_width=width,
        intermediate=_intermediate(linears, hidden),
        vocab=text.vocab_size,
        context=context_of(text) or 0,
        tied=head is not None and head.weight is model.get_input_embeddings().weight,
        linears=linears,
    )


def _kv_heads(config: Mapping[str, Any], heads: int) -> int:
    if config.get("model_type") == "falcon":
        if not config.get("new_decoder_architecture", False):
            return 1 if config.get("multi_query", True) else heads
        return config.get("num_kv_heads") or heads
    return config.get("num_key_value_heads") or heads


def _intermediate(linears: tuple[Linear, ...], hidden: int) -> int:
    """The feed-forward's width: what its last layer reads."""
    for name in ("down_proj", "dense_4h_to_h", "fc2", "fc_out", "c_proj", "dense"):
        wide = [linear.inputs for linear in linears if linear.last == name and linear.outputs == hidden]
        if wide:
            return max(wide)
    return max((linear.inputs for linear in linears), default=hidden)


# --------------------------------------------------------------------------------------------- from formulae, light


class _Parts(NamedTuple):
    """What a formula counts: linear layers of one block; other parameters of one block; of the rest of the model."""

    linears: tuple[tuple[str, int, int], ...]
    of_block: int
    of_rest: int
    tables: int
    tied: bool
    head_bias: int = 0


class _Numbers:
    """Numbers of a config.json under their many names; a missing one is an error that names it."""

    ALIASES: ClassVar[dict[str, tuple[str, ...]]] = {
        "hidden_size": ("n_embd", "d_model", "dim"),
        "num_hidden_layers": ("n_layer", "n_layers"),
        "num_attention_heads": ("n_head", "n_heads"),
        "intermediate_size": ("ffn_dim", "ffn_hidden_size", "n_inner", "hidden_dim"),
        "max_position_embeddings": ("n_positions", "seq_length"),
    }

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._config = config

    def get(self, name: str, default: Any = None) -> Any:
        for key in (name, *self.ALIASES.get(name, ())):
            if self._config.get(key) is not None:
                return self._config[key]
        return default

    def need(self, name: str) -> int:
        found = self.get(name)
        if not isinstance(found, int):
            kind = self._config.get("model_type")
            raise ModelError(
                f"the shape of a '{kind}' needs '{name}'", "config.json", "add it, as its config.json has it"
            )
        return found

    @property
    def hidden(self) -> int:
        return self.need("hidden_size")

    @property
    def heads(self) -> int:
        return self.need("num_attention_heads")

    @property
    def kv_heads(self) -> int:
        return _kv_heads(self._config, self.heads)

    @property
    def head_width(self) -> int:
        return self.get("head_dim") or self.hidden // self.heads


def _llama(config: _Numbers) -> _Parts:
    """Llama and its relatives: grouped queries, gated feed-forward, RMS norms (one weight a number, no bias)."""
    kind, hidden, wide = config.get("model_type"), config.hidden, config.need("intermediate_size")
    queries, keys = config.heads * config.head_width, config.kv_heads * config.head_width
    linears = (
        ("q_proj", hidden, queries),
        ("k_proj", hidden, keys),
        ("v_proj", hidden, keys),
        ("o_proj", queries, hidden),
        ("gate_proj", hidden, wide),
        ("up_proj", hidden, wide),
        ("down_proj", wide, hidden),
    )
    norms = {"gemma2": 4, "gemma3_text": 4}.get(kind, 2) * hidden
    if kind in ("qwen3", "gemma3_text"):
        norms += 2 * config.head_width  # of each head's queries and keys
    if kind == "olmo2":
        norms += queries + keys
    biases = queries + 2 * keys if kind == "qwen2" else 0
    if kind != "qwen2" and config.get("attention_bias", False):
        biases = queries + 2 * keys + hidden
    if config.get("mlp_bias", False):
        biases += 2 * wide + hidden
    tied = config.get("tie_word_embeddings", kind in ("gemma", "gemma2", "gemma3_text", "smollm3"))
    return _Parts(linears, norms + biases, hidden, config.need("vocab_size") * hidden, tied)


def _phi3(config: _Numbers) -> _Parts:
    hidden, wide = config.hidden, config.need("intermediate_size")
    queries, keys = config.heads * config.head_width, config.kv_heads * config.head_width
    linears = (
        ("qkv_proj", hidden, queries + 2 * keys),
        ("o_proj", queries, hidden),
        ("gate_up_proj", hidden, 2 * wide),
        ("down_proj", wide, hidden),
    )
    tied = config.get("tie_word_embeddings", False)
    return _Parts(linears, 2 * hidden, hidden, config.need("vocab_size") * hidden, tied)


def _falcon(config: _Numbers) -> _Parts:
    """One matrix for queries, keys and values; attention and feed-forward side by side after one or two norms."""
    hidden, wide = config.hidden, config.get("intermediate_size") or 4 * config.hidden
    new = config.get("new_decoder_architecture", False)
    linears = (
        ("query_key_value", hidden, (config.heads + 2 * config.kv_heads) * config.head_width),
        ("dense", hidden, hidden),
        ("dense_h_to_4h", hidden, wide),
        ("dense_4h_to_h", wide, hidden),
    )
    norms = (config.get("num_ln_in_parallel_attn") or 2) if new else (1 if config.get("parallel_attn", True) else 2)
    biases = sum(outputs for _, _, outputs in linears) if config.get("bias", False) else 0
    tied = config.get("tie_word_embeddings", True)
    return _Parts(linears, norms * 2 * hidden + biases, 2 * hidden, config.need("vocab_size") * hidden, tied)


def _neox(config: _Numbers) -> _Parts:
    hidden, wide = config.hidden, config.need("intermediate_size")
    linears = (
        ("query_key_value", hidden, 3 * hidden),
        ("dense", hidden, hidden),
        ("dense_h_to_4h", hidden, wide),
        ("dense_4h_to_h", wide, hidden),
    )
    biases = (4 * hidden if config.get("attention_bias", True) else 0) + wide + hidden
    tied = config.get("tie_word_embeddings", False)
    return _Parts(linears, 4 * hidden + biases, 2 * hidden, config.need("vocab_size") * hidden, tied)


def _bloom(config: _Numbers) -> _Parts:
    hidden = config.hidden
    linears = (
        ("query_key_value", hidden, 3 * hidden),
        ("dense", hidden, hidden),
        ("dense_h_to_4h", hidden, 4 * hidden),
        ("dense_4h_to_h", 4 * hidden, hidden),
    )
    # a norm after the embedding and one at the end
    tied = config.get("tie_word_embeddings", True)
    return _Parts(linears, 4 * hidden + 9 * hidden, 4 * hidden, config.need("vocab_size") * hidden, tied)


def _gpt2(config: _Numbers) -> _Parts:
    hidden, wide = config.hidden, config.get("intermediate_size") or 4 * config.hidden
    linears = (
        ("c_attn", hidden, 3 * hidden),
        ("c_proj", hidden, hidden),
        ("c_fc", hidden, wide),
        ("c_proj", wide, hidden),
    )
    tables = (config.need("vocab_size") + config.get("max_position_embeddings", 1024)) * hidden
    return _Parts(linears, 4 * hidden + 5 * hidden + wide, 2 * hidden, tables, config.get("tie_word_embeddings", True))


def _opt(config: _Numbers) -> _Parts:
    hidden, wide = config.hidden, config.need("intermediate_size")
    if config.get("word_embed_proj_dim", hidden) != hidden:
        raise ModelError("no formula for an OPT whose embedding is narrower than its layers", "config.json", "load it")
    linears = tuple((name, hidden, hidden) for name in ("k_proj", "v_proj", "q_proj", "out_proj"))
    linears += (("fc1", hidden, wide), ("fc2", wide, hidden))
    tables = (config.need("vocab_size") + config.get("max_position_embeddings", 2048) + 2) * hidden
    return _Parts(linears, 4 * hidden + 5 * hidden + wide, 2 * hidden, tables, config.get("tie_word_embeddings", True))


def _phi(config: _Numbers) -> _Parts:
    hidden, wide, vocab = config.hidden, config.need("intermediate_size"), config.need("vocab_size")
    keys = config.kv_heads * config.head_width
    linears = (
        ("q_proj", hidden, hidden),
        ("k_proj", hidden, keys),
        ("v_proj", hidden, keys),
        ("dense", hidden, hidden),
        ("fc1", hidden, wide),
        ("fc2", wide, hidden),
    )
    biases = sum(outputs for _, _, outputs in linears)
    tied = config.get("tie_word_embeddings", False)
    return _Parts(linears, 2 * hidden + biases, 2 * hidden, vocab * hidden, tied, vocab)


def _bert(config: _Numbers) -> _Parts:
    """BERT with its pooler; RoBERTa's classifier has a layer of the same size in its place."""
    hidden, wide = config.hidden, config.need("intermediate_size")
    linears = tuple((f"attention.self.{name}", hidden, hidden) for name in ("query", "key", "value"))
    linears += (
        ("attention.output.dense", hidden, hidden),
        ("intermediate.dense", hidden, wide),
        ("output.dense", wide, hidden),
    )
    rows = config.need("vocab_size") + config.get("max_position_embeddings", 512) + config.get("type_vocab_size", 2)
    # norms after attention and feed-forward; biases of all six layers; one norm after the embedding; the pooler
    return _Parts(linears, 4 * hidden + 5 * hidden + wide, 2 * hidden + hidden, rows * hidden, False)


_FORMULAE = {
    **dict.fromkeys(
        ("llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "olmo2", "smollm3"), _llama
    ),
    "phi3": _phi3,
    "falcon": _falcon,
    "gpt_neox": _neox,
    "bloom": _bloom,
    "gpt2": _gpt2,
    "opt": _opt,
    "phi": _phi,
    **dict.fromkeys(("bert", "roberta", "xlm-roberta", "camembert"), _bert),
}


def _from_formulae(config: Mapping[str, Any]) -> Shape:
    kind = config.get("model_type", "")
    if kind not in _FORMULAE:
        raise ModelError(f"no formula for the shape of architecture '{kind}'", "model_type", nearest(kind, _FORMULAE))
    numbers = _Numbers(config)
    parts, layers, vocab, hidden = _FORMULAE[kind](numbers), 0, numbers.need("vocab_size"), numbers.hidden
    layers = numbers.need("num_hidden_layers")
    each = Counter(parts.linears)
    linears = [Linear(*key, count * layers) for key, count in each.items()]
    if is_encoder(kind):
        linears.append(Linear("pooler.dense", hidden, hidden, 1))
    head = 0 if is_encoder(kind) else vocab * hidden
    matrices = sum(linear.weights for linear in linears)
    return Shape(
        architecture=kind,
        parameters=matrices
        + layers * parts.of_block
        + parts.of_rest
        + parts.tables
        + (0 if parts.tied else head)
        + parts.head_bias,
        matmul_parameters=matrices + head,
        embedding_parameters=parts.tables,
        layers=layers,
        hidden=hidden,
        heads=numbers.heads,
        kv_heads=numbers.kv_heads,
        head_width=numbers.head_width,
        intermediate=_intermediate(tuple(linears), hidden),
        vocab=vocab,
        context=context_of(config) or 0,
        tied=parts.tied,
        linears=tuple(linears),
    )
