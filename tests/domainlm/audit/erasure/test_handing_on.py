"""Pods get the erasure register that their run was compiled for, encrypted, and none of before an erasure."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_outboxes import Dictionary, Unreachable

from domainlm.audit.erasure.handing_on import CURRENT, hand_on, handed_on
from domainlm.audit.erasure.suppression import ErasureRegister, Plan
from domainlm.errors import ConfigurationError, EvidenceRefused, SecretError
from domainlm.keys import KeyRing

KEYS = KeyRing("bank-a", b"1" * 32)
ONE, TWO = KEYS.keyed_id("subject", "PERSON", "kim"), KEYS.keyed_id("subject", "PERSON", "lee")


@pytest.fixture
def register(tmp_path: Path) -> ErasureRegister:
    found = ErasureRegister(tmp_path / "erasures.sqlite", KEYS)
    found.intend(ONE, Plan(reason="case 2026-17", by="olga"))
    return found


def test_a_pod_finds_the_ids_by_the_runs_mark_and_the_store_shows_none(register: ErasureRegister) -> None:
    files = Dictionary()
    hand_on(register, files)
    assert handed_on(KEYS, register.mark(), files) == {ONE}
    assert ONE.encode() not in b"".join(files.files.values())


def test_an_empty_register_is_handed_on_too_so_that_its_absence_is_no_answer(tmp_path: Path) -> None:
    files, empty = Dictionary(), ErasureRegister(tmp_path / "none.sqlite", KEYS)
    with pytest.raises(ConfigurationError, match="not in the artifact store"):
        handed_on(KEYS, "", files)
    hand_on(empty, files)
    assert handed_on(KEYS, "", files) == frozenset()


def test_after_an_erasure_a_run_of_before_redacts_nothing_any_more(register: ErasureRegister) -> None:
    files = Dictionary()
    hand_on(register, files)
    before = register.mark()
    register.intend(TWO, Plan(reason="case 2026-18", by="olga"))
    hand_on(register, files)
    assert handed_on(KEYS, register.mark(), files) == {ONE, TWO}
    with pytest.raises(ConfigurationError, match="erased since"):
        handed_on(KEYS, before, files)


def test_a_mark_that_another_wrote_is_refused(register: ErasureRegister) -> None:
    files = Dictionary()
    hand_on(register, files)
    mark = register.mark()
    files.files[CURRENT] = files.files[CURRENT].replace(mark.encode(), b"0" * len(mark))
    with pytest.raises(EvidenceRefused):
        handed_on(KEYS, mark, files)


@pytest.mark.parametrize(
    "raw", [b"[" * 100_000, b'{"mark": "m", "seal": "\\ud800"}', b"\xff", b"{}", b'{"mark": "\\ud800"}']
)
def test_what_no_submission_wrote_is_refused(register: ErasureRegister, raw: bytes) -> None:
    files = Dictionary()
    hand_on(register, files)
    files.files[CURRENT] = raw
    with pytest.raises(EvidenceRefused):
        handed_on(KEYS, register.mark(), files)


@pytest.mark.parametrize("change", ["cut", "another mark's"])
def test_ids_that_another_wrote_are_refused(register: ErasureRegister, change: str) -> None:
    files = Dictionary()
    hand_on(register, files)
    path = f"evidence-outbox/erasures/{register.mark()}.sealed"
    if change == "cut":
        files.files[path] = files.files[path][:-1]
    else:
        files.files[path] = KEYS.seal("erasures on a cluster", b"[]", b"")
    with pytest.raises(SecretError):
        handed_on(KEYS, register.mark(), files)


def test_another_tenants_key_opens_nothing(register: ErasureRegister) -> None:
    files = Dictionary()
    hand_on(register, files)
    with pytest.raises(EvidenceRefused):
        handed_on(KeyRing("bank-b", b"2" * 32), register.mark(), files)


def test_a_store_that_does_not_take_it_stops_the_run_and_is_not_quoted(register: ErasureRegister) -> None:
    with pytest.raises(ConfigurationError, match="does not take the erasure register") as caught:
        hand_on(register, Unreachable())
    assert "AKIA" not in str(caught.value)
