"""A run's rows into the row-level index: its data versions, what they were used for, and one root a set."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

from domainlm.audit.lineage.index import DEVELOPMENT, FILE, PRETRAINING, TEST, TRAINING, Lineage
from domainlm.errors import DomainLMError
from domainlm.ledger.run.manifest import ModelRecord, RowSet, RunManifest
from domainlm.ledger.settings import evidence_folder
from domainlm.records import DEVELOPMENT as DEV
from domainlm.records import TEST as HELD_OUT
from domainlm.records import TRAIN
from steps.run_view import show_records

PREPARED = "prepared_records"
MOST_ROWS_AFTERWARDS = 200_000  # of a run that left no record: a few seconds, with the check of their digest
EVERY_ROW = 2**63
_USES = {TRAIN: TRAINING, DEV: DEVELOPMENT, HELD_OUT: TEST}


class RowsOfRun:
    """Takes up a run's records as they are loaded, and says at the end which rows served what.

    The embedded base has its own: text that it was trained on is `pretraining`.
    """

    def __init__(self) -> None:
        self.index = Lineage(evidence_folder() / FILE)
        self._sets: list[RowSet] = []

    def take(self, step: str, output: str, digest: str, load: Callable[[], Any]) -> None:
        """One artifact of the run (`steps.run_view.Visit`); what is no set of records is passed over.

        What a redaction hands on is taken up for its persons only: `prepare` drops some of its rows, and these must
        still be found when a person asks.
        """
        if not output.endswith("_records"):
            return
        prepared = output == PREPARED
        of_base = step.startswith("base_")
        if not self.index.knows(digest):
            self.index.enter(digest, f"base_{output}" if of_base else output, load(), named_only=not prepared)
        if prepared:
            uses = _USES | ({TRAIN: PRETRAINING} if of_base else {})
            self._sets += [self.index.use(digest, use, split) for split, use in uses.items()]

    def sets(self, run: UUID | str, model: ModelRecord | None) -> list[RowSet]:
        """The sets of rows of the run, linked to the model that came of it."""
        found = [one for one in self._sets if one.rows]
        named = f"{model.name}/{model.version}" if model else ""
        self.index.link(str(run), model.identity if model else "", named, found)
        return found


def with_rows(manifest: RunManifest) -> RunManifest:
    """The manifest with the rows of a run that ended before `record`, or has no such step, where that is cheap."""
    try:
        return manifest if manifest.rows else rows_of(manifest, MOST_ROWS_AFTERWARDS)
    except DomainLMError:  # a manifest without its rows is better than none
        return manifest


def rows_of(manifest: RunManifest, most_rows: int = EVERY_ROW) -> RunManifest:
    """The manifest with the rows of its run.

    Args:
        manifest: of a run that has ended.
        most_rows: sets of more rows are passed over.

    Raises:
        ArtifactError: a set was changed after it was stored.
    """
    rows = RowsOfRun()
    show_records(UUID(manifest.run_id), rows.take, most_rows)
    return manifest.model_copy(update={"rows": rows.sets(manifest.run_id, manifest.model)})
