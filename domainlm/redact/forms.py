"""Personal data in other forms: columns that announce it, and encodings that hide it.

`announced` reads a column's or a key's name; `decoded_units` and `blobs` open what HTML, URLs, JSON and base64 wrap.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from functools import cache
from html.entities import html5

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
    LOCATION,
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

# What a column is about, word by word in small letters, in the order in which they are tried: `card_holder_name` is a
# person, `card_no` a card. A pattern must match whole words.
_NO = r"(?: (?:no|nos|nr|num|number|numbers|id|code|value|full|raw|text|str|[0-9]{1,2}))*"
_WHOSE = (
    r"(?:(?:customer|cust|client|clnt|user|usr|member|borrower|co borrower|applicant|holder|owner|account holder"
    r"|acct holder|card"
    r" ?holder|payer|payee|beneficiary|bene|sender|receiver|recipient|remitter|guarantor|insured|patient|employee"
    r"|emp|staff"
    r"|contact|person|personal|spouse|mother|father|parent|agent|advisor|broker|rep|signer|signatory|primary"
    r"|secondary|home"
    r"|work|office|business|billing|mailing|shipping|delivery|residential|current|previous|old|new|alt|alternate"
    r"|emergency"
    r"|src|source|dst|dest|destination|remote|login|from|to|my|the|legal|maiden|registered|main|other) )*"
)
_COLUMNS: tuple[tuple[str, str], ...] = (
    (SECRET, r"(?:.* )?(?:password|passwd|pwd|passphrase|passcode|secret|api key|apikey|access key|access token"
             r"|auth token"
             r"|private key|client secret|connection string|conn str|credentials?|pin|pin code|cvv2?|cvc2?|otp"
             r"|security answer)(?: hash)?"),
    (KR_RRN, rf"{_WHOSE}(?:rrn|jumin|resident registration|resident reg|resident|national id kr"
             rf"|foreigner registration|alien registration){_NO}"),
    (US_SSN, rf"{_WHOSE}(?:ssn|itin|tin|social security|social sec|social|tax id|taxpayer id|taxpayer|ss){_NO}"),
    (UK_NHS, rf"{_WHOSE}nhs{_NO}"),
    (UK_NINO, rf"{_WHOSE}(?:nino|national insurance|ni no|ni number){_NO}"),
    (PASSPORT, rf"{_WHOSE}passport{_NO}"),
    (DRIVER_LICENSE, rf"{_WHOSE}(?:drivers?|driving)(?: s)? ?(?:licen[cs]e|lic|permit){_NO}|dl (?:no|num|number)|dln"),
    (DATE_OF_BIRTH, rf"{_WHOSE}(?:dob|d o b|birth ?date|birth ?day|date of birth|born|born on|birth dt|birth)"),
    (EMAIL_ADDRESS, rf"{_WHOSE}(?:e ?mail|mail)(?: (?:address|addr|id|[0-9]))*"),
    (PHONE_NUMBER, rf"{_WHOSE}(?:phone|telephone|tel|mobile|cell|cellphone|cell phone|mobile phone|fax|hp|handphone"
                   rf"|msisdn|whatsapp"
                   rf"|contact number|contact no|phone contact){_NO}"),
    (IP_ADDRESS, rf"{_WHOSE}(?:ip|ipv4|ipv6|client ip|remote ip)(?: (?:address|addr|v4|v6))*"),
    (IBAN_CODE, rf"{_WHOSE}iban{_NO}"),
    (SWIFT_BIC, rf"{_WHOSE}(?:bank )?(?:swift|bic|swift bic|bic swift|swift code|bic code)"),
    (ABA_ROUTING_NUMBER, rf"{_WHOSE}(?:bank )?(?:aba|routing|rtn|aba routing|aba rtn|transit routing){_NO}"),
    (PERSON, rf"{_WHOSE}(?:(?:full|first|last|given|family|middle|maiden|legal|display|nick|sur|fore)? ?names?|fname"
             rf"|lname|mname|surname|forename"
             r"|firstname|lastname|fullname|cardholder|card holder|account holder|acct holder|accountholder|customer"
             r"|client|borrower|applicant"
             r"|beneficiary|payee|remitter|guarantor|signer|signatory|contact person|nominee)(?: (?:en|eng|ko|kor|kr"
             r"|local|romanized|1|2))?"),
    (BROKERAGE_ACCOUNT, rf"{_WHOSE}(?:brokerage|securities|custody|trading|investment|ira|roth ira|401k|margin|depot"
                        rf"|demat)(?: (?:account|acct|acc|a c)){_NO}"
                        rf"|{_WHOSE}(?:brokerage|ira|401k) (?:no|number|num|id)"),
    (CREDIT_CARD, rf"{_WHOSE}(?:card|credit card|debit card|cc|creditcard|payment card|pan|card pan"
                  rf"|primary account){_NO}"),
    (US_BANK_NUMBER, rf"{_WHOSE}(?:bank |deposit |savings? |checking |loan )*(?:account|acct|acc|a c"
                     rf"|bank account)(?: (?:no|nr|num|number|numbers|id))+"
                     rf"|{_WHOSE}(?:bank|checking|savings|deposit) (?:account|acct)|accno|acctno|accountno"
                     rf"|accountnumber"),
    (LOCATION, rf"{_WHOSE}(?:street|addr|address|address line|street address|home address|postal address"
               rf"|addr line)(?: [0-9a-z])?"),
)  # fmt: skip
# Columns that sound like a person's and are a thing's.
_THINGS = re.compile(
    r"(?:.* )?(?:file|product|bank|company|fund|issuer|branch|city|country|state|security|instrument|index|column"
    r"|field|table|host|domain"
    r"|model|merchant|store|event|account type|card type|brand|display|job|class|function|variable|category|entity"
    r"|firm|institution"
    r"|counterparty|exchange|currency|ticker|stock|region|team|project|plan|scheme|service|server|device|app|tag"
    r"|sheet|database|db) names?"
    r"|(?:.* )?(?:type|status|count|amount|balance|limit|currency|flag|rate|date|time|ts|verified|opt in|consent"
    r"|brand|network|issuer|domain"
    r"|class|category|level|score|product|open(?:ed)?|length|format|valid|preference|policy|required|enabled)"
)
_KOREAN: tuple[tuple[str, str], ...] = (
    (SECRET, r".*(?:비밀\s?번호|패스워드|비번|암호|인증키|보안코드)"),
    (KR_RRN, r".*(?:주민\s?(?:등록)?\s?번호|외국인\s?등록\s?번호|실명\s?번호|주민번호.*)"),
    (PASSPORT, r".*여권\s?(?:번호)?"),
    (DRIVER_LICENSE, r".*(?:운전)?면허\s?(?:증)?\s?(?:번호)?"),
    (DATE_OF_BIRTH, r".*(?:생년\s?월일|생일|출생일?자?)"),
    (EMAIL_ADDRESS, r".*(?:이메일|전자\s?우편|메일)(?:\s?주소)?"),
    (PHONE_NUMBER, r".*(?:전화|휴대폰|휴대\s?전화|핸드폰|연락처|팩스|모바일)(?:\s?번호)?"),
    (IP_ADDRESS, r".*(?:접속|로그인)?\s?(?:아이피|IP)(?:\s?주소)?"),
    (CREDIT_CARD, r".*카드\s?번호|카드"),
    (BROKERAGE_ACCOUNT, r".*(?:증권|위탁|주식|펀드|연금|수탁|종합)\s?(?:계좌|구좌)\s?(?:번호)?"),
    (KR_BANK_ACCOUNT, r".*(?:계좌|구좌|통장)\s?(?:번호)?"),
    (PERSON, r".*(?:고객|회원|예금주|신청인|신청자|수취인|송금인|보증인|차주|계약자|피보험자|가입자|담당자|직원"
             r"|대표자|배우자|본인|이용자|사용자|보호자|대리인|수익자|명의인|명의자|받는\s?사람|보낸\s?사람)\s?(?:성명|이름|명)?"
             r"|성명|이름|성함|명의|한글\s?성명|영문\s?성명"),
    (LOCATION, r"(?:.*\s?)?(?:주소|거주지|자택|배송지|소재지)(?:\s?[0-9])?"),
)  # fmt: skip
_KOREAN_THINGS = re.compile(
    r".*(?:유형|종류|구분|상태|수|건수|금액|잔액|한도|일자|일시|등급|여부|코드|상품명|은행명|회사명|지점명|종목명|이메일\s?수신|번호\s?유형)"
)
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_LONGEST_NAME = 64


@cache
def _compiled() -> tuple[tuple[tuple[str, re.Pattern[str]], ...], tuple[tuple[str, re.Pattern[str]], ...]]:
    return tuple((entity, re.compile(words)) for entity, words in _COLUMNS), tuple(
        (entity, re.compile(words)) for entity, words in _KOREAN
    )


def announced(column: str) -> str | None:
    """The entity that a column's or a key's name announces, so that all of its cells are personal data.

    Reads English and Korean, `snake_case`, `camelCase`, `kebab-case`, blanks and dotted paths (the last part counts).

    Args:
        column: the name as it stands in a header, a schema or a JSON object.
    """
    name = column.strip().strip("\"'`[]")
    if not name or len(name) > _LONGEST_NAME:
        return None
    english, korean = _compiled()
    if any("가" <= character <= "힣" for character in name):
        plain = re.sub(r"[\s_.\-/()\[\]:*]+", " ", name).strip()
        # 생년월일 and 비밀번호 end like a date and a number of things.
        found = next((entity for entity, words in korean if words.fullmatch(plain)), None)
        return None if found is None or (_KOREAN_THINGS.fullmatch(plain) and found in (PERSON, LOCATION)) else found
    last = re.split(r"[./]", name.strip("./"))[-1]
    plain = re.sub(r"[^0-9a-z]+", " ", _CAMEL.sub(" ", last).lower()).strip()
    if _THINGS.fullmatch(plain) and not re.search(r"birth|born|dob", plain):
        return None
    return next((entity for entity, words in english if words.fullmatch(plain)), None)


# Entities of HTML that stand for one character: &commat; &nbsp; &hyphen; &#64; &#x40; — a semicolon is asked for.
_ENCODED = re.compile(
    r"&(?:#(?P<decimal>\d{1,7})|#[xX](?P<hex>[0-9A-Fa-f]{1,6})|(?P<name>[A-Za-z][A-Za-z0-9]{1,30}));"
    r"|(?P<percent>(?:%[0-9A-Fa-f]{2})+)|\\{1,16}u(?P<escape>[0-9A-Fa-f]{4}(?:\\{1,16}u[Dd][C-Fc-f][0-9A-Fa-f]{2})?)"
)


def decoded_units(text: str) -> list[tuple[int, int, str]]:
    """Start, end and meaning of every HTML entity, URL-encoded character and JSON escape that stands for one character.

    Surrogates that have no partner, control characters and bytes that are no UTF-8 stay as they are.
    """
    units: list[tuple[int, int, str]] = []
    for match in _ENCODED.finditer(text):
        if match["percent"] is not None:
            units += _percent(match.start(), match["percent"])
            continue
        if match["escape"] is not None:
            meaning = _escape(match["escape"])
        elif match["name"] is not None:
            meaning = html5.get(f"{match['name']};", "")
        else:
            code = int(match["decimal"]) if match["decimal"] else int(match["hex"], 16)
            meaning = chr(code) if code <= 0x10FFFF else ""
        if len(meaning) == 1 and _ordinary(meaning):
            units.append((match.start(), match.end(), meaning))
    return units


def _percent(start: int, spelled: str) -> Iterator[tuple[int, int, str]]:
    raw = bytes.fromhex(spelled.replace("%", ""))
    at = 0
    while at < len(raw):
        for width in (1, 2, 3, 4):
            try:
                meaning = raw[at : at + width].decode("utf-8")
            except UnicodeDecodeError:
                continue
            if len(meaning) == 1 and _ordinary(meaning):
                yield start + 3 * at, start + 3 * (at + width), meaning
            at += width
            break
        else:
            at += 1


def _escape(spelled: str) -> str:
    units = [int(part, 16) for part in re.split(r"\\+u", spelled)]
    if len(units) == 2 and 0xD800 <= units[0] < 0xDC00:
        return chr(0x10000 + ((units[0] - 0xD800) << 10) + (units[1] - 0xDC00))
    return chr(units[0]) if len(units) == 1 and not 0xD800 <= units[0] < 0xE000 else ""


def _ordinary(character: str) -> bool:
    return character.isprintable() or character in "\t\n\r\u00a0" or 0x2000 <= ord(character) <= 0x206F


# Runs of base64's letters, over several lines where they are as long as mail and PEM break them.
_BLOB = re.compile(
    r"(?<![A-Za-z0-9+/_=-])(?:(?:[A-Za-z0-9+/_-]{60,76}\r?\n)+[A-Za-z0-9+/_-]*={0,2}|[A-Za-z0-9+/_-]{16,}={0,2})"
    r"(?![A-Za-z0-9+/_=-])",
    re.ASCII,
)
_MIXED = re.compile(r"(?=[^A-Z]*[A-Z])(?=[^a-z]*[a-z])")
# Share of a decoded text that must be printable; binary content (a picture, a key) is not read.
_LEAST_DECODED = 7


def blobs(text: str) -> Iterator[tuple[int, int, str]]:
    """Start, end and content of every base64 blob whose content is text in UTF-8; strictly decoded, one level deep.

    Takes the standard and the URL-safe alphabet, with padding or without. The work is linear in the text.
    """
    for match in _BLOB.finditer(text):
        spelled = match[0]
        # A web token (RFC 7519) is a secret as a whole; what its parts say must not stand between them.
        token = spelled.startswith("eyJ") and text[match.end() : match.end() + 1] == "."
        if token or text[match.start() - 1 : match.start()] == "." or not _MIXED.match(spelled):
            continue
        packed = re.sub(r"\s", "", spelled).rstrip("=").replace("-", "+").replace("_", "/")
        if len(packed) % 4 == 1:
            continue
        try:
            content = base64.b64decode(packed + "=" * (-len(packed) % 4), validate=True).decode("utf-8")
        except (binascii.Error, UnicodeDecodeError):
            continue
        if len(content) >= _LEAST_DECODED and all(_ordinary(character) for character in content):
            yield match.start(), match.end(), content
