"""Folders of safetensors, JSON and text: a base checkpoint, a tokenizer, an adapter."""

from __future__ import annotations

from typing import Any, ClassVar

from zenml.enums import ArtifactType

from domainlm.artifacts import Folder
from domainlm.errors import ArtifactError
from materializers.verified import VerifiedMaterializer

REFUSED_SUFFIXES = frozenset({".bin", ".pkl", ".pickle", ".pt", ".pth", ".ckpt", ".joblib"})


class FolderMaterializer(VerifiedMaterializer):
    """Copies a folder into the store and hands it back in place; refuses formats that run code when they are read."""

    SKIP_REGISTRATION = False
    ASSOCIATED_TYPES: ClassVar[tuple[type, ...]] = (Folder,)
    ASSOCIATED_ARTIFACT_TYPE: ClassVar[ArtifactType] = ArtifactType.MODEL

    def save(self, data: Folder) -> None:
        """Copy the files.

        Raises:
            ArtifactError: one of them is a pickle format (Python's documentation of `pickle`: it can run any code).
        """
        for path in data.path.rglob("*"):
            if path.suffix in REFUSED_SUFFIXES:
                raise ArtifactError("is a pickle format, which is never stored", str(path), "save it as safetensors")
        self.upload(data.path)

    def load(self, data_type: type[Any]) -> Folder:
        """The folder, its digest checked.

        Raises:
            ArtifactError: a file is missing, extra or changed.
        """
        folder = data_type(self.local_folder())
        self.verify(folder)
        return folder

    def digest_of(self, data: Folder) -> str:
        """Canonical digest over all files (see `domainlm.digests.digest_folder`)."""
        return data.digest

    def extract_metadata(self, data: Folder) -> dict[str, Any]:
        """The short texts and figures of the folder's card."""
        return {name: value for name, value in data.card.items() if isinstance(value, str | int | float | bool)}
