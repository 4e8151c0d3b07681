"""A person is erased whole or not at all, a kill is finished by the next call, and nobody can link what stays."""

from __future__ import annotations

import hashlib
import hmac
import json
from pathlib import Path

import pytest
from leaks import find_leaks
from small_homes import REASON, SmallHome, arrow_bytes, rotated, rows_of, small_home
from small_ledgers import small_run

from domainlm.artifacts import TOMBSTONE
from domainlm.audit.erasure import holds, suppression
from domainlm.audit.erasure.stored import is_erased
from domainlm.audit.erasure.suppression import ErasureRegister
from domainlm.audit.erasure.traces import files_naming
from domainlm.errors import AccessRefused, ApprovalRefused, ArtifactError, PlaceTaken
from domainlm.keys import KeyRing
from domainlm.ledger import entries
from domainlm.ledger.acts import Hold, HoldRelease
from domainlm.ledger.run import manifest
from domainlm.ledger.run.manifest import RUNNING, StepEntry
from domainlm.redact import Redactor
from domainlm.redact.settings import RedactSettings


@pytest.fixture
def small(tmp_path: Path) -> SmallHome:
    return small_home(tmp_path / "home")


def left(small: SmallHome, *without: str) -> list[str]:
    """Files that still name the person or one of their rows, by a search that knows containers and encodings."""
    names = [small.gone, *small.rows]
    found = {Path(leak.place).relative_to(small.home).as_posix() for leak in find_leaks(small.home, names)}
    return sorted(found - set(without))


KNOWN = ("evidence/erasures.sqlite", "vault/keys.sqlite", "vault/keys.sqlite-wal", "vault/access.jsonl")


def test_nothing_names_the_person_or_a_row_of_theirs_afterwards(small: SmallHome) -> None:
    before = left(small)
    assert {"mlflow/artifacts/7/samples/step-2.json", "vault/values.sqlite"} <= {
        name.removesuffix("-wal") for name in before
    }
    assert any(name.startswith("artifacts/redaction_report") for name in before)
    small.eraser().erase([small.gone], REASON, "anna")
    assert left(small, *KNOWN) == []
    assert find_leaks(small.home, ["Anna Quist", "letters 3 of"]) == []
    # the register keeps the id, and nothing else of it
    assert {leak.number for leak in find_leaks(small.register.path, [small.gone, *small.rows])} == {0}


def test_what_others_have_stays(small: SmallHome) -> None:
    small.eraser().erase([small.gone], REASON, "anna")
    assert (small.clean / "records.arrow").exists()
    assert small.lineage.data_of(small.stays)
    assert small.lineage.data_of(small.gone) == []
    # Bert's value in a row that named both goes with the row; his key stays
    assert small.vault.entries(subject=small.stays) == []


def test_checkpoints_and_caches_of_steps_that_read_the_data_go(small: SmallHome) -> None:
    done = small.eraser().erase([small.gone], REASON, "anna")
    assert not list((small.home / "work").rglob("*.safetensors"))
    assert not (small.home / "cache/huggingface/datasets").exists()
    assert done[small.gone].counts | {"files": 3} == {
        "rows": 3, "artifacts": 3, "files": 3, "work_folders": 2, "quarantined": 1, "vault_values": 2,
    }  # fmt: skip


def test_a_tombstone_names_the_act_that_the_ledger_has(small: SmallHome) -> None:
    small.eraser().erase([small.gone], REASON, "anna")
    erased = [version for version in small.store.versions() if is_erased(small.store, version)]
    assert {version.digest for version in erased} >= {small.redacted, small.data}
    stated = list(small.ledger.evidence().of_kind(entries.ERASURE))
    assert len(stated) == 1
    for version in erased:
        stone = json.loads((Path(version.place) / TOMBSTONE).read_bytes())
        assert stone["act"] == stated[0].act.commitment
        assert version.digest in stated[0].act.data
    assert stated[0].act.reason == REASON


def test_the_entry_is_a_commitment_that_nobody_can_link(small: SmallHome) -> None:
    small.eraser().erase([small.gone], REASON, "anna")
    raw = b"".join(entry for _, entry in small.ledger.ledger.raw())
    assert find_leaks(raw, [small.gone, *small.rows]) == []
    committed = next(small.ledger.evidence().of_kind(entries.ERASURE)).act.commitment
    assert small.register.pending() == {}, "the salt is still there"
    # without the salt, a right guess of the id does not verify: no key that is left makes the commitment
    for key in (b"", small.gone.encode(), small.keys.secret):
        assert hmac.new(key, small.gone.encode(), hashlib.sha256).hexdigest() != committed
    # the file has no row of the commitment, so that the register does not say whose the entry was
    assert find_leaks(small.register.path, [committed]) == []


