"""Payment card numbers."""

from __future__ import annotations

import re

from presidio_analyzer import Pattern

from domainlm.redact.recognizers.base import LIKELY, STRONG, WEAK, digits, luhn
from domainlm.redact.recognizers.edges import FIRM_AFTER, FIRM_BEFORE, RUN_AFTER, RUN_BEFORE, StructuredRecognizer
from domainlm.redact.settings import CREDIT_CARD

# First digits of the networks (ISO/IEC 7812 register): Visa, Mastercard (two series), Amex, Diners, JCB (its older
# numbers begin with 1800 and 2131), Discover, UnionPay, Maestro (also 0604), Mir, Verve, RuPay, Korea's domestic 9.
_NETWORKS = r"(?:4|5|2[0-7]|3|6|8[12]|9|1800|0604)"
# Prefix and lengths as they are issued; a number outside of this table wants a cue even if its check digit is right.
_ISSUED = (
    (re.compile(r"4"), (13, 16, 19)),
    (re.compile(r"5[1-5]|222[1-9]|22[3-9]|2[3-6]|27[01]|2720"), (16,)),
    (re.compile(r"3[47]"), (15,)),
    (re.compile(r"30[0-5]|3095|36|38|39"), (14, 16, 19)),
    (re.compile(r"2131|1800"), (15,)),
    (re.compile(r"35"), (16, 17, 18, 19)),
    (re.compile(r"6011|64[4-9]|65"), (16, 17, 18, 19)),
    (re.compile(r"62|81"), (16, 17, 18, 19)),
    (re.compile(r"50|5[6-9]|6[0137]|0604"), tuple(range(12, 20))),
    (re.compile(r"220[0-4]"), (16, 17, 18, 19)),
    (re.compile(r"60|82|508"), (16,)),
    (re.compile(r"9"), (16,)),
)
_CUE = (
    r"card|visa|master|amex|american express|\bcredit|\bdebit|discover|maestro|diners|\bjcb\b|union ?pay|\bcc\b|\bcvv"
    r"|\bcvc|\bpan\b|expir|\bexp\b|declin|\bcharged?\b|plastic|contactless|paid with|\batm\b|\bmc\b|\bswipe|wallet"
    r"|tarjeta|\bcarte\b|karte|\bcarta\b|cart[ãa]o"
    r"|카드|체크|신용|결제|승인|유효\s?기간"
)
_WIDE_CUE = re.compile(_CUE, re.IGNORECASE | re.ASCII)
_WIDE_BEFORE, _WIDE_AFTER = 240, 120


class CardRecognizer(StructuredRecognizer):
    """Card numbers of 12 to 19 digits, in groups of any of the networks' habits or in one run.

    Presidio's own knows neither Mastercard's second series nor JCB's 15 digits, nor numbers of 12 or 19, and drops
    every number whose check digit was mistyped; here a cue makes up for it where the groups are a card's.
    """

    ENTITY = CREDIT_CARD
    _GAP = r"(?:[ \t]{1,2}|[ ]?[-./_·:][ ]?)"
    PATTERNS = (
        ("four groups", rf"{FIRM_BEFORE}(?={_NETWORKS})\d{{4}}(?:{_GAP}\d{{4}}){{3}}{FIRM_AFTER}", 0.35),
        (
            "five groups",
            rf"{FIRM_BEFORE}(?={_NETWORKS})\d{{4}}"
            rf"(?:{_GAP}\d{{4}}){{3}}{_GAP}\d{{1,3}}{FIRM_AFTER}",
            0.35,
        ),
        ("Amex and Diners groups", rf"{FIRM_BEFORE}(?=[123])\d{{4}}{_GAP}\d{{6}}{_GAP}\d{{4,5}}{FIRM_AFTER}", 0.35),
        ("one run", rf"{RUN_BEFORE}(?={_NETWORKS})\d{{12,19}}{RUN_AFTER}", WEAK),
        ("other groups", rf"{FIRM_BEFORE}(?={_NETWORKS})\d{{2,8}}(?:{_GAP}\d{{2,8}}){{1,5}}{FIRM_AFTER}", WEAK),
        # A line ends inside the number: sixteen digits with one break among their gaps, or fifteen of Amex.
        (
            "over a line break",
            rf"{FIRM_BEFORE}(?=[23456])\d{{1,16}}(?:[ -]?\d{{2,8}}){{0,3}}[ ]?\r?\n[ >#*/]{{0,6}}"
            rf"\d{{2,15}}(?:[ -]?\d{{2,8}}){{0,3}}{FIRM_AFTER}",
            WEAK,
        ),
        # The middle is starred out, the rest still tells whose card it is.
        (
            "masked",
            rf"(?<![0-9A-Za-z])(?={_NETWORKS})\d{{4}}{_GAP}?(?:\d{{2}}[*xX•]{{2}}"
            rf"|[*xX•]{{4}}){_GAP}?[*xX•]{{4}}{_GAP}?"
            rf"\d{{4}}(?![0-9A-Za-z])",
            STRONG,
        ),
    )
    GATE = r"\d(?:[ \t\-./_·:\r\n>#*]{0,9}\d){11}|[*xX•]{4}[^0-9A-Za-z]{0,3}\d{4}"
    CUES = _CUE

    def judge(self, text: str, start: int, end: int, pattern: Pattern) -> float:
        if pattern.name == "masked":
            return pattern.score
        number = digits(text[start:end])
        if not 12 <= len(number) <= 19 or len(set(number)) == 1:
            return 0.0
        grouped, run = pattern.score > WEAK, pattern.name == "one run"
        issued = any(len(number) in lengths and prefix.match(number) for prefix, lengths in _ISSUED)
        if pattern.name == "over a line break":
            return LIKELY if issued and luhn(number) and len(number) in (15, 16) else 0.0
        if luhn(number):
            # One run in ten passes by chance: what no network issues, and odd groups and lengths, still want a cue.
            if issued and (grouped or (run and (len(number) in (15, 16) or (len(number) == 14 and number[0] == "3")))):
                return STRONG
            if issued and _WIDE_CUE.search(text, max(0, start - _WIDE_BEFORE), end + _WIDE_AFTER):
                return LIKELY
            return 0.42 if run and issued and len(number) == 19 else 0.2 if issued else 0.02
        return 0.1 if pattern.name == "four groups" or (run and issued and len(number) in (15, 16)) else 0.0
