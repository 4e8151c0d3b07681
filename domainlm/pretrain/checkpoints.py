"""Checkpoints of the pre-training: tensors in safetensors, and a JSON marker that is written last.

A folder without its marker was interrupted while it was written, and counts for nothing.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

MARKER = "complete.json"


def save(work: Path, step: int, model: torch.nn.Module, optimizer: torch.optim.Optimizer, curve: list[dict]) -> None:
    """Write a checkpoint and drop older ones once it is complete."""
    from safetensors.torch import save_file

    folder = work / f"step-{step:08d}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    tensors = {f"model.{name}": value.detach() for name, value in model.named_parameters()}
    for name, parameter in model.named_parameters():
        for key in ("exp_avg", "exp_avg_sq"):
            tensors[f"{key}.{name}"] = optimizer.state[parameter][key]
    save_file(tensors, str(folder / "state.safetensors"))
    draft = folder / f"{MARKER}.draft"
    draft.write_text(json.dumps({"step": step, "curve": curve}))
    os.replace(draft, folder / MARKER)
    for other in work.glob("step-*"):
        if other != folder:
            shutil.rmtree(other, ignore_errors=True)


def restore(work: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> tuple[int, list[dict]]:
    """Load the newest complete checkpoint into model and optimizer; (0, []) when there is none."""
    import torch
    from safetensors.torch import load_file

    complete = sorted(marker.parent for marker in work.glob(f"step-*/{MARKER}"))
    if not complete:
        return 0, []
    content = json.loads((complete[-1] / MARKER).read_text())
    tensors = load_file(str(complete[-1] / "state.safetensors"))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(tensors[f"model.{name}"])
            optimizer.state[parameter] = {
                "step": torch.tensor(float(content["step"])),
                "exp_avg": tensors[f"exp_avg.{name}"],
                "exp_avg_sq": tensors[f"exp_avg_sq.{name}"],
            }
    return content["step"], content["curve"]
