"""Configuration of the validate stage."""

from __future__ import annotations

from pydantic import Field

from domainlm.reports import Settings


class ValidateSettings(Settings):
    """Bounds that are not expectations of the contract, which the domain pack owns (`contracts/`)."""

    min_test_rows: int = Field(default=1, ge=0, description="fewest test rows of each task; 0 asks for none")
    train_only_tasks: tuple[str, ...] = Field(
        default=(), description="tasks that need no test rows (mixed-in general data)"
    )
    ids_shown: int = Field(
        default=10, ge=1, le=100, description="ids that a message or verdict names for each broken expectation"
    )
