"""Canaries: synthetic identifiers that go through the engine before any text does. If one survives, nothing is read."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from domainlm.errors import RedactionIncomplete
from domainlm.records import DOCUMENT, Record
from domainlm.redact.folding import fold
from domainlm.redact.settings import (
    CREDIT_CARD,
    EMAIL_ADDRESS,
    IBAN_CODE,
    IP_ADDRESS,
    KR_BANK_ACCOUNT,
    KR_RRN,
    PHONE_NUMBER,
    US_SSN,
)

# Numbers of test ranges and of the registries' own examples; none belongs to anybody.
_VALUES: tuple[tuple[str, str], ...] = (
    (CREDIT_CARD, "4111 1111 1111 1111"),
    (CREDIT_CARD, "5555555555554444"),
    (CREDIT_CARD, "3782-822463-10005"),
    (EMAIL_ADDRESS, "canary.one@example.com"),
    (PHONE_NUMBER, "+1 212-555-0147"),
    (PHONE_NUMBER, "010-0000-1234"),
    (PHONE_NUMBER, "+44 20 7946 0018"),
    (IBAN_CODE, "DE89 3704 0044 0532 0130 00"),
    (IBAN_CODE, "GB82WEST12345698765432"),
    (US_SSN, "078-05-1120"),
    (KR_RRN, "000101-3000000"),
    (KR_BANK_ACCOUNT, "110-000-123456"),
    (IP_ADDRESS, "203.0.113.77"),
)
_CARRIERS = {
    "en": ("My account details are {} as stated on the form.", "Ledger note: {}, account closed at 1,300 won."),
    "ko": ("제 계좌 정보는 {}입니다.", "입금 확인: {}으로 1,300원을 보냈습니다."),
}
_SPELLINGS: tuple[Callable[[str], str], ...] = (
    str,
    lambda value: "".join(
        chr(ord(character) + 0xFEE0) if "!" <= character <= "~" else character for character in value
    ),
    lambda value: "\u200b".join(value),
)


def canaries(entities: tuple[str, ...]) -> Iterator[tuple[str, str, Record]]:
    """Entity, value and carrying record of each canary of the entities that are on."""
    number = 0
    for entity, value in _VALUES:
        if entity not in entities:
            continue
        for language, carriers in _CARRIERS.items():
            for carrier in carriers:
                for spelling in _SPELLINGS:
                    number += 1
                    yield entity, value, _record(carrier.format(spelling(value)), language, number)


def _record(text: str, language: str, number: int) -> Record:
    return Record(
        id="", task="document", messages=[{"role": DOCUMENT, "content": text}], context="", label="", source="canaries",
        row=number, licence="", consent="", purpose="", jurisdiction="", handling="public", language=language,
        timestamp="", group="", split_bucket=0, split="", subjects=[],
    )  # fmt: skip


def check_canaries(redact: Callable[[Record], Record | None], entities: tuple[str, ...]) -> int:
    """Send every canary through a redaction; returns how many went.

    Args:
        redact: what will redact the data; None stands for a record that it refused.
        entities: the entities that are on.

    Raises:
        RedactionIncomplete: a canary is still legible afterwards, or its record was refused.
    """
    sent = 0
    for entity, value, record in canaries(entities):
        sent += 1
        redacted = redact(record)
        if redacted is None or _legible(value, redacted["messages"][0]["content"]):
            raise RedactionIncomplete(
                f"canary {record['row']} ({entity}, {record['language']}) survived; no text was read",
                "redact", "mend the recognizers under domainlm/redact/, or the parameters of redact",
            )  # fmt: skip
    return sent


def _legible(value: str, text: str) -> bool:
    plain = fold(text).text.casefold()
    digits = "".join(character for character in value if character.isdigit())
    return value.casefold() in plain or (
        bool(digits) and digits in "".join(character for character in plain if character.isdigit())
    )
