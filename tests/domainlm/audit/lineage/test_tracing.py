"""From a model to what made it and from a person to what saw them, by ledger and index together."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_ledgers import SmallLedger, small_ledger, small_run
from small_records import person, records

from domainlm.audit.lineage.index import PRETRAINING, TRAINING, Lineage
from domainlm.audit.lineage.tracing import DIFFERENT, PROVEN, UNKNOWN, rows_of, trace_model, trace_subject
from domainlm.errors import EvidenceRefused
from domainlm.ledger.run.manifest import RowSet, RunManifest, StepEntry

DATA, CORPUS, BASE = "a" * 64, "b" * 64, "e" * 64


@pytest.fixture
def index(tmp_path: Path) -> Lineage:
    made = Lineage(tmp_path / "lineage.sqlite")
    made.enter(DATA, "prepared_records", records())
    made.enter(CORPUS, "base_prepared_records", records(8))
    return made


def run(index: Lineage, **changes: object) -> RunManifest:
    found = small_run(
        1, rows=[index.use(DATA, TRAINING, "train")], base={"name": "own", "digest": BASE},
        code={"commit": "c" * 40, "dirty": False, "lock": "", "files": {"cli/run.py": "f" * 64}},
    ).model_copy(update=changes)  # fmt: skip
    assert found.model is not None
    index.link(found.run_id, found.model.identity, "domainlm-finance/1", found.rows)
    return found


@pytest.fixture
def ledger(tmp_path: Path) -> SmallLedger:
    return small_ledger(tmp_path / "ledger")


def test_a_model_leads_to_run_code_base_and_proven_rows(ledger: SmallLedger, index: Lineage) -> None:
    receipt = ledger.enter_run(run(index))
    trace = trace_model(ledger.evidence(), index, "domainlm-finance/1")
    assert (trace.number, trace.entry) == (receipt.number, receipt.entry)
    assert trace.code["commit"] == "c" * 40 and trace.code["files"] == 1
    (found,) = trace.sets
    assert found.proof == PROVEN and found.artifact == "prepared_records"
    assert found.counts["split"] == {"train": found.rows}
    listed = [row.record for _, row in rows_of(index, trace)]
    assert listed == [row["id"] for row in records() if row["split"] == "train"]


def test_a_base_of_an_earlier_run_brings_its_own_rows(ledger: SmallLedger, index: Lineage) -> None:
    rows = [index.use(CORPUS, PRETRAINING, "train")]
    pretrained = small_run(
        7, model=None, rows=rows, base={"digest": BASE}, pipeline="pretraining_pipeline",
        steps=[StepEntry(name="pretrain", status="completed", outputs={"base": "9" * 64})],
    )  # fmt: skip
    number = ledger.enter_run(pretrained).number
    ledger.enter_run(run(index))
    trace = trace_model(ledger.evidence(), index, "domainlm-finance/1")
    assert [(one.run, one.use, one.proof) for one in trace.sets] == [
        (number, PRETRAINING, PROVEN), (number + 1, TRAINING, PROVEN),
    ]  # fmt: skip
    assert trace.base["entry"] == number


def test_forgetting_leaves_the_set_proven_and_says_how_many_went(ledger: SmallLedger, index: Lineage) -> None:
    ledger.enter_run(run(index))
    index.forget(person("anna"))
    (found,) = trace_model(ledger.evidence(), index, "domainlm-finance/1").sets
    assert found.proof == PROVEN and found.counts["forgotten"][""] > 0


def test_an_index_with_other_rows_or_without_them_is_named(ledger: SmallLedger, index: Lineage, tmp_path: Path) -> None:
    ledger.enter_run(run(index))
    other = Lineage(tmp_path / "other.sqlite")
    assert [one.proof for one in trace_model(ledger.evidence(), other, "domainlm-finance/1").sets] == [UNKNOWN]
    other.enter(DATA, "prepared_records", records())
    other.use(DATA, TRAINING, "train")
    assert [one.proof for one in trace_model(ledger.evidence(), other, "domainlm-finance/1").sets] == [DIFFERENT]
    assert list(rows_of(other, trace_model(ledger.evidence(), other, "domainlm-finance/1"))), "they are shown, unproven"


def test_a_set_of_another_size_is_not_proven(ledger: SmallLedger, index: Lineage) -> None:
    true = index.use(DATA, TRAINING, "train")
    ledger.enter_run(run(index, rows=[RowSet(data=DATA, use=TRAINING, rows=true.rows + 1, root=true.root)]))
    assert trace_model(ledger.evidence(), index, "domainlm-finance/1").sets[0].proof == DIFFERENT


def test_an_unknown_model_is_refused_with_the_known_ones(ledger: SmallLedger, index: Lineage) -> None:
    ledger.enter_run(run(index))
    with pytest.raises(EvidenceRefused, match="domainlm-finance/1"):
        trace_model(ledger.evidence(), index, "domainlm-finance/2")


def test_a_person_leads_to_data_uses_and_models(index: Lineage) -> None:
    found = run(index)
    assert found.model is not None
    of_data, of_corpus = trace_subject(index, person("anna"))
    assert (of_data.data, of_data.rows, of_data.uses) == (DATA, 6, [TRAINING])
    assert of_data.models == {found.model.identity: "domainlm-finance/1"} and of_data.runs == [found.run_id]
    assert (of_corpus.artifact, of_corpus.models) == ("base_prepared_records", {})
    assert trace_subject(index, person("nobody")) == []
