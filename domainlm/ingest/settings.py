"""Configuration of the ingest stage."""

from __future__ import annotations

from pydantic import Field, field_validator

from domainlm.reports import Settings
from domainlm.sources import SourceSettings


class IngestSettings(Settings):
    """Which sources a run reads."""

    sources: tuple[SourceSettings, ...] = Field(
        default=(), description="one entry a file or set of equal files; a retraining may live on what lands alone"
    )
    split_salt: str = Field(
        default="domainlm-1", min_length=1, description="another salt gives another split of the groups"
    )
    allow_conflicting_answers: bool = Field(
        default=False, description="true lets one question have several answers within a source"
    )

    @field_validator("sources")
    @classmethod
    def _names_differ(cls, sources: tuple[SourceSettings, ...]) -> tuple[SourceSettings, ...]:
        names = [source.name for source in sources]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two sources are called '{name}': rename one of them")
        return sources
