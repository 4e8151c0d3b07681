"""How a base becomes trainable: LoRA and its relatives, virtual tokens, or all weights; and how the result is saved."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from domainlm.artifacts import AdapterFolder, BaseCheckpoint, TokenizerFolder
from domainlm.errors import ModelError
from domainlm.models.architectures import is_target, target_modules
from domainlm.models.loading import FULL, load_base, tied
from domainlm.models.runtime import compute_type
from domainlm.train.settings import CLASSIFICATION, LORA_METHODS, TrainSettings

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

ADAPTER_CONFIG = "adapter_config.json"


class Prepared(NamedTuple):
    """A model that is ready to be trained, and what the report says of it."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    modules: list[str]
    note: str


def training_type(settings: TrainSettings) -> torch.dtype:
    """The type of activations; all weights are trained in float32, since small updates vanish in 16 bits."""
    import torch

    return torch.float32 if settings.method == FULL else compute_type(settings.compute_dtype)


def prepare(base: BaseCheckpoint, tokenizer: TokenizerFolder, settings: TrainSettings) -> Prepared:
    """Load a base and put on it what the method trains.

    Raises:
        ModelError: base, tokenizer and settings do not fit together, or peft does not know the method for this base.
    """
    model, loaded = load_base(
        base, tokenizer, settings.quantization, training_type(settings), settings.initialisation, settings.seed
    )
    model.config.use_cache = False
    if settings.method == FULL:
        model.requires_grad_(True)
        return Prepared(model, loaded, [], "")
    # not peft's prepare_model_for_kbit_training: it lifts embedding, head and norms to 32 bits, which costs an 8B base
    # two gigabytes and a cast at every layer; adapters are in 32 bits as it is
    model.requires_grad_(False)
    if settings.method in LORA_METHODS:
        return _with_lora(model, loaded, tokenizer, settings)
    return Prepared(_with_virtual_tokens(model, settings), loaded, [], "")


def _with_lora(
    model: PreTrainedModel, loaded: PreTrainedTokenizerBase, tokenizer: TokenizerFolder, settings: TrainSettings
) -> Prepared:
    from peft import LoraConfig, get_peft_model

    modules, note = target_modules(model, settings.target_modules)
    check_rank(model, modules, settings.rank)
    if settings.adapt_embedding:
        modules.append(name_of(model, model.get_input_embeddings()))
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        use_dora=settings.method == "dora",
        target_modules=modules,
        trainable_token_indices=_token_indices(model, loaded, tokenizer) if new_tokens(tokenizer, settings) else None,
        task_type="CAUSAL_LM",
    )
    return Prepared(get_peft_model(model, config), loaded, modules, note)


def check_rank(model: PreTrainedModel, modules: list[str], rank: int) -> None:
    """A rank above a layer's smaller side adds parameters and no freedom: it is a mistake.

    Raises:
        ModelError: the rank exceeds the smaller side of an adapted layer.
    """
    for name, module in model.named_modules():
        if not is_target(name, modules) or not hasattr(module, "in_features"):
            continue
        smaller = min(module.in_features, module.out_features)
        if rank > smaller:
            raise ModelError(
                f"rank {rank} exceeds the layer '{name}' of {module.in_features} x {module.out_features}",
                "steps.train.parameters.rank",
                f"use a rank of at most {smaller}, or leave this layer out of target_modules",
            )


def _with_virtual_tokens(model: PreTrainedModel, settings: TrainSettings) -> PreTrainedModel:
    from peft import AdaptionPromptConfig, PrefixTuningConfig, PromptTuningConfig, get_peft_model

    if settings.method == "prefix":
        config = PrefixTuningConfig(
            num_virtual_tokens=settings.virtual_tokens, task_type="CAUSAL_LM", **_cache_shape(model)
        )
    elif settings.method == "prompt":
        config = PromptTuningConfig(num_virtual_tokens=settings.virtual_tokens, task_type="CAUSAL_LM")
    else:
        config = AdaptionPromptConfig(
            adapter_len=settings.virtual_tokens, adapter_layers=_upper_layers(model), task_type="CAUSAL_LM"
        )
    try:
        return get_peft_model(model, config)
    except (ValueError, KeyError, NotImplementedError, AttributeError) as error:
        raise ModelError(
            f"peft has no method '{settings.method}' for a base of architecture '{model.config.model_type}'"
            f" ({type(error).__name__})",
            "steps.train.parameters.method",
            "use qlora, lora or dora",
        ) from error


