"""What a submission says of itself is believed under this project's seal only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from domainlm.errors import EvidenceRefused, SecretError
from domainlm.keys import KeyRing
from domainlm.ledger.run.asked import Asked
from domainlm.ledger.run.authorship import as_identity
from domainlm.ledger.run.submission import EXTRA, check_stated, claimed, state, stated_of
from domainlm.ledger.trust.gate import identity

KEYS = KeyRing("bank-a", b"1" * 32)


@pytest.fixture
def extra() -> dict[str, Any]:
    return {"ticket": "RUN-7"} | state(Asked("configs/kubernetes.yaml"), ["tina", "tina@bank.example"], lambda: KEYS)


def test_file_hand_and_people_are_told_and_no_address_stands_in_it(extra: dict[str, Any]) -> None:
    found = stated_of(extra)
    assert found.asked == Asked("configs/kubernetes.yaml", overridden=False)
    assert found.by == (identity("tina"), identity("tina@bank.example"))
    assert "tina" not in repr(extra)
    check_stated(extra, lambda: KEYS)


@pytest.mark.parametrize(
    "change",
    [{"file": "other.yaml"}, {"overridden": True}, {"by": []}, {"seal": ""}, {"nonce": "0" * 32}, {"evidence": "x"}],
)
def test_a_change_is_refused(extra: dict[str, Any], change: dict[str, Any]) -> None:
    extra[EXTRA] = extra[EXTRA] | change
    with pytest.raises(EvidenceRefused):
        check_stated(extra, lambda: KEYS)


def test_a_statement_goes_with_one_compiled_pipeline(extra: dict[str, Any], home: Path) -> None:
    one, other = stated_of(extra).nonce, stated_of(state(Asked("a.yaml"), ["tina"], lambda: KEYS)).nonce
    assert one != other
    assert claimed(one, "snapshot-1") and claimed(one, "snapshot-1"), "a schedule's runs, and a second look"
    assert not claimed(one, "snapshot-2") and not claimed(one, "")
    assert claimed(other, "snapshot-2")


@pytest.mark.parametrize("nonce", ["", "../../x", "0" * 31, 5, None])
def test_a_statement_without_a_number_is_none(extra: dict[str, Any], nonce: object) -> None:
    extra[EXTRA]["nonce"] = nonce
    assert stated_of(extra) is None
    with pytest.raises(EvidenceRefused):
        check_stated(extra, lambda: KEYS)


def test_another_key_did_not_submit_for_us(extra: dict[str, Any]) -> None:
    with pytest.raises(EvidenceRefused):
        check_stated(extra, lambda: KeyRing("bank-b", b"2" * 32))


UNSPEAKABLE = [
    {"file": "\ud800", "overridden": False, "by": [], "seal": "x"},
    {"file": float("nan"), "overridden": False, "by": [], "seal": "x"},
    {"file": "a", "overridden": False, "by": [], "seal": "\ud800"},
]


@pytest.mark.parametrize("broken", [None, {}, [], "text", {"file": "a", "by": 5}, *UNSPEAKABLE])
def test_what_cannot_be_read_is_refused_and_nothing_said_is_not(broken: object) -> None:
    with pytest.raises(EvidenceRefused):
        check_stated({EXTRA: broken}, lambda: KEYS)
    check_stated({}, lambda: KEYS)
    assert stated_of({}) is None


def test_without_a_key_nothing_is_stated() -> None:
    def missing() -> KeyRing:
        raise SecretError("the key for keyed ids is missing", "key.json")

    with pytest.raises(SecretError):
        state(Asked("a.yaml"), ["tina"], missing)


def test_an_identity_that_was_made_elsewhere_is_not_made_again() -> None:
    assert as_identity(identity("tina")) == identity("tina") == as_identity("tina")
    assert as_identity("") == ""
    assert as_identity("sha256:short") == identity("sha256:short")
