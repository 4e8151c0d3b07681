"""Customer messages: spans are exact, checksums are those of real values, and figures alone carry no span."""

import json
import re
import unicodedata
from collections import Counter

from domains.makers import messages

ITEMS = [json.loads(line) for line in (messages.PACK / "messages.jsonl").read_text(encoding="utf-8").splitlines()]
SPANS = [(item, span) for item in ITEMS for span in item["spans"]]
ENTITIES = {
    "PERSON", "EMAIL_ADDRESS", "PHONE_NUMBER", "CREDIT_CARD", "IBAN_CODE", "US_SSN", "UK_NHS", "KR_RRN",
    "KR_BANK_ACCOUNT", "US_BANK_NUMBER", "ABA_ROUTING_NUMBER", "IP_ADDRESS", "SWIFT_BIC", "DATE_OF_BIRTH", "LOCATION",
}  # fmt: skip


def plain(value):
    """The value without disguise: ordinary digits, no zero-width space."""
    return unicodedata.normalize("NFKC", value).replace("\u200b", "")


def digits(value):
    return re.sub(r"\D", "", plain(value))


def values(entity):
    found = [span["value"] for _, span in SPANS if span["entity_type"] == entity]
    assert found
    return found


def test_there_are_enough_messages_of_both_languages_and_enough_without_personal_data():
    languages = Counter(item["language"] for item in ITEMS)
    assert len(ITEMS) >= 260 and languages["ko"] >= 90
    assert sum(not item["spans"] for item in ITEMS) >= 60
    assert len({item["group"] for item in ITEMS}) >= 130
    assert {span["entity_type"] for _, span in SPANS} == ENTITIES
    assert all(
        item["text"].strip() == item["text"] and not re.search(r"[{}]|\([은이을와으]\)", item["text"]) for item in ITEMS
    )


def test_every_span_is_exact_and_spans_do_not_overlap():
    for item in ITEMS:
        end = 0
        for span in item["spans"]:
            assert span["start"] >= end and item["text"][span["start"] : span["end"]] == span["value"]
            end = span["end"]


def test_a_planted_value_stands_in_a_span_wherever_it_occurs():
    for item in ITEMS:
        for span in item["spans"]:
            assert item["text"].count(span["value"]) == 1, item["text"]


def test_card_numbers_pass_the_luhn_test():
    for value in values("CREDIT_CARD"):
        total = 0
        for place, digit in enumerate(reversed(digits(value))):
            total += sum(divmod(int(digit) * 2, 10)) if place % 2 else int(digit)
        assert total % 10 == 0, value


def test_ibans_are_one_modulo_97():
    for value in values("IBAN_CODE"):
        code = plain(value).replace(" ", "")
        assert int("".join(str(int(character, 36)) for character in code[4:] + code[:4])) % 97 == 1, value


def test_national_numbers_pass_their_checks():
    for value in values("KR_RRN"):
        number = [int(digit) for digit in digits(value)]
        assert len(number) == 13
        assert (
            11 - sum(d * w for d, w in zip(number, (2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5), strict=False)) % 11
        ) % 10 == number[12]
    for value in values("ABA_ROUTING_NUMBER"):
        number = [int(digit) for digit in digits(value)]
        assert (3 * sum(number[0::3]) + 7 * sum(number[1::3]) + sum(number[2::3])) % 10 == 0
    for value in values("UK_NHS"):
        number = [int(digit) for digit in digits(value)]
        assert sum(d * w for d, w in zip(number, range(10, 0, -1), strict=True)) % 11 == 0
    for value in values("US_SSN"):
        area, group, serial = digits(value)[:3], digits(value)[3:5], digits(value)[5:]
        assert area not in ("000", "666") and area < "900" and group != "00" and serial != "0000"


def test_only_reserved_hosts_and_addresses_are_used():
    assert all(re.search(r"@(?:\w+\.)?example\.(?:com|org|net)$", plain(value)) for value in values("EMAIL_ADDRESS"))
    assert all(
        re.match(r"192\.0\.2\.|198\.51\.100\.|203\.0\.113\.|2001:db8::", plain(value)) for value in values("IP_ADDRESS")
    )


def test_korean_particles_follow_values_directly_and_agree_with_the_last_sound():
    attached = [
        (plain(span["value"])[-1], item["text"][span["end"] :])
        for item, span in SPANS
        if item["language"] == "ko" and re.match("[가-힣]", item["text"][span["end"] :])
    ]
    assert len(attached) >= 60
    for last, rest in attached:
        closed = (ord(last) - ord("가")) % 28 > 0 if "가" <= last <= "힣" else last in "013678"
        lieul = (ord(last) - ord("가")) % 28 == 8 if "가" <= last <= "힣" else last in "178"
        if re.match(r"(은|을|과|는|를|와)(?: |$)", rest):
            assert (rest[0] in "은을과") == closed, (last, rest)
        if re.match(r"(으로|로)(?: |$)", rest):
            assert rest.startswith("으로") == (closed and not lieul), (last, rest)


def test_some_values_are_disguised():
    assert sum(value != unicodedata.normalize("NFKC", value) for value in (span["value"] for _, span in SPANS)) >= 8
    assert sum("\u200b" in span["value"] for _, span in SPANS) >= 4


def test_intents_are_balanced_and_answers_hold_no_personal_data():
    labels = Counter(item["label"] for item in ITEMS)
    assert set(labels) == set(messages.DESKS) and max(labels.values()) < 3 * min(labels.values())
    for item in ITEMS:
        assert item["response"] in messages.DESKS[item["label"]]
        assert not any(span["value"] in item["instruction"] + item["response"] for span in item["spans"])


def test_the_maker_writes_the_file_byte_for_byte(tmp_path):
    messages.write(tmp_path / "messages.jsonl")
    assert (tmp_path / "messages.jsonl").read_bytes() == (messages.PACK / "messages.jsonl").read_bytes()
