"""ZenML's artifact versions as files to search, delete and mark (`domainlm.audit.erasure.stored.Store`)."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, BinaryIO
from uuid import UUID

from zenml.artifacts.utils import load_artifact_store
from zenml.client import Client
from zenml.models import StepRunUpdate
from zenml.utils.pagination_utils import depaginate

from domainlm.artifacts import TOMBSTONE
from domainlm.audit.erasure.stored import Version
from domainlm.project import home


class ZenMLStore:
    """All artifact stores that the project's ZenML store knows versions in."""

    def __init__(self) -> None:
        self._store_of: dict[str, UUID] = {}

    def versions(self) -> Iterator[Version]:
        """Every version of this project, the oldest first."""
        for found in sorted(depaginate(Client().list_artifact_versions, hydrate=True), key=lambda one: one.created):
            self._store_of[str(found.id)] = found.artifact_store_id
            yield Version(
                str(found.id), found.artifact.name, str(found.content_hash or ""), found.uri,
                found.created.date().isoformat(),
            )  # fmt: skip

    def files(self, version: Version) -> Iterator[str]:
        """Whole paths of its files."""
        store = self._store(version)
        if store.exists(version.place):
            for folder, _, names in store.walk(version.place):
                yield from (os.path.join(_text(folder), _text(name)) for name in sorted(names, key=_text))

    def open(self, version: Version, file: str) -> BinaryIO:
        """One of its files, for reading."""
        return self._store(version).open(file, "rb")

    def erase(self, version: Version, tombstone: bytes) -> None:
        """The tombstone comes first: whoever loads the version meanwhile is told the truth."""
        store, stone = self._store(version), os.path.join(version.place, TOMBSTONE)
        store.makedirs(version.place)
        with store.open(stone, "wb") as sink:
            sink.write(tombstone)
        for file in list(self.files(version)):
            if file != stone:
                store.remove(file)
        shutil.rmtree(home() / "cache" / "artifacts" / version.digest, ignore_errors=True)

    def forget_caches(self, versions: Iterable[Version]) -> int:
        """Steps that made one of these serve no more as cached; work folders of steps that read one go, and those of
        steps that ZenML does not know."""
        gone, kept = {UUID(version.id) for version in versions}, set()
        for step in depaginate(Client().list_run_steps, hydrate=True):
            if any(found.id in gone for versions in step.outputs.values() for found in versions):
                Client().zen_store.update_run_step(step.id, StepRunUpdate(cache_expires_at=datetime.now(UTC)))
            if not any(found.id in gone for versions in step.inputs.values() for found in versions):
                kept.add(home() / "work" / step.name / str(step.cache_key))
        doomed = {path for path in (home() / "work").glob("*/*") if path.is_dir()} - kept
        for work in doomed:
            shutil.rmtree(work)
        return len(doomed)

    def _store(self, version: Version) -> Any:
        return load_artifact_store(self._store_of[version.id])


def _text(name: str | bytes) -> str:
    return name.decode() if isinstance(name, bytes) else name
