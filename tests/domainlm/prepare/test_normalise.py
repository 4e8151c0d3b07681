"""Normalisation changes the spelling and never the meaning."""

from __future__ import annotations

import tempfile
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.configuration import set_hypothesis_home_dir

from domainlm.numbers import values
from domainlm.prepare.normalise import normalise

set_hypothesis_home_dir(tempfile.gettempdir())  # else it leaves a folder in the checkout


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("fell − 3.5 %,  “손실”", 'fell - 3.5 %, "손실"'),
        ("loss of –€1,200", "loss of -€1,200"),
        ("2020–2021 – a range", "2020–2021 – a range"),
        ("KOS\u200bPI\ufeff up\u00ad", "KOSPI up"),
        ("e\u0301toile", "étoile"),
        ("\u1112\u1161\u11ab", "한"),
        ("３．５％ ￦1,300", "3.5% ₩1,300"),
        ("a\u00a0b\u3000c\td", "a b c d"),
        ("a \r\n b\r\r\r\rc", "a\nb\n\nc"),
        ("it‘s ‘so’ [PERSON_1]", "it's 'so' [PERSON_1]"),
        ("null\x00byte\ud800", "nullbyte"),
        ("\u202eevil\u202c", "evil"),
        ("", ""),
    ],
)
def test_spelling_is_unified_and_signs_currency_and_hangul_stay(text: str, expected: str) -> None:
    assert normalise(text) == expected


@settings(database=None, deadline=None)
@given(st.text())
def test_normalising_twice_changes_nothing_more(text: str) -> None:
    once = normalise(text)
    assert normalise(once) == once
    assert unicodedata.is_normalized("NFC", once)
    once.encode()  # no lone surrogate is left


@settings(database=None, deadline=None)
@given(
    st.sampled_from(["-", "−", "–", "", "+"]),
    st.sampled_from(["$", "€", "₩", ""]),
    st.integers(0, 10**7),
    st.sampled_from(["%", " won", "원", ""]),
)
def test_no_number_changes_its_value(sign: str, currency: str, amount: int, unit: str) -> None:
    text = f"profit {sign}{currency}{amount:,}{unit} after"
    assert values(normalise(text)) == values(text)
    assert len(values(text)) == 1
