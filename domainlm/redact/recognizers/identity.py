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
            rf"앞\s?(?:자리)?[는은가:]?[ ]?(?P<value>{_DATE}[,.]?[ ]?(?:이고|고)?[, ]{{0,2}}"
            r"(?:뒷|뒤)\s?(?:자리)?[는은가:]?[ ]?[1-8]\d{6})(?!\d)",
            STRONG,
        ),
    )
    GATE = r"\d{6}[ \r\n>#*/.~–-]{0,10}(?:\d{7}|\d?[*xX●•○])|[*xX●•○]{4}[ ]?-[ ]?[1-8*xX●•○]|뒷|뒤"
    # "…로 조회해 주세요": what somebody is looked up by.
    _LOOKED_UP = re.compile(
        r"\s?(?:번)?\s?(?:으로|로|을|를)\s?(?:[가-힣]{1,4}\s)?(?:조회|확인|인증|검색|실명|본인|가입|등록|신청)"
    )
    CUES = (
        r"주민|외국인\s?등록|(?<![a-z])rrn(?![a-z])|resident|registration|korean id|national id"
        r"|실명|신분증|민증|등록번호"
    )

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
    CUES = r"(?<![a-z])(?:nhs|n\.h\.s\.?)(?![a-z])|national health|patient (?:no|number|id)"
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
    """Dates of birth: a date of any habit whose nearest word about dates is one about birth. Every other date stays.

    What stands between word and date may be anything short ("born, as his passport says, on 3 May 1972"), but no other
    date, no end of a sentence that is no question, and no word about another event. The front half of a Korean
    resident number is a date of birth as well.
    """

    ENTITY = DATE_OF_BIRTH
    GUARDED = False
    _MONTH = (
        r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec|f[ée]v|avr|abr|mai|mag|juin|juil|giu|lug|ao[uû]"
        r"|ago|set|okt|ott"
        r"|dez|d[ée]c|dic|ene|gen|m[äa]r)[a-zéûäçí]{0,7}"
    )
    _YEAR = r"(?:(?:19|20)\d{2}|'\d{2}|\d{2}(?![\d:]))"
    _GAP = r"(?:[ ]?[-./,_·][ ]?|[ ]{1,2})"
    _OPEN = rf"(?:{_GAP})?"
    _ANY = (
        rf"(?:\d{{1,2}}(?:st|nd|rd|th|\.|º)?{_OPEN}(?:(?:day[ ])?of[ ]|de[ ])?{_MONTH}\.?{_OPEN}(?:del?[ ])?{_YEAR}"
        rf"|{_MONTH}\.?{_OPEN}\d{{1,2}}(?:st|nd|rd|th)?,?{_GAP}{_YEAR}|(?:19|20)\d{{2}}{_GAP}{_MONTH}{_GAP}\d{{1,2}}"
        rf"|(?:19|20)\d{{2}}{_GAP}\d{{1,2}}{_GAP}\d{{1,2}}|\d{{1,2}}{_GAP}\d{{1,2}}{_GAP}(?:19|20)\d{{2}}"
        r"|\d{1,2}[ ]?[-./][ ]?\d{1,2}[ ]?[-./'][ ]?\d{2}|(?:19"
        r"|20)?\d{2}[ ]?[년年][ ]?\d{1,2}[ ]?[월月][ ]?\d{1,2}[ ]?[일日]?"
        r"|(?:19|20)\d{6}|\d{4}(?:19|20)\d{2}|\d{6})"
    )
    PATTERNS = (
        ("date", rf"(?<![0-9A-Za-z$€£₩])(?<!\d[./,:-])(?P<value>{_ANY})(?![0-9]|[-./]\d)", STRONG),
        ("Korean year", r"(?<![0-9~∼-])(?P<value>(?:19|20)?\d{2}년[ ]?생)(?![산명활성보일계각선수])", STRONG),
    )
    GATE = (
        r"(?i:birth|(?<![a-z])d\.?[ ]?o\.?[ ]?b(?![a-z])|born|geb(?:oren|urt|[. ])|naissance|nacid|nasc|nacim"
        r"|n[ée]+e? le|nat[oa] il"
        r"|(?<![a-z])b\. ?[0-9a-z]"
        r"|(?<![a-z])aged? \d)|[a-z]D(?:ob|OB)|생년|생일|출생|태어|앞\s?자리|[\d일.)][ ]?(?:일[ ]?)?생|\d세\s?\(|生"
    )
    _BIRTH = re.compile(
        r"(?<![a-z])(?:(?:dates?|day|year)[ _-]?of[ _-]?births?|birth[ _-]?(?:dates?|days?|dt)(?![a-z])"
        r"|birth(?![a-z])(?![ _-](?:rate|place|control|weight|mother|certificate|cohort|country|city|year|name)s?)"
        r"|d\.?[ ]?o\.?[ ]?b\b\.?(?![a-z])|born(?![a-z]|[ ](?:out|from|by)[ ])|b\.(?=[ ]?\d|[ ]?\Z)|geburts(?:datum"
        r"|tag)|geb\b\.?"
        r"|geboren|n[ée]e?(?=[ ]le)|naissance|nacid[oa]|(?:fecha|data|date)[ ]d[ei][ ]?na(?:cimiento|scimento"
        r"|scita|issance)"
        r"|nat[oa](?=[ ]il))|(?-i:(?<=[a-z])(?:Dob|DOB|Birth(?:Date|Day|Dt)?|DateOfBirth))"
        r"|생년\s?월\s?일|생일|출생|태어난|생년|주민[^\d\n]{0,8}앞\s?자리|앞\s?자리|생\s?[:)]",
        re.IGNORECASE | re.ASCII,
    )
    # Words of other events: a date behind them is theirs.
    _EVENT = re.compile(
        r"(?<![a-z])(?:expir|issue|open|since|sign|valid|join|hire|hiring|employ|dated|due|matur|effective|die"
        r"|death|launch|marri"
        r"|mov|visit|appoint|paid|payment|trade|settle|received|sent|submit|updat|start|began|begin|account"
        r"|policy|purchas)"
        r"|발급|만료|만기|가입|작성|입사|개설|거래|접수|신청|계약|사망|결혼|유효|설립|발행",
        re.IGNORECASE | re.ASCII,
    )
    _ASKED = re.compile(rf"{ANSWERED}$", re.IGNORECASE | re.ASCII)
    _STOP = re.compile(r"(?<!\b[a-z])(?<!no)(?<!nr)[.!?](?:\s|$)|\n\s*\n", re.IGNORECASE | re.ASCII)
    _AGED = re.compile(r"(?:(?<![a-z])aged?[ :]{1,2}\d{1,3}[ ]?[(,;]|\d{1,3}세[ ]?[(,])[ ]?$", re.IGNORECASE | re.ASCII)
    _BEHIND = re.compile(
        r"[ .]{0,2}(?:일[ ]?)?(?:생|生)(?![산명활성보계각선수])|[ ]?(?:에|일에|날)?[ ]?태어"
        r"|[ ]?(?:일[ ]?)?(?:에[ ])?(?:[가-힣]{1,8}(?:에서|의)?[ ])?출생"
        r"|[ ]?[(,–-]?[ ]?(?:(?:is|was|as|being)[ ])?(?:(?:my|his|her|the|their|your|our|a|client'?s"
        r"|customer'?s)[ ]){0,3}"
        r"(?:date[ ]of[ ]birth|birth[ ]?da(?:te|y)|dob(?![a-z])|d\.o\.b)",
        re.IGNORECASE | re.ASCII,
    )
    _GENERATION = re.compile(r"[ ]?(?:이후|이전|이상|이하|부터|까지|세대|고객층|대상|들|인구|~)")
    _REACH, _BETWEEN = 80, 56

    def judge(self, text: str, start: int, end: int, pattern: Pattern) -> float:
        if pattern.name == "Korean year":
            return 0.0 if self._GENERATION.match(text, end) else pattern.score
        if not _may_be_a_day(text[start:end]):
            return 0.0
        if self._BEHIND.match(text, end) or self._AGED.search(text, max(0, start - 16), start):
            return pattern.score
        word = None
        for word in self._BIRTH.finditer(text, max(0, start - self._REACH), start):  # noqa: B007  the last one counts
            pass
        if word is None:
            return 0.0
        between = text[word.end() : start]
        if self._ASKED.fullmatch(between):
            return pattern.score
        if (
            len(between) > self._BETWEEN
            or re.search(r"\d{3}|\d[./-]\d", between)
            or self._STOP.search(between.rstrip(". "))
        ):
            return 0.0
        return 0.0 if self._EVENT.search(between) else pattern.score


def _may_be_a_day(value: str) -> bool:
    """Whether the figures of a date name a month and a day that exist, in any order, and a year of a living person."""
    groups = re.findall(r"\d+", value)
    if len(groups) == 1:
        run = groups[0]
        if len(run) == 6:
            groups = [run[:2], run[2:4], run[4:]]
        elif run[:2] in ("19", "20") and run[4:6] <= "12":
            groups = [run[:4], run[4:6], run[6:]]
        else:
            groups = [run[:2], run[2:4], run[4:]]
    numbers = [int(group) for group in groups]
    years = [number for group, number in zip(groups, numbers, strict=True) if len(group) == 4]
    if any(not 1900 <= year <= 2030 for year in years):
        return False
    rest = [number for group, number in zip(groups, numbers, strict=True) if len(group) < 4]
    if len(groups) == 2:  # the month is a word
        return any(1 <= number <= 31 for number in rest)
    if years:
        return all(1 <= number <= 31 for number in rest) and any(number <= 12 for number in rest)
    if len(value) == 6 and value.isdigit():
        return 1 <= numbers[1] <= 12 and 1 <= numbers[2] <= 31
    return any(1 <= number <= 12 for number in rest) and sum(1 <= number <= 31 for number in rest) >= 2