def test_only_models_that_learnt_from_the_person_must_be_trained_again(small: SmallHome) -> None:
    done = small.eraser().erase([small.gone], REASON, "anna")
    assert done[small.gone].models == [small.identity]
    assert small.marked == [small.identity]
    evidence = small.ledger.evidence()
    assert [stated.header.kind for stated in evidence.about(small.identity, entries.ERASURE)] == [entries.ERASURE]


def test_a_model_that_went_on_from_one_that_learnt_from_the_person_must_be_trained_again(small: SmallHome) -> None:
    """Through two generations, none of which has a row of the person in its own data; one from the base need not."""
    stated = small.ledger.evidence().models()[small.identity].act
    before, made = stated.model.digests["adapter"], []
    for number, start in ((11, before), (12, ""), (13, "0" * 64)):
        run = small_run(number)
        start = start or made[0].model.digests["adapter"]
        run.steps = [*run.steps, StepEntry(name="train", status="completed", inputs={"start": start})]
        small.ledger.enter_run(run)
        made.append(run)
    done = small.eraser().erase([small.gone], REASON, "anna")
    assert done[small.gone].models == sorted([small.identity, *(run.model.identity for run in made[:2])])


def judged_by_bert(small: SmallHome) -> None:
    """A model in whose data Bert stands in the test split alone."""
    records = rows_of(small.keys, {20: [small.stays]}, source="notes")
    digest = "5" * 64
    small.lineage.enter(digest, "prepared_records", records)
    sets = [small.lineage.use(digest, "training", "train"), small.lineage.use(digest, "test", "test")]
    run = small_run(3, rows=sets)
    small.ledger.enter_run(run)
    small.lineage.link(run.run_id, run.model.identity, "domainlm-finance/3", sets)


def test_a_model_that_was_only_judged_by_the_person_need_not(small: SmallHome, monkeypatch) -> None:
    judged_by_bert(small)
    with monkeypatch.context() as patch:  # nor where a first call was killed in its middle
        patch.setattr(small.lineage, "forget", lambda subject: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            small.eraser().erase([small.stays], REASON, "anna")
    done = small.eraser().erase([], "", "anna")
    assert done[small.stays].models == [small.identity]


def test_where_no_index_tells_the_model_counts(small: SmallHome) -> None:
    run = small_run(4, steps=[manifest.StepEntry(name="train", status="completed", inputs={"records": small.redacted})])
    small.ledger.enter_run(run)
    done = small.eraser().erase([small.gone], REASON, "anna")
    assert run.model.identity in done[small.gone].models


def test_a_row_in_whose_older_version_nobody_found_the_person_goes_too(small: SmallHome) -> None:
    older = rows_of(small.keys, {})  # the same records, before the tagger knew the name
    place = small.store.add("redacted_records", {"records.arrow": arrow_bytes(older)}, "6" * 64)
    small.lineage.enter("6" * 64, "redacted_records", older)
    small.eraser().erase([small.gone], REASON, "anna")
    assert [path.name for path in place.iterdir()] == [TOMBSTONE]
    assert left(small, *KNOWN) == []


def test_data_of_before_a_rotation_are_found_by_the_present_id(small: SmallHome) -> None:
    old = small.gone
    later = rotated(small)
    assert later.gone != old
    done = later.eraser().erase([old], REASON, "anna")  # the old id still names whom it named
    assert done[later.gone].counts == {
        "rows": 3, "artifacts": 3, "files": 3, "work_folders": 2, "quarantined": 1, "vault_values": 2,
    }  # fmt: skip
    assert done[later.gone].models == [small.identity]
    rows = [later.keys.carried("record", row) for row in small.rows]
    found = {Path(leak.place).relative_to(small.home).as_posix() for leak in find_leaks(
        small.home, [old, later.gone, *small.rows, *rows])}  # fmt: skip
    assert found <= set(KNOWN)


STAGES = (
    "forget_quarantine", "drop_vault", "forget_vault", "mark_models", "submit", "store.erase", "store.forget_caches",
    "lineage.forget", "lineage.forget_rows", "register.enter",
)  # fmt: skip


class Killed(BaseException):
    """Stands for kill -9: nothing catches it."""


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("stage", STAGES)
def test_a_kill_at_any_place_is_finished_by_the_next_call(
    small: SmallHome, monkeypatch, stage: str, after: bool
) -> None:
    places = small.places()
    place, _, name = stage.rpartition(".")
    owner = {"": places, "store": small.store, "lineage": small.lineage, "register": small.register}[place]
    real = getattr(owner, name)

    def dies(*arguments, **named):
        if after:
            real(*arguments, **named)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, dies)
        eraser = small.eraser() if place else small.eraser(**{name: dies})
        with pytest.raises(Killed):
            eraser.erase([small.gone], REASON, "anna")
    assert small.gone in small.register.subjects(), "a run that began now would take the rows in again"
    small.eraser().erase([], "", "anna")
    kept = [small.home / name for name in KNOWN]
    assert list(files_naming(small.home, [small.gone, *small.rows], kept)) == []
    stated = list(small.ledger.evidence().of_kind(entries.ERASURE))
    assert len(stated) == 1, "one act has one entry"
    assert {small.data, small.redacted} <= set(stated[0].act.data)
    assert stated[0].act.models == [small.identity]
    assert stated[0].act.counts["rows"] == 3
    assert small.marked
    assert small.register.pending() == {}


