"""Rotation: a new key takes over ids, vault, quarantine and log; a kill in its middle is finished by the next call.

    1. Old ring and new ring are written to one file of mode 0600 (`rotation.unfinished`). From now on every
       `KeyRing.load` refuses: nothing runs while sealed files are of two keys.
    2. The stores are carried, each safe to carry twice: the vault's two files in one transaction each, the quarantine
       file by file, the head of the log by rename.
    3. The new ring takes its place by rename. 4. `rotation.unfinished` goes.

The new ring holds of the old key only what makes ids; the old key's file is kept under another name until its owner
destroys it, since other machines may have stores of the same key (`rekey` carries those). How links survive: `keys.py`.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from domainlm.errors import SecretError
from domainlm.keys import DEVELOPMENT, KeyRing, rotation_file, sync_folder, write_secret_file
from domainlm.redact.access import AccessLog
from domainlm.redact.quarantine import Quarantine
from domainlm.redact.vault import Vault


@dataclass(frozen=True)
class Rotated:
    """What a rotation did.

    Args:
        key_id: the new key's name.
        old_key_id: the old one's.
        file: where the new ring lies.
        old_file: where the old key lies now; None where it never was in a file that is ours to move.
        quarantined: how many quarantined records were sealed anew by this call.
    """

    key_id: str
    old_key_id: str
    file: Path
    old_file: Path | None
    quarantined: int


def rotate(
    present: KeyRing | None,
    present_file: Path | None,
    new_file: Path | None,
    stores: Path,
    person: str,
    key_id: str = "",
) -> Rotated:
    """Put a new key in place of the present one, or finish a rotation that was interrupted.

    Args:
        present: the ring in use; not needed to finish.
        present_file: its file; None when it comes from the environment or a secret manager.
        new_file: where the new ring shall lie; a file that is there already holds the new key, a missing one is made.
            By default the new ring takes the place of the present file.
        stores: the folder that holds `vault` and `quarantine`.
        person: who does it, for the access log.
        key_id: name of a key that is made; a random one by default.

    Raises:
        SecretError: there is nowhere to put the new ring, or the new key cannot follow the present one.
    """
    with _alone():
        plan = rotation_file()
        if not plan.exists():
            if present is None:
                raise SecretError("the key to rotate from is missing", "rotation", "name it")
            target = new_file or present_file
            if target is None:
                raise SecretError(
                    "the present key is not in a file, so the new one needs a place", "rotation", "say --new-file FILE"
                )
            taken = target.exists() and target != present_file
            if not key_id and target == present_file and present.key_id.startswith(DEVELOPMENT):
                key_id = f"{DEVELOPMENT}-{secrets.token_hex(4)}"  # what production refuses stays refused
            new = present.succeeded_by(KeyRing.of_file(target) if taken else KeyRing.new(key_id))
            write_secret_file(
                plan,
                {
                    "old": present.to_json(),
                    "new": new.to_json(),
                    "target": str(target.absolute()),
                    "present_file": str(present_file.absolute()) if present_file else "",
                },
            )
        return _finish(plan, stores, person)


def rekey(old: KeyRing, new: KeyRing, stores: Path, person: str) -> int:
    """Carry the stores of one machine from an old key to the ring that continues it. Safe to repeat.

    Returns:
        How many quarantined records were sealed anew.

    Raises:
        SecretError: the new ring does not continue the old key, or a store belongs to neither.
    """
    if not new.continues(old):
        raise SecretError(
            f"the key '{new.key_id}' does not continue '{old.key_id}'", "rotation", "rotate with `domainlm keys rotate`"
        )
    Vault(stores / "vault", new).rekey(old)
    count = Quarantine(stores / "quarantine", new).rekey(old)
    log = AccessLog(stores / "vault", new)
    log.rekey(old)
    log.append("rotate", "", f"from {old.key_id} to {new.key_id}", person, "carried")
    return count


def _finish(plan: Path, stores: Path, person: str) -> Rotated:
    content = json.loads(plan.read_text(encoding="utf-8"))
    old, new = KeyRing.of_json(content["old"], str(plan)), KeyRing.of_json(content["new"], str(plan))
    target = Path(content["target"])
    count = rekey(old, new, stores, person)
    old_file = Path(content["present_file"]) if content["present_file"] else None
    if old_file == target:
        old_file = target.with_name(f"{target.name}.retired-{old.key_id}")
        write_secret_file(old_file, content["old"], replace=True)
    write_secret_file(target, content["new"], replace=True)
    plan.unlink()
    sync_folder(plan.parent)
    return Rotated(new.key_id, old.key_id, target, old_file, count)


@contextmanager
def _alone() -> Iterator[None]:
    folder = rotation_file().parent
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
