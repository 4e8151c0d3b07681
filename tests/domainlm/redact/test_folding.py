"""The plain spelling and its way back."""

import base64
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domainlm.redact.folding import fold


@given(st.text(st.characters(exclude_categories=("Cs",)), max_size=60))
def test_every_span_of_the_plain_spelling_leads_back_to_the_original(text):
    folded = fold(text)
    last_start, last_end = 0, 0
    for at in range(len(folded.text)):
        start, end = folded.original(at, at + 1)
        assert start < end <= len(text)
        assert last_end <= start or (start, end) == (last_start, last_end), "characters of one stretch share its span"
        last_start, last_end = start, end


@pytest.mark.parametrize(
    ("hidden", "value"),
    [
        ("０１０－１２３４－５６７８", "010-1234-5678"),
        ("010\u200b-12\u200d34-\ufeff5678", "010-1234-5678"),
        ("4111\u00a01111\u20021111\u30001111", "4111 1111 1111 1111"),
        ("٠١٠-١٢٣٤-٥٦٧٨", "010-1234-5678"),
        ("1\ufe0f\u20e32\ufe0f\u20e3", "12"),
        ("900101\u20111234568", "900101-1234568"),
        ("a@b\u00ad.com", "a@b.com"),
        ("1\u03322\u03323\u0332", "123"),
        ("010-&#49;234-5678", "010-1234-5678"),
        ("a%40b.com", "a@b.com"),
        ("\\u0034539", "4539"),
        ("010-1234-\n5678", "010-1234-5678"),
        ("900101-\r\n> 1234567", "900101-1234567"),
        ("ada@\nexample.org", "ada@example.org"),
        ("①②③④", "1234"),
        ("\u202e010\u202c-1234-5678", "010-1234-5678"),
    ],
)
def test_a_hidden_value_is_spelled_plainly(hidden, value):
    assert fold(f"x {hidden} y").text == f"x {value} y"


def test_decomposed_hangul_is_composed_and_keeps_its_offsets():
    text = unicodedata.normalize("NFD", "고객 홍길동님")
    folded = fold(text)
    start = folded.text.index("홍길동")
    span = folded.original(start, start + 3)
    assert unicodedata.normalize("NFC", text[slice(*span)]) == "홍길동"


def test_money_and_ordinary_text_are_left_as_they_are():
    for text in ("Revenue fell 3.5% to $1,200.", "코스피는 2,300.45로 마감했다.", "Größe, naïve, 東京"):
        assert fold(text).text == text


def test_what_a_blob_says_is_read_and_leads_back_to_all_of_it():
    blob = base64.b64encode(b"ssn 078-05-1120").decode()
    text = f"attached: {blob}, see above"
    folded = fold(text)
    assert folded.text == f"attached: {blob}\nssn 078-05-1120\n, see above"
    start = folded.text.index("078-05-1120")
    assert text[slice(*folded.original(start, start + 11))] == blob
    start = folded.text.index("see")
    assert text[slice(*folded.original(start, start + 3))] == "see"


def test_several_layers_are_opened_with_their_offsets():
    text = "전화 &#48;１0\u200b%2D1234-\n5678 끝"
    folded = fold(text)
    assert folded.text == "전화 010-1234-5678 끝"
    start = folded.text.index("010")
    assert text[slice(*folded.original(start, start + 13))] == "&#48;１0\u200b%2D1234-\n5678"


def test_ordinary_text_costs_no_table():
    assert fold("Revenue of AT&T rose 5% in \\alpha terms.\n-\nNext - line").starts is None
