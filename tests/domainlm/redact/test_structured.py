"""Structured recognizers: national habits, guards, secrets, documents; none of the sentences is the benchmark's."""

import random
import time

import pytest

from domainlm.redact.engine import AnalysisFailed, Scanner
from domainlm.redact.recognizers import securities
from domainlm.redact.recognizers.base import luhn
from domainlm.redact.settings import STRUCTURED, RedactSettings

ROUNDS = 25


@pytest.fixture(scope="module")
def structured():
    return Scanner(RedactSettings(entities=STRUCTURED))


def found(scanner, text, language="en"):
    return [(item.entity, text[item.start : item.end]) for item in scanner.find(text, language)[1]]


def with_check_digit(body):
    return next(body + last for last in "0123456789" if luhn(body + last))


# Prefix and length of each network, as ISO/IEC 7812 numbers are issued.
NETWORKS = {
    "Visa of 13": ("4", 13), "Visa": ("4", 16), "Visa of 19": ("4", 19), "Mastercard": ("53", 16),
    "Mastercard's second series": ("2305", 16), "Amex": ("37", 15), "Diners": ("36", 14), "Discover": ("6011", 16),
    "JCB": ("3528", 16), "JCB of 15": ("2131", 15), "JCB's older": ("1800", 15), "Maestro of 12": ("6759", 12),
    "Maestro of 19": ("5018", 19), "UnionPay": ("6212", 19), "Maestro of 06": ("0604", 12),
}  # fmt: skip


@pytest.mark.parametrize("network", NETWORKS)
def test_a_card_of_every_network_is_found_behind_its_word(structured, identities, network):
    prefix, length = NETWORKS[network]
    for _ in range(ROUNDS):
        number = with_check_digit(prefix + identities.digits(length - len(prefix) - 1))
        for text in (f"What is the limit for card {number}?", f"체크카드 {number} 정지해 주세요", f"cc: {number}"):
            assert found(structured, text) == [("CREDIT_CARD", number)], text


@pytest.mark.parametrize(
    "number",
    [
        "60-56-85-91", "699 956 915", "(37) 788-063", "467 3395", "78 651 450", "07700 063 966", "+41 (0)38 549 02 90",
        "001-253-366-9781", "463-612-6138x036", "21 253 109 8211", "+(370) 92494140", "030/901820", "8 (912) 345-67-89",
        "+90(212)1234567", "13958516351", "02156/20896450", "(55) 3123-4567", "+358 40 1234567", "4673395",
    ],
)  # fmt: skip
def test_a_telephone_number_of_any_national_habit_is_found_behind_its_word(structured, number):
    for text in (
        f"Phone:\n{number}\n\nMore", f"They're not answering at {number}", f"Office 12\n{number} fax\nOslo",
        f"You can reach my sister at {number}.", f'{{"mobile": "{number}"}}', f"전화는 {number}입니다",
        f"her cell phone ({number}) is off",
    ):  # fmt: skip
        assert ("PHONE_NUMBER", number) in found(structured, text), text


@pytest.mark.parametrize(
    "text",
    [
        "Call options expired at 4500-4600, strike 12 500.",
        "Nifty to reach 8600-8700; we called the 2.5% 2031 notes at 101.25.",
        "The phone segment sold 12 345 678 units, mobile revenue 2019 2018 2017.",
        "Contact: page 123-124, doi:10.1016/j.jfineco.2019.05.001, ISBN 978-3-16-148410-0",
        "File No. 333-123456, Commission file number 001-36743, Employer Identification No. 94-2404110",
        "사업자등록번호 123-45-67890, 법인등록번호 110111-0123456, 종목코드 005930, 공모가 12,345원",
        "x = 12345678 * 3; version 10.2.3.4; build 20240315; id 550e8400-e29b-41d4-a716-446655440000",
        "The password must have 12 characters; token ring networks; password = os.environ['PW']; pwd: ${DB_PASSWORD}",
        "stock 300-225, securities 201206 154553, and 3778997 options",
        "SWIFT CUSTOMER and SWIFT TRANSFER FEES AND BUSINESS HOURS; sleeps at 10 p.m. and wakes up at 6 a.m.",
        "LEI 5493001KJTIIGC8Y1R12 | ISIN DE0007164600 | FIGI BBG000B9XRY4 | CUSIP 037833100 | account 1,234,567.89",
    ],
)
def test_what_only_resembles_a_number_of_a_person_stays(structured, text):
    assert found(structured, text) == []
    assert found(structured, text, "ko") == []


