"""Encoders (the BERT family) with a classification head: loading, reading texts, and the probability of each label.

What differs from causal language models:
- The head lies above the encoder's last hidden state and is trained whole, in float32, whatever is done to the encoder;
  a checkpoint's pooler (BERT's dense layer over [CLS]) belongs to it, because masked-language checkpoints have none.
- Where the checkpoint brings a head for exactly the task's labels (a FinBERT for positive, negative, neutral), that
  head is kept, its rows put into the task's order. Any other output layer is drawn anew: transformers would silently
  keep one of three classes for any three labels.
- The tokenizer closes a text with its own separator; there is no end-of-sequence rule as for generation.

Weights are float32 (an encoder is small); on a GPU the Trainer computes in bfloat16 through autocast.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from domainlm.artifacts import AdapterFolder, BaseCheckpoint, TokenizerFolder
from domainlm.errors import ModelError
from domainlm.models.architectures import ARCHITECTURES, context_of

if TYPE_CHECKING:
    import numpy as np
    import torch
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

    from domainlm.models.loading import Initialisation, Quantization

ENCODERS = frozenset(name for name, known in ARCHITECTURES.items() if known.encoder)
MIN_LABELS = 2


def is_encoder(base: BaseCheckpoint) -> bool:
    """Whether a base reads texts but cannot write them."""
    return base.card.get("architecture") in ENCODERS


def require_encoder(base: BaseCheckpoint) -> None:
    """A head needs an encoder below it.

    Raises:
        ModelError: the base is a causal language model or an unknown architecture.
    """
    if not is_encoder(base):
        raise ModelError(
            f"objective 'classification' needs an encoder, this base is of architecture '{base.card['architecture']}'",
            str(base.card["name"]),
            f"use a base of {', '.join(sorted(ENCODERS))}, or objective: instruction",
        )


def ensure_encoder_tokens(tokenizer: PreTrainedTokenizerBase) -> None:
    """An encoder's tokenizer must open and close texts, and pad.

    Raises:
        ModelError: one of the three tokens is missing.
    """
    for name in ("cls_token", "sep_token", "pad_token"):
        if getattr(tokenizer, name) is None:
            raise ModelError(
                f"the encoder's tokenizer has no {name}", tokenizer.name_or_path, "set it in tokenizer_config.json"
            )


def load_classifier(
    base: BaseCheckpoint,
    tokenizer: TokenizerFolder | None,
    labels: Sequence[str],
    quantization: Quantization = "none",
    dtype: torch.dtype | None = None,
    initialisation: Initialisation = "pretrained",
    seed: int = 0,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """An encoder with a head for the labels, and its tokenizer.

    Args:
        base: the encoder; the files of an external one are checked against the card's digest.
        tokenizer: an extended tokenizer; the base's own if None.
        labels: the classes, in the order of the head's outputs.
        quantization: `nf4` or `int8` for the encoder's linear layers; the head never is.
        dtype: the type that 4-bit layers compute in; the device's own by default.
        initialisation: `random` draws all weights anew.
        seed: seed of the head, and of all weights where they are drawn.

    Raises:
        ModelError: the base is no encoder, its files changed or lack weights, or it could not be quantized.
    """
    import torch
    from transformers import AutoConfig, AutoModelForSequenceClassification, set_seed

    from domainlm.models.loading import _add_rows, check_files, guard_quantized_layers, load_tokenizer
    from domainlm.models.runtime import device

    require_encoder(base)
    _check_labels(labels)
    check_files(base)
    loaded = load_tokenizer(base, tokenizer)
    config = AutoConfig.from_pretrained(base.model_path, local_files_only=True)
    order = own_head(config, labels)
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: index for index, label in enumerate(labels)}
    config.problem_type = "single_label_classification"
    if initialisation == "random":
        if quantization != "none":
            raise ModelError(
                "random weights cannot be frozen and quantized", "initialisation", "use method full with random weights"
            )
        set_seed(seed)
        model = AutoModelForSequenceClassification.from_config(config, dtype=torch.float32).to(device())
        _add_rows(model, loaded, {})
        return model, loaded
    options: dict[str, Any] = {"device_map": {"": device()}}
    if quantization != "none":
        options["quantization_config"] = _quantization(config, quantization, dtype)
    model, told = AutoModelForSequenceClassification.from_pretrained(
        base.model_path, config=config, dtype=torch.float32, local_files_only=True, use_safetensors=True,
        ignore_mismatched_sizes=True, output_loading_info=True, **options,
    )  # fmt: skip
    absent = set(told["missing_keys"]) | {entry[0] for entry in told["mismatched_keys"]}
    _complete_head(model, absent, order, seed)
    if quantization != "none":
        guard_quantized_layers(model, head(model).values())
    _add_rows(model, loaded, tokenizer.card["new_tokens"] if tokenizer else {})
    return model, loaded


def load_tuned_classifier(
    base: BaseCheckpoint,
    tokenizer: TokenizerFolder,
    adapter: AdapterFolder,
    quantization: Quantization | None = None,
    dtype: torch.dtype | None = None,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The tuned encoder: the base with adapter and head on it, or the whole weights of method `full`.

    `load_adapter` comes here by the adapter's card, after it has checked what belongs together.
    """
    import torch
    from peft import PeftModel
    from transformers import AutoModelForSequenceClassification

    from domainlm.models.loading import FULL, load_tokenizer
    from domainlm.models.runtime import device

    card = adapter.card
    if card["method"] == FULL:
        model = AutoModelForSequenceClassification.from_pretrained(
            adapter.path, dtype=torch.float32, local_files_only=True, device_map={"": device()}
        )
        return model.eval(), load_tokenizer(base, tokenizer)
    model, loaded = load_classifier(base, tokenizer, card["labels"], quantization or card["quantization"], dtype)
    return PeftModel.from_pretrained(model, str(adapter.path)).eval(), loaded


