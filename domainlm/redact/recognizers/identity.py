"""Numbers that a state gives a person, and dates of birth."""

from __future__ import annotations

from presidio_analyzer import Pattern

from domainlm.redact.recognizers.base import LIKELY, STRONG, WEAK, CuedRecognizer, digits
from domainlm.redact.settings import DATE_OF_BIRTH, KR_RRN, UK_NHS, UK_NINO, US_SSN


class SsnRecognizer(CuedRecognizer):
    """United States social security numbers and ITINs."""

    ENTITY = US_SSN
    PATTERNS = (
        ("hyphens", r"(?<![\w-])\d{3}[ ]?-[ ]?\d{2}[ ]?-[ ]?\d{4}(?![\w-])", LIKELY),
        ("spaces or dots", r"(?<![\w.,-])\d{3}([ .])\d{2}\1\d{4}(?![\w-]|[.,]\d)", WEAK),
        ("one run", r"(?<![\w.,-])\d{9}(?![\w-]|[.,]\d)", WEAK),
        ("masked", r"(?<![\w-])[*xX]{3}-[*xX]{2}-\d{4}(?![\w-])", LIKELY),
    )
    GATE = r"\d{3}[ .-]{0,3}\d{2}[ .-]{0,3}\d{4}|[*xX]-\d{4}"
    CUES = r"social|\bssn\b|\bss#|\bitin\b|taxpayer|\btin\b|tax id"

    def grade(self, value: str, pattern: Pattern) -> float:
        number = digits(value)
        return 0.0 if len(number) == 9 and len(set(number)) == 1 else pattern.score


class ResidentRegistrationRecognizer(CuedRecognizer):
    """Korean resident and foreigner registration numbers, also with the tail starred out.

    Numbers given since October 2020 have no check digit, so the check digit only helps, it does not refuse.
    """

    ENTITY = KR_RRN
    _DATE = r"\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])"
    PATTERNS = (
        ("hyphen", rf"(?<!\d){_DATE}[ ]?-[ ]?[0-9]\d{{6}}(?!\d)", STRONG),
        ("space", rf"(?<![\d.,]){_DATE}[ ][1-8]\d{{6}}(?![\d]|[.,]\d)", 0.1),
        ("one run", rf"(?<![\w.,-]){_DATE}[1-8]\d{{6}}(?![\d-]|[.,]\d)", 0.1),
        ("masked", rf"(?<!\d){_DATE}[ ]?-[ ]?[1-8][*xX●]{{6}}", STRONG),
    )
    GATE = r"\d{6}[ -]{0,3}(?:\d{7}|\d[*xX●])"
    CUES = r"주민|외국인\s?등록|\brrn\b|resident|registration|실명"

    def grade(self, value: str, pattern: Pattern) -> float:
        number = digits(value)
        if pattern.score >= LIKELY or len(number) != 13:
            return pattern.score
        weighted = sum(
            int(digit) * weight for digit, weight in zip(number, (2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5), strict=False)
        )
        return LIKELY if (11 - weighted % 11) % 10 == int(number[12]) else pattern.score


class NhsRecognizer(CuedRecognizer):
    """United Kingdom NHS numbers: ten digits whose check digit one number in eleven has, so never without a cue."""

    ENTITY = UK_NHS
    PATTERNS = (("ten digits", r"(?<![\w.,-])\d{3}[ -]?\d{3}[ -]?\d{4}(?![\w-]|[.,]\d)", WEAK),)
    GATE = r"\d{3}[ -]?\d{3}[ -]?\d{4}"
    CUES = r"\bnhs\b|national health"

    def grade(self, value: str, pattern: Pattern) -> float:
        number = digits(value)
        check = 11 - sum(int(digit) * weight for digit, weight in zip(number, range(10, 1, -1), strict=False)) % 11
        return pattern.score if check % 11 == int(number[9]) else 0.0


class NinoRecognizer(CuedRecognizer):
    """United Kingdom national insurance numbers."""

    ENTITY = UK_NINO
    _PREFIX = r"(?!BG|GB|NK|KN|NT|TN|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z]"
    PATTERNS = (
        ("groups", rf"(?<!\w){_PREFIX}[ -]?\d{{2}}[ -]?\d{{2}}[ -]?\d{{2}}[ -]?[A-D](?!\w)", LIKELY),
    )  # fmt: skip
    GATE = r"[A-Za-z]{2}[ -]?\d{2}[ -]?\d{2}[ -]?\d{2}[ -]?[A-Da-d]"
    CUES = r"national insurance|\bnino\b|\bni (?:no|number)"


class DateOfBirthRecognizer(CuedRecognizer):
    """Dates of birth: a date with a word about birth right before it. Every other date stays."""

    ENTITY = DATE_OF_BIRTH
    GUARDED = False
    _MONTH = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]{0,6}\.?"
    _DATE = (
        rf"(?:\d{{1,2}}(?:st|nd|rd|th)?[ ](?:of[ ])?{_MONTH},?[ ](?:19|20)\d{{2}}|{_MONTH}[ ]\d{{1,2}}(?:st|nd|rd"
        rf"|th)?,?[ ](?:19|20)\d{{2}}"
        r"|(?:19|20)\d{2}[ ]?[-./년][ ]?\d{1,2}[ ]?[-./월][ ]?\d{1,2}일?|\d{1,2}[-./]\d{1,2}[-./](?:19|20)?\d{2}"
        r"|(?:19|20)?\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])|\d{2}년[ ]?\d{1,2}월[ ]?\d{1,2}일)"
    )
    _BIRTH = r"(?:date of birth|birth ?date|birthday|\bd\.?o\.?b\b\.?|\bborn(?: on)?|생년월일|생일|출생일?)"
    PATTERNS = (
        (
            "after the word",
            rf"{_BIRTH}(?:[ ]?(?:is|was|as|:|=|은|는|이|가))?[ :\"'(]{{0,4}}(?P<value>{_DATE})(?!\d)",
            STRONG,
        ),
        ("before the word", rf"(?<!\d)(?P<value>{_DATE})(?=[ ]?생(?![산명활성보일계]))", STRONG),
    )
    GATE = r"(?i:birth|d\.?o\.?b|born)|생년|생일|출생|[\d일][ ]?생"
