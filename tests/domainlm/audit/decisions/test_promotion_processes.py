"""Promotions as processes: several at once, and killed (SIGKILL) wherever they are."""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from small_ledgers import ORIGIN, SmallLedger, small_ledger, small_run

from domainlm.audit.decisions.approvals import check_promotion
from domainlm.audit.decisions.promotion import Champion, RegisteredVersion, alias_findings, promote
from domainlm.audit.evidence import Evidence
from domainlm.audit.proof.verification import examine
from domainlm.errors import ApprovalRefused
from domainlm.ledger import entries
from domainlm.ledger.acts import Approval, Promotion
from domainlm.ledger.log import Ledger
from domainlm.ledger.signer.service import SigningService
from domainlm.ledger.trust.gate import Gate

NAME, VERSIONS = "domainlm-finance", 4
FORK = multiprocessing.get_context("fork")


class FolderRegistries:
    """Registries as files, so that processes share them; each move takes a moment in which it can be killed."""

    names = ("one", "two")

    def __init__(self, folder: Path, pause_s: float = 0.0) -> None:
        self.folder, self.pause_s = folder, pause_s

    def hold(self, run) -> None:
        model = run.model
        found = RegisteredVersion(
            label=f"{model.name}/{model.version}", verified=True, digests=dict(model.digests),
            files={part: model.digests[part] for part in ("adapter", "tokenizer", "base")},
            identities=dict.fromkeys(self.names, model.identity),
        )  # fmt: skip
        (self.folder / f"{model.version}.json").write_text(found.model_dump_json())

    def identity(self, name: str, version: str) -> str:
        return self.version(name, version, ()).identities["one"]

    def version(self, name: str, version: str, runs: Sequence[str]) -> RegisteredVersion:
        return RegisteredVersion(**json.loads((self.folder / f"{version}.json").read_text()))

    def champions(self) -> list[Champion]:
        found = []
        for registry in self.names:
            path = self.folder / registry
            if path.exists():
                version = path.read_text()
                found.append(
                    Champion(registry=registry, name=NAME, version=version, identity=self.identity(NAME, version))
                )
        return found

    def crown(self, name: str, version: str, runs: Sequence[str]) -> None:
        for registry in self.names:
            time.sleep(self.pause_s)
            draft = self.folder / f"{registry}.{os.getpid()}"
            draft.write_text(version)
            os.replace(draft, self.folder / registry)


@pytest.fixture
def bank(tmp_path: Path) -> SmallLedger:
    """A ledger with four approved versions, and registries that hold them."""
    made = small_ledger(tmp_path)
    registries = FolderRegistries(tmp_path)
    for number in range(1, VERSIONS + 1):
        run = small_run(number)
        entry = made.enter_run(run).entry
        registries.hold(run)
        for person in ("anna", "victor"):
            act = Approval(model=f"{NAME}/{number}", identity=run.model.identity, run=entry, decision="approve")
            made.state(person, entries.APPROVAL, act)
    made.ledger.close()
    return made


def promoting(made: SmallLedger, version: int, outcome=None, barrier=None, pause_s: float = 0.0) -> None:
    """What a process does: a ledger, a signer and registries of its own over the same files."""
    ledger = Ledger(f"sqlite:///{made.folder / 'ledger.sqlite'}", ORIGIN)
    service = SigningService(ledger, made.root_keyids, made.keys["recorder"], made.keys["log"])

    def append(act: Promotion) -> object:
        time.sleep(pause_s)
        statement = entries.statement(
            entries.PROMOTION, ORIGIN, "recorder", {act.model: act.identity}, act.model_dump(mode="json")
        )
        receipt = service.record(statement)
        time.sleep(pause_s)
        return receipt

    found = examine(ledger.raw(), ledger.checkpoints(), (), ORIGIN, made.root_keyids)
    if barrier is not None:
        barrier.wait(60)
    try:
        promote(NAME, str(version), examine=lambda: found, ledger=ledger, append=append,
                registries=FolderRegistries(made.folder, pause_s))  # fmt: skip
        said = "promoted"
    except ApprovalRefused as refused:
        said = refused.what
    if outcome is not None:
        outcome.put((version, said))


def evidence_of(made: SmallLedger) -> Evidence:
    ledger = Ledger(f"sqlite:///{made.folder / 'ledger.sqlite'}", ORIGIN)
    found = Evidence(ledger.entries(), Gate(ORIGIN, made.root_keyids))
    ledger.close()
    return found


def sound(made: SmallLedger) -> list[str]:
    """The versions promoted, after checking that each was allowed at its place."""
    evidence = evidence_of(made)
    found = list(evidence.of_kind(entries.PROMOTION))
    assert [check_promotion(evidence, stated) for stated in found] == [None] * len(found)
    return [stated.act.model.rpartition("/")[2] for stated in found]


def test_of_four_processes_one_promotes_and_three_are_told_so(bank: SmallLedger) -> None:
    outcome, barrier = FORK.Queue(), FORK.Barrier(VERSIONS)
    processes = [
        FORK.Process(target=promoting, args=(bank, version, outcome, barrier)) for version in range(1, VERSIONS + 1)
    ]
    for process in processes:
        process.start()
    said = dict(outcome.get(timeout=120) for _ in processes)
    for process in processes:
        process.join(timeout=60)
    (won,) = [version for version, what in said.items() if what == "promoted"]
    assert sound(bank) == [str(won)]
    assert all("another promotion came first" in what for version, what in said.items() if version != won)
    registries = FolderRegistries(bank.folder)
    assert alias_findings(evidence_of(bank), registries.champions(), registries.names) == []


@pytest.mark.parametrize("after_s", [0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5])
def test_a_killed_promotion_is_finished_or_undone_by_the_next_call(bank: SmallLedger, after_s: float) -> None:
    process = FORK.Process(target=promoting, args=(bank, 1), kwargs={"pause_s": 0.08})
    process.start()
    process.join(timeout=after_s)
    process.kill()
    process.join(timeout=60)
    assert sound(bank) in ([], ["1"])  # whole or not at all
    promoting(bank, 1)
    assert sound(bank) == ["1"]
    registries = FolderRegistries(bank.folder)
    assert alias_findings(evidence_of(bank), registries.champions(), registries.names) == []
