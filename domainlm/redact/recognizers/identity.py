"""Numbers that a state gives a person, and dates of birth."""

from __future__ import annotations

import re

from presidio_analyzer import Pattern

from domainlm.redact.recognizers.base import LEAST_WITH_CUE, LIKELY, STRONG, WEAK, digits
from domainlm.redact.recognizers.edges import (
    AFTER,
    ANSWERED,
    BEFORE,
    FIRM_AFTER,
    FIRM_BEFORE,
    GAP,
    JOIN,
    RUN_AFTER,
    RUN_BEFORE,
    StructuredRecognizer,
)
from domainlm.redact.settings import DATE_OF_BIRTH, KR_RRN, UK_NHS, UK_NINO, US_SSN


class SsnRecognizer(StructuredRecognizer):
    """United States social security numbers and ITINs."""

    ENTITY = US_SSN
    PATTERNS = (
        ("hyphens", rf"{FIRM_BEFORE}\d{{3}}[ ]?-[ ]?\d{{2}}[ ]?-[ ]?\d{{4}}{FIRM_AFTER}", LIKELY),
        ("spaces, dots or slashes", rf"{BEFORE}\d{{3}}([ ./_])\d{{2}}\1\d{{4}}{AFTER}", WEAK),
        ("one run", rf"{RUN_BEFORE}\d{{9}}{RUN_AFTER}", WEAK),
        ("spaced hyphens or dots", rf"{BEFORE}\d{{3}}[ ]?[-.–][ ]?\d{{2}}[ ]?[-.–][ ]?\d{{4}}{AFTER}", WEAK),
        ("masked", r"(?<![0-9A-Za-z-])[*xX•]{3}-[*xX•]{2}-\d{4}(?![0-9A-Za-z-])", LIKELY),
    )
    GATE = r"\d{3}[ ./_-]{0,3}\d{2}[ ./_-]{0,3}\d{4}|[*xX•]-\d{4}"
    CUES = (
        r"social|(?<![a-z])ssn(?![a-z])|\bss ?#|\bss ?no|(?<![a-z])itin(?![a-z])|taxpayer|(?<![a-z])tin(?![a-z])"
        r"|tax[ _]?id"
        r"|사회보장|소셜|납세자"
    )

    def judge(self, text: str, start: int, end: int, pattern: Pattern) -> float:
        number = digits(text[start:end])
        if len(number) == 9 and (len(set(number)) == 1 or number[3:5] == "00" or number[5:] == "0000"):
            return 0.0  # never issued
        if pattern.score < LIKELY and self._DOTTED.fullmatch(text, start, end) and number[:3] not in ("000", "666"):
            return LEAST_WITH_CUE + 0.01  # nothing else is written so
        return pattern.score

    _DOTTED = re.compile(r"[0-8]\d\d\.\d\d\.\d{4}", re.ASCII)


