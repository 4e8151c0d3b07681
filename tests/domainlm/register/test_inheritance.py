"""A model that went on from another one may repeat what that learnt: it inherits class and licences, or is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from domainlm.artifacts import BaseCheckpoint
from domainlm.errors import RegistrationError
from domainlm.register.incumbent import IncumbentReport, inherited

CHAMPION = IncumbentReport(
    has=True, label="m/1", identity="1" * 64, known_by="ledger", base_digest="b" * 64, tokenizer_digest="c" * 64,
    adapter_digest="a" * 64, handling="mnpi", licences=["CC-BY-4.0"], trusted=True,
)  # fmt: skip


def test_what_began_at_the_base_inherits_nothing_from_the_champion() -> None:
    assert inherited(CHAMPION, "") == inherited(None, "") == ([], [], True)
    assert inherited(CHAMPION.model_copy(update={"trusted": False}), "").trusted


def test_what_went_on_inherits_class_licences_and_trust() -> None:
    assert inherited(CHAMPION, "a" * 64) == (["mnpi"], ["CC-BY-4.0"], True)
    fields = CHAMPION.model_dump() | {"trusted": False}
    assert not inherited(IncumbentReport(**fields), "a" * 64).trusted
    del fields["trusted"]
    assert not inherited(IncumbentReport(**fields), "a" * 64).trusted, "where nobody says so, it is not"


@pytest.mark.parametrize(
    "found",
    [None, CHAMPION.model_copy(update={"adapter_digest": "f" * 64}), CHAMPION.model_copy(update={"handling": ""})],
)
def test_what_nobody_knows_the_texts_of_is_not_registered(found: IncumbentReport | None) -> None:
    with pytest.raises(RegistrationError, match="nobody knows which texts"):
        inherited(found, "a" * 64)


def test_a_training_goes_on_from_a_champion_on_its_own_base_whose_data_were_not_erased(tmp_path: Path) -> None:
    base = BaseCheckpoint(tmp_path)
    base.write_card(digest="b" * 64)
    assert CHAMPION.against_going_on(base) == ""
    assert IncumbentReport(has=False).against_going_on(base) == "there is no champion"
    assert "erased" in CHAMPION.model_copy(update={"erased": True}).against_going_on(base)
    base.write_card(digest="e" * 64)
    assert CHAMPION.against_going_on(base) == "the champion stands on another base"
