"""Going on from an adapter that was trained before: the champion of a retraining.

The weights alone are taken over; optimizer, schedule and random states begin anew. They are put on a model that this
recipe made, not the other way round: an adapter of another shape is then an error and never a training that silently
follows another recipe. Before the first step the model computes what the adapter's model computed, to the last bit
where base and machine are the same (tests/domainlm/train/test_start.py).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from domainlm.artifacts import AdapterFolder, BaseCheckpoint, TokenizerFolder
from domainlm.errors import ModelError, TrainingError
from domainlm.models.classifiers import plain
from domainlm.models.loading import FULL
from domainlm.train.methods import ADAPTER_CONFIG, Prepared, canonical
from domainlm.train.settings import CLASSIFICATION, TrainSettings

if TYPE_CHECKING:
    import torch

WHERE = "steps.train.parameters"
# peft's name of what an adapter was made with -> ours; all else in its configuration is compared too
OURS = {
    "r": "rank",
    "lora_alpha": "alpha",
    "target_modules": "target_modules",
    "use_dora": "method",
    "peft_type": "method",
    "num_virtual_tokens": "virtual_tokens",
    "adapter_len": "virtual_tokens",
    "adapter_layers": "virtual_tokens",
    "trainable_token_indices": "train_new_tokens",
}
# where and by which peft it was made, and what acts in training only
FREE = frozenset("base_model_name_or_path inference_mode lora_dropout peft_version revision auto_mapping".split())


def check(start: AdapterFolder, base: BaseCheckpoint, tokenizer: TokenizerFolder, settings: TrainSettings) -> None:
    """Say before anything is loaded why a training cannot go on from an adapter.

    Args:
        start: the adapter.
        base: the base of the training.
        tokenizer: its tokenizer.
        settings: the recipe, fitted into memory: in how many bits the base is read is known.

    Raises:
        ModelError: it was made for another base or tokenizer, by another method or for another objective, or beside a
            base in other bits.
        TrainingError: the recipe begins from random weights.
    """
    card = start.card
    if settings.initialisation == "random":
        raise TrainingError(
            "random weights cannot go on from an adapter", f"{WHERE}.initialisation", "set it to pretrained"
        )
    for what, wanted, found in (
        ("base", base.card["digest"], card["base_digest"]),
        ("tokenizer", tokenizer.digest, card["tokenizer_digest"]),
    ):
        if wanted != found:
            raise ModelError(
                f"the adapter to go on from belongs to another {what} (digest {found[:12]}, this is {wanted[:12]})",
                str(start.path),
                f"use its own {what}, or start from the base (steps.decide.parameters.start: base)",
            )
    for name, stated, kept in (
        ("method", settings.method, card.get("method")),
        # documents and tasks are learnt by one adapter in turn; a head is another thing
        ("objective", _kind(settings.objective), _kind(card.get("objective"))),
        ("bits", settings.quantization, card.get("quantization")),
    ):
        if stated != kept:
            _differs(start, name, stated, kept)


def go_on(prepared: Prepared, start: AdapterFolder, settings: TrainSettings) -> Prepared:
    """Put the adapter's weights (or, for method `full`, all weights) on a prepared model.

    Raises:
        ModelError: it was made by other settings than these, or its weights are not those of such a model.
    """
    if settings.objective == CLASSIFICATION:
        names = plain(prepared.model).config.id2label
        labels = [names[index] for index in range(len(names))]
        if labels != start.card.get("labels"):
            _differs(start, "tasks", labels, start.card.get("labels"))
    if settings.method == FULL:
        _load_all(prepared, start)
    else:
        _compare(prepared, start)
        _load_adapter(prepared, start)
    note = "; ".join(filter(None, (prepared.note, f"goes on from the adapter {start.digest[:12]}")))
    return prepared._replace(note=note)


def _compare(prepared: Prepared, start: AdapterFolder) -> None:
    """The configuration that peft would save for this recipe beside the one that lies with the adapter."""
    made = prepared.model.peft_config["default"].to_dict()
    ours = canonical(json.loads(json.dumps(made, default=_plain)))
    theirs = canonical(json.loads((start.path / ADAPTER_CONFIG).read_text()))
    for name in sorted((ours.keys() | theirs.keys()) - FREE, key=lambda key: (key not in OURS, key)):
        if ours.get(name) != theirs.get(name):
            _differs(start, OURS.get(name, name), ours.get(name), theirs.get(name))


def _kind(objective: str | None) -> str:
    return CLASSIFICATION if objective == CLASSIFICATION else f"not {CLASSIFICATION}"


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, set | frozenset | tuple) else str(value)


def _load_adapter(prepared: Prepared, start: AdapterFolder) -> None:
    from peft import get_peft_model_state_dict, set_peft_model_state_dict
    from safetensors.torch import load_file

    weights = load_file(str(start.path / "adapter_model.safetensors"))
    _same_shapes(get_peft_model_state_dict(prepared.model, save_embedding_layers=False), weights, start)
    set_peft_model_state_dict(prepared.model, weights)
    # peft's own list of keys that nobody took up names virtual tokens that it did take up, so it is read back
    taken = get_peft_model_state_dict(prepared.model, save_embedding_layers=False)
    if lost := sorted(name for name in weights if not taken[name].cpu().equal(weights[name])):
        _broken(start, f"{len(lost)} weights that nothing takes up (the first: {lost[0]})")


def _load_all(prepared: Prepared, start: AdapterFolder) -> None:
    from safetensors.torch import load_file

    weights: dict[str, torch.Tensor] = {}
    for path in sorted(start.path.glob("*.safetensors")):
        weights |= load_file(str(path))
    whole = prepared.model.state_dict()
    # tied weights are saved once, under one of their names
    saved = {whole[name].data_ptr() for name in weights if name in whole}
    expected = {name: tensor for name, tensor in whole.items() if name in weights or tensor.data_ptr() not in saved}
    _same_shapes(expected, weights, start)
    prepared.model.load_state_dict(weights, strict=False)


def _same_shapes(expected: dict[str, torch.Tensor], weights: dict[str, torch.Tensor], start: AdapterFolder) -> None:
    if other := sorted(expected.keys() ^ weights.keys()):
        _broken(start, f"{len(other)} weights more or fewer than this recipe trains (the first: {other[0]})")
    for name, tensor in weights.items():
        if tensor.shape != expected[name].shape:
            _broken(start, f"a weight of shape {tuple(tensor.shape)} for {tuple(expected[name].shape)} ({name})")


def _broken(start: AdapterFolder, what: str) -> None:
    raise ModelError(
        f"the adapter to go on from has {what}", str(start.path), "start from the base (steps.decide.parameters.start)"
    )


def _differs(start: AdapterFolder, name: str, stated: Any, kept: Any) -> None:
    raise ModelError(
        f"the recipe's {name} is {_told(stated)}, the adapter to go on from was made with {_told(kept)}",
        f"{WHERE}.{name}",
        "use the adapter's, or start from the base (steps.decide.parameters.start: base)",
    )


def _told(value: Any) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= 120 else f"{text[:120]} ..."
