"""The commit that the present champion was made with, out of a ledger that also holds much else."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_ledgers import ORIGIN, SmallLedger, small_ledger, small_run

from domainlm.audit.decisions.champion import UNKNOWN, champion_commit, promoted_model
from domainlm.errors import EvidenceRefused
from domainlm.ledger import entries
from domainlm.ledger.acts import Promotion, Read
from domainlm.ledger.trust.gate import Gate

NAME = "domainlm-finance"


@pytest.fixture
def ledger(tmp_path: Path) -> SmallLedger:
    made = small_ledger(tmp_path / "ledger")
    for number in (1, 2, 3):
        made.enter_run(small_run(number, code={"commit": str(number) * 40, "dirty": False}))
        made.state("recorder", entries.READ, Read(person="anna", page="models"))
    return made


def promote(ledger: SmallLedger, number: int) -> None:
    model = small_run(number).model
    assert model is not None
    act = Promotion(model=f"{NAME}/{number}", identity=model.identity, approvals=[])
    ledger.state("recorder", entries.PROMOTION, act, {"model": model.identity})


def commit_of(ledger: SmallLedger, name: str = NAME) -> str | None:
    return champion_commit(ledger.ledger.raw, lambda: Gate(ORIGIN, ledger.root_keyids), name)


def test_there_is_none_before_the_first_promotion(ledger: SmallLedger) -> None:
    assert commit_of(ledger) is None


def test_it_is_the_latest_promotions(ledger: SmallLedger) -> None:
    promote(ledger, 1)
    assert commit_of(ledger) == "1" * 40
    promote(ledger, 3)
    assert commit_of(ledger) == "3" * 40
    assert commit_of(ledger, "another-name") is None


def test_the_first_run_that_registered_it_counts(ledger: SmallLedger) -> None:
    """A later run that finds the same model in the cache stands on a later commit, and would hide authors."""
    ledger.enter_run(small_run(1, run_id="00000000-0000-4000-8000-00000000000a", code={"commit": "9" * 40}))
    promote(ledger, 1)
    assert commit_of(ledger) == "1" * 40


def test_a_champion_that_no_run_registered_is_of_unknown_code(ledger: SmallLedger) -> None:
    promote(ledger, 7)
    assert commit_of(ledger) == UNKNOWN


def test_a_promotion_that_does_not_verify_is_not_believed(ledger: SmallLedger) -> None:
    promote(ledger, 2)
    forged = []
    for number, raw in ledger.ledger.raw():
        middle = raw.index(b'"sig":"') + 12
        flipped = raw[:middle] + (b"A" if raw[middle : middle + 1] != b"A" else b"B") + raw[middle + 1 :]
        forged.append((number, flipped if number == 7 else raw))
    with pytest.raises(EvidenceRefused):
        champion_commit(lambda: forged, lambda: Gate(ORIGIN, ledger.root_keyids), NAME)


@pytest.mark.parametrize(("said", "trusted"), [((True,), True), ((None,), False), ((True, False), False)])
def test_the_champion_is_trusted_where_each_run_that_registered_it_says_so(tmp_path, said, trusted) -> None:
    made = small_ledger(tmp_path)
    for number, word in enumerate(said):
        model = small_run(1).model.model_copy(update={"trusted": word})
        made.enter_run(small_run(1, model=model, run_id=f"00000000-0000-4000-8000-00000000000{number}"))
    promote(made, 1)
    found, erased = promoted_model(made.evidence(), [], [], NAME)
    assert found is not None and found.trusted is trusted and not erased
