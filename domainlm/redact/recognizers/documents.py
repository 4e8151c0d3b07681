"""Passports and driving licences: numbers of many forms, so a word decides, except where the form is unmistakable."""

from __future__ import annotations

import re

import regex
from presidio_analyzer import Pattern

from domainlm.redact.recognizers.base import LIKELY, STRONG, digits
from domainlm.redact.recognizers.edges import GAP, JOIN, StructuredRecognizer
from domainlm.redact.recognizers.labels import is_amount, label_of
from domainlm.redact.recognizers.securities import is_date
from domainlm.redact.settings import DRIVER_LICENSE, PASSPORT

# What may stand between the word and its number beside `JOIN`: an issuing state, an adjective.
_STATE = (
    r"(?:\((?:[A-Za-z .]{2,24}|[가-힣 ]{1,12})\)|(?i:of|issued|by|in|from|us|usa|uk|united|states|kingdom|republic"
    r"|korea|korean|south"
    r"|german|french|japanese|canadian|new|north|west|dakota|carolina|virginia|mexico|hampshire|jersey|york|island"
    r"|rhode"
    r"|california|texas|florida|illinois|ohio|washington|oregon|georgia|michigan|arizona|nevada|colorado|pennsylvania"
    r"|massachusetts|minnesota|wisconsin|maryland|missouri|indiana|tennessee|alabama|kentucky|louisiana|oklahoma|utah"
    r"|iowa|kansas|arkansas|mississippi|idaho|montana|wyoming|vermont|maine|delaware|connecticut|alaska|hawaii"
    r"|nebraska"
    r"|state|class|card|my|his|her|their|copy|scan|expired|expires|renewed|valid|current|old|details|holder|with"
    r"|shows"
    r"|says|presented|provided|verified|checked|under|and|for|has|have|id|document|doc|numbered|reads|ends|ending)\b)"
)
_LINK = rf"(?:{JOIN}|[;.]\s|{_STATE}|\s|여권|면허증|면허|사본|의|상|확인|제|발급|[A-Z]{{2}}[ ])"


# Above what other recognizers give by form, so that the label decides.
_LABELLED = 0.93


class PassportRecognizer(StructuredRecognizer):
    """Passport numbers behind the word, and the machine-readable zone (ICAO Doc 9303, two lines of 44 characters).

    Korea M12345678 and, since December 2021, M123A4567; United States and United Kingdom nine digits or a letter and
    eight digits; Germany nine of C–Z and digits; France 12AB34567; others up to three letters and five to eight digits.
    """

    ENTITY = PASSPORT
    FLAGS = regex.ASCII
    _FORM = (
        r"(?:[A-Z]{1,3}[ -]?\d{5,9}|\d{9}|[A-Z]\d{3}[A-Z]\d{4}|\d{2}[A-Z]{2}\d{5}"
        r"|(?=[0-9A-Z]*\d[0-9A-Z]*\d)[CFGHJKLMNPRTVWXYZ]"
        r"[0-9CFGHJKLMNPRTVWXYZ]{8}|[A-Z]{1,2}[0-9A-Z]{3}(?=[0-9A-Z]*\d)[0-9A-Z]{3,4}\d|[a-z]{1,2}\d{7,8}"
        r"|[a-z]\d{3}[a-z]\d{4}"
        r"|\d{3}[ -]\d{3}[ -]\d{3}|\d{7,8}[A-Z]?)"
    )
    PATTERNS = (
        (
            "after the word",
            rf"(?:(?i:(?<![a-z])passports?|reisepass|passeport|pasaporte|(?<![a-z])ppt)|여권)(?:'s|의)?"
            rf"{_LINK}{{0,14}}+(?P<value>{_FORM})(?![0-9A-Za-z]|-\d|[.,]\d)",
            LIKELY + 0.1,
        ),
        (
            "before the word",
            r"(?<![0-9A-Za-z-])(?P<value>[A-Z]{1,2}\d{7,8}|[A-Z]\d{3}[A-Z]\d{4})(?=[ ]?(?:번\s?)?(?:여권"
            r"|\(?(?i:passport)))",
            LIKELY + 0.1,
        ),
        (
            "beside the word",
            r"(?<![0-9A-Za-z])(?:[A-Z]{1,3}[ -]?\d(?:[ -]?\d){4,8}|[a-z]{1,2}\d{6,8}|[A-Za-z]\d{3}[A-Za-z]\d{4}"
            r"|\d{2}[A-Za-z]{2}\d{5}|(?=[A-Z0-9]*\d[A-Z0-9]*\d)[A-Z][0-9A-Z]{8}|\d{3}[ -]\d{3}[ -]\d{3}|\d{2}[ ]\d{7}"
            r"|\d{7,9}[A-Z]?)(?![0-9A-Za-z]|-\d|[.,]\d)",
            _LABELLED,
        ),
        (
            "machine-readable zone",
            r"(?:P[A-Z<][A-Z]{3}[A-Z<]{39}\s{1,3})?"
            r"(?<![0-9A-Z<])[A-Z0-9<]{9}\d[A-Z<]{3}\d{6}\d[MFX<]\d{6}\d[A-Z0-9<]{14}[0-9<]\d",
            0.9,
        ),
    )
    GATE = (
        r"(?i:pass-?port|reisepass|passe?porte?|pasaporte|passaporto|paspoort|(?<![a-z])ppt?[ ]?(?:n|#|:)"
        r"|(?<![a-z])ppt(?![a-z])"
        r"|travel[ _-]?doc)|여권|旅券|护照"
        r"|\d[A-Z<]{3}\d{7}[MFX<]\d{7}"
    )
    _CLOSE = 40

    def judge(self, text: str, start: int, end: int, pattern: Pattern) -> float:
        value = text[start:end]
        count = len(digits(value))
        if pattern.name == "beside the word":
            label = label_of(text, start, end)
            if label is None or label.kind != PASSPORT or is_date(value) or is_amount(text, start, end):
                return 0.0
            # Digits alone have eight or nine, and the word near them.
            plain = value.replace(" ", "").replace("-", "")
            apart = start - label.end if label.end <= start else label.start - end
            return pattern.score if not plain.isdigit() or (len(plain) >= 8 and apart <= self._CLOSE) else 0.0
        return 0.0 if count < 2 or is_date(value) or (value.isdigit() and len(value) < 7) else pattern.score


