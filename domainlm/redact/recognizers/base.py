"""The shape of our recognizers: Presidio's `PatternRecognizer` with gate, cues, a guard for money, a real time-out.

Presidio's own loop logs a pattern that ran out of time and goes on, which would let a text pass unscanned; here the
time-out is an error of the analysis. Its context words are single lemmas; cues here are expressions, so that "account
number 12345678" is a finding and "accounting for 12345678 shares" is none.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import regex
from presidio_analyzer import AnalysisExplanation, Pattern, PatternRecognizer, RecognizerResult

if TYPE_CHECKING:
    from domainlm.redact.settings import RedactSettings

WEAK, LIKELY, STRONG = 0.05, 0.6, 0.85
# The arithmetic of Presidio's own context enhancer, which runs too late for recognizers that build on others' findings.
CUE_BONUS, LEAST_WITH_CUE = 0.35, 0.4
NEAR_CUE_BONUS = 0.1
CUE_BEFORE, CUE_AFTER, GUARD_BEFORE = 48, 20, 28
MOST_FINDINGS = 2000

# A number right behind a currency, or right before a unit, is an amount.
_AMOUNT_BEFORE = re.compile(r"(?:[$€£₩¥₤]|\b(?:USD|EUR|GBP|KRW|JPY|US|CHF))\s?$", re.IGNORECASE | re.ASCII)
_AMOUNT_AFTER = re.compile(
    r"\s?(?:%|원|달러|유로|엔|주(?![가-힣])|won\b|dollars?\b|euros?\b|pounds?\b|yen\b|shares?\b|units?\b"
    r"|contracts?\b|barrels?\b"
    r"|USD\b|EUR\b|GBP\b|KRW\b|JPY\b|million\b|billion\b|trillion\b|bps\b|basis points?\b)",
    re.IGNORECASE | re.ASCII,
)
# A number that says itself that it is another one: orders, securities, companies.
_OTHER_BEFORE = re.compile(
    r"(?:\b(?:order|invoice|ref(?:erence)?|case|ticket|tracking|confirmation|parcel|cusip|sedol|isin|lei|wkn|cik"
    r"|figi|docket)\b"
    r"|주문|송장|접수|사업자|법인등록|종목|운송장|사건|문의)[^.;\n]{0,16}$",
    re.IGNORECASE | re.ASCII,
)
_NUMBER = re.compile(r"\d{5}", re.ASCII)
_OTHER_THAN_DIGITS = re.compile(r"[^0-9]+")
# In "021000021 account 12345678" the cue behind the first number speaks of the second.
_NUMBER_AHEAD = re.compile(r"[^\d.;\n]{0,14}\d{4}", re.ASCII)


class TooManyFindings(Exception):
    """More findings of one entity in a text than Presidio's comparison of each with each can bear."""


class Budget:
    """The time that one text may still take, shared by everything that reads it. Without `start` there is no end."""

    def __init__(self) -> None:
        self._end = math.inf

    def start(self, limit_s: float) -> None:
        """Begin with a text.

        Args:
            limit_s: seconds by the clock on the wall.
        """
        self._end = time.monotonic() + limit_s

    def left_s(self) -> float:
        """The seconds that are left.

        Raises:
            TimeoutError: there are none.
        """
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left


