"""The access log: who asked for a sealed value, when and why, and what came of it; never the value.

JSON lines, each with the hash of the line before it, so that a changed, inserted or deleted line breaks the chain. A
chain alone does not see that its end was cut off, so the number and hash of the last line stand in a second file under
the key's MAC. Whoever can write both files and has the key can still roll both back together: copy the printed head to
a place outside (`domainlm vault log --verify` prints it) to see that as well.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import json
import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from domainlm.errors import ArtifactError
from domainlm.keys import KeyRing, write_secret_file

LOG_FILE, HEAD_FILE = "access.jsonl", "access.head"
USE = "access-log"
_START = "0" * 64
_TAIL_BYTES = 64 * 1024  # far longer than any line can be: reasons are cut
MAX_REASON_CHARACTERS = 500


class AccessLog:
    """The log of one folder; several processes may append to it.

    Args:
        folder: where it lies; created with the first entry, mode 0700, its files 0600.
        keys: whose secret authenticates the head.
    """

    def __init__(self, folder: Path, keys: KeyRing) -> None:
        self.folder, self.keys = folder, keys
        self.path, self.head_path = folder / LOG_FILE, folder / HEAD_FILE

    def append(self, action: str, subject: str, reason: str, person: str, outcome: str) -> None:
        """Add an entry. When this returns, it is on the disk.

        Args:
            action: what was asked for ("reveal", "forget", ...).
            subject: the id that was named; the caller sees to it that it is an id, and not what somebody typed.
            reason: why, as the person put it.
            person: who, as `operating_system_user` tells.
            outcome: what came of it.

        Raises:
            ArtifactError: the log was cut or changed, so that nothing may be added, nor revealed.
        """
        with self._locked() as descriptor:
            number, previous = self._end(descriptor)
            entry: dict[str, Any] = {
                "n": number + 1,
                "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
                "user": person,
                "action": action,
                "id": subject,
                "reason": reason[:MAX_REASON_CHARACTERS],
                "outcome": outcome,
                "key_id": self.keys.key_id,
                "previous": previous,
            }
            entry["hash"] = _hash(entry)
            os.write(descriptor, (json.dumps(entry, ensure_ascii=True, sort_keys=True) + "\n").encode("ascii"))
            os.fsync(descriptor)
            self._write_head(entry["n"], entry["hash"])

    def entries(self) -> Iterator[dict[str, Any]]:
        """All entries, the oldest first.

        Raises:
            ArtifactError: a line is none.
        """
        if not self.path.exists():
            return
        with open(self.path, encoding="ascii", errors="replace") as stream:
            for number, line in enumerate(stream, 1):
                try:
                    entry = json.loads(line)
                except ValueError:
                    entry = None
                if not isinstance(entry, dict):
                    raise ArtifactError(f"line {number} is no entry", str(self.path), "compare it with a backup")
                yield entry

    def verify(self) -> tuple[int, str]:
        """Check every line and the head.

        Returns:
            How many entries there are, and the hash of the last: what to keep a copy of outside.

        Raises:
            ArtifactError: a line was changed, inserted or removed, or the end was cut off.
        """
        number, previous = 0, _START
        hashes = [previous]
        for entry in self.entries():
            number += 1
            if entry.get("n") != number or entry.get("previous") != previous or entry.get("hash") != _hash(entry):
                raise ArtifactError(
                    f"entry {number} was changed, or one before it was taken out",
                    str(self.path),
                    "compare the file with a backup, and find out who could write it",
                )
            previous = entry["hash"]
            hashes.append(previous)
        anchored, hashed = self._head()
        # A process may have died between the line and the head; more than one line beyond it is somebody's forgery.
        if not (anchored <= number <= anchored + 1 and hashes[anchored] == hashed):
            raise self._cut()
        return number, previous

    def rekey(self, old: KeyRing) -> None:
        """Put the head under the present key. Done twice, it does no more than once.

        Raises:
            ArtifactError: the head is neither the old key's nor the present one's.
        """
        if not self.head_path.exists():
            return
        with self._locked():
            try:
                self._head()
            except ArtifactError:
                self._write_head(*AccessLog(self.folder, old)._head())

    @contextmanager
    def _locked(self) -> Iterator[int]:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder.chmod(0o700)
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield descriptor
        finally:
            os.close(descriptor)

    def _end(self, descriptor: int) -> tuple[int, str]:
        """Number and hash of the last line, compared with the head."""
        anchored, hashed = self._head()
        size = os.fstat(descriptor).st_size
        tail = os.pread(descriptor, _TAIL_BYTES, max(0, size - _TAIL_BYTES))
        whole = tail[: tail.rfind(b"\n") + 1]
        if len(whole) < len(tail):
            # A process died while it wrote: the entry was never finished, so nothing was revealed on its ground.
            os.ftruncate(descriptor, size - len(tail) + len(whole))
        if not whole:
            if size > _TAIL_BYTES or anchored:
                raise self._cut()
            return 0, _START
        try:
            entry = json.loads(whole[:-1].rpartition(b"\n")[2])
            number, previous, last = int(entry["n"]), str(entry["previous"]), str(entry["hash"])
        except (ValueError, KeyError, TypeError):
            raise self._cut() from None
        same = number == anchored and last == hashed
        one_ahead = number == anchored + 1 and previous == hashed
        if last != _hash(entry) or not (same or one_ahead):
            raise self._cut()
        return number, last

    def _head(self) -> tuple[int, str]:
        try:
            content = json.loads(self.head_path.read_text(encoding="ascii"))
            number, hashed, mac = int(content["n"]), str(content["hash"]), bytes.fromhex(content["mac"])
        except FileNotFoundError:
            return 0, _START
        except (OSError, ValueError, KeyError, TypeError):
            raise self._cut() from None
        if not hmac.compare_digest(mac, self.keys.mac(USE, str(number), hashed)):
            raise ArtifactError(
                "is not authenticated by the key at hand", str(self.head_path), "use the key it was made with"
            )
        return number, hashed

    def _write_head(self, number: int, hashed: str) -> None:
        content = {"n": number, "hash": hashed, "mac": self.keys.mac(USE, str(number), hashed).hex()}
        write_secret_file(self.head_path, content, replace=True)

    def _cut(self) -> ArtifactError:
        return ArtifactError(
            "the log does not end as its head says: entries were cut off or added",
            str(self.path),
            "nothing is revealed until the log has been restored from a backup",
        )


def _hash(entry: dict[str, Any]) -> str:
    content = {name: value for name, value in entry.items() if name != "hash"}
    return hashlib.sha256(json.dumps(content, ensure_ascii=True, sort_keys=True).encode("ascii")).hexdigest()


def operating_system_user() -> str:
    """The user that the system knows this process by, with the real one behind sudo; no variable of the environment
    alone can change the first part."""
    number = os.getuid()
    try:
        name = pwd.getpwuid(number).pw_name
    except KeyError:
        name = str(number)
    behind = os.environ.get("SUDO_USER", "")
    return f"{name} (sudo by {behind})" if behind and number == 0 else name
