"""The operators, on findings that are made by hand: what stands in the text afterwards, and what never does."""

from __future__ import annotations

import ipaddress
import random
import re

import pytest

from domainlm.errors import ConfigurationError
from domainlm.keys import KeyRing
from domainlm.redact.engine import Finding
from domainlm.redact.operators import Replacer, normalise
from domainlm.redact.settings import ENTITIES, MASK, OPERATORS, PLACEHOLDER, REMOVE, SURROGATE, VAULT
from domainlm.redact.surrogates import Surrogates
from domainlm.redact.vault import Vault

KEYS = KeyRing("test-key", bytes(range(32)))
REGIONS = ("US", "GB", "KR", "DE", "FR")
RECORD = KEYS.keyed_id("record", "letters", "1")


def found(text: str, *values: tuple[str, str], whole: dict[str, str] | None = None) -> list[Finding]:
    """Findings of every place where the values stand; `whole` says which name a part of one belongs to."""
    findings = [
        Finding(match.start(), match.end(), entity, (whole or {}).get(value, value), 0.9)
        for entity, value in values
        for match in re.finditer(rf"(?<!\w){re.escape(value)}", text)
    ]
    return sorted(findings)


def replaced(operator: str, text: str, *values: tuple[str, str], **more: object) -> str:
    replacer = Replacer([text], REGIONS, dict.fromkeys(ENTITIES, operator), KEYS, None, "")
    return replacer.replace(text, found(text, *values, **more))


# Placeholders


def test_one_value_has_one_placeholder_in_all_texts_and_no_placeholder_is_given_twice():
    texts = ["[PERSON_2] rang: call 010-1234-5678", "Tom Becker has +82 10 1234 5678"]
    replacer = Replacer(texts, REGIONS, {}, KEYS, None, RECORD)
    assert replacer.replace(texts[0], found(texts[0], ("PHONE_NUMBER", "010-1234-5678"))) == (
        "[PERSON_2] rang: call [PHONE_NUMBER_1]"
    )
    findings = found(texts[1], ("PERSON", "Tom Becker"), ("PHONE_NUMBER", "+82 10 1234 5678"))
    assert replacer.replace(texts[1], findings) == "[PERSON_3] has [PHONE_NUMBER_1]"
    assert replacer.values == [("PHONE_NUMBER", "+821012345678"), ("PERSON", "tom becker")]
    assert replacer.counts == {PLACEHOLDER: 3}


def test_each_entity_has_its_own_operator_in_one_text():
    text = "Tom Becker (tom@bank.com), card 4539 1488 0343 6467, SSN 219-09-9999."
    operators = {"PERSON": PLACEHOLDER, "EMAIL_ADDRESS": REMOVE, "CREDIT_CARD": MASK}
    replacer = Replacer([text], REGIONS, operators, KEYS, None, RECORD)
    values = ("PERSON", "Tom Becker"), ("EMAIL_ADDRESS", "tom@bank.com"), ("CREDIT_CARD", "4539 1488 0343 6467")
    out = replacer.replace(text, found(text, *values, ("US_SSN", "219-09-9999")))
    assert out == "[PERSON_1], card ***************6467, SSN [US_SSN_1]."
    assert replacer.counts == {PLACEHOLDER: 2, REMOVE: 1, MASK: 1}


def test_an_unknown_operator_is_named_with_the_nearest():
    with pytest.raises(ConfigurationError, match="did you mean 'placeholder'"):
        Replacer([], REGIONS, {"PERSON": "placehoder"}, KEYS, None, RECORD)


# Mask and removal


