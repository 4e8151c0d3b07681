"""What differs between two model versions, as their manifests state it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from domainlm.ledger.run.manifest import RunManifest

ABSENT = None


@dataclass(frozen=True)
class Row:
    """One field that differs; None stands for a side that lacks it."""

    name: str
    before: str | None
    after: str | None


def differences(before: RunManifest, after: RunManifest) -> dict[str, list[Row]]:
    """Section -> its fields that differ, in order of name.

    Sections: `model`, `data`, `parameters`, `code`, `configuration`, `metrics`, `verdicts`, `hardware`, `environment`.
    """
    sections = {
        "model": lambda run: (run.model.digests | {"licences": run.model.licences, "handling": run.model.handling}
                              if run.model else {}),
        "data": lambda run: {source.name: source.model_dump(exclude={"name"}) for source in run.sources},
        "parameters": lambda run: {step.name: step.parameters | {"chosen": step.chosen} for step in run.steps},
        "code": lambda run: run.code | {"steps": {step.name: step.code for step in run.steps}},
        "configuration": lambda run: run.configuration,
        "metrics": lambda run: run.metrics,
        "verdicts": lambda run: run.verdicts,
        "hardware": lambda run: run.hardware,
        "environment": lambda run: run.environment | {"base": run.base},
    }  # fmt: skip
    return {name: list(_rows(flat(read(before)), flat(read(after)))) for name, read in sections.items()}


def _rows(before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[Row]:
    for name in sorted(before.keys() | after.keys()):
        if before.get(name) != after.get(name):
            yield Row(name, before.get(name, ABSENT), after.get(name, ABSENT))


def flat(value: Any, name: str = "") -> dict[str, str]:
    """Nested mappings and lists as one mapping: the path of each leaf, joined by " › ", to its text."""
    if isinstance(value, Mapping):
        pairs = [(str(key), item) for key, item in value.items()]
    elif isinstance(value, list | tuple) and any(isinstance(item, Mapping | list) for item in value):
        pairs = [(str(place), item) for place, item in enumerate(value)]
    else:
        if isinstance(value, list | tuple):
            value = ", ".join(str(item) for item in value)
        return {name: str(value)}
    found: dict[str, str] = {}
    for key, item in pairs:
        found |= flat(item, f"{name} › {key}" if name else key)
    return found
