"""Canaries: synthetic identifiers that go through the engine before any text does. If one survives, nothing is read."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from domainlm.errors import RedactionIncomplete
from domainlm.records import DOCUMENT, Record
from domainlm.redact.folding import fold
from domainlm.redact.report import NameCanaries, Rate
from domainlm.redact.rules import Rules
from domainlm.redact.settings import (
    ABA_ROUTING_NUMBER,
    BROKERAGE_ACCOUNT,
    CREDIT_CARD,
    DATE_OF_BIRTH,
    DRIVER_LICENSE,
    EMAIL_ADDRESS,
    IBAN_CODE,
    IP_ADDRESS,
    KR_BANK_ACCOUNT,
    KR_RRN,
    PASSPORT,
    PERSON,
    PHONE_NUMBER,
    SECRET,
    SWIFT_BIC,
    UK_NHS,
    UK_NINO,
    US_BANK_NUMBER,
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
    (UK_NINO, "AB 12 34 56 C"),
    (SECRET, "postgresql://ledger:Tr0ub4dor3x@db.example.com/books"),
    # Nothing but a word beside it tells what these are, so it is a part of the canary.
    (UK_NHS, "NHS number 999 000 0018"),
    (US_BANK_NUMBER, "account number 98765432100"),
    (ABA_ROUTING_NUMBER, "routing number 123456780"),
    (SWIFT_BIC, "SWIFT code CANAKRSEXXX"),
    (BROKERAGE_ACCOUNT, "brokerage account 8123-456789"),
    (PASSPORT, "passport number M70689098"),
    (DRIVER_LICENSE, "driver's license number D1234567"),
    (DATE_OF_BIRTH, "born on 1901-02-03"),
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


# Planted names, and the sentences that carry them: some announce the name, some do not, as real messages do and do not.
_NAMES = {
    "en": (
        "Margaret Oyelaran", "Tomasz Wierzbicki", "Jia Hui Tan", "Rosalind Kettering", "Omar Abdelrahim",
        "Lucía Berasategui", "Duncan MacAllister", "Shreya Venkataraman",
    ),
    "ko": ("박서윤", "정도현", "남궁지민", "김나래", "오세훈", "윤아름", "최병철", "한결"),
}  # fmt: skip
_NAME_CARRIERS = {
    "en": (
        "Dear Mr. {}, your request has been received.",
        "Dear {}, we could not process the payment.",
        "Kind regards,\n{}",
        "My name is {} and I opened an account last year.",
        "Account holder: {}",
        "Please add my husband {} to the savings account.",
        "{} called about the declined card.",
        "Could you ask {} to sign the loan agreement?",
        "The transfer was sent by {} on Monday.",
        "I spoke with {} at your branch yesterday.",
        "Please send the statement to {} instead of me.",
        "{} has not received the new card.",
        "The beneficiary is {}.",
        "We met {} to discuss the mortgage.",
        "Signed by {} in the presence of a witness.",
        "From: {} <customer@example.com>",
    ),
    "ko": (
        "{} 고객님, 문의해 주셔서 감사합니다.",
        "예금주: {}",
        "성명 {} / 상품 정기예금",
        "제 이름은 {}입니다.",
        "{} 씨가 어제 지점에 방문했습니다.",
        "담당자 {}에게 서류를 전달했습니다.",
        "{}님 명의의 통장입니다.",
        "수취인은 {}이고 금액은 30만원입니다.",
        "안녕하세요, {}입니다. 카드가 정지됐어요.",
        "고객 {}의 대출 신청이 접수되었습니다.",
        "아내 {} 앞으로 보험을 들고 싶습니다.",
        "감사합니다. {} 드림",
        "{}가 계좌 해지를 요청함.",
        "보증인 {}의 동의가 필요합니다.",
        "신청인({}) 서명이 빠졌습니다.",
        "{} 고객이 한도 상향을 원합니다.",
    ),
}


def check_names(redact: Callable[[Record], Record | None], rules: Rules) -> list[NameCanaries]:
    """Send the planted names through a redaction, and compare the share that was found with what the rules ask for.

    Args:
        redact: what will redact the data; a refused record counts as found, since nothing of it is passed on.
        rules: the strictest in use.

    Raises:
        RedactionIncomplete: the lower bound of the rate's interval lies below the rules' `name_canary_rate`.
    """
    if PERSON not in rules.least:
        return []
    found: list[NameCanaries] = []
    for language, carriers in _NAME_CARRIERS.items():
        hits = sent = 0
        for carrier in carriers:
            for name in _NAMES[language]:
                sent += 1
                redacted = redact(_record(carrier.format(name), language, sent))
                hits += redacted is None or not _names_left(name, redacted["messages"][0]["content"])
        found.append(NameCanaries(language=language, found=Rate.count(hits, sent), threshold=rules.name_canary_rate))
    if missed := [item for item in found if item.found.low < item.threshold]:
        told = ", ".join(f"{item.language} {item.found.hits} of {item.found.of}" for item in missed)
        raise RedactionIncomplete(
            f"too few planted names were found ({told}): the lower bound of a rate must reach"
            f" {missed[0].threshold:g}; no text was read",
            "redact",
            "turn the tagger on (name_engine), give an nlp_engine, or lower name_canary_rate of the profile",
        )
    return found


def _names_left(name: str, text: str) -> bool:
    plain = fold(text).text
    return any(part in plain for part in name.split())
