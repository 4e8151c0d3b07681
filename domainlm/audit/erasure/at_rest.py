"""What acts on all that a project keeps (erasure, retention, backup, restore) wants it at rest: no run, no other."""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from domainlm.errors import PlaceTaken
from domainlm.ledger.run import manifest as manifests
from domainlm.ledger.run.manifest import RUNNING
from domainlm.locks import alone

PROCESS = "process"  # the part of a manifest's environment that names host and process
RESTORE_PLAN = "restore.unfinished"  # a restore at work, and the folder that it works in
DRAFTS = (".backup-*", ".restore-*")


@contextmanager
def at_rest(home: Path, what: str) -> Iterator[None]:
    """Nobody else does such an act inside the block, and no run was at work when it began.

    Args:
        home: the project's folder of everything that runs make.
        what: the act, for messages.

    Raises:
        PlaceTaken: somebody does.
    """
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    with alone(home) as free:
        if not free:
            raise PlaceTaken(
                f"another erasure, retention, backup or restore is under way, so no {what}", str(home), "wait for it"
            )
        refuse_runs_at_work(home, what)
        _tidy(home)
        yield


def _tidy(home: Path) -> None:
    """Drafts of a backup or a restore that was killed hold data, and go; those of a restore that can go on stay."""
    plan = home / RESTORE_PLAN
    at_work = json.loads(plan.read_text())["staged"] if plan.exists() else None
    for draft in (path for pattern in DRAFTS for path in home.glob(pattern)):
        if at_work is None or not draft.name.startswith(at_work):
            shutil.rmtree(draft)


def refuse_runs_at_work(home: Path, what: str) -> None:
    """Look at the manifests of all runs.

    Raises:
        PlaceTaken: one says that it runs, and its process lives or is of another machine, where nobody can tell.
    """
    for path in sorted((home / "runs").glob("*.json")):
        found = manifests.read(path)
        process = found.environment.get(PROCESS, {})
        here = process.get("host") == socket.gethostname()
        if found.status == RUNNING and not (here and not _alive(int(process.get("pid", 0)))):
            where = "here" if here else f"on {process.get('host', 'an unknown machine')}"
            raise PlaceTaken(
                f"the run {found.run_name} is at work {where}, so no {what}",
                str(path),
                "wait for it or stop it; of a run that was killed on another machine, the next run there says so",
            )


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return process > 0
