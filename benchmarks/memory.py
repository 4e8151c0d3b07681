"""How far the memory planner's estimate is from the memory that a training really takes.

    python benchmarks/memory.py                 a table, and one JSON line at the end

Small bases of several architectures are made on the spot and really trained for two steps; every tensor is counted
while it lives (on a GPU the allocator's own peak takes its place). The estimate sees only config.json and the recipe.
"""

from __future__ import annotations

import json
import math
import sys
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from domainlm.artifacts import BaseCheckpoint, TokenizerFolder
from domainlm.errors import DomainLMError
from domainlm.models.bases import resolve_base
from domainlm.models.memory import GB, Estimate, Shape, estimate
from domainlm.models.shapes import is_encoder
from domainlm.tasks import Task
from domainlm.train.rows import Tokenized
from domainlm.train.settings import CLASSIFICATION, PROMPT_METHODS, TrainSettings

WORDS = 1000

# wide enough that activations outweigh what has a size of its own, small enough for seconds on a CPU
_WIDE = {"hidden_size": 192, "num_hidden_layers": 3, "num_attention_heads": 6, "vocab_size": WORDS}
_GROUPED = {**_WIDE, "num_key_value_heads": 2, "intermediate_size": 512, "max_position_embeddings": 512}
SHAPES: dict[str, dict[str, Any]] = {
    "falcon": {**_WIDE, "max_position_embeddings": 512},
    "llama": _GROUPED,
    "mistral": {**_GROUPED, "intermediate_size": 640},
    "qwen2": _GROUPED,
    "gpt_neox": {**_WIDE, "intermediate_size": 768, "max_position_embeddings": 512},
    "bloom": {"hidden_size": 192, "n_layer": 3, "n_head": 6, "vocab_size": WORDS, "seq_length": 512},
    "qwen3": {**_GROUPED, "head_dim": 32},
    "gemma2": {**_GROUPED, "head_dim": 32},
    "olmo2": _GROUPED,
    "phi3": _GROUPED,
    "phi": {**_WIDE, "intermediate_size": 512, "max_position_embeddings": 512},
    "opt": {**_WIDE, "ffn_dim": 512, "word_embed_proj_dim": 192, "max_position_embeddings": 512},
    "gpt2": {"n_embd": 192, "n_layer": 3, "n_head": 6, "vocab_size": WORDS, "n_positions": 512},
    "bert": {**_WIDE, "intermediate_size": 768, "max_position_embeddings": 512},
}
# as wide again as deep: what grows with the width, the depth and the length must grow in the estimate as it does here
OTHER = {"hidden_size": 256, "num_hidden_layers": 5, "num_attention_heads": 4}

RECIPES: dict[str, dict[str, Any]] = {
    "QLoRA": {"method": "qlora"},
    "QLoRA, bf16": {"method": "qlora", "compute_dtype": "bfloat16"},
    "QLoRA, bf16, recomputed": {"method": "qlora", "compute_dtype": "bfloat16", "gradient_checkpointing": True},
    "LoRA, int8": {"method": "lora", "bits": 8},
    "LoRA": {"method": "lora", "bits": 16},
    "LoRA, bf16": {"method": "lora", "bits": 16, "compute_dtype": "bfloat16"},
    "LoRA, dropout": {"method": "lora", "bits": 16, "dropout": 0.1},
    "LoRA, recomputed": {"method": "lora", "bits": 16, "gradient_checkpointing": True},
    "LoRA, embedding": {"method": "lora", "bits": 16, "adapt_embedding": True},
    "LoRA, packed": {"method": "lora", "bits": 16, "batching": "packed"},
    "LoRA, chunks of 64": {"method": "lora", "bits": 16, "loss_chunk_tokens": 64},
    "LoRA, all logits": {"method": "lora", "bits": 16, "loss_chunk_tokens": None},
    "DoRA": {"method": "dora", "bits": 16},
    "full": {"method": "full"},
    "full, 8-bit AdamW": {"method": "full", "optimizer": "adamw_8bit"},
    "full, Adafactor": {"method": "full", "optimizer": "adafactor"},
    "prefix": {"method": "prefix", "bits": 16},
    "prompt": {"method": "prompt", "bits": 16},
}
COMMON = {"batch_size": 4, "max_steps": 2, "report_to": (), "dev_records": 0, "threads": 1, "rank": 8}
LENGTH = 128


class Counted(NamedTuple):
    """Bytes that were counted while a training ran.

    Args:
        weights: of the frozen base.
        adapter: of the trained parameters beside it.
        optimizer: of its states.
        saved: what the forward passes kept for the backward pass, at most.
        peak: of all tensors together, at most.
        reserved: the CUDA allocator's peak; 0 on a CPU.
    """

    weights: int
    adapter: int
    optimizer: int
    saved: int
    peak: int
    reserved: int


