"""Numbers with their units, as people write them: "1,300 won", "(3.5)%", "₩1.2 trillion", "3조 2,000억원".

Decimal, never float, so that 0.1 equals 0.10. The comma groups thousands and the point is the decimal sign; the
continental "1.200,50" cannot be told from "1.200" by form and is not guessed at.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal

from domainlm.text import MINUS, fold

PERCENT, PERCENTAGE_POINT, BASIS_POINT, MULTIPLE = "%", "pp", "bp", "x"

_SYMBOLS = {"$": "USD", "€": "EUR", "£": "GBP", "¥": "JPY", "₩": "KRW", "₹": "INR"}
_UNITS = {
    PERCENTAGE_POINT: "percentage points?|%p|pp|퍼센트포인트",
    PERCENT: "%|percent|per cent|pct|퍼센트",
    BASIS_POINT: "basis points?|bps?|베이시스포인트",
    "KRW": "krw|won|원",
    "USD": "usd|(?:us )?dollars?|달러|\\$",
    "EUR": "eur|euros?|유로|€",
    "GBP": "gbp|pounds?(?: sterling)?|파운드|£",
    "JPY": "jpy|yen|엔|¥",
    "CNY": "cny|rmb|yuan|위안",
    "CHF": "chf|swiss francs?",
    "INR": "inr|rupees?|₹",
    "years": "years?|yrs?|년",
    "months": "months?|개월",
    "days": "days?|일",
    "shares": "shares?|주",
    "points": "points?|포인트",
    MULTIPLE: "x|times|배",
}
_SCALES = {
    10**3: "thousand|k|천(?![만억])",
    10**4: "만",
    10**6: "million|mln|mn|m|백만",
    10**7: "천만",
    10**8: "억",
    10**9: "billion|bln|bn|b|십억",
    10**10: "백억",
    10**11: "천억",
    10**12: "trillion|trn|tn|조",
}
_CODES = "krw|usd|eur|gbp|jpy|cny|rmb|chf|inr|us(?=\\s?\\$)"


def _compiled(table: dict, names: list[str] | None = None) -> list[tuple[re.Pattern[str], object]]:
    # A Latin unit must end at a word's end ("5 m" but not "5 men"); a Korean one may carry a particle ("원을").
    return [
        (re.compile(rf"\s?-?(?:{'|'.join(_bounded(option) for option in options.split('|'))})"), name)
        for name, options in table.items()
    ]


def _bounded(option: str) -> str:
    return option if re.search(r"[가-힣%$€£¥₹]$", option) else rf"{option}(?![a-z])"


_UNIT_PATTERNS = _compiled(_UNITS)
_SCALE_PATTERNS = _compiled(_SCALES)
_MINUS = f"[{re.escape(MINUS)}]"
_NUMBER = re.compile(
    rf"""
    (?P<negative>\b(?:minus|negative)\s|마이너스\s?|(?<![\w.,%)\]]){_MINUS}\s?)?
    (?P<open>\()?
    (?: (?: (?P<code>\b(?:{_CODES}))? \s? (?P<symbol>[{"".join(map(re.escape, _SYMBOLS))}]) | \b(?P<bare>{_CODES}) )
        \s? (?P<inner>{_MINUS})? )?
    \s?
    (?P<digits>(?<![\w])(?:\d{{1,3}}(?:,\d{{3}})+(?!\d)|\d+)(?:\.\d+)?|(?<![\w.])\.\d+)
    (?P<exponent>e[-+]?\d+\b)?
    """,
    re.VERBOSE,
)


@dataclass(frozen=True)
class Number:
    """A number of a text.

    Args:
        value: signed, with words such as "million" or "억" multiplied in.
        unit: "%", "pp", "bp", "x", an ISO 4217 code, "years", ...; empty where none is written.
    """

    value: Decimal
    unit: str


def values(text: str) -> list[Number]:
    """The numbers of a text, in order.

    >>> values("1,300 won, EPS (3.5)%")
    [Number(value=Decimal('1300'), unit='KRW'), Number(value=Decimal('-3.5'), unit='%')]
    """
    text = fold(text).lower().replace("\u202f", "").replace("\u2009", "").strip()
    found: list[Number] = []
    position = 0
    while match := _NUMBER.search(text, position):
        amount, position = _scaled(text, match)
        closed = match["open"] and text.startswith(")", position)
        position += bool(closed)
        unit, position = _unit(text, position, match)
        # Brackets mean minus where they bind a unit from outside, "(3.5)%", or are the whole text, as in a cell of a
        # table; "growth (3.5%)" is a remark.
        alone = closed and match.start() == 0 and position == len(text)
        outside = closed and text[position - 1] != ")"
        negative = bool(match["negative"] or match["inner"]) != bool(alone or outside)
        found.append(Number(-amount if negative else amount, unit))
    return found


def _scaled(text: str, match: re.Match[str]) -> tuple[Decimal, int]:
    """The amount with its scale word, and Korean amounts in several parts ("3조 2,000억") added up."""
    amount = Decimal(match["digits"].replace(",", "") + (match["exponent"] or ""))
    scale, position = _first(_SCALE_PATTERNS, text, match.end())
    if scale is None:
        return amount, match.end()
    total, last = amount * scale, scale
    while part := re.compile(r"\s?((?:\d{1,3}(?:,\d{3})+|\d+))").match(text, position):
        scale, end = _first(_SCALE_PATTERNS, text, part.end())
        if text[position - 1] not in "조억만" or (scale or 1) >= last:
            break
        if scale is None and not text.startswith("원", part.end()):
            break
        total += Decimal(part[1].replace(",", "")) * (scale or 1)
        position, last = end, scale or 1
    return total, position


def _unit(text: str, position: int, match: re.Match[str]) -> tuple[str, int]:
    written = match["bare"] or match["code"]
    if written and written != "us":
        return {"rmb": "CNY"}.get(written, written.upper()), position
    if match["symbol"]:
        return _SYMBOLS[match["symbol"]], position
    unit, end = _first(_UNIT_PATTERNS, text, position)
    return (str(unit), end) if unit is not None else ("", position)


def _first(patterns: list[tuple[re.Pattern[str], object]], text: str, position: int) -> tuple[object, int]:
    for pattern, name in patterns:
        if match := pattern.match(text, position):
            return name, match.end()
    return None, position
