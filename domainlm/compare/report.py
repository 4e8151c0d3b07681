"""What a comparison reports: quality over seeds, what was forgotten, what each way of training cost."""

from __future__ import annotations

from typing import Any

from domainlm.compare.settings import Experiment
from domainlm.reports import Report

BASE = "base"


class Figure(Report):
    """A score over items and seeds, with an interval for both; `by_seed` shows how much the seed alone moves it."""

    value: float
    low: float
    high: float
    by_seed: list[float]

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


class Gain(Report):
    """The difference to the reference.

    Fields:
        verdict: shown where the interval keeps clear of zero and the better of the two beats the majority answer, over
            enough seeds and groups.
    """

    value: float
    low: float
    high: float
    verdict: str


class TaskRow(Report):
    """One task on one source; `scores` and `gains` are by variant, the base included."""

    task: str
    source: str
    metric: str
    items: int
    groups: int
    scores: dict[str, Figure]
    gains: dict[str, Gain]
    chance: float


class Forgetting(Report):
    """What training took from the base on one measure; `lost` is positive where it became worse, in its unit."""

    measure: str
    assessable: bool
    reason: str
    base: float
    chance: float
    lost: dict[str, Gain]


class Resources(Report):
    """What one variant cost, as medians over its seeds; None where nothing measured it.

    Fields:
        peak_gb: the GPU allocator's peak. A CPU has no such counter: one process trains all variants there.
        planned_gb: what the memory planner expected of the training.
    """

    trainable_parameters: int
    steps: int
    seconds: float | None
    tokens_per_second: float | None
    peak_gb: float | None
    planned_gb: float | None
    energy_kwh: float | None
    cost: float | None


class ComparisonReport(Report):
    """The answer to an experiment."""

    experiment: Experiment
    rows: list[TaskRow]
    forgetting: list[Forgetting]
    resources: dict[str, Resources]
    curves: dict[str, list[dict[str, float]]]
    notes: list[str]

    def summary(self) -> dict[str, Any]:
        """The first task's figures, for the artifact's metadata."""
        found: dict[str, Any] = {"experiment": self.experiment.name, "seeds": len(self.experiment.seeds)}
        for row in self.rows:
            found |= {f"{row.task}.{row.source}.{name}": str(figure) for name, figure in row.scores.items()}
        return found

    def ordered(self, found: dict[str, Any]) -> list[str]:
        """The base and the variants in the experiment's order: stored JSON has its keys sorted."""
        return [name for name in (BASE, *(variant.name for variant in self.experiment.variants)) if name in found]

    def html(self) -> str:
        """One self-contained page with plots."""
        from domainlm.compare.page import page

        return page(self)
