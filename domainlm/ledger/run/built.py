"""What an image knows of the checkout that it was made from: an image has no `.git`.

`write` is called on the checkout when an image is built, and leaves one file, `.checkout.json`, beside the code: commit
and dirty flag, the digest of every file that goes into the image, and of each commit its parents, the people behind it
(as `identity`, not as addresses) and the paths that it touched. With it code state and authors in a pod are what they
were in the checkout.

What is trusted is the image: whoever can replace it can replace this file and the packages, which is why a run
records the image's own digest, the build labels the image with the file's, and a collector that has the commit compares
with it what pods say (`checkout.not_as_committed`). Inside the image each answer about a file of ours compares it with
its digest, so that code which was changed, added or mounted over after the build is "dirty". Python would run bytecode
instead of the source beside it without a look, so an image holds none of ours, and any that is there is "dirty" too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cached_property
from pathlib import Path, PurePosixPath

from pydantic import BaseModel, ConfigDict, ValidationError

from domainlm.digests import canonical_json, digest_file
from domainlm.errors import ArtifactError

FILE = ".checkout.json"
FORMAT = "domainlm.checkout/1"


class BuiltCommit(BaseModel):
    """One commit: its digest, its parents', the people's identities ("" for one whom nobody knows), and the paths in
    which it differs from each parent: one list a parent, one list for a commit without any."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    commit: str
    parents: list[str]
    people: list[str]
    paths: list[list[str]]