def own_head(config: PreTrainedConfig | dict, labels: Sequence[str]) -> list[int] | None:
    """Where a checkpoint's own head has each label, if it was made for exactly these labels; letter case aside.

    Args:
        config: the checkpoint's configuration, as an object or as config.json holds it.
        labels: the task's labels.

    Returns:
        For each label the row of the checkpoint's head; None where there is no such head.
    """
    content = config if isinstance(config, dict) else config.to_dict()
    if not any(name.endswith("ForSequenceClassification") for name in content.get("architectures") or ()):
        return None
    rows = {str(label).strip().lower(): int(row) for row, label in (content.get("id2label") or {}).items()}
    wanted = [label.strip().lower() for label in labels]
    return [rows[label] for label in wanted] if len(rows) == len(wanted) and set(rows) == set(wanted) else None


def has_own_head(base: BaseCheckpoint, labels: Sequence[str]) -> bool:
    """Whether a base answers a task by itself; reads its config.json only."""
    return own_head(json.loads((base.model_path / "config.json").read_text(encoding="utf-8")), labels) is not None


def plain(model: PreTrainedModel) -> PreTrainedModel:
    """The model under an adapter, or the model itself."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def head(model: PreTrainedModel) -> dict[str, torch.nn.Module]:
    """The modules above the last hidden state by name: everything beside the encoder, and the encoder's pooler."""
    found = {
        name: child
        for name, child in model.named_children()
        if name != model.base_model_prefix and any(True for _ in child.parameters())
    }
    if getattr(model.base_model, "pooler", None) is not None:
        found[f"{model.base_model_prefix}.pooler"] = model.base_model.pooler
    return found


def read(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[list[int]]:
    """Token ids of texts between the tokenizer's own special tokens; nothing is cut."""
    return tokenizer(list(texts), return_attention_mask=False)["input_ids"] if texts else []


def label_log_likelihoods(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], batch: int = 32
) -> list[dict[str, float]]:
    """The natural logarithm of each label's probability, for each text.

    Raises:
        ModelError: a text does not fit into the encoder's context, or a score is not finite.
    """
    import torch

    names = [model.config.id2label[index] for index in range(len(model.config.id2label))]
    found: list[dict[str, float]] = [{}] * len(texts)
    for indices, inputs in _batches(model, tokenizer, texts, batch):
        with torch.inference_mode():
            scores = torch.log_softmax(model(**inputs).logits.float(), dim=-1).tolist()
        for index, row in zip(indices, scores, strict=True):
            found[index] = dict(zip(names, row, strict=True))
    bad = sum(not all(map(math.isfinite, row.values())) for row in found)
    if bad:
        raise ModelError(
            f"the model gave no finite score for {bad} of {len(found)} texts", "", "its weights are broken"
        )
    return found


