"""Which word speaks of a number: the nearest label before it, or one right behind, decides what the number is.

People name a value in many ways ("my passport, which expires in May, is M123A4567"; "account no.: 12345678 (brokerage,
joint)"), so what stands between label and value is not spelled out. It may be anything short, as long as no other
label, no other value and not more than one end of a sentence stands between; in a list each value but the first may
have another one before it. A bare "account" is a bank's or a broker's by what else is said around it.
"""

from __future__ import annotations

import re
from typing import ClassVar, NamedTuple

from domainlm.redact.settings import (
    BROKERAGE_ACCOUNT,
    DRIVER_LICENSE,
    IBAN_CODE,
    KR_BANK_ACCOUNT,
    KR_RRN,
    PASSPORT,
    SWIFT_BIC,
    US_BANK_NUMBER,
)

ACCOUNT, KOREAN_BANK, OTHER = "ACCOUNT", "KOREAN_BANK", "OTHER"

_NO = r"(?:[ _-]?(?:numbers?|nos?\b\.?|nr\b\.?|num\b|nbr\b|id\b|ref(?:erence)?\b\.?|#|№))?"
# Not accounting, nor an accountant; but accountNo.
_ACCOUNTS = r"(?:accounts?(?!s|(?-i:[a-z])|ing|ant)|accts?(?!s|(?-i:[a-z]))|acc\b|a/cs?\b)"
# Words that make an account a securities account only together with the word `account`.
_BROKER = (
    r"(?:securities(?:[ _-]trading)?|trading|investments?|investing|margin|stock(?:s|[ _-]trading)?|share[ _-]?dealing"
    r"|dealing|portfolio|mutual[ _-]?fund|funds?|nominee|futures|options|f&o|pension|retirement|wealth|managed"
    r"|advisory"
    r"|equity|equities|dvp|safekeeping|shares?|etf|derivatives?|forex|cfd|crypto|robo|wrap|clearing|execution|omnibus"
    r"|delivering|delivery[ _-]?versus[ _-]?payment|contra)"
)
_HOUSES = (
    r"(?:(?:charles[ _-])?schwab|fidelity|vanguard|e\*?trade|(?:td[ _-])?ameritrade|robinhood|interactive[ _-]brokers"
    r"|ibkr|merrill(?:[ _-](?:edge|lynch))?|edward[ _-]jones|raymond[ _-]james|t\.?[ ]rowe[ ]price|etoro"
    r"|trading[ ]?212"
    r"|hargreaves[ ]lansdown|aj[ ]bell|saxo|degiro|pershing|lpl|webull|sofi[ _-]invest|morgan[ _-]stanley|wealthfront"
    r"|betterment|tastytrade|tastyworks|nomura|daiwa|zerodha)"
)
_PRODUCT = (
    r"(?:(?:self[ -]directed[ ])?(?:roth|rollover|sep|simple|traditional|inherited)[ _-]ira|brokerage|custody"
    r"|custodial"
    r"|custodian|depot(?:nummer|konto)?|wertpapierdepot|compte[ -]titres|stocks?[ ](?:and|&)[ ]shares[ ]isa"
    r"|lifetime[ ]isa"
    r"|isa|sipp|ira|401[ ]?\(?k\)?|403[ ]?\(?b\)?|457[ ]?\(?b\)?|529[ ]?(?:plan)?|hsa|tfsa|rrsp|demat"
    r"|prime[ _-]brokerage"
    r"|broker[ -]dealer)"
)
_KOREAN_BROKER = (
    r"(?:증권(?:사)?|위탁(?:자)?|종합(?:매매)?|주식|출고|입고|대체\s?(?:입고|출고)?|C\.?M\.?A|I\.?S\.?A"
    r"|I\.?R\.?P|연금\s?(?:저축)?"
    r"|퇴직\s?연금|선물\s?(?:[·/]?\s?옵션)?|옵션|파생(?:상품)?|펀드|수익증권|수탁|랩(?:어카운트)?|신용\s?거래"
    r"|투자|매매|유가증권|공모주|신탁"
    r"|금현물)"
)
_KOREAN_KIND = (
    r"(?:[ /·(]?(?:증권|위탁|종합|주식|매매|거래|전용|개인|해외|중개형|신탁형|일임형|저축|투자|자동|대체|모|신"
    r"|구|형|용|자|사|원)[)]?){0,4}\s?"
)
_KOREAN_ACCOUNT = r"(?:계좌|구좌|통장)"
_KOREAN_BANKS = (
    r"(?:(?:국민|신한|하나|우리|기업|산업|수출입|제일|씨티|부산|대구|광주|전북|경남|제주|외환|카카오|케이|토스"
    r"|저축|수협|한국씨티|iM|SC\s?제일|IBK\s?기업|KB\s?국민|NH\s?농협)"
    r"\s?(?:은행|뱅크)|은행|[가-힣]{2}뱅크|농협(?:은행|중앙회)?|신협|새마을금고|수협|우체국|축협|산림조합|카뱅"
    r"|케뱅|토뱅|기은"
    r"|(?<![A-Za-z])(?:kookmin|shinhan|woori|(?:keb )?hana|nong ?hyup|(?:nh|kb|ibk|busan|daegu|kwangju|gwangju"
    r"|jeonbuk|kyongnam|jeju"
    r"|sc first|im|kdb)[ ]?bank|ibk\b|industrial bank of korea|kakao ?bank|toss ?bank|k[ -]?bank"
    r"|standard chartered korea"
    r"|citibank korea|suhyup|shinhyup|saemaul|mg community|korea post|korea development bank|kb\b|nh\b))"
)
_LABELS = re.compile(
    rf"(?P<PASSPORT>(?<![a-z])(?:e-?)?(?:pass-?ports?|travel[ _-]?doc(?:ument)?s?|reisepass(?:nummer)?"
    rf"|passe?port[eo]?|pasaporte"
    rf"|passaporto|paspoort|ppt(?![a-z])|pp(?=[ ]?(?:no|number|nr|num|#|:)))(?:'s)?{_NO}|여권\s?(?:번호)?|旅券|护照)"
    rf"|(?P<DRIVER>(?<![a-z])(?:driver'?s?'?|driving|motorist'?s?|motor vehicle|operator'?s?|state|provisional"
    rf"|dvla|dmv)"
    rf"[ _-]?(?:licen[cs]es?|lic\b\.?|permit|id(?:[ ]card)?\b|licensing){_NO}|driver_?licen[cs]e{_NO}"
    rf"|(?<![a-z])(?:dln?o?|d/l|o?dln|oln|d\.l\.)(?![a-z]){_NO}|(?<![a-z])(?:photocard )?licen[cs]es?(?![a-z])"
    rf"(?![ _-](?:plates?|keys?|fees?|agreements?|servers?|terms|costs?|tax)\b){_NO}|f[üu]hrerschein(?:nummer)?"
    rf"|permis de conduire|permiso de conducir|patente di guida|dvla\b|운전\s?면허(?:증)?\s?(?:번호)?"
    rf"|면허(?:증)?\s?(?:번호)?)"
    rf"|(?P<BROKERAGE>(?<![a-z0-9]){_PRODUCT}(?![a-z])(?:[ _-]{_ACCOUNTS})?{_NO}"
    rf"|(?<![a-z])(?:{_BROKER}|{_HOUSES})(?:[ _-](?:and|&|cash|individual|joint|client|type))?[ _-]?{_ACCOUNTS}{_NO}"
    rf"|{_KOREAN_BROKER}{_KOREAN_KIND}{_KOREAN_ACCOUNT}\s?(?:번호)?|[가-힣A-Za-z]{{2,8}}증권"
    rf"|[가-힣]{{2,6}}금융투자|(?<![A-Za-z])(?:CMA|IRP"
    rf"|DC형)(?![A-Za-z])|연금저축|퇴직연금)"
    rf"|(?P<RRN>(?<![a-z])rrn(?![a-z]){_NO}|resident registration{_NO}|주민\s?(?:등록)?\s?번호"
    rf"|외국인\s?등록\s?(?:번호)?)"
    rf"|(?P<IBAN>(?<![a-z])iban(?![a-z]){_NO})"
    rf"|(?P<SWIFT>(?<![a-z])(?:(?:swift|bic)(?:[ /_-]?(?:code|bic|swift|address|id)){{0,2}}|bicfi)(?![a-z]){_NO}"
    rf"|스위프트\s?(?:코드)?|(?<![A-Za-z])(?:BIC|SWIFT)\s?코드|은행\s?(?:식별)?\s?코드|bank identifier code)"
    rf"|(?P<KOREAN_BANK>{_KOREAN_BANKS}(?:[ ]{_ACCOUNTS}{_NO}|\s?{_KOREAN_ACCOUNT}(?:\s?번호)?)?)"
    rf"|(?P<ACCOUNT>(?<![a-z]){_ACCOUNTS}(?![ ](?:receiv|payab)){_NO}|(?:checking|chequing"
    rf"|savings)(?![a-z]){_NO}|\bkonto(?:nummer)?\b"
    rf"|\bcompte\b|\bcuenta\b|\bdda\b|(?:(?:가상|급여|환불|환급|이체|출금|입금|자동이체|상환|결제|수취|예금"
    rf"|적금|월급)\s?)?"
    rf"{_KOREAN_ACCOUNT}\s?(?:번호)?)"
    rf"|(?P<OTHER>(?<![a-z])(?:ss[ns]|social|itin|tin|rrn|nhs|nino|national insurance|ni no|card|visa|amex|pan"
    rf"|phone|tel"
    rf"|telephone|mobile|cell|fax|call(?:ed|ing)?|text(?:ed)?|whatsapp|routing|aba|rtn|sort code|order|invoice|inv"
    rf"|ref(?:erence)?|case|ticket|tracking|confirmation|policy|claim|zip|amount|total|balance|e-?mail|cusip"
    rf"|isin|sedol|lei"
    rf"|dob|born|date of birth|password|token|transaction|txn|application|contract|docket|cheque|check"
    rf"|receipts?|(?:accounts? )?(?:receivables?|payables?)|page"
    rf"|vin|plate|registration|employee|membership|flight|booking|ip)(?![a-z]){_NO}"
    rf"|주민|외국인\s?등록|카드|전화|휴대폰|핸드폰|연락처|팩스|주문|송장|접수|사업자|종목|금액|잔액|승인|사건"
    rf"|생년|비밀번호|증서|계약|차량|우편|증권번호|상품코드"
    r")",
    re.IGNORECASE | re.ASCII,
)
_KINDS = {
    "PASSPORT": PASSPORT, "DRIVER": DRIVER_LICENSE, "BROKERAGE": BROKERAGE_ACCOUNT, "RRN": KR_RRN,
    "IBAN": IBAN_CODE,
    "SWIFT": SWIFT_BIC, "KOREAN_BANK": KOREAN_BANK, "ACCOUNT": ACCOUNT, "OTHER": OTHER,
}  # fmt: skip
_REACH, _AHEAD = 80, 40
_END_OF_SENTENCE = re.compile(r"(?:(?<!no)(?<!nr)(?<!num)(?<!lic)(?<!acct)[.?!](?=\s)|\n\s*\n)", re.IGNORECASE)
_VALUE = r"[A-Z]{0,3}-?\d[\dA-Z.*-]{2,22}(?:[ ](?:-[ ])?\d{1,8}){0,4}"
_LISTED = re.compile(
    rf"[^\d]{{0,40}}{_VALUE}(?:[^\d]{{0,14}}{_VALUE}){{0,3}}\W{{0,3}}"
    r"(?:(?:[ ]?(?:\([^()\d]{2,20}\))?[ ]?(?:,|;|/|&|\n|and|or|to|into|from|und|→|->|에서|와|과|및|또는"
    r"|,?\s?하고)\s?){1,2}"
    r"(?:[a-z가-힣]{1,10}[ ]){0,2}[^\w\d]{0,3})",
    re.ASCII,
)
_AFTER = re.compile(
    r"[\s,;:\"'\])*_-]{0,4}[\[(]?\s?(?:(?:that|this|which|it)(?:'s)?[ ])?(?:(?:is|was|are|as|being|for|under|in"
    r"|on)[ ])?"
    r"(?:(?:my|his|her|the|our|their|your|a|an|this|that|old|new|current|us|uk|korean|valid|expired|british"
    r"|french|[a-z]{2,7}an"
    r"|japanese|chinese|irish|swiss|dutch|spanish)[ ]){0,3}",
    re.IGNORECASE | re.ASCII,
)
_SPEAKS_OF_NEXT = re.compile(r"[^\w\n]{0,3}(?:(?:is|was|no)\W{1,3})?[A-Z]{0,2}\d", re.ASCII)
_AFTER_KOREAN = re.compile(r"[\s,)(]{0,3}(?:번)?\s?(?:은|는|이|가|의)?\s?(?:제|본인|고객)?\s?")


