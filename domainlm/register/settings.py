"""Settings of the register stage."""

from __future__ import annotations

from pydantic import Field

from domainlm.handling import PUBLIC, Handling
from domainlm.reports import Settings


class RegisterSettings(Settings):
    """Under which name a model is registered, and what it must have shown before."""

    name: str = Field(
        "domainlm-finance", pattern=r"^[\w.-]+$", description="registered model; versions of one name compete"
    )
    alias: str = Field(
        "candidate", pattern=r"^[a-z][\w-]*$", description="alias that moves to the version of the newest run"
    )
    base_handling: Handling = Field(
        PUBLIC, description="handling class of an external base; stricter than public where it is an institution's own"
    )
    experiment: str = Field("domainlm", min_length=1, description="MLflow experiment of the registration's run")
    require_shown: bool = Field(
        False,
        description="refuse a model whose evaluation did not show its headline; false: the verdict is a tag only",
    )