class DriverLicenseRecognizer(StructuredRecognizer):
    """Driving licences behind the word; the Korean and British forms also by themselves.

    Korea 12-34-567890-12, whose first group is the region that issued it (11–28) or its name; United Kingdom five
    letters, six digits, five characters; United States by state (AAMVA): up to three letters and four to fourteen
    digits, in groups in Florida, Illinois, Michigan, Minnesota, Maryland, Wisconsin.
    """

    ENTITY = DRIVER_LICENSE
    _REGION = r"(?:서울|부산|경기|강원|충북|충남|전북|전남|경북|경남|제주|대구|인천|광주|대전|울산)"
    _BESIDE = (
        rf"(?:{_REGION}[ -]?\d{{2}}(?:{GAP}\d{{2}})?{GAP}\d{{6}}{GAP}\d{{2}}"
        rf"|[A-Z9]{{5}}[ ]?\d{{6}}[ ]?[A-Z9]{{2}}[ ]?[0-9A-Z][A-Z]{{2}}(?:[ ]?\d{{2}})?"
        rf"|(?:[A-Z]{{1,3}}-?)?\d{{1,14}}(?:{GAP}\d{{1,6}}){{0,5}}[A-Z]{{0,2}}|[A-Z*]{{3,7}}\d[0-9A-Z*]{{3,8}}"
        r"|(?=[A-Z0-9]{0,15}\d)[A-Z0-9]{7,16}|[a-z]\d{6,14})"
    )
    _FORM = (
        r"(?:[A-Z]{0,3}\d{4,14}[A-Z]{0,2}|[A-Z]\d{2,4}(?:[ -]\d{1,6}){1,5}|\d{2,4}(?:[ -]\d{1,6}){1,4}"
        r"|[A-Z9]{5}[ ]?\d{6}[ ]?[A-Z9]{2}[ ]?[0-9A-Z][A-Z]{2}(?:[ ]?\d{2})?|[A-Z*]{3,7}\d[0-9A-Z*]{3,8}"
        r"|[A-Z]{2}-?\d{2}-?\d{4,6})"
    )
    PATTERNS = (
        (
            "after the word",
            r"(?:(?i:(?<![a-z])(?:driver|driving)(?:'?s)?[ _-]?(?:licen[cs]e|lic\b\.?|permit|id)|driverslicen[cs]e"
            r"|(?<![a-z])(?:dl|d/l|dln|dl_no)(?=[ ]?(?:no|num|#|:|=|is|id|\()|[ ](?:[A-Z]?\d{7}|[A-Z]\d{3}-))"
            r"|(?<![a-z])licen[cs]e[ _]?(?:no|number"
            r"|num|#|id)(?![a-z])"
            r"|f[üu]hrerschein(?:nummer)?|permis de conduire)|운전\s?면허(?:증|번호)*|면허\s?번호|면허증)"
            rf"{_LINK}{{0,14}}+(?P<value>{_FORM})(?![0-9A-Za-z]|-\d|[.,]\d)",
            LIKELY + 0.1,
        ),
        ("beside the word", rf"(?<![0-9A-Za-z$€£₩])(?<!\d[.,-]){_BESIDE}(?![0-9A-Za-z%]|-\d|[.,]\d)", _LABELLED),
        (
            "Korean",
            r"(?<![0-9A-Za-z])(?<!\d[.,-])(?:1[1-9]|2[0-8])-\d{2}-\d{6}-\d{2}(?![0-9A-Za-z]|-\d)",
            LIKELY + 0.1,
        ),
        (
            "Korean region",
            rf"{_REGION}[ -]?\d{{2}}-(?:\d{{2}}-\d{{6}}(?:-\d{{2}})?|\d{{6}}-\d{{2}})(?![0-9A-Za-z]|-\d)",
            STRONG,
        ),
        (
            "British",
            r"(?<![0-9A-Za-z])[A-Z]{1,5}9{0,4}\d[0156]\d[0-3]\d\d[A-Z9]{2}[0-9A-Z][A-Z]{2}(?![0-9A-Za-z])",
            LIKELY + 0.1,
        ),
    )
    # A part of every label of a licence; "driver" alone speaks of costs.
    _LICENCE_WORD = (
        r"licen[cs]|permit|permis|schein|patente|dvla|d/l|d\.l\.|oln(?![a-z])|(?<![a-z])o?dln?o?(?![a-z])"
        r"|(?<![a-z])lic(?![a-z])|(?:driver'?s?'?|driving|motorist'?s?|motor vehicle|operator'?s?|state|provisional"
        r"|dmv)[ _-]id"
    )
    GATE = (
        rf"(?i:{_LICENCE_WORD})"
        r"|면허"
        r"|\d{2}-\d{6}-\d{2}"
        r"|[A-Z9]\d{6}[A-Z9]"
    )

    _SAID = re.compile(rf"{_LICENCE_WORD}|면허", re.IGNORECASE | re.ASCII)
    _DRIVING = re.compile(r"driv|면허|\bdl", re.IGNORECASE | re.ASCII)

    def judge(self, text: str, start: int, end: int, pattern: Pattern) -> float:
        value = text[start:end]
        if pattern.name == "British":
            return pattern.score if len(value) == 16 else 0.0
        count = len(digits(value))
        if pattern.name == "beside the word":
            return pattern.score if self._labelled(text, start, end) else 0.0
        if pattern.name == "after the word" and (count < 4 or is_date(value)):
            return 0.0
        # Software, banks and record labels have licence numbers, too; a driver's has a letter or seven digits.
        if count < 7 and value.isdigit() and not self._DRIVING.search(text, max(0, start - 80), start):
            return 0.0
        return pattern.score

    def _labelled(self, text: str, start: int, end: int) -> bool:
        if not self._SAID.search(text, max(0, start - 120), end + 120):
            return False
        value = text[start:end]
        count = len(digits(value))
        label = label_of(text, start, end)
        if label is None or label.kind != DRIVER_LICENSE or count < 4 or is_date(value) or is_amount(text, start, end):
            return False
        between = text[label.end : start]
        if self._BUSINESS.search(text, max(0, label.start - 24), label.start):
            return False
        said = text[label.start : label.end].lower()
        sure = self._DRIVING.search(said) or self._DRIVING.search(text, max(0, label.start - 60), label.start)
        lettered = any(map(str.isalpha, value))
        # Of a bare "licence" only what looks like a driver's: a letter, groups, or many digits right behind.
        if sure:
            return count >= 6 or lettered
        return (lettered and count >= 6) or (count >= 7 and (not value.isdigit() or len(between) <= 16))

    _BUSINESS = re.compile(
        r"(?:bank(?:ing)?|software|business|broker(?:age)?|medical|liquor|real estate|trade|import|export"
        r"|open[ -]?source"
        r"|gaming|mining|operating|patent|finra|e-money|cc|gpl|sublicen[cs]e|cross)[ -]$",
        re.IGNORECASE | re.ASCII,
    )
