"""Checkpoints published outside, so that a ledger that was rolled back or rewritten shows.

A place is a folder on another volume, a git repository (one annotated tag a checkpoint), or an object store; a fourth
is paper: the note in a printed report, typed or pasted back (`printed`). Nothing is overwritten: a note's name holds
its digest, so that another note has another name, and a tag that stands is left. Nothing that lies there is skipped
when it is read back: what cannot be read is said (`Published.problem`), since who rolls back must hide the anchors.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, Protocol

from domainlm.digests import digest_bytes
from domainlm.errors import ArtifactError, ConfigurationError, DomainLMError, EvidenceRefused
from domainlm.ledger.checkpoints import MAX_NOTE_BYTES, Checkpoint

if TYPE_CHECKING:  # who verifies a bundle has no configuration, and no need of what reads one
    from domainlm.ledger.settings import AnchorSettings

GIT_TIMEOUT_S = 60
GIT_SETTINGS = (
    "user.name=domainlm", "user.email=anchor@domainlm.invalid", "core.fsync=all",
    "tag.gpgSign=false", "tag.forceSignAnnotated=false", "core.hooksPath=/dev/null", "core.fsmonitor=false",
)  # fmt: skip
TAGS = "refs/tags/domainlm/"
_DASHES = "—–-−"  # what a keyboard, a word processor or a scan makes of the dash before a signature


@dataclass(frozen=True)
class Published:
    """A checkpoint that lies outside of the ledger.

    Args:
        place: where, for messages.
        note: the signed note; empty where there is a problem.
        problem: why the place or the note cannot be read: then nothing that depends on it is known to be good.
    """

    place: str
    note: str
    problem: str = ""


def publish(note: str, anchors: Sequence[AnchorSettings], ledger: Path | None = None) -> list[Published]:
    """Publish a checkpoint at every place; where it is published already, nothing happens.

    Args:
        note: the signed note.
        ledger: the ledger's file: a place on the same volume is refused, unless its settings allow it.

    Returns:
        What was published where, in the order of the places, as it was read back.

    Raises:
        EvidenceRefused: `malformed`: it is no checkpoint; `forked`: another one of its size was published.
        ArtifactError: a place cannot be written or read.
        ConfigurationError: a place is none.
    """
    checkpoint = Checkpoint.parse(note, "the checkpoint to publish")
    return [_publish(note, checkpoint, _place(anchor), anchor, ledger) for anchor in anchors]


def published(anchors: Sequence[AnchorSettings], origin: str = "") -> list[Published]:
    """Every checkpoint that was published at any of the places.

    Args:
        origin: of one ledger only; of all, by default.

    A place that cannot be read is among them, with its problem; nothing is raised.
    """
    found: list[Published] = []
    for anchor in anchors:
        try:
            found += _place(anchor).read(origin)
        except DomainLMError as error:
            found.append(Published(_where(anchor), "", error.what))
    return found


def printed(text: str, place: str) -> Published:
    """A note from paper: spaces around lines, empty lines, wrapped signatures and the kind of dash do not count."""
    lines = [line.strip() for line in text.replace("\r", "\n").split("\n") if line.strip()]
    body, signatures = lines[:3], list[str]()
    for line in lines[3:]:
        if line[0] in _DASHES and line[1:2].isspace():
            signatures.append("— " + line[1:].strip())
        elif signatures:  # the rest of a line that was too long for the page; a name is followed by a space
            signatures[-1] += line if " " in signatures[-1][2:] else f" {line}"
        else:
            signatures.append(line)
    return Published(place, "\n".join([*body, "", *signatures, ""]))


def read_printed(path: Path) -> Published:
    """A note of a file that somebody typed, pasted or was given."""
    try:
        with open(path, "rb") as stream:
            raw = stream.read(MAX_NOTE_BYTES + 1)
        return printed(raw.decode("utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        return Published(str(path), "", _why(error))


class _Place(Protocol):
    def read(self, origin: str, size: int | None = None) -> list[Published]: ...

    def write(self, checkpoint: Checkpoint, note: str) -> None: ...

    def local(self) -> Path | None:
        """Where its files lie, if on a file system of this machine."""


def _publish(
    note: str, checkpoint: Checkpoint, place: _Place, anchor: AnchorSettings, ledger: Path | None
) -> Published:
    if ledger is not None and not anchor.same_volume and (local := place.local()):
        _refuse_same_volume(local, ledger)
    for attempt in ("before", "after"):
        for old in place.read(checkpoint.origin, checkpoint.size):
            if old.problem:
                raise ArtifactError(old.problem, old.place, "see to the place and publish again")
            if old.note == note:
                return old
            there = Checkpoint.parse(old.note, old.place)
            if there.body != checkpoint.body:
                raise EvidenceRefused(
                    f"another checkpoint of size {checkpoint.size} was published", old.place,
                    "run `domainlm audit verify`: the ledger was rewritten, or that place was", "forked",
                )  # fmt: skip
            if anchor.git:  # one tag a size: the same tree, signed by another key
                return old
        if attempt == "before":
            place.write(checkpoint, note)
    raise ArtifactError("does not give back what was published", _where(anchor), "see to the place")


def _refuse_same_volume(folder: Path, ledger: Path) -> None:
    try:
        same = os.stat(folder).st_dev == os.stat(ledger).st_dev
    except OSError as error:
        raise ArtifactError(f"cannot be looked at: {error.strerror}", error.filename, "mount it") from None
    if same:
        raise ArtifactError(
            "lies on the ledger's own volume, where one failure or one hand takes both", str(folder),
            "name a place on another volume; or allow it by `same_volume: true` (`--same-volume`)",
        )  # fmt: skip


def _place(anchor: AnchorSettings) -> _Place:
    if anchor.folder:
        return _Folder(Path(anchor.folder).expanduser())
    return _Git(Path(anchor.git).expanduser()) if anchor.git else _ObjectStore(anchor.object_store)


def _where(anchor: AnchorSettings) -> str:
    return _without_password(anchor.folder or anchor.git or anchor.object_store)


def _without_password(url: str) -> str:
    return re.sub(r"//[^/@]*@", "//", url)


def _name(origin: str) -> str:
    """A ledger's name as folders of a path or parts of a tag; two names never become one."""
    return "".join(sign if sign.isalnum() or sign in "-_/" else f"%{ord(sign):02X}" for sign in origin)


