"""Champion against challenger on the same test rows: the old ones, which the champion was judged by, and the new ones.

Each answers with its own base, tokenizer and adapter, in the precision that it was trained beside. Differences are
paired: both systems' scores are resampled by the same draws of whole groups (`domainlm.evaluate.bootstrap`). Neither
has trained on a row that is asked: splits go by a hash of the group, so what was a test row stays one
(`domainlm.records.split_bucket`); where it is known which rows the champion learnt from, that is checked.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from domainlm.artifacts import AdapterFolder, BaseCheckpoint, TokenizerFolder
from domainlm.errors import EvaluationError, nearest
from domainlm.evaluate.contest_report import NEW, OLD, ContestReport, ContestRow, TaskScore, verdict_of
from domainlm.evaluate.evaluation import adapted, as_estimate, ask, gain, sampled
from domainlm.evaluate.report import Estimate
from domainlm.evaluate.settings import ContestSettings, ScoringSettings
from domainlm.evaluate.systems import Outcome, Part
from domainlm.intervals import wilson
from domainlm.records import TEST, Record
from domainlm.risk import BETTER, EQUAL, NO_CHAMPION, NOT_ASSESSABLE, WORSE
from domainlm.tasks import DOCUMENT_TASK, Task

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset

    from domainlm.evaluate.bootstrap import Resampler
    from domainlm.evaluate.metrics import Score

CHAMPION, CHALLENGER = "champion", "challenger"
Items = dict[tuple[str, str], list[Record]]  # (task, old or new) -> rows


class System(NamedTuple):
    """One of the two, with everything that it answers with."""

    base: BaseCheckpoint
    tokenizer: TokenizerFolder
    adapter: AdapterFolder


def contest(
    records: Dataset,
    challenger: System,
    champion: System | None,
    identity: str,
    new_after: Mapping[str, int],
    tasks: Mapping[str, Task],
    settings: ContestSettings,
    learnt: Collection[str] = (),
) -> ContestReport:
    """Score both on the same test rows.

    Args:
        records: prepared records with their splits.
        challenger: the model that was just trained.
        champion: the one that it would replace; None where there is none: the challenger alone is scored.
        identity: the champion's, for the report.
        new_after: source -> the row after which its rows are new; every other source is old.
        tasks: the task definitions of the domain pack.
        settings: what is compared, and which loss is borne.
        learnt: ids of the records that the champion trained on, as far as anybody knows.

    Raises:
        EvaluationError: there is no test row, a task is unknown, a test row was trained on by the champion, or a model
            gives no finite score.
    """
    from domainlm.digests import digest_dataset
    from domainlm.models.runtime import reproducible

    items, only_trained = _items(records, new_after, tasks, settings)
    _refuse_learnt(items, learnt)
    systems = {CHALLENGER: challenger} | ({CHAMPION: champion} if champion is not None else {})
    outcomes: dict[str, dict[tuple[str, str], list[Outcome]]] = {}
    with reproducible(settings.seed, settings.threads):
        for name, system in systems.items():
            outcomes[name] = answers(system, items, tasks, settings)
    rows: list[ContestRow] = []
    overall: dict[str, TaskScore] = {}
    feeds: dict[str, dict[str, TaskScore]] = {}
    with tempfile.TemporaryDirectory() as cache:
        for task in dict.fromkeys(name for name, _ in items):
            scored = Scored(cache, tasks[task], settings)
            parts = [(part, items[task, part]) for part in (OLD, NEW) if (task, part) in items]
            said = {name: {part: found.get((task, part), []) for part, _ in parts} for name, found in outcomes.items()}
            for part, own in parts:
                rows.append(scored.row(part, own, {name: said[name][part] for name in systems}, settings.tolerance))
            together = {name: [one for part, _ in parts for one in said[name][part]] for name in systems}
            asked = [record for _, own in parts for record in own]
            overall[task] = scored.whole(asked, together)
            for feed in sorted({record["source"] for record in asked}.intersection(new_after)):
                places = [place for place, record in enumerate(asked) if record["source"] == feed]
                its = {name: [said[place] for place in places] for name, said in together.items() if said}
                feeds.setdefault(feed, {})[task] = scored.whole([asked[place] for place in places], its)
    rows += [_without_rows(tasks[task]) for task in only_trained]
    verdict, reason = verdict_of(rows)
    return ContestReport(
        verdict=verdict,
        reason=reason,
        champion=identity,
        tolerance=settings.tolerance,
        min_groups=settings.min_groups,
        confidence=settings.confidence,
        resamples=settings.resamples,
        rows=rows,
        overall=overall,
        feeds=feeds,
        digests={
            "data": digest_dataset(records),
            **{
                f"{name} {part}": folder.card["digest"] if part == "base" else folder.digest
                for name, system in systems.items()
                for part, folder in system._asdict().items()
            },
        },
    )


def _items(
    records: Dataset, new_after: Mapping[str, int], tasks: Mapping[str, Task], settings: ContestSettings
) -> tuple[Items, list[str]]:
    """The rows to ask, and the tasks that got new rows of which none is a test row."""
    for name in settings.tasks:
        if name not in tasks:
            raise EvaluationError(f"unknown task '{name}'", "steps.contest.parameters.tasks", nearest(name, tasks))
    wanted = set(settings.tasks or tasks) - {DOCUMENT_TASK}
    columns = zip(*(records[name] for name in ("task", "source", "row", "split")), strict=True)
    places: dict[tuple[str, str], list[int]] = {}
    grown: set[str] = set()
    for index, (task, source, row, split) in enumerate(columns):
        if task not in wanted:
            continue
        part = NEW if source in new_after and row > new_after[source] else OLD
        if part == NEW:
            grown.add(task)
        if split == TEST:
            places.setdefault((task, part), []).append(index)
    if not places:
        raise EvaluationError(
            "the test part holds no row to compare on", "contest", "add rows, or name the `tasks` to compare on"
        )
    items = {key: sampled(records.select(found).to_list(), settings) for key, found in sorted(places.items())}
    return items, sorted(task for task in grown if (task, NEW) not in items)


def _refuse_learnt(items: Items, learnt: Collection[str]) -> None:
    known = set(learnt)
    trained = [record for own in items.values() for record in own if record["id"] in known]
    if trained:
        raise EvaluationError(
            f"the champion trained on {len(trained)} rows that are test rows now: it would win by remembering them",
            f"source {trained[0]['source']}, row {trained[0]['row']}",
            "the salt of the splits or a source's `split` was changed: put it back, or promote a model trained since",
        )


def answers(
    system: System, items: Items, tasks: Mapping[str, Task], settings: ScoringSettings
) -> dict[tuple[str, str], list[Outcome]]:
    """What a system says to every row; a head says nothing to tasks that it was not trained for."""
    card = system.adapter.card
    head = card.get("objective") == "classification"
    able = {
        key: Part(tasks[key[0]], key[1], own, head)
        for key, own in items.items()
        if not head or (tasks[key[0]].labels and set(card.get("labels") or ()) == set(tasks[key[0]].labels))
    }
    if able:
        with adapted(system.base, system.tokenizer, system.adapter, settings) as model:
            ask(model, list(able.values()), CHALLENGER)
    return {key: part.outcomes[CHALLENGER] for key, part in able.items()}


class Scored:
    """The first metric of a task, over rows and their groups."""

    def __init__(self, cache: str, task: Task, settings: ScoringSettings) -> None:
        from domainlm.evaluate.metrics import METRICS

        metric = task.metrics[0]
        if metric not in METRICS:
            raise EvaluationError(f"unknown metric '{metric}'", f"task '{task.name}'", nearest(metric, METRICS))
        self.task, self.settings = task, settings
        self.metric: Score = METRICS[metric](cache, task.labels)

    def row(
        self, part: str, items: list[Record], outcomes: Mapping[str, list[Outcome]], tolerance: float
    ) -> ContestRow:
        """Both on one part, and the verdict."""
        resampler = self._resampler(items)
        statistics = {name: self.statistics(items, said) for name, said in outcomes.items() if said}
        difference = None
        if CHAMPION in statistics and CHALLENGER in statistics:
            difference = self._difference(resampler, statistics[CHALLENGER], statistics[CHAMPION])
        verdict, reason = self._verdict(resampler.groups, difference, outcomes, tolerance)
        return ContestRow(
            task=self.task.name, version=self.task.version, part=part, metric=self.metric.key, items=len(items),
            groups=resampler.groups, gain=difference, verdict=verdict, reason=reason,
            **{name: self._estimate(resampler, found) for name, found in statistics.items()},
        )  # fmt: skip

    def whole(self, items: list[Record], outcomes: Mapping[str, list[Outcome]]) -> TaskScore:
        """Both on all test rows of the task."""
        resampler = self._resampler(items)
        found = {
            name: self._estimate(resampler, self.statistics(items, said)) for name, said in outcomes.items() if said
        }
        rising = self.metric.bounded and self.metric.greater_is_better
        return TaskScore(metric=self.metric.key, items=len(items), groups=resampler.groups, rising=rising, **found)

    def statistics(self, items: list[Record], outcomes: Sequence[Outcome]) -> np.ndarray:
        """One row of additive numbers an item."""
        from domainlm.evaluate.metrics import BITS, PREDICTIONS, REFERENCES, STOPPED
        from domainlm.records import answer

        columns = {
            PREDICTIONS: [outcome.prediction for outcome in outcomes],
            REFERENCES: [answer(record) for record in items],
            STOPPED: [outcome.stopped for outcome in outcomes],
            BITS: [outcome.bits for outcome in outcomes],
        }
        return self.metric.statistics(**{name: columns[name] for name in self.metric.columns})

    def _resampler(self, items: list[Record]) -> Resampler:
        from domainlm.evaluate.bootstrap import Resampler

        groups = [record["group"] or record["id"] for record in items]
        return Resampler(groups, self.settings.resamples, self.settings.confidence, self.settings.seed)

    def _estimate(self, resampler: Resampler, statistics: np.ndarray) -> Estimate:
        return as_estimate(resampler.interval(self.metric.value, statistics, self.metric.bounded))

    def _difference(self, resampler: Resampler, challenger: np.ndarray, champion: np.ndarray) -> Estimate:
        from domainlm.evaluate.metrics import Mean

        if isinstance(self.metric, Mean) and self.metric.bounded and (challenger == champion).all():
            # no pair differs: what can be said is how many would at most (Wilson, of none in so many groups); two
            # unpaired intervals, as for any two systems, would be several times as wide
            most = round(wilson(0.0, resampler.groups, self.settings.confidence)[1], 6)
            return Estimate(value=0.0, low=-most, high=most, method="wilson, no pair differs")
        return as_estimate(gain(resampler, self.metric, challenger, champion))

    def _verdict(
        self, groups: int, difference: Estimate | None, outcomes: Mapping[str, list[Outcome]], tolerance: float
    ) -> tuple[str, str]:
        """The rule of `contest_report.RULE` for one part of one task."""
        if CHAMPION not in outcomes:
            return NO_CHAMPION, "there is no champion"
        if difference is None:
            who = CHAMPION if not outcomes[CHAMPION] else CHALLENGER
            return NOT_ASSESSABLE, f"the {who} has no head for this task's labels"
        if groups < self.settings.min_groups:
            return NOT_ASSESSABLE, f"only {groups} independent groups, {self.settings.min_groups} are needed"
        if difference.low > 0:
            return BETTER, "the gain has an interval above zero"
        if difference.low >= -tolerance:
            return EQUAL, f"a loss of more than {tolerance:g} is excluded"
        if difference.value < -tolerance or difference.high < 0:
            return WORSE, f"the loss is {-difference.value:g}, {tolerance:g} is borne"
        return NOT_ASSESSABLE, f"a loss of more than {tolerance:g} is not excluded: more rows are needed"


def _without_rows(task: Task) -> ContestRow:
    return ContestRow(
        task=task.name, version=task.version, part=NEW, metric=task.metrics[0], items=0, groups=0,
        verdict=NOT_ASSESSABLE, reason="none of the new rows is a test row",
    )  # fmt: skip
