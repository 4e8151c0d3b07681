"""The comparison: what every training scored, kept and cost, brought together into one report with plots."""

from __future__ import annotations

from typing import Annotated, Any

from datasets import Dataset
from zenml import get_step_context, log_metadata

from domainlm.artifacts import AdapterFolder, BaseCheckpoint, TokenizerFolder
from domainlm.compare import ComparisonReport, RetentionReport, Trial, TrialRow
from domainlm.compare import compare as bring_together
from domainlm.compare import retention as measure_retention
from domainlm.compare.settings import Experiment
from domainlm.evaluate import EvaluationReport
from domainlm.names import COMPARE
from domainlm.train import TrainingReport
from steps.run_view import measured_by
from steps.stage import stage_step


@stage_step(COMPARE)
def retention(
    documents: Dataset, base: BaseCheckpoint, tokenizer: TokenizerFolder, adapter: AdapterFolder, characters: int
) -> Annotated[RetentionReport, "retention_report"]:
    """Bits per character of held-out documents, before and after a training."""
    return measure_retention(documents, base, tokenizer, adapter, characters)


@stage_step(COMPARE, cached=False)
def compare(
    records: Dataset,
    trainings: list[TrainingReport],
    evaluations: list[EvaluationReport],
    retentions: list[RetentionReport],
    experiment: dict[str, Any],
) -> Annotated[ComparisonReport, "comparison_report"]:
    """Bring the trials of an experiment together.

    Raises:
        EvaluationError: a trial is missing, or scored other items than the first one.
    """
    asked = Experiment(**experiment)
    run = get_step_context().pipeline_run
    trials = [
        Trial(
            variant=variant.name,
            seed=seed,
            rows=_rows(evaluations[number]),
            trainable_parameters=trainings[number].trainable_parameters,
            steps=trainings[number].steps,
            curve=trainings[number].curve,
            measured=measured_by(run.id, f"train_{variant.name}_{seed}"),
            retention=retentions[number] if retentions else None,
        )
        for number, (variant, seed) in enumerate((v, s) for v in asked.variants for s in asked.seeds)
    ]
    report = bring_together(asked, trials, dict(zip(records["id"], records["group"], strict=True)))
    log_metadata(report.summary())
    return report


def _rows(report: EvaluationReport) -> list[TrialRow]:
    found = []
    for row in report.rows:
        items = report.item_scores[row.name]
        majority = row.scores.get("majority", {}).get(row.metric)
        found.append(
            TrialRow(
                row.task, row.source, row.metric, items.records,
                {system: scores[row.metric] for system, scores in items.scores.items()},
                majority.value if majority else None,
            )
        )  # fmt: skip
    return found