def _file_name(checkpoint: Checkpoint, note: str) -> str:
    return f"{checkpoint.size:012d}-{digest_bytes(note.encode())[:16]}.checkpoint"


def _why(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return "holds bytes that are no text"
    return f"cannot be read: {getattr(error, 'strerror', None) or type(error).__name__}"


class _Folder:
    """FOLDER/ORIGIN/SIZE-DIGEST.checkpoint; read-only for all: a note holds hashes, and auditors shall read it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def local(self) -> Path:
        return self.folder

    def read(self, origin: str, size: int | None = None) -> list[Published]:
        if not self.folder.is_dir():
            return [Published(str(self.folder), "", "is not there: is the volume mounted?")]
        try:
            return [
                self._note(path)
                for path in self._files(self.folder / _name(origin), deep=not origin)
                if size is None or path.name.startswith(f"{size:012d}-")
            ]
        except OSError as error:
            return [Published(str(error.filename or self.folder), "", _why(error))]

    def _files(self, folder: Path, deep: bool) -> Iterator[Path]:
        """All but drafts; of other ledgers (folders in this one) only where they are asked for."""
        if not folder.exists():
            return
        for path in sorted(folder.iterdir()):
            if path.is_dir() and not path.is_symlink():
                if deep:
                    yield from self._files(path, deep)
            elif not path.name.startswith("."):
                yield path

    def _note(self, path: Path) -> Published:
        try:
            if not path.is_file() or path.is_symlink():
                return Published(str(path), "", "is no file")
            with open(path, "rb") as stream:
                return Published(str(path), stream.read(MAX_NOTE_BYTES + 1).decode("utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            return Published(str(path), "", _why(error))

    def write(self, checkpoint: Checkpoint, note: str) -> None:
        place = self.folder / _name(checkpoint.origin)
        path = place / _file_name(checkpoint, note)
        draft = place / f".draft-{os.getpid()}"
        try:
            place.mkdir(parents=True, exist_ok=True)
            if path.exists():  # with other content, else it had been found
                raise ArtifactError("holds something else", str(path), "see who wrote it, and move it away")
            draft.unlink(missing_ok=True)
            with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o444), "wb") as stream:
                stream.write(note.encode())
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(draft, path)
            for folder in {place, *place.relative_to(self.folder).parents}:
                _sync_folder(self.folder / folder)
        except OSError as error:
            draft.unlink(missing_ok=True)
            raise ArtifactError(
                f"cannot be written: {error.strerror}", str(self.folder), "see to space and rights"
            ) from None


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class _Git:
    """Annotated tags domainlm/ORIGIN/SIZE on a blob that holds the note; the tag's message holds it for people.

    Local: nothing is pushed here. `git push REMOTE 'refs/tags/domainlm/*'` publishes them, on a remote that forbids
    forced pushes of tags.
    """

    def __init__(self, repository: Path) -> None:
        self.repository = repository

    def local(self) -> Path:
        """Where the tags lie: a work tree may keep its repository elsewhere."""
        found = self._git("rev-parse", "--path-format=absolute", "--git-common-dir")
        return Path(os.fsdecode(found.removesuffix(b"\n")))

    def read(self, origin: str, size: int | None = None) -> list[Published]:
        prefix = TAGS + (f"{_name(origin)}/" if origin else "")
        listed = self._git("for-each-ref", "--format=%(refname)", prefix).decode("utf-8", "replace").split("\n")
        names = [
            name
            for name in listed
            if name and (not origin or "/" not in name[len(prefix) :]) and size in (None, _number(name))
        ]
        answer = self._git("cat-file", "--batch", given="".join(f"{name}^{{}}\n" for name in names).encode())
        found, start = [], 0
        for name in names:
            place = f"{self.repository} {name.removeprefix('refs/tags/')}"
            end = answer.index(b"\n", start)
            kind, size_bytes = answer[start:end].split(b" ")[-2:] if b" " in answer[start:end] else (b"", b"")
            start = end + 1
            if not size_bytes.isdigit():
                found.append(Published(place, "", "the tag's content is missing"))
                continue
            content = answer[start : start + int(size_bytes)]
            start += int(size_bytes) + 1
            try:
                if kind != b"blob":
                    found.append(Published(place, "", "is a tag of something else"))
                    continue
                found.append(Published(place, content[: MAX_NOTE_BYTES + 1].decode("utf-8")))
            except UnicodeDecodeError as error:
                found.append(Published(place, "", _why(error)))
        return found

    def write(self, checkpoint: Checkpoint, note: str) -> None:
        tag = f"{TAGS}{_name(checkpoint.origin)}/{checkpoint.size}".removeprefix("refs/tags/")
        blob = self._git("hash-object", "-w", "--stdin", given=note.encode()).decode().strip()
        self._git("tag", "--annotate", "--cleanup=verbatim", "--file=-", tag, blob, given=note.encode())

    def _git(self, *arguments: str, given: bytes = b"") -> bytes:
        """What git says of a repository that may be an adversary's: nothing that its configuration names is run.

        An object that is missing could else be fetched by a command of the repository's choice (a promisor remote).
        """
        variables = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")} | {
            "LC_ALL": "C",
            "GIT_CEILING_DIRECTORIES": str(self.repository.resolve().parent),
            "GIT_NO_LAZY_FETCH": "1",
            "GIT_ALLOW_PROTOCOL": "",  # no transport at all, for a git that does not know the line above
            "GIT_TERMINAL_PROMPT": "0",
        }
        try:
            done = subprocess.run(
                ["git", *(part for setting in GIT_SETTINGS for part in ("-c", setting)), "-C", str(self.repository),
                 *arguments],
                input=given, capture_output=True, timeout=GIT_TIMEOUT_S, check=False, env=variables,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ArtifactError(f"git does not run: {type(error).__name__}", str(self.repository), "") from None
        if done.returncode:
            said = done.stderr.decode("utf-8", "replace").strip().splitlines()
            raise ArtifactError(
                f"git refuses: {(said or ['no word'])[-1][:200]}", str(self.repository), "name a git repository"
            )
        return done.stdout


def _number(name: str) -> int | None:
    last = name.rpartition("/")[2]
    return int(last) if last.isascii() and last.isdigit() and len(last) < 20 else None


class _ObjectStore:
    """URL/ORIGIN/SIZE-DIGEST.checkpoint by fsspec, created and never written again.

    Credentials come from the environment, as the store's driver reads them. Only an object lock (S3: compliance mode)
    keeps the account's owner from deleting.
    """

    def __init__(self, url: str) -> None:
        self.url, self._shown = url.rstrip("/"), _without_password(url.rstrip("/"))

    def local(self) -> Path | None:
        """Of a path that is not made yet, the folder above it; a cache's or folder's layer is looked through."""
        try:
            system, root = self._open()
        except Exception as error:
            self._refuse(error)
        while inner := getattr(system, "fs", None):
            system = inner
        if "file" not in ((system.protocol,) if isinstance(system.protocol, str) else system.protocol):
            return None
        return next(path for path in (Path(root), *Path(root).parents) if path.exists())

    def read(self, origin: str, size: int | None = None) -> list[Published]:
        try:
            system, root = self._open()
            folder = "/".join(part for part in (root, _name(origin)) if part)
            names = sorted(system.find(folder, maxdepth=None if not origin else 1))
        except FileNotFoundError:
            return []  # nothing was published yet
        except Exception as error:
            self._refuse(error)
        found = []
        for name in names:
            last = name.rpartition("/")[2]
            if size is not None and not last.startswith(f"{size:012d}-"):
                continue
            place = f"{self._shown}/{name.removeprefix(root).lstrip('/')}"
            try:
                raw = system.cat_file(name, start=0, end=MAX_NOTE_BYTES + 1)
                found.append(Published(place, raw.decode("utf-8")))
            except Exception as error:  # drivers raise what they like, and quote what they were given
                found.append(Published(place, "", _why(error)))
        return found

    def write(self, checkpoint: Checkpoint, note: str) -> None:
        try:
            system, root = self._open()
            folder = "/".join(part for part in (root, _name(checkpoint.origin)) if part)
            system.makedirs(folder, exist_ok=True)
            system.pipe_file(f"{folder}/{_file_name(checkpoint, note)}", note.encode(), mode="create")
        except FileExistsError:
            pass  # somebody published beside us; reading it back says whether it is this note
        except Exception as error:
            self._refuse(error)

    def _open(self) -> tuple:
        import fsspec

        system, root = fsspec.core.url_to_fs(self.url)
        system.invalidate_cache()
        return system, root.rstrip("/")

    def _refuse(self, error: Exception) -> NoReturn:
        if isinstance(error, ImportError | ValueError):
            raise ConfigurationError(
                f"has no driver that can be used ({type(error).__name__})", self._shown,
                "install the fsspec driver of this store, such as s3fs",
            ) from None  # fmt: skip
        raise ArtifactError(_why(error), self._shown, "see to the store, its rights and its credentials") from None
