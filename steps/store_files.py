"""Files below the root of ZenML's artifact store, for what is evidence and no artifact."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from traceback import walk_tb
from typing import Any

from zenml.artifact_stores import LocalArtifactStore
from zenml.client import Client

from domainlm.errors import ArtifactError, DomainLMError

_OWN = {"domainlm", "steps", "pipelines", "materializers", "cli"}
_CLIENTS = {"zenml", "requests", "urllib3", "s3fs", "gcsfs", "adlfs", "fsspec", "botocore", "aiobotocore", "aiohttp",
            "sqlalchemy"}  # fmt: skip


@contextmanager
def reading(run: str) -> Iterator[None]:
    """Whatever a server's or a store's client raises becomes one error of ours: its own text may name what it was
    asked for. A fault of this package's own code passes as it is: it will not be better later.

    Args:
        run: what is read about.

    Raises:
        ArtifactError: ZenML's server or the store cannot be read.
    """
    try:
        yield
    except DomainLMError:
        raise
    except Exception as error:
        if not _of_a_client(error):
            raise
        what = f"ZenML's server or the artifact store of the run cannot be read ({type(error).__name__})"
        raise ArtifactError(what, run, "collect it again later") from None


def _of_a_client(error: Exception) -> bool:
    """Whether a client, or the system, raised it: of the frames of clients and of our own, the innermost decides."""
    if isinstance(error, OSError):
        return True
    rooms = [frame.f_globals.get("__name__", "").partition(".")[0] for frame, _ in walk_tb(error.__traceback__)]
    return next((room in _CLIENTS for room in reversed(rooms) if room in _CLIENTS | _OWN), False)


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
