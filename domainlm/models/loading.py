"""Loading a base with its extended tokenizer, in 4 bits or not, and an adapter; a guard stands for each known trap."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from domainlm.artifacts import CARD_FILE, AdapterFolder, BaseCheckpoint, TokenizerFolder
from domainlm.digests import digest_folder
from domainlm.errors import ArtifactError, ModelError
from domainlm.models.classifiers import ensure_encoder_tokens, is_encoder, load_tuned_classifier
from domainlm.models.encoding import ensure_pad
from domainlm.models.runtime import compute_type, device

if TYPE_CHECKING:
    import torch
    from torch.nn import Module
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Quantization = Literal["nf4", "int8", "none"]
Initialisation = Literal["pretrained", "random"]
FULL = "full"


def load_tokenizer(base: BaseCheckpoint, tokenizer: TokenizerFolder | None = None) -> PreTrainedTokenizerBase:
    """The extended tokenizer, or the base's own; pad differs from eos either way.

    Raises:
        ModelError: the extended tokenizer belongs to another base.
    """
    from transformers import AutoTokenizer

    if tokenizer is not None:
        _check_belongs("the extended tokenizer", tokenizer.card["base_digest"], base)
    loaded = AutoTokenizer.from_pretrained(tokenizer.path if tokenizer else base.model_path, local_files_only=True)
    if is_encoder(base):
        ensure_encoder_tokens(loaded)
    else:
        ensure_pad(loaded)
    return loaded


def load_base(
    base: BaseCheckpoint,
    tokenizer: TokenizerFolder | None = None,
    quantization: Quantization = "nf4",
    dtype: torch.dtype | None = None,
    initialisation: Initialisation = "pretrained",
    seed: int = 0,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A base model and its tokenizer, with rows for the tokenizer's new tokens.

    Args:
        base: the base checkpoint; the files of an external one are checked against the card's digest.
        tokenizer: an extended tokenizer, whose card says what each new row is the mean of; the base's own if None.
        quantization: `nf4` for 4-bit NormalFloat with double quantization (Dettmers et al. 2023), `int8` for LLM.int8
            (Dettmers et al. 2022), or `none`.
        dtype: type of the activations and of weights that are not quantized; see `compute_type` for the default.
        initialisation: `random` draws new weights of the same shape (the from-scratch control).
        seed: seed of the random weights.

    Raises:
        ModelError: the files changed, the tokenizer belongs to another base, or nothing was quantized.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, set_seed

    if is_encoder(base):  # transformers would make a language model of it that nobody trained
        raise ModelError(
            f"a base of architecture '{base.card['architecture']}' reads texts and cannot write them",
            str(base.card["name"]),
            "set steps.train.parameters.objective: classification, or name a causal language model",
        )
    check_files(base)
    loaded_tokenizer = load_tokenizer(base, tokenizer)
    dtype = dtype or compute_type()
    if initialisation == "random":
        if quantization != "none":
            raise ModelError(
                "random weights cannot be frozen and quantized", "initialisation", "use method full with random weights"
            )
        config = AutoConfig.from_pretrained(base.model_path, local_files_only=True)
        set_seed(seed)
        model = AutoModelForCausalLM.from_config(config, dtype=dtype).to(device())
        _add_rows(model, loaded_tokenizer, {})
        return model, loaded_tokenizer
    options = {"dtype": dtype, "local_files_only": True, "use_safetensors": True, "device_map": {"": device()}}
    if quantization != "none":
        options["quantization_config"] = nf4_config(dtype) if quantization == "nf4" else int8_config()
    with _plain_linear_layers():
        model = AutoModelForCausalLM.from_pretrained(base.model_path, **options)
    if quantization != "none":
        guard_quantized_layers(model)
    _add_rows(model, loaded_tokenizer, tokenizer.card["new_tokens"] if tokenizer else {})
    for parameter in model.parameters():
        if not torch.is_floating_point(parameter):
            parameter.requires_grad = False
    return model, loaded_tokenizer


def nf4_config(dtype: torch.dtype):
    """QLoRA's quantization: NF4, double quantization, computed in `dtype`."""
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
    )


def int8_config():
    """LLM.int8: 8-bit weights, outliers of the activations in 16 bits."""
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(load_in_8bit=True)


@contextlib.contextmanager
def _plain_linear_layers() -> Iterator[None]:
    """Let Falcon be quantized.

    transformers replaces only modules whose type is exactly `nn.Linear`; Falcon's `FalconLinear` is a subclass, so a
    4-bit Falcon would silently stay in full precision. The two classes compute the same.
    """
    import torch
    from transformers.models.falcon import modeling_falcon

    original = modeling_falcon.FalconLinear
    modeling_falcon.FalconLinear = torch.nn.Linear
    try:
        yield
    finally:
        modeling_falcon.FalconLinear = original


def quantized_layers(model: PreTrainedModel) -> list[str]:
    """Names of all 4-bit and 8-bit layers."""
    from bitsandbytes.nn import Linear4bit, Linear8bitLt

    return [name for name, module in model.named_modules() if isinstance(module, Linear4bit | Linear8bitLt)]


