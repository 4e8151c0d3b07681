"""Words of financial text: a tokenizer that keeps what the usual ones lose: sign, currency, number and Hangul.

The common `[a-z0-9]+` splits "EBITDA -3.5% €1,200" into the same pieces as "EBITDA 3.5% $1,200" and drops Korean, so
overlap metrics built on it call a loss a gain. N-grams, duplicates and metrics of this project all count these words.
"""

from __future__ import annotations

import re
import unicodedata

CURRENCY_SIGNS = "$€£¥₩₹₽₺₫฿₪₱₦₿¢"
# Full-width forms (U+FF01-FF5E and three currency signs) are the same characters in Korean and Japanese typography.
_FULL_WIDTH = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)}
_FOLD = _FULL_WIDTH | {0xFFE6: "₩", 0xFFE1: "£", 0xFFE5: "¥", 0xFFE0: "¢", 0x3000: " "}
# Hyphen-minus, the true minus, and the dashes that typesetters use for it.
MINUS = "-\u2212\u2010\u2011\u2012\u2013\ufe63\uff0d"
_MINUS_CLASS = f"[{re.escape(MINUS)}]"

_WORD = re.compile(
    rf"""
    (?: (?<![\w.,%)\]]) (?P<sign>{_MINUS_CLASS}|\+) \s? )?     # a sign, but not the hyphen of 2020-2021 or A-3
    (?: (?P<currency>[{re.escape(CURRENCY_SIGNS)}]) \s? (?P<inner>{_MINUS_CLASS})? )?     # $-5 is -$5
    (?P<number>\d+(?:[.,]\d+)*|(?<!\d)\.\d+)
    (?P<percent>\s?%)?
    | \( (?P<accounting>\d+(?:[.,]\d+)*) \) \s? %              # (3.5)% is -3.5%
    | (?P<word>\w+(?:['’&]\w+)*)
    | (?P<symbol>[{re.escape(CURRENCY_SIGNS)}%])
    """,
    re.VERBOSE,
)


def fold(text: str) -> str:
    """Text in Unicode's composed form (NFC), full-width characters as their ordinary ones."""
    return unicodedata.normalize("NFC", text.translate(_FOLD))


def words(text: str) -> list[str]:
    """The lower-cased words of a text; a number is one word with its sign, currency and percent sign.

    >>> words("EBITDA −3.5 % on sales of €1,200: S&P sees 손실")
    ['ebitda', '-3.5%', 'on', 'sales', 'of', '€1,200', 's&p', 'sees', '손실']
    """
    return [_written(match) for match in _WORD.finditer(fold(text).lower())]


def _written(match: re.Match[str]) -> str:
    if match["accounting"]:
        return f"-{match['accounting']}%"
    if not match["number"]:
        return (match["word"] or match["symbol"]).replace("’", "'")
    sign = match["sign"] or match["inner"] or ""
    minus = "-" if sign and sign in MINUS else sign
    return f"{minus}{match['currency'] or ''}{match['number']}{'%' if match['percent'] else ''}"


def comparable(text: str) -> str:
    """A text reduced to its words: equal for texts that differ only in case, spacing and punctuation."""
    return " ".join(words(text))
