"""Accounts and what identifies a bank: IBAN, BIC, routing numbers, bank and securities accounts of any country."""

from __future__ import annotations

import re
from collections.abc import Iterator

import regex
from presidio_analyzer import Pattern

from domainlm.redact.recognizers.base import LEAST_WITH_CUE, LIKELY, STRONG, WEAK, digits, luhn
from domainlm.redact.recognizers.edges import (
    AFTER,
    BEFORE,
    FIRM_BEFORE,
    JOIN,
    RUN_AFTER,
    RUN_BEFORE,
    StructuredRecognizer,
)
from domainlm.redact.recognizers.labels import (
    KOREAN_BANK,
    account_kind,
    is_amount,
    is_brokers_form,
    label_before,
    label_of,
)
from domainlm.redact.recognizers.securities import in_formula, is_date
from domainlm.redact.settings import (
    ABA_ROUTING_NUMBER,
    BROKERAGE_ACCOUNT,
    DRIVER_LICENSE,
    IBAN_CODE,
    KR_BANK_ACCOUNT,
    KR_RRN,
    PASSPORT,
    SWIFT_BIC,
    US_BANK_NUMBER,
)

# Length of an IBAN by country: SWIFT, IBAN registry (ISO 13616), release 99.
_IBAN_LENGTHS = {
    15: "NO", 16: "BE BI", 18: "DK FI FK FO GL NL SD", 19: "MK SI", 20: "AT BA EE KZ LT LU MN XK", 21: "CH HR LI LV",
    22: "BG BH CR DE GB GE IE ME RS VA", 23: "AE GI IL IQ OM SO TL", 24: "AD CZ ES MD PK RO SA SE SK TN VG",
    25: "LY PT ST", 26: "IS TR", 27: "BF DJ FR GR IT MC MR SM", 28: "AL AZ BY CY DO GT HN HU LB NI PL SV",
    29: "BR EG PS QA UA", 30: "JO KW MU YE",
    31: "MT SC", 32: "LC", 33: "RU",
}  # fmt: skip
# ISO 3166-1, and XK.
_COUNTRIES = frozenset(
    "AD AE AF AG AI AL AM AO AR AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BW BY BZ CA"
    " CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CY CZ DE DJ DK DM DO DZ EC EE EG ER ES ET FI FJ FK FO FR GA"
    " GB GD GE GF GG GH GI GL GM GN GP GQ GR GT GU GY HK HN HR HT HU ID IE IL IM IN IQ IR IS IT JE JM JO JP KE"
    " KG KH KM KN KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MG MK ML MM MN MO MR MT MU MV MW MX"
    " MY MZ NA NC NE NG NI NL NO NP NZ OM PA PE PG PH PK PL PT PY QA RE RO RS RU RW SA SC SD SE SG SI SK SL SM"
    " SN SO SR ST SV SY SZ TD TG TH TJ TL TM TN TR TT TW TZ UA UG US UY UZ VA VE VG VN XK YE ZA ZM ZW".split()
)
IBAN_LENGTH = {country: length for length, countries in _IBAN_LENGTHS.items() for country in countries.split()}