class ResidentRegistrationRecognizer(StructuredRecognizer):
    """Korean resident and foreigner registration numbers, also with the tail starred out.

    Numbers given since October 2020 have no check digit, so the check digit only helps, it does not refuse.
    """

    ENTITY = KR_RRN
    _DATE = r"\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])"
    PATTERNS = (
        ("hyphen", rf"{FIRM_BEFORE}{_DATE}[ ]?[-–~][ ]?[0-9]\d{{6}}(?!\d|-\d)", STRONG),
        ("space", rf"{BEFORE}{_DATE}[ ./][1-8]\d{{6}}(?!\d|[.,]\d)", 0.1),
        ("one run", rf"{RUN_BEFORE}{_DATE}[1-8]\d{{6}}(?![\d-]|\.\d)", 0.1),
        ("over a line break", rf"{BEFORE}{_DATE}[ ]?-?[ ]?\r?\n[ >#*/]{{0,6}}-?[1-8]\d{{6}}(?!\d|-\d)", 0.1),
        ("masked", rf"(?<!\d){_DATE}[ ]?-?[ ]?(?:[1-8][*xX●•○]{{6}}|[*xX●•○]{{7}})", STRONG),
        (
            "birth masked",
            r"(?<![0-9A-Za-z])\d{2}[*xX●•○]{4}[ ]?-[ ]?(?:[1-8*xX●•○][*xX●•○]{6}|[1-8]\d{6})(?!\d)",
            STRONG,
        ),
        ("all but the tail masked", r"(?<![0-9A-Za-z])[*xX●•○]{6}[ ]?-[ ]?[1-8]\d{6}(?!\d)", STRONG),
        (
            "in two halves",
            rf"앞\s?자리[는은가:]?[ ]?(?P<value>{_DATE}[,.]?[ ]?(?:이고|고)?[, ]{{0,2}}"
            r"뒷\s?자리[는은가:]?[ ]?[1-8]\d{6})(?!\d)",
            STRONG,
        ),
    )
    GATE = r"\d{6}[ \r\n>#*/.~–-]{0,10}(?:\d{7}|\d?[*xX●•○])|[*xX●•○]{4}[ ]?-[ ]?[1-8*xX●•○]|뒷"
    # "…로 조회해 주세요": what somebody is looked up by.
    _LOOKED_UP = re.compile(
        r"\s?(?:번)?\s?(?:으로|로|을|를)\s?(?:[가-힣]{1,4}\s)?(?:조회|확인|인증|검색|실명|본인|가입|등록|신청)"
    )
    CUES = r"주민|외국인\s?등록|(?<![a-z])rrn(?![a-z])|resident|registration|실명|신분증|민증|등록번호"

    def judge(self, text: str, start: int, end: int, pattern: Pattern) -> float:
        number = digits(text[start:end])
        if pattern.score >= LIKELY or len(number) != 13:
            return pattern.score
        if self._LOOKED_UP.match(text, end):
            return LEAST_WITH_CUE + 0.02
        weighted = sum(
            int(digit) * weight for digit, weight in zip(number, (2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5), strict=False)
        )
        return LIKELY if (11 - weighted % 11) % 10 == int(number[12]) else pattern.score


class NhsRecognizer(StructuredRecognizer):
    """United Kingdom NHS numbers: ten digits whose check digit one number in eleven has, so never without a cue."""

    ENTITY = UK_NHS
    PATTERNS = (("ten digits", rf"{RUN_BEFORE}\d{{3}}(?:{GAP})?\d{{3}}(?:{GAP})?\d{{4}}{AFTER}", WEAK),)
    GATE = r"\d{3}[ ./·-]{0,3}\d{3}[ ./·-]{0,3}\d{4}"
    CUES = r"(?<![a-z])nhs(?![a-z])|national health|patient (?:no|number|id)"
    _CALLED = re.compile(rf"(?<![a-z])nhs[\s_]?(?:no\.?|number|num|id|#|ref\.?)?{JOIN}*+$", re.IGNORECASE | re.ASCII)

    def judge(self, text: str, start: int, end: int, pattern: Pattern) -> float:
        number = digits(text[start:end])
        check = 11 - sum(int(digit) * weight for digit, weight in zip(number, range(10, 1, -1), strict=False)) % 11
        if self._CALLED.search(text, max(0, start - 40), start):
            return LIKELY + 0.05  # mistyped ones too
        return pattern.score if check % 11 == int(number[9]) else 0.0


class NinoRecognizer(StructuredRecognizer):
    """United Kingdom national insurance numbers; prefixes that are never given (QQ in every example) want a cue."""

    ENTITY = UK_NINO
    _PREFIX = r"(?!BG|GB|NK|KN|NT|TN|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z]"
    _GAP = r"(?:[ ]?[-./–][ ]?|[ ])?"
    _NUMBER = rf"{_GAP}\d{{2}}{_GAP}\d{{2}}{_GAP}\d{{2}}"
    PATTERNS = (
        ("groups", rf"(?<![0-9A-Za-z]){_PREFIX}{_NUMBER}{_GAP}[A-D](?![0-9A-Za-z])", LIKELY),
        ("any prefix", rf"(?<![0-9A-Za-z])(?!no[ .])[A-Z]{{2}}{_NUMBER}(?:{_GAP}[A-D])?(?![0-9A-Za-z]|-\d)", WEAK),
    )
    GATE = r"[A-Za-z]{2}[ ./–-]{0,3}\d{2}[ ./–-]{0,3}\d{2}[ ./–-]{0,3}\d{2}"
    CUES = r"national insurance|(?<![a-z])nino(?![a-z])|\bni ?(?:no|number|num|#|:|is)|\bn\.i\."