@pytest.mark.parametrize(
    ("text", "entity", "value"),
    [
        ("My IRA account number is 4821-9932.", "BROKERAGE_ACCOUNT", "4821-9932"),
        ("sell from brokerage account Z12-345678 today", "BROKERAGE_ACCOUNT", "Z12-345678"),
        ("my 401(k) plan number is 88213377", "BROKERAGE_ACCOUNT", "88213377"),
        ("custody account no. ４４１２ ９０３３", "BROKERAGE_ACCOUNT", "４４１２ ９０３３"),
        ("키움증권 계좌 12345678-01로 입고", "BROKERAGE_ACCOUNT", "12345678-01"),
        ("위탁계좌번호는 123-45-678901입니다", "BROKERAGE_ACCOUNT", "123-45-678901"),
        ("신협 132-012-345678으로 보내요", "KR_BANK_ACCOUNT", "132-012-345678"),
        ("농협 351-1234-5678-93", "KR_BANK_ACCOUNT", "351-1234-5678-93"),
        ("새마을금고 9002-1234-5678-9 입금", "KR_BANK_ACCOUNT", "9002-1234-5678-9"),
        ("wire to 110482913377 at Shinhan Bank", "KR_BANK_ACCOUNT", "110482913377"),
        ("SWIFT KOEXKRSE", "SWIFT_BIC", "KOEXKRSE"),
        ("passport number M123A4567", "PASSPORT", "M123A4567"),
        ("여권번호는 M12345678이고", "PASSPORT", "M12345678"),
        ("German passport C01X00T47", "PASSPORT", "C01X00T47"),
        ("driver's license F255-921-50-094-0", "DRIVER_LICENSE", "F255-921-50-094-0"),
        ("운전면허 11-23-456789-01 갱신", "DRIVER_LICENSE", "11-23-456789-01"),
        ("licence MORGA657054SM9IJ was issued", "DRIVER_LICENSE", "MORGA657054SM9IJ"),
        ("Date of birth .... 14-Mar-1985", "DATE_OF_BIRTH", "14-Mar-1985"),
        ("NI number: QQ 12 34 56 C", "UK_NINO", "QQ 12 34 56 C"),
        ("peer 2001:db8:85a3::8a2e:370:7334: unreachable", "IP_ADDRESS", "2001:db8:85a3::8a2e:370:7334"),
        ("user=ada.l@example.org;role=x", "EMAIL_ADDRESS", "ada.l@example.org"),
        ("write to ada dot l at example dot org", "EMAIL_ADDRESS", "ada dot l at example dot org"),
        ("연락은 공일공 일이삼사 오육칠팔", "PHONE_NUMBER", "공일공 일이삼사 오육칠팔"),
        ("row 12,010-1234-5678,3", "PHONE_NUMBER", "010-1234-5678"),
    ],
)
def test_a_value_is_found_whole_and_with_its_own_name(structured, text, entity, value):
    assert found(structured, text) == [(entity, value)]
    assert found(structured, text, "ko") == [(entity, value)]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("url = postgresql://app:Hunter22@db.internal:5432/x", "postgresql://app:Hunter22@db.internal:5432/x"),
        ("mongodb+srv://root:p%40ss@c0.abc.mongodb.net", "mongodb+srv://root:p%40ss@c0.abc.mongodb.net"),
        ("jdbc:mysql://h:3306/d?user=a&password=Hunter22", "jdbc:mysql://h:3306/d?user=a&password=Hunter22"),
        ("c = 'Server=db1;Database=x;Uid=sa;Pwd=Pa55word;'", "Server=db1;Database=x;Uid=sa;Pwd=Pa55word;"),
        ("key AKIAIOSFODNN7EXAMPLE rotated", "AKIAIOSFODNN7EXAMPLE"),
        ("# old: ghp_16C7e42F292c6912E7710c838347Ae178B4a", "ghp_16C7e42F292c6912E7710c838347Ae178B4a"),
        ("xoxb-123456789012-abcdefABCDEF", "xoxb-123456789012-abcdefABCDEF"),
        ("Authorization: Bearer abc123def456ghi789", "abc123def456ghi789"),
        ('DB_PASSWORD = "correct horse battery"  # prod', "correct horse battery"),
        ("my password is Tr0ub4dor&3", "Tr0ub4dor&3"),
        ("비밀번호는 qwer1234!입니다", "qwer1234!"),
        ("-----BEGIN PRIVATE KEY-----\nMIIB+/==\n-----END PRIVATE KEY-----",
         "-----BEGIN PRIVATE KEY-----\nMIIB+/==\n-----END PRIVATE KEY-----"),
        ("t=eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl x",
         "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl"),
    ],
)  # fmt: skip
def test_a_secret_is_found_whole(structured, text, value):
    assert found(structured, text) == [("SECRET", value)]


