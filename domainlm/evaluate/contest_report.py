"""What a contest of champion and challenger reports, and the rule by which it ends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from domainlm.evaluate.report import Estimate
from domainlm.reports import Report
from domainlm.risk import BETTER, EQUAL, NO_CHAMPION, NOT_ASSESSABLE, WORSE

OLD, NEW = "old", "new"
Outcome = Literal["better", "equal", "worse", "not-assessable", "no-champion"]
RULE = (
    "Each task is compared on its old and on its new test rows by its first metric. A part is better where the gain's "
    "interval lies above zero; else equal where it excludes a loss of more than the tolerance; else worse where the "
    "loss itself is beyond the tolerance, or its interval below zero; all else, and fewer groups than needed, is not "
    "assessable. The whole is worse where any part is; else not assessable where any part is, or where a task got new "
    "rows of which none is a test row; else better where any part is; else equal."
)


class ContestRow(Report):
    """One task on its old or its new test rows.

    Fields:
        metric: the task's first one.
        groups: how many independent groups the rows fall into; the intervals resample these.
        gain: challenger's score over the champion's on the same rows; positive is better whatever the metric.
    """

    task: str
    version: int
    part: Literal["old", "new"]
    metric: str
    items: int
    groups: int
    champion: Estimate | None = None
    challenger: Estimate | None = None
    gain: Estimate | None = None
    verdict: Outcome
    reason: str


class TaskScore(Report):
    """Both on all test rows of a task, old and new: what a later probe of the champion is compared with.

    Fields:
        rising: the metric lies in [0, 1] and more is better, as a threshold for its decay supposes.
    """

    metric: str
    items: int
    groups: int
    rising: bool
    challenger: Estimate | None = None
    champion: Estimate | None = None


class ContestReport(Report):
    """Champion against challenger on the same rows.

    Fields:
        champion: identity of the champion that it was held against; empty where there is none.
        tolerance: loss that is borne, in units of each task's metric.
        min_groups: a part with fewer independent groups has no verdict.
        overall: by task.
        feeds: by feed and task, on the feed's own test rows, old and new: a feed is harder or easier than other text.
        digests: of data, and of both systems' base, tokenizer and adapter.
    """

    verdict: Outcome
    reason: str
    champion: str = ""
    tolerance: float
    min_groups: int = 0
    confidence: float
    resamples: int
    rule: str = RULE
    rows: list[ContestRow]
    overall: dict[str, TaskScore]
    feeds: dict[str, dict[str, TaskScore]] = Field(default_factory=dict)
    digests: dict[str, str]

    def summary(self) -> dict[str, Any]:
        """Verdict, why, against whom, how it was judged (what an approval in advance bounds), verdict of every part."""
        by = {
            "tolerance": self.tolerance, "min_groups": self.min_groups, "confidence": self.confidence,
            "tasks": ", ".join(dict.fromkeys(row.task for row in self.rows)),
        }  # fmt: skip
        told = {f"{row.task}, {row.part}": f"{row.verdict}, {row.items} rows" for row in self.rows}
        return {"verdict": self.verdict, "reason": self.reason, "champion": self.champion} | by | told

    def estimates(self) -> dict[str, Estimate]:
        """Every score as `contest/PART/TASK/champion`, `.../challenger` and `.../gain`."""
        return {
            f"contest/{row.part}/{row.task}/{name}": found
            for row in self.rows
            for name in ("champion", "challenger", "gain")
            if (found := getattr(row, name)) is not None
        }

    def metrics(self) -> dict[str, float]:
        """The values of `estimates`, and the lower end of each gain as `.../gain_low`: what an approval may bound."""
        found = {name: one.value for name, one in self.estimates().items()}
        return found | {f"{name}_low": one.low for name, one in self.estimates().items() if name.endswith("/gain")}

    def registration_scores(self) -> dict[str, tuple[Estimate, int]]:
        """The challenger's score by task, with how many rows it rests on: what decay is measured from."""
        return _scored(self.overall)

    def feed_scores(self) -> dict[str, dict[str, tuple[Estimate, int]]]:
        """The same by feed, on the feed's own test rows."""
        return {feed: _scored(tasks) for feed, tasks in self.feeds.items()}

    def lines(self) -> list[str]:
        """For people: the verdict, and a line a part."""
        told = [f"{self.verdict}: {self.reason}"]
        for row in self.rows:
            sides = f"{row.metric}: champion {row.champion or '-'}, challenger {row.challenger or '-'}"
            told.append(f"{row.task}, {row.part} ({row.items} rows): {row.verdict} ({sides}; {row.reason})")
        return told


def _scored(tasks: Mapping[str, TaskScore]) -> dict[str, tuple[Estimate, int]]:
    scored = {task: found for task, found in tasks.items() if found.rising and found.challenger is not None}
    return {task: (found.challenger, found.items) for task, found in scored.items()}


def verdict_of(rows: list[ContestRow]) -> tuple[Outcome, str]:
    """The verdict of the whole (`RULE`), and which parts made it."""
    if all(row.verdict == NO_CHAMPION for row in rows if row.items):
        return NO_CHAMPION, "there is no champion to compare with"
    for verdict in (WORSE, NOT_ASSESSABLE, BETTER, EQUAL):
        parts = [f"{row.task} on {row.part} rows ({row.reason})" for row in rows if row.verdict == verdict]
        if parts:
            return verdict, "; ".join(parts)
    raise ValueError("a contest without rows has no verdict")
