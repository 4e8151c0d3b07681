"""Settings of the evaluate stage."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from domainlm.reports import Settings

MAJORITY, TFIDF, FEW_SHOT, BASE, CLOZE, TUNED = "majority", "TF-IDF", "few-shot base", "base", "base by cloze", "tuned"
SHUFFLED, SCRATCH = "shuffled labels", "from scratch"  # also the names of the controls that `evaluate` takes
PROBE = "linear probe"  # of encoders alone

System = Literal[
    "majority", "TF-IDF", "few-shot base", "base", "base by cloze", "tuned", "shuffled labels", "from scratch",
    "linear probe",
]  # fmt: skip
SYSTEMS: tuple[System, ...] = (MAJORITY, TFIDF, FEW_SHOT, BASE, CLOZE, SHUFFLED, SCRATCH, TUNED)
COLUMNS: tuple[System, ...] = (MAJORITY, TFIDF, PROBE, *SYSTEMS[2:])


class ScoringSettings(Settings):
    """How items are scored and how far the figures reach; what evaluation, contest and probe share."""

    max_items: int | None = Field(
        None,
        gt=0,
        description="at most so many items a task and source, drawn by a seeded hash of source and row; None: all",
    )
    batch: int = Field(32, gt=0, description="rows a forward pass; more is faster and takes more memory")
    threads: int = Field(2, gt=0, description="CPU threads of the models; part of what a score's last digits depend on")
    seed: int = Field(
        1, ge=0, description="seed of the resampling, of the few-shot examples and of the choice of items"
    )
    resamples: int = Field(
        2000, ge=1000, description="bootstrap resamples of whole groups; more gives steadier interval ends"
    )
    confidence: float = Field(
        0.95, gt=0.5, lt=1, description="level of each interval; higher makes a claim harder to show"
    )
    min_groups: int = Field(
        10,
        ge=2,
        description="fewer independent groups give no verdict: a bootstrap over few groups is too narrow",
    )


class ContestSettings(ScoringSettings):
    """Champion against challenger: on what, and which loss is still borne. The rule stands in `contest.RULE`."""

    tasks: tuple[str, ...] = Field((), description="tasks to compare on; empty: every task that has test rows")
    tolerance: float = Field(
        0.05,
        ge=0,
        lt=1,
        description="a loss on the task's first metric that is still borne; a loss beyond it must be excluded by the"
        " interval, else the contest is not assessable",
    )


class ProbeSettings(ScoringSettings):
    """The champion's score on labelled rows that it never saw."""

    tasks: tuple[str, ...] = Field((), description="tasks to probe; empty: every task that has rows")


class EvaluateSettings(ScoringSettings):
    """What is scored, how, and what counts as shown."""

    split: Literal["test", "dev"] = Field(
        "test", description="part that is scored; dev is for choosing settings, test for reporting"
    )
    tasks: tuple[str, ...] = Field(
        (), description="tasks to score; empty means every task of the pack, each of which needs rows then"
    )
    systems: tuple[System, ...] = Field(
        COLUMNS,
        min_length=1,
        description="columns of the report; a verdict needs base, tuned and shuffled labels (an encoder that has no"
        " head of its own for the task: linear probe in place of base)",
    )
    apart_sources: tuple[str, ...] = Field(
        (), description="sources with a row and verdict of their own that no claim rests on (a lexicon-disjoint part)"
    )
    side_by_side: int = Field(
        2, ge=0, description="test items a task whose answers are printed beside the task's fixed prompts"
    )
