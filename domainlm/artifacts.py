"""Artifacts that are folders: a base checkpoint, a tokenizer, an adapter. Each has a canonical content digest."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from domainlm.digests import digest_folder
from domainlm.errors import ArtifactError

CARD_FILE = "domainlm.json"
TOMBSTONE = "erased.json"  # lies in the place of an artifact whose data were deleted on the record


@dataclass(frozen=True)
class Folder:
    """A folder with a small JSON card (`domainlm.json`) that says what it is.

    Args:
        path: the folder; safetensors, JSON and text files only (no pickle).
    """

    path: Path

    @property
    def digest(self) -> str:
        """Canonical content digest of the folder (see `domainlm.digests.digest_folder`)."""
        return digest_folder(self.path)

    @property
    def card(self) -> dict[str, Any]:
        """What the stage that made the folder says of it.

        Raises:
            ArtifactError: the card is missing or malformed, so the folder was not finished.
        """
        try:
            return json.loads((self.path / CARD_FILE).read_text())
        except (OSError, ValueError) as error:
            remedy = "let the step that made it run again"
            raise ArtifactError("has no readable card", str(self.path), remedy) from error

    def write_card(self, **content: Any) -> None:
        """Write the card; call it last, since a folder without a card counts as unfinished."""
        (self.path / CARD_FILE).write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")

    @property
    def absent(self) -> str:
        """Why there is nothing here but the card, as where a run has no champion to compare with; else empty."""
        return self.card.get("absent", "")

    @classmethod
    def nothing(cls, path: Path, why: str) -> Self:
        """A folder that stands for one that there is not: a pipeline whose steps are fixed hands on something."""
        path.mkdir(parents=True, exist_ok=True)
        found = cls(path)
        found.write_card(absent=why)
        return found


class TokenizerFolder(Folder):
    """A tokenizer, extended by domain terms. Card: `new_tokens` {token: [ids of its sub-tokens]}, `base_digest`."""


class AdapterFolder(Folder):
    """A trained adapter (or, for method `full`, whole weights). Card: `method`, `base_digest`, `tokenizer_digest`."""


class BaseCheckpoint(Folder):
    """A base model with its tokenizer.

    Card: `name`, `architecture`, `licence`, `external`, `location`, `revision`, `digest`. An external base (a hub id or
    a local path) is referred to, not copied: its folder holds the card alone, whose `location` and `digest` name the
    files.
    """

    @property
    def model_path(self) -> Path:
        """The folder that holds weights and tokenizer."""
        return Path(self.card["location"]) if self.card.get("external") else self.path
