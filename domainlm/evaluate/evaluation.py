"""Score base, tuned model, controls and baselines on the same items, in one process, one model in memory at a time."""

from __future__ import annotations

import gc
import hashlib
import math
import tempfile
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from domainlm.artifacts import AdapterFolder, BaseCheckpoint, TokenizerFolder
from domainlm.errors import EvaluationError, ModelError, nearest
from domainlm.evaluate.report import Estimate, EvaluationReport, ItemScores, Row, SideBySide, claims_of, headline_of
from domainlm.evaluate.settings import (
    BASE,
    CLOZE,
    FEW_SHOT,
    MAJORITY,
    PROBE,
    SCRATCH,
    SHUFFLED,
    TFIDF,
    TUNED,
    EvaluateSettings,
    ScoringSettings,
)
from domainlm.evaluate.systems import (
    Part,
    Reader,
    Speaker,
    in_seeded_order,
    linear_probe,
    majority,
    tfidf,
    worked_examples,
)
from domainlm.models.classifiers import has_own_head
from domainlm.records import DEVELOPMENT, TRAIN, Record, answer, question
from domainlm.tasks import DOCUMENT_TASK, Task

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset

    from domainlm.evaluate.bootstrap import Interval, Resampler
    from domainlm.evaluate.metrics import Score

# why an encoder has no such column
NO_ANSWERS = {
    FEW_SHOT: "an encoder does not read worked examples",
    CLOZE: "an encoder does not continue a sentence",
}
NO_HEAD = {BASE: "the encoder brings no head for these labels; the linear probe stands for what it knows"}
DIGITS = 6  # what differs further behind is noise of the arithmetic


def evaluate(
    records: Dataset,
    base: BaseCheckpoint,
    tokenizer: TokenizerFolder,
    adapter: AdapterFolder,
    settings: EvaluateSettings,
    tasks: Mapping[str, Task],
    controls: Mapping[str, AdapterFolder],
) -> EvaluationReport:
    """Compare the tuned model with its base, its controls and simple baselines.

    Args:
        records: prepared records with all their splits; baselines and few-shot examples come from train.
        base: the base model, which is scored with its own tokenizer and in the tuned model's precision.
        tokenizer: the tokenizer of the tuned model and the controls.
        adapter: the tuned model's adapter.
        settings: what is scored, how, and what counts as shown.
        tasks: the task definitions of the domain pack.
        controls: the adapters of the controls, by the names "shuffled labels" and "from scratch"; without the first one
            no claim counts as shown.

    Raises:
        EvaluationError: a task without items or without answers, or a model that gives no finite score.
    """
    from domainlm.digests import digest_dataset
    from domainlm.models.runtime import reproducible

    adapters = {TUNED: adapter, **controls}
    encoder = adapter.card.get("objective") == "classification"
    parts, seen = _select(records, settings, tasks, encoder)
    if encoder:
        _check_heads(parts, adapters)
    examples = {name: worked_examples(tasks[name], seen[name, TRAIN], settings.seed) for name in _names(parts)}
    prompts = {part.task.name: [part.prompt(text) for text in part.task.prompts] for part in parts}
    said: dict[str, dict[str, list[str]]] = {}
    not_assessable: dict[str, str] = {}
    shown: dict[str, list[Record]] = {}

    for part in parts:
        if MAJORITY in settings.systems:
            part.outcomes[MAJORITY] = majority(part, seen[part.task.name, TRAIN])
        if TFIDF in settings.systems:
            part.outcomes[TFIDF] = tfidf(part, seen[part.task.name, TRAIN], seen[part.task.name, DEVELOPMENT])
    with reproducible(settings.seed, settings.threads):
        if encoder:
            not_assessable = NO_ANSWERS | ({} if has_own_head(base, parts[0].task.labels) else NO_HEAD)
            asked_here = {BASE, PROBE} & set(settings.systems) - set(not_assessable)
            if asked_here:
                with _encoder(base, adapter, settings) as reader:
                    _ask_encoder(reader, parts, seen, asked_here)
                    if BASE in asked_here:
                        said[BASE] = _say(reader, parts, prompts)
        elif {BASE, FEW_SHOT, CLOZE} & set(settings.systems):
            with _base(base, adapter, settings) as speaker:
                shown = _ask_base(speaker, parts, examples, settings)
                said[BASE] = _say(speaker, parts, prompts)
        for system in (TUNED, SHUFFLED, SCRATCH):
            if system in settings.systems and system in adapters:
                with adapted(base, tokenizer, adapters[system], settings) as speaker:
                    ask(speaker, parts, system)
                    said[system] = _say(speaker, parts, prompts)

    trained = {part.task.name: {part.shown(record) for record in seen[part.task.name, TRAIN]} for part in parts}
    rows, item_scores = _score(parts, trained, settings, not_assessable)
    claims = claims_of(rows)
    return EvaluationReport(
        split=settings.split,
        items=sum(row.items for row in rows),
        confidence=settings.confidence,
        resamples=settings.resamples,
        headline=headline_of(claims),
        claims=claims,
        rows=rows,
        side_by_side=_side_by_side(parts, said, trained, seen, settings),
        not_assessable=not_assessable,
        few_shot={name: [f"{record['source']}:{record['row']}" for record in used] for name, used in shown.items()},
        item_scores=item_scores,
        digests={
            "data": digest_dataset(records),
            "base": base.card["digest"],
            "tokenizer": tokenizer.digest,
            **{system: folder.digest for system, folder in adapters.items()},
        },
    )


