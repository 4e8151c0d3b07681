"""Seventh stage: the tuned model beside its base, its controls and simple baselines, on the test split."""

from __future__ import annotations

from typing import Annotated

from datasets import Dataset
from zenml import log_metadata

from domainlm.artifacts import AdapterFolder, BaseCheckpoint, TokenizerFolder
from domainlm.evaluate import EvaluationReport
from domainlm.evaluate import evaluate as score
from domainlm.evaluate.settings import EvaluateSettings
from domainlm.names import EVALUATE
from domainlm.tasks import Task
from steps.stage import stage_step


@stage_step(EVALUATE)
def evaluate(
    records: Dataset,
    base: BaseCheckpoint,
    tokenizer: TokenizerFolder,
    adapter: AdapterFolder,
    definitions: list[Task],
    shuffled_labels: AdapterFolder | None,
    from_scratch: AdapterFolder | None,
    settings: EvaluateSettings,
) -> Annotated[EvaluationReport, "evaluation_report"]:
    """Score every system on the same items, with intervals, and say which claims the figures carry.

    Raises:
        EvaluationError: something could not be computed; a gate that needs it counts as failed.
    """
    controls = {"shuffled labels": shuffled_labels, "from scratch": from_scratch}
    report = score(
        records,
        base,
        tokenizer,
        adapter,
        settings,
        {task.name: task for task in definitions},
        {name: control for name, control in controls.items() if control is not None},
    )
    log_metadata(report.summary())
    return report
