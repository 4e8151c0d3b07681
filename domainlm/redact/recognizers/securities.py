"""What names a security, a company, a page or a file and never a person: a guard, not a finding.

ISIN, CUSIP, SEDOL, LEI and FIGI are known by form and check digit, or by the word before them; ticker, DOI, ISBN, file
and company numbers by their word. No recognizer of this folder makes a finding of such a span.
"""

from __future__ import annotations

import re

from domainlm.redact.recognizers.base import luhn

# ISO 6166 numbers are given under ISO 3166 codes and under the agencies' own XS, EU, XA–XD, XF, QS, QT, QW.
_ISIN = re.compile(r"[A-Z]{2}[0-9A-Z]{9}[0-9]")
_CUSIP = re.compile(r"(?=[0-9]*[A-Z*@#])[0-9]{3}[0-9A-Z]{3}[0-9A-Z*@#]{2}[0-9]")
_LEI = re.compile(r"[0-9A-Z]{18}[0-9]{2}")
_FIGI = re.compile(r"(?!BS|BM|GG|GB|GH|KY|VG)[B-DF-HJ-NP-TV-Z]{2}G[B-DF-HJ-NP-TV-Z0-9]{8}[0-9]")
_SEDOL = re.compile(r"[0-9B-DF-HJ-NP-TV-Z]{6}[0-9]")

_NAMED = re.compile(
    r"(?:\b(?:isin|cusip|sedol|valoren|wkn|lei|figi|cik|doi|isbn|issn|arxiv|ticker|ein|duns|gvkey|permid|vat|patent"
    r"|docket|employer identification|commission file|registration statement)(?![a-z])"
    r"|사업자\s?(?:등록)?\s?번호|법인\s?(?:등록)?\s?번호|종목\s?(?:코드|번호)?|공시\s?번호|우편\s?번호|특허\s?번호)"
    r"(?:[\s:=#('\"\[*|_/-]|no\b\.?|nos\b\.?|number\b|num\b|code\b|id\b|is\b|was\b|은|는|이|가){0,12}$",
    re.IGNORECASE | re.ASCII,
)
# A part of a document has a short number; "card on file: 4539 …" and "note: 279-30-…" are none.
_PLACED = re.compile(
    r"\b(?:page|pages|pp?\.|section|paragraph|footnote|note|version|release|build|zip|zip ?code|postcode)(?![a-z])"
    r"(?:[\s:=#('\"\[*|_/-]|no\b\.?|nos\b\.?|number\b|num\b|code\b){0,12}$",
    re.IGNORECASE | re.ASCII,
)
_MOST_PLACE_DIGITS = 6
# A DOI or an arXiv number that the span is a part of; a year range; a formula.
_PATH_BEFORE = re.compile(r"(?:\b10\.\d{4,9}/\S{0,40}|arxiv:\S{0,16})$", re.IGNORECASE | re.ASCII)
_YEARS = re.compile(r"(?:19|20)\d{2}(?:[ ,/–~-]{1,3}(?:19|20)\d{2})+[ ,/–~-]{0,3}")
# Countries whose IBANs are as long as a LEI and built as one; no LEI begins with them.
_IBANS_OF_20 = ("AT", "BA", "EE", "KZ", "LT", "LU", "MN", "XK")
_DATES = re.compile(
    r"(?:(?:19|20)\d{2}([-./ ])(?:0?[1-9]|1[0-2])\1(?:0?[1-9]|[12]\d|3[01])|(?:0?[1-9]|[12]\d|3[01])([-./])"
    r"(?:0?[1-9]|[12]\d|3[01])\2(?:19|20)\d{2}|(?:19|20)\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01]))"
    r"(?:[ T~–-]{1,3}\d{0,2}(?:[:.-]?\d{1,2}){0,4})?",
    re.ASCII,
)
_FORMULA_BEFORE = re.compile(r"[\d)]\s?[=×*/^]\s?$", re.ASCII)
_FORMULA_AFTER = re.compile(r"\s?[×*^]\s?[\d(]", re.ASCII)
_REACH = 40
_TOKEN_SIDE = 24