def _names(parts: Sequence[Part]) -> list[str]:
    return list(dict.fromkeys(part.task.name for part in parts))


def _check_heads(parts: Sequence[Part], adapters: Mapping[str, AdapterFolder]) -> None:
    """A head answers one task, and must have been trained for its labels.

    Raises:
        EvaluationError: a task that the tuned model or a control has no head for.
    """
    for part in parts:
        for system, adapter in adapters.items():
            labels = adapter.card.get("labels") or []
            if part.task.kind != "classification" or set(labels) != set(part.task.labels):
                raise EvaluationError(
                    f"the head of system '{system}' answers {', '.join(labels) or 'nothing'}: not this task's labels",
                    f"task '{part.task.name}'",
                    "name the one task that was trained in steps.evaluate.parameters.tasks",
                )


def _select(
    records: Dataset, settings: EvaluateSettings, tasks: Mapping[str, Task], bare: bool = False
) -> tuple[list[Part], dict[tuple[str, str], list[Record]]]:
    """The parts to score, and the records of each task's train and development part.

    Raises:
        EvaluationError: an unknown task, or a task without rows to score or to learn the baselines from.
    """
    wanted = settings.tasks or tuple(sorted(tasks))
    for name in wanted:
        if name not in tasks:
            raise EvaluationError(f"unknown task '{name}'", "steps.evaluate.parameters.tasks", nearest(name, tasks))
    keys = list(zip(records["task"], records["split"], records["source"], strict=True))
    # plain documents stay in Arrow: only rows of tasks become Python objects
    rows = records.select(
        [index for index, key in enumerate(keys) if key[0] in wanted and key[0] != DOCUMENT_TASK]
    ).to_list()
    seen: dict[tuple[str, str], list[Record]] = {(name, split): [] for name in wanted for split in (TRAIN, DEVELOPMENT)}
    scored: dict[tuple[str, str], list[Record]] = {}
    for record in rows:
        if record["split"] in (TRAIN, DEVELOPMENT):
            seen[record["task"], record["split"]].append(record)
        if record["split"] == settings.split:
            scored.setdefault((record["task"], record["source"]), []).append(record)
    for name in wanted:
        if not any(task == name for task, _ in scored):
            raise EvaluationError(
                f"the {settings.split} part holds no row of task '{name}'",
                "evaluate",
                "add rows, or name the `tasks` to score",
            )
        if not seen[name, TRAIN]:
            raise EvaluationError(
                f"the train part holds no row of task '{name}'", "evaluate", "baselines need some rows to learn from"
            )
    parts = [
        Part(tasks[name], source, sampled(items, settings), bare) for (name, source), items in sorted(scored.items())
    ]
    return parts, seen