def test_one_word_announces_a_chain_of_numbers_and_a_question_its_answer(structured):
    assert found(structured, "Call 69 3434-1617 or 722 963 415.") == [
        ("PHONE_NUMBER", "69 3434-1617"), ("PHONE_NUMBER", "722 963 415"),
    ]  # fmt: skip
    assert found(structured, "What's your mobile?\nCustomer: sure, 722 963 415") == [("PHONE_NUMBER", "722 963 415")]
    assert found(structured, "상담사: 생년월일이 어떻게 되세요? 고객: 1965.12.29입니다", "ko") == [
        ("DATE_OF_BIRTH", "1965.12.29")
    ]
    assert found(structured, "close account 277310102196 and 450122339012") == [
        ("US_BANK_NUMBER", "277310102196"), ("US_BANK_NUMBER", "450122339012"),
    ]  # fmt: skip
    assert found(structured, "/v1?phone=010-9563-3197 200 OK") == [("PHONE_NUMBER", "010-9563-3197")]


def test_keys_in_json_announce_names_and_bare_numbers(scanner):
    text = '{"customer_name": "Jane Doe", "product_name": "Gold Card", "ssn": 123456789, "card_no": 4539148803436467}'
    assert found(scanner, text) == [
        ("PERSON", "Jane Doe"), ("US_SSN", "123456789"), ("CREDIT_CARD", "4539148803436467"),
    ]  # fmt: skip
    escaped = '{\\"\\uace0\\uac1d\\uba85\\": \\"\\ud64d\\uae38\\ub3d9\\", \\"phone\\": \\"4673395\\"}'
    assert found(scanner, escaped) == [("PERSON", "\\ud64d\\uae38\\ub3d9"), ("PHONE_NUMBER", "4673395")]


def test_securities_are_known_by_their_check_digits():
    assert securities.isin("US0378331005") and not securities.isin("US0378331006")
    assert securities.cusip("037833100") and securities.cusip("17275R102") and not securities.cusip("17275R103")
    assert securities.lei("5493001KJTIIGC8Y1R12") and not securities.lei("5493001KJTIIGC8Y1R13")
    assert securities.figi("BBG000B9XRY4") and not securities.figi("BBG000B9XRY5")
    assert securities.sedol("0263494") and not securities.sedol("0263495")


@pytest.mark.parametrize("code", ["US0378331005", "5493001KJTIIGC8Y1R12", "17275R102", "BBG000B9XRY4"])
def test_a_security_is_no_account_whatever_announces_it(structured, code):
    for text in (
        f"account number {code}",
        f"passport {code}",
        f"IBAN {code}",
        f"계좌 {code}",
        f"driver license {code}",
    ):
        assert found(structured, text) == [], text


def test_weak_checksums_decide_nothing_alone(structured, identities):
    """Of a thousand runs of nine and ten digits, a hundred pass the checksums of the ABA and ninety of the NHS."""
    for _ in range(300):
        assert found(structured, f"total {identities.digits(9)} of {identities.digits(10)} items") == []


