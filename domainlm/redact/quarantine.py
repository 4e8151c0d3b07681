"""Quarantine: records that could not be made safe, encrypted one by one, for eyes that hold the key."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from domainlm.errors import AccessRefused, ArtifactError, DomainLMError, SecretError
from domainlm.keys import KeyRing, sync_folder
from domainlm.records import Record
from domainlm.redact.access import AccessLog
from domainlm.redact.vault import LEAST_REASON_CHARACTERS

USE = "quarantine"
SUFFIX = ".sealed"
RETENTION_DAYS = 90
# Ids are carried when the key is rotated; a name must not follow from them, or it would change twice.
_KEYED = {"id": "record", "group": "group", "subjects": "subject"}


class Quarantine:
    """A folder of sealed records (AES-256-GCM), mode 0700, its files 0600.

    Args:
        folder: where it lies; created with the first record.
        keys: whose secret seals.
        retention_days: how long a record is kept, unless `store` says otherwise.
    """

    def __init__(self, folder: Path, keys: KeyRing, retention_days: int = RETENTION_DAYS) -> None:
        self.folder, self.keys, self.retention_days = folder, keys, retention_days

    def store(self, record: Record, reason: str, retention_days: int | None = None, today: date | None = None) -> str:
        """Seal a record; returns the name of its file, which is a keyed id and so tells nothing.

        A record that is there already keeps the day on which it came, so that a nightly run does not keep it forever.
        """
        plain = {name: value for name, value in record.items() if name not in _KEYED}
        # Escaped JSON: a lone surrogate is one of the reasons to be here, and UTF-8 cannot hold it.
        text = json.dumps(plain, ensure_ascii=True, sort_keys=True)
        name = self.keys.keyed_id(USE, record["source"], str(record["row"]), text) + SUFFIX
        day = today or date.today()
        with suppress(DomainLMError, ValueError, KeyError):
            day = min(day, date.fromisoformat(self._opened(name)["created"]))
        days = self.retention_days if retention_days is None else retention_days
        content = {"reason": reason, "record": record, "created": day.isoformat(), "retention_days": days}
        self._write(name, content)
        return name

    def reveal(self, name: str) -> dict[str, Any]:
        """A sealed record and the reason code, for code that decides about it; people go through `show`.

        Raises:
            SecretError: it was sealed with another key, or changed.
            ArtifactError: there is no such file.
        """
        content = self._opened(name)
        return {"reason": content["reason"], "record": content["record"]}

    def show(self, name: str, reason: str, person: str, log: AccessLog) -> dict[str, Any]:
        """A sealed record for a person, logged as a value of the vault is: first the entry, then the record.

        Args:
            name: of its file, also one of before a rotation.
            reason: why, at least 10 characters.
            person: who asks.
            log: the access log.

        Raises:
            AccessRefused: no reason, or there is no such file; the log says so as well.
            SecretError: it was sealed with another key, or changed.
        """
        name = Path(name).name.removesuffix(SUFFIX)
        known = name.isalnum() and self.keys.knows(name)
        name = self.keys.carried(USE, name) + SUFFIX if known else "(malformed)"
        said = reason.strip()
        refusal = ""
        if len(said) < LEAST_REASON_CHARACTERS:
            refusal, said = f"a reason of at least {LEAST_REASON_CHARACTERS} characters is needed", "(none that serves)"
        elif not (self.folder / name).is_file():
            refusal = "no such file"
        if refusal:
            log.append("quarantine", name, said, person, f"refused: {refusal}")
            raise AccessRefused(refusal, name, "name a file of the report's list, and say --reason")
        try:
            found = self.reveal(name)
        except DomainLMError:
            log.append("quarantine", name, said, person, "refused: it cannot be decrypted")
            raise
        log.append("quarantine", name, said, person, "revealed")
        return found

    def names(self) -> Iterator[str]:
        """The names of all sealed records."""
        if self.folder.is_dir():
            yield from sorted(path.name for path in self.folder.iterdir() if path.name.endswith(SUFFIX))

    def expire(self, today: date) -> tuple[int, list[str]]:
        """Delete records whose time is over.

        Returns:
            How many were deleted, and the names of those that cannot be opened with the key at hand; they stay.
        """
        deleted, closed = 0, []
        for name in list(self.names()):
            try:
                content = self._opened(name)
                over = date.fromisoformat(content["created"]) + timedelta(days=content["retention_days"]) <= today
            except (DomainLMError, ValueError, KeyError):
                closed.append(name)
                continue
            if over:
                (self.folder / name).unlink(missing_ok=True)
                deleted += 1
        return deleted, closed

    def forget(self, subject: str) -> int:
        """Delete the records whose source names a subject (its id, also one of before a rotation); returns how many.

        What a record's text says of a person is not known here: nobody could make the record safe. Its time ends with
        its retention.
        """
        subject, deleted = self.keys.carried("subject", subject), 0
        for name in list(self.names()):
            with suppress(DomainLMError, ValueError, KeyError):
                if subject in self._opened(name)["record"].get("subjects", ()):
                    (self.folder / name).unlink(missing_ok=True)
                    deleted += 1
        return deleted

    def rekey(self, old: KeyRing) -> int:
        """Seal every record anew, under the present key and with its ids and name carried to it. A kill leaves each of
        the old key or of the new one, and the next call goes on; returns how many were of the old key.

        Raises:
            SecretError: a file is of neither key.
        """
        before, count = Quarantine(self.folder, old), 0
        for name in list(self.names()):
            now = self.keys.carried(USE, name.removesuffix(SUFFIX)) + SUFFIX
            if now == name:
                self._opened(name)
                continue
            content = before._opened(name)
            for field, use in _KEYED.items():
                value = content["record"].get(field)
                if isinstance(value, list):
                    content["record"][field] = sorted(self.keys.carried(use, item) for item in value)
                elif isinstance(value, str):
                    content["record"][field] = self.keys.carried(use, value)
            self._write(now, content)
            (self.folder / name).unlink(missing_ok=True)
            count += 1
        if count:
            sync_folder(self.folder)
        return count

    def _write(self, name: str, content: dict[str, Any]) -> None:
        data = json.dumps(content, ensure_ascii=True, sort_keys=True).encode("ascii")
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder.chmod(0o700)
        draft = self.folder / f".{name}.{os.getpid()}"
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as stream:
            stream.write(self.keys.seal(USE, data, context=name.encode()))
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(self.folder / name)

    def _opened(self, name: str) -> dict[str, Any]:
        try:
            sealed = (self.folder / name).read_bytes()
        except OSError as error:
            raise ArtifactError(
                "cannot be read", str(self.folder / name), "name a file of the report's list"
            ) from error
        try:
            return json.loads(self.keys.unseal(USE, sealed, context=name.encode()))
        except SecretError as error:
            raise SecretError(error.what, str(self.folder / name), error.remedy) from None