@pytest.mark.parametrize(
    ("entity", "value", "masked"),
    [
        ("CREDIT_CARD", "4539-1488-0343-6467", "***************6467"),
        ("KR_BANK_ACCOUNT", "110-123-456789", "**********6789"),
        ("US_BANK_NUMBER", "98765432", "******32"),
        ("PHONE_NUMBER", "010-1234-5678", "**********678"),
        ("PHONE_NUMBER", "12", "****"),
        ("PERSON", "홍길동", "****"),
        ("PERSON", "Al", "****"),
        ("EMAIL_ADDRESS", "tom.becker@example.com", "****"),
        ("US_SSN", "219-09-9999", "****"),
        ("KR_RRN", "900101-1234567", "****"),
        ("PASSPORT", "M12345678", "****"),
        ("SECRET", "sk_live_1234", "****"),
    ],
)
def test_a_mask_leaves_the_end_of_an_account_and_nothing_of_a_person(entity, value, masked):
    assert replaced(MASK, f"it is {value} here", (entity, value)) == f"it is {masked} here"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Dear Mr. Becker, your card", "Dear Mr., your card"),
        ("Becker called", "called"),
        ("we called Becker", "we called"),
        ("we called Becker today", "we called today"),
        ("the client (Becker) left", "the client left"),
        ('name: "Becker", age', "name:, age"),
        ("Becker Becker Becker", ""),
        ("a\nBecker\nb", "a\n\nb"),
        ("  Becker indented", "  indented"),
        ("two  spaces stay,  Becker goes", "two  spaces stay, goes"),
        ("고객 Becker님께", "고객 님께"),
        ("(Becker", "("),
    ],
)
def test_a_removed_value_leaves_no_gap_and_nothing_else_changes(text, expected):
    assert replaced(REMOVE, text, ("PERSON", "Becker")) == expected


# Surrogates


def drawn(entity: str, generator: random.Random) -> str:
    """A random value of an entity, in one of its usual forms."""

    def digits(count: int) -> str:
        return "".join(generator.choices("0123456789", k=count))

    def letters(count: int) -> str:
        return "".join(generator.choices("abcdefghijklmnopqrstuvwxyz", k=count))

    return {
        "PERSON": lambda: generator.choice(
            [
                f"{letters(5).title()} {letters(7).title()}",
                "".join(
                    generator.choices("김이박최정강조윤장임", k=1)
                    + generator.choices("가나다라마바사아자차카타파하", k=2)
                ),
            ]
        ),
        "EMAIL_ADDRESS": lambda: f"{letters(6)}{digits(3)}@{letters(7)}.com",
        "PHONE_NUMBER": lambda: generator.choice(
            [f"(312) {generator.randint(200, 999)}-{digits(4)}", f"010-{generator.randint(2000, 9999)}-{digits(4)}"]
        ),
        "IP_ADDRESS": lambda: ".".join(str(generator.randint(1, 223)) for _ in range(4)),
        "CREDIT_CARD": lambda: f"4539 {digits(4)} {digits(4)} {digits(4)}",
        "IBAN_CODE": lambda: f"DE{digits(20)}",
        "SWIFT_BIC": lambda: f"{letters(4).upper()}DE{digits(2)}",
        "US_BANK_NUMBER": lambda: digits(10),
        "ABA_ROUTING_NUMBER": lambda: digits(9),
        "KR_BANK_ACCOUNT": lambda: f"110-{digits(3)}-{digits(6)}",
        "BROKERAGE_ACCOUNT": lambda: f"Z{digits(2)}-{digits(6)}",
        "US_SSN": lambda: f"{digits(3)}-{digits(2)}-{digits(4)}",
        "KR_RRN": lambda: f"{digits(6)}-{digits(7)}",
        "UK_NHS": lambda: f"{digits(3)} {digits(3)} {digits(4)}",
        "UK_NINO": lambda: f"AB{digits(6)}C",
        "PASSPORT": lambda: f"M{digits(8)}",
        "DRIVER_LICENSE": lambda: f"11-{digits(2)}-{digits(6)}-{digits(2)}",
        "DATE_OF_BIRTH": lambda: f"19{digits(2)}-{generator.randint(1, 12):02d}-{generator.randint(1, 28):02d}",
        "SECRET": lambda: f"sk_live_{letters(12)}",
        "LOCATION": lambda: f"{digits(3)} {letters(8).title()} Street",
    }[entity]()


def test_every_entity_of_the_settings_is_drawn_here():
    generator = random.Random(1)
    assert all(drawn(entity, generator) for entity in ENTITIES)


MANY = ("PERSON", "EMAIL_ADDRESS", "PHONE_NUMBER", "CREDIT_CARD", "KR_RRN")