_UNIT = re.compile(
    r"\s?(?:%|원|달러|주(?![가-힣])|만|억|천|개|건|명|좌(?![가-힣])|배|shares?\b|units?\b|dollars?\b|won\b"
    r"|million\b|billion\b"
    r"|USD\b|KRW\b|EUR\b|GBP\b)",
    re.IGNORECASE | re.ASCII,
)
_CURRENCY = re.compile(r"(?:[$€£₩¥]|\b(?:USD|EUR|GBP|KRW|JPY|CHF))\s?$", re.IGNORECASE | re.ASCII)


def is_amount(text: str, start: int, end: int) -> bool:
    """Whether a number stands behind a currency or before a unit."""
    return bool(_UNIT.match(text, end) or _CURRENCY.search(text, max(0, start - 5), start))


class Label(NamedTuple):
    """A label, and where it ends; `listed` if other values stand between it and the value."""

    kind: str
    start: int
    end: int
    listed: bool


def label_before(text: str, start: int, reach: int = _REACH) -> Label | None:
    """The nearest label before a value that may speak of it."""
    found = None
    for found in _LABELS.finditer(text, max(0, start - reach), start):  # noqa: B007  the last one counts
        pass
    if found is None:
        return None
    between = text[found.end() : start]
    listed = _has_value(between)
    if (listed and not _LISTED.fullmatch(between)) or len(_END_OF_SENTENCE.findall(between)) > 1:
        return None
    return Label(_KINDS[found.lastgroup or "OTHER"], found.start(), found.end(), listed)


