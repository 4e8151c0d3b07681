"""Where a step works: one folder for each combination of code, parameters and inputs, so that a killed step goes on."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from zenml import get_step_context

from domainlm.errors import PlaceTaken
from domainlm.locks import alone
from domainlm.project import home

KEPT_PER_STEP = 3
PATIENCE_S = 30.0  # for a short step of another run; a training takes longer
HANDED_ON_S = 3600.0  # by then a folder has reached the artifact store


class Workspace(NamedTuple):
    """`work` survives a kill and holds checkpoints; `folder` is empty at the start and holds what the step hands on."""

    work: Path
    folder: Path


@contextmanager
def workspace() -> Iterator[Workspace]:
    """The workspace of the running step: `.domainlm/work/STEP/CACHE_KEY/`.

    ZenML's cache key covers the step's code, parameters and input digests, so checkpoints found there belong to exactly
    this work. Work folders of other keys go once more than a few have gathered, those of other running steps excepted.

    Raises:
        PlaceTaken: another run is at exactly this work.
    """
    run = get_step_context().step_run
    place = home() / "work" / run.name / str(run.cache_key)
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    with alone(place, PATIENCE_S) as free:
        if not free:
            raise PlaceTaken(
                "another run is at exactly this step, with the same inputs and parameters",
                str(place),
                "wait for it or stop it, then run again: what it has made is taken over",
            )
        work, folder = place / "work", place / "artifact" / str(run.id)
        for old in place.glob("artifact/*"):  # ZenML reads a folder after the step's function, when others may be here
            if time.time() - old.stat().st_mtime > HANDED_ON_S or old == folder:
                shutil.rmtree(old, ignore_errors=True)
        for made in (work, folder):
            made.mkdir(mode=0o700, parents=True, exist_ok=True)
        place.touch()
        yield Workspace(work, folder)
        _forget_others(place)


def _forget_others(place: Path) -> None:
    with suppress(FileNotFoundError):  # another run forgets the same ones
        found = [(path.stat().st_mtime, path) for path in place.parent.iterdir() if path != place]
        for _, old in sorted(found)[: max(0, len(found) - KEPT_PER_STEP + 1)]:
            with alone(old) as free:
                if free:
                    shutil.rmtree(old, ignore_errors=True)
