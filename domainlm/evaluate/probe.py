"""The champion on labelled rows that landed after it was trained: does its score decay?

Nothing was trained on these rows yet, so all of them are asked, whatever their split. Each batch has a score of its own
with its interval; `domainlm.retrain.deciding.decision` puts them beside the score at registration (`score-decay`).
"""

from __future__ import annotations

import tempfile
from bisect import bisect_left
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from domainlm.errors import EvaluationError, nearest
from domainlm.evaluate.contest import CHAMPION, Scored, System, answers
from domainlm.evaluate.evaluation import sampled
from domainlm.evaluate.report import Estimate
from domainlm.evaluate.settings import ProbeSettings
from domainlm.records import Record, answer
from domainlm.reports import Report
from domainlm.tasks import DOCUMENT_TASK, Task

if TYPE_CHECKING:
    from datasets import Dataset


class BatchScore(Report):
    """The champion on the rows of one task in one batch; `groups` are resampled for the interval."""

    batch: str
    task: str
    metric: str
    items: int
    groups: int
    score: Estimate


class ProbeReport(Report):
    """The champion on fresh rows.

    Fields:
        identity: the champion's.
        scores: one a batch and task with labelled rows of a metric whose decay means something.
        learnt: rows that were left out, since the champion had trained on the same.
        unscored: batches in which nothing could be scored.
    """

    identity: str
    scores: list[BatchScore]
    learnt: int
    unscored: list[str]

    def summary(self) -> dict[str, Any]:
        """Counts, and the score of each batch and task."""
        told = {f"{one.task}, batch {one.batch[:12]}": str(one.score) for one in self.scores}
        return {"identity": self.identity, "learnt": self.learnt, "unscored": len(self.unscored)} | told

    def lines(self) -> list[str]:
        """For people: a line a batch and task."""
        told = [
            f"batch {one.batch[:12]}, {one.task}: {one.metric} {one.score}, {one.items} rows" for one in self.scores
        ]
        return told + [f"batch {batch[:12]}: nothing to score" for batch in self.unscored]


def probe(
    records: Dataset,
    champion: System,
    identity: str,
    ends: Mapping[str, Sequence[tuple[int, str]]],
    tasks: Mapping[str, Task],
    settings: ProbeSettings,
    learnt: Collection[str] = (),
) -> ProbeReport:
    """Score the champion batch by batch.

    Args:
        records: the fresh rows, prepared; no other.
        champion: it, with everything that it answers with.
        identity: the champion's.
        ends: source -> (number of its last row, batch), in order.
        tasks: the task definitions of the domain pack.
        settings: what is scored.
        learnt: ids of the records that it trained on; equal rows that landed again are left out.

    Raises:
        EvaluationError: an unknown task, a row of no batch, or a model that gives no finite score.
    """
    from domainlm.models.runtime import reproducible

    for name in settings.tasks:
        if name not in tasks:
            raise EvaluationError(f"unknown task '{name}'", "steps.probe.parameters.tasks", nearest(name, tasks))
    found, known = _labelled(records, ends, tasks, settings, set(learnt))
    with reproducible(settings.seed, settings.threads):
        said = answers(champion, found, tasks, settings)
    scores = []
    with tempfile.TemporaryDirectory() as cache:
        for (task, batch), outcomes in said.items():
            items = found[task, batch]
            score = Scored(cache, tasks[task], settings).whole(items, {CHAMPION: outcomes})
            if score.rising and score.champion is not None:
                own = {"metric": score.metric, "items": score.items, "groups": score.groups, "score": score.champion}
                scores.append(BatchScore(batch=batch, task=task, **own))
    batches = dict.fromkeys(batch for own in ends.values() for _, batch in own)
    missing = [batch for batch in batches if batch not in {score.batch for score in scores}]
    return ProbeReport(identity=identity, scores=scores, learnt=known, unscored=missing)


def _labelled(
    records: Dataset,
    ends: Mapping[str, Sequence[tuple[int, str]]],
    tasks: Mapping[str, Task],
    settings: ProbeSettings,
    learnt: set[str],
) -> tuple[dict[tuple[str, str], list[Record]], int]:
    """(task, batch) -> its rows with an answer, and how many the champion had trained on."""
    wanted = set(settings.tasks or tasks) - {DOCUMENT_TASK}
    places: dict[tuple[str, str], list[int]] = {}
    known = 0
    columns = zip(*(records[name] for name in ("id", "task", "source", "row")), strict=True)
    for index, (record, task, source, row) in enumerate(columns):
        if task not in wanted:
            continue
        if record in learnt:
            known += 1
            continue
        places.setdefault((task, _batch_of(source, row, ends)), []).append(index)
    found = {key: [one for one in records.select(own).to_list() if answer(one)] for key, own in sorted(places.items())}
    return {key: sampled(rows, settings) for key, rows in found.items() if rows}, known


def _batch_of(source: str, row: int, ends: Mapping[str, Sequence[tuple[int, str]]]) -> str:
    own = ends.get(source, ())
    place = bisect_left([last for last, _ in own], row)
    if place == len(own):
        raise EvaluationError("a row belongs to no batch that is probed", f"source {source}, row {row}", "probe again")
    return own[place][1]
