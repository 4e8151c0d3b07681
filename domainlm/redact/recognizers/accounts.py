"""Bank accounts and what identifies a bank: IBAN, BIC, routing numbers, American and Korean account numbers."""

from __future__ import annotations

import regex
from presidio_analyzer import Pattern

from domainlm.redact.recognizers.base import LEAST_WITH_CUE, LIKELY, STRONG, WEAK, CuedRecognizer, digits
from domainlm.redact.settings import ABA_ROUTING_NUMBER, IBAN_CODE, KR_BANK_ACCOUNT, SWIFT_BIC, US_BANK_NUMBER

# Length of an IBAN by country: SWIFT, IBAN registry (ISO 13616), release 99.
_IBAN_LENGTHS = {
    15: "NO", 16: "BE BI", 18: "DK FI FK FO GL NL SD", 19: "MK SI", 20: "AT BA EE KZ LT LU MN XK", 21: "CH HR LI LV",
    22: "BG BH CR DE GB GE IE ME RS VA", 23: "AE GI IL IQ OM SO TL", 24: "AD CZ ES MD PK RO SA SE SK TN VG",
    25: "LY PT ST", 26: "IS TR", 27: "BF DJ FR GR IT MC MR SM", 28: "AL AZ BY CY DO GT HN HU LB NI PL SV",
    29: "BR EG PS QA UA", 30: "JO KW MU YE",
    31: "MT SC", 32: "LC", 33: "RU",
}  # fmt: skip
IBAN_LENGTH = {country: length for length, countries in _IBAN_LENGTHS.items() for country in countries.split()}

_ACCOUNT_CUE = (
    r"acc(?:oun)?t\.?s?[\s_\"'*]*(?:no\b|nos\b|num|number|nr\b|#|id\b|is\b|details|:|=|ending)|\ba/c\b|\bacct\b"
    r"|\biban\b"
    r"|acc(?:oun)?t[\s_\"':=(#-]{0,4}$|(?:checking|savings?|deposit|brokerage|current|custody|margin|joint"
    r"|business)[ ]acc(?:oun)?t"
    r"|\bkonto(?:nummer)?\b"
)


class IbanRecognizer(CuedRecognizer):
    """IBANs of the registry's countries and lengths, spaced at will; a wrong check number needs a cue."""

    ENTITY = IBAN_CODE
    PATTERNS = tuple(
        (
            f"{length} characters",
            rf"(?<![0-9A-Za-z])(?:{countries.replace(' ', '|')})[ -]?\d[ -]?\d"
            rf"(?:[ ]{{0,2}}-?[ ]?[0-9A-Z]){{{length - 4}}}(?![0-9A-Za-z])",
            WEAK,
        )
        for length, countries in _IBAN_LENGTHS.items()
    )
    GATE = r"(?<![0-9A-Za-z])[A-Za-z]{2}[ -]?\d[ -]?\d(?:[ -]{0,3}[0-9A-Za-z]){11}"
    CUES = r"\biban\b|account|\bbank|transfer|계좌|송금"
    GUARDED = False

    def grade(self, value: str, pattern: Pattern) -> float:
        iban = "".join(character for character in value if character.isalnum()).upper()
        rearranged = "".join(str(int(character, 36)) for character in iban[4:] + iban[:4])
        if int(rearranged) % 97 == 1:
            return STRONG
        # Prose that begins with two letters and two digits has no other digit; a mistyped IBAN has many.
        return pattern.score if len(digits(iban)) >= 12 else 0.0


class BicRecognizer(CuedRecognizer):
    """BICs (SWIFT codes): capitals that also spell words, so only right behind a cue, or with a digit near one."""

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
    PATTERNS = (
        (
            "after the word",
            # "SWIFT CUSTOMER" has the form of a code in Oman: letters alone need more than a space before them.
            rf"(?i:swift|\bbic)(?:(?i:[ /_-]{{0,2}}(?:code|bic|no\.?|number)|[ ](?:is|was|of)|은|는|코드"
            rf"|[ ]?[:=#])+[ \"'(-]{{0,3}}"
            rf"|(?<=(?i:bic))[ ]|[ (](?=[A-Z]*\d))(?P<value>{_CODE})(?![0-9A-Za-z])",
            LIKELY,
        ),
        (
            "after a bank",
            rf"(?:(?i:intermediary|correspondent|beneficiary|receiving)(?i:[ ]bank)?|은행|수취|중개)[ ]?[:(]?[ ]?"
            rf"(?P<value>{_CODE})(?![0-9A-Za-z])",
            LIKELY,
        ),
        (
            "with a digit or of a head office",
            rf"(?<![0-9A-Za-z])(?:(?=[A-Z]*[0-9]){_CODE}|[A-Z]{{4}}{_COUNTRY}[A-Z0-9]{{2}}XXX)(?![0-9A-Za-z])",
            WEAK,
        ),
    )
    GATE = rf"(?<![0-9A-Za-z])[A-Z]{{4}}{_COUNTRY}[A-Z0-9]{{2}}(?:[A-Z0-9]{{3}})?(?![0-9A-Za-z])"
    CUES = r"swift|\bbic\b|\bbank\b|\bwire|\btransfer|은행|송금|[A-Z]{2}\d{2}[ ]?(?:[0-9A-Z]{2,4}[ ]?){3,8}[ (]"