class IbanRecognizer(StructuredRecognizer):
    """IBANs of the registry's countries and lengths, spaced at will; a wrong check number wants a cue.

    The pattern finds the head; the tail is walked to the country's length, so that neither the next word nor the next
    cell of a row joins it. Where that does not check, any other length in capitals that does is taken as well: people
    and programs leave a digit out, and a check number that fits by chance is one in 97.
    """

    ENTITY = IBAN_CODE
    # "in 2019 the" is no head: behind a gap a country is in capitals, or groups of four follow. No IBAN has fewer than
    # three digits behind its check number.
    _HEAD = (
        r"(?:(?-i:[A-Z]{2})[ -]?\d[ -]?\d|[A-Za-z]{2}\d[ -]?\d|[A-Za-z]{2}[ -]\d\d(?=[ -][0-9A-Za-z]{4}[ -]))"
        r"(?=(?:[A-Za-z \t\r\n>#*/.-]{0,40}\d){3})"
    )
    _LONG = r"(?=(?:[ \t.-]{0,3}(?:\r?\n[ >#*/]{0,6})?[0-9A-Za-z]){10})"
    # A word boundary rather than a look behind: the prefilter keeps the one and drops the other.
    PATTERNS = (
        ("country and check number", rf"\b{_HEAD}{_LONG}", WEAK),
        ("behind an underscore", rf"(?<=_){_HEAD}{_LONG}", WEAK),
    )
    GATE = rf"\b{_HEAD}|_{_HEAD}"
    CUES = r"\biban\b|account|\bbank|transfer|\bsepa\b|계좌|송금|konto|compte|cuenta|conto"
    GUARDED = False
    _STEP = re.compile(r"[ \t.-]{0,3}(?:\r?\n[ >#*/]{0,6})?([0-9A-Za-z])")
    _SHORTEST, _LONGEST = 14, 34

    def matches(self, text: str) -> Iterator[tuple[Pattern, int, int]]:
        """The whole number behind each head."""
        for pattern, start, end in super().matches(text):
            yield pattern, start, self._end(text, start, end)[0]

    def judge(self, text: str, start: int, end: int, pattern: Pattern) -> float:
        return self._end(text, start, end)[1]

    def _end(self, text: str, start: int, end: int) -> tuple[int, float]:
        """Where the number behind a head ends, and its score."""
        country = text[start : start + 2].upper()
        if country not in _COUNTRIES:
            return end, 0.0
        apart = not text[start + 2].isdigit()  # "Account No 335917…": a gap there wants gaps further on as well
        iban = "".join(character for character in text[start:end] if character.isalnum()).upper()
        whole: dict[int, tuple[int, str]] = {}
        while len(iban) < self._LONGEST and (step := self._STEP.match(text, end)):
            iban, end = iban + step[1].upper(), step.end()
            if len(iban) >= self._SHORTEST and not (end < len(text) and text[end].isascii() and text[end].isalnum()):
                whole[len(iban)] = end, iban
        length = IBAN_LENGTH.get(country, 0)
        for size in (length, *sorted(whole, reverse=True)):
            if size not in whole:
                continue
            at, number = whole[size]
            spelled, count = text[start:at], len(digits(number))
            if apart and spelled[4:].isalnum():
                continue
            # One run of prose in 97 passes the check as well: "at 10 p.m. and wakes up at 6 a".
            form = count >= 12 if size == length else spelled.isupper() and count >= 10 and "\n" not in spelled
            if (form or (spelled.isupper() and count >= 5 and size == length)) and _checks(number):
                return at, STRONG
        if (
            not apart
            and length in whole
            and len(digits(whole[length][1])) >= 12
            and "\n" not in text[start : whole[length][0]]
        ):
            return whole[length][0], WEAK  # mistyped; prose that begins with two letters and two digits has no other
        return end, 0.0


def _checks(iban: str) -> bool:
    """ISO/IEC 7064, modulus 97."""
    return int("".join(str(int(character, 36)) for character in iban[4:] + iban[:4])) % 97 == 1


