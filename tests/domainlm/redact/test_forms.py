"""Columns that announce, encodings that hide."""

import base64

import pytest

from domainlm.redact.forms import announced, blobs, decoded_units


@pytest.mark.parametrize(
    ("column", "entity"),
    [
        ("ssn", "US_SSN"), ("Customer SSN", "US_SSN"), ("social_security_number", "US_SSN"),
        ("cardNumber", "CREDIT_CARD"),
        ("card_no", "CREDIT_CARD"), ("CardHolderName", "PERSON"), ("holder.full_name", "PERSON"),
        ("lastName", "PERSON"),
        ("e-mail", "EMAIL_ADDRESS"), ("EmailAddress", "EMAIL_ADDRESS"), ("mobileNo", "PHONE_NUMBER"),
        ("FAX", "PHONE_NUMBER"),
        ("account_number", "US_BANK_NUMBER"), ("acctNo", "US_BANK_NUMBER"), ("routing_no", "ABA_ROUTING_NUMBER"),
        ("brokerageAccountNumber", "BROKERAGE_ACCOUNT"), ("iban", "IBAN_CODE"), ("bank_bic", "SWIFT_BIC"),
        ("dateOfBirth", "DATE_OF_BIRTH"), ("dob", "DATE_OF_BIRTH"), ("passport_no", "PASSPORT"),
        ("drivers_license", "DRIVER_LICENSE"),
        ("client_ip", "IP_ADDRESS"), ("billing_address", "LOCATION"), ("db.password", "SECRET"), ("apiKey", "SECRET"),
        ("nhs_number", "UK_NHS"), ("NINO", "UK_NINO"), ("고객명", "PERSON"), ("예금주", "PERSON"),
        ("주민등록번호", "KR_RRN"), ("계좌번호", "KR_BANK_ACCOUNT"), ("증권 계좌번호", "BROKERAGE_ACCOUNT"),
        ("휴대폰번호", "PHONE_NUMBER"),
        ("고객 이메일", "EMAIL_ADDRESS"), ("집주소", "LOCATION"), ("생년월일", "DATE_OF_BIRTH"), ("비밀번호", "SECRET"),
        ("여권번호", "PASSPORT"), ("운전면허번호", "DRIVER_LICENSE"), ("카드번호", "CREDIT_CARD"), ("'ssn'", "US_SSN"),
    ],
)  # fmt: skip
def test_a_column_announces_what_its_cells_hold(column, entity):
    assert announced(column) == entity


@pytest.mark.parametrize(
    "column",
    [
        "amount", "balance", "account_balance", "product_name", "file_name", "bank_name", "card_type",
        "email_opt_in", "isin", "ticker",
        "price", "date", "transaction_date", "open_date", "year", "text", "label", "question", "answer", "id",
        "user_id", "revenue_2019",
        "상품명", "은행명", "금액", "고객수", "고객등급", "종목명", "거래일자", "금리", "", "x" * 300, "title",
        "sentence", "company", "country",
    ],
)  # fmt: skip
def test_a_column_about_things_announces_nobody(column):
    assert announced(column) is None


def meaning(text):
    for start, end, said in reversed(decoded_units(text)):
        text = text[:start] + said + text[end:]
    return text


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("&#52;&#x35;39 &commat; &nbsp;x", "4539 @ \u00a0x"), ("a%40b.com%20%EA%B9%80", "a@b.com 김"),
        ("\\u0034\\u0035 \\ud83d\\ude00", "45 😀"), ("\\\\uae40", "김"), ("3.5% 20% &c. AT&T; &#xD800; %FF %0", None),
        ("&amp;&lt;", "&<"), ("\\ud800 x", None), ("&#0;", None),
    ],
)  # fmt: skip
def test_encodings_are_opened_and_what_is_none_stays(text, plain):
    assert meaning(text) == (text if plain is None else plain)


def test_blobs_are_opened_strictly():
    said = "e-mail: john.doe@example.com, 계좌 110-123-456789"
    packed = base64.b64encode(said.encode()).decode()
    urlsafe = base64.urlsafe_b64encode(said.encode()).decode().rstrip("=")
    assert [inside for *_, inside in blobs(f"x {packed} y")] == [said]
    assert [inside for *_, inside in blobs(f"x={urlsafe}".replace("x=", "x "))] == [said]
    long = base64.encodebytes((said * 9).encode()).decode()
    assert [inside for *_, inside in blobs(long)] == [said * 9], "the last line of a mail's blob may be short"
    assert not list(blobs("InternationalizationOfTheUnitedStatesDepartment CamelCaseIdentifierOfSomeLength"))
    assert not list(blobs(base64.b64encode(bytes(range(200, 255))).decode()))
    assert not list(blobs(packed[:17]))
