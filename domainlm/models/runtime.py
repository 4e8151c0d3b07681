"""Seeds, threads and numeric types: everything that a digest of weights depends on besides data and settings."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch

ComputeType = Literal["auto", "float32", "bfloat16", "float16"]


@contextlib.contextmanager
def reproducible(seed: int, threads: int) -> Iterator[None]:
    """Seed every generator and fix the thread count inside the block; the thread count is restored after it."""
    import torch
    from transformers import set_seed

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    set_seed(seed)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def compute_type(wanted: ComputeType = "auto") -> torch.dtype:
    """The type of activations; `auto` is float32 on a CPU, bfloat16 on a GPU that has it, else float16."""
    import torch

    if wanted != "auto":
        return getattr(torch, wanted)
    if not torch.cuda.is_available():
        return torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16


_host_only = ContextVar("_host_only", default=False)


@contextlib.contextmanager
def on_cpu() -> Iterator[None]:
    """Load into the host's memory, whatever GPUs there are: for a model that is sharded before it moves on."""
    token = _host_only.set(True)
    try:
        yield
    finally:
        _host_only.reset(token)


def device() -> str:
    """The device of this process: its own GPU under torchrun, else the first one, else the CPU."""
    import os

    import torch

    if _host_only.get():
        return "cpu"
    return f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if torch.cuda.is_available() else "cpu"