class RoutingNumberRecognizer(CuedRecognizer):
    """ABA routing numbers: nine digits, one in ten of which passes the checksum, so never without a cue."""

    ENTITY = ABA_ROUTING_NUMBER
    PATTERNS = (("nine digits", r"(?<![\w.,-])\d{4}-?\d{4}-?\d(?![\w-]|[.,]\d)", 0.1),)
    GATE = r"\d{4}-?\d{4}-?\d"
    CUES = r"\baba\b|routing|\brtn\b|transit"


class UsAccountRecognizer(CuedRecognizer):
    """Account numbers without a form of their own (United States, United Kingdom): by cue alone."""

    ENTITY = US_BANK_NUMBER
    PATTERNS = (
        ("one run", r"(?<![\w.,-])\d{8,17}(?![\w-]|[.,]\d)", WEAK),
        ("groups", r"(?<![\w.,-])\d{3,6}(?:[ -]\d{2,6}){1,3}(?![\w-]|[.,]\d)", WEAK),
        ("masked", r"(?<!\w)[*xX]{4,12}-?\d{3,4}(?!\w)", WEAK),
    )
    GATE = r"\d(?:[ -]?\d){6}|[*xX]{4}-?\d{3}"
    CUES = _ACCOUNT_CUE

    def grade(self, value: str, pattern: Pattern) -> float:
        if pattern.name == "masked":
            return pattern.score
        years = all(len(group) == 4 and group[:2] in ("19", "20") for group in value.replace("-", " ").split())
        return pattern.score if 7 <= len(digits(value)) <= 17 and not years else 0.0


class KoreanAccountRecognizer(CuedRecognizer):
    """Account numbers of Korean banks: 10 to 16 digits in the groups of each bank, near a word about accounts."""

    ENTITY = KR_BANK_ACCOUNT
    PATTERNS = (
        ("groups", r"(?<![\w.,-])\d{2,6}[ ]?-[ ]?\d{2,6}(?:[ ]?-[ ]?\d{1,7}){1,2}(?![\d-]|[.,]\d|[ ]?[=+*/])", 0.1),
        ("groups with spaces", r"(?<![\w.,-])\d{3,6}[ ]\d{2,6}[ ]\d{4,7}(?:[ ]\d{1,3})?(?![\d-]|[.,]\d)", WEAK),
        ("one run", r"(?<![\w.,-])\d{10,14}(?![\d-]|[.,]\d)", WEAK),
    )
    GATE = r"\d(?:[ -]{0,3}\d){9}"
    CUES = (
        r"계좌|통장|입금|송금|이체|출금|은행|뱅크|예금|농협|신협|새마을금고|수협|우체국|토스|증권|보냈|보내|인출|수수료"
    )

    def grade(self, value: str, pattern: Pattern) -> float:
        count = len(digits(value))
        if pattern.name == "groups" and 12 <= count <= 16 and value[:2] not in ("19", "20"):
            return LEAST_WITH_CUE  # hardly anything else comes in such groups
        return pattern.score if 10 <= count <= 16 else 0.0


class KoreanAccountInEnglishRecognizer(KoreanAccountRecognizer):
    """The same in English, where only an account number comes in three hyphenated groups of eleven digits or more."""

    PATTERNS = KoreanAccountRecognizer.PATTERNS[:1]
    CUES = r"acc(?:oun)?t|\bbank|\bdeposit|\bwire|\bremit|\btransfer"

    def grade(self, value: str, pattern: Pattern) -> float:
        return pattern.score if 11 <= len(digits(value)) <= 16 else 0.0
