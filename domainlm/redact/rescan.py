"""The second look: what may still stand in a text that is about to leave.

The engine reads its own output again; beside it stand a few coarse expressions that share no code with it, so that a
fault of the folding, of a gate or of a recognizer does not pass twice.
"""

from __future__ import annotations

import re
import unicodedata

from domainlm.redact.settings import CREDIT_CARD, EMAIL_ADDRESS, KR_RRN, SECRET, STRUCTURED, US_SSN

_COARSE = {
    EMAIL_ADDRESS: re.compile(r"[\w.+-]@[\w-]+\.[a-z]{2}", re.IGNORECASE),
    KR_RRN: re.compile(r"(?<!\d)\d\d[01]\d[0-3]\d-[1-8]\d{6}(?!\d)"),
    US_SSN: re.compile(r"(?<![\d-])\d{3}-\d\d-\d{4}(?![\d-])"),
    SECRET: re.compile(r"://[^\s:/@]{1,64}:[^\s@/\[]{1,64}@|-----BEGIN [A-Z ]{0,30}PRIVATE KEY|\bAKIA[0-9A-Z]{16}\b"),
    CREDIT_CARD: re.compile(r"(?<![\d.,-])[3-6]\d{3}([ -]?)\d{4}\1\d{4}\1\d{4}(?![\d-]|[.,]\d)"),
}


def survivors(text: str, entities: tuple[str, ...]) -> set[str]:
    """Structured entities that a coarse look still sees in a text.

    Args:
        text: a redacted text.
        entities: what redaction was told to replace.
    """
    plain = text if text.isascii() else _plain(text)
    seen = set()
    for entity, expression in _COARSE.items():
        if entity in entities and entity in STRUCTURED:
            for match in expression.finditer(plain):
                if entity != CREDIT_CARD or _checks(match[0]):
                    seen.add(entity)
    return seen


def _plain(text: str) -> str:
    normal = unicodedata.normalize("NFKC", text)
    return "".join(character for character in normal if unicodedata.category(character) not in ("Cf", "Mn", "Me"))


def _checks(number: str) -> bool:
    digits = [int(character) for character in number if character.isdigit()]
    return sum(digits[-1::-2]) % 10 == -sum(sum(divmod(2 * digit, 10)) for digit in digits[-2::-2]) % 10
