"""Sixth stage: the fine-tuning itself. A GPU step operator is chosen for it by configuration alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from datasets import Dataset
from zenml import log_metadata

from domainlm.artifacts import AdapterFolder, BaseCheckpoint, TokenizerFolder
from domainlm.licences import LicenceTable, licence_gate
from domainlm.names import CHOSEN, MEASURED, TRAIN
from domainlm.tasks import Task
from domainlm.train import TrainingReport
from domainlm.train import train as fine_tune
from domainlm.train.search.report import SearchReport
from domainlm.train.settings import ControlSettings, TrainSettings
from domainlm.validate import ContractVerdict
from steps.stage import stage_step
from steps.workspace import workspace

Trained = tuple[Annotated[AdapterFolder, "adapter"], Annotated[TrainingReport, "training_report"]]
Control = tuple[Annotated[AdapterFolder, "control_adapter"], Annotated[TrainingReport, "control_report"]]


@stage_step(TRAIN)
def train(
    records: Dataset,
    verdict: ContractVerdict,
    tokenizer: TokenizerFolder,
    base: BaseCheckpoint,
    definitions: list[Task],
    licences: LicenceTable,
    *,
    chosen: SearchReport | None = None,
    start: AdapterFolder | None = None,
    settings: TrainSettings,
) -> Trained:
    """Train an adapter on the training split, with the values that a search chose if there was one, from the base or
    from the adapter of a champion; goes on from the newest complete checkpoint of exactly this work."""
    verdict.require()
    licence = licence_gate(base.card["licence"], records.unique("licence"), records.unique("purpose"), licences)
    settings = chosen.apply(settings) if chosen else settings
    with workspace() as place:
        given = (records, tokenizer, base, settings, _by_name(definitions), place.folder, place.work)
        adapter, report = fine_tune(*given, start=None if start is None or start.absent else start)
    report = report.model_copy(update={"licence": licence})
    _tell(report, place.work, chosen.chosen if chosen else {})
    return adapter, report


@stage_step(TRAIN)
def control(
    records: Dataset,
    tokenizer: TokenizerFolder,
    base: BaseCheckpoint,
    recipe: TrainingReport,
    definitions: list[Task],
    kind: str,
    settings: ControlSettings,
) -> Control:
    """Train a control with the recipe that `train` really used, but for the one thing that the control changes."""
    changed = settings.change(recipe.recipe, kind)
    with workspace() as place:
        adapter, report = fine_tune(records, tokenizer, base, changed, _by_name(definitions), place.folder, place.work)
    _tell(report, place.work)
    return adapter, report


def _tell(report: TrainingReport, work: Path, chosen: dict[str, Any] | None = None) -> None:
    from domainlm.train.watch.cost import read

    log_metadata(report.summary() | {MEASURED: read(work)} | ({CHOSEN: chosen} if chosen else {}))


def _by_name(definitions: list[Task]) -> dict[str, Task]:
    return {task.name: task for task in definitions}
