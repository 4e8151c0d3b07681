"""Putting a backup back: everything is checked in a folder of its own before anything of the present state moves.

    1. The file is read into `.restore-...`: each member must be listed, with its size and SHA-256, and none missing.
    2. The ledgers are joined: one must be the beginning of the other, and what comes of it must verify against every
       published checkpoint. The longer one stays: an older ledger never replaces a newer one.
    3. The ledger must state this backup (an entry of kind `backup` with the file's or its list's digest): the list in
       the file alone can be made to fit whatever was altered. Manifests of runs that ended, are in no entry and bear
       no seal of the key ring are left out.
    4. Every erasure that this ledger states must be known to the register at hand (joined with the backup's), or the
       backup would bring a person's data back.
    5. `restore.unfinished` is written; room by room the present goes aside and the backup's takes its place. A kill is
       finished by calling again.
    6. Every erasure of the register is carried out again, then the ledger's entry is made.

The present register, access log, ledger and keys stay; they only take up what they lacked.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from domainlm.audit.backup.backup import (
    CONTENT,
    FILES,
    HOME,
    LEDGER_CHECKPOINTS,
    LEDGER_ENTRIES,
    ROOMS,
    Content,
    read_content,
)
from domainlm.audit.erasure.at_rest import RESTORE_PLAN as PLAN
from domainlm.audit.erasure.holds import standing
from domainlm.audit.erasure.suppression import FILE as REGISTER
from domainlm.audit.erasure.suppression import ErasureRegister
from domainlm.audit.evidence import Evidence
from domainlm.audit.lineage.index import FILE as LINEAGE
from domainlm.audit.proof.cross_checks import is_entered
from domainlm.audit.proof.verification import verify_entries
from domainlm.digests import READ_BYTES, canonical_json, digest_bytes
from domainlm.errors import ArtifactError, DomainLMError, EvidenceRefused
from domainlm.keys import KeyRing, sync_folder, write_secret_file
from domainlm.ledger import acts, entries
from domainlm.ledger.anchors import Published
from domainlm.ledger.envelopes import Envelope
from domainlm.ledger.findings import BROKEN
from domainlm.ledger.log import Ledger
from domainlm.ledger.run import manifest as manifests
from domainlm.ledger.run.manifest import RUNNING
from domainlm.ledger.run.provenance import MANIFEST
from domainlm.ledger.trust.gate import Gate

MAX_CONTENT_BYTES = 1 << 30
APPEND_ENTRIES = 1000
LOGS = ("vault/access.jsonl", "vault/access.head")


@dataclass(frozen=True)
class Restored:
    """What was done: files put back, entries that the present ledger took up, persons' data erased again, its entry,
    and the manifests that were left out."""

    files: int
    entries: int
    erasures: int
    entry: int
    left_out: tuple[str, ...] = ()


@dataclass
class Present:
    """What a restore meets.

    Args:
        home: folder of everything that runs make.
        ledger: the project's; may be empty.
        register: the present erasure register.
        root_keyids: ids of the pinned root keys: the backup's own are not believed.
        published: checkpoints from outside.
        submit: adds an entry.
        erase_again: carries out every erasure of the register, and says how many places had come back.
    """

    home: Path
    ledger: Ledger
    register: ErasureRegister
    root_keyids: frozenset[str]
    published: list[Published]
    submit: Callable[[str, dict[str, str], dict[str, Any]], Any]
    erase_again: Callable[[], int]


def restore(
    stream: BinaryIO, digest: str, where: str, present: Present, later: Path | None = None, unlisted: bool = False
) -> Restored:
    """Put a backup back into a home that is at rest.

    Args:
        stream: the plain tar.
        digest: SHA-256 of the file as it was given out (the encrypted one, where it is).
        where: what errors name.
        later: the file beside the backup with what the ledger got since (`domainlm.audit.backup.backup.later_file`).
        unlisted: take one that no entry states, such as that of a backup that was killed before its entry.

    Raises:
        ArtifactError: the file is torn, altered or too large for the disk, or another home's. Nothing moved.
        EvidenceRefused: the ledgers contradict each other or a published checkpoint, an erasure is not known
            here, or no entry states the backup. Nothing moved.
    """
    plan = present.home / PLAN
    if plan.exists():
        raise ArtifactError("an earlier restore was interrupted", str(plan), "finish it: `domainlm restore` alone")
    staged = present.home / f".restore-{secrets.token_hex(6)}"
    staged.mkdir(mode=0o700)
    moved = False
    try:
        content = _unpack(stream, staged, where)
        if content.home != str(present.home.resolve()):
            raise ArtifactError(
                "is of a project that lay elsewhere, and ZenML and MLflow name files by whole paths", content.home,
                f"restore it there (mount or link {present.home} to that path)",
            )  # fmt: skip
        if later is not None and later.exists():
            _continue_ledger(staged, later)
        added, evidence = _join_ledgers(staged, content, present, "" if unlisted else digest)
        _join_registers(staged, present, evidence)
        left = _leave_foreign_runs(staged / HOME / "runs", evidence, present.register.keys)
        files = len(content.files) - len(left)
        write_secret_file(
            plan, {"staged": staged.name, "file": digest, "files": files, "added": added, "left_out": left}
        )
        moved = True
    except OSError as error:
        raise ArtifactError(
            f"cannot be restored: {error.strerror or type(error).__name__}", str(error.filename or where),
            "see to space and rights, then repeat; the present state is as it was",
        ) from None  # fmt: skip
    finally:
        if not moved:
            shutil.rmtree(staged, ignore_errors=True)
    return finish(present)


def finish(present: Present) -> Restored:
    """Move what was checked into place, erase again, and make the entry; safe to repeat.

    Raises:
        ArtifactError: no restore was interrupted.
    """
    path = present.home / PLAN
    if not path.exists():
        raise ArtifactError("no restore was interrupted", str(present.home), "name a backup")
    plan = json.loads(path.read_text())
    staged, aside = present.home / plan["staged"], present.home / f"{plan['staged']}.before"
    try:
        _swap(staged / HOME, present.home, aside)
    except OSError as error:
        raise ArtifactError(
            f"the backup could not be moved into place: {error.strerror}", str(error.filename),
            "mend it and call `domainlm restore` without a file: it goes on",
        ) from None  # fmt: skip
    for folder in (staged, aside):
        shutil.rmtree(folder, ignore_errors=True)
    erasures = present.erase_again()
    act = acts.Restore(file=plan["file"], erasures=erasures).model_dump(mode="json")
    number = present.submit(entries.RESTORE, {"backup": plan["file"]}, act).number
    path.unlink()
    sync_folder(present.home)
    return Restored(plan["files"], plan["added"], erasures, number, tuple(plan.get("left_out", ())))


def _unpack(stream: BinaryIO, staged: Path, where: str) -> Content:
    """Every member into the folder, checked against the list."""
    try:
        with tarfile.open(fileobj=stream, mode="r|", bufsize=READ_BYTES) as tar:
            first = tar.next()
            if first is None or first.name != CONTENT or not first.isreg() or first.size > MAX_CONTENT_BYTES:
                raise ArtifactError("is not a backup", where, "name a file that `domainlm backup` wrote")
            content = read_content(tar.extractfile(first).read(), where)  # type: ignore[union-attr]
            missing = dict(content.files)
            while (member := tar.next()) is not None:
                if member.name not in missing or not member.isreg() or not _inside(member.name):
                    raise ArtifactError(f"holds {member.name!r:.100}, which its list does not", where, _ALTERED)
                size, digest = missing.pop(member.name)
                found = _write(tar.extractfile(member), _placed(staged, member.name))  # type: ignore[arg-type]
                if member.size != size or found != digest:
                    raise ArtifactError(f"{member.name} differs from the backup's list", where, _ALTERED)
    except (tarfile.TarError, EOFError) as error:
        raise ArtifactError(f"is torn or no backup ({type(error).__name__})", where, _ALTERED) from None
    if missing:
        raise ArtifactError(f"lacks {len(missing)} files of its list, such as {min(missing)}", where, _ALTERED)
    return content


_ALTERED = "take another copy; nothing was restored"


def _inside(name: str) -> bool:
    """Whether a member's name is a plain relative path within the rooms that a backup has."""
    path = PurePosixPath(name)
    if name in (LEDGER_ENTRIES, LEDGER_CHECKPOINTS):
        return True
    plain = not path.is_absolute() and ".." not in path.parts and "\0" not in name and path.as_posix() == name
    inner = name.removeprefix(HOME)
    return plain and name.startswith(HOME) and (inner in FILES or inner.split("/")[0] in ROOMS)


