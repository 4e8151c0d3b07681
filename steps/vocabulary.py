"""Fifth stage: domain terms become tokens of their own."""

from __future__ import annotations

from typing import Annotated

from datasets import Dataset
from zenml import log_metadata

from domainlm.artifacts import BaseCheckpoint, TokenizerFolder
from domainlm.names import VOCABULARY
from domainlm.validate import ContractVerdict
from domainlm.vocabulary import VocabularyReport, extend, kept
from domainlm.vocabulary.settings import VocabularySettings
from steps.stage import stage_step
from steps.workspace import workspace


@stage_step(VOCABULARY)
def vocabulary(
    records: Dataset, verdict: ContractVerdict, base: BaseCheckpoint, settings: VocabularySettings
) -> tuple[Annotated[TokenizerFolder, "tokenizer"], Annotated[VocabularyReport, "vocabulary_report"]]:
    """Mine terms from the training split and extend the base's tokenizer by them."""
    verdict.require()
    with workspace() as place:
        tokenizer, report = extend(records, base, settings, place.folder)
    log_metadata(report.summary())
    return tokenizer, report


@stage_step(VOCABULARY)
def vocabulary_going_on(
    records: Dataset,
    verdict: ContractVerdict,
    base: BaseCheckpoint,
    start: TokenizerFolder,
    settings: VocabularySettings,
) -> tuple[Annotated[TokenizerFolder, "tokenizer"], Annotated[VocabularyReport, "vocabulary_report"]]:
    """As `vocabulary`; or the champion's tokenizer as it is, where the training goes on from the champion: its adapter
    has rows for just those tokens."""
    verdict.require()
    if not start.absent:
        report = kept(records, base, start, settings)
        log_metadata(report.summary())
        return start, report
    with workspace() as place:
        tokenizer, report = extend(records, base, settings, place.folder)
    log_metadata(report.summary())
    return tokenizer, report
