"""Payment card numbers."""

from __future__ import annotations

from presidio_analyzer import Pattern

from domainlm.redact.recognizers.base import STRONG, WEAK, CuedRecognizer, digits, luhn
from domainlm.redact.settings import CREDIT_CARD

# First digits of the networks (ISO/IEC 7812 registry): Visa, Mastercard (two series), Amex, Diners, JCB, Discover,
# UnionPay, Maestro, and Korea's domestic 9.
_NETWORKS = r"(?:4|5[0-8]|2[2-7]|3[0-9]|6|9)"


class CardRecognizer(CuedRecognizer):
    """Card numbers of 12 to 19 digits, in groups of any of the networks' habits or in one run.

    Presidio's own knows neither Mastercard's second series nor numbers of 12 or 19 digits, and drops every number whose
    check digit was mistyped; here a cue makes up for it where the groups are a card's.
    """

    ENTITY = CREDIT_CARD
    _GAP = r"(?:[ ]{1,2}|[ ]?[-./_][ ]?)"
    PATTERNS = (
        (
            "four groups",
            rf"(?<![\w-])(?<!\d[.,])(?={_NETWORKS})\d{{4}}(?:{_GAP}\d{{4}}){{3}}(?:{_GAP}\d{{1,3}})?(?![\w-]|[.,]\d)",
            0.35,
        ),
        ("Amex and Diners groups", rf"(?<![\w-])(?<!\d[.,])3\d{{3}}{_GAP}\d{{6}}{_GAP}\d{{4,5}}(?![\w-]|[.,]\d)", 0.35),
        ("one run", rf"(?<![\w.,-])(?={_NETWORKS})\d{{12,19}}(?![\w-]|[.,]\d)", WEAK),
        (
            "other groups",
            rf"(?<![\w-])(?<!\d[.,])(?={_NETWORKS})\d{{2,7}}(?:{_GAP}\d{{3,7}}){{1,4}}(?![\w-]|[.,]\d)",
            WEAK,
        ),
        # The middle is starred out, the rest still tells whose card it is.
        (
            "masked",
            rf"(?<!\w)(?={_NETWORKS})\d{{4}}{_GAP}?(?:\d{{2}}[*xX]{{2}}|[*xX]{{4}}){_GAP}?[*xX]{{4}}{_GAP}?\d{{4}}"
            rf"(?!\w)",
            STRONG,
        ),
    )
    GATE = r"\d(?:[^0-9A-Za-z\n]{0,3}\d){11}|[*xX]{4}[^0-9A-Za-z]{0,3}\d{4}"
    CUES = r"card|visa|master|amex|american express|credit|debit|discover|maestro|diners|\bjcb\b|카드|체크|신용"

    def grade(self, value: str, pattern: Pattern) -> float:
        if pattern.name == "masked":
            return pattern.score
        number = digits(value)
        if not 12 <= len(number) <= 19 or len(set(number)) == 1:
            return 0.0
        if luhn(number):
            # One run in ten passes by chance; odd groups and odd lengths therefore still want a cue.
            return STRONG if pattern.score > WEAK or (pattern.name == "one run" and 14 <= len(number) <= 16) else 0.2
        return 0.1 if pattern.score > WEAK or (pattern.name == "one run" and len(number) in (15, 16)) else 0.0