def sampled(items: list[Record], settings: ScoringSettings) -> list[Record]:
    """At most `max_items` of them, drawn by a seeded hash of source and row."""
    if settings.max_items is None or len(items) <= settings.max_items:
        return items
    chosen = in_seeded_order(items, settings.seed)[: settings.max_items]
    return sorted(chosen, key=lambda record: record["row"])


@contextmanager
def _base(base: BaseCheckpoint, adapter: AdapterFolder, settings: EvaluateSettings) -> Iterator[Speaker]:
    """The base in the precision of the tuned model, so that their difference is the tuning and nothing else."""
    from domainlm.models import load_base

    speaker = Speaker(*load_base(base, None, adapter.card["quantization"]), settings.batch)
    yield speaker
    _release(speaker)


@contextmanager
def _encoder(base: BaseCheckpoint, adapter: AdapterFolder, settings: EvaluateSettings) -> Iterator[Reader]:
    """The untuned encoder in the precision of the tuned one; its head counts only where the base brought it along."""
    from domainlm.models.classifiers import load_classifier

    card = adapter.card
    reader = Reader(*load_classifier(base, None, card["labels"], card["quantization"]), settings.batch)
    yield reader
    _release(reader)


@contextmanager
def adapted(
    base: BaseCheckpoint, tokenizer: TokenizerFolder, adapter: AdapterFolder, settings: ScoringSettings
) -> Iterator[Speaker | Reader]:
    """The tuned model, loaded for the length of the block; one at a time."""
    from domainlm.models import load_adapter

    kind = Reader if adapter.card.get("objective") == "classification" else Speaker
    speaker = kind(*load_adapter(base, tokenizer, adapter), settings.batch)
    yield speaker
    _release(speaker)


def _release(speaker: Speaker | Reader) -> None:
    import torch

    speaker.model = None  # one model at a time: the caller's variable still holds the speaker
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _ask_base(
    speaker: Speaker, parts: Sequence[Part], examples: Mapping[str, list[Record]], settings: EvaluateSettings
) -> dict[str, list[Record]]:
    """Ask the base zero-shot, by cloze and few-shot; returns the examples that fitted into its context."""
    shown: dict[str, list[Record]] = {}
    if BASE in settings.systems:
        ask(speaker, parts, BASE)
    for part in parts:
        if CLOZE in settings.systems and part.task.cloze:
            ask(speaker, [part], CLOZE, [part.task.cloze_prompt(record) for record in part.items])
        if FEW_SHOT in settings.systems:
            prompts, count = speaker.few_shot_prompts(part, examples[part.task.name])
            shown[f"{part.task.name} / {part.source}"] = examples[part.task.name][:count]
            ask(speaker, [part], FEW_SHOT, prompts)
    return shown


def _ask_encoder(
    reader: Reader, parts: Sequence[Part], seen: Mapping[tuple[str, str], list[Record]], systems: set[str]
) -> None:
    """Ask an untuned encoder by the head that it brought along, and by a linear probe on its states."""
    if BASE in systems:
        ask(reader, parts, BASE)
    if PROBE in systems:
        for name in _names(parts):
            own = [part for part in parts if part.task.name == name]
            try:
                found = linear_probe(reader, own, seen[name, TRAIN], seen[name, DEVELOPMENT])
            except ModelError as error:
                raise EvaluationError(error.what, f"system '{PROBE}', task '{name}'", error.remedy) from error
            for part, outcomes in zip(own, found, strict=True):
                part.outcomes[PROBE] = outcomes


