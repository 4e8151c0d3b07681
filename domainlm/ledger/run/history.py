"""Who committed what: asked of git in a checkout, of `.checkout.json` in an image (`built`).

Both answer the same questions about one history in the same way, in identities (`policy.identity`), never in addresses.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

from domainlm.ledger.run.built import BuiltCommit, Checkout, read
from domainlm.ledger.run.checkout import git
from domainlm.ledger.trust.gate import identity

NOBODY_KNOWS = ""
PATHS_A_CALL = 500  # an argument list is bounded
PEOPLE = "%ae%n%(trailers:key=Co-authored-by,valueonly)"  # git's format of the people behind a commit
_COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
_ADDRESS = re.compile(r"<([^<>\s]+@[^<>\s]+)>")


class History(Protocol):
    """What `authorship` asks. Paths are relative to the root; lists of people may repeat."""

    @property
    def whole(self) -> bool:
        """Whether nothing was cut off, as a shallow clone is."""

    def has(self, commit: str) -> bool:
        """Whether the commit is known here."""

    def newest(self, commit: str, paths: Sequence[str], most: int) -> list[str]:
        """The people behind the newest commits up to one that touched some paths."""

    def since(self, champion: str, commit: str, paths: Sequence[str]) -> list[str] | None:
        """The people behind the commits to some paths that a champion's commit lacks; None where it is no ancestor."""

    def last(self, place: str) -> list[str]:
        """The people behind the last commit to a file or folder; none where no commit touched it."""

    def known(self, files: Iterable[str]) -> set[str]:
        """Those of some files that git knows."""

    def all(self, files: Sequence[str]) -> list[str]:
        """The people behind all commits to some files."""

    def changed(self, places: Iterable[str]) -> bool:
        """Whether anything under some places is not what was committed; also where that cannot be told."""


def history_of(root: Path) -> History:
    """The history of a folder of code: an image's where a build described it, else git's."""
    built = read(root)
    return InImage(root, built) if built is not None else InCheckout(root)


class InCheckout:
    """git's answers. A folder that git cannot read has no commit, and everything in it counts as changed."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @property
    def whole(self) -> bool:
        return git(self._root, "rev-parse", "--is-shallow-repository") == "false"

    def has(self, commit: str) -> bool:
        return git(self._root, "rev-parse", "--verify", "--end-of-options", f"{commit}^{{commit}}") is not None

    def newest(self, commit: str, paths: Sequence[str], most: int) -> list[str]:
        return self._people(f"-{most}", commit, "--", *paths)

    def since(self, champion: str, commit: str, paths: Sequence[str]) -> list[str] | None:
        if not _COMMIT.fullmatch(champion) or git(self._root, "merge-base", "--is-ancestor", champion, commit) is None:
            return None
        return self._people(f"{champion}..{commit}", "--", *paths)

    def last(self, place: str) -> list[str]:
        found = git(self._root, "log", "-1", f"--format={PEOPLE}", "--", place)
        return identities_in(found) if found else []

    def known(self, files: Iterable[str]) -> set[str]:
        return set(files) & set((git(self._root, "ls-files", "-z") or "").split("\0"))

    def all(self, files: Sequence[str]) -> list[str]:
        found: list[str] = []
        for start in range(0, len(files), PATHS_A_CALL):
            found += self._people("--", *files[start : start + PATHS_A_CALL])
        return found

    def changed(self, places: Iterable[str]) -> bool:
        left = list(places)
        while left:
            part, left = left[:PATHS_A_CALL], left[PATHS_A_CALL:]
            changes = git(self._root, "status", "--porcelain", "--untracked-files=all", "--", *part)
            if changes or changes is None:
                return True
        return False

    def _people(self, *arguments: str) -> list[str]:
        printed = git(self._root, "log", f"--format={PEOPLE}", *arguments)
        return [NOBODY_KNOWS] if printed is None else identities_in(printed)


class InImage:
    """The answers of what the build wrote down."""

    def __init__(self, root: Path, checkout: Checkout) -> None:
        self._root, self._checkout = root, checkout

    @property
    def whole(self) -> bool:
        return self._checkout.whole

    def has(self, commit: str) -> bool:
        return self._checkout.has(self._name(commit))

    def newest(self, commit: str, paths: Sequence[str], most: int) -> list[str]:
        return _behind(self._checkout.touching(self._name(commit), paths)[:most])

    def since(self, champion: str, commit: str, paths: Sequence[str]) -> list[str] | None:
        younger = self._name(commit)
        if not self._checkout.ancestor(champion, younger):
            return None
        return _behind(self._checkout.touching(younger, paths, without=champion))

    def last(self, place: str) -> list[str]:
        return _behind(self._checkout.touching(self._checkout.commit, [self._relative(place)])[:1])

    def known(self, files: Iterable[str]) -> set[str]:
        # built in and not changed then, or at least once committed: whether it is changed now, `changed` says
        once = {path for entry in self._checkout.commits for paths in entry.paths for path in paths}
        return {file for file in files if file in once and file in self._checkout.files}

    def all(self, files: Sequence[str]) -> list[str]:
        return _behind(self._checkout.touching(self._checkout.commit, files))

    def changed(self, places: Iterable[str]) -> bool:
        return self._checkout.altered(self._root, [self._relative(place) for place in places])

    def _name(self, commit: str) -> str:
        return self._checkout.commit if commit == "HEAD" else commit

    def _relative(self, place: str) -> str:
        path = Path(place)
        return path.relative_to(self._root).as_posix() if path.is_relative_to(self._root) else path.as_posix()


def identities_in(printed: str) -> list[str]:
    """The people that git printed by `PEOPLE`; an unreadable co-author is one whom nobody knows."""
    found = []
    for line in (line.strip() for line in printed.splitlines()):
        if not line:
            continue
        match = _ADDRESS.search(line)
        address = match[1] if match else line if re.fullmatch(r"[^<>\s]+@[^<>\s]+", line) else None
        found.append(identity(address) if address else NOBODY_KNOWS)
    return found


def _behind(entries: Iterable[BuiltCommit]) -> list[str]:
    return [person for entry in entries for person in entry.people]
