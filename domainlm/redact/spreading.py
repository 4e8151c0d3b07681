"""From one mention to all: what was found once in a record is found wherever else it stands in it.

A name that a salutation gave away stands without one elsewhere; an account number is repeated without its cue.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from domainlm.redact.engine import Finding
from domainlm.redact.folding import Folded
from domainlm.redact.settings import LOCATION, PERSON

_LETTERS = re.compile(r"[^\W\d_]+")


def spread(texts: list[Folded], findings: list[list[Finding]]) -> list[list[Finding]]:
    """The findings of each text of a record, and every further place where one of the found values stands."""
    known = {
        finding.value: finding
        for found in findings
        for finding in found
        if finding.entity != LOCATION and len(finding.value) > 2
    }
    if not known:
        return findings
    parts = _parts_of_names(known.values(), _words_outside(texts, findings))
    # "Tom" found by itself is Tom Becker: one person, one placeholder, one keyed id.
    findings = [
        [replace(item, value=parts[item.value].value) if _is_part(item, parts) else item for item in found]
        for found in findings
    ]
    known = parts | {value: item for value, item in known.items() if not _is_part(item, parts)}
    longest_first = sorted(known, key=lambda value: (-len(value), value))
    anywhere = re.compile("|".join(f"{_left(value)}{re.escape(value)}{_right(value)}" for value in longest_first))
    return [
        sorted(found + _elsewhere(text, found, known, anywhere)) for text, found in zip(texts, findings, strict=True)
    ]


def _is_part(finding: Finding, parts: dict[str, Finding]) -> bool:
    return finding.entity == PERSON and finding.value in parts


def _elsewhere(
    text: Folded, found: list[Finding], known: dict[str, Finding], anywhere: re.Pattern[str]
) -> list[Finding]:
    more: list[Finding] = []
    taken = iter(sorted(found))
    other = next(taken, None)
    for match in anywhere.finditer(text.text):
        start, end = text.original(*match.span())
        while other is not None and other.end <= start:
            other = next(taken, None)
        # Every character of a decoded blob stands for the whole blob, so that two matches may be one place.
        if (other is None or end <= other.start) and not (more and start < more[-1].end):
            first = known[match[0]]
            more.append(Finding(start, end, first.entity, first.value, first.score))
    return more


def _words_outside(texts: list[Folded], findings: list[list[Finding]]) -> set[str]:
    """The words that stand in small letters outside every finding: an e-mail address does not make a name a word."""
    words: set[str] = set()
    for text, found in zip(texts, findings, strict=True):
        inside = {finding.value for finding in found}
        rest = re.sub("|".join(map(re.escape, inside)), " ", text.text) if inside else text.text
        words.update(word for word in _LETTERS.findall(rest) if word.islower())
    return words


def _parts_of_names(findings: Iterable[Finding], words: set[str]) -> dict[str, Finding]:
    """`Smith` stands for `John Smith`, unless it is a word of the record."""
    parts: dict[str, Finding] = {}
    for finding in findings:
        names = finding.value.split()
        if finding.entity == PERSON and len(names) > 1:
            for name in names:
                if len(name) > 2 and name[0].isupper() and name.lower() not in words:
                    parts.setdefault(name, finding)
    return parts


def _left(value: str) -> str:
    if value[0].isascii():
        return r"(?<![0-9A-Za-z])"
    return r"(?<![가-힣])" if "가" <= value[0] <= "힣" else r"(?<!\w)"


def _right(value: str) -> str:
    if value[-1].isascii():
        return r"(?![0-9A-Za-z])"
    # A particle may follow Hangul; two syllables alone are too often a word of their own.
    return "(?=님|씨)" if "가" <= value[-1] <= "힣" and len(value) < 3 else ""
