"""What an image knows of the checkout that it was made from: an image has no `.git`.

`write` is called on the checkout when an image is built, and leaves one file, `.checkout.json`, beside the code: commit
and dirty flag, the digest of every file that goes into the image, and of each commit its parents, the people behind it
(as `identity`, not as addresses) and the paths that it touched. With it code state and authors in a pod are what they
were in the checkout.

What is trusted is the image: whoever can replace it can replace this file, which is why a run records the image's own
digest and the build labels the image with the file's. Inside the image nothing is taken on trust: each answer about a
file compares it with its digest, so that code which was changed, added or mounted over after the build is "dirty".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from domainlm.digests import canonical_json, digest_file
from domainlm.errors import ArtifactError

FILE = ".checkout.json"
FORMAT = "domainlm.checkout/1"


class BuiltCommit(BaseModel):
    """One commit: its digest, its parents', the people's identities ("" for one whom nobody knows) and its paths."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    commit: str
    parents: list[str]
    people: list[str]
    paths: list[str]


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

        A file that is there and was not built in counts, but for bytecode. One that git knows and the image does
        not hold (documentation, tests) does not.
        """
        for place in places:
            path = root / place
            here = [found for found in path.rglob("*") if found.is_file()] if path.is_dir() else [path]
            names = {file.relative_to(root).as_posix() for file in here if file.is_file() and not _bytecode(file)}
            names |= {name for name in [*self.files, *self.changed] if _under(name, place)}
            for name in names:
                file = root / name
                if name in self.changed or not file.is_file() or self.files.get(name) != digest_file(file):
                    return True
        return False

    def edited(self, root: Path) -> bool:
        """Whether the checkout was dirty, or anything of what went into the image is other than it was then."""
        return self.dirty or self.altered(root, sorted({Path(name).parts[0] for name in self.files}))

    def since(self, commit: str, champion: str | None) -> list[BuiltCommit] | None:
        """The ancestors of a commit, itself included, without those of the champion's commit; newest first.

        None where the commit is not in the history; likewise where the champion's is not one of its ancestors.
        """
        by_name = {entry.commit: entry for entry in self.commits}
        if commit not in by_name:
            return None
        wanted = _ancestors(commit, by_name)
        if champion is not None:
            if champion not in wanted:
                return None
            wanted -= _ancestors(champion, by_name)
        return [entry for entry in self.commits if entry.commit in wanted]


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
    log = git(root, "log", "--no-renames", "--diff-merges=combined", "--name-only", "-z", fields)
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
        commits=[_commit(record, str(root), identities_in) for record in log.split("\x01")[1:]],
    )
    (target / FILE).write_bytes(canonical_json(made.model_dump()))
    return made


def _commit(record: str, where: str, identities_in: Callable[[str], list[str]]) -> BuiltCommit:
    fields = record.split("\x02")
    if len(fields) != 4:  # somebody wrote control characters into an address, a trailer or a path
        raise ArtifactError("a commit cannot be read", f"{where}, {fields[0][:40]}", "name its authors by plain text")
    name, parents, people, paths = fields
    touched = {path for path in paths.lstrip("\0\n").split("\0") if path}
    return BuiltCommit(commit=name, parents=parents.split(), people=identities_in(people), paths=sorted(touched))


def _ancestors(commit: str, by_name: dict[str, BuiltCommit]) -> set[str]:
    seen: set[str] = set()
    waiting = [commit]
    while waiting:
        name = waiting.pop()
        if name not in seen and name in by_name:  # a parent beyond a shallow clone's edge is not there
            seen.add(name)
            waiting += by_name[name].parents
    return seen


def _under(name: str, place: str) -> bool:
    return name == place or name.startswith(place.rstrip("/") + "/")


def _bytecode(path: Path) -> bool:
    return path.suffix == ".pyc"
