"""Bases of a real shape with random weights, made on the device layer by layer: nothing is downloaded or read.

A 4-bit base never lies on the device in 16 bits as a whole, so that the peak of memory is that of a card which just
holds it.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

from benchmarks.training.rows import EOS, PAD
from benchmarks.training.shapes import Base

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from domainlm.train.methods import Prepared
    from domainlm.train.settings import TrainSettings


def random_base(base: Base, quantization: str, dtype: torch.dtype, device: str, seed: int = 0) -> PreTrainedModel:
    """A causal model with random weights, each block quantized before the next one is made.

    Args:
        base: its shape.
        quantization: `nf4` (with double quantization, as the product loads it) or `none`.
        dtype: type of what is not quantized.
        device: where it is made.
        seed: of the weights.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    if quantization not in ("nf4", "none"):
        raise ValueError(f"no random base in {quantization}")
    settings = {key: value for key, value in base.config.items() if key != "model_type"}
    layers = settings["num_hidden_layers"]
    # made with one block, then grown: the model around the blocks is complete, buffers and all
    config = AutoConfig.for_model(base.config["model_type"], **(settings | {"num_hidden_layers": 1}))
    torch.manual_seed(seed)
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(config, dtype=dtype)
    model.config.num_hidden_layers = layers
    blocks = _blocks(model)
    if quantization == "nf4":
        _quantize(blocks[0], dtype)
    for number in range(1, layers):
        with torch.device(device), _default_dtype(dtype):
            block = type(blocks[0])(model.config, layer_idx=number)
        with torch.no_grad():
            block.apply(model._init_weights)
        if quantization == "nf4":
            _quantize(block, dtype)
        blocks.append(block)
    if quantization == "nf4":
        from domainlm.models.loading import guard_quantized_layers

        model.is_loaded_in_4bit = True
        guard_quantized_layers(model)
    return model


def _blocks(model: PreTrainedModel) -> torch.nn.ModuleList:
    inner = model.base_model
    return inner.layers if hasattr(inner, "layers") else inner.h


@contextlib.contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    import torch

    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _quantize(block: torch.nn.Module, dtype: torch.dtype) -> None:
    """Replace each linear layer of a block by a 4-bit one of the same weights, on the device where they lie."""
    import torch
    from bitsandbytes.nn import Linear4bit, Params4bit

    for name, module in list(block.named_modules()):
        if not isinstance(module, torch.nn.Linear):  # Falcon's own linear class too
            continue
        parent, _, last = name.rpartition(".")
        layer = Linear4bit(
            module.in_features,
            module.out_features,
            bias=module.bias is not None,
            compute_dtype=dtype,
            compress_statistics=True,
            quant_type="nf4",
            device="meta",
        )
        place = module.weight.device
        # bitsandbytes quantizes when a parameter is moved to its device
        layer.weight = Params4bit(
            module.weight.data, requires_grad=False, compress_statistics=True, quant_type="nf4", module=layer
        ).to(place)
        if module.bias is not None:
            layer.bias = module.bias
        setattr(block.get_submodule(parent) if parent else block, last, layer)


def prepared(base: Base, settings: TrainSettings, device: str, folder: Path) -> Prepared:
    """What the product makes of a random base: its own `prepare`, with the loading of files replaced.

    Args:
        base: the shape.
        settings: the recipe.
        device: where the weights are made.
        folder: an empty folder for the two cards that `prepare` reads.
    """
    from domainlm.artifacts import BaseCheckpoint, TokenizerFolder
    from domainlm.train import methods

    checkpoint, tokenizer = BaseCheckpoint(folder / "base"), TokenizerFolder(folder / "tokenizer")
    for card in (checkpoint, tokenizer):
        card.path.mkdir(parents=True, exist_ok=True)
    checkpoint.write_card(name=base.name, architecture=base.config["model_type"], digest="0" * 64)
    (checkpoint.path / "config.json").write_text(json.dumps(base.config))
    tokenizer.write_card(new_tokens={}, base_digest="0" * 64)

    def on_device(*_: Any, **__: Any) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
        dtype = methods.training_type(settings)
        return random_base(base, settings.quantization, dtype, device, settings.seed), nine_tokens()

    with mock.patch.object(methods, "load_base", on_device):
        return methods.prepare(checkpoint, tokenizer, settings)


def nine_tokens() -> PreTrainedTokenizerBase:
    """A tokenizer that names padding and end; the rows are made of numbers, it never reads a text."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import PreTrainedTokenizerFast

    words = {"<pad>": PAD, "<eos>": EOS} | {f"w{number}": number for number in range(2, 9)}
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(WordLevel(words, unk_token="w2")), pad_token="<pad>", eos_token="<eos>"
    )
