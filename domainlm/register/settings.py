"""Settings of the register stage."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from domainlm.handling import PUBLIC, Handling
from domainlm.reports import Settings
from domainlm.risk import HIGHEST, Tier

CHAMPION = "champion"  # the alias that `domainlm promote` alone gives


def _no_champion(alias: str) -> str:
    if alias == CHAMPION:
        raise ValueError("a version becomes the champion by `domainlm promote` alone, after its approval")
    return alias


class RegisterSettings(Settings):
    """Under which name a model is registered, and what it must have shown before."""

    name: str = Field(
        "domainlm-finance", pattern=r"^[\w.-]+$", description="registered model; versions of one name compete"
    )
    alias: Annotated[str, AfterValidator(_no_champion)] = Field(
        "candidate", pattern=r"^[a-z][\w-]*$", description="alias that moves to the version of the newest run"
    )
    base_handling: Handling = Field(
        PUBLIC, description="handling class of an external base; stricter than public where it is an institution's own"
    )
    tier: Tier = Field(
        HIGHEST,
        description="risk tier, 1 (highest) to 3: a standing approval promotes only models of the tiers that it covers",
    )
    experiment: str = Field("domainlm", min_length=1, description="MLflow experiment of the registration's run")
    require_shown: bool = Field(
        False,
        description="refuse a model whose evaluation did not show its headline; false: the verdict is a tag only",
    )