class Checkout(BaseModel):
    """A checkout as it was when the image was built.

    Args:
        whole: whether the history was complete; in a shallow clone it is not.
        changed: paths that were changed, or not known to git, when the image was built.
        files: digest of each file that went into the image, by its path.
        commits: newest first, as `git log` lists them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: str = FORMAT
    commit: str
    dirty: bool
    whole: bool
    changed: list[str]
    files: dict[str, str]
    commits: list[BuiltCommit]

    def altered(self, root: Path, places: Iterable[str]) -> bool:
        """Whether anything under some places is not what was committed: changed before the build, or since.

        A file that is there and was not built in counts, bytecode too: Python may run it instead of the source
        beside it. One that git knows and the image does not hold (documentation, tests) does not.
        """
        for place in places:
            path = root / place
            here = [found for found in path.rglob("*") if found.is_file()] if path.is_dir() else [path]
            names = {file.relative_to(root).as_posix() for file in here if file.is_file()}
            names |= {name for name in [*self.files, *self.changed] if _under(name, place)}
            for name in names:
                file = root / name
                if name in self.changed or not file.is_file() or self.files.get(name) != digest_file(file):
                    return True
        return False

    def edited(self, root: Path) -> bool:
        """Whether the checkout was dirty, or anything of what went into the image is other than it was then."""
        return self.dirty or self.altered(root, sorted({Path(name).parts[0] for name in self.files}))

    def has(self, commit: str) -> bool:
        """Whether a commit is in the history."""
        return commit in self._by_name

    def ancestor(self, older: str, younger: str) -> bool:
        """Whether one commit is the other, or an ancestor of it."""
        return self.has(older) and older in self._ancestors(younger)

    def touching(self, commit: str, places: Iterable[str], without: str | None = None) -> list[BuiltCommit]:
        """The commits up to one that touched some places, newest first, as `git log COMMIT -- PLACES` finds them.

        Where a merge is equal to one of its parents in all of the places, only that parent's history is followed: the
        others' work in them was thrown away (git's default history simplification).

        Args:
            commit: where to begin.
            places: files and folders.
            without: a commit whose history is left out.
        """
        wanted = frozenset(places)
        found: set[str] = set()
        seen: set[str] = set()
        waiting = [commit]
        while waiting:
            name = waiting.pop()
            if name in seen or name not in self._by_name:  # a parent beyond a shallow clone's edge is not there
                continue
            seen.add(name)
            entry = self._by_name[name]
            equal = [i for i, paths in enumerate(entry.paths) if not any(inside(path, wanted) for path in paths)]
            if not equal:
                found.add(name)
            waiting += [entry.parents[equal[0]]] if equal and entry.parents else entry.parents
        if without is not None:
            found -= self._ancestors(without)
        return [entry for entry in self.commits if entry.commit in found]

    @cached_property
    def _by_name(self) -> dict[str, BuiltCommit]:
        return {entry.commit: entry for entry in self.commits}

    def _ancestors(self, commit: str) -> set[str]:
        seen: set[str] = set()
        waiting = [commit]
        while waiting:
            name = waiting.pop()
            if name not in seen and name in self._by_name:
                seen.add(name)
                waiting += self._by_name[name].parents
        return seen


def read(root: Path) -> Checkout | None:
    """What the build of an image left beside its code; None where there is no such file, or git itself can tell.

    Raises:
        ArtifactError: the file is no such description.
    """
    path = root / FILE
    if not path.is_file() or (root / ".git").exists():
        return None
    try:
        found = Checkout.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise ArtifactError("is no description of a checkout", str(path), "build the image anew") from error
    if found.format != FORMAT:
        raise ArtifactError(f"has format {found.format}, not {FORMAT}", str(path), "build the image with this code")
    return found


def write(root: Path, files: Iterable[str], target: Path) -> Checkout:
    """Describe a checkout for the image that some of its files go into; the bytes follow from the checkout alone.

    Args:
        root: the checkout.
        files: paths, relative to it, of what goes into the image.
        target: the folder that gets `.checkout.json`.

    Raises:
        ArtifactError: the folder is no checkout that git can read.
    """
    from domainlm.ledger.run.checkout import code_state, git
    from domainlm.ledger.run.history import PEOPLE, identities_in

    state = code_state(root)
    fields = f"--format=%x01%H%x02%P%x02{PEOPLE}%x02"
    log = git(root, "log", "--no-renames", "--diff-merges=separate", "--name-only", "-z", fields)
    edited = git(root, "diff", "--name-only", "--no-renames", "-z", "HEAD")
    unknown = git(root, "ls-files", "--others", "--exclude-standard", "-z")
    if not state["commit"] or log is None or edited is None or unknown is None:
        raise ArtifactError("is no checkout that git can read", str(root), "build images from a whole clone")
    made = Checkout(
        commit=state["commit"],
        dirty=state["dirty"],
        whole=git(root, "rev-parse", "--is-shallow-repository") == "false",
        changed=sorted({path for path in f"{edited}\0{unknown}".split("\0") if path}),
        files={name: digest_file(root / name) for name in sorted(files)},
        commits=_commits(log, root, identities_in),
    )
    (target / FILE).write_bytes(canonical_json(made.model_dump()))
    return made


def _difference(root: Path, parent: str, commit: str) -> list[str]:
    from domainlm.ledger.run.checkout import git

    printed = git(root, "diff-tree", "-r", "--name-only", "--no-renames", "-z", parent, commit)
    if printed is None:  # the edge of a shallow clone: its history is not whole in any case
        return []
    return sorted(path for path in printed.split("\0") if path)


def _commits(log: str, root: Path, identities_in: Callable[[str], list[str]]) -> list[BuiltCommit]:
    """git's log as records; a merge comes once for each parent, in their order."""
    found: dict[str, BuiltCommit] = {}
    for record in log.split("\x01")[1:]:
        fields = record.split("\x02")
        if len(fields) != 4:  # somebody wrote control characters into an address, a trailer or a path
            raise ArtifactError(
                "a commit cannot be read", f"{root}, {fields[0][:40]}", "name its authors by plain text"
            )
        name, parents, people, paths = fields
        touched = sorted({path for path in paths.lstrip("\0\n").split("\0") if path})
        entry = found.setdefault(
            name, BuiltCommit(commit=name, parents=parents.split(), people=identities_in(people), paths=[])
        )
        entry.paths.append(touched)
    for entry in found.values():
        if len(entry.paths) != max(1, len(entry.parents)):  # equal to a parent: git leaves that difference out
            entry.paths[:] = [_difference(root, parent, entry.commit) for parent in entry.parents]
    return list(found.values())


def inside(path: str, places: frozenset[str]) -> bool:
    """Whether a path is one of some files, or lies in one of some folders."""
    return path in places or any(parent.as_posix() in places for parent in PurePosixPath(path).parents)


def _under(name: str, place: str) -> bool:
    return name == place or name.startswith(place.rstrip("/") + "/")