class CuedRecognizer(PatternRecognizer):
    """A recognizer of one entity by patterns, some of which count only with a cue nearby.

    A subclass is data: class variables, and `grade` where a check digit or a table decides.

    Class variables:
        ENTITY: what it finds.
        PATTERNS: name, regular expression and score of each; a group named `value` narrows the finding to it. Scores
            below the threshold need a cue.
        GATE: an expression without which no pattern can match: cheap, case-sensitive, `re.ASCII`, and linear in the
            text. The engine searches all gates at once and runs only the recognizers whose gate is in the text.
        CUES: expression looked for in the characters before and after a weak finding.
        GATED: whether the recognizer stands by itself. One that builds on others' findings (`enhance_using_context`)
            hands on findings below its threshold, which `LEAST_WITH_CUE` must divide: what it raises itself, or what it
            builds on, is at or above it, and without its gate it raises something only where another recognizer found
            something. So it runs where its gate is, where others found something, or where a threshold is lower.
        NARROWED: whether `matches` looks for nothing but the patterns it is told to search for.
        GUARDED: whether weak findings that look like an amount or like another kind of number are dropped.
        FLAGS: flags of the patterns; ASCII, so that a Korean particle right behind a value ends a word.
    """

    ENTITY: ClassVar[str]
    PATTERNS: ClassVar[tuple[tuple[str, str, float], ...]]
    GATE: ClassVar[str]
    CUES: ClassVar[str] = ""
    GATED: ClassVar[bool] = True
    NARROWED: ClassVar[bool] = True
    GUARDED: ClassVar[bool] = True
    FLAGS: ClassVar[int] = regex.ASCII | regex.IGNORECASE

    def __init__(self, supported_language: str, settings: RedactSettings, context: tuple[str, ...] = ()) -> None:
        super().__init__(
            supported_entity=self.ENTITY,
            supported_language=supported_language,
            patterns=[Pattern(name, expression, score) for name, expression, score in self.PATTERNS],
            global_regex_flags=self.FLAGS,
        )
        self.timeout_s = settings.regex_timeout_s
        # What the engine sets for a text: the least score that counts, the time, and which patterns may match at all.
        self.least = settings.threshold
        self.budget = Budget()
        self.compiled = [(pattern, regex.compile(pattern.regex, self.FLAGS)) for pattern in self.patterns]
        self.searched: Sequence[tuple[Pattern, regex.Pattern[str]]] = self.compiled
        # A context word raises a finding of a recognizer that does not stand by itself, so it opens the gate as well.
        opens = () if self.GATED else map(_as_cue, context)
        self.gate = "|".join(f"(?:{gate})" for gate in (self.GATE, *(f"(?i:{word})" for word in opens)))
        cues = "|".join(filter(None, (self.CUES, *map(_as_cue, context))))
        self._cues = re.compile(cues, re.IGNORECASE | re.ASCII) if cues else None

    def grade(self, value: str, pattern: Pattern) -> float:
        """The score of a match by its value alone; 0 refuses it."""
        return pattern.score

    def analyze(
        self, text: str, entities: list[str], nlp_artifacts: Any = None, regex_flags: int | None = None
    ) -> list[RecognizerResult]:
        """All matches of all patterns, graded; see `presidio_analyzer.EntityRecognizer.analyze`.

        Raises:
            TimeoutError: a pattern took longer than `timeout_s`, or the text took its whole time.
            TooManyFindings: the text is a list of persons rather than prose.
        """
        results = []
        for pattern, start, end in self.matches(text):
            score = self.grade(text[start:end], pattern) if start < end else 0.0
            if score <= 0 or (score < LIKELY and self.GUARDED and _guarded(text, start, end)):
                continue
            score = min(1.0, self._with_cue(score, text, start, end))
            if score < self.least and self.GATED:
                continue
            if len(results) == MOST_FINDINGS:
                raise TooManyFindings
            results.append(
                RecognizerResult(
                    self.ENTITY, start, end, score,
                    analysis_explanation=AnalysisExplanation(self.name, score, pattern_name=pattern.name),
                    recognition_metadata={
                        RecognizerResult.RECOGNIZER_NAME_KEY: self.name,
                        RecognizerResult.RECOGNIZER_IDENTIFIER_KEY: self.id,
                    },
                )
            )  # fmt: skip
        return results

    def matches(self, text: str) -> Iterator[tuple[Pattern, int, int]]:
        """Where each pattern matches: the group `value`, or the whole match."""
        for pattern, compiled in self.searched:
            group = "value" if "value" in compiled.groupindex else 0
            for match in compiled.finditer(text, timeout=min(self.timeout_s, self.budget.left_s())):
                self.budget.left_s()  # what is made of a match takes time, too
                yield pattern, *match.span(group)

    def _with_cue(self, score: float, text: str, start: int, end: int) -> float:
        before = text[max(0, start - CUE_BEFORE) : start]
        last_cue = max((cue.end() for cue in self._cues.finditer(before)), default=None) if self._cues else None
        if last_cue is not None:
            # In "routing 021000021 account 12345678" both words stand before the second number; the nearer counts more.
            return max(LEAST_WITH_CUE, score + CUE_BONUS + (0 if _NUMBER.search(before, last_cue) else NEAR_CUE_BONUS))
        cue = self._cues.search(text[end : end + CUE_AFTER]) if self._cues else None
        if cue is not None and not _NUMBER_AHEAD.match(text, end + cue.end()):
            return max(LEAST_WITH_CUE, score + CUE_BONUS)
        return score

    def to_dict(self) -> dict[str, Any]:
        """The recognizer's configuration, for the digest in the report."""
        return super().to_dict() | {
            "gate": self.gate,
            "cues": self._cues.pattern if self._cues else "",
            "guarded": self.GUARDED,
            "flags": int(self.FLAGS),
        }


def _as_cue(word: str) -> str:
    """An expression for a profile's context word: Latin words stand alone, Korean ones may have particles."""
    left = r"(?<![0-9A-Za-z])" if word[0].isascii() and word[0].isalnum() else ""
    right = r"(?![0-9A-Za-z])" if word[-1].isascii() and word[-1].isalnum() else ""
    return f"{left}{re.escape(word)}{right}"


def _guarded(text: str, start: int, end: int) -> bool:
    before = text[max(0, start - GUARD_BEFORE) : start]
    return bool(_AMOUNT_BEFORE.search(before) or _OTHER_BEFORE.search(before) or _AMOUNT_AFTER.match(text, end))


def digits(text: str) -> str:
    """The ASCII digits of a text."""
    return _OTHER_THAN_DIGITS.sub("", text)


def luhn(number: str) -> bool:
    """Whether the last digit is the check digit after ISO/IEC 7812-1."""
    doubled = (int(digit) * 2 for digit in number[-2::-2])
    return (sum(map(int, number[-1::-2])) + sum(value - 9 if value > 9 else value for value in doubled)) % 10 == 0
