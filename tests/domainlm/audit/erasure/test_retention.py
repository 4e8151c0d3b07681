"""What is due goes, with an entry; what a champion or a legal hold needs stays, and the reason is said."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pytest
from small_homes import SmallHome, rotated, small_home
from small_ledgers import small_run

from domainlm.artifacts import TOMBSTONE
from domainlm.audit.erasure.retention import Retained, Retention
from domainlm.audit.erasure.stored import is_erased
from domainlm.ledger import entries
from domainlm.ledger.acts import Hold, Promotion
from domainlm.ledger.run.manifest import StepEntry

DAYS = {"redacted_records": 30, "redaction_report": 60, "adapter": 30}


@pytest.fixture
def small(tmp_path: Path) -> SmallHome:
    made = small_home(tmp_path / "home")
    made.store.add("adapter", {"adapter_model.safetensors": b"weights"}, "a" * 64)
    return made


def keep(small: SmallHome, day: str, submit=None) -> Retained:
    return Retention(
        small.home, small.store, small.register, small.ledger.evidence, submit or small.places().submit, DAYS,
        date.fromisoformat(day),
    ).delete()  # fmt: skip


def gone(small: SmallHome) -> list[str]:
    return [version.name for version in small.store.versions() if is_erased(small.store, version)]


def test_nothing_goes_before_its_day_and_everything_on_it(small: SmallHome) -> None:
    """All were made on 1 November."""
    assert keep(small, "2026-11-30").entry is None
    assert gone(small) == []
    done = keep(small, "2026-12-01")
    assert dict(done.deleted) == {"redacted_records": 1, "adapter": 1}
    assert gone(small) == ["redacted_records", "adapter"]
    stated = next(small.ledger.evidence().of_kind(entries.RETENTION))
    assert stated.act.deleted == {small.redacted: "redacted_records", "a" * 64: "adapter"}
    assert stated.act.rule == "adapter: 30 days, redacted_records: 30 days"
    assert done.entry == stated.number
    assert keep(small, "2026-12-01").entry is None, "what is gone is not deleted again"


def test_the_tombstone_names_the_act(small: SmallHome) -> None:
    keep(small, "2026-12-01")
    version = next(version for version in small.store.versions() if version.digest == small.redacted)
    stone = json.loads((Path(version.place) / TOMBSTONE).read_bytes())
    stated = next(small.ledger.evidence().of_kind(entries.RETENTION))
    assert (stone["kind"], stone["digest"]) == ("retention", small.redacted)
    assert entries.subjects(stated.envelope) == {"retention": stone["act"]}
    assert version.id in small.store.uncached, "a cached step would hand on what is gone"


def test_what_the_champion_is_made_of_stays(small: SmallHome) -> None:
    run = small_run(5, steps=[StepEntry(name="train", status="completed", outputs={"adapter": "a" * 64})])
    small.ledger.enter_run(run)
    act = Promotion(model="domainlm-finance/5", identity=run.model.identity, approvals=[])
    small.ledger.state("recorder", entries.PROMOTION, act, {"model": run.model.identity})
    done = keep(small, "2026-12-01")
    assert gone(small) == ["redacted_records"]
    assert done.kept == [f"adapter {'a' * 12}…: the champion domainlm-finance/5 needs it"]


@pytest.mark.parametrize("what", ["data", "person", "person, after a rotation", "register lost"])
def test_a_legal_hold_wins(small: SmallHome, what: str) -> None:
    if "rotation" in what:
        small = rotated(small)
    committed = "" if what == "data" else small.register.hold(small.gone)
    act = Hold(commitment=committed, data=small.redacted if what == "data" else "", case="C-9", reason="litigation")
    small.ledger.state("olga", entries.HOLD, act, {"held": committed or small.redacted})
    if what == "register lost":
        small.register.path.unlink()
    done = keep(small, "2027-01-31")
    assert "redacted_records" not in gone(small)
    assert all(line.endswith("held by olga, case C-9: litigation") for line in done.kept)
    # a report names no person; one that nobody can resolve covers everything
    assert ("redaction_report" in gone(small)) == (what != "register lost")


class Killed(BaseException):
    """Stands for kill -9."""


@pytest.mark.parametrize("stage", ["erase", "submit", "after submit", "retained"])
def test_a_kill_is_finished_by_the_next_call(small: SmallHome, monkeypatch, stage: str) -> None:
    real = small.places().submit

    def dies(*arguments):
        if stage == "after submit":
            real(*arguments)
        raise Killed

    with monkeypatch.context() as patch:
        if stage == "erase":
            patch.setattr(small.store, "erase", dies)
        elif stage == "retained":
            patch.setattr(small.register, "retained", dies)
        with pytest.raises(Killed):
            keep(small, "2026-12-01", dies if "submit" in stage else None)
    keep(small, "2026-12-01")
    stated = list(small.ledger.evidence().of_kind(entries.RETENTION))
    assert len(stated) == 1
    assert set(stated[0].act.deleted) == {small.redacted, "a" * 64}
    assert gone(small) == ["redacted_records", "adapter"]
    assert small.register.planned_retentions() == {}
