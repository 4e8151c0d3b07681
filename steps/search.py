"""Before the fine-tuning: the values of its recipe that did best on the development split."""

from __future__ import annotations

from typing import Annotated

from datasets import Dataset
from zenml import log_metadata

from domainlm.artifacts import BaseCheckpoint, TokenizerFolder
from domainlm.licences import LicenceTable, licence_gate
from domainlm.names import CHOSEN, MEASURED, TRAIN
from domainlm.tasks import Task
from domainlm.train.search.report import SearchReport
from domainlm.train.search.searching import search as try_values
from domainlm.train.search.settings import SearchSettings
from domainlm.validate import ContractVerdict
from steps.stage import stage_step
from steps.workspace import workspace


@stage_step(TRAIN)
def search(
    records: Dataset,
    verdict: ContractVerdict,
    tokenizer: TokenizerFolder,
    base: BaseCheckpoint,
    definitions: list[Task],
    licences: LicenceTable,
    settings: SearchSettings,
) -> Annotated[SearchReport, "search_report"]:
    """Try values of the recipe and choose the best; goes on in the middle of the trial in which it was killed.

    Raises:
        LicenceRefused: the licences of base and records do not allow what the records are for.
        TrainingError: no trial came to its end.
    """
    verdict.require()
    licence_gate(base.card["licence"], records.unique("licence"), records.unique("purpose"), licences)
    from domainlm.train.watch.cost import read

    tasks = {task.name: task for task in definitions}
    with workspace() as place:
        report = try_values(records, tokenizer, base, settings, tasks, place.folder, place.work)
    log_metadata(report.summary() | {CHOSEN: report.chosen, MEASURED: read(place.work)})
    return report
