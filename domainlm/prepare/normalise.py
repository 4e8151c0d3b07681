"""Normalisation of text that changes how it is written and never what it says: signs, currencies and Hangul stay."""

from __future__ import annotations

import re
import unicodedata
from functools import cache

from domainlm.text import fold

_QUOTES = {ord(sign): "'" for sign in "‘’‚‛"} | {ord(sign): '"' for sign in "“”„‟«»"}
_HYPHENS = {ord(sign): "-" for sign in "\u2212\u2010\u2011\ufe63"}  # true minus, hyphens: one sign, and still a minus
_LINES = {0x2028: "\n", 0x2029: "\n", 0x85: "\n", 0x0B: "\n", 0x0C: "\n"}
_TABLE = _QUOTES | _HYPHENS | _LINES
_FILLERS = "\u115f\u1160\u3164\uffa0"  # Hangul fillers are letters to Unicode and nothing to the eye
_DASH_AS_MINUS = re.compile(r"(?<![\w)%.])[–—](?=[$€£¥₩]?\d)")


@cache
def _visible(character: str) -> str:
    category = unicodedata.category(character)
    if category == "Zs":
        return " "
    hidden = category in ("Cc", "Cf", "Cs") or character in _FILLERS or "\ufe00" <= character <= "\ufe0f"
    return "" if hidden and character not in "\n\t" else character


def normalise(text: str) -> str:
    """One spelling for one text: composed Unicode, plain quotes and hyphens, no invisible characters, single spaces.

    >>> normalise("KOSPI\\u200b fell − 3.5 %,  “손실”")
    'KOSPI fell - 3.5 %, "손실"'
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if not text.isascii() or not text.isprintable():
        text = fold(text).translate(_TABLE)
        text = "".join(map(_visible, text))
        text = _DASH_AS_MINUS.sub("-", unicodedata.normalize("NFC", text))
    text = re.sub(r"[ \t]+", " ", text)
    text = re.sub(r" ?\n ?", "\n", text)
    return re.sub(r"\n{3,}", "\n\n", text).strip()