def _cache_shape(model: PreTrainedModel) -> dict[str, int]:
    """Heads and width of Falcon's key-value cache, which peft does not know: one head for all queries, mostly."""
    config = model.config
    if config.model_type != "falcon":
        return {}
    if config.new_decoder_architecture:
        heads = config.num_attention_heads  # repeated for each query before they are cached
    else:
        heads = 1 if config.multi_query else config.num_kv_heads
    return {"num_attention_heads": heads, "token_dim": heads * (config.hidden_size // config.num_attention_heads)}


def _upper_layers(model: PreTrainedModel) -> int:
    """LLaMA-Adapter (Zhang et al. 2023) leaves the two lowest layers of 32 alone; a shallow base gets all but one."""
    layers = model.config.num_hidden_layers
    return max(1, layers - max(1, layers // 16))


def new_tokens(tokenizer: TokenizerFolder, settings: TrainSettings) -> int:
    """How many new tokens get rows of their own; a LoRA over the whole embedding covers them already."""
    separately = settings.train_new_tokens and settings.method in LORA_METHODS and not settings.adapt_embedding
    return len(tokenizer.card["new_tokens"]) if separately else 0


def name_of(model: PreTrainedModel, wanted: Any) -> str:
    """The last name part of a module of the model."""
    return next(name for name, module in model.named_modules() if module is wanted).rpartition(".")[2]


def _token_indices(
    model: PreTrainedModel, loaded: PreTrainedTokenizerBase, tokenizer: TokenizerFolder
) -> dict[str, list[int]]:
    """The new tokens' rows by embedding layer; an untied output layer has rows of its own and must be named too."""
    indices = sorted(loaded.convert_tokens_to_ids(list(tokenizer.card["new_tokens"])))
    layers = [model.get_input_embeddings()]
    if not tied(model):
        layers.append(model.get_output_embeddings())
    return {name_of(model, layer): indices for layer in layers}


def export(
    model: PreTrainedModel,
    folder: Path,
    base: BaseCheckpoint,
    tokenizer: TokenizerFolder,
    settings: TrainSettings,
    state: dict[str, torch.Tensor] | None = None,
    start: AdapterFolder | None = None,
) -> AdapterFolder:
    """Write the adapter (or, for method `full`, the weights) as a canonical folder that names what it belongs to.

    `state` has the whole tensors of a model that is spread over several processes; `start` is what it went on from.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if settings.method == FULL:
        model.config.use_cache = True
        model.save_pretrained(folder, state_dict=state)
    else:
        model.save_pretrained(str(folder), state_dict=state, save_embedding_layers=False)
        (folder / "README.md").unlink(missing_ok=True)  # a template that names this machine's path of the base
        config = json.loads((folder / ADAPTER_CONFIG).read_text())
        config["base_model_name_or_path"] = base.card["name"]
        (folder / ADAPTER_CONFIG).write_text(json.dumps(canonical(config), indent=2, sort_keys=True) + "\n")
    adapter = AdapterFolder(folder)
    names = model.config.id2label
    labels = [names[index] for index in range(len(names))] if settings.objective == CLASSIFICATION else None
    adapter.write_card(
        method=settings.method,
        objective=settings.objective,
        quantization=settings.quantization,
        base_digest=base.card["digest"],
        tokenizer_digest=tokenizer.digest,
        **({"labels": labels} if labels else {}),
        **({"started_from": start.digest} if start is not None else {}),
    )
    return adapter


def canonical(value: Any) -> Any:
    """A configuration with its lists sorted: peft keeps sets, whose order changes with PYTHONHASHSEED."""
    if isinstance(value, dict):
        return {key: canonical(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return sorted((canonical(entry) for entry in value), key=lambda entry: json.dumps(entry, sort_keys=True))
    return value