# Each repeats what some pattern begins with, so that every start is tried in vain.
HOSTILE = [
    "a=b;", "key: ", "://a:", "P<", "password: ", "account ..", "phone (at ", "nhs no ", "passport no ",
    "DL 1 ", "AB12 ", "call me at ", "call 1 ", "account 1-", "1 2 ", "12-", "born on the ", "eyJ", "A1",
    "swift code ", "증권 계좌 ", "\"a\": \"", "4 4\n", "%4", "&#5", "\\u00", "server=", "https://a?b=",
    "IRA account ", "여권 번호 ", "면허 ", "(", "0-", "+1(", "a dot ", "x at y dot ", "QUFB", "-----BEGIN ",
    "앞자리 900101 ", "ab@", "1/", "1.", "GB82 WEST ", "12:", "a_", "Dob ", "[at] ", "xxxx-", "****",
]  # fmt: skip


@pytest.mark.parametrize("piece", HOSTILE)
def test_hostile_repetitions_end_in_bounded_time(scanner, piece):
    begun = time.process_time()
    try:
        scanner.find(piece * (60_000 // len(piece)), "ko")
    except AnalysisFailed as failure:
        assert str(failure) in ("time-out", "too-many-findings")
    assert time.process_time() - begun < 2 * RedactSettings().text_timeout_s


def test_gates_stand_wherever_patterns_match():
    """A mutated value that a pattern still finds must be seen by the gate before it, or the fast path would pass it."""
    import re

    from domainlm.redact.folding import fold
    from domainlm.redact.recognizers import recognizers

    chance = random.Random(5)
    seeds = [
        "card 4539 1488 0343 6467", "call (37) 788-063 x12", "IBAN GB82 WEST 1234 5698 7654 32", "ssn 078.05.1120",
        "passport M123A4567", "계좌 110-123-456789", "DL S673-634-60-227-0", "NI number QQ 12 34 56 C",
        "공일공 일이삼사 오육칠팔",
        "brokerage account Z12-345678", "dob 14-Mar-1985", "password: Tr0ub4dor&3", "a at b dot com", "900101-1******",
        "Pwd=Pa55word;", "앞자리 900101, 뒷자리 1234567", "SWIFT DEUT DE FF", "00 44 20 7946 0018", "acct ****1234",
        "증권계좌 12345678-01", "4539 1488\n0343 6467", "P<KORHONG<<GILDONG", "운전면허 서울 12-345678-90",
        "O1O-1234-5678",
    ]  # fmt: skip
    settings = RedactSettings(entities=STRUCTURED)
    kinds = [kind for kind in recognizers("en", settings) if kind.ENTITY in STRUCTURED]
    gates = [re.compile(kind.gate, re.ASCII) for kind in kinds]
    for _ in range(3000):
        text = list(chance.choice(seeds))
        for _ in range(chance.randrange(4)):
            text.insert(
                chance.randrange(len(text) + 1), chance.choice(["-", " ", ".", "\n", "/", "(", ")", "x", "1", "  "])
            )
        plain = fold("".join(text)).text
        for kind, gate in zip(kinds, gates, strict=True):
            if not gate.search(plain):
                matched = [pattern.name for pattern, start, end in kind.matches(plain) if start < end]
                assert not matched, f"{kind.ENTITY} {matched} in {plain!r}"


def test_tables_of_reports_in_any_separator_raise_no_structured_alarm(structured, request):
    import json
    from pathlib import Path

    shared = request.config.getoption("--shared-data", default="")
    path = Path(shared) / "tatqa_dev" / "tatqa_dataset_dev.json"
    if not shared or not path.is_file():
        pytest.skip("needs --shared-data with tatqa_dev")
    alarms, texts = [], 0
    for document in json.loads(path.read_text(encoding="utf-8")):
        rows = document["table"]["table"]
        for separator in (" ", ",", "\t", " | "):
            for text in [separator.join(row) for row in rows] + ["\n".join(separator.join(row) for row in rows)]:
                texts += 1
                alarms += structured.find(text, "en")[1]
    assert texts > 10_000
    assert len(alarms) <= texts / 1000