def ask(speaker: Speaker | Reader, parts: Sequence[Part], system: str, prompts: list[str] | None = None) -> None:
    """Let a system answer the items of some parts.

    Raises:
        EvaluationError: a model that gives no finite score, or a text that does not fit into its context.
    """
    for part in parts:
        try:
            part.outcomes[system] = speaker.outcomes(part.task, prompts or part.prompts, part.references)
        except ModelError as error:
            where = f"system '{system}', task '{part.task.name}', source {part.source}"
            raise EvaluationError(error.what, where, error.remedy) from error


def _say(speaker: Speaker | Reader, parts: Sequence[Part], prompts: Mapping[str, list[str]]) -> dict[str, list[str]]:
    tasks = {part.task.name: part.task for part in parts}
    return {name: [text for text, _ in speaker.say(tasks[name], texts)] for name, texts in prompts.items() if texts}


def _score(
    parts: Sequence[Part],
    trained: Mapping[str, set[str]],
    settings: EvaluateSettings,
    not_assessable: Mapping[str, str],
) -> tuple[list[Row], dict[str, ItemScores]]:
    from domainlm.evaluate.bootstrap import Resampler
    from domainlm.evaluate.metrics import METRICS

    rows, item_scores = [], {}
    with tempfile.TemporaryDirectory() as cache:
        for part in parts:
            for name in part.task.metrics:
                if name not in METRICS:
                    raise EvaluationError(
                        f"unknown metric '{name}'", f"task '{part.task.name}'", nearest(name, METRICS)
                    )
            metrics = [METRICS[name](cache, part.task.labels) for name in part.task.metrics]
            groups = [record["group"] or record["id"] for record in part.items]
            resampler = Resampler(groups, settings.resamples, settings.confidence, settings.seed)
            row, items = _row(part, metrics, resampler, settings, not_assessable)
            row.in_training = sum(prompt in trained[part.task.name] for prompt in part.prompts)
            rows.append(row)
            item_scores[row.name] = items
    return rows, item_scores


def _row(
    part: Part,
    metrics: Sequence[Score],
    resampler: Resampler,
    settings: EvaluateSettings,
    not_assessable: Mapping[str, str],
) -> tuple[Row, ItemScores]:
    import evaluate as evaluation_library

    from domainlm.evaluate.metrics import BITS, PREDICTIONS, REFERENCES, STOPPED, Mean

    task, first = part.task, metrics[0]
    scores: dict[str, dict[str, Estimate]] = {}
    items: dict[str, dict[str, list[float]]] = {}
    primary: dict[str, object] = {}
    for system in sorted(part.outcomes, key=settings.systems.index):
        outcomes = part.outcomes[system]
        columns = {
            PREDICTIONS: [outcome.prediction for outcome in outcomes],
            REFERENCES: part.references,
            STOPPED: [outcome.stopped for outcome in outcomes],
            BITS: [outcome.bits for outcome in outcomes],
        }
        usable = [metric for metric in metrics if all(columns[name][0] is not None for name in metric.columns)]
        points = evaluation_library.combine(usable).compute(**columns)
        scores[system], items[system] = {}, {}
        for metric in usable:
            statistics = metric.statistics(**{name: columns[name] for name in metric.columns})
            found = resampler.interval(metric.value, statistics, metric.bounded)
            if not math.isclose(found.value, points[metric.key], rel_tol=1e-6, abs_tol=1e-9):
                raise EvaluationError(
                    f"'{metric.key}' of its parts and of the whole disagree", f"task '{task.name}'", "mend the metric"
                )
            scores[system][metric.key] = as_estimate(found)
            if isinstance(metric, Mean):
                items[system][metric.key] = [round(float(score), 4) for score in statistics[:, 0]]
            if metric is first:
                primary[system] = statistics
    differences = {
        system: as_estimate(gain(resampler, first, primary[TUNED], primary[system]))
        for system in primary
        if system != TUNED and TUNED in primary
    }
    verdict, reason = _verdict(differences, resampler.groups, settings, not_assessable)
    row = Row(
        task=task.name,
        version=task.version,
        source=part.source,
        claim=task.claim,
        metric=first.key,
        pure_format=task.pure_format,
        apart=part.source in settings.apart_sources,
        items=len(part.items),
        in_training=0,
        groups=resampler.groups,
        scores=scores,
        differences=differences,
        predicted=_predicted(part) if task.kind == "classification" else {},
        verdict=verdict,
        reason=reason,
    )
    prompts = [
        hashlib.sha256(f"{task.name}/{task.version}/{prompt}".encode()).hexdigest()[:16] for prompt in part.prompts
    ]
    return row, ItemScores(records=[record["id"] for record in part.items], prompts=prompts, scores=items)