class LiveTensors(TorchDispatchMode):
    """Counts the bytes of every storage from the operation that makes it to its end."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._seen: set[int] = set()

    def add(self, tensor: torch.Tensor) -> None:
        """Count a tensor's storage, once."""
        storage = tensor.untyped_storage()
        if id(storage) in self._seen or storage.nbytes() == 0:
            return
        self._seen.add(id(storage))
        self.now += storage.nbytes()
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._remove, id(storage), storage.nbytes())

    def _remove(self, key: int, size: int) -> None:
        self._seen.discard(key)
        self.now -= size

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        """Run the operation and count what it made."""
        made = function(*args, **(kwargs or {}))
        for value in tree_iter(made):
            if isinstance(value, torch.Tensor):
                self.add(value)
        return made


@contextmanager
def saved_bytes(known: set[int]) -> Iterator[list[int]]:
    """The largest number of bytes that autograd kept at one time, without the storages in `known`."""
    most, now, held = [0], [0], {}

    def pack(tensor: torch.Tensor) -> Any:
        storage = tensor.untyped_storage()
        if storage.data_ptr() in known:
            return tensor
        key = storage.data_ptr()
        held[key] = held.get(key, 0) + 1
        if held[key] == 1:
            now[0] += storage.nbytes()
            most[0] = max(most[0], now[0])
        return _Kept(tensor, lambda: drop(key, storage.nbytes()))

    def drop(key: int, size: int) -> None:
        held[key] -= 1
        if not held[key]:
            del held[key]
            now[0] -= size

    def unpack(kept: Any) -> torch.Tensor:
        return kept.tensor if isinstance(kept, _Kept) else kept

    with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
        yield most


class _Kept:
    def __init__(self, tensor: torch.Tensor, drop) -> None:
        self.tensor = tensor
        weakref.finalize(self, drop)


