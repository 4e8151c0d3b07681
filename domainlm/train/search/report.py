"""What a search found: every trial with its values and score, the chosen values, and how to apply them."""

from __future__ import annotations

from html import escape
from typing import Any

from pydantic import BaseModel, ConfigDict

from domainlm.errors import TrainingError
from domainlm.reports import Report
from domainlm.train.search.settings import SearchSettings
from domainlm.train.settings import TrainSettings

COMPLETE, PRUNED, FAILED = "complete", "pruned", "failed"
STYLE = """
body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:64rem;padding:0 1rem;color:#1b1f24}
table{border-collapse:collapse;margin:.5rem 0 1.5rem}img{max-width:100%}
td,th{border-bottom:1px solid #d8dee4;padding:.25rem .7rem;text-align:left;vertical-align:top}
tr.best{background:#f0f6ff;font-weight:600}
"""


class TrialReport(BaseModel):
    """One trial: its values, how far it came, and what it scored on the development split."""

    model_config = ConfigDict(extra="forbid")

    number: int
    values: dict[str, Any]
    state: str  # complete, pruned or failed
    score: float | None  # of a complete trial
    looks: list[tuple[int, float]]  # (optimizer step, score) of each look at the development split
    reason: str  # why it failed, or whose outcome it repeats


class SearchReport(Report):
    """The outcome of a search. Without a bound in minutes, equal inputs give an equal report."""

    settings: SearchSettings
    metric: str
    maximize: bool
    chosen_trial: int
    chosen: dict[str, Any]
    score: float
    first_score: float  # of the first complete trial
    trials: list[TrialReport]
    points: int | None  # combinations of a grid
    ended: str  # why no further trial was begun
    importance: dict[str, float]  # share of the score's variance by key (fANOVA); empty with too few trials

    def apply(self, recipe: TrainSettings) -> TrainSettings:
        """The recipe with the chosen values.

        Raises:
            TrainingError: the search was about another recipe.
        """
        if recipe != self.settings.recipe:
            theirs = self.settings.recipe.model_dump()
            other = [name for name, value in recipe.model_dump().items() if value != theirs[name]]
            raise TrainingError(
                f"the search was about another recipe: {', '.join(other)}",
                "steps.search.parameters.recipe",
                "give search and train the same recipe by a YAML anchor; configs/search.yaml shows how",
            )
        return self.settings.applied(self.chosen)

    def states(self) -> dict[str, int]:
        """How many trials ended in each state."""
        return {state: sum(trial.state == state for trial in self.trials) for state in (COMPLETE, PRUNED, FAILED)}

    def summary(self) -> dict[str, Any]:
        """The few figures for card and metadata, each chosen value among them."""
        chosen = {f"chosen_{name}": value if _flat(value) else str(value) for name, value in self.chosen.items()}
        counts = {f"trials_{state}": count for state, count in self.states().items()}
        return (
            {
                "sampler": self.settings.sampler,
                "pruner": self.settings.pruner,
                "metric": self.metric,
                "score": self.score,
                "first_score": self.first_score,
                "ended": self.ended,
            }
            | counts
            | chosen
        )

    def html(self) -> str:
        """A page with the plots and every trial; it needs nothing but itself."""
        from domainlm.train.search.plots import images

        names = list(self.settings.space)
        head = "".join(f"<th>{escape(name)}</th>" for name in ("trial", *names, "state", self.metric, "reason"))
        plots = "".join(f'<p><img alt="{name}" src="{data}"></p>' for name, data in images(self).items())
        rows = "".join(self._row(trial, names) for trial in self.trials)
        return (
            f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Search</title><style>{STYLE}</style>'
            f"<h1>Search</h1><p>{escape(self.settings.sampler)}, pruner {escape(self.settings.pruner)}; "
            f"{len(self.trials)} trials; ended: {escape(self.ended)}. Scores are of the development split, on which "
            f"the values were chosen: they flatter. The test split was not seen.</p>{plots}"
            f"<table><tr>{head}</tr>{rows}</table></html>"
        )

    def _row(self, trial: TrialReport, names: list[str]) -> str:
        score = "" if trial.score is None else f"{trial.score:.5g}"
        cells = [trial.number, *(trial.values.get(name, "") for name in names), trial.state, score, trial.reason]
        best = ' class="best"' if trial.number == self.chosen_trial else ""
        return f"<tr{best}>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in cells) + "</tr>"


def _flat(value: Any) -> bool:
    return isinstance(value, str | int | float | bool)