def label_behind(text: str, end: int) -> Label | None:
    """The label right behind a value: `M12345678 (passport)`, `12345678 is my brokerage account`."""
    for link in (_AFTER, _AFTER_KOREAN):
        at = link.match(text, end)
        found = _LABELS.match(text, at.end(), at.end() + _AHEAD) if at else None
        # In "12345678, passport no. M123" the label speaks of what follows it.
        if found is not None and not _SPEAKS_OF_NEXT.match(text, found.end()):
            return Label(_KINDS[found.lastgroup or "OTHER"], found.start(), found.end(), False)
    return None


def label_of(text: str, start: int, end: int) -> Label | None:
    """The label that speaks of a value: the one before it, else the one behind."""
    before = label_before(text, start)
    return before if before is not None and not before.listed else label_behind(text, end) or before


def _has_value(between: str) -> bool:
    return bool(re.search(r"\d{3}|\d[ -]\d", between))


# Forms that only brokers give: U1234567 and DU1234567 (Interactive Brokers), Z12-345678 (Fidelity), 7RS-46095 and
# 123-45678 behind three characters (clearing houses), 12345678-01 and 123-4567-8901-0 (Korean houses).
_BROKERS_FORM = re.compile(
    r"D?U\d{6,8}|[A-Z]\d{2}[ ]?-?[ ]?\d{6}|\d[A-Z]{2}[ ]?-[ ]?\d{5,6}|[A-Z0-9][A-Z]{1,2}[0-9]?[ ]?-[ ]?\d{5,6}"
    r"|\d{8}[ ]?-[ ]?\d{2}|\d{3}[ ]?-[ ]?\d{4}[ ]?-[ ]?\d{4}[ ]?-[ ]?\d",
    re.ASCII,
)
_BROKERS_WORDS = re.compile(
    rf"brokerage|custod(?:y|ian|ial)|(?<![a-z])(?:ira|isa|sipp|dtcc?|acats?|rmd)(?![a-z])|401[ ]?\(?k"
    rf"|journal(?:l?ed|l?ing|s)?\b|transfer of (?:assets|securities)|(?:delivering|receiving) (?:firm|account"
    rf"|broker|party)"
    rf"|in[ -]kind|securities|margin|portfolio|shares?\b|holdings?\b|\bpositions?\b|\btrad(?:e|ed|es|ing)\b|dividend"
    rf"|\bstocks?\b|\betfs?\b|mutual fund|\bbroker\b|\b{_HOUSES}\b"
    r"|증권|위탁|주식|출고|입고|예수금|매수|매도|종목|배당|펀드|(?<![A-Za-z])(?:CMA|ISA|IRP|ELS|ETF|HTS"
    r"|MTS)(?![A-Za-z])|연금저축|퇴직연금"
    r"|공모주|키움|영웅문|미래에셋|한투|금융투자|유안타|선물\s?옵션|미수금|반대매매|담보비율|신용융자|체결|평가금"
    r"|평가일|평가손익|대체출고",
    re.IGNORECASE | re.ASCII,
)
_BANKS_WORDS = re.compile(
    rf"\bbank(?:ing|s)?\b|checking|savings|\bwires?\b|\bach\b|routing|\baba\b|sort ?code|direct deposit|payroll|salary"
    rf"|(?:credit|debit) (?:to|from)|\b(?:chase|hsbc|barclays|wells fargo|citi(?:bank)?|lloyds|natwest"
    rf"|santander|bnp paribas"
    rf"|deutsche)\b|{_KOREAN_BANKS}|예금주|월급|급여|대출|송금|자동이체",
    re.IGNORECASE | re.ASCII,
)
_PAID_TO = re.compile(r"\s?(?:으로|로)\s?(?:[가-힣]{1,6}\s)?(?:입금|이체|송금|출금|보내|부쳐|환불|환급)", re.ASCII)
_HOUSE_BEFORE = re.compile(rf"(?<![a-z]){_HOUSES}[ :#]{{1,3}}$", re.IGNORECASE | re.ASCII)
_LETTERED = re.compile(r"\d?[A-Z]")
_LEFT_OF, _RIGHT_OF = 140, 70
_KOREAN_NEAR = 56
_IN_KOREAN_BANK = re.compile(_KOREAN_BANKS, re.IGNORECASE | re.ASCII)
_HANGUL = re.compile("[가-힣]")


