"""The common shape of what stages report: typed, JSON, without any raw value of the data."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from domainlm.digests import digest_json


class Report(BaseModel):
    """A typed report of one stage. Subclasses hold counts, rates, keyed ids and digests, never text of the data."""

    model_config = ConfigDict(extra="forbid")

    def summary(self) -> dict[str, Any]:
        """The few figures that the run's card and the artifact's metadata show: flat, JSON types only."""
        return {
            name: value
            for name, value in self.model_dump(mode="json").items()
            if isinstance(value, str | int | float | bool)
        }

    @property
    def digest(self) -> str:
        """SHA-256 of the report's canonical JSON (RFC 8785)."""
        return digest_json(self.model_dump(mode="json"))


class Settings(BaseModel):
    """The base of every stage's configuration: unknown keys are errors, values are checked, instances do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())