class BicRecognizer(StructuredRecognizer):
    """BICs (SWIFT codes, ISO 9362): capitals that also spell words, so only behind a cue, or with a digit near one."""

    ENTITY = SWIFT_BIC
    FLAGS = regex.ASCII  # a BIC is written in capitals
    _COUNTRY = (
        r"(?:A[DEFGILMORTUWZ]|B[ABDEFGHIJMNORSTWYZ]|C[AHILMNORUVYZ]|D[EJKMOZ]|E[CEGRST]|F[IJKMOR]"
        r"|G[ABDEGHILMNPQRTUWY]|H[KNRTU]"
        r"|I[DELMNOQRST]|J[EMOP]|K[EGHIMNPRWYZ]|L[ABCIKRSTUVY]|M[ACDEGHKLMNORTUVWXYZ]|N[ACEGILOPRUZ]|OM"
        r"|P[AEFGHKLMNRSTWY]|QA|R[EOSUW]"
        r"|S[ABCDEGHIKLMNORTVXYZ]|T[CDGHJLMNORTVWZ]|U[AGKSYZ]|V[ACEGNU]|W[FS]|XK|Y[ET]|Z[AMW])"
    )
    _CODE = rf"[A-Z]{{4}}{_COUNTRY}[A-Z0-9]{{2}}(?:[A-Z0-9]{{3}})?"
    _ANY = rf"(?:{_CODE}|[A-Z]{{4}}[ -]{_COUNTRY}[ -][A-Z0-9]{{2}}(?:[ -][A-Z0-9]{{3}})?)"
    PATTERNS = (
        (
            "after the word",
            # "SWIFT CUSTOMER" has the form of a code in Oman: letters alone need more than a space before them.
            rf"(?i:swift|\bbic|스위프트)(?:(?i:[ /_-]{{0,2}}(?:code|bic|swift|no\.?|number|id|address|코드|번호)"
            rf"|[ ](?:is|was|of|for\ (?:the\ )?\w{{2,16}}(?:\ bank)?|reads|should be|to use is)|은|는|코드"
            rf"|[ ]?[:=#,(])+[ \"'\\\t\[(-]{{0,5}}(?i:is\ |was\ )?"
            rf"|(?<=(?i:bic))[ ]|[ (](?=[A-Z]*\d))(?P<value>{_ANY})(?![0-9A-Za-z])",
            LIKELY,
        ),
        ("after the word and a space", rf"(?i:swift)[ ](?P<value>{_CODE})(?![0-9A-Za-z])", LIKELY),
        (
            "after a bank",
            rf"(?:(?i:intermediary|correspondent|beneficiary|receiving|sending|ordering|remitting|issuing"
            rf"|advising|sender|receiver"
            rf"|cover|recipient|payee)(?i:'s)?(?i:[ ](?:bank|institution|agent))?(?i:'s)?|은행|수취|중개|경유)"
            rf"(?i:[ ](?:bic|swift|is|code|은|는)){{0,2}}[ ]?[:=(-]?[ ]?(?P<value>{_CODE})(?![0-9A-Za-z])",
            LIKELY,
        ),
        (
            "before the word",
            rf"(?<![0-9A-Za-z])(?P<value>{_CODE})"
            r"(?=[ ]?[(,]?[ ]?(?:(?i:is the |as the |as )?(?i:swift|bic)\b|스위프트))",
            LIKELY,
        ),
        # XX01 AAAA… DEUTDEFF: beside an IBAN a code of the same country is the bank's.
        (
            "after an IBAN",
            r"(?<![0-9A-Za-z])(?P<country>[A-Z]{2})\d{2}[ ]?(?:[0-9A-Z]{2,4}[ ]?){3,8}[ ,;/|(-]{1,4}"
            r"(?:(?i:at|bei|bank|with)[ ]){0,2}(?P<value>[A-Z]{4}(?P=country)[A-Z0-9]{2}(?:[A-Z0-9]{3})?)"
            r"(?![0-9A-Za-z])",
            LIKELY,
        ),
        (
            "with a digit or of a head office",
            rf"(?<![0-9A-Za-z])(?:(?=[A-Z]*[0-9]){_CODE}|[A-Z]{{4}}{_COUNTRY}[A-Z0-9]{{2}}XXX)(?![0-9A-Za-z])",
            WEAK,
        ),
        ("near the word", rf"(?<![0-9A-Za-z]){_CODE}(?![0-9A-Za-z])", 0.02),
        ("labelled", rf"(?<![0-9A-Za-z@._-])(?i:{_CODE})(?![0-9A-Za-z@_-]|\.[A-Za-z])", LIKELY + 0.1),
        # :57A:DEUTDEFF and :53A:/12345 over the code, fields of the messages MT 103 and MT 202.
        (
            "field of a message",
            rf":5[0-8][A-D]?:(?:/[^\n]{{1,40}}\r?\n)?(?P<value>(?i:{_CODE}))(?![0-9A-Za-z])",
            LIKELY + 0.1,
        ),
        (
            "in brackets behind a bank",
            r"(?:(?<![A-Za-z])(?i:[a-z]{0,14}bank|banco|banque|banca|n\.?a\.?|plc|ag|s\.?a\.?|ltd|chase|hsbc"
            r"|barclays)(?![A-Za-z])"
            rf"|은행|뱅크)[^\n()]{{0,16}}\([ ]?(?P<value>{_CODE})[ ]?\)",
            LIKELY + 0.1,
        ),
    )
    GATE = (
        r"(?<![0-9A-Za-z])[A-Z]{4}[ -]?[A-Z]{2}[ -]?[A-Z0-9]{2}|(?<![A-Za-z])(?i:bic|swift|bank identifier)"
        r"|(?i:swift|bic)code"
        r"|스위프트|은행\s?(?:식별)?\s?코드|:5[0-8][A-D]?:"
    )
    CUES = (
        r"swift|\bbic\b|\bbank\b|\bwire|\btransfer|correspondent|intermediary|은행|송금|스위프트"
        r"|[A-Z]{2}\d{2}[ ]?(?:[0-9A-Z]{2,4}[ ]?){3,8}[ (]"
    )
    # Words that have the form of a code: their country is an ending of English, and so is their place.
    _WORDS = frozenset(
        "CUSTOMER MESSAGES INCIDENT BUSINESS DOCUMENT PLATFORM SANCTION MESSAGING INTERFACE INTEREST CONTINUE THOUSAND"
        " DOMESTIC HOLDINGS THURSDAY PROGRESS ADVANCES SCENARIO FORECAST OVERSEAS REGISTRY BOOKINGS MANAGERS SCIENCES"
        " CAMPAIGN BICYCLES MEETINGS SETTINGS BILLINGS STERLING DEUTSCHE CONGRESS PREMISES DEADLINE ECONOMIC"
        " EXERCISE".split()
    )
    _ENDINGS = re.compile(
        r"[A-Z]+(?:ED|ING|INGS|IONS?|ERS?|LY|TY|IES|MENTS?|NT|NTS|ABLE|IAL|ANCE|ENCE|ATE|ATES|RY|ARY|TION|TIONS"
        r"|ORS?|LES|GES)"
    )
    _CAPITALS_BEFORE, _CAPITALS_AFTER = re.compile(r"[A-Z]{3,}[ ]$"), re.compile(r"[ ][A-Z]{3,}")
    _CODES_NEAR = re.compile(r"(?i:\bbic\b|swift (?:code|bic)|swift[ /]?code)", re.ASCII)
    _BANKING = re.compile(
        r"swift|\bbic\b|\bbank|\bwire|\btransfer|correspondent|intermediary|settle|remit|\bpay(?:ment|ing)|은행"
        r"|송금|스위프트|결제",
        re.IGNORECASE | re.ASCII,
    )
    _FIRM = re.compile(
        r"[:=]|\b(?:is|code|via|at|address|no|number|are)\b|bic\s*$|코드|[)은는가\"'>(|\n-]", re.IGNORECASE | re.ASCII
    )

    def judge(self, text: str, start: int, end: int, pattern: Pattern) -> float:
        value = text[start:end]
        if value.isalpha() and self._is_word(value):
            return 0.0
        if pattern.name == "labelled":
            return self._labelled(text, start, end) * pattern.score
        if pattern.name == "after the word and a space":
            return 0.0 if self._CAPITALS_AFTER.match(text, end) else pattern.score
        if pattern.name == "with a digit or of a head office":
            banking = self._BANKING.search(text, max(0, start - 120), end + 60)
            return LEAST_WITH_CUE + 0.02 if value.endswith("XXX") or banking else pattern.score
        if pattern.name != "near the word":
            return pattern.score
        # A word in capitals among words in capitals is a heading.
        shouted = self._CAPITALS_BEFORE.search(text, max(0, start - 12), start) or self._CAPITALS_AFTER.match(text, end)
        near = self._CODES_NEAR.search(text, max(0, start - 40), start)
        return LEAST_WITH_CUE + 0.02 if near and not shouted and len(value) in (8, 11) else 0.0

    def _is_word(self, value: str) -> bool:
        plain = value.upper()
        ending = self._ENDINGS.fullmatch(plain) and len(re.findall("[AEIOUY]", plain)) >= 3
        return plain in self._WORDS or bool(ending)

    def _labelled(self, text: str, start: int, end: int) -> bool:
        """Whether the nearest label speaks of BICs; letters alone want more than a blank between the two."""
        value = text[start:end]
        if not (value.isupper() or value.islower()):
            return False
        label = label_of(text, start, end)
        if label is not None and label.kind == KOREAN_BANK and label.end <= start:
            label = label_before(text, label.start, 24)  # "SWIFT of Kookmin Bank: …"
        if label is None or label.kind != SWIFT_BIC:
            return False
        if not value.isalpha() or value.lower().endswith("xxx") or len(value) == 11:
            return True
        if label.start > end:
            return value.isupper()
        between = text[label.start : start]
        return bool(self._FIRM.search(between)) and len(between) <= 48 and not re.search(r"\.\s[A-Z]", between)


