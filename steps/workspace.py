"""Where a step works: one folder for each combination of code, parameters and inputs, so that a killed step goes on."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from zenml import get_step_context

from domainlm.project import home

KEPT_PER_STEP = 3


class Workspace(NamedTuple):
    """`work` survives a kill and holds checkpoints; `folder` is empty at the start and holds what the step hands on."""

    work: Path
    folder: Path


@contextmanager
def workspace() -> Iterator[Workspace]:
    """The workspace of the running step: `.domainlm/work/STEP/CACHE_KEY/`.

    ZenML's cache key covers the step's code, parameters and input digests, so checkpoints found there belong to exactly
    this work. Work folders of other keys go once more than a few have gathered.
    """
    run = get_step_context().step_run
    place = home() / "work" / run.name / str(run.cache_key)
    work, folder = place / "work", place / "artifact"
    shutil.rmtree(folder, ignore_errors=True)
    for made in (work, folder):
        made.mkdir(mode=0o700, parents=True, exist_ok=True)
    place.touch()
    yield Workspace(work, folder)
    others = sorted((path for path in place.parent.iterdir() if path != place), key=lambda path: path.stat().st_mtime)
    for old in others[: max(0, len(others) - KEPT_PER_STEP + 1)]:
        shutil.rmtree(old, ignore_errors=True)