@pytest.mark.parametrize(("entity", "count"), [(entity, 20_000 if entity in MANY else 2_000) for entity in ENTITIES])
def test_surrogates_never_collide_over_20_000_values_of_one_record(entity, count):
    generator = random.Random(entity)
    values = list(dict.fromkeys(drawn(entity, generator) for _ in range(count)))
    by_normal = {normalise(entity, value, REGIONS): value for value in values}
    joined = "\n".join(values)
    surrogates = Surrogates(KEYS, [joined], REGIONS)
    made = {normal: surrogates.of(entity, value, normal) for normal, value in by_normal.items()}
    given = [normalise(entity, surrogate, REGIONS) for surrogate in made.values() if surrogate]
    assert len(set(given)) == len(given), "two values share a surrogate"
    assert not set(given) & by_normal.keys(), "a surrogate is a value of the record"
    assert len(given) > 0.98 * len(by_normal)
    # A record without a clash, as nearly all are, gives a value the surrogate that it has everywhere.
    alone = [
        Surrogates(KEYS, [value], REGIONS).of(entity, value, normal) == made[normal]
        for normal, value in list(by_normal.items())[:50]
    ]
    assert sum(alone) > 25


@pytest.mark.parametrize("entity", ENTITIES)
def test_another_key_chooses_otherwise(entity):
    value = drawn(entity, random.Random(5))
    normal = normalise(entity, value, REGIONS)
    chosen = {
        Surrogates(keys, [value], REGIONS).of(entity, value, normal)
        for keys in (KEYS, KEYS, KeyRing("other", b"o" * 32))
    }
    assert len(chosen) == 2


def surrogate(entity: str, value: str) -> str:
    made = Surrogates(KEYS, [value], REGIONS).of(entity, value, normalise(entity, value, REGIONS))
    assert made and made != value
    return made


def some(entity: str, *forms: str) -> list[str]:
    return [surrogate(entity, form.replace("#", str(number % 10))) for number in range(60) for form in forms]


def luhn(number: str) -> bool:
    digits = [int(character) for character in number if character.isdigit()]
    return sum(digits[-1::-2]) % 10 == -sum(sum(divmod(2 * digit, 10)) for digit in digits[-2::-2]) % 10


def test_numbers_of_surrogates_belong_to_nobody():
    for card in some("CREDIT_CARD", "4539 1488 0343 646#", "37828224631000#", "9410#23456781234"):
        assert not luhn(card)
    for iban in some("IBAN_CODE", "DE89 3704 0044 0532 0130 0#", "GB82WEST1234569876543#"):
        plain = iban.replace(" ", "")
        assert int("".join(str(int(character, 36)) for character in plain[4:] + plain[:4])) % 97 != 1
    for address in some("IP_ADDRESS", "10.1.2.#"):
        assert any(
            ipaddress.ip_address(address) in ipaddress.ip_network(net)
            for net in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "198.18.0.0/15")
        )
    assert all(
        ipaddress.ip_address(item) in ipaddress.ip_network("2001:db8::/32") for item in some("IP_ADDRESS", "fe80::#")
    )
    assert all(re.search(r"@example\.(com|org|net)$", item) for item in some("EMAIL_ADDRESS", "kim#@bank.co.kr"))
    assert all(re.fullmatch(r"\(\d{3}\) 555-01\d\d", item) for item in some("PHONE_NUMBER", "(312) 444-123#"))
    assert all(re.fullmatch(r"010-0\d{3}-\d{4}", item) for item in some("PHONE_NUMBER", "010-2345-678#"))
    assert all(re.fullmatch(r"\+82 10 0\d{3} \d{4}", item) for item in some("PHONE_NUMBER", "+82 10 2345 678#"))
    assert all(re.fullmatch(r"666-\d\d-\d{4}", item) for item in some("US_SSN", "219-09-999#"))
    assert all(re.fullmatch(r"\d{4}(3[2-9]|[4-9]\d)-[1-4]\d{6}", item) for item in some("KR_RRN", "900101-123456#"))
    assert all(item.startswith("QQ") for item in some("UK_NINO", "AB12345#C"))
    assert all(item.startswith("9") for item in some("ABA_ROUTING_NUMBER", "02100002#"))
    assert all(item[4:6] == "ZZ" for item in some("SWIFT_BIC", "DEUTDEF#"))
    for number in some("UK_NHS", "943 476 591#"):
        plain = number.replace(" ", "")
        check = 11 - sum(int(digit) * weight for digit, weight in zip(plain, range(10, 1, -1), strict=False)) % 11
        assert plain.startswith("999") and check % 11 != int(plain[9])