class RoutingNumberRecognizer(StructuredRecognizer):
    """Numbers of banks: ABA routing numbers (one run in ten passes their checksum), sort codes; never without a cue."""

    ENTITY = ABA_ROUTING_NUMBER
    PATTERNS = (("nine digits", rf"{RUN_BEFORE}\d{{4}}[ -]?\d{{4}}[ -]?\d{RUN_AFTER}", 0.1),)
    GATE = r"\d{4}[ -]?\d{4}[ -]?\d"
    CUES = r"(?<![a-z])aba(?![a-z])|routing|(?<![a-z])rtn(?![a-z])|transit|\bach (?:no|num|code|routing)|fed ?wire"

    def judge(self, text: str, start: int, end: int, pattern: Pattern) -> float:
        number = digits(text[start:end])
        weights = (3, 7, 1, 3, 7, 1, 3, 7, 1)
        checks = sum(int(digit) * weight for digit, weight in zip(number, weights, strict=True)) % 10 == 0
        # The first two digits are 00–12, 21–32, 61–72 or 80. A mistyped number is one all the same.
        return pattern.score + (0.04 if checks and number[:2] <= "80" else 0.0)


_ACCOUNT_CUE = (
    r"acc(?:oun)?t\.?s?[\s_\"'*]*(?:no(?![a-z])|nos(?![a-z])|num|number|nr(?![a-z])|#|id(?![a-z])|is\b|details|:|="
    r"|ending|with|under|at\b|from|to\b|of\b|name|holder)"
    r"|(?<![a-z])a/c(?![a-z])|(?<![a-z])acct(?![a-z])|(?<![a-z])acc(?![a-z])"
    r"|acc(?:oun)?t(?: \w{2,12})?[\s_\"':=(#,*-]{0,4}$"
    r"|(?:checking|chequing|savings?|deposit|current|joint|business|payroll|escrow|sweep|bank|source|target"
    r"|destination"
    r"|beneficiary|credit|debit|loan|mortgage)[ _-]?(?:acc(?:oun)?t|a/c)"
    r"|(?:checking|chequing|savings)[\s:#=]{0,3}$|\bkonto(?:nummer)?\b|\bkto\b|\bcompte\b|\bcuenta\b|\bconto\b"
    r"|\bdda\b|\bchk\b|acc(?:oun)?ts?[^\d]{0,12}\d[\d -]{5,18}\d(?:,|[ ]?&|[ ]and|[ ]or|/)[ ]?$"
    r"|(?:transfer|wire|remit|deposit|send|sent)(?:red|d|ted|ed|ing)?\b[^.\n\d]{0,16}\b(?:to|into|from)[ ]?$"
    r"|direct deposit|sort ?code|\bsort\b|member (?:no|number)|customer (?:no|number|id)|\bcif\b|loan (?:no|number|#)"
)
_ACCOUNT_OTHER = re.compile(
    r"(?:\b(?:order|invoice|reference|ref|case|ticket|tracking|confirmation|transaction|txn|receipt|cheque|check"
    r"|batch"
    r"|trade|report|form|page|amount|balance|total|sum|fee|fees|charge|policy|claim|bond|note|shares?|units?|phone"
    r"|tel"
    r"|mobile|fax|call|routing|aba|swift)\b|금액|잔액|전화|휴대폰|연락처|접수|주문|승인)"
    r"(?:[\s:=#.'\"()-]|no\b|number\b|num\b|of\b|is\b|was\b|번호|은|는)*$",
    re.IGNORECASE | re.ASCII,
)


