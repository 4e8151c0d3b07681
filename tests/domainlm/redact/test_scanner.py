"""What the engine finds, what it leaves alone, and that its short cut changes neither."""

import json
from itertools import pairwise
from pathlib import Path

import pytest

from domainlm.redact.engine import AnalysisFailed, Scanner
from domainlm.redact.settings import RedactSettings

ROUNDS = 40
PACK = Path(__file__).parents[3] / "domains" / "finance"
PERSONAL = {"PERSON", "LOCATION"}
# Sentences around a value. English and Korean, with cues only where the entity cannot be told without one.
CARRIERS = {
    "CREDIT_CARD": (
        "I was charged twice on {} last night.",
        "{} 카드가 해외에서 승인됐어요.",
        "Pay with {}, please.",
        "결제는 {}로 했습니다.",
    ),
    "EMAIL_ADDRESS": ("Send it to {}.", "회신은 {}으로 부탁드려요.", "({})", "메일주소:{}"),
    "PHONE_NUMBER": (
        "You can phone {} after lunch.",
        "{}로 전화 부탁드립니다.",
        "My new mobile is {}.",
        "제 연락처는 {}입니다.",
    ),
    "IBAN_CODE": ("Wire the rest to {}, value today.", "송금은 {}으로 해 주세요.", "({})"),
    "US_SSN": ("The form shows {} for the spouse.", "미국 납세자번호는 {}입니다."),
    "KR_RRN": ("Her registration is {} in the old file.", "{}로 실명 확인했습니다.", "주민번호 {} 맞나요?"),
    "KR_BANK_ACCOUNT": (
        "Remit the won to account {} today.",
        "월급은 {} 계좌로 들어와요.",
        "국민은행 {}으로 이체해 주세요.",
    ),
    "IP_ADDRESS": ("Someone signed in from {} at noon.", "{}에서 접속했습니다."),
}
DRAWN_BY = {
    "CREDIT_CARD": "card", "EMAIL_ADDRESS": "email", "PHONE_NUMBER": "phone", "IBAN_CODE": "iban", "US_SSN": "ssn",
    "KR_RRN": "rrn", "KR_BANK_ACCOUNT": "korean_account", "IP_ADDRESS": "ip",
}  # fmt: skip


def found(scanner, text, language="en"):
    return [(item.entity, text[item.start : item.end]) for item in scanner.find(text, language)[1]]


@pytest.mark.parametrize("entity", CARRIERS)
def test_a_structured_identifier_is_found_whatever_stands_around_it(scanner, identities, entity):
    missed = []
    for _ in range(ROUNDS):
        value = getattr(identities, DRAWN_BY[entity])()
        for carrier in CARRIERS[entity]:
            text = carrier.format(value)
            if (entity, value) not in found(scanner, text, "en" if text[0].isascii() else "ko"):
                missed.append(text)
    assert not missed, f"{len(missed)} missed, such as {missed[:3]}"


@pytest.mark.parametrize("language", ["en", "ko", "de"])
def test_a_wrong_language_column_hides_nothing(scanner, identities, language):
    for _ in range(10):
        value = identities.rrn()
        assert ("KR_RRN", value) in found(scanner, f"주민번호는 {value}입니다", language)


