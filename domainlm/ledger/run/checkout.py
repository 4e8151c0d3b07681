"""The code of a run: its commit, whether the work tree was changed, and the digest of every file."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from domainlm.digests import code_files, digest_file
from domainlm.ledger.run import built
from domainlm.project import SOURCE_ROOT

ROOMS = ("cli", "pipelines", "steps", "materializers", "domainlm")  # everything that a run can execute
LOCK = "constraints.txt"
GIT_TIMEOUT_S = 20
_COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")


def git(root: Path, *arguments: str) -> str | None:
    """What git prints; None where it fails, is not installed, or the folder is no checkout. Never touches a remote."""
    printed = _printed(root, *arguments)
    return None if printed is None else printed.decode(errors="replace").strip()


def _printed(root: Path, *arguments: str, given: bytes | None = None) -> bytes | None:
    """git's output as it is, for some input.

    Replacement objects (`git replace`) are ignored: they would show another history than was committed. So are git's
    variables, which could name another repository, index or configuration.
    """
    variables = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(
            ["git", "--no-replace-objects", "-C", str(root), *arguments],
            capture_output=True, input=given, timeout=GIT_TIMEOUT_S, check=True, env=variables,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout


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


def committed_digests(root: Path, commit: str, places: Iterable[str]) -> dict[str, str] | None:
    """SHA-256 of the files under some places in a commit: what `file_digests` finds in a clean checkout of it.

    An image, which has no git, knows its own commit's files.

    Returns:
        None where this checkout or image does not know the commit.
    """
    wanted = frozenset(places)
    if (image := built.read(root)) is not None:
        if image.commit != commit or image.dirty:
            return None
        return {name: digest for name, digest in image.files.items() if built.inside(name, wanted)}
    if not _COMMIT.fullmatch(commit) or (listed := _printed(root, "ls-tree", "-r", "-z", commit)) is None:
        return None
    blobs = {}
    for line in listed.decode(errors="surrogateescape").split("\0")[:-1]:
        about, name = line.split("\t", 1)
        _, kind, blob = about.split()
        if kind == "blob" and built.inside(name, wanted):
            blobs[name] = blob
    contents = _printed(root, "cat-file", "--batch", given="".join(f"{blob}\n" for blob in blobs.values()).encode())
    if contents is None:
        return None
    found, at = {}, 0
    for name in blobs:  # git answers in the order asked: OBJECT blob SIZE, the bytes, a line's end
        end = contents.index(b"\n", at)
        said = contents[at:end].split()
        if len(said) != 3:  # a clone that has not every file's content
            return None
        at = end + 1 + int(said[2]) + 1
        found[name] = hashlib.sha256(contents[end + 1 : at - 1]).hexdigest()
    return found


def not_as_committed(root: Path, commit: str, files: Mapping[str, str]) -> list[str]:
    """Paths in which what a pod saw differs from the commit that it named; none where nobody here knows the commit.

    Code (`ROOMS`) must be the same whole; of configuration and data only what the commit has is compared, since a run
    may have been given its own, which the manifest names.
    """
    known = committed_digests(root, commit, [*ROOMS, *files])
    if known is None:
        return []
    return changed_files(known, {name: digest for name, digest in files.items() if _code(name) or name in known})


def shown(root: Path, path: Path) -> str:
    """A path as the manifest shows it: relative to the root where it lies inside."""
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()


def changed_files(before: dict[str, str], after: dict[str, str]) -> list[str]:
    """Paths whose content differs, or that only one of the two has; sorted."""
    return sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))


def _code(name: str) -> bool:
    return name.split("/")[0] in ROOMS
