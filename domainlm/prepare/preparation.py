"""The preparation of records: decisions are made on hashes and positions, the texts are touched once."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from domainlm.agreement import label_agreement, require_agreement
from domainlm.artifacts import BaseCheckpoint
from domainlm.errors import ContractViolation
from domainlm.prepare import duplicates
from domainlm.prepare.decontamination import decontaminate
from domainlm.prepare.normalise import normalise
from domainlm.prepare.replay import Replay, replay
from domainlm.prepare.report import PartCount, PreparationReport
from domainlm.prepare.rows import BATCH_ROWS, FIELDS, Rows, read
from domainlm.prepare.settings import PrepareSettings
from domainlm.records import DEVELOPMENT, SPLIT_BUCKETS, SPLITS, TEST, TRAIN, features
from domainlm.tasks import DOCUMENT_TASK

if TYPE_CHECKING:
    from datasets import Dataset

EMPTY = "empty"


def prepare(
    records: Dataset, settings: PrepareSettings, base: BaseCheckpoint | None = None, fresh: Replay | None = None
) -> tuple[Dataset, PreparationReport]:
    """Normalise, deduplicate, split and decontaminate records; those that stay keep their order.

    Args:
        records: redacted records.
        settings: fractions, thresholds, seed.
        base: the base model that shall be tuned, whose pre-training corpus test rows are compared with.
        fresh: in a retraining, what is new in the data, and how much of the old goes with it.

    Raises:
        ContractViolation: no row is left, two sources label the same texts differently, or the base does not say what
            it was pre-trained on although the settings require it.
    """
    records, changed = _normalised(records)
    columns = (records.data.table.column(name).to_pylist() for name in ("task", "split_bucket", "split"))
    split = [_split(task, bucket, fixed, settings) for task, bucket, fixed in zip(*columns, strict=True)]
    numbers = records.data.table.column("row").to_pylist() if fresh is not None else []
    sources = records.data.table.column("source").to_pylist() if fresh is not None else []
    rows = read(records, split, [fresh.age(*row) for row in zip(sources, numbers, strict=True)])
    for position in range(len(rows)):
        if not rows.words.lengths[FIELDS * position]:
            rows.drop(position, EMPTY)
    agreements = label_agreement(
        (rows.task[position], rows.source[position], rows.prompt[position], rows.label[position])
        for position in rows.kept()
        if rows.labelled[position]
    )
    require_agreement(agreements, settings.max_label_disagreement)
    several_labels = duplicates.drop_conflicting_labels(rows, settings.conflicting_labels == "first")
    several_answers = duplicates.count_several_answers(rows)
    duplicates.drop_exact(rows)
    duplicates.drop_near(
        rows, settings.near_duplicate_threshold, settings.shingle_words, settings.permutations, settings.seed
    )
    duplicates.drop_torn_groups(rows)
    decontamination = decontaminate(rows, base, settings.template_rows, settings.require_pretraining_ngrams)
    replayed = None
    if fresh is not None:
        replayed = replay(rows, records.data.table.column("id").to_pylist(), numbers, fresh, settings.seed)
    kept = list(rows.kept())
    if not kept:
        raise ContractViolation("no row is left", f"after {len(rows)} rows", "look at the counts of ingest and redact")
    report = PreparationReport(
        rows_in=len(rows),
        rows_out=len(kept),
        parts=_parts(rows),
        dropped=_reasons(rows),
        texts_changed=changed,
        texts_with_several_labels=several_labels,
        questions_with_several_answers=several_answers,
        agreements=tuple(agreements),
        decontamination=decontamination,
        replay=replayed,
        settings=settings.model_dump(mode="json"),
    )
    return _selected(records, kept, [rows.split[position] for position in kept]), report


def _split(task: str, bucket: int, fixed: str, settings: PrepareSettings) -> str:
    """The split of a bucket. Test buckets come first, so that another dev_fraction moves no test row."""
    if fixed:
        return fixed
    test = round(settings.test_fraction * SPLIT_BUCKETS)
    if bucket < test and task != DOCUMENT_TASK:  # plain text is not evaluated as a task
        return TEST
    return DEVELOPMENT if test <= bucket < test + round(settings.dev_fraction * SPLIT_BUCKETS) else TRAIN


def _normalised(records: Dataset) -> tuple[Dataset, int]:
    """The records with normalised texts, as Arrow in memory, and how many texts that changed."""
    import pyarrow as pa

    schema, batches, changed = features().arrow_schema, [], 0
    for start in range(0, len(records), BATCH_ROWS):
        batch = records[start : start + BATCH_ROWS]
        for name in ("context", "label"):
            before, batch[name] = batch[name], [normalise(text) for text in batch[name]]
            changed += sum(map(str.__ne__, before, batch[name]))
        for turns in batch["messages"]:
            for turn in turns:
                text = normalise(turn["content"])
                changed += text != turn["content"]
                turn["content"] = text
        batches.append(pa.Table.from_pydict({name: batch[name] for name in schema.names}, schema=schema))
    table = pa.concat_tables(batches) if batches else schema.empty_table()
    return _dataset(table), changed


def _selected(records: Dataset, kept: list[int], split: list[str]) -> Dataset:
    import pyarrow as pa

    table = records.data.table.take(pa.array(kept, pa.int64()))
    position = table.schema.get_field_index("split")
    return _dataset(table.set_column(position, table.schema.field(position), pa.array(split, pa.string())))


def _dataset(table) -> Dataset:
    from datasets import Dataset, DatasetInfo
    from datasets.table import InMemoryTable

    return Dataset(InMemoryTable(table), info=DatasetInfo(features=features()))


def _parts(rows: Rows) -> tuple[PartCount, ...]:
    before, after = Counter(), Counter()
    for task, source, split, reason in zip(rows.task, rows.source, rows.split, rows.dropped, strict=True):
        before[task, source, split] += 1
        after[task, source, split] += not reason
    order = sorted(before, key=lambda key: (key[0], key[1], SPLITS.index(key[2])))
    return tuple(
        PartCount(task=key[0], source=key[1], split=key[2], rows_in=before[key], rows_out=after[key]) for key in order
    )


def _reasons(rows: Rows) -> dict[str, dict[str, int]]:
    found: dict[str, Counter[str]] = {}
    for split, reason in zip(rows.split, rows.dropped, strict=True):
        if reason:
            found.setdefault(reason, Counter())[split] += 1
    return {reason: {split: found[reason][split] for split in SPLITS} for reason in sorted(found)}
