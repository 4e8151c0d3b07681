"""One plain spelling of a text to search in, with the way back to the original's offsets.

Full-width digits, exotic spaces and dashes, digits of other scripts, zero-width characters and decomposed Hangul would
otherwise hide a value from every pattern; so would HTML entities, URL encoding, JSON's escapes and a line break behind
a hyphen. What a base64 blob says is read behind the blob, and every character of it leads back to the whole blob, so
that a finding inside takes all of it. The text that is stored is the original with spans replaced, never this one.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import cache

from domainlm.redact.forms import blobs, decoded_units

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
_LONG_WORD = 16
# A value goes on behind the line: a hyphen, an at sign or a soft break of quoted-printable between two of its parts.
_BROKEN = re.compile(
    r"(?P<kept>(?<=\d)-)[ \t]?\r?\n[ \t>#*/]{0,6}(?=\d)"
    r"|(?P<at>(?<=[0-9A-Za-z])@)[ \t]?\r?\n[ \t>#*/]{0,6}(?=[0-9A-Za-z])"
    r"|(?<=[0-9A-Za-z])[ \t]?\r?\n[ \t>#*/]{0,6}(?P<at2>@)(?=[0-9A-Za-z])|=\r?\n"
)

# Emoji between the digits of a number part its groups as a blank would; digits in circles are none of them.
_EMOJI = "\U0001f1e6-\U0001f1ff\U0001f300-\U0001faff\u2190-\u21ff\u2300-\u23ff\u2600-\u2775\u2794-\u27bf\u2b00-\u2bff"
_EMOJI_BETWEEN = re.compile(rf"(?<=\d)[ ]?[{_EMOJI}][{_EMOJI}\ufe0f\u200d]{{0,7}}[ ]?(?=\d)")


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
    """The plain spelling of a text: encodings resolved, what is invisible or combines with its neighbour left out."""
    folded = Folded(text)
    if ("&" in text or "%" in text or "\\" in text) and (units := decoded_units(text)):
        folded = _replaced(folded, units)
    if "\n" in folded.text and _may_be_broken(folded.text) and (units := _joined(folded.text)):
        folded = _replaced(folded, units)
    if not folded.text.isascii():
        if units := [(*match.span(), " ") for match in _EMOJI_BETWEEN.finditer(folded.text)]:
            folded = _replaced(folded, units)
        folded = _plain(folded)
    # Words shorter than this hide nothing in base64 that a person could be told by.
    if max(map(len, folded.text.split()), default=0) >= _LONG_WORD:
        folded = _with_blobs(folded)
    return folded


def _may_be_broken(text: str) -> bool:
    return "-\n" in text or "@\n" in text or "\n@" in text or "=\n" in text or "\r\n" in text or "- \n" in text


def _joined(text: str) -> list[tuple[int, int, str]]:
    return [
        (match.start(), match.end(), match["kept"] or match["at"] or match["at2"] or "")
        for match in _BROKEN.finditer(text)
    ]


def _replaced(folded: Folded, units: list[tuple[int, int, str]]) -> Folded:
    """A text with some stretches replaced by what they stand for; each new character leads back to its whole stretch.

    Args:
        folded: the text so far.
        units: start, end and replacement of each stretch, in order, without overlaps.
    """
    pieces: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    at = 0
    for start, end, replacement in units:
        pieces.append(folded.text[at:start])
        _copy(folded, at, start, starts, ends)
        pieces.append(replacement)
        first, last = folded.original(start, end)
        starts += [first] * len(replacement)
        ends += [last] * len(replacement)
        at = end
    pieces.append(folded.text[at:])
    _copy(folded, at, len(folded.text), starts, ends)
    return Folded("".join(pieces), starts, ends)


def _copy(folded: Folded, start: int, end: int, starts: list[int], ends: list[int]) -> None:
    if folded.starts is None or folded.ends is None:
        starts += range(start, end)
        ends += range(start + 1, end + 1)
    else:
        starts += folded.starts[start:end]
        ends += folded.ends[start:end]


def _plain(folded: Folded) -> Folded:
    text = folded.text
    if not _IRREGULAR.search(text):
        return Folded(text.translate(_table()), folded.starts, folded.ends)
    characters: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    for unit in _UNIT.finditer(text):
        if unit["hidden"] is not None:
            continue
        composed = unicodedata.normalize("NFC", unit[0])
        characters.append(composed[0])  # a mark that does not compose is left out: it must not split a number
        start, end = folded.original(unit.start(), unit.end())
        starts.append(start)
        ends.append(end)
    return Folded("".join(characters).translate(_table()), starts, ends)


def _with_blobs(folded: Folded) -> Folded:
    """The text with what each base64 blob says on a line of its own behind it; the blob itself stays to be searched."""
    said = [(end, end, start, f"\n{fold_plain(inside)}\n") for start, end, inside in blobs(folded.text)]
    if not said:
        return folded
    pieces: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    at = 0
    for end, _, start, inside in said:
        pieces += folded.text[at:end], inside
        _copy(folded, at, end, starts, ends)
        first, last = folded.original(start, end)
        # The blob's own characters stay; those of its content lead to all of it, and never behind what follows.
        starts += [first] * len(inside)
        ends += [last] * len(inside)
        at = end
    pieces.append(folded.text[at:])
    _copy(folded, at, len(folded.text), starts, ends)
    return Folded("".join(pieces), starts, ends)


def fold_plain(text: str) -> str:
    """The plain spelling of a text whose offsets do not matter; one level, so a blob in a blob stays closed."""
    return text if text.isascii() else _plain(Folded(text)).text


@cache
def _table() -> dict[int, str]:
    table = {code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)}
    table |= dict.fromkeys([0x00A0, 0x1680, 0x202F, 0x205F, 0x3000, *range(0x2000, 0x200B)], " ")
    table |= dict.fromkeys([0x2011, 0x2010, *range(0x2012, 0x2016), 0x2043, 0x2212, 0xFE58, 0xFE63, 0xFF70], "-")
    table |= {0xFE6B: "@", 0x2024: ".", 0x3002: ".", 0xFE52: ".", 0xFF61: ".", 0x2018: "'", 0x2019: "'", 0x02BC: "'"}
    # ① to ⑨ in circles of four kinds; superscripts are footnotes and stay.
    for first in (0x2460, 0x2776, 0x2780, 0x278A):
        table |= {first + place: str(place + 1) for place in range(9)}
    table |= {0x24EA: "0", 0x24FF: "0", 0x1F10B: "0", 0x1F10C: "0"}
    # Arabic, Devanagari, mathematical and other digits; they end below the emoji.
    table |= {
        code: str(unicodedata.decimal(chr(code)))
        for code in range(0x0660, 0x1FC00)
        if unicodedata.decimal(chr(code), None) is not None
    }
    return table