# Points and strokes between groups are decimals and dates more often than accounts.
_PLAIN_GAP = r"(?:[ ]?-[ ]?|[ ]{1,2})"
# Above what banks' recognizers give, so that the label decides.
_BROKERAGE_SCORE = 0.92
_LAST_BEHIND_BLANK = re.compile(r"(.*\d)[ ]\d{1,8}$", re.ASCII)


def without_amount(text: str, start: int, end: int) -> int:
    """Where a number ends whose last group behind a blank belongs to an amount or a word: `12345678 400 shares`."""
    last = _LAST_BEHIND_BLANK.match(text, start, end)
    return last.end(1) if last is not None and is_amount(text, end, end) else end


class UsAccountRecognizer(StructuredRecognizer):
    """Account numbers without a form of their own (United States, United Kingdom and others): by cue alone."""

    ENTITY = US_BANK_NUMBER
    PATTERNS = (
        ("one run", rf"{RUN_BEFORE}\d{{6,17}}{RUN_AFTER}", WEAK),
        ("groups", rf"{BEFORE}\d{{2,8}}(?:{_PLAIN_GAP}\d{{2,8}}){{1,4}}{AFTER}", WEAK),
        ("masked", r"(?<![0-9A-Za-z])[*xX•]{3,12}[ -]?\d{3,4}(?![0-9A-Za-z])", WEAK),
    )
    GATE = r"\d(?:[ -]{0,3}\d){5}|[*xX•]{3}[ -]?\d{3}"
    CUES = _ACCOUNT_CUE

    def narrowed(self, text: str, start: int, end: int, pattern: Pattern) -> tuple[int, int]:
        start, end = super().narrowed(text, start, end, pattern)
        return start, without_amount(text, start, end)

    def judge(self, text: str, start: int, end: int, pattern: Pattern) -> float:
        value = text[start:end]
        if pattern.name == "masked":
            return pattern.score
        number = digits(value)
        years = all(len(group) == 4 and group[:2] in ("19", "20") for group in re.findall(r"\d+", value))
        if not 6 <= len(number) <= 17 or years or is_date(value) or in_formula(text, start, end):
            return 0.0
        if _ACCOUNT_OTHER.search(text, max(0, start - 40), start) or is_amount(text, start, end):
            return 0.0
        kind = account_kind(text, start, end)
        if kind in (BROKERAGE_ACCOUNT, KR_BANK_ACCOUNT, KR_RRN):
            return 0.0
        if kind == US_BANK_NUMBER and "." not in value and "/" not in value:
            return LIKELY if len(number) >= 8 or _ACCOUNT_RIGHT_BEFORE.search(text, max(0, start - 40), start) else 0.2
        if pattern.name == "groups" and (
            kind is not None or not re.fullmatch(r"\d+(?:[ -]\d+)+", value) or not _FOURS.fullmatch(value)
        ):
            return 0.0
        # Six and seven digits are account numbers of small banks: they want the word right before them.
        if len(number) < 8 and not _ACCOUNT_RIGHT_BEFORE.search(text, max(0, start - 40), start):
            return 0.0
        return pattern.score


