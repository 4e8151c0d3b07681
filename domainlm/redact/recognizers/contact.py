"""E-mail addresses, telephone numbers and IP addresses."""

from __future__ import annotations

import ipaddress

from presidio_analyzer import Pattern

from domainlm.redact.recognizers.base import LIKELY, STRONG, WEAK, CuedRecognizer, digits
from domainlm.redact.settings import EMAIL_ADDRESS, IP_ADDRESS, PHONE_NUMBER, RedactSettings

_LATIN = "0-9A-Za-zÀ-ÖØ-öø-ɏ"


class EmailRecognizer(CuedRecognizer):
    """E-mail addresses of any top-level domain.

    Presidio's own asks a public suffix list that it fetches over the network, and passes addresses of internal domains.
    """

    ENTITY = EMAIL_ADDRESS
    PATTERNS = (
        (
            "address",
            rf"(?:[{_LATIN}!#$%&'*+/=?^_`{{|}}~.-]{{1,64}}|[가-힣]{{1,16}})[ ]?@[ ]?"
            rf"(?:[{_LATIN}가-힣](?:[{_LATIN}가-힣-]{{0,61}}[{_LATIN}가-힣])?\.){{1,8}}(?:[A-Za-z]{{2,24}}"
            rf"|xn--[A-Za-z0-9-]{{2,59}})",
            STRONG,
        ),
        ("address of an IP", rf"[{_LATIN}._%+-]{{1,64}}@\[?\d{{1,3}}(?:\.\d{{1,3}}){{3}}\]?", STRONG),
        ("quoted or inside host", rf"(?:\"[^\"\s]{{1,64}}\"|[{_LATIN}._%+-]{{1,64}})@[{_LATIN}-]{{2,63}}\b", WEAK),
        (
            "spelled out",
            rf"[{_LATIN}._%+-]{{1,64}}\s?[\[(]\s?at\s?[\])]\s?[{_LATIN}-]{{1,63}}(?:\s?(?:[\[(]\s?dot\s?[\])]"
            rf"|\.)\s?[{_LATIN}-]{{2,63}}){{1,4}}",
            STRONG,
        ),
    )
    GATE = r"@|[\[(]\s?[aA][tT]\s?[\])]"
    CUES = r"e-?mail|mailto|이메일|메일"
    GUARDED = False