def test_full_width_digits_and_invisible_characters_hide_nothing(scanner, identities):
    for _ in range(ROUNDS):
        value = identities.card()
        wide = "".join(chr(ord(character) + 0xFEE0) if character != " " else "\u3000" for character in value)
        hidden = "\u200b".join(value)
        assert found(scanner, f"카드 {wide}로 결제", "ko") == [("CREDIT_CARD", wide)]
        assert found(scanner, f"card {hidden}.") == [("CREDIT_CARD", hidden)]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Dear Mr. O'Neill, your statement is ready.", "O'Neill"),
        ("Kind regards,\nDaniel van der Berg", "Daniel van der Berg"),
        ("My name is Priya Raghunathan and I moved.", "Priya Raghunathan"),
        ("account holder: JOHN A. SMITH", "JOHN A. SMITH"),
        ("Please add my wife Sarah to the card.", "Sarah"),
        ("This is Tom Becker calling about a fee.", "Tom Becker"),
        ("홍길동님께서 문의하셨습니다.", "홍길동"),
        ("예금주: 남궁민수", "남궁민수"),
        ("제 이름은 최유진이고 서울에 삽니다.", "최유진"),
        ("이수민 씨에게 전달했습니다.", "이수민"),
        ("John Park 고객님, 안녕하세요.", "John Park"),
        ("감사합니다. 김철수 드림", "김철수"),
    ],
)
def test_a_name_is_found_by_its_cue(scanner, text, name):
    # Where somebody lives is a finding as well.
    assert [one for one in found(scanner, text) if one[0] != "LOCATION"] == [("PERSON", name)]


@pytest.mark.parametrize(
    "text",
    [
        "KOSPI closed at 2,300.45 on 2024-03-15, up 1.5%, after 2,266.00 on 14 March 2024.",
        "Revenue rose to $1,234,567,890 (2023: $987,654,321), or 4.56 per share.",
        "Rates: 5.25% 5.50% 5.75%; volumes 12345678 shares and 4539148803 won.",
        "ISIN US0378331005, CUSIP 037833100, LEI 5493001KJTIIGC8Y1R12, ticker 005930.",
        "Order 1234567890123456 shipped; invoice number 123456789012 settled on account.",
        "2019 | 2018 | 2017 | 1,234 | 5,678 | (910) | 123 45 6789 | 2125550123",
        "Accounts receivable 2019 2018 12345 67890 and section 3.2.1.4 on page 123-124.",
        "SWIFT CUSTOMER SECURITY PROGRAMME, 10 Year Treasury Close 2019, Profits Miss Estimates.",
        "Dear Customer, hello team, dear Sir or Madam, best regards, Customer Service",
        "Dr. Inventory 500, Cr. Cash 500; Morgan Stanley and Goldman Sachs were advisers.",
        "1,300원, 2024년 3월 15일, 코스피 2,300.45, 종목 005930, 연 3.5% 금리, 15페이지",
        "주문번호 20240315123456 배송 완료. 은행 대출 1,234,567,890원을 상환했습니다.",
        "고객님, 신규 고객님, 지점장님, 선생님, 부장님. 저는 공무원입니다. 수취인 정보를 입력하세요.",
    ],
)
def test_money_dates_securities_and_courtesies_stay(scanner, text):
    assert found(scanner, text) == []


def test_bank_identifiers_need_their_cue(scanner):
    assert found(scanner, "the routing number is 021000021") == [("ABA_ROUTING_NUMBER", "021000021")]
    assert found(scanner, "the total is 021000021") == []
    assert found(scanner, "SWIFT code: DEUTDEFF500") == [("SWIFT_BIC", "DEUTDEFF500")]
    assert found(scanner, "my account number is 98765432") == [("US_BANK_NUMBER", "98765432")]
    assert found(scanner, "NHS number 943 476 5919") == [("UK_NHS", "943 476 5919")]
    assert found(scanner, "lot number 943 476 5919") == []


def test_overlapping_findings_cover_everything_that_any_of_them_saw(scanner):
    text = "계좌 010-1234-5678-901로 이체"
    found_there = scanner.find(text, "ko")[1]
    covered = "".join(text[item.start : item.end] for item in found_there)
    assert "010-1234-5678" in covered
    assert all(one.end <= two.start for one, two in pairwise(found_there))


