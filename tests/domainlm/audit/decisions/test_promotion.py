"""A promotion: what it needs, what it leaves, and that kills and rivals end in one champion."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from small_ledgers import ORIGIN, SmallLedger, small_ledger, small_run

from domainlm.audit.decisions.approvals import check_promotion
from domainlm.audit.decisions.promotion import (
    Champion,
    RegisteredVersion,
    alias_findings,
    promote,
    registered_findings,
    stored_findings,
)
from domainlm.audit.proof.verification import examine
from domainlm.errors import ApprovalRefused, EvidenceRefused, RegistrationError
from domainlm.ledger import entries
from domainlm.ledger.acts import Approval, Erasure, Promotion
from domainlm.ledger.run.manifest import RunManifest

NAME = "domainlm-finance"


class Killed(BaseException):
    """Stands for a SIGKILL: nothing catches it."""


class TwoRegistries:
    """Registries in memory, which can be edited by anyone, as real ones can."""

    names = ("one", "two")

    def __init__(self) -> None:
        self.versions: dict[str, RegisteredVersion] = {}
        self.champion: dict[str, str] = {}  # registry -> label
        self.kill_after = ""
        self.lock = threading.Lock()

    def hold(self, run: RunManifest) -> None:
        model = run.model
        files = {part: model.digests[part] for part in ("adapter", "tokenizer", "base")}
        self.versions[f"{model.name}/{model.version}"] = RegisteredVersion(
            label=f"{model.name}/{model.version}", verified=True, files=files, digests=dict(model.digests),
            identities=dict.fromkeys(self.names, model.identity),
        )  # fmt: skip

    def identity(self, name: str, version: str) -> str:
        found = self.versions.get(f"{name}/{version}")
        return found.identities["one"] if found else ""

    def version(self, name: str, version: str, runs) -> RegisteredVersion:
        assert runs
        if f"{name}/{version}" not in self.versions:
            raise RegistrationError("is not in the registry", f"{name}/{version}", "register it")
        return self.versions[f"{name}/{version}"].model_copy(deep=True)

    def champions(self) -> list[Champion]:
        return [
            Champion(registry=registry, name=NAME, version=label.rpartition("/")[2],
                     identity=self.versions[label].identities[registry])
            for registry, label in self.champion.items()
        ]  # fmt: skip

    def crown(self, name: str, version: str, runs) -> None:
        for registry in self.names:
            with self.lock:
                self.champion[registry] = f"{name}/{version}"
            if registry == self.kill_after:
                raise Killed


class Stage:
    """A ledger with approved versions, and registries that hold them."""

    def __init__(self, folder: Path, approved: int = 2) -> None:
        self.made: SmallLedger = small_ledger(folder)
        self.registries = TwoRegistries()
        self.runs = {}
        for number in range(1, approved + 1):
            self.enter(number)
            self.approve(number)

    def enter(self, number: int, **changes) -> None:
        run = small_run(number, **changes)
        self.runs[number] = (run, self.made.enter_run(run).entry)
        self.registries.hold(run)

    def approve(self, number: int, *people: str, **changes) -> None:
        run, entry = self.runs[number]
        for person in people or ("anna", "victor"):
            fields = {"decision": "approve", "reason": "seen"} | changes
            act = Approval(model=f"{NAME}/{number}", identity=run.model.identity, run=entry, **fields)
            self.made.state(person, entries.APPROVAL, act)

    def append(self, act: Promotion) -> object:
        statement = entries.statement(
            entries.PROMOTION, ORIGIN, "recorder", {act.model: act.identity}, act.model_dump(mode="json")
        )
        return self.made.service.record(statement)

    def examine(self):
        ledger = self.made.ledger
        return examine(ledger.raw(), ledger.checkpoints(), (), ORIGIN, self.made.root_keyids)

    def promote(self, number: int, **changes):
        given = {"examine": self.examine, "ledger": self.made.ledger, "registries": self.registries,
                 "append": self.append} | changes  # fmt: skip
        return promote(NAME, str(number), **given)

    def promotions(self) -> list:
        evidence = self.made.evidence()
        found = list(evidence.of_kind(entries.PROMOTION))
        assert [check_promotion(evidence, stated) for stated in found] == [None] * len(found)
        return [stated.act.model.rpartition("/")[2] for stated in found]


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


def test_an_approved_version_becomes_the_champion_in_the_ledger_and_in_every_registry(stage):
    done = stage.promote(1)
    assert (
        not done.already and done.previous == "" and done.decision.counted == {"anna": "officer", "victor": "validator"}
    )
    assert stage.registries.champion == {"one": f"{NAME}/1", "two": f"{NAME}/1"} and stage.promotions() == ["1"]
    assert stage.made.evidence().entry(done.entry).act.approvals == done.decision.approvals
    second = stage.promote(2)
    assert second.previous == done.identity and stage.promotions() == ["1", "2"]
    assert alias_findings(stage.made.evidence(), stage.registries.champions(), stage.registries.names) == []


def test_who_is_the_champion_already_stays_it_and_nothing_is_entered(stage):
    stage.promote(1)
    size = stage.made.ledger.frontier.size
    again = stage.promote(1)
    assert again.already and again.entry == stage.promote(1).entry and stage.made.ledger.frontier.size == size


def test_a_champion_that_must_be_trained_again_is_named(stage):
    first = stage.promote(1)
    assert not any("champion" in line for line in first.warnings)
    erased = Erasure(commitment="c" * 64, data=[], models=[first.identity], counts={}, by="x", reason="asked for it")
    number = stage.made.state("recorder", entries.ERASURE, erased, {"erasure": "c" * 64}).number
    for done in (stage.promote(1), stage.promote(2, dry_run=True), stage.promote(2)):
        assert done.warnings[1:] == [
            f"the present champion {NAME}/1 learnt from data that were erased since (entry {number}):"
            " it must be trained again"
        ]


def test_a_dry_run_changes_nothing(stage):
    size = stage.made.ledger.frontier.size
    assert stage.promote(1, dry_run=True).decision.allowed
    assert stage.made.ledger.frontier.size == size and stage.registries.champion == {}


def test_what_is_missing_is_said_a_sentence_each_and_nothing_moves(stage):
    stage.enter(3)
    with pytest.raises(ApprovalRefused) as refused:
        stage.promote(3)
    assert "the approval of an officer is missing: anna, olga could give it" in refused.value.what
    assert "the approval of a validator is missing: olga, victor could give it" in refused.value.what
    assert stage.promotions() == [] and stage.registries.champion == {}


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda found: found.files.update(adapter="0" * 64), "another adapter"),
        (lambda found: found.files.update(tokenizer="0" * 64), "another tokenizer"),
        (lambda found: found.files.pop("adapter"), "no adapter"),
        (lambda found: found.digests.update(data="0" * 64), "other digests"),
        (lambda found: found.identities.update(two="0" * 64), "another identity than the ledger (two)"),
        (lambda found: setattr(found, "verified", False), "not finished"),
    ],
)
def test_a_registry_that_holds_something_else_is_refused(stage, change, word):
    change(stage.registries.versions[f"{NAME}/1"])
    with pytest.raises(ApprovalRefused) as refused:
        stage.promote(1)
    assert word in refused.value.what and stage.promotions() == []


def test_a_version_that_nobody_recorded_is_refused(stage):
    stage.registries.hold(small_run(9))
    for number in (9, 10):
        with pytest.raises(ApprovalRefused, match="no completed run"):
            stage.promote(number)
    # a forged tag: version 9 says that it is what was approved as version 1
    stage.registries.versions[f"{NAME}/9"].identities["one"] = stage.runs[1][0].model.identity
    with pytest.raises(ApprovalRefused, match="no completed run"):
        stage.promote(9)


def test_a_broken_ledger_promotes_nothing(stage):
    verification, evidence = stage.examine()
    broken = verification.model_copy(update={"verdict": "broken", "findings": verification.findings})
    from domainlm.ledger.findings import Finding

    broken.findings.append(Finding(code="edited", severity="broken", where="entry 1", what="differs"))
    with pytest.raises(ApprovalRefused, match="the ledger is broken: broken: edited: entry 1"):
        stage.promote(1, examine=lambda: (broken, evidence))
    assert stage.promotions() == []


def test_entries_that_came_after_the_verification_pass_the_gate_and_count(stage):
    verification, evidence = stage.examine()
    stage.approve(1, "olga", decision="reject")
    with pytest.raises(ApprovalRefused, match="olga rejected it"):
        stage.promote(1, examine=lambda: (verification, evidence))
    assert stage.promotions() == []


def test_a_rejection_that_comes_at_the_last_moment_still_counts(stage):
    """The signer adds the promotion only behind what it was decided upon."""

    def late(act: Promotion) -> object:
        if act.follows == size:
            stage.approve(1, "olga", decision="reject")
        return stage.append(act)

    size = stage.made.ledger.frontier.size
    with pytest.raises(ApprovalRefused, match="olga rejected it"):
        stage.promote(1, append=late)
    assert stage.promotions() == [] and stage.registries.champion == {}


def test_entries_of_others_between_do_not_matter(stage):
    reads = iter(range(5))

    def busy(act: Promotion) -> object:
        if next(reads, None) is not None:
            stage.made.state("recorder", entries.READ, {"person": "anna", "page": "models", "subject": ""})
        return stage.append(act)

    assert stage.promote(1, append=busy).entry and stage.promotions() == ["1"]


def test_a_signer_that_always_has_others_first_ends_in_words(stage):
    def starved(act: Promotion) -> object:
        raise EvidenceRefused("was decided upon fewer entries", "the new entry", "", "overtaken")

    with pytest.raises(ApprovalRefused, match="other entries came between 20 times"):
        stage.promote(1, append=starved)


@pytest.mark.parametrize("kill", ["before the entry", "after the entry", "one", "two"])
def test_a_promotion_that_was_killed_anywhere_is_finished_by_calling_it_again(stage, kill):
    def killed(act: Promotion) -> object:
        if kill == "before the entry":
            raise Killed
        receipt = stage.append(act)
        if kill == "after the entry":
            raise Killed
        return receipt

    stage.registries.kill_after = kill
    with pytest.raises(Killed):
        stage.promote(1, append=killed)
    stage.registries.kill_after = ""
    done = stage.promote(1)
    assert stage.promotions() == ["1"] and set(stage.registries.champion.values()) == {f"{NAME}/1"}
    # killed before the entry it is made anew; after the last alias nothing is left to do
    assert (done.finished, done.already) == (kill in ("after the entry", "one"), kill == "two")


def test_an_unfinished_promotion_is_not_finished_once_it_was_rejected(stage):
    stage.registries.kill_after = "one"
    with pytest.raises(Killed):
        stage.promote(1)
    stage.registries.kill_after = ""
    stage.approve(1, "olga", decision="reject")
    with pytest.raises(ApprovalRefused, match="may not be shown as such: olga rejected it"):
        stage.promote(1)
    assert stage.registries.champion == {"one": f"{NAME}/1"}
    stage.promote(2)
    assert set(stage.registries.champion.values()) == {f"{NAME}/2"}


def test_of_promotions_at_once_one_wins_and_the_others_are_told_so(tmp_path):
    stage, rivals = Stage(tmp_path, approved=4), 4
    start, ends = threading.Barrier(rivals), {}

    def run(number: int) -> None:
        found = stage.examine()
        start.wait(timeout=30)
        try:
            ends[number] = stage.promote(number, examine=lambda: found)
        except ApprovalRefused as refused:
            ends[number] = refused

    threads = [threading.Thread(target=run, args=(number,)) for number in range(1, rivals + 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    won = [number for number, end in ends.items() if not isinstance(end, ApprovalRefused)]
    assert len(ends) == rivals and len(won) == 1 and stage.promotions() == [str(won[0])]
    assert all("another promotion came first" in end.what for number, end in ends.items() if number != won[0])
    assert set(stage.registries.champion.values()) == {f"{NAME}/{won[0]}"}


def test_the_aliases_end_at_the_ledgers_latest_champion_in_whichever_order_they_are_moved(stage):
    """Version 2 is promoted whole while version 1's promotion is between its entry and its aliases."""
    honest = stage.registries.crown
    first = [True]

    def slow(name: str, version: str, runs) -> None:
        if version == "1" and first.pop() if first else False:
            stage.promote(2)
        honest(name, version, runs)

    stage.registries.crown = slow
    with pytest.raises(ApprovalRefused, match="at once replaced by domainlm-finance/2"):
        stage.promote(1)
    assert stage.promotions() == ["1", "2"] and set(stage.registries.champion.values()) == {f"{NAME}/2"}