def guard_quantized_layers(model: PreTrainedModel, left_alone: Iterable[Module] = ()) -> None:
    """Make sure that quantized layers exist, and that an evaluation cannot spoil their gradients.

    On CPUs with AVX512_BF16 bitsandbytes repacks a 4-bit weight at its first forward outside training, and gradients
    through the repacked weight are wrong (cosine 0.4 to the right ones); the layers are told not to.

    Args:
        model: the quantized model.
        left_alone: modules beside the output layer that stay as they are (the head of a classifier).

    Raises:
        ModelError: a linear layer that should be quantized is not, or the other way round.
    """
    import torch
    from bitsandbytes.nn import Linear4bit, Linear8bitLt

    head = model.get_output_embeddings()
    spared = {id(inner) for part in left_alone for inner in part.modules()}
    plain = [
        name
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear)
        and module is not head
        and isinstance(module, Linear4bit | Linear8bitLt) == (id(module) in spared)
    ]
    found = quantized_layers(model)
    if plain or not found:
        raise ModelError(
            f"{len(found)} layers are quantized, {len(plain)} are not (the first: {plain[0] if plain else 'none'})",
            f"architecture {model.config.model_type}",
            "use method lora or full for this base, or mend its layer classes in domainlm/models/loading.py",
        )
    _guard_experts(model)
    for name in found:
        if isinstance(model.get_submodule(name), Linear4bit):
            model.get_submodule(name).support_avx512bf16_for_cpu = False


def _guard_experts(model: PreTrainedModel) -> None:
    """Most weights of a mixture of experts lie in tensors of three dimensions, which no quantization here reaches.

    Every linear layer would be quantized, and yet nearly the whole model would lie in memory in full.
    """
    missed = sum(weight.numel() for weight in model.parameters() if weight.dim() > 2 and weight.is_floating_point())
    if missed > 0.01 * model.num_parameters():
        raise ModelError(
            f"{missed:,} weights lie in fused experts, which are not quantized",
            f"architecture {model.config.model_type}",
            "use method lora with bits 16 (it adapts the attention alone), or a base without experts",
        )


def _add_rows(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, new_tokens: dict[str, list[int]]) -> None:
    """Grow the embeddings to the tokenizer and set each new row to the mean of its sub-tokens' rows.

    transformers' own `mean_resizing` gives all new rows the mean of the whole vocabulary: measured, much worse.
    """
    import torch

    if len(tokenizer) > model.get_input_embeddings().num_embeddings:
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    rows = [model.get_input_embeddings().weight]
    if model.get_output_embeddings() is not None and not tied(model):
        rows.append(model.get_output_embeddings().weight)
    with torch.no_grad():
        for weight in rows:
            for token, parts in new_tokens.items():
                weight[tokenizer.convert_tokens_to_ids(token)] = weight[parts].mean(dim=0)


def tied(model: PreTrainedModel) -> bool:
    """Whether input and output embedding are one tensor."""
    head = model.get_output_embeddings()
    return head is not None and head.weight is model.get_input_embeddings().weight


def load_adapter(
    base: BaseCheckpoint,
    tokenizer: TokenizerFolder,
    adapter: AdapterFolder,
    quantization: Quantization | None = None,
    dtype: torch.dtype | None = None,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The tuned model: the base with an adapter on it, or the whole weights that method `full` made.

    Args:
        base: the base that the adapter was trained on.
        tokenizer: the tokenizer that it was trained with.
        adapter: the adapter.
        quantization: as in training, unless named.
        dtype: as in `load_base`.

    Raises:
        ModelError: the adapter was trained on another base or with another tokenizer.
    """
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    card = adapter.card
    _check_belongs("the adapter", card["base_digest"], base)
    if card["tokenizer_digest"] != tokenizer.digest:
        raise ModelError(
            "the adapter was trained with another tokenizer", str(adapter.path), "use the tokenizer of its run"
        )
    if card.get("objective") == "classification":
        return load_tuned_classifier(base, tokenizer, adapter, quantization, dtype)
    if card["method"] == FULL:
        model = AutoModelForCausalLM.from_pretrained(
            adapter.path, dtype=dtype or compute_type(), local_files_only=True, device_map={"": device()}
        )
        return model.eval(), load_tokenizer(base, tokenizer)
    model, loaded_tokenizer = load_base(base, tokenizer, quantization or card["quantization"], dtype)
    return PeftModel.from_pretrained(model, str(adapter.path)).eval(), loaded_tokenizer


def _check_belongs(what: str, wanted: str, base: BaseCheckpoint) -> None:
    if wanted != base.card["digest"]:
        raise ModelError(
            f"{what} was made for another base (digest {wanted[:12]}, this base has {base.card['digest'][:12]})",
            str(base.model_path),
            "use the base that it was made for, or run the pipeline again with this base",
        )


def check_files(base: BaseCheckpoint) -> None:
    """Compare the files of a base with the digest in its card; a folder that did not change is read once a process.

    Raises:
        ArtifactError: a file was changed, added or removed since the base was resolved.
    """
    path = base.model_path
    if not path.is_dir():
        raise ModelError("the files of this base are gone", str(path), "restore them or resolve the base again")
    state = tuple(
        (str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in sorted(path.rglob("*")) if file.is_file()
    )
    if _digest_of_state(path, state) != base.card["digest"]:
        raise ArtifactError(
            "the files of this base do not match their digest", str(path), "restore them or resolve the base again"
        )


@functools.lru_cache(maxsize=8)
def _digest_of_state(path: Path, state: tuple) -> str:
    return digest_folder(path, ignore=[CARD_FILE])