def gain(resampler: Resampler, metric: Score, tuned: np.ndarray, other: np.ndarray) -> Interval:
    """The paired difference of two systems' scores; positive where the first is better, whatever the metric."""
    pair = (tuned, other) if metric.greater_is_better else (other, tuned)
    return resampler.difference(metric.value, *pair, metric.bounded)


def as_estimate(found: Interval) -> Estimate:
    """Rounded to what is no noise of the arithmetic."""
    return Estimate(
        value=round(found.value, DIGITS),
        low=round(found.low, DIGITS),
        high=round(found.high, DIGITS),
        method=found.method,
    )


def _predicted(part: Part) -> dict[str, dict[str, float]]:
    shares = {}
    for system, outcomes in part.outcomes.items():
        counts = Counter(outcome.prediction for outcome in outcomes)
        shares[system] = {label: round(counts[label] / len(outcomes), 4) for label in part.task.labels}
    return shares


def _verdict(
    differences: Mapping[str, Estimate],
    groups: int,
    settings: EvaluateSettings,
    not_assessable: Collection[str] = (),
) -> tuple[str, str]:
    """The rule of `report.RULE`; what could not be computed counts as not shown.

    The majority answer belongs to it because a base that leans to a rare label is beaten by any constant. Where the
    base cannot answer at all, the linear probe stands for what it knows.
    """
    untuned = PROBE if BASE in not_assessable else BASE
    missing = [system for system in (untuned, SHUFFLED) if system not in differences]
    if missing:
        return "not shown", f"there is no comparison with {' and '.join(missing)}"
    if groups < settings.min_groups:
        return "not shown", f"only {groups} independent groups, {settings.min_groups} are needed"
    rivals = [system for system in (MAJORITY, BASE, PROBE, FEW_SHOT, CLOZE, SHUFFLED) if system in differences]
    level = [system for system in rivals if differences[system].low <= 0]
    if level:
        return "not shown", f"the gain over {', '.join(level)} has an interval that reaches zero or below"
    return "shown", f"the gains over {', '.join(rivals)} have intervals above zero"


def _side_by_side(
    parts: Sequence[Part],
    said: Mapping[str, Mapping[str, list[str]]],
    trained: Mapping[str, set[str]],
    seen: Mapping[tuple[str, str], list[Record]],
    settings: EvaluateSettings,
) -> list[SideBySide]:
    found = []
    for name in _names(parts):
        own = [part for part in parts if part.task.name == name]
        task, prompt_of = own[0].task, own[0].prompt
        known = {
            question(record): answer(record)
            for record in [*seen[name, TRAIN], *(item for part in own for item in part.items)]
        }
        for index, text in enumerate(task.prompts):
            found.append(
                SideBySide(
                    task=name,
                    prompt=prompt_of(text),
                    reference=known.get(text, ""),
                    in_training=prompt_of(text) in trained[name],
                    answers={system: said[system][name][index] for system in said},
                )
            )
        for index, prompt in enumerate(own[0].prompts[: settings.side_by_side]):
            found.append(
                SideBySide(
                    task=name,
                    prompt=prompt,
                    reference=own[0].references[index],
                    in_training=prompt in trained[name],
                    answers={system: outcomes[index].prediction for system, outcomes in own[0].outcomes.items()},
                )
            )
    return found
