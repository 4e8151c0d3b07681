"""A run's records in the row-level index: what served which use, and persons of rows that `prepare` dropped."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_ledgers import small_run
from small_records import DATA, OTHER, person, records

from domainlm.audit.lineage.index import DEVELOPMENT, PRETRAINING, TEST, TRAINING
from domainlm.errors import ArtifactError
from steps import rows as module
from steps.rows import RowsOfRun, with_rows


def never() -> None:
    raise AssertionError("what the index knows need not be loaded again")


def test_the_base_is_pretrained_and_the_rest_is_trained(home: Path) -> None:
    rows = RowsOfRun()
    rows.take("base_prepare", "prepared_records", OTHER, lambda: records(8))
    rows.take("prepare", "prepared_records", DATA, records)
    rows.take("prepare", "preparation_report", "f" * 64, never)
    found = rows.sets("run-1", small_run(1).model)
    assert [(one.data, one.use) for one in found] == [
        (OTHER, PRETRAINING), (OTHER, DEVELOPMENT), (OTHER, TEST), (DATA, TRAINING), (DATA, DEVELOPMENT), (DATA, TEST),
    ]  # fmt: skip
    assert sum(one.rows for one in found) == 38
    assert rows.index.models_of(OTHER) == rows.index.models_of(DATA) != []


def test_a_cached_run_has_the_same_roots_without_loading(home: Path) -> None:
    first, second = RowsOfRun(), RowsOfRun()
    first.take("prepare", "prepared_records", DATA, records)
    second.take("prepare", "prepared_records", DATA, never)
    assert first.sets("run-1", None) == second.sets("run-2", None)


def test_of_redacted_records_only_the_rows_that_name_a_person_are_taken(home: Path) -> None:
    rows = RowsOfRun()
    rows.take("redact", "redacted_records", OTHER, records)
    assert rows.sets("run-1", None) == []
    assert rows.index.data_of(person("anna")) == [OTHER]
    assert [version.rows for version in rows.index.data_versions()] == [6]


def test_a_run_that_ended_early_has_the_rows_that_it_came_to(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def show(run_id: object, visit: object, most_rows: int) -> None:
        visit("prepare", "prepared_records", DATA, records)  # type: ignore[operator]

    monkeypatch.setattr(module, "show_records", show)
    found = with_rows(small_run(1, status="failed", model=None))
    assert {one.use for one in found.rows} == {TRAINING, DEVELOPMENT, TEST}
    monkeypatch.setattr(module, "show_records", never)
    assert with_rows(found) == found


def test_records_that_cannot_be_read_leave_the_manifest_as_it_is(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def show(*_: object) -> None:
        raise ArtifactError("was changed after it was stored", "records.arrow")

    monkeypatch.setattr(module, "show_records", show)
    run = small_run(1, status="failed", model=None)
    assert with_rows(run) == run
