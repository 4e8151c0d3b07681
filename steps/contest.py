"""Champion against challenger, between the evaluation and the registration."""

from __future__ import annotations

from typing import Annotated

from datasets import Dataset
from zenml import log_metadata

from domainlm.artifacts import AdapterFolder, BaseCheckpoint, TokenizerFolder
from domainlm.audit.lineage.index import FILE, TRAINING, Lineage
from domainlm.evaluate.contest import System
from domainlm.evaluate.contest import contest as compare
from domainlm.evaluate.contest_report import ContestReport
from domainlm.evaluate.settings import ContestSettings
from domainlm.ledger.settings import evidence_folder
from domainlm.names import EVALUATE
from domainlm.register.incumbent import IncumbentReport
from domainlm.retrain.batches import LandedData
from domainlm.tasks import Task
from steps.stage import stage_step


@stage_step(EVALUATE)
def contest(
    records: Dataset,
    landed: LandedData,
    base: BaseCheckpoint,
    tokenizer: TokenizerFolder,
    adapter: AdapterFolder,
    found: IncumbentReport,
    incumbent_base: BaseCheckpoint,
    incumbent_tokenizer: TokenizerFolder,
    incumbent_adapter: AdapterFolder,
    definitions: list[Task],
    settings: ContestSettings,
) -> Annotated[ContestReport, "contest_report"]:
    """Score both on the same old and new test rows, with paired intervals.

    Raises:
        EvaluationError: it could not be computed, or the champion trained on a row that is a test row now.
    """
    champion = System(incumbent_base, incumbent_tokenizer, incumbent_adapter) if found.has else None
    report = compare(
        records,
        System(base, tokenizer, adapter),
        champion,
        found.identity,
        landed.new_after,
        {task.name: task for task in definitions},
        settings,
        learnt_by(found.identity),
    )
    log_metadata(report.summary())
    return report


def learnt_by(identity: str) -> list[str]:
    """Ids of the records that a model trained on, as far as this machine's index of rows knows."""
    path = evidence_folder() / FILE
    if not identity or not path.exists():
        return []
    rows = Lineage(path)
    return [row.record for used in rows.used_by(identity) if used.use == TRAINING
            for row in rows.rows_of(used.data, TRAINING) if row.record]  # fmt: skip