_ACCOUNT_RIGHT_BEFORE = re.compile(
    rf"(?:\bacc(?:oun)?t\.?|\ba/c|\bacc\.?|\bkonto(?:nummer)?|(?:checking|savings))(?:s|[ ](?:no|number|id"
    rf"|ending))?{JOIN}*+$",
    re.IGNORECASE | re.ASCII,
)
# Korean banks; their names stand before an account number as "국민 123456-01-123456" without any other word.
_KOREAN_BANK = (
    r"은행|뱅크|농협|신협|새마을금고|수협|우체국|축협|산림조합|저축은행|토스|국민|신한|하나|우리|기업|카카오"
    r"|케이뱅크|씨티"
    r"|카뱅|케뱅|토뱅|기은|(?<![A-Za-z])(?:KB|NH|IBK)(?![A-Za-z])|제일|부산|대구|광주|전북|경남|제주|산업"
    r"|수출입|iM뱅크"
)
_KOREAN_ACCOUNT_CUE = (
    r"계좌|통장|입금|송금|이체|출금|예금|적금|청약|환불|자동이체|보냈|보내|부쳐|부쳤|넣었|넣어|들어왔|인출"
    r"|수수료|급여|월급|납부|예금주|가상"
    rf"|{_KOREAN_BANK}"
)
# National telephone numbers, resident and business numbers in hyphens are not accounts.
_NO_ACCOUNT = re.compile(
    r"(?:01[016789]|0(?:2|[3-6][1-5]|70|50\d))[ ]?-[ ]?\d{3,4}[ ]?-[ ]?\d{4}|1[568]\d{2}-\d{4}|0\d{2}-\d{4}-\d{4}"
    r"|\d{3}-\d{2}-\d{5}"
    r"|97[89]-\d{1,5}-\d{1,7}-\d{1,6}(?:-\d)?",
    re.ASCII,
)


