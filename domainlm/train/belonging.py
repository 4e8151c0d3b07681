"""Whose checkpoints lie in a work folder: base, tokenizer, data, recipe and start by digest, so that none are mixed."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from domainlm.artifacts import AdapterFolder, BaseCheckpoint, TokenizerFolder
from domainlm.digests import digest_json
from domainlm.errors import TrainingError
from domainlm.train.mixture import Example
from domainlm.train.settings import TrainSettings

FILE = "belongs.json"
# what may differ between two attempts at one training: it changes no weight
FREE = frozenset(
    """report_to prices currency sample_prompts loader_workers logging_steps save_steps spike_factor fit_memory
    memory_gb""".split()
)


def owner(
    base: BaseCheckpoint,
    tokenizer: TokenizerFolder,
    settings: TrainSettings,
    data: Iterable[Sequence[Example]],
    start: AdapterFolder | None = None,
) -> dict[str, str]:
    """What a training is made of, each by its digest.

    Args:
        base: the base model.
        tokenizer: the extended tokenizer.
        settings: the recipe as configured; what changes no weight is left out.
        data: the examples of each stage, in order.
        start: the adapter that it goes on from.
    """
    total = hashlib.sha256()
    for stage in data:
        for example in stage:
            total.update(json.dumps(example, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n")
        total.update(b"\0")
    return {
        "base": base.card["digest"],
        "tokenizer": tokenizer.digest,
        "data": total.hexdigest(),
        "recipe": digest_json(settings.model_dump(mode="json", exclude=set(FREE))),
        "start": start.digest if start is not None else "",
    }


def claim(work: Path, wanted: dict[str, str]) -> None:
    """Write down whose the folder is, or make sure that it is ours.

    Raises:
        TrainingError: it holds the checkpoints of another base, tokenizer, data, recipe or start, or of nobody known.
    """
    path = work / FILE
    begun = any(work.glob("**/checkpoint-*"))  # else nothing can be mixed: an attempt that failed before, mostly
    if path.is_file():
        try:
            found = json.loads(path.read_text())
            other = [name for name, digest in wanted.items() if found.get(name, "") != digest]
        except (ValueError, AttributeError):
            other = list(wanted)
        if not other:
            return
        if begun:
            _refuse(f"checkpoints of another {' and another '.join(other)} lie here", work)
    elif begun:
        _refuse("the checkpoints that lie here do not say what they belong to", work)
    work.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(f".{os.getpid()}.draft")
    draft.write_text(json.dumps(wanted, indent=2, sort_keys=True) + "\n")
    os.replace(draft, path)


def _refuse(what: str, work: Path) -> None:
    raise TrainingError(what, str(work), "give this training a work folder of its own, or remove this one")
