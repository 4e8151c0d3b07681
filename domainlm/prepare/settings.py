"""Configuration of the prepare stage."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from domainlm.reports import Settings


class PrepareSettings(Settings):
    """How records are cleaned and split."""

    test_fraction: float = Field(
        default=0.2, ge=0, lt=1, description="share of the groups that is held out for evaluation"
    )
    dev_fraction: float = Field(
        default=0.05, ge=0, lt=1, description="share of the groups for early stopping and choices"
    )
    near_duplicate_threshold: float = Field(
        default=0.85,
        gt=0,
        le=1,
        description="Jaccard similarity from which two prompts count as one; 1 keeps all but exact copies",
    )
    shingle_words: int = Field(default=3, ge=1, le=10, description="words a shingle; more make near duplicates rarer")
    permutations: int = Field(
        default=128, ge=16, le=512, description="length of a MinHash signature; more find more and cost time"
    )
    seed: int = Field(default=1, ge=0, description="of the MinHash permutations")
    conflicting_labels: Literal["drop", "first"] = Field(
        default="drop", description="what becomes of a text with two labels: all copies go, or the first one stays"
    )
    max_label_disagreement: float = Field(
        default=0.1,
        ge=0,
        le=1,
        description="share of texts with another label, between two sources or within one, that stops the run",
    )
    template_rows: int = Field(
        default=10, ge=1, description="an n-gram in more training rows than this is a phrase of the form and no leak"
    )
    require_pretraining_ngrams: bool = Field(
        default=False, description="true stops the run when the base does not say what it was pre-trained on"
    )

    @model_validator(mode="after")
    def _something_to_train_on(self) -> PrepareSettings:
        if self.test_fraction + self.dev_fraction >= 1:
            raise ValueError("test_fraction and dev_fraction leave nothing to train on: their sum must be below 1")
        return self
