"""A backup: everything that a project keeps in one tar, each file listed with its SHA-256, encrypted with age on wish.

    content.json      format, ledger's origin and size, day, and {name: [size in bytes, SHA-256]} of every other member
    ledger/entries    each entry's canonical JSON, one a line; ledger/checkpoints: the signed notes
    home/...          ZenML's and MLflow's databases, artifacts, run manifests, lineage, erasure register, vault values

Databases are copied by SQLite's own backup, so that a copy is of one moment. Never in a backup: private keys, the
vault's `keys.sqlite` (who forgets a person deletes their key there, and a copy would undo it), ZenML's stored secrets,
and what runs make again (caches, work folders, logs). The members are in order of name and bear no times or owners, so
that equal content is equal bytes.

The file appears whole or not at all; one that was there before is replaced only by a whole one. The entry that states a
backup cannot stand in it: FILE.ledger beside it holds what the ledger got since, so that a ledger that was lost comes
back without a gap.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import secrets
import sqlite3
import tarfile
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, BinaryIO

from domainlm.audit.sealing import seal
from domainlm.digests import READ_BYTES, canonical_json, digest_bytes, digest_file
from domainlm.errors import ArtifactError, SecretError
from domainlm.keys import sync_folder
from domainlm.ledger import acts, entries
from domainlm.ledger.log import Ledger
from domainlm.reports import Report

FORMAT = "domainlm.backup/1"
CONTENT, LEDGER_ENTRIES, LEDGER_CHECKPOINTS, HOME = "content.json", "ledger/entries", "ledger/checkpoints", "home/"
# rooms and files of the home that a backup holds, relative to it
ROOMS = ("artifacts", "configurations", "evidence", "mlflow", "quarantine", "runs", "zenml")
FILES = ("vault/values.sqlite", "vault/access.jsonl", "vault/access.head")
DATABASES = (".db", ".sqlite")
SIDES = ("-wal", "-shm", "-journal")
PRIVATE = b"PRIVATE KEY-----"
SMALL_BYTES = 64 << 10  # a private key's file is smaller


class Content(Report):
    """The first member: what the others must be.

    Fields:
        home: where the project's folder lay; ZenML and MLflow name files by whole paths.
        checkpoint: the ledger's latest signed checkpoint; "" where it has none.
        files: name -> (size in bytes, SHA-256).
    """

    format: str
    origin: str
    size: int
    checkpoint: str
    home: str
    day: str
    files: dict[str, tuple[int, str]]


@dataclass(frozen=True)
class Written:
    """A backup that was made: its file's digest and size, its content's digest, number of files and ledger entry."""

    file: str
    content: str
    size_bytes: int
    files: int
    entry: int


def backup(
    target: Path,
    home: Path,
    ledger: Ledger,
    submit: Callable[[str, dict[str, str], dict[str, Any]], Any],
    recipients: Iterable[str] = (),
    passphrase: str = "",
    day: date | None = None,
) -> Written:
    """Write a backup of a home that is at rest (`domainlm.audit.erasure.at_rest`), and state it in the ledger.

    Args:
        target: the file to write.
        home: folder of everything that runs make.
        ledger: the project's.
        submit: adds an entry (`domainlm.ledger.client.submit`).
        recipients: age public keys to encrypt to.
        passphrase: to encrypt by instead.
        day: that the content states.

    Raises:
        ArtifactError: the disk is full or a file changed meanwhile: nothing was written.
        SecretError: a private key lies among what would be copied, or a recipient is none.
    """
    if target.resolve().is_relative_to(home.resolve()):
        raise ArtifactError("lies inside of what is backed up", str(target), "name a place outside, best another disk")
    sealed = tuple(recipients)
    with _clear(target), tempfile.TemporaryDirectory(prefix=".backup-", dir=home) as folder:
        found = dict(sorted(_members(home, ledger, Path(folder)).items()))
        content = Content(
            format=FORMAT,
            origin=ledger.origin,
            size=_lines(found[LEDGER_ENTRIES]),
            checkpoint=(ledger.checkpoints() or [""])[-1],
            home=str(home.resolve()),
            day=(day or date.today()).isoformat(),
            files={name: (path.stat().st_size, digest_file(path)) for name, path in found.items()},
        )
        head = canonical_json(content.model_dump(mode="json"))
        draft = target.with_name(f".{target.name}.{os.getpid()}.{secrets.token_hex(4)}")
        try:
            with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
                counted = _Counted(stream)
                if sealed or passphrase:
                    _sealed(counted, lambda sink: _pack(sink, head, content, found), sealed, passphrase)
                else:
                    _pack(counted, head, content, found)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(draft, target)
        finally:
            draft.unlink(missing_ok=True)
        sync_folder(target.parent)
    digest = counted.digest.hexdigest()
    act = acts.Backup(
        file=digest, content=digest_bytes(head), size_bytes=counted.size, checkpoint=content.checkpoint
    ).model_dump(mode="json")
    number = submit(entries.BACKUP, {"backup": digest}, act).number
    with _clear(target):
        _write_later(later_file(target), ledger, content.size)
    return Written(digest, act["content"], counted.size, len(found), number)


def later_file(target: Path) -> Path:
    """The file beside a backup with what the ledger got since: its signed notes as JSON, then an entry a line."""
    return target.with_name(f"{target.name}.ledger")


def _write_later(path: Path, ledger: Ledger, size: int) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as sink:
            sink.write(canonical_json(ledger.checkpoints()[-1:]) + b"\n")
            for _, raw in ledger.raw(size):
                sink.write(raw + b"\n")
            sink.flush()
            os.fsync(sink.fileno())
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)
    sync_folder(path.parent)


def _members(home: Path, ledger: Ledger, folder: Path) -> dict[str, Path]:
    """Name in the backup -> file to read; databases as copies in a folder."""
    found: dict[str, Path] = {}
    for room in ROOMS:
        for path in sorted((home / room).rglob("*")):
            found |= _member(path, home, folder)
    for name in FILES:
        found |= _member(home / name, home, folder)
    found.pop(f"{HOME}evidence/ledger.sqlite", None)  # written entry by entry, whatever database holds it
    with open(folder / "entries", "wb") as sink:
        for _, raw in ledger.raw():
            sink.write(raw + b"\n")
    (folder / "checkpoints").write_bytes(canonical_json(ledger.checkpoints()))
    return found | {LEDGER_ENTRIES: folder / "entries", LEDGER_CHECKPOINTS: folder / "checkpoints"}


def _member(path: Path, home: Path, folder: Path) -> dict[str, Path]:
    name = path.relative_to(home).as_posix()
    if path.is_symlink() or not path.is_file() or path.name.startswith(".lock"):
        return {}
    if path.name.endswith(SIDES) and path.with_name(path.name.rpartition("-")[0]).exists():
        return {}
    if path.suffix in DATABASES:
        if name == "evidence/ledger.sqlite":
            return {}
        copy = folder / digest_bytes(name.encode())
        copy_database(path, copy)
        return {HOME + name: copy}
    if path.stat().st_size <= SMALL_BYTES and PRIVATE in path.read_bytes():
        raise SecretError(
            "a private key lies among what would be backed up", str(path), "move it out: `.domainlm/keys/` or elsewhere"
        )
    return {HOME + name: path}


def copy_database(path: Path, copy: Path) -> None:
    """A SQLite database as of one moment, also while others write; ZenML's stored secrets are left out, overwritten.

    Raises:
        ArtifactError: it is none, or broken.
    """
    try:
        with closing(sqlite3.connect(path, timeout=60.0)) as source, closing(sqlite3.connect(copy)) as target:
            source.backup(target)
            target.execute("PRAGMA journal_mode = DELETE")
            if target.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'secret'").fetchone():
                target.execute("DELETE FROM secret")
                target.execute("DELETE FROM secret_resource")
                target.commit()
                target.execute("VACUUM")
    except sqlite3.DatabaseError as error:
        if "disk" in str(error):
            raise OSError(28, "No space left on device") from None
        raise ArtifactError(
            f"cannot be copied as a database ({type(error).__name__})", str(path), "mend it, or move it away"
        ) from None


def _pack(sink: BinaryIO, head: bytes, content: Content, found: dict[str, Path]) -> None:
    with tarfile.open(fileobj=sink, mode="w|", format=tarfile.PAX_FORMAT, bufsize=READ_BYTES) as tar:
        _add(tar, CONTENT, len(head), io.BytesIO(head))
        for name, path in found.items():
            with open(path, "rb") as stream:
                size, digest = content.files[name]
                checked = _Hashed(stream)
                _add(tar, name, size, checked)
                if checked.digest.hexdigest() != digest or stream.read(1):
                    raise ArtifactError("changed while it was copied", str(path), "back up when nothing is at work")


def _add(tar: tarfile.TarFile, name: str, size: int, stream: Any) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, 0o600
    try:
        tar.addfile(member, stream)
    except OSError as error:
        if "unexpected end of data" in str(error):
            raise ArtifactError("became shorter while it was copied", name, "back up when nothing is at work") from None
        raise


def _sealed(target: BinaryIO, write: Callable[[BinaryIO], None], recipients: tuple[str, ...], passphrase: str) -> None:
    """What `write` gives, encrypted as it comes, through a pipe."""
    reading, writing = os.pipe()
    failed: list[BaseException] = []

    def encrypt() -> None:
        with open(reading, "rb") as source:
            try:
                seal(source, target, recipients, passphrase)
            except BaseException as error:  # raised again by the thread that waits
                failed.append(error)

    worker = threading.Thread(target=encrypt)
    worker.start()
    try:
        with open(writing, "wb") as sink:
            write(sink)
    except BrokenPipeError:
        pass  # the other end says why
    except BaseException:
        worker.join()
        raise
    worker.join()
    if failed:
        raise target.failed or failed[0]


@contextmanager
def _clear(target: Path) -> Iterator[None]:
    """An error of the disk as one that says that nothing was written."""
    try:
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise ArtifactError(
            f"the backup was not written: {error.strerror or type(error).__name__}", str(error.filename or target),
            "see to space and rights, then repeat; an earlier backup of that name is as it was",
        ) from None  # fmt: skip


def _lines(path: Path) -> int:
    with open(path, "rb") as stream:
        return sum(chunk.count(b"\n") for chunk in iter(lambda: stream.read(READ_BYTES), b""))


class _Counted:
    """A writer that knows the digest and the size of what went through it."""

    def __init__(self, sink: BinaryIO) -> None:
        self.sink, self.digest, self.size = sink, hashlib.sha256(), 0
        self.failed: OSError | None = None  # a library in between turns it into an error of its own

    def write(self, data: bytes) -> int:
        try:
            self.sink.write(data)
        except OSError as error:
            self.failed = error
            raise
        self.digest.update(data)
        self.size += len(data)
        return len(data)

    def flush(self) -> None:
        self.sink.flush()


class _Hashed:
    """A reader that knows the digest of what was read."""

    def __init__(self, source: BinaryIO) -> None:
        self.source, self.digest = source, hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self.source.read(size)
        self.digest.update(data)
        return data


def read_content(raw: bytes, where: str) -> Content:
    """The first member.

    Raises:
        ArtifactError: it is none, or of a version that this program does not know.
    """
    try:
        found = Content(**json.loads(raw))
    except (ValueError, TypeError):
        raise ArtifactError("is not a backup", where, "name a file that `domainlm backup` wrote") from None
    if found.format != FORMAT:
        raise ArtifactError(f"has the format {found.format!r:.40}, known: {FORMAT}", where, "use a newer domainlm")
    return found