def test_an_analysis_that_runs_out_of_time_fails_and_says_nothing_of_the_text(monkeypatch):
    scanner = Scanner(RedactSettings(entities=("US_SSN",)))

    def slow(*_, **__):
        raise TimeoutError("secret 219-09-9999")

    monkeypatch.setattr("domainlm.redact.recognizers.base.CuedRecognizer.matches", slow)
    with pytest.raises(AnalysisFailed) as failure:
        scanner.find("219-09-9999", "en")
    assert str(failure.value) == "time-out" and failure.value.__cause__ is None


def test_the_time_limit_of_a_pattern_holds():
    scanner = Scanner(RedactSettings(entities=("KR_BANK_ACCOUNT",), regex_timeout_s=1e-6))
    with pytest.raises(AnalysisFailed, match="time-out"):
        scanner.find("계좌 12 34 56 78 90 " * 10_000, "ko")


def test_a_warning_of_the_library_counts_as_a_failed_analysis(monkeypatch, caplog):
    import logging

    scanner = Scanner(RedactSettings(entities=("US_SSN",)), plain=True)

    def skipping(*_, **__):
        logging.getLogger("presidio-analyzer").warning("skipped a pattern on 219-09-9999")
        return []

    monkeypatch.setattr("presidio_analyzer.AnalyzerEngine.analyze", skipping)
    with caplog.at_level(logging.DEBUG), pytest.raises(AnalysisFailed, match="analysis-error"):
        scanner.find("219-09-9999", "en")
    assert "219-09" not in caplog.text


@pytest.mark.parametrize(
    "text",
    ["1-" * 40_000, "9" * 80_000, "a@" * 40_000, "(" * 40_000, "Mr A" * 20_000, "김님" * 30_000, "DE89 " * 15_000,
     "1:" * 30_000, "고객 김" * 20_000, "A b" * 20_000, "12 Aa " * 12_000, "+1 " * 20_000, "강남구 " * 15_000],
    ids=lambda text: repr(text[:7]),
)  # fmt: skip
def test_hostile_repetitions_are_scanned_in_bounded_time_or_refused(scanner, text):
    try:
        scanner.find(text, "ko")
    except AnalysisFailed as failure:
        assert str(failure) in ("time-out", "too-many-findings")


def test_the_packs_messages_keep_no_structured_identifier_and_few_names(scanner):
    rows = [json.loads(line) for line in (PACK / "messages.jsonl").read_text(encoding="utf-8").splitlines()]
    spans, hidden, names, hidden_names, false = 0, 0, 0, 0, 0
    for row in rows:
        findings = scanner.find(row["text"], row["language"])[1]
        covered = {at for item in findings for at in range(item.start, item.end)}
        planted = {at for span in row["spans"] for at in range(span["start"], span["end"])}
        false += sum(not planted.intersection(range(item.start, item.end)) for item in findings)
        for span in row["spans"]:
            whole = covered.issuperset(range(span["start"], span["end"]))
            if span["entity_type"] in PERSONAL:
                names, hidden_names = names + 1, hidden_names + whole
            else:
                spans, hidden = spans + 1, hidden + whole
    assert spans > 200 and names > 100
    assert hidden / spans >= 0.99
    assert hidden_names / names >= 0.9
    assert false <= 0.01 * (spans + names)


def test_tables_and_prose_of_annual_reports_raise_no_false_alarm(scanner, request):
    shared = request.config.getoption("--shared-data", default="")
    path = Path(shared) / "tatqa_dev" / "tatqa_dataset_dev.json"
    if not shared or not path.is_file():
        pytest.skip("needs --shared-data with tatqa_dev")
    texts = []
    for document in json.loads(path.read_text(encoding="utf-8")):
        texts += [" | ".join(row) for row in document["table"]["table"]]
        texts += [paragraph["text"] for paragraph in document["paragraphs"]]
    assert len(texts) > 3000
    found_in = [{item.entity for item in scanner.find(text, "en")[1]} for text in texts]
    assert sum(bool(entities - PERSONAL) for entities in found_in) <= len(texts) / 1000
    assert sum(bool(entities) for entities in found_in) <= 5 * len(texts) / 1000
