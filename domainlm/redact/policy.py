"""What redaction takes from a domain pack, read when a run is compiled, so that a changed rule runs again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from domainlm.digests import digest_folder
from domainlm.errors import ConfigurationError
from domainlm.project import resolve
from domainlm.redact.profiles import Profiles

JURISDICTIONS, TAGGER, LABELLED = "jurisdictions", "tagger", "labelled"
TEXTS = "texts.jsonl"


@dataclass(frozen=True)
class Policy:
    """The rules of a pack, and which labelled set it brings.

    Args:
        profiles: the rules by jurisdiction.
        labelled: the labelled set; None where the pack has none.
    """

    profiles: Profiles
    labelled: Path | None

    @classmethod
    def of(cls, content: dict[str, Any]) -> Policy:
        """The policy that `read_policy` read.

        Raises:
            ConfigurationError: tagger or labelled set changed since the run was compiled.
        """
        for name in (TAGGER, LABELLED):
            folder = resolve(content["pack"]) / name
            if _digest(folder) != content[name]:
                raise ConfigurationError(
                    "changed since the run was compiled, or differs on this node", str(folder), "start the run again"
                )
        labelled = resolve(content["pack"]) / LABELLED / TEXTS
        return cls(Profiles.from_json(content["profiles"]), labelled if labelled.is_file() else None)


def read_policy(pack: str) -> dict[str, Any]:
    """The policy of a domain pack as plain JSON: a parameter of the step, and so a part of its cache key.

    Args:
        pack: folder of the pack, relative to the project.

    Raises:
        ConfigurationError: the pack has no jurisdictions, or one of them is faulty.
    """
    folder = resolve(pack) / JURISDICTIONS
    if not folder.is_dir():
        raise ConfigurationError(
            "the domain pack has no jurisdictions",
            str(folder),
            "write one YAML a jurisdiction; see docs/jurisdictions.md",
        )
    return {
        "pack": pack,
        "profiles": Profiles.load(folder).to_json(),
        TAGGER: _digest(resolve(pack) / TAGGER),
        LABELLED: _digest(resolve(pack) / LABELLED),
    }


def _digest(folder: Path) -> str:
    return digest_folder(folder) if folder.is_dir() else ""
