"""One plain spelling of a text to search in, with the way back to the original's offsets.

Full-width digits, exotic spaces and dashes, digits of other scripts, zero-width characters and decomposed Hangul would
otherwise hide a value from every pattern. The text that is stored is the original with spans replaced, never this one.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import cache

# Format characters, fillers, variation selectors, the keycap and soft hyphens: they take no room on the screen.
_INVISIBLE = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u20e3\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\U000e0001-\U000e007f\U000e0100-\U000e01ef"
)
_JAMO = "\u1100-\u115e"
_COMBINING = "\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f"
# What must not be folded character by character.
_IRREGULAR = re.compile(f"[{_INVISIBLE}{_JAMO}{_COMBINING}]")
_UNIT = re.compile(
    f"(?P<hidden>[{_INVISIBLE}])|[{_JAMO}][\u1161-\u11a7](?:[\u11a8-\u11ff])?|[^{_INVISIBLE}][{_COMBINING}]*", re.DOTALL
)


@dataclass(frozen=True)
class Folded:
    """A text in its plain spelling.

    Args:
        text: the plain spelling.
        starts: where each of its characters begins in the original; None when both have the same offsets.
        ends: where each of its characters ends in the original.
    """

    text: str
    starts: list[int] | None = None
    ends: list[int] | None = None

    def original(self, start: int, end: int) -> tuple[int, int]:
        """The span of the original that a span of the plain spelling stands for, hidden characters inside included."""
        if self.starts is None or self.ends is None:
            return start, end
        return self.starts[start], self.ends[end - 1]


def fold(text: str) -> Folded:
    """The plain spelling of a text: one character for one, less what is invisible or combines with its neighbour."""
    if text.isascii():
        return Folded(text)
    if not _IRREGULAR.search(text):
        return Folded(text.translate(_table()))
    characters: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    for unit in _UNIT.finditer(text):
        if unit["hidden"] is not None:
            continue
        composed = unicodedata.normalize("NFC", unit[0])
        characters.append(composed[0])  # a mark that does not compose is left out: it must not split a number
        starts.append(unit.start())
        ends.append(unit.end())
    return Folded("".join(characters).translate(_table()), starts, ends)


@cache
def _table() -> dict[int, str]:
    table = {code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)}
    table |= dict.fromkeys([0x00A0, 0x1680, 0x202F, 0x205F, 0x3000, *range(0x2000, 0x200B)], " ")
    table |= dict.fromkeys([0x2011, 0x2010, *range(0x2012, 0x2016), 0x2043, 0x2212, 0xFE58, 0xFE63, 0xFF70], "-")
    table |= {0xFE6B: "@", 0x2024: ".", 0x3002: ".", 0xFE52: ".", 0xFF61: ".", 0x2018: "'", 0x2019: "'", 0x02BC: "'"}
    # Arabic, Devanagari, mathematical and other digits; they end below the emoji.
    table |= {
        code: str(unicodedata.decimal(chr(code)))
        for code in range(0x0660, 0x1FC00)
        if unicodedata.decimal(chr(code), None) is not None
    }
    return table