def test_a_surrogate_has_the_form_and_language_of_its_value():
    assert re.fullmatch("[가-힣]{3}", surrogate("PERSON", "홍길동"))
    assert re.fullmatch("[가-힣]{2}", surrogate("PERSON", "허준"))
    assert re.fullmatch(r"[A-Z][a-z]+ [A-Z][a-z]+", surrogate("PERSON", "Tom Becker"))
    assert re.fullmatch(r"[A-Z]\. [A-Z][a-z]+", surrogate("PERSON", "T. Becker"))
    assert surrogate("PERSON", "TOM BECKER").isupper()
    assert re.fullmatch(r"[A-Z][a-z]+-[a-z]+ [A-Z][a-z]+", surrogate("PERSON", "Ji-woo Kim"))
    assert re.fullmatch(r"\d{4} \d{4} \d{4} \d{4}", surrogate("CREDIT_CARD", "4539 1488 0343 6467"))
    assert re.fullmatch(r"4\d{15}", surrogate("CREDIT_CARD", "4539148803436467"))
    assert re.fullmatch(r"\d{4}년 \d{1,2}월 \d{1,2}일", surrogate("DATE_OF_BIRTH", "1985년 3월 2일"))
    assert re.fullmatch(
        r"[A-Z][a-z]+ \d{1,2}, 19\d\d|[A-Z][a-z]+ \d{1,2}, 20\d\d", surrogate("DATE_OF_BIRTH", "March 3, 1985")
    )
    assert re.fullmatch(r"\d{3} [A-Z][a-z]+ Street", surrogate("LOCATION", "221 Baker Street"))
    assert re.fullmatch(r"[가-힣]+구 [가-힣]+로 \d{3}", surrogate("LOCATION", "강남구 테헤란로 123"))


def test_parts_of_a_name_follow_the_whole_name():
    text = "Tom Becker wrote. Becker is waiting, and Tom too."
    whole = {"Becker": "Tom Becker", "Tom": "Tom Becker"}
    spans = [Finding(start, end, "PERSON", "Tom Becker", 0.9) for start, end in ((0, 10), (18, 24), (41, 44))]
    assert [text[span.start : span.end] for span in spans] == ["Tom Becker", *whole]
    out = Replacer([text], REGIONS, {"PERSON": SURROGATE}, KEYS, None, RECORD).replace(text, spans)
    given, family = surrogate("PERSON", "Tom Becker").split()
    assert out == f"{given} {family} wrote. {family} is waiting, and {given} too."


def test_a_surrogate_is_never_something_that_stands_in_the_record():
    taken = surrogate("PERSON", "Tom Becker")
    text = f"Tom Becker and {taken}"
    replacer = Replacer([text], REGIONS, {"PERSON": SURROGATE}, KEYS, None, RECORD)
    out = replacer.replace(text, found(text, ("PERSON", "Tom Becker")))
    assert not set(taken.split()) & set(out.removesuffix(taken).split())


def test_the_second_look_reads_placeholders_where_our_own_surrogates_and_masks_stand():
    text = "card 4539 1488 0343 6467 of Tom Becker, and 4111 1111 1111 1111"
    for operator in (SURROGATE, MASK):
        operators = {"CREDIT_CARD": operator, "PERSON": SURROGATE}
        replacer = Replacer([text], REGIONS, operators, KEYS, None, RECORD)
        out = replacer.replace(text, found(text, ("CREDIT_CARD", "4539 1488 0343 6467"), ("PERSON", "Tom Becker")))
        assert replacer.rescanned(out) == "card [CREDIT_CARD_0] of [PERSON_0], and 4111 1111 1111 1111"


# The vault


def test_the_vault_operator_keeps_the_original_under_its_placeholder(tmp_path):
    vault = Vault(tmp_path / "vault", KEYS)
    text = "Tom Becker has card 4539 1488 0343 6467; Tom Becker again"
    operators = {"PERSON": VAULT, "CREDIT_CARD": PLACEHOLDER}
    replacer = Replacer([text], REGIONS, operators, KEYS, vault, RECORD, {"PERSON": 30})
    out = replacer.replace(text, found(text, ("PERSON", "Tom Becker"), ("CREDIT_CARD", "4539 1488 0343 6467")))
    assert out == "[PERSON_1] has card [CREDIT_CARD_1]; [PERSON_1] again"
    assert replacer.counts == {VAULT: 2, PLACEHOLDER: 1}
    (entry,) = vault.entries()
    assert entry.subject == KEYS.keyed_id("subject", "PERSON", "tom becker")
    assert vault.reveal(f"{RECORD}:[PERSON_1]", "a reason that serves", "test")[0].value == "Tom Becker"


