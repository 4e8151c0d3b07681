"""The steps of a probe: which batches, their rows, and the champion's score on them. Nothing is trained."""

from __future__ import annotations

from typing import Annotated

from datasets import Dataset
from zenml import log_metadata

from domainlm.artifacts import AdapterFolder, BaseCheckpoint, TokenizerFolder
from domainlm.evaluate.contest import System
from domainlm.evaluate.probe import ProbeReport
from domainlm.evaluate.probe import probe as ask
from domainlm.evaluate.settings import ProbeSettings
from domainlm.ingest import ingest as inspect_sources
from domainlm.ingest import require_as_accepted
from domainlm.ingest.settings import IngestSettings
from domainlm.names import DECISION, DETECT, PREPARE, RETRAIN
from domainlm.prepare import prepare
from domainlm.prepare.settings import PrepareSettings
from domainlm.register.incumbent import IncumbentReport
from domainlm.retrain.batches import Detection, LandedData
from domainlm.retrain.book import open_book
from domainlm.retrain.deciding.probing import FreshRows, fresh_rows, nothing, unscored
from domainlm.retrain.settings import DecideSettings
from domainlm.sources import SourceManifest
from domainlm.tasks import Task
from steps.champion import present_champion
from steps.compiled import compiled
from steps.contest import learnt_by
from steps.declined import decline, told
from steps.stage import stage_step

Fresh = tuple[Annotated[FreshRows, "fresh_rows"], Annotated[LandedData, "landed"]]


@stage_step(RETRAIN, cached=False)
def choose(detection: Detection, name: str, settings: DecideSettings) -> Fresh:
    """The accepted batches that the champion was not asked about yet; where there is none, the run ends well."""
    (name, identity), detect, found = present_champion(name), compiled().settings(DETECT), None
    if identity and settings.score_decay is not None:
        found = fresh_rows(open_book(), identity, name, detect.feeds, detect.zone)
    if found is None:
        decision = nothing(identity, settings.score_decay)
        log_metadata({DECISION: told(decision)})
        decline(decision)
    log_metadata({"batches": len(found.batches), "champion": identity})
    return found, found.landed


@stage_step(RETRAIN, cached=False)
def read_fresh(landed: LandedData) -> Annotated[SourceManifest, "source_manifest"]:
    """Read these batches alone; a file that is not what was accepted is an error."""
    manifest = inspect_sources(IngestSettings(sources=landed.sources))
    require_as_accepted(manifest, landed.digests)
    return manifest


@stage_step(PREPARE)
def prepare_fresh(
    records: Dataset, base: BaseCheckpoint, settings: PrepareSettings
) -> Annotated[Dataset, "fresh_records"]:
    """As any records are prepared; they are named apart, since nothing learns from them."""
    return prepare(records, settings, base)[0]


@stage_step(RETRAIN, cached=False)
def probe(
    records: Dataset, fresh: FreshRows, adapter: AdapterFolder, tokenizer: TokenizerFolder, base: BaseCheckpoint,
    found: IncumbentReport, definitions: list[Task], settings: ProbeSettings,
) -> Annotated[ProbeReport, "probe_report"]:  # fmt: skip
    """Score the champion, and let the book remember it for the next decision."""
    tasks, book, learnt = {task.name: task for task in definitions}, open_book(), learnt_by(found.identity)
    report = ask(records, System(base, tokenizer, adapter), found.identity, fresh.ends, tasks, settings, learnt)
    for one in report.scores:
        book.score(report.identity, one.batch, one.task, one.score.value, one.score.low, one.score.high, one.items)
    unscored(book, report.identity, report.unscored)
    log_metadata(report.summary())
    return report
