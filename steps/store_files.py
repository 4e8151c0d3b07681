"""Files below the root of ZenML's artifact store, for what is evidence and no artifact."""

from __future__ import annotations

import os
from typing import Any

from zenml.artifact_stores import LocalArtifactStore
from zenml.client import Client


class StoreFiles:
    """Files below the root of an artifact store.

    Args:
        store: ZenML's artifact store; the active stack's by default.
    """

    def __init__(self, store: Any = None) -> None:
        self._store = Client().active_stack.artifact_store if store is None else store

    def read(self, path: str, most_bytes: int) -> bytes:
        """The first bytes of a file.

        Raises:
            FileNotFoundError: there is none.
        """
        place = self._place(path)
        if not self._store.exists(place):
            raise FileNotFoundError(path)
        with self._store.open(place, "rb") as source:
            return source.read(most_bytes)

    def write(self, path: str, data: bytes) -> None:
        """Write a file; an object store shows it whole or not at all."""
        place = self._place(path)
        if isinstance(self._store, LocalArtifactStore):
            self._store.makedirs(os.path.dirname(place))
        with self._store.open(place, "wb") as sink:
            sink.write(data)

    def names(self, folder: str) -> list[str]:
        """Names of the files in a folder; none where there is no such folder."""
        if (listed := getattr(self._store, "filesystem", None)) is not None:
            listed.invalidate_cache()  # s3fs remembers listings, and a collector lives for weeks
        place = self._place(folder)
        if not self._store.exists(place):
            return []
        found = self._store.listdir(place)
        names = (name.decode(errors="replace") if isinstance(name, bytes) else name for name in found)
        return sorted(name.rstrip("/") for name in names)  # folders of an object store end so

    def _place(self, path: str) -> str:
        return os.path.join(self._store.path, path)
