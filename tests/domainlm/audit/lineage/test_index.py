"""The row-level index: from a model to its rows, from a person to all that saw them, and what forgetting leaves."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from datasets import Dataset
from small_records import DATA, KEYS, OTHER, person, records

from domainlm.audit.lineage import index as module
from domainlm.audit.lineage.index import DEVELOPMENT, TEST, TRAINING, Lineage, commitment
from domainlm.errors import ArtifactError
from domainlm.keys import KeyRing
from domainlm.ledger.merkle import Frontier, leaf_hash
from domainlm.records import features

MODEL = "c" * 64


@pytest.fixture
def index(tmp_path: Path) -> Lineage:
    made = Lineage(tmp_path / "evidence" / "lineage.sqlite")
    made.enter(DATA, "prepared_records", records())
    sets = [made.use(DATA, use, split) for use, split in ((TRAINING, "train"), (DEVELOPMENT, "dev"), (TEST, "test"))]
    made.link("run-1", MODEL, "domainlm-finance/1", sets)
    return made


def test_a_model_leads_to_its_rows_with_all_that_is_stated_of_them(index: Lineage) -> None:
    (used,) = [used for used in index.used_by(MODEL) if used.use == TRAINING]
    assert (used.data, used.run, used.model) == (DATA, "run-1", "domainlm-finance/1")
    rows = list(index.rows_of(DATA, TRAINING))
    stored = [row for row in records() if row["split"] == "train"]
    assert [row.record for row in rows] == [row["id"] for row in stored]
    for row, original in zip(rows, stored, strict=True):
        for name in ("row", *module.PROFILE):
            assert getattr(row, name) == original[name]


def test_counts_are_those_of_the_rows(index: Lineage) -> None:
    counted = index.counts(DATA, TRAINING)
    rows = list(index.rows_of(DATA, TRAINING))
    assert counted["licence"] == {
        licence: sum(row.licence == licence for row in rows) for licence in ("MIT", "proprietary")
    }
    assert counted["split"] == {"train": len(rows)} and "forgotten" not in counted
    assert sum(index.counts(DATA)["handling"].values()) == 30


def test_a_person_leads_to_every_data_version_and_model_that_saw_them(index: Lineage) -> None:
    index.enter(OTHER, "base_prepared_records", records(4))
    assert index.data_of(person("anna")) == [DATA, OTHER]
    assert index.data_of(person("nobody")) == []
    assert index.models_of(DATA) == [MODEL] and index.models_of(OTHER) == []
    assert [row.row for row in index.rows_about(person("anna"), OTHER)] == [1]


def test_the_root_is_that_of_the_commitments_and_each_opens_to_its_id(index: Lineage) -> None:
    leaves = []
    for row in index.rows_of(DATA, TEST):
        ((position, salt, committed),) = index.opening_of(DATA, row.record)
        assert position == row.position and committed == commitment(salt, row.record)
        leaves.append(leaf_hash(committed))
    assert index.root_of(DATA, TEST).root == Frontier().extended(leaves).root.hex()
    assert index.root_of(DATA, TEST).rows == len(leaves)


def test_the_root_stays_after_forgetting_and_nothing_leads_back(index: Lineage, tmp_path: Path) -> None:
    before = {use: index.root_of(DATA, use) for use in module.USES}
    gone = [row.record for row in index.rows_about(person("anna"), DATA)]
    assert len(gone) == 6
    openings = {record: index.opening_of(DATA, record)[0] for record in gone}
    assert index.forget(person("anna")) == 6
    assert {use: index.root_of(DATA, use) for use in module.USES} == before
    assert index.data_of(person("anna")) == [] and index.rows_about(person("anna"), DATA) == []
    assert not [row for row in index.rows_of(DATA) if row.record in gone]
    forgotten = [row for row in index.rows_of(DATA) if not row.record]
    assert len(forgotten) == 6 and all(row.row == 0 for row in forgotten)
    assert index.counts(DATA)["forgotten"] == {"": 6}
    for path in index.path.parent.iterdir():  # not in a free page, not in the write-ahead log
        raw = path.read_bytes()
        assert person("anna").encode() not in raw, path
        for record, (_, salt, _) in openings.items():
            assert record.encode() not in raw and salt not in raw, path


def test_another_person_of_a_forgotten_row_is_still_known_to_have_been_seen(index: Lineage) -> None:
    index.forget(person("anna"))
    assert index.data_of(person("bert")) == [DATA]
    assert index.rows_about(person("bert"), DATA) == []
    assert index.forget(person("bert")) == 0
    assert index.data_of(person("bert")) == []


def test_a_data_version_that_is_entered_again_keeps_its_salts(index: Lineage) -> None:
    before = index.root_of(DATA, TRAINING)
    index.forget(person("anna"))
    assert index.enter(DATA, "prepared_records", records()) == 30
    assert index.use(DATA, TRAINING, "train") == before
    assert index.data_of(person("anna")) == [], "a forgotten person came back"


def test_two_indexes_of_the_same_data_have_no_commitment_in_common(index: Lineage, tmp_path: Path) -> None:
    other = Lineage(tmp_path / "other.sqlite")
    other.enter(DATA, "prepared_records", records())
    record = next(index.rows_of(DATA)).record
    assert index.opening_of(DATA, record)[0][2] != other.opening_of(DATA, record)[0][2]
    assert index.root_of(DATA, TRAINING).root != other.use(DATA, TRAINING, "train").root


def test_data_that_no_model_sees_is_taken_up_for_its_persons_alone(index: Lineage) -> None:
    assert index.enter(OTHER, "redacted_records", records(), named_only=True) == 6
    assert index.data_of(person("bert")) == [DATA, OTHER]


def test_a_rotation_carries_ids_keeps_roots_and_drops_what_only_the_old_key_opens(index: Lineage) -> None:
    before = index.root_of(DATA, TRAINING)
    ring = KEYS.succeeded_by(KeyRing.new("k2"))
    assert index.carry(ring) == 30 and index.carry(ring) == 0
    assert index.data_of(person("anna")) == []
    assert index.data_of(ring.keyed_id("subject", "SUBJECT", "anna")) == [DATA]
    rows = list(index.rows_of(DATA))
    assert rows[7].record == ring.keyed_id("record", "s", "7")
    assert index.opening_of(DATA, rows[7].record) == []
    assert index.root_of(DATA, TRAINING) == before


def test_the_file_is_private_and_an_unknown_data_version_is_named(index: Lineage) -> None:
    for path in index.path.parent.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(index.path.parent.stat().st_mode) == 0o700
    with pytest.raises(ArtifactError, match="does not know"):
        index.root_of(OTHER, TRAINING)


def test_a_broken_index_is_a_named_error(tmp_path: Path) -> None:
    path = tmp_path / "lineage.sqlite"
    path.write_bytes(b"no database" * 1000)
    with pytest.raises(ArtifactError, match="index refuses"):
        Lineage(path)


WRITER = """
import sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from small_records import DATA, records
from domainlm.audit.lineage.index import TRAINING, Lineage
index = Lineage(Path(sys.argv[1]))
index.enter(DATA, "prepared_records", records())
print(index.use(DATA, TRAINING, "train").root)
"""


def test_two_processes_that_enter_the_same_data_get_one_root(tmp_path: Path) -> None:
    script = WRITER.format(tests=str(Path(__file__).parents[3] / "support"))
    command = [sys.executable, "-c", script, str(tmp_path / "lineage.sqlite")]
    writers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    roots = {writer.communicate(timeout=120)[0].strip() for writer in writers}
    assert len(roots) == 1 and len(roots.pop()) == 64


def test_no_text_is_taken_up(tmp_path: Path) -> None:
    one = records(1).to_list()
    one[0]["messages"] = [{"role": "user", "content": "a very particular sentence"}]
    one[0]["context"], one[0]["label"] = "another one", "positive"
    index = Lineage(tmp_path / "lineage.sqlite")
    index.enter(DATA, "prepared_records", Dataset.from_list(one, features=features()))
    raw = b"".join(path.read_bytes() for path in tmp_path.iterdir() if path.is_file())
    assert b"particular" not in raw and b"another one" not in raw and b"positive" not in raw
    assert json.dumps(next(index.rows_of(DATA))._asdict())