def test_an_alias_that_somebody_edited_is_named(stage):
    stage.promote(1)
    registries, names = stage.registries, stage.registries.names

    def findings() -> list[str]:
        return [found.line() for found in alias_findings(stage.made.evidence(), registries.champions(), names)]

    registries.champion["two"] = f"{NAME}/2"
    assert findings() == [
        f"broken: alias-edited: two {NAME}: shows {NAME}/2 as the champion; the ledger promoted {NAME}/1"
    ]
    del registries.champion["two"]
    assert findings() == [
        f"broken: alias-edited: two {NAME}: shows no champion of {NAME}; the ledger promoted {NAME}/1"
    ]
    registries.champion["two"] = f"{NAME}/1"
    registries.versions[f"{NAME}/1"].identities["two"] = "0" * 64
    assert "states another identity" in findings()[0]
    assert "the ledger promoted none" in alias_findings(
        stage.made.evidence(), [Champion(registry="one", name="other", version="1", identity="0" * 64)], ()
    )[0].what  # fmt: skip


def test_a_champion_whose_files_were_replaced_is_named(stage):
    assert stored_findings(stage.made.evidence(), stage.registries, NAME) == []
    stage.promote(1)
    assert stored_findings(stage.made.evidence(), stage.registries, NAME) == []
    stage.registries.versions[f"{NAME}/1"].files["adapter"] = "0" * 64
    found = stored_findings(stage.made.evidence(), stage.registries, NAME)
    assert [(one.code, one.severity) for one in found] == [("replaced-artifact", "broken")]


