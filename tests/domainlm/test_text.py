"""The words and the numbers of financial text."""

from __future__ import annotations

from decimal import Decimal

import pytest

from domainlm.numbers import values
from domainlm.text import comparable, words


def test_a_loss_in_euros_shares_no_number_with_a_gain_in_dollars() -> None:
    loss, gain = words("EBITDA -3.5% €1,200"), words("EBITDA 3.5% $1,200")
    assert loss == ["ebitda", "-3.5%", "€1,200"]
    assert set(loss) & set(gain) == {"ebitda"}


@pytest.mark.parametrize("minus", "-−–‑﹣－")
def test_every_minus_sign_is_the_same_minus(minus: str) -> None:
    assert words(f"fell {minus}3.5 %") == ["fell", "-3.5%"]
    assert words(f"{minus}$5 or ${minus}5") == ["-$5", "or", "-$5"]


def test_a_hyphen_between_words_or_years_is_no_minus() -> None:
    assert words("2020-2021, A-3, year-end") == ["2020", "2021", "a", "3", "year", "end"]


def test_hangul_and_full_width_signs_survive() -> None:
    assert words("순손실 −３．５％, 1,300원") == ["순손실", "-3.5%", "1,300", "원"]
    assert words("손실") != words("이익")


def test_texts_that_differ_in_case_spacing_and_punctuation_are_comparable() -> None:
    assert comparable("What  is an INDEX?") == comparable("what is an index")
    assert comparable("up 3%") != comparable("up -3%")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1,300 won", [("1300", "KRW")]),
        ("1,300원을", [("1300", "KRW")]),
        ("(3.5)%", [("-3.5", "%")]),
        ("growth (3.5%)", [("3.5", "%")]),
        ("(1,200)", [("-1200", "")]),
        ("₩1.2 trillion", [("1.2e12", "KRW")]),
        ("-€1,200.50", [("-1200.50", "EUR")]),
        ("US$5bn", [("5e9", "USD")]),
        ("KRW -1,300", [("-1300", "KRW")]),
        ("3조 2,000억원", [("3.2e12", "KRW")]),
        ("1억 5천만원", [("1.5e8", "KRW")]),
        ("minus 3.5 percent", [("-3.5", "%")]),
        ("25 bps, 2 %p, 12.5x", [("25", "bp"), ("2", "pp"), ("12.5", "x")]),
        ("2.5–3.0%", [("2.5", ""), ("3.0", "%")]),
        ("1.5e-3", [("0.0015", "")]),
        ("5 m and 5 men", [("5e6", ""), ("5", "")]),
        ("KOSPI at 2,300 on 2023-05-01", [("2300", ""), ("2023", ""), ("5", ""), ("1", "")]),
        ("Q4, S&P, no number", []),
    ],
)
def test_numbers_are_read_with_sign_scale_and_unit(text: str, expected: list[tuple[str, str]]) -> None:
    assert [(number.value, number.unit) for number in values(text)] == [(Decimal(v), unit) for v, unit in expected]