def test_a_vault_that_is_missing_is_an_error_and_a_canary_is_not_kept(tmp_path):
    with pytest.raises(ConfigurationError, match="vault"):
        Replacer([], REGIONS, {"PERSON": VAULT}, KEYS, None, RECORD)
    for operator in (VAULT, SURROGATE):
        with pytest.raises(ConfigurationError, match="needs a key"):
            Replacer([], REGIONS, {"PERSON": operator}, None, None, "")
    vault = Vault(tmp_path / "vault", KEYS)
    for given in (vault, None):
        replacer = Replacer(["Tom Becker"], REGIONS, {"PERSON": VAULT}, KEYS, given, "")
        assert replacer.replace("Tom Becker", found("Tom Becker", ("PERSON", "Tom Becker"))) == "[PERSON_1]"
    assert vault.entries() == []


@pytest.mark.parametrize("operator", OPERATORS)
def test_no_operator_leaves_the_value_or_touches_the_rest(operator, tmp_path):
    text = "고객 홍길동님, ４５３９-1488-0343-6467 and Tom Becker <tom@bank.com>; KOSPI 2,300.45 📈"
    values = ("PERSON", "홍길동"), ("PERSON", "Tom Becker"), ("EMAIL_ADDRESS", "tom@bank.com")
    full = "４５３９-1488-0343-6467"
    findings = sorted(
        [
            *found(text, *values),
            Finding(text.index(full), text.index(full) + len(full), "CREDIT_CARD", "4539-1488-0343-6467", 1),
        ]
    )
    vault = Vault(tmp_path / "vault", KEYS)
    replacer = Replacer([text], REGIONS, dict.fromkeys(ENTITIES, operator), KEYS, vault, RECORD)
    out = replacer.replace(text, findings)
    assert out.startswith("고객 ") and out.endswith("; KOSPI 2,300.45 📈") and " and" in out
    for value in ("홍길동", "Becker", "tom@", "0343", "４５"):
        assert value not in out
    assert replacer.counts == {operator: 4}


LETTERS = {
    "en": (
        "Dear Mr. Tom Becker, your card 4539 1488 0343 6467 was used on 2024-03-15 for $1,234.56. Tom, phone us on"
        " 212-555-0147 or +44 7911 123456, or write to tom.becker@example.net from 10.20.30.40. SSN: 219-09-9999,"
        " IBAN DE89 3704 0044 0532 0130 00, date of birth: 12 March 1985, account number: 98765432."
    ),
    "ko": (
        "예금주: 홍길동, 주민등록번호 900101-1234567, 전화 010-2345-6789, 계좌 110-123-456789."
        " 홍길동 고객님께 감사드립니다."
    ),
}


@pytest.mark.parametrize("language", LETTERS)
@pytest.mark.parametrize("operator", OPERATORS)
def test_no_operator_lets_the_second_look_take_its_own_work_for_a_leak(scanner, operator, language):
    from domainlm.redact.rescan import survivors
    from domainlm.redact.settings import STRUCTURED

    text = LETTERS[language]
    _, findings = scanner.find(text, language)
    assert len(findings) >= 4
    replacer = Replacer([text], REGIONS, dict.fromkeys(ENTITIES, operator), KEYS, None, "")
    out = replacer.replace(text, findings)
    for finding in findings:
        assert finding.value not in out
    plain = replacer.rescanned(out)
    assert not survivors(plain, ENTITIES)
    assert [finding for finding in scanner.find(plain, language)[1] if finding.entity in STRUCTURED] == []


def test_strange_spellings_are_replaced_as_well():
    """Whatever a recognizer may take for a value: an operator must neither fail on it nor leave it."""
    generator = random.Random(7)
    alphabet = "0123456789-+*xX().,:@/ \t\nabzAZéßİſ김길동로구٣²①Ⅷ४📈\u200b\u0301'\"[]{}$"
    for _ in range(1500):
        value = "".join(generator.choices(alphabet, k=generator.randint(1, 24)))
        entity = generator.choice(ENTITIES)
        text = f"before ({value}) behind"
        finding = [Finding(8, 8 + len(value), entity, value, 0.9)]
        for operator in (SURROGATE, MASK, REMOVE):
            out = Replacer([text], REGIONS, {entity: operator}, KEYS, None, RECORD).replace(text, finding)
            assert out.startswith("before") and out.endswith(" behind")
            core = value.strip("-+*xX().,:@/ \t\n'\"[]{}$\u200b")
            if len(core) > 3 and entity != "LOCATION":
                assert core not in out, (entity, operator, value)
