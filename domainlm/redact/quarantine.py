"""Quarantine: records that could not be made safe, encrypted one by one, for eyes that hold the key."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from domainlm.errors import ArtifactError
from domainlm.keys import KeyRing
from domainlm.records import Record

USE = "quarantine"
SUFFIX = ".sealed"


class Quarantine:
    """A folder of sealed records (AES-256-GCM), mode 0700, its files 0600.

    Args:
        folder: where it lies; created with the first record.
        keys: whose secret seals.
    """

    def __init__(self, folder: Path, keys: KeyRing) -> None:
        self.folder, self.keys = folder, keys

    def store(self, record: Record, reason: str) -> str:
        """Seal a record; returns the name of its file, which is a keyed id and so tells nothing."""
        name = self.keys.keyed_id(USE, record["source"], str(record["row"]), record["id"]) + SUFFIX
        # Escaped JSON: a lone surrogate is one of the reasons to be here, and UTF-8 cannot hold it.
        content = json.dumps({"reason": reason, "record": record}, ensure_ascii=True, sort_keys=True).encode("ascii")
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder.chmod(0o700)
        draft = self.folder / f".{name}.{os.getpid()}"
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as stream:
            stream.write(self.keys.seal(USE, content, context=name.encode()))
        draft.replace(self.folder / name)
        return name

    def reveal(self, name: str) -> dict[str, Any]:
        """A sealed record and the reason code, for a person who decides about it.

        Raises:
            SecretError: it was sealed with another key, or changed.
            ArtifactError: there is no such file.
        """
        try:
            sealed = (self.folder / name).read_bytes()
        except OSError as error:
            raise ArtifactError(
                "cannot be read", str(self.folder / name), "name a file of the report's list"
            ) from error
        return json.loads(self.keys.unseal(USE, sealed, context=name.encode()))
