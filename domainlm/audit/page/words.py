"""The page in each language: words from data files, and how hidden characters are shown."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from markupsafe import Markup

FOLDER = Path(__file__).parent / "translations"
LANGUAGES = {"en": "English", "ko": "한국어"}
DEFAULT = "en"
SENTENCE = 500  # characters of a sentence that are shown
_KEPT = frozenset("\n\t")


@cache
def words(language: str) -> Mapping[str, str]:
    """Key -> sentence."""
    return yaml.safe_load((FOLDER / f"{language}.yaml").read_text(encoding="utf-8"))


def say(language: str, key: str, **values: Any) -> str:
    """A sentence in a language, with values in its places.

    Raises:
        KeyError: nobody translated it.
    """
    return words(language)[key].format(**values)


def translated(language: str, sentence: str) -> Markup:
    """A sentence that another part of domainlm said in English, in a language; where nobody translated it, as it is,
    marked as English for screen readers."""
    for pattern, other in _sentences(language):
        if match := pattern.fullmatch(sentence):
            return Markup("<bdi>{}</bdi>").format(visible(cut(other.format_map(match.groupdict()), SENTENCE)))
    return Markup('<bdi lang="en">{}</bdi>').format(visible(cut(sentence, SENTENCE)))


@cache
def _sentences(language: str) -> tuple[tuple[re.Pattern[str], str], ...]:
    path = FOLDER / f"sentences.{language}.yaml"
    found = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return tuple(
        (re.compile(re.sub(r"\\{(\w+)\\}", r"(?P<\1>.{1,400}?)", re.escape(english)), re.DOTALL), other)
        for english, other in found.items()
    )


def preferred(cookie: str | None, accepted: str) -> str:
    """The language of a cookie, else the first known one of an Accept-Language header, else English."""
    if cookie in LANGUAGES:
        return cookie
    for part in accepted.split(",")[:20]:
        code = part.split(";")[0].strip().split("-")[0].lower()
        if code in LANGUAGES:
            return code
    return DEFAULT


def visible(value: Any) -> Any:
    """A value as it is printed: characters that hide or turn text (controls, bidirectional overrides, zero-width) stand
    as their code, so that a name cannot pass for another. Markup, which was escaped already, stays."""
    if isinstance(value, Markup) or value is None:
        return value if value is not None else ""
    text = str(value)
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        f"⟨U+{ord(character):04X}⟩"
        if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp") and character not in _KEPT
        else character
        for character in text
    )


def cut(text: Any, most: int = 120) -> str:
    """A text of at most so many characters; the rest is said, not shown."""
    text = str(text)
    return text if len(text) <= most else f"{text[: most - 1]}… (+{len(text) - most + 1:,})"