def is_brokers_form(value: str) -> bool:
    """Whether a number has a form that only brokers give."""
    return bool(_BROKERS_FORM.fullmatch(value))


class _Answers:
    """The answers for the last text: several recognizers ask about the same numbers of it, one after the other."""

    text = ""
    known: ClassVar[dict[tuple[int, int], str | None]] = {}


def account_kind(text: str, start: int, end: int) -> str | None:
    """Whose account a number is that stands beside a word about accounts; None where no such word does.

    Returns:
        BROKERAGE_ACCOUNT, KR_BANK_ACCOUNT, US_BANK_NUMBER, another kind of label, or None.
    """
    if _Answers.text is not text:
        _Answers.text, _Answers.known = text, {}
    if (start, end) not in _Answers.known:
        _Answers.known[start, end] = _account_kind(text, start, end)
    return _Answers.known[start, end]


def _account_kind(text: str, start: int, end: int) -> str | None:
    label = label_of(text, start, end)
    if label is None:
        lettered = _LETTERED.match(text, start, end) and is_brokers_form(text[start:end])
        house = end - start >= 8 and _HOUSE_BEFORE.search(text, max(0, start - 32), start)
        brokers = house or (lettered and _BROKERS_WORDS.search(text, max(0, start - _REACH), start))
        return BROKERAGE_ACCOUNT if brokers else None
    if label.kind == KOREAN_BANK:
        return KR_BANK_ACCOUNT
    if label.kind != ACCOUNT:
        return label.kind
    if _PAID_TO.match(text, end):
        return KR_BANK_ACCOUNT
    if is_brokers_form(text[start:end]):
        return BROKERAGE_ACCOUNT
    around = text[max(0, start - _LEFT_OF) : start] + "\n" + text[end : end + _RIGHT_OF]
    if _BROKERS_WORDS.search(around) and not _BANKS_WORDS.search(around):
        return BROKERAGE_ACCOUNT
    if _HANGUL.search(text, label.start, label.end):
        return KR_BANK_ACCOUNT
    if _KOREAN_GROUPS.fullmatch(text, start, end) and 11 <= sum(map(str.isdigit, text[start:end])) <= 14:
        return KR_BANK_ACCOUNT  # nobody else writes account numbers so, also in an English sentence
    near = _IN_KOREAN_BANK.search(text, max(0, start - _KOREAN_NEAR), min(len(text), end + _KOREAN_NEAR))
    return KR_BANK_ACCOUNT if near and _of_korean_length(text[start:end]) else US_BANK_NUMBER


_KOREAN_GROUPS = re.compile(r"\d{3,6}[ ]?[-–][ ]?\d{2,6}[ ]?[-–][ ]?\d{4,7}(?:[ ]?[-–][ ]?\d{1,3})?", re.ASCII)


def _of_korean_length(value: str) -> bool:
    return 10 <= sum(map(str.isdigit, value)) <= 16