class PhoneRecognizer(CuedRecognizer):
    """Telephone numbers by their written form, and by the numbering plans of some countries (phonenumbers).

    The form decides where it can be nothing else, since numbers that people mistype or invent are in no plan; runs of
    digits that could be amounts need a plan and a cue.
    """

    ENTITY = PHONE_NUMBER
    _BEFORE, _AFTER = r"(?<![\w.,+$€£₩-])", r"(?![\w-]|[.,:/]\d|%)"
    _EXTENSION = r"(?:[ ,]{0,2}(?:ext\.?|extension|x)[ ]?\d{1,6})?"
    PATTERNS = (
        ("international", rf"(?<![\w+])\+[ ]?[1-9](?:[ .\-/()]{{0,3}}\d){{7,14}}{_EXTENSION}(?!\d|,\d|\.\d)", LIKELY),
        ("international by 00", rf"{_BEFORE}00[ ]?[1-9](?:[ .\-/()]{{0,3}}\d){{8,13}}{_EXTENSION}{_AFTER}", 0.2),
        # (212) 555-0147, 212-555-0147, 1-212-555-0147, 001-212-555-0147, 212.555.0147
        (
            "North America",
            rf"(?<![\w.,$€£₩-])(?:(?:\+?1|001)[-. ]?)?(?:\([2-9]\d{{2}}\)[ -]?"
            rf"|[2-9]\d{{2}}[-.])\d{{3}}[-.]\d{{4}}{_EXTENSION}{_AFTER}",
            STRONG,
        ),
        ("North America with spaces", rf"{_BEFORE}(?:1[ ])?[2-9]\d{{2}}[ ]\d{{3}}[ -]\d{{4}}{_EXTENSION}{_AFTER}", 0.2),
        # 010-1234-5678, 010.1234.5678, 010 1234 5678, 01012345678
        (
            "Korean mobile",
            r"(?<![\w.,-])01[016789](?:[ ]?[-. ][ ]?\d{3,4}[ ]?[-. ][ ]?\d{4}|\d{7,8})(?![\d-]|[.,]\d)",
            STRONG,
        ),
        ("Korean mobile in brackets", r"(?<!\w)\(01[016789]\)[ -]?\d{3,4}[- ]?\d{4}(?!\d)", STRONG),
        (
            "Korean landline",
            r"(?<![\w.,-])\(?0(?:2|[3-6][1-5]|70|50\d)\)?[-.) ][ ]?\d{3,4}[-.]\d{4}(?![\d-]|[.,]\d)",
            LIKELY,
        ),
        ("Korean landline with spaces", r"(?<![\w.,-])0(?:2|[3-6][1-5]|70)[ ]\d{3,4}[ ]\d{4}(?![\d-]|[.,]\d)", 0.2),
        ("French", rf"{_BEFORE}0[1-9](?:([ .-])\d{{2}})(?:\1\d{{2}}){{3}}{_AFTER}", 0.2),
        # (020) 7946 0018, 07700 900123, 030/901820, 0170 1234567: the leading zero of a trunk call
        (
            "trunk call",
            rf"(?<![\w.,+$€£₩/-])\(?0[1-9]\d{{1,4}}\)?(?:[ ]?[-/ ][ ]?\d{{2,8}}){{1,4}}{_EXTENSION}{_AFTER}",
            0.2,
        ),
        ("run of digits", rf"{_BEFORE}(?:0\d{{8,11}}|[2-9]\d{{9}}){_AFTER}", WEAK),
    )
    # Seven digits with little between them.
    GATE = r"\d(?:[^0-9A-Za-z\n]{0,4}\d){6}"
    CUES = (
        r"phone|\btel\b|\btel[.:]|telephone|mobile|\bcell\b|\bcall(?:ed|ing|s)?\b|\btext(?:ed|ing)?\b|\bsms\b"
        r"|whatsapp|\bfax\b|contact"
        r"|\breach\b|\bdial|\bring\b|hotline|handy|rufnummer|전화|휴대폰|휴대전화|핸드폰|연락|팩스|문자|통화"
    )
    # Certain by form; the others must be in some country's plan.
    _BY_FORM = frozenset({"North America", "Korean mobile", "Korean mobile in brackets", "Korean landline"})
    _PLAN = 0.45

    def __init__(self, supported_language: str, settings: RedactSettings) -> None:
        super().__init__(supported_language, settings)
        self.regions = settings.phone_regions

    def grade(self, value: str, pattern: Pattern) -> float:
        if pattern.name in self._BY_FORM:
            return pattern.score
        if pattern.name == "trunk call" and not 9 <= len(digits(value)) <= 12:
            return 0.0  # longer ones are accounts
        valid, possible = in_numbering_plan(value, self.regions)
        if pattern.name == "international":
            return pattern.score if valid else 0.5 if possible and "." not in value else 0.2
        if not valid:
            return pattern.score / 4 if pattern.name == "run of digits" else pattern.score
        # Ten digits and a trunk zero in two groups or more are hardly ever an amount.
        return (
            self._PLAN
            if pattern.score > WEAK and value.lstrip("( ")[0] == "0" and len(digits(value)) >= 10
            else pattern.score
        )

    def to_dict(self) -> dict[str, object]:
        return super().to_dict() | {"regions": list(self.regions)}


def in_numbering_plan(value: str, regions: tuple[str, ...]) -> tuple[bool, bool]:
    """Whether a telephone number is valid in one of some countries, and whether it has at least a possible length."""
    import phonenumbers

    if value.startswith("00"):
        value = "+" + value[2:]
    possible = False
    for region in (None,) if value.startswith("+") else regions:
        try:
            number = phonenumbers.parse(value, region)
        except phonenumbers.NumberParseException:
            continue
        if phonenumbers.is_valid_number(number):
            return True, True
        possible = possible or phonenumbers.is_possible_number(number)
    return False, possible


class IpRecognizer(CuedRecognizer):
    """IPv4 and IPv6 addresses; numbers of paragraphs such as 3.2.1.4 need a cue."""

    ENTITY = IP_ADDRESS
    PATTERNS = (
        ("IPv4", r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?!\w|\.\w)", LIKELY),
        ("IPv6", r"(?<![\w:.])(?:[0-9a-f]{0,4}:){2,7}(?:[0-9a-f]{1,4}|(?:\d{1,3}\.){3}\d{1,3})?(?![\w:])", LIKELY),
    )
    GATE = r"\d\.\d{1,3}\.\d{1,3}\.\d|[0-9A-Fa-f:]:[0-9A-Fa-f]{0,4}:"
    CUES = r"\bip(?:v[46])?\b|\baddress|\blog(?:ged)?[ -]?in|\bhost|\bserver|\bdevice|접속|주소|로그인"

    def grade(self, value: str, pattern: Pattern) -> float:
        try:
            address = ipaddress.ip_address(value)
        except ValueError:
            return 0.0
        if address.version == 6:
            return pattern.score if len(value) > 6 and any(digit in value for digit in "0123456789") else 0.0
        return WEAK if len(value) == len("1.2.3.4") else pattern.score
