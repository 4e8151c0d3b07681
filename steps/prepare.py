"""Third stage: normalise, remove duplicates, split, decontaminate."""

from __future__ import annotations

from typing import Annotated

from datasets import Dataset
from zenml import log_metadata

from domainlm.artifacts import BaseCheckpoint
from domainlm.names import PREPARE
from domainlm.prepare import PreparationReport
from domainlm.prepare import prepare as prepare_records
from domainlm.prepare.replay import Replay
from domainlm.prepare.settings import PrepareSettings
from domainlm.retrain.batches import LandedData
from steps.stage import stage_step


@stage_step(PREPARE)
def prepare(
    records: Dataset, settings: PrepareSettings
) -> tuple[Annotated[Dataset, "prepared_records"], Annotated[PreparationReport, "preparation_report"]]:
    """Prepare text that a base shall be pre-trained on."""
    prepared, report = prepare_records(records, settings, None)
    log_metadata(report.summary())
    return prepared, report


@stage_step(PREPARE)
def prepare_against_base(
    records: Dataset, base: BaseCheckpoint, settings: PrepareSettings
) -> tuple[Annotated[Dataset, "prepared_records"], Annotated[PreparationReport, "preparation_report"]]:
    """Prepare fine-tuning records; test rows that the base saw in pre-training go."""
    prepared, report = prepare_records(records, settings, base)
    log_metadata(report.summary())
    return prepared, report


@stage_step(PREPARE)
def prepare_with_replay(
    records: Dataset, base: BaseCheckpoint, landed: LandedData, settings: PrepareSettings
) -> tuple[Annotated[Dataset, "prepared_records"], Annotated[PreparationReport, "preparation_report"]]:
    """Prepare the records of a retraining: new training rows, and of the old ones as many as the plan says."""
    fresh = Replay(new_after=landed.new_after, ratio=landed.replay_ratio, rounds=landed.rounds)
    prepared, report = prepare_records(records, settings, base, fresh)
    log_metadata(report.summary())
    return prepared, report