def test_what_cannot_be_deleted_is_named_and_no_entry_is_made(small: SmallHome) -> None:
    copy = small.home / "exports" / "copy.csv"
    copy.parent.mkdir()
    copy.write_text(small.rows[0])
    with pytest.raises(ArtifactError, match=r"1 places still name .*exports/copy.csv"):
        small.eraser().erase([small.gone], REASON, "anna")
    assert not list(small.ledger.evidence().of_kind(entries.ERASURE))
    copy.unlink()
    assert small.eraser().erase([], "", "anna")[small.gone].counts["rows"] == 3


def hold(small: SmallHome, **what: str) -> str:
    act = Hold(case="C-1", reason="litigation 2026", **what)
    return small.ledger.state("olga", entries.HOLD, act, {"held": what.get("commitment") or what["data"]}).entry


def outside_evidence(small: SmallHome) -> list[Path]:
    return sorted(path for path in small.home.rglob("*") if "evidence" not in path.parts and path.name != ".lock")


@pytest.mark.parametrize("what", ["subject", "data", "register lost"])
def test_a_legal_hold_wins_by_name_case_and_reason(small: SmallHome, what: str) -> None:
    held = {"data": small.data} if what == "data" else {"commitment": small.register.hold(small.gone)}
    entry = hold(small, **held)
    if what == "register lost":
        small.register.path.unlink()
    before = outside_evidence(small)
    with pytest.raises(ApprovalRefused, match=r"olga since \d{4}-\d\d-\d\d, case C-1: litigation 2026"):
        small.eraser().erase([small.gone], REASON, "anna")
    assert before == sorted(
        path for path in small.home.rglob("*") if "evidence" not in path.parts and path.name != ".lock"
    )
    assert small.gone not in small.register.subjects()
    small.ledger.state("anna", entries.HOLD_RELEASE, HoldRelease(hold=entry, reason="settled"), {"hold": entry})
    assert small.gone in small.eraser().erase([small.gone], REASON, "anna")


def test_a_hold_on_somebody_else_does_not_matter_and_survives_a_rotation(small: SmallHome) -> None:
    hold(small, commitment=small.register.hold(small.stays))
    rotated = small.keys.succeeded_by(KeyRing.new("next-key"))
    register = ErasureRegister(small.register.path, rotated)
    now = rotated.carried("subject", small.stays)
    assert holds.in_the_way(small.ledger.evidence(), register, [now], [])
    assert not holds.in_the_way(small.ledger.evidence(), register, [rotated.carried("subject", small.gone)], [])


def test_a_hold_whose_row_was_changed_protects_everybody(small: SmallHome) -> None:
    import sqlite3

    hold(small, commitment=small.register.hold(small.gone))
    database = sqlite3.connect(small.register.path)
    with database:
        database.execute("UPDATE holds SET subject = ?", (small.stays,))
    database.close()
    with pytest.raises(ApprovalRefused, match="case C-1"):
        small.eraser().erase([small.gone], REASON, "anna")


def test_a_person_comes_back_neither_in_data_nor_in_quarantine_nor_after_a_rotation(small: SmallHome) -> None:
    small.eraser().erase([small.gone], REASON, "anna")
    for keys in (small.keys, small.keys.succeeded_by(KeyRing.new("next-key"))):
        register = ErasureRegister(small.register.path, keys)
        gone = keys.carried("subject", small.gone)
        assert register.subjects() == {gone}
        records = rows_of(keys, {3: [gone], 5: [gone]}, 8)
        raw = [row | {"messages": [{"role": "document", "content": "a\x00b" if row["row"] == 5 else "rates rise"}]}
               for row in records]  # fmt: skip
        quarantine = small.home / f"quarantine-{keys.key_id}"
        redactor = Redactor(
            RedactSettings(name_engine="none"), keys, quarantine, small.home / "w", erased=register.subjects()
        )
        redacted, report = redactor.redact(raw)
        assert report.erased_rows == 2
        assert (report.records_in, report.records_out, report.records_quarantined) == (8, 6, 0)
        assert not any(gone in subjects for subjects in redacted["subjects"])
        assert not quarantine.exists()


