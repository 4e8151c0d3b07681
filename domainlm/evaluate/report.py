"""What the evaluate stage reports: scores with intervals, item scores, answers side by side, and a verdict a claim."""

from __future__ import annotations

from typing import Any, Literal

from domainlm.evaluate.settings import BASE, PROBE, SHUFFLED, TUNED
from domainlm.reports import Report

Verdict = Literal["shown", "not shown"]
RULE = (
    "shown where the tuned model's gains on the task's first metric over the base (however asked; of an encoder also "
    "by a linear probe), over training on shuffled labels and over the majority answer all have intervals above zero, "
    "over enough independent groups"
)


class Estimate(Report):
    """A score, or a difference of two, with its confidence interval and how that was made."""

    value: float
    low: float
    high: float
    method: str

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


class Row(Report):
    """One task on one source: the scores of all systems on the same items.

    Fields:
        metric: the task's first metric, which the differences and the verdict are about.
        pure_format: a gain here shows only that the format was learned.
        apart: the row has its verdict, but no claim rests on it.
        in_training: how many of the items' very prompts stand in the training part; anything but 0 is a leak.
        groups: how many independent groups the items fall into; the intervals resample these.
        scores: system -> metric -> estimate.
        differences: other system -> the tuned model's gain over it; positive is better whatever the metric.
        predicted: system -> label -> share of items it was given to; for classification.
        reason: why the verdict is what it is.
    """

    task: str
    version: int
    source: str
    claim: str
    metric: str
    pure_format: bool
    apart: bool
    items: int
    in_training: int
    groups: int
    scores: dict[str, dict[str, Estimate]]
    differences: dict[str, Estimate]
    predicted: dict[str, dict[str, float]]
    verdict: Verdict
    reason: str

    @property
    def name(self) -> str:
        """Task and source, as the tables print them."""
        return f"{self.task} / {self.source}"


class ItemScores(Report):
    """The scores of each item of one row, bound to what was asked: the record's keyed id, the prompt's digest."""

    records: list[str]
    prompts: list[str]
    scores: dict[str, dict[str, list[float]]]


class Claim(Report):
    """A claim of the demonstration and what became of it; `evidence` names the rows that showed it."""

    name: str
    pure_format: bool
    verdict: Verdict
    evidence: list[str]


class SideBySide(Report):
    """Answers of several systems to one prompt (redacted text).

    Fields:
        in_training: whether the very prompt stands in the training part, so that the answer may be remembered.
    """

    task: str
    prompt: str
    reference: str
    in_training: bool
    answers: dict[str, str]


class EvaluationReport(Report):
    """Base, tuned model, controls and simple baselines on the same items.

    Fields:
        headline: shown where a claim that is not pure format is shown.
        not_assessable: system -> why it cannot be asked at all on this base; it has no column then.
        few_shot: task -> row keys (source:row) of the training examples that the few-shot base saw.
        digests: of data, base, tokenizer, adapter and controls that were scored.
    """

    split: str
    items: int
    confidence: float
    resamples: int
    rule: str = RULE
    headline: Verdict
    claims: list[Claim]
    rows: list[Row]
    side_by_side: list[SideBySide]
    not_assessable: dict[str, str]
    few_shot: dict[str, list[str]]
    item_scores: dict[str, ItemScores]
    digests: dict[str, str]

    def summary(self) -> dict[str, Any]:
        """Verdicts, and the first metric of every row for base, tuned model and shuffled labels.

        Flat, and keys without colons: ZenML refuses them.
        """
        flat: dict[str, Any] = {"headline": self.headline, "items": self.items}
        flat |= {f"claim, {claim.name}": claim.verdict for claim in self.claims}
        for row in self.rows:
            flat |= {
                f"{row.name}, {row.metric}, {system}": row.scores[system][row.metric].value
                for system in (BASE, PROBE, SHUFFLED, TUNED)
                if row.metric in row.scores.get(system, {})
            }
        return flat

    def metrics(self) -> dict[str, float]:
        """Every score by the names of `estimates`."""
        return {name: estimate.value for name, estimate in self.estimates().items()}

    def estimates(self) -> dict[str, Estimate]:
        """Every estimate as `task/source/metric/system`, `-` for spaces: names that an experiment tracker accepts."""
        return {
            f"{row.task}/{row.source}/{metric}/{system}".replace(" ", "-"): estimate
            for row in self.rows
            for system, scores in row.scores.items()
            for metric, estimate in scores.items()
        }

    def html(self) -> str:
        """The report as one self-contained page."""
        from domainlm.evaluate.render import render_html

        return render_html(self)


def claims_of(rows: list[Row]) -> list[Claim]:
    """The verdict on each claim: shown where one of its rows is; rows kept apart do not count."""
    claims = []
    for name in dict.fromkeys(row.claim for row in rows):
        counted = [row for row in rows if row.claim == name and not row.apart]
        shown = [row.name for row in counted if row.verdict == "shown"]
        claims.append(
            Claim(
                name=name,
                # a claim that any pure-format row could carry is itself one of format
                pure_format=any(row.pure_format for row in rows if row.claim == name),
                verdict="shown" if shown else "not shown",
                evidence=shown,
            )
        )
    return claims


def headline_of(claims: list[Claim]) -> Verdict:
    """Whether anything but format was shown."""
    return "shown" if any(claim.verdict == "shown" and not claim.pure_format for claim in claims) else "not shown"
