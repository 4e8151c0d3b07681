"""The code of a run: its commit, whether the work tree was changed, and the digest of every file."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from domainlm.digests import code_files, digest_file
from domainlm.ledger.run import built
from domainlm.project import SOURCE_ROOT

ROOMS = ("cli", "pipelines", "steps", "materializers", "domainlm")  # everything that a run can execute
LOCK = "constraints.txt"
GIT_TIMEOUT_S = 20


def git(root: Path, *arguments: str) -> str | None:
    """What git prints; None where it fails, is not installed, or the folder is no checkout. Never touches a remote.

    Replacement objects (`git replace`) are ignored: they would show another history than was committed. So are git's
    variables, which could name another repository, index or configuration.
    """
    variables = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(
            ["git", "--no-replace-objects", "-C", str(root), *arguments],
            capture_output=True, text=True, errors="replace", timeout=GIT_TIMEOUT_S, check=True, env=variables,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def code_state(root: Path = SOURCE_ROOT) -> dict[str, Any]:
    """Commit, dirty flag and the digest of the lock file.

    A checkout without git has commit "" and counts as dirty: its state cannot be shown. An image has what its build
    wrote down (`built`).
    """
    lock = root / LOCK
    locked = digest_file(lock) if lock.is_file() else ""
    if (image := built.read(root)) is not None:
        return {"commit": image.commit, "dirty": image.edited(root), "lock": locked}
    commit = git(root, "rev-parse", "HEAD")
    changes = git(root, "status", "--porcelain", "--untracked-files=all")
    return {
        "commit": commit or "",
        "dirty": bool(changes) or commit is None or changes is None,
        "lock": locked,
    }


def file_digests(root: Path, places: Iterable[str | Path]) -> dict[str, str]:
    """SHA-256 of every file under some folders, or of the files themselves, by path relative to the root.

    Every byte is read each time: some 450 files take 0.1 s, and a memory by time and size could be deceived. A place
    outside of the root has its whole path; one that is not there has no line.
    """
    found: dict[str, str] = {}
    for path in code_files(root, [str(place) for place in places]):
        if path.suffix != ".pyc":
            found[shown(root, path)] = digest_file(path)
    return found


def shown(root: Path, path: Path) -> str:
    """A path as the manifest shows it: relative to the root where it lies inside."""
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()


def changed_files(before: dict[str, str], after: dict[str, str]) -> list[str]:
    """Paths whose content differs, or that only one of the two has; sorted."""
    return sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))
