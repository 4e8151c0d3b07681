"""The embedded base: a tokenizer and a small causal language model from scratch (the paper's "from scratch" route)."""

from __future__ import annotations

from typing import Annotated

from datasets import Dataset
from zenml import log_metadata

from domainlm.artifacts import BaseCheckpoint
from domainlm.names import PRETRAIN
from domainlm.pretrain import PretrainReport
from domainlm.pretrain import pretrain as pretrain_base
from domainlm.pretrain.settings import PretrainSettings
from domainlm.validate import ContractVerdict
from steps.stage import stage_step
from steps.workspace import workspace


@stage_step(PRETRAIN)
def pretrain(
    records: Dataset, verdict: ContractVerdict, settings: PretrainSettings
) -> tuple[Annotated[BaseCheckpoint, "base"], Annotated[PretrainReport, "pretraining_report"]]:
    """Train tokenizer and model on text that passed its contract."""
    verdict.require()
    with workspace() as place:
        base, report = pretrain_base(records, settings, place.folder, place.work)
    log_metadata(report.summary())
    return base, report