class DateOfBirthRecognizer(StructuredRecognizer):
    """Dates of birth: a date with a word about birth right before it, or behind. Every other date stays."""

    ENTITY = DATE_OF_BIRTH
    GUARDED = False
    _MONTH = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]{0,6}\.?"
    _YEAR = r"(?:(?:19|20)\d{2}|'\d{2})"
    _DATE = (
        rf"(?:\d{{1,2}}(?:st|nd|rd|th)?[ /-]?(?:of[ ])?{_MONTH}[,/-]?[ ]?(?:{_YEAR}|\d{{2}}(?!\d))"
        rf"|{_MONTH}[ -]?\d{{1,2}}(?:st|nd|rd|th)?[,-]?[ ]?{_YEAR}|(?:19|20)\d{{2}}[ -]{_MONTH}[ -]\d{{1,2}}"
        r"|(?:19|20)\d{2}[ ]?[-./_년][ ]?\d{1,2}[ ]?[-./_월][ ]?\d{1,2}일?|\d{1,2}[-./]\d{1,2}[-./](?:19|20)?\d{2}"
        r"|\d{1,2}[ ]\d{1,2}[ ](?:19|20)\d{2}|(?:19|20)\d{2}[ ]\d{1,2}[ ]\d{1,2}"
        r"|\d{2}[-./]\d{1,2}[-./]\d{1,2}|(?:0[1-9]|[12]\d|3[01])(?:0[1-9]|1[0-2])(?:19|20)\d{2}"
        r"|(?:19|20)?\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])|(?:19"
        r"|20)?\d{2}년[ ]?(?:생[ ]?)?\d{1,2}월[ ]?\d{1,2}일)"
    )
    _BIRTH = (
        r"(?:(?<![a-z])(?:dates?[ _]?of[ _]?births?|birth[ _]?dates?|birth[ _]?days?|d\.?o\.?b\b\.?|dob(?![a-z])"
        r"|born(?:[ ](?:on|in))?|geburtsdatum|geboren(?: am)?|n[ée]e? le|date de naissance|fecha de nacimiento)"
        r"|생년\s?월일|생일|출생\s?(?:일자|일|연월일|년월일)?|태어난\s?(?:날|날짜|일자))"
    )
    PATTERNS = (
        (
            "after the word",
            rf"{_BIRTH}(?:[ ]?(?:\((?:[a-z/. -]{{2,14}}|[년월일/\s]{{2,8}}|[가-힣0-9 ]{{2,8}})\)|on (?:file|record"
            rf"|the \w{{3,12}})|for \w+"
            r"|(?:and|the|of|my|his|her|their|a|given|listed|recorded|shown|stated|entered|registered|confirmed"
            r"|verified"
            r"|should|being|would|be|reads?|says|to|as|is|was|been|has|actually|really|not|currently|which|that|in|at)(?![a-z])"
            r"|:|=|-|은|는|이|가|을|를"
            r"|정보|확인|저는|제|/[a-z]{2,10})){0,7}"
            rf"(?:\.{{2,20}}|[\s:\"'\\(\[|,>=*_-]){{0,6}}(?P<value>{_DATE})(?!\d)",
            STRONG,
        ),
        ("asked for", rf"{_BIRTH}{ANSWERED}(?P<value>{_DATE})(?!\d)", STRONG),
        (
            "before the word",
            rf"(?<!\d)(?P<value>{_DATE})"
            r"(?=[ ]?(?:일[ ]?)?생(?![산명활성보일계각선수])|[ ]?(?:에|일에)?[ ]?태어|[ ]?출생)",
            STRONG,
        ),
        (
            "before the English word",
            rf"(?<![\d$€£.,-])(?P<value>{_DATE})(?=[ ]?[(,-]?[ ]?(?:(?:is |was |as )?(?:my|his|her|the|their|your"
            rf"|our)?[ ]?"
            r"(?:client'?s |customer'?s )?(?:date of birth|birth ?da(?:te|y)|dob(?![a-z])|d\.o\.b)))",
            STRONG,
        ),
    )
    GATE = r"(?i:birth|d\.?o\.?b|born|geboren|geburt|naissance|nacimiento)|생년|생일|출생|태어|[\d일][ ]?(?:일[ ]?)?생"
