"""The document of a report as plain values: sections of blocks, without any layout.

`build` fills it, `to_html` lays it out. Every text in it was made safe to print by `plain`: what comes from data names
cannot reorder, hide or fake other text.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, field
from typing import Literal

Tone = Literal["good", "caution", "bad", "plain"]
LONGEST_TEXT = 300  # characters of one value; longer ones end in an ellipsis


class Code(str):
    """Text that is set in a fixed-width face: digests, keys, commands."""

    __slots__ = ()


@dataclass(frozen=True)
class Paragraph:
    """Running text."""

    text: str


@dataclass(frozen=True)
class Notice:
    """One sentence with its weight. The weight is also said in words, so that colour alone tells nothing."""

    tone: Tone
    label: str
    text: str


@dataclass(frozen=True)
class Facts:
    """Names and values, under a caption where the section's title does not say what they are."""

    rows: tuple[tuple[str, str | tuple[str, ...]], ...]
    caption: str = ""


@dataclass(frozen=True)
class Table:
    """A table.

    Args:
        caption: what it shows.
        head: names of the columns.
        rows: cells; the first of each row names it.
        numeric: indices of the columns whose cells are set to the right.
    """

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: tuple[int, ...] = ()


@dataclass(frozen=True)
class Listing:
    """Points without order, under a sentence."""

    lead: str
    items: tuple[str, ...]


@dataclass(frozen=True)
class Verbatim:
    """Text that is copied letter by letter."""

    caption: str
    text: str
    id: str = ""


@dataclass(frozen=True)
class Picture:
    """An inline SVG, already escaped, and the same in words."""

    svg: str
    caption: str


Block = Paragraph | Notice | Facts | Table | Listing | Verbatim | Picture


@dataclass(frozen=True)
class Section:
    """A part of the report.

    Args:
        id: for links within the document.
    """

    id: str
    title: str
    blocks: tuple[Block, ...]

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kind of each block, in order, as the template asks for it."""
        return tuple(type(block).__name__ for block in self.blocks)


@dataclass(frozen=True)
class Document:
    """A report of one model.

    Args:
        language: `en` or `ko`.
        title: names the model.
        subtitle: what is reported, as of when.
        tone, headline: the verdict over all, in one sentence.
        notices: the verdicts that it follows from, one each.
        created: time of the latest entry that the report speaks of, ISO 8601: the report's own date, so that the same
            evidence gives the same bytes.
        footer: stands on every page.
        labels: words of the layout itself: contents.
    """

    language: str
    title: str
    subtitle: str
    tone: Tone
    headline: str
    notices: tuple[Notice, ...]
    created: str
    footer: str
    sections: tuple[Section, ...]
    labels: dict[str, str] = field(default_factory=dict)


def plain(value: object, longest: int = LONGEST_TEXT) -> str:
    """A value as text that shows as it is: what would be invisible, or turn the direction of writing, is spelled out.

    >>> plain("cards\\u202egpj.exe")
    'cards[U+202E]gpj.exe'
    """
    text = " ".join(str(value).split()) if isinstance(value, str) else str(value)
    shown = "".join(
        letter if letter == " " or unicodedata.category(letter)[0] not in "CZ" else f"[U+{ord(letter):04X}]"
        for letter in text
    )
    return shown if len(shown) <= longest else shown[: longest - 1] + "…"
