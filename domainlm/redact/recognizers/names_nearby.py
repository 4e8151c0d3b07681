"""Names that stand beside other personal data, or in a message about somebody's own account.

"Ask for Ruth Ellery, 212-555-0147" announces a name with nothing but the number behind it. In a text without any
personal data, and without a customer in it, nothing here counts, so names in the news stay.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from presidio_analyzer import Pattern, RecognizerResult

from domainlm.redact.recognizers.base import CUE_BONUS, LEAST_WITH_CUE, LIKELY, CuedRecognizer
from domainlm.redact.recognizers.english_names import FULL_NAME, LOWER, UPPER, trim
from domainlm.redact.recognizers.given_names import GIVEN_NAMES
from domainlm.redact.recognizers.korean_names import COMMON, FULL_KOREAN_NAME
from domainlm.redact.settings import LOCATION, PERSON

_GIVEN, _NEIGHBOUR, _ALONE = 0.3, 0.1, 0.2
# What a customer says of his or her own affairs; the press does not say "my account".
_OWN_AFFAIRS = (
    r"\b(?:my|your|his|her|their|our)[ ](?:[a-z]+[ ]){0,2}(?:account|card|loan|mortgage|statement|savings|pension"
    r"|deposit|portfolio"
    r"|policy|password|salary|signature|portal|login|branch|fraud desk|isa|payment|transfer|refund|complaint"
    r"|application)s?\b"
    r"|\bi (?:lost|was|am|want|need|sent|paid|tried|would like|cannot|can't|didn't|got)\b|\bplease\b"
)
_PRODUCTS = (
    r"\b(?:account|card|loan|mortgage|statement|savings|deposit|portfolio|wire|transfer|payment|complaint|caller"
    r"|customer|client)\b"
)


class NearbyNameRecognizer(CuedRecognizer):
    """Full names whose surroundings, not whose announcement, show that they are a customer's."""

    ENTITY = PERSON
    GUARDED = False
    FLAGS = 0
    PATTERNS = (
        ("given name", rf"(?<![\w'-]){FULL_NAME}", _GIVEN),
        ("Hangul beside", rf"(?<![가-힣])(?P<value>{FULL_KOREAN_NAME})(?![가-힣])", _NEIGHBOUR),
        ("Hangul sentence", rf"(?:^|[.!?\n][ ]?)(?P<value>{FULL_KOREAN_NAME})(?=\.?[ ]?(?:$|\n))", _ALONE),
    )
    # By itself it finds only what has a customer's words around it; what stands beside other data has its gates.
    GATE = rf"(?i:{_OWN_AFFAIRS})"
    GATED = False
    CUES = ""

    _own_affairs = re.compile(_OWN_AFFAIRS, re.IGNORECASE | re.ASCII)
    _products = re.compile(_PRODUCTS, re.IGNORECASE | re.ASCII)

    def grade(self, value: str, pattern: Pattern) -> float:
        if pattern.name != "given name":
            return 0.0 if value in COMMON else pattern.score
        if value.split()[0].rstrip(".").casefold() in GIVEN_NAMES:
            return pattern.score
        return 0.0 if value.isupper() else _NEIGHBOUR  # "BIC NWBKGB2L" is no name

    def matches(self, text: str) -> Iterator[tuple[Pattern, int, int]]:
        for pattern, start, end in super().matches(text):
            if text[start] in UPPER or text[start].isascii():
                if span := trim(text, start, end, full=True):
                    yield pattern, *span
            else:
                yield pattern, start, end

    def enhance_using_context(
        self,
        text: str,
        raw_recognizer_results: list[RecognizerResult],
        other_raw_recognizer_results: list[RecognizerResult],
        nlp_artifacts: Any,
        context: list[str] | None = None,
    ) -> list[RecognizerResult]:
        """Raise names beside personal data, and given names in a text with personal data or a customer's own words."""
        others = [
            item
            for item in other_raw_recognizer_results
            # Of names and places only sure ones: what the tagger found is no reason to believe in more.
            if item.score >= (LIKELY if item.entity_type in (PERSON, LOCATION) else LEAST_WITH_CUE)
        ]
        customer = bool(self._own_affairs.search(text) and self._products.search(text))
        for result in raw_recognizer_results:
            known = result.score > _NEIGHBOUR and (bool(others) or (customer and result.score >= _GIVEN))
            if known or any(_beside(text, result, other) for other in others if other.entity_type != PERSON):
                result.score = max(LEAST_WITH_CUE, result.score + CUE_BONUS)
                result.recognition_metadata[RecognizerResult.IS_SCORE_ENHANCED_BY_CONTEXT_KEY] = True
        return raw_recognizer_results


# "Ruth Ellery, bank account 9272", "Ruth Ellery (+1 212 ...)"
_BESIDE = re.compile(rf"[ ,;:()\[\]<>/|·\n-]{{1,4}}(?:[{LOWER}.]{{1,8}}[ :.]{{1,2}}){{0,3}}")
# In Hangul any two words may look like a name, so punctuation must part the two: "홍길동, 010-..."
_BESIDE_HANGUL = re.compile(r"[ ]?[,(:/|;\n][ ]?(?:[가-힣]{2,4}[ :]{1,2})?")
_PARTICLES = "를을는의에로고해며서면"


def _beside(text: str, name: RecognizerResult, other: RecognizerResult) -> bool:
    hangul = text[name.start] >= "가"
    if hangul and text[name.end - 1] in _PARTICLES:
        return False
    if name.end <= other.start:
        gap = text[name.end : other.start]
    elif other.end <= name.start and not (hangul and text[name.end : name.end + 1].isspace()):
        gap = text[other.end : name.start]
    else:
        return False
    return bool((_BESIDE_HANGUL if hangul else _BESIDE).fullmatch(gap))
