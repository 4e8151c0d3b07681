"""An artifact version as erasure and retention see it: files in a store, which may be read, deleted and marked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import BinaryIO, Protocol

from domainlm.artifacts import TOMBSTONE
from domainlm.digests import canonical_json


@dataclass(frozen=True)
class Version:
    """One artifact version.

    Args:
        id: the store's own.
        name: of the artifact ("prepared_records").
        digest: content digest.
        place: where its files lie, as the store names it.
        created: day, ISO 8601.
    """

    id: str
    name: str
    digest: str
    place: str
    created: str


class Store(Protocol):
    """The artifact store of a project; `steps.stored` has ZenML's."""

    def versions(self) -> Iterable[Version]:
        """Every version, the oldest first."""

    def files(self, version: Version) -> Iterator[str]:
        """The files of a version; none where they are gone."""

    def open(self, version: Version, file: str) -> BinaryIO:
        """One of its files."""

    def erase(self, version: Version, tombstone: bytes) -> None:
        """Delete its files and leave a tombstone; after a kill, calling again finishes."""

    def forget_caches(self, versions: Iterable[Version]) -> int:
        """See to it that no cached step hands one of these on, and delete the work of every step that read one.

        Returns:
            How many work folders were deleted.
        """


def is_erased(store: Store, version: Version) -> bool:
    """Whether nothing but a tombstone is left of it."""
    return [Path(file).name for file in store.files(version)] == [TOMBSTONE]


def tombstone(kind: str, act: str, version: Version, day: date) -> bytes:
    """What lies in the place of deleted data: which act deleted them (the subject of its entry), never whose.

    Args:
        kind: `erasure` or `retention` (`domainlm.ledger.entries`).
        act: SHA-256 that the entry names as its subject.
        version: what was deleted.
        day: when.
    """
    return canonical_json(
        {"kind": kind, "act": act, "artifact": version.name, "digest": version.digest, "day": day.isoformat()}
    )