def make_base(kind: str, folder: Path, **changes: Any) -> tuple[BaseCheckpoint, TokenizerFolder]:
    """A base with random weights and a tokenizer of numbered words, as they lie on a disk."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM, PreTrainedTokenizerFast

    files = folder / "files"
    torch.manual_seed(0)
    kinds = AutoModelForMaskedLM if is_encoder(kind) else AutoModelForCausalLM
    config = AutoConfig.for_model(
        kind, **(SHAPES[kind] | {"bos_token_id": 1, "eos_token_id": 1, "pad_token_id": 2} | changes)
    )
    kinds.from_config(config).save_pretrained(files)
    words = {"<unk>": 0, "<eos>": 1, "<pad>": 2} | {f"w{number}": number for number in range(3, WORDS)}
    plain = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    plain.pre_tokenizer = pre_tokenizers.Whitespace()
    ends = {"cls_token": "<eos>", "sep_token": "<eos>"} if is_encoder(kind) else {"eos_token": "<eos>"}
    PreTrainedTokenizerFast(tokenizer_object=plain, unk_token="<unk>", pad_token="<pad>", **ends).save_pretrained(files)
    base = resolve_base(str(files), folder / "base")
    own = TokenizerFolder(folder / "tokenizer")
    PreTrainedTokenizerFast.from_pretrained(files).save_pretrained(own.path)
    own.write_card(base_digest=base.card["digest"], new_tokens={})
    return base, own


def count(
    base: BaseCheckpoint, tokenizer: TokenizerFolder, settings: TrainSettings, length: int, work: Path
) -> Counted:
    """Train two steps on rows of `length` tokens and count."""
    from domainlm.train import loop

    generator = torch.Generator().manual_seed(0)
    rows = torch.randint(3, WORDS, (2 * settings.batch_size, length), generator=generator).tolist()
    names = [str(number) for number in range(len(rows))]
    if settings.objective == CLASSIFICATION:
        from domainlm.train.classification import Labelled, prepare

        task = Task(name="mood", version=1, kind="classification", claim="classification", labels=("good", "bad"))
        prepared = prepare(base, tokenizer, settings, task)
        tokenized = Labelled(names, [(row, number % 2) for number, row in enumerate(rows)], 0)
    else:
        from domainlm.train.methods import prepare

        prepared = prepare(base, tokenizer, settings)
        tokenized = Tokenized(names, [(row[:1], row[1:]) for row in rows], 0)
    trainer = loop.build(prepared, tokenized, settings, work, dict)
    parameters = list(prepared.model.parameters())
    live = LiveTensors()
    for tensor in (*parameters, *_quantization_states(prepared.model)):
        live.add(tensor)
    for buffer in prepared.model.buffers():
        live.add(buffer)
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    known = {parameter.untyped_storage().data_ptr() for parameter in parameters}
    with saved_bytes(known) as saved, live:
        trainer.train()
    return Counted(
        weights=sum(_bytes(tensor) for tensor in parameters if not tensor.requires_grad)
        + sum(map(_bytes, _quantization_states(prepared.model)))
        + (sum(map(_bytes, parameters)) if settings.method == "full" else 0),
        adapter=0 if settings.method == "full" else sum(_bytes(each) for each in parameters if each.requires_grad),
        optimizer=_optimizer_bytes(trainer.optimizer),
        saved=saved[0],
        peak=live.peak,
        reserved=torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0,
    )


def _bytes(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage().nbytes()


def _quantization_states(model: torch.nn.Module) -> list[torch.Tensor]:
    """Scales and codes of 4-bit and 8-bit layers, which are no parameters."""
    found: dict[int, torch.Tensor] = {}

    def keep(value: Any) -> None:
        if isinstance(value, torch.Tensor):
            found[value.untyped_storage().data_ptr()] = value

    for module in model.modules():
        weight = getattr(module, "weight", None)
        state = getattr(weight, "quant_state", None)
        if state is not None:
            keep(state.absmax), keep(state.code), keep(state.offset)
            if state.state2 is not None:
                keep(state.state2.absmax), keep(state.state2.code)
        keep(getattr(weight, "SCB", None))
        keep(getattr(getattr(module, "state", None), "SCB", None))
    return list(found.values())


def _optimizer_bytes(optimizer: Any) -> int:
    inner = getattr(optimizer, "optimizer", optimizer)
    return sum(
        _bytes(value)
        for state in inner.state.values()
        for value in tree_iter(state)
        if isinstance(value, torch.Tensor) and value.numel() > 1
    )


class Row(NamedTuple):
    """A training and its estimate, in bytes."""

    shape: str
    recipe: str
    counted: Counted
    estimated: Estimate

    @property
    def peak(self) -> float:
        """The estimated peak of all tensors over the counted one."""
        context = self.estimated.overhead_gb if self.counted.reserved else 0.0
        return (self.estimated.total_gb - context) * GB / (self.counted.reserved or self.counted.peak)


def compare(kind: str, recipe: str, place: Path, length: int = LENGTH, **changes: Any) -> Row:
    """Estimate a training and count it.

    Args:
        kind: of `SHAPES`.
        recipe: of `RECIPES`.
        place: an empty folder.
        length: tokens of each row.
        changes: of the shape.
    """
    base, tokenizer = make_base(kind, place, **changes)
    options = COMMON | RECIPES[recipe] | ({"objective": CLASSIFICATION} if is_encoder(kind) else {})
    settings = TrainSettings(**options)
    shape, gpu = Shape.of_folder(base.model_path), torch.cuda.is_available()
    wanted = estimate(shape, settings, settings.batch_size, length, settings.gradient_checkpointing, gpu=gpu)
    return Row(kind, recipe, count(base, tokenizer, settings, length, place / "work"), wanted)


def main() -> None:
    """Print the table and the line."""
    import logging

    from transformers.utils import logging as library

    logging.disable(logging.WARNING)
    library.disable_progress_bar()
    torch.set_num_threads(1)
    print("estimate / counted")
    print(f"{'base':9} {'recipe':24} {'weights':>9} {'adapter':>9} {'optimizer':>9} {'kept':>6} {'peak':>6}")
    found: list[dict[str, Any]] = []
    for kind in SHAPES:
        for recipe, options in RECIPES.items():
            if is_encoder(kind) and (options["method"] in PROMPT_METHODS or "batching" in options):
                continue
            with tempfile.TemporaryDirectory() as place:
                try:
                    row = compare(kind, recipe, Path(place))
                except DomainLMError as error:
                    print(f"{kind:9} {recipe:24} refused: {error.what}")
                    continue
            counted, wanted = row.counted, row.estimated
            parts = {
                "weights": wanted.weights_gb * GB / counted.weights,
                "adapter": wanted.adapter_gb * GB / counted.adapter if counted.adapter else 1.0,
                "optimizer": wanted.optimizer_gb * GB / counted.optimizer if counted.optimizer else 1.0,
                # recomputed, it holds one block's activations, which are not there all the time
                "kept": math.nan if "gradient_checkpointing" in options else wanted.activations_gb * GB / counted.saved,
                "peak": row.peak,
            }
            figures = " ".join(
                f"{parts[name]:{9 if name in ('weights', 'adapter', 'optimizer') else 6}.3f}" for name in parts
            )
            print(f"{kind:9} {recipe:24} {figures}", flush=True)
            found.append(
                {"shape": kind, "recipe": recipe}
                | {name: round(value, 4) for name, value in parts.items() if value == value}
            )
    peaks = sorted(entry["peak"] for entry in found)
    told = {
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "rows": found,
        "peak_ratio_least": peaks[0],
        "peak_ratio_median": peaks[len(peaks) // 2],
        "peak_ratio_most": peaks[-1],
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