class KoreanAccountRecognizer(StructuredRecognizer):
    """Account numbers of Korean banks: 10 to 16 digits in the groups of each bank, near a word about accounts.

    Groups as the banks print them (Korea Financial Telecommunications and Clearings Institute, bank code list): KB
    6-2-6 and 3-2-4-3, Shinhan 3-3-6 and 3-2-6, Woori 4-3-6, Hana 3-6-5, NH 3-4-4-2, 3-2-6 and 6-2-6, IBK 3-6-2-3,
    KakaoBank 4-2-7, Toss 4-4-4, K bank 3-3-6, post office 6-2-6, MG 4-4-4-1, Shinhyup 3-3-6 and 5-2-6, Suhyup 3-2-6-1,
    Citi 3-6-3, SC 3-2-6, Busan and Daegu 3-4-4-2 and 3-2-6-1, Kwangju and Jeonbuk 3-3-6.
    """

    ENTITY = KR_BANK_ACCOUNT
    PATTERNS = (
        (
            "groups",
            rf"{BEFORE}\d{{2,6}}[ ]?-[ ]?\d{{2,6}}(?:[ ]?-[ ]?\d{{1,7}}){{1,2}}(?![0-9A-Za-z%]|-\d|[.,]\d"
            rf"|[ ]?[=+*/])",
            0.1,
        ),
        ("groups with spaces", rf"{BEFORE}\d{{2,6}}(?:[ .]\d{{1,7}}){{2,3}}{AFTER}", WEAK),
        ("two groups", rf"{BEFORE}\d{{3,8}}[ ]?-[ ]?\d{{4,9}}{AFTER}", WEAK),
        ("one run", rf"{RUN_BEFORE}\d{{10,16}}{RUN_AFTER}", WEAK),
        ("masked", rf"{BEFORE}\d{{3,6}}-[0-9*]{{2,6}}-(?=[0-9*]*\*)[0-9*]{{4,7}}(?![0-9A-Za-z*])", 0.1),
    )
    GATE = r"\d(?:[ .-]{0,3}\d){9}|\d{3}-[0-9*]{2,6}-[0-9*]{4}"
    CUES = _KOREAN_ACCOUNT_CUE
    # What nobody but a Korean bank writes: twelve to fourteen digits in three or four hyphenated groups.
    _SHAPES = re.compile(
        r"\d{6}-\d{2}-\d{6}|\d{3}-\d{2}-\d{4}-\d{3}|\d{3}-\d{3}-\d{6}|\d{3}-\d{2}-\d{6}(?:-\d)?|\d{4}-\d{3}-\d{6}"
        r"|\d{3}-\d{6}-\d{5}|\d{3}-\d{4}-\d{4}-\d{2}|\d{3}-\d{6}-\d{2}-\d{3}|\d{4}-\d{2}-\d{7}"
        r"|\d{4}-\d{4}-\d{4}(?:-\d)?"
        r"|\d{5}-\d{2}-\d{6}|\d{3}-\d{6}-\d{3}|\d{3}-\d{4}-\d{5,6}|\d{3}-\d{5}-\d{2}-\d{3}|\d{4}-\d{5}-\d{3}",
        re.ASCII,
    )

    def judge(self, text: str, start: int, end: int, pattern: Pattern) -> float:
        value = text[start:end]
        count = len(digits(value))
        if pattern.name == "masked":
            return pattern.score if 4 <= count else 0.0
        if not 10 <= count <= 16 or _NO_ACCOUNT.fullmatch(value) or is_date(value) or in_formula(text, start, end):
            return 0.0
        kind = account_kind(text, start, end)
        if kind == KR_BANK_ACCOUNT and not is_amount(text, start, end):
            return LIKELY + 0.02
        if kind in (BROKERAGE_ACCOUNT, DRIVER_LICENSE, PASSPORT, KR_RRN):
            return 0.0
        if _FOURS.fullmatch(value) and not _HANGUL.search(text):
            return 0.0  # of any country
        if pattern.name == "groups" and 11 <= count <= 14 and self._SHAPES.fullmatch(value.replace(" ", "")):
            return LEAST_WITH_CUE if count >= 12 and value[:2] not in ("19", "20") else pattern.score
        if pattern.name == "groups" and 12 <= count <= 16 and value[:2] not in ("19", "20"):
            return LEAST_WITH_CUE  # hardly anything else comes in such groups
        if pattern.name == "one run" and count in (15, 16) and luhn(digits(value)):
            return 0.0  # a card
        return pattern.score


_HANGUL = re.compile("[가-힣]")
# Banks of any country print groups of four.
_FOURS = re.compile(r"\d{4}-\d{4}-\d{4}(?:-\d{1,4})?")


