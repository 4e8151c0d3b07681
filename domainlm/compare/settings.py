"""An experiment: one question, several ways of training, the same data and budget, several seeds."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from domainlm.reports import Settings

CLAIM_SEEDS = 5  # fewer seeds say too little of how much the seed moves a figure


class Variant(Settings):
    """One way of training: what it changes of the run configuration's recipe."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", description="names its steps and its row in the tables")
    title: str = Field("", description="what a reader calls it; the name unless given")
    train: dict[str, Any] = Field(default_factory=dict, description="keys of steps.train.parameters that it changes")
    vocabulary: dict[str, Any] = Field(
        default_factory=dict, description="keys of steps.vocabulary.parameters that it changes"
    )
    x: float | None = Field(None, description="its place on the axis of a sweep (a ratio, a number of steps)")

    @property
    def label(self) -> str:
        """What tables and plots call it."""
        return self.title or self.name


class Experiment(Settings):
    """What is asked, and how the answer is measured."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", description="names its page")
    question: str = Field(min_length=10, description="the question in one sentence; it heads the page")
    variants: tuple[Variant, ...] = Field(min_length=1, description="the ways of training that are compared")
    reference: str = Field("base", description="what gains are counted over: base, or a variant's name")
    seeds: tuple[int, ...] = Field((0, 1, 2, 3, 4), min_length=1, description="every variant is trained once a seed")
    evaluate: dict[str, Any] = Field(
        default_factory=dict, description="keys of steps.evaluate.parameters that the experiment changes"
    )
    general_tasks: tuple[str, ...] = Field(
        ("general",), description="tasks that forgetting is measured on, where the base is above chance"
    )
    retention: bool = Field(
        True, description="also measure bits per character on documents that the base was held out from"
    )
    retention_characters: int = Field(20_000, ge=1000, description="characters of those documents")
    sweep: str = Field("", description="what `x` of the variants means, with its unit; empty: no sweep")
    confidence: float = Field(0.95, gt=0.5, lt=1, description="level of every interval")
    resamples: int = Field(2000, ge=1000, description="draws of groups and seeds")
    min_groups: int = Field(10, ge=2, description="fewer independent groups of items carry no claim")

    @model_validator(mode="after")
    def _consistent(self) -> Experiment:
        names = [variant.name for variant in self.variants]
        faults = []
        if len(set(names)) != len(names):
            faults.append("two variants have one name")
        if "base" in names:
            faults.append("'base' is the model before training: give the variant another name")
        if self.reference not in ("base", *names):
            faults.append(f"reference '{self.reference}' is neither base nor a variant")
        if len(set(self.seeds)) != len(self.seeds):
            faults.append("a seed stands there twice")
        if self.sweep and any(variant.x is None for variant in self.variants):
            faults.append("a sweep needs `x` in every variant")
        if faults:
            raise ValueError("; ".join(faults))
        return self

    def variant(self, name: str) -> Variant:
        """A variant by its name."""
        return next(variant for variant in self.variants if variant.name == name)
