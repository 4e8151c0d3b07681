"""What all materializers share: the digest check on load, and the way between an artifact store and this disk."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from zenml.artifact_stores import LocalArtifactStore
from zenml.materializers.base_materializer import BaseMaterializer

from domainlm.artifacts import TOMBSTONE
from domainlm.errors import ArtifactErased, ArtifactError
from domainlm.project import home

COPY_BYTES = 1 << 20


class VerifiedMaterializer(BaseMaterializer):
    """A materializer whose `load` refuses content that differs from the digest stored with the artifact version."""

    SKIP_REGISTRATION = True

    def digest_of(self, data: Any) -> str:
        """The canonical content digest of an artifact's value."""
        raise NotImplementedError

    def compute_content_hash(self, data: Any) -> str:
        """What ZenML stores beside the artifact version and puts into the cache key of every step that reads it."""
        return self.digest_of(data)

    def verify(self, data: Any) -> None:
        """Compare a loaded value with the digest that ZenML's store holds for it.

        Raises:
            ArtifactError: the stored files were changed after the step that made them.
        """
        expected = self.expected_content_hash
        if expected and self.digest_of(data) != expected:
            raise ArtifactError(
                "was changed after it was stored: its content no longer has the digest of the artifact version",
                self.uri,
                "find out who changed it; a run with `--fresh` makes it anew",
            )

    def refuse_erased(self) -> None:
        """Say what became of an artifact whose data were deleted, rather than that files are missing.

        Raises:
            ArtifactErased: by an erasure or by retention, as the tombstone in its place says.
        """
        path = os.path.join(self.uri, TOMBSTONE)
        if not self.artifact_store.exists(path):
            return
        with self.artifact_store.open(path, "rb") as source:
            stone = json.loads(source.read())
        raise ArtifactErased(
            f"its data were deleted on the record ({stone['kind']} {stone['act'][:16]}, {stone['day']})",
            self.uri,
            "the ledger says why: `domainlm audit verify`; a new run makes what may still be made",
        )

    def upload(self, folder: Path) -> None:
        """Copy a folder's files into the artifact's place; the folder itself stays as it is."""
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            target = os.path.join(self.uri, file.relative_to(folder).as_posix())
            self.artifact_store.makedirs(os.path.dirname(target))
            with open(file, "rb") as source, self.artifact_store.open(target, "wb") as sink:
                shutil.copyfileobj(source, sink, COPY_BYTES)

    def local_folder(self) -> Path:
        """The artifact's files on this machine: in place for a local store, else in a cache keyed by content digest.

        The cache means that a step which loads an artifact twice fetches it once, and that no temporary folder leaks.

        Raises:
            ArtifactErased: its data were deleted on the record.
        """
        self.refuse_erased()
        if isinstance(self.artifact_store, LocalArtifactStore):
            return Path(self.uri)
        cached = home() / "cache" / "artifacts" / (self.expected_content_hash or self.uri.rsplit("/", 1)[-1])
        if not cached.is_dir():
            draft = cached.with_name(f"{cached.name}.{os.getpid()}.draft")
            self._download(draft)
            try:
                os.replace(draft, cached)
            except OSError:  # another process was first; its copy has the same digest
                shutil.rmtree(draft)
        return cached

    def _download(self, target: Path) -> None:
        for folder, _, names in self.artifact_store.walk(self.uri):
            folder = folder.decode() if isinstance(folder, bytes) else folder
            inside = target / os.path.relpath(folder, self.uri)
            inside.mkdir(parents=True, exist_ok=True)
            for name in names:
                name = name.decode() if isinstance(name, bytes) else name
                with (
                    self.artifact_store.open(os.path.join(folder, name), "rb") as source,
                    open(inside / name, "wb") as sink,
                ):
                    shutil.copyfileobj(source, sink, COPY_BYTES)
