"""What a run was asked for, as whoever starts it knows: its configuration file, and whether values came by hand."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Asked:
    """The run configuration of this process.

    Args:
        file: its path; empty where nobody said.
        overridden: whether values were given by hand, over those of the file.
    """

    file: str = ""
    overridden: bool = False


NOBODY_SAID = Asked(overridden=True)  # whoever runs is then the author of the configuration
_said: list[Asked] = []


def say(asked: Asked) -> None:
    """What the command line calls before it starts a run: it hands ZenML a file with the overrides in it."""
    _said.append(asked)


def asked() -> Asked:
    """What was said last; under `zenml pipeline run -c FILE`, which asks nobody, what stands in its own arguments."""
    if _said:
        return _said[-1]
    if Path(sys.argv[0]).name == "zenml":
        for flag, value in zip(sys.argv, sys.argv[1:], strict=False):
            if flag in ("-c", "--config"):
                return Asked(str(Path(value).resolve()))
    return NOBODY_SAID