def _placed(folder: Path, name: str) -> Path:
    """The path of a member, its folders made, each of mode 0700."""
    for part in PurePosixPath(name).parts[:-1]:
        folder = folder / part
        folder.mkdir(mode=0o700, exist_ok=True)
    return folder / PurePosixPath(name).name


def _write(source: BinaryIO, target: Path) -> str:
    total = hashlib.sha256()
    with open(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as sink:
        while chunk := source.read(READ_BYTES):
            total.update(chunk)
            sink.write(chunk)
        sink.flush()
        os.fsync(sink.fileno())
    return total.hexdigest()


def _continue_ledger(staged: Path, later: Path) -> None:
    """Put what the ledger got since behind the backup's; whether it belongs there is checked with all the rest."""
    lines = _lines_of(later)
    try:
        notes = [*json.loads((staged / LEDGER_CHECKPOINTS).read_text()), *json.loads(next(lines))]
        (staged / LEDGER_CHECKPOINTS).write_text(json.dumps(list(dict.fromkeys(notes))))
    except (StopIteration, ValueError, TypeError):
        raise ArtifactError("does not continue a backup's ledger", str(later), "restore without it") from None
    with open(staged / LEDGER_ENTRIES, "ab") as sink:
        for raw in lines:
            sink.write(raw + b"\n")


def _join_ledgers(staged: Path, content: Content, present: Present, digest: str) -> tuple[int, Evidence]:
    """Let the present ledger take up what it lacks of the backup's; returns how many entries, and what it now says.

    Args:
        digest: of the backup's file, which an entry must state; "" where none has to.

    Raises:
        EvidenceRefused: `foreign-entry`, `forked`, `replaced-artifact` (no entry states the backup), or
            what the joined ledger's verification finds broken.
    """
    if content.origin != present.ledger.origin:
        raise EvidenceRefused(
            f"is a backup of the ledger '{content.origin}', not of '{present.ledger.origin}'", "ledger",
            "two ledgers must not be merged", "foreign-entry",
        )  # fmt: skip
    size = present.ledger.frontier.size
    stored = present.ledger.raw()
    for number, raw in enumerate(_lines_of(staged / LEDGER_ENTRIES)):
        if number < size and next(stored)[1] != raw:
            raise EvidenceRefused(
                "the backup's ledger and the present one differ", f"entry {number}",
                "one of them was altered: `domainlm audit verify` says which", "forked",
            )  # fmt: skip
    stored.close()  # type: ignore[attr-defined]
    backed = json.loads((staged / LEDGER_CHECKPOINTS).read_text())
    joined = verify_entries(
        _joined(staged, present, size),
        [*backed, *(note for note in present.ledger.checkpoints() if note not in backed)],
        present.published,
        present.ledger.origin,
        present.root_keyids,
    )
    if joined.verdict == BROKEN:
        worst = next(finding for finding in joined.findings if finding.severity == "broken")
        raise EvidenceRefused(
            f"with this backup the ledger would be broken: {worst.what}", worst.where,
            "restore the ledger from its own copy first, so that no later act is lost", worst.code,
        )  # fmt: skip
    evidence = _check_erasures(staged, present, size)
    if digest:
        _check_listed(content, digest, evidence)
    batch: list[Envelope] = []
    added = 0
    for number, raw in enumerate(_lines_of(staged / LEDGER_ENTRIES)):
        if number >= size:
            batch.append(Envelope.parse(raw, f"entry {number}"))
            added += 1
        if len(batch) == APPEND_ENTRIES:
            present.ledger.append(batch)
            batch = []
    if batch:
        present.ledger.append(batch)
    for note in backed:
        present.ledger.add_checkpoint(int(note.split("\n")[1]), note)
    return added, evidence


def _check_erasures(staged: Path, present: Present, size: int) -> Evidence:
    """What the joined ledger says. Every erasure that it states must be one that a register knows."""
    known = present.register.entered()
    backed = staged / HOME / "evidence" / REGISTER
    if backed.exists():
        known |= ErasureRegister(backed, present.register.keys).entered()
    read = ((number, Envelope.parse(raw, f"entry {number}")) for number, raw in _joined(staged, present, size))
    evidence = Evidence(read, Gate(present.ledger.origin, present.root_keyids))
    for stated in evidence.of_kind(entries.ERASURE):
        if stated.digest not in known:
            raise EvidenceRefused(
                "the ledger states an erasure that no erasure register here knows, so this backup could bring a"
                " person's data back",
                f"entry {stated.number}",
                "put .domainlm/evidence/erasures.sqlite of that day back first, or take a later backup",
                "erased-artifact",
            )
    return evidence


def _check_listed(content: Content, digest: str, evidence: Evidence) -> None:
    """The ledger must state the backup: whoever alters a file of it can make its list of digests fit."""
    listed = digest_bytes(canonical_json(content.model_dump(mode="json")))
    if not any(
        digest == stated.act.file or listed == stated.act.content for stated in evidence.of_kind(entries.BACKUP)
    ):
        raise EvidenceRefused(
            "no entry of the ledger states this backup, so it may have been altered", "backup",
            "take another copy, with its FILE.ledger beside it; one that was killed before its entry: --unlisted",
            "replaced-artifact",
        )  # fmt: skip


def _leave_foreign_runs(folder: Path, evidence: Evidence, keys: KeyRing) -> list[str]:
    """Take manifests out that the next run would otherwise enter as runs of this project; returns their names."""
    entered = {stated.act.run_id: stated.envelope.statement["predicate"][MANIFEST]
               for stated in evidence.of_kind(entries.RUN)}  # fmt: skip
    left = []
    for path in sorted(folder.glob("*.json")):
        if path.stem in entered and is_entered(path.read_bytes(), entered[path.stem]):
            continue
        try:
            found = manifests.read(path)
            if found.status != RUNNING:
                manifests.check_seal(found, lambda: keys, folder)
        except DomainLMError:
            path.unlink()
            left.append(path.name)
    return left


def _joined(staged: Path, present: Present, size: int) -> Iterator[tuple[int, bytes]]:
    """The longer of two ledgers of which one begins with the other."""
    lines = ((number, raw) for number, raw in enumerate(_lines_of(staged / LEDGER_ENTRIES)) if number >= size)
    return chain(present.ledger.raw(), lines)


def _lines_of(path: Path) -> Iterator[bytes]:
    with open(path, "rb") as stream:
        for line in stream:
            yield line.removesuffix(b"\n")


def _join_registers(staged: Path, present: Present, evidence: Evidence) -> None:
    backed = staged / HOME / "evidence" / REGISTER
    if backed.exists():
        present.register.merge(backed)
        for ended in present.register.hold_commitments() - {stated.act.commitment for stated in standing(evidence)}:
            present.register.release(ended)  # its salt came back with the backup


def _swap(new: Path, home: Path, aside: Path) -> None:
    """Put what was backed up in place of what is there; each move is one rename, one that was made is passed over."""
    aside.mkdir(mode=0o700, exist_ok=True)
    evidence = [f"evidence/{path.name}" for path in sorted((new / "evidence").glob("*"))]
    for name in (*(room for room in ROOMS if room != "evidence"), *evidence, *FILES):
        source, target, old = new / name, home / name, aside / name
        # of evidence and logs a backup only brings what is lost; the index of rows belongs to the data
        stays = name in LOGS or (name.startswith("evidence/") and name != f"evidence/{LINEAGE}")
        if not source.exists() or (stays and target.exists()):
            continue
        for place in (old, target):
            place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _move_sides(target, old)  # first: beside another database a journal would be played into that
        if target.exists():
            os.rename(target, old)
        os.rename(source, target)
    for folder in (home, home / "evidence", home / "vault"):
        if folder.is_dir():
            sync_folder(folder)


def _move_sides(target: Path, old: Path) -> None:
    """A database's journals go with it."""
    for side in ("-wal", "-shm", "-journal"):
        if (beside := target.with_name(target.name + side)).exists():
            os.rename(beside, old.with_name(old.name + side))