def test_a_report_without_erased_rows_keeps_the_digest_of_before(small: SmallHome) -> None:
    redactor = Redactor(RedactSettings(name_engine="none"), small.keys, small.home / "q", small.home / "w")
    _, report = redactor.redact(rows_of(small.keys, {}, 3))
    assert "erased_rows" not in report.model_dump(mode="json")
    assert report.model_copy(update={"erased_rows": 1}).digest != report.digest


def test_the_mark_of_the_register_changes_with_it_and_shows_no_id(small: SmallHome) -> None:
    assert small.register.mark() == ""
    small.eraser().erase([small.gone], REASON, "anna")
    first = small.register.mark()
    small.eraser().erase([small.stays], REASON, "anna")
    assert first != small.register.mark() != ""
    assert first not in (hashlib.sha256(small.gone.encode()).hexdigest(), small.gone)


def test_one_call_erases_several_and_each_has_its_entry(small: SmallHome) -> None:
    done = small.eraser().erase([small.gone, small.stays], REASON, "anna")
    assert set(done) == {small.gone, small.stays}
    stated = list(small.ledger.evidence().of_kind(entries.ERASURE))
    assert len({entry.act.commitment for entry in stated}) == 2
    assert all({small.data, small.redacted} <= set(entry.act.data) for entry in stated)


@pytest.mark.parametrize(
    ("name", "reason", "said"),
    [
        ("Anna Quist", REASON, "no subject id"),
        ("f" * 32, REASON, "no subject id"),
        ("", "short", "10 to 300 characters"),
        ("", "erase ae8f715450c237c2decd0b182253d0a3 please", "names a keyed id"),
        ("", "request of Anna Quist, 2026-117", "a case reference is needed"),
        ("", "request without number", "a case reference is needed"),
        ("", "Anna Quist, 2026-117", "names a person"),
        ("", "erase ANNA-QUIST 117", "names a person"),
    ],
)
def test_what_may_not_be_written_is_refused_and_not_repeated(
    small: SmallHome, name: str, reason: str, said: str
) -> None:
    with pytest.raises(AccessRefused, match=said) as refused:
        small.eraser().erase([name or small.gone], reason, "anna")
    assert "Anna" not in str(refused.value)
    assert not small.register.path.exists()


def test_a_run_at_work_is_waited_for(small: SmallHome, monkeypatch) -> None:
    import os
    import socket

    monkeypatch.setattr(manifest, "manifest_folder", lambda: small.home / "runs")
    running = small_run(9, status=RUNNING, model=None)
    for process, refused in (
        ({"host": socket.gethostname(), "pid": os.getpid()}, True),
        ({"host": "elsewhere", "pid": 1}, True),
        ({"host": socket.gethostname(), "pid": 2**22 + 1}, False),
    ):
        manifest.write(running.model_copy(update={"environment": {"process": process}}))
        if refused:
            with pytest.raises(PlaceTaken, match="finetuning_pipeline-9 is at work"):
                small.eraser().erase([small.gone], REASON, "anna")
        else:
            small.eraser().erase([small.gone], REASON, "anna")


def test_a_register_appears_with_its_tables_or_not_at_all(small: SmallHome, monkeypatch) -> None:
    def dies(*_, **__) -> None:
        raise Killed

    for place, name in ((suppression.os, "link"), (suppression.sqlite3, "connect")):
        with monkeypatch.context() as patch:
            patch.setattr(place, name, dies)
            with pytest.raises(Killed):
                small.register.hold(small.gone)
        assert small.register.subjects() == frozenset(), "a run would be refused for a register that was never made"
    small.register.hold(small.gone)
    assert small.register.path.stat().st_mode & 0o777 == 0o600


def test_the_register_is_readable_by_its_owner_alone(small: SmallHome) -> None:
    small.eraser().erase([small.gone], REASON, "anna")
    assert small.register.path.stat().st_mode & 0o777 == 0o600
    small.register.path.write_bytes(b"not a database at all, at least 100 bytes long" * 9)
    with pytest.raises(ArtifactError, match="erased data would come back"):
        small.register.mark()