def mean_states(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], batch: int = 32
) -> np.ndarray:
    """The encoder's last hidden states, averaged over the tokens of each text: (texts, width), float32.

    The average and not [CLS]: of a checkpoint that only filled masks, [CLS] was never asked for anything.
    """
    import numpy as np
    import torch

    encoder = plain(model).base_model
    found = np.zeros((len(texts), model.config.hidden_size), dtype=np.float32)
    for indices, inputs in _batches(model, tokenizer, texts, batch):
        with torch.inference_mode():
            states = encoder(**inputs).last_hidden_state.float()
            mask = inputs["attention_mask"].unsqueeze(-1).to(states.dtype)
            found[indices] = ((states * mask).sum(dim=1) / mask.sum(dim=1)).cpu().numpy()
    return found


def _batches(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], batch: int
) -> Iterator[tuple[list[int], dict[str, torch.Tensor]]]:
    """Texts sorted by length, so that little is spent on padding: their indices and the model's inputs."""
    rows = read(tokenizer, texts)
    limit = context_of(model.config)
    over = sum(len(row) > limit for row in rows) if limit else 0
    if over:
        raise ModelError(
            f"{over} of {len(rows)} texts need up to {max(map(len, rows))} tokens, the encoder reads {limit}",
            "",
            "shorten them or leave them out; nothing is cut",
        )
    model.eval()
    order = sorted(range(len(rows)), key=lambda index: (len(rows[index]), index))
    for start in range(0, len(order), batch):
        indices = order[start : start + batch]
        inputs = padded([rows[index] for index in indices], tokenizer.pad_token_id)
        yield indices, {name: values.to(model.device) for name, values in inputs.items()}


def padded(rows: Sequence[Sequence[int]], pad: int) -> dict[str, torch.Tensor]:
    """Rows filled up on the right, and the mask that hides the filling: both (rows, longest), int64."""
    import torch

    width = max(map(len, rows))
    return {
        "input_ids": torch.tensor([[*row, *[pad] * (width - len(row))] for row in rows]),
        "attention_mask": torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows]),
    }


def _check_labels(labels: Sequence[str]) -> None:
    if len(labels) < MIN_LABELS or len(set(labels)) != len(labels):
        raise ModelError(
            f"a head needs at least {MIN_LABELS} different labels, got {len(set(labels))}",
            "labels",
            "name the classes in the task's definition",
        )


def _quantization(config: PreTrainedConfig, quantization: Quantization, dtype: torch.dtype | None) -> Any:
    """bitsandbytes' configuration, with the head left as it is; its names come from a model without any weights."""
    import torch
    from transformers import AutoModelForSequenceClassification

    from domainlm.models.loading import int8_config, nf4_config
    from domainlm.models.runtime import compute_type

    with torch.device("meta"):
        names = sorted(head(AutoModelForSequenceClassification.from_config(config)))
    wanted = nf4_config(dtype or compute_type()) if quantization == "nf4" else int8_config()
    wanted.llm_int8_skip_modules = names
    return wanted


def _complete_head(model: PreTrainedModel, absent: set[str], order: list[int] | None, seed: int) -> None:
    """Draw what the checkpoint lacks of the head, and the output layer unless it was made for the task's labels.

    Raises:
        ModelError: weights of the encoder itself are absent, so that the checkpoint is not of this architecture.
    """
    import torch

    parts = head(model)
    lost = sorted(key for key in absent if not key.startswith(tuple(f"{name}." for name in parts)))
    if lost:
        raise ModelError(
            f"{len(lost)} weights of the encoder are missing in the checkpoint (the first: {lost[0]})",
            f"architecture {model.config.model_type}",
            "name a checkpoint of exactly this architecture",
        )
    layers = {
        f"{name}.{inner}".rstrip("."): layer
        for name, part in parts.items()
        for inner, layer in part.named_modules()
        if isinstance(layer, torch.nn.Linear)
    }
    output = next(name for name in reversed(layers) if not name.endswith("pooler.dense"))
    fresh = {name for name in layers if any(key.startswith(f"{name}.") for key in absent)}
    if order is None or output in fresh:
        fresh.add(output)
    generator = torch.Generator().manual_seed(seed)
    spread = getattr(model.config, "initializer_range", 0.02)
    with torch.no_grad():
        for name in sorted(fresh):
            weight = layers[name].weight
            weight.copy_(torch.empty(weight.shape).normal_(0.0, spread, generator=generator))
            if layers[name].bias is not None:
                layers[name].bias.zero_()
        if output not in fresh:
            layers[output].weight.copy_(layers[output].weight[order].clone())
            layers[output].bias.copy_(layers[output].bias[order].clone())
