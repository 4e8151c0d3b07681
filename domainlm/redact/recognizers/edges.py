"""Where a number may begin and end, and recognizers that judge a match by what stands around it.

A comma or a point between digits is a thousands separator or a decimal sign, so a value does not begin behind one; but
in a row of comma-separated values the comma is a border, which is why runs of digits too long for a thousands group may
stand behind it. An underscore or a hyphen behind a letter (`card_4539…`, `tel-02…`) is a border, too.
"""

from __future__ import annotations

from collections.abc import Iterator

from presidio_analyzer import Pattern

from domainlm.redact.recognizers.base import CuedRecognizer
from domainlm.redact.recognizers.securities import protected

BEFORE = r"(?<![0-9A-Za-z+$€£₩¥])(?<!\d[.,-])(?<!\.)"
AFTER = r"(?![0-9A-Za-z%]|[-.,]\d)"
# For a single run of digits, which no thousands separator can cut.
RUN_BEFORE = r"(?<![0-9A-Za-z+$€£₩¥])(?<!\d[.-])(?<!\.)"
RUN_AFTER = r"(?![0-9A-Za-z%]|[-.]\d)"
# For a form that no amount has: a comma is a border on either side.
FIRM_BEFORE = r"(?<![0-9A-Za-z+])(?<!\d[.-])"
FIRM_AFTER = r"(?![0-9A-Za-z]|[-.]\d)"
# Between the groups of a number.
GAP = r"(?:[ ]?[-./·][ ]?|[ ]{1,2})"
# A connector between a label and its value: `phone (mobile): "`, `account no. is `, `계좌번호는 `.
JOIN = (
    r"(?:[\s:=#('\"\[\\<>*|_/,–-]|\.{2,20}|(?i:no\b\.?|nos\b\.?|nr\b\.?|number\b|num\b|is\b|was\b|are\b|on file"
    r"|which\b"
    r"|reads\b|to\b|at\b|on\b|the\b|be\b|as\b|of\b)|은|는|이|가|번호|로|을|를)"
)
# A question and who answers it: `What's your mobile?\nCustomer: sure, `, `어떻게 되세요? 고객: `.
ANSWERED = (
    r"[^.?!\n]{0,48}\?[\"']?\s{0,3}(?:[A-Za-z가-힣][0-9A-Za-z가-힣 ]{0,16}[:>\]]\s{0,2})?"
    r"(?:(?:(?i:sure|yes|yeah|yep|ok|okay|of course|certainly|it'?s|it is|that'?s|that is|here|here you go|here it is"
    r"|um|uh|well"
    r"|so|my|is|the|number|please|one moment)|네|예|아|음|그게|제|저는)[,.:\s]{1,3}){0,5}"
)


class StructuredRecognizer(CuedRecognizer):
    """A recognizer whose matches are judged in their text, and that never takes a security or a page for a person's."""

    def judge(self, text: str, start: int, end: int, pattern: Pattern) -> float:
        """The score of a match in its place; 0 refuses it. A score below the threshold still wants a cue of CUES."""
        return self.grade(text[start:end], pattern)

    def narrowed(self, text: str, start: int, end: int, pattern: Pattern) -> tuple[int, int]:
        """The span of a match without what a generous pattern took along."""
        return unbracketed(text, start, end)

    def matches(self, text: str) -> Iterator[tuple[Pattern, int, int]]:
        """See `CuedRecognizer.matches`; each pattern comes with the score that `judge` gave the match."""
        for pattern, start, end in super().matches(text):
            start, end = self.narrowed(text, start, end, pattern)
            if start >= end or protected(text, start, end):
                continue
            score = self.judge(text, start, end, pattern)
            if score > 0:
                yield _Judged(pattern, score), start, end

    def grade(self, value: str, pattern: Pattern) -> float:
        """The score that `judge` gave; of a pattern that was not judged yet, its own."""
        return pattern.score


class _Judged(Pattern):
    """A pattern with the score of one of its matches."""

    def __init__(self, pattern: Pattern, score: float) -> None:
        # The parent's initialiser would compile the expression again for every match.
        self.name, self.regex, self.score, self.compiled_regex = pattern.name, pattern.regex, score, None


def unbracketed(text: str, start: int, end: int) -> tuple[int, int]:
    """A span without brackets that have no partner in it, or that enclose all of it."""
    if text[start : start + 1] == "(":
        depth = 0
        for place in range(start, end):
            depth += (text[place] == "(") - (text[place] == ")")
            if depth == 0:
                return (start + 1, end - 1) if place == end - 1 else (start, end)
        return start + 1, end
    value = text[start:end]
    return start, end - 1 if value.endswith(")") and value.count(")") > value.count("(") else end
