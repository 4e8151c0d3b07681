"""Names and addresses that a key announces: in JSON inside a text, in logs, in pasted forms.

Other entities are told by their own form beside a key; a name or an address in JSON has nothing but its key.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import regex
from presidio_analyzer import Pattern

from domainlm.redact.forms import announced
from domainlm.redact.recognizers.base import LIKELY
from domainlm.redact.recognizers.edges import StructuredRecognizer
from domainlm.redact.settings import LOCATION, PERSON

_SCORE = LIKELY + 0.05
_KEY = r"[A-Za-z가-힣][0-9A-Za-z가-힣_ .-]{1,40}"


class AnnouncedNameRecognizer(StructuredRecognizer):
    """`"customer_name": "Jane Doe"`, `\\"고객명\\": \\"홍길동\\"`, `<name>J. Doe</name>`: the value of a key."""

    ENTITY = PERSON
    GUARDED = False
    FLAGS = regex.ASCII
    PATTERNS = (
        (
            "key and quoted value",
            rf"[\"'](?P<key>{_KEY})\\{{0,8}}[\"'][ ]?(?::|=>"
            rf"|=)[ ]?\\{{0,8}}[\"'](?P<value>[^\"'\\\n]{{2,80}})\\{{0,8}}[\"']",
            _SCORE,
        ),
        ("bare key and quoted value", r"(?<![0-9A-Za-z_\"'])(?P<key>[a-z]+_?[A-Za-z_]{1,30})[ ]?=[ ]?[\"']"
                                      r"(?P<value>[^\"'\\\n]{2,80})[\"']", _SCORE),
        ("tag", r"<(?P<key>[A-Za-z가-힣][0-9A-Za-z가-힣_.-]{1,40})>(?P<value>[^<>\n]{2,80})</(?P=key)>", _SCORE),
    )  # fmt: skip
    GATE = r"[\"'][ ]?(?::|=>|=)[ ]?\\{0,8}[\"']|[A-Za-z_][ ]?=[ ]?[\"']|</"
    _NAME = re.compile(r"(?!.*(?:https?:|@|\d{3}))[^\W\d_].*[^\W\d_.](?:\.|\b)", re.DOTALL)

    def matches(self, text: str) -> Iterator[tuple[Pattern, int, int]]:
        """The values whose key announces this entity."""
        for pattern, start, end in super().matches(text):
            key = self._key_before(text, start)
            if key and announced(key) == self.ENTITY:
                yield pattern, start, end

    def judge(self, text: str, start: int, end: int, pattern: Pattern) -> float:
        value = text[start:end].strip()
        if value.lower() in ("null", "none", "n/a", "unknown", "test", "true", "false") or value.startswith(
            ("[", "<", "{", "$", "%")
        ):
            return 0.0
        return pattern.score if self._fits(value) else 0.0

    def _fits(self, value: str) -> bool:
        return bool(self._NAME.fullmatch(value)) and len(value.split()) <= 6

    @staticmethod
    def _key_before(text: str, start: int) -> str:
        before = text[max(0, start - 64) : start]
        found = re.search(r"([A-Za-z가-힣][0-9A-Za-z가-힣_ .-]{1,40})\\*[\"']?[ ]?(?::|=>|=|>)[ ]?\\*[\"']?$", before)
        return found[1] if found else ""


class AnnouncedAddressRecognizer(AnnouncedNameRecognizer):
    """The same for `"street_address"`, `"주소"` and their like."""

    ENTITY = LOCATION

    def _fits(self, value: str) -> bool:
        return len(value) >= 5 and (any(map(str.isdigit, value)) or " " in value) and "@" not in value