def test_every_version_that_the_registry_has_is_compared_with_the_ledger(stage):
    def found() -> list[tuple[str, str]]:
        return [(one.code, one.where) for one in registered_findings(stage.made.evidence(), stage.registries)]

    assert found() == []
    stage.promote(1)
    assert found() == []
    for number in (1, 2):
        stage.registries.versions[f"{NAME}/{number}"].files["adapter"] = "0" * 64
    assert found() == [("replaced-artifact", f"{NAME}/1"), ("replaced-artifact", f"{NAME}/2")]
    del stage.registries.versions[f"{NAME}/2"]  # an old version may be removed, the champion may not
    assert found() == [("replaced-artifact", f"{NAME}/1")]
    del stage.registries.versions[f"{NAME}/1"]
    assert found() == [("missing-artifact", f"{NAME}/1")]


def test_an_approval_that_ends_at_midnight_does_not_serve_a_promotion_of_the_last_minute(tmp_path):
    """By the time of the entry it might be tomorrow; the ledger would then hold a promotion that was not allowed."""
    stage = Stage(tmp_path, approved=0)
    stage.enter(1)
    today = datetime.now(UTC).date()
    stage.approve(1, until=today.isoformat())
    with pytest.raises(ApprovalRefused, match="officer is missing"):
        stage.promote(1, today=today + timedelta(days=1))
    assert stage.promote(1, today=today).entry