class KoreanAccountInEnglishRecognizer(KoreanAccountRecognizer):
    """The same in English: three hyphenated groups of eleven digits or more, any form beside a Korean bank's name."""

    CUES = r"acc(?:oun)?t|\bbank|\bdeposit|\bwire|\bremit|\btransfer"
    _BANK = re.compile(
        r"\b(?:kookmin|kb bank|shinhan|woori|(?:keb )?hana|nonghyup|nh bank|\bibk\b|industrial bank of korea"
        r"|kakao ?bank"
        r"|toss ?bank|k ?bank|busan bank|daegu bank|kwangju|gwangju bank|jeonbuk|kyongnam|jeju bank|sc first"
        r"|citibank korea"
        r"|suhyup|shinhyup|saemaul|korea post|korean (?:bank|won|account)|seoul)\b",
        re.IGNORECASE | re.ASCII,
    )
    _BESIDE = 48

    def judge(self, text: str, start: int, end: int, pattern: Pattern) -> float:
        value = text[start:end]
        count = len(digits(value))
        if not 10 <= count <= 16 or _NO_ACCOUNT.fullmatch(value) or is_date(value) or in_formula(text, start, end):
            return 0.0
        if account_kind(text, start, end) in (BROKERAGE_ACCOUNT, DRIVER_LICENSE, PASSPORT, KR_RRN):
            return 0.0
        if self._BANK.search(text, max(0, start - self._BESIDE), end + self._BESIDE):
            return pattern.score + 0.1
        return pattern.score if pattern.name == "groups" and count >= 11 and not _FOURS.fullmatch(value) else 0.0


class BrokerageRecognizer(StructuredRecognizer):
    """Securities accounts: five to fourteen characters whose label speaks of brokers, retirement or custody.

    Korean houses print eight digits and a product code of two (12345678-01), some 3-2-6 or 3-4-4-1; American ones eight
    or nine digits, often behind a letter or two (Z12-345678, U1234567); custodians six to twelve. See `labels` for
    what makes an account a broker's.
    """

    ENTITY = BROKERAGE_ACCOUNT
    FLAGS = regex.ASCII  # the letters before a number are capitals
    GUARDED = False
    PATTERNS = (
        (
            "beside the word",
            rf"{FIRM_BEFORE}(?<![$€£₩¥])(?:[A-Z]{{1,3}}-?\d{{2,9}}(?:[ ]?-[ ]?\d{{2,8}}){{0,2}}"
            rf"|(?=[A-Z0-9]{{0,2}}[A-Z])[A-Z0-9]{{3}}"
            rf"[ ]?-?[ ]?\d{{5,6}}|\d{{2,10}}(?:{_PLAIN_GAP}\d{{1,8}}){{1,3}}|\d{{5,14}})(?![0-9A-Za-z%]|-\d|[.,]\d)",
            _BROKERAGE_SCORE,
        ),
    )
    GATE = r"\d(?:[ -]{0,3}\d){4}"

    def narrowed(self, text: str, start: int, end: int, pattern: Pattern) -> tuple[int, int]:
        start, end = super().narrowed(text, start, end, pattern)
        return start, without_amount(text, start, end)

    def judge(self, text: str, start: int, end: int, pattern: Pattern) -> float:
        value = text[start:end]
        count = len(digits(value))
        if not 5 <= count <= 15 or is_amount(text, start, end) or "/" in value:
            return 0.0
        if value.isdigit() and len(value) == 16 and luhn(value):
            return 0.0
        groups = re.findall(r"\d+", value)
        years = all(len(group) == 4 and group[:2] in ("19", "20") for group in groups)
        # 19740412 and 1974-1970 are accounts right behind the word only.
        if (years or is_date(value)) and (len(groups) > 2 or not self._CALLED.search(text, max(0, start - 32), start)):
            return 0.0
        if count < 6 and not re.search("[A-Za-z]", value) and not is_brokers_form(value):
            return 0.0
        return pattern.score if account_kind(text, start, end) == BROKERAGE_ACCOUNT else 0.0

    _CALLED = re.compile(
        r"(?:acc(?:oun)?ts?|a/c|acct|계좌)[ _]?(?:no\.?|number|#|번호)?[ :#(]{1,3}$", re.IGNORECASE | re.ASCII
    )