def protected(text: str, start: int, end: int) -> bool:
    """Whether a span names a security, a company, a document or a part of one, rather than belonging to a person."""
    if _NAMED.search(text, max(0, start - _REACH), start) or _PATH_BEFORE.search(text, max(0, start - _REACH), start):
        return True
    value = text[start:end]
    short = sum(map(str.isdigit, value)) <= _MOST_PLACE_DIGITS and not any(map(str.isalpha, value))
    if short and _PLACED.search(text, max(0, start - _REACH), start):
        return True
    left, right = _token(text, start, end)
    return is_security(text[left:right])


def is_security(token: str) -> bool:
    """Whether a token is an ISIN, a LEI, a FIGI, or a CUSIP with a letter in it, check digits included."""
    if not 9 <= len(token) <= 20 or token.isalpha():
        return False
    if len(token) == 12:
        return isin(token) or figi(token)
    if len(token) == 20:
        return lei(token) and not token.startswith(_IBANS_OF_20)
    return len(token) == 9 and cusip(token) and not token.isdigit()


def is_date(value: str) -> bool:
    """Whether a number is written as a date, with or without a time, or as a row of years."""
    return bool(_DATES.fullmatch(value) or _YEARS.fullmatch(value))


def in_formula(text: str, start: int, end: int) -> bool:
    """Whether a number stands between the signs of a calculation."""
    return bool(_FORMULA_BEFORE.search(text, max(0, start - 4), start) or _FORMULA_AFTER.match(text, end))


def isin(code: str) -> bool:
    """ISO 6166: two letters, nine characters, a Luhn digit over the letters' values."""
    if not _ISIN.fullmatch(code):
        return False
    number = "".join(str(int(character, 36)) for character in code)
    return luhn(number)


def lei(code: str) -> bool:
    """ISO 17442: twenty characters whose value modulo 97 is 1, as in ISO/IEC 7064."""
    return bool(_LEI.fullmatch(code)) and int("".join(str(int(character, 36)) for character in code)) % 97 == 1


def cusip(code: str) -> bool:
    """ANSI X9.6: eight characters and a check digit, modulus 10 double add double."""
    if not (_CUSIP.fullmatch(code) or (len(code) == 9 and code.isdigit())):
        return False
    special = {"*": 36, "@": 37, "#": 38}
    values = (special[character] if character in special else int(character, 36) for character in code[:8])
    total = sum(sum(divmod(value * (1 + place % 2), 10)) for place, value in enumerate(values))
    return -total % 10 == int(code[8])


def sedol(code: str) -> bool:
    """London Stock Exchange: six characters without vowels and a check digit of weights 1 3 1 7 3 9 1."""
    weights = (1, 3, 1, 7, 3, 9, 1)
    return (
        bool(_SEDOL.fullmatch(code))
        and not sum(int(character, 36) * weight for character, weight in zip(code, weights, strict=True)) % 10
    )


def figi(code: str) -> bool:
    """ANSI X9.145: twelve characters without vowels, the third a G, and a Luhn digit."""
    if not _FIGI.fullmatch(code):
        return False
    values = (int(character, 36) * (1 + place % 2) for place, character in enumerate(code[:11]))
    return -sum(sum(divmod(value, 10)) for value in values) % 10 == int(code[11])


def _token(text: str, start: int, end: int) -> tuple[int, int]:
    """The run of letters and digits that a span is part of."""
    left, right = start, end
    while left > 0 and start - left < _TOKEN_SIDE and text[left - 1].isascii() and text[left - 1].isalnum():
        left -= 1
    while right < len(text) and right - end < _TOKEN_SIDE and text[right].isascii() and text[right].isalnum():
        right += 1
    return left, right
