"""E-mail addresses, telephone numbers and IP addresses."""

from __future__ import annotations

import ipaddress
import re

from presidio_analyzer import Pattern

from domainlm.redact.recognizers.base import LIKELY, STRONG, WEAK, digits, luhn
from domainlm.redact.recognizers.edges import (
    AFTER,
    ANSWERED,
    BEFORE,
    FIRM_AFTER,
    FIRM_BEFORE,
    JOIN,
    RUN_AFTER,
    RUN_BEFORE,
    StructuredRecognizer,
    unbracketed,
)
from domainlm.redact.recognizers.securities import in_formula, is_date
from domainlm.redact.settings import EMAIL_ADDRESS, IP_ADDRESS, PHONE_NUMBER, RedactSettings

_LATIN = "0-9A-Za-zÀ-ÖØ-öø-ɏ"


class EmailRecognizer(StructuredRecognizer):
    """E-mail addresses of any top-level domain.

    Presidio's own asks a public suffix list that it fetches over the network, and passes addresses of internal domains.
    """

    ENTITY = EMAIL_ADDRESS
    PATTERNS = (
        (
            "address",
            rf"(?:[{_LATIN}_+][{_LATIN}._%+'-]{{0,63}}|[가-힣]{{1,16}})[ ]?@[ ]?"
            rf"(?:[{_LATIN}가-힣](?:[{_LATIN}가-힣-]{{0,61}}[{_LATIN}가-힣])?\.){{1,8}}(?:[A-Za-z]{{2,24}}"
            rf"|xn--[A-Za-z0-9-]{{2,59}})",
            STRONG,
        ),
        ("address of an IP", rf"[{_LATIN}._%+-]{{1,64}}@\[?\d{{1,3}}(?:\.\d{{1,3}}){{3}}\]?", STRONG),
        ("quoted or inside host", rf"(?:\"[^\"\s]{{1,64}}\"|[{_LATIN}._%+-]{{1,64}})@[{_LATIN}-]{{2,63}}\b", WEAK),
        (
            "spelled out",
            rf"[{_LATIN}._%+-]{{1,64}}\s?[\[({{<]\s?at\s?[\])}}>]\s?[{_LATIN}-]{{1,63}}(?:\s?"
            rf"(?:[\[({{<]\s?dot\s?[\])}}>]"
            rf"|\.)\s?[{_LATIN}-]{{2,63}}){{1,4}}",
            STRONG,
        ),
        (
            "in words",
            rf"[{_LATIN}_%+-]{{1,64}}(?:(?:\.|[ ]dot[ ])[{_LATIN}_%+-]{{1,64}}){{0,3}}[ ]at[ ][{_LATIN}-]{{2,63}}"
            rf"(?:[ ]dot[ ][A-Za-z]{{2,24}}){{1,3}}(?![{_LATIN}])",
            STRONG,
        ),
        (
            "in Korean words",
            rf"[{_LATIN}._%+-]{{1,64}}[ ]?골뱅이[ ]?[{_LATIN}-]{{2,63}}(?:[ ]?(?:\.|점|닷)[ ]?[A-Za-z]{{2,24}}){{1,3}}",
            STRONG,
        ),
    )
    GATE = r"@|[\[({<]\s?[aA][tT]\s?[\])}>]|[ ][aA][tT][ ][^ ]{1,64}[ ][dD][oO][tT][ ]|골뱅이"
    CUES = r"e-?mail|mailto|이메일|메일"
    GUARDED = False


# Numbers that are called 번호 and are not a telephone's.
_NOT_OF_PHONES = "".join(
    f"(?<!{word})(?<!{word} )"
    for word in (
        "계좌", "카드", "주민", "여권", "면허", "등록", "접수", "주문", "송장", "증권", "고객", "회원",
        "종목", "승인", "예약", "통장", "사업자", "우편", "비밀", "인증", "일련", "거래", "관리", "운송장",
        "펀드", "증서", "청구", "실명",
    )
)  # fmt: skip
# A word that announces a telephone number right behind it …
_ANNOUNCED = re.compile(
    r"(?:(?<![a-z])(?:(?:tele|smart|cell)?phones?|tel(?:efon[eo]?|éfono|éphone)?|mob(?:ile|il|iel|iltelefon)?"
    r"|cell(?:ular|ulare)?|fax|facsimile"
    r"|caller ?id(?:[ ](?:showed|shows|says|said|was|is|displayed))?"
    r"|call(?:ed|ing|s|er|ers)?(?:[ ](?:me|him|her|us|them|back|from|you|my[ ]\w{2,10}))?"
    r"|callback|text(?:ed|ing|s)?(?:[ ](?:me|him|her"
    r"|us|them|messages?|from))?|sms(?:es)?|whats ?app|telegram|signal"
    r"|viber|wechat|line id|messages?|voice ?mails?|rang|ring(?:ing|s)?(?:[ ]me)?|dial(?:ed|led|ling|s)?"
    r"|reach(?:ed|able)?[ ](?:me|him|her|us|them|at|on|by|under|via)|contact(?:ed|able|[ ]no|[ ]me)?"
    r"|contacts?(?:[ ]number)?"
    r"|answer(?:ed|ing|s)?[ ](?:at|on|to)"
    r"|hot ?line|land ?line|direct[ ]line|switchboard|handset|(?:direct|desk|office|home|work|private"
    r"|registered)[ ]?[:=#|(-]"
    r"|(?:tele)?f[oó]no|m[oó]vil|celular|telem[oó]vel|telefon\w{0,8}|t[ée]l[ée]phone\w{0,3}|llam[ae]\w{0,4}|rufen"
    r"|anrufen"
    r"|zur[uü]ckrufen|erreich\w{0,4}|appel\w{0,4}|joindre|chiam\w{0,5}|bellen|ligar|enquir(?:y|ies)|inquir(?:y|ies)"
    # T 020 7946 0018 | M 07700 900123, as signatures have it
    r"|(?:\A|(?<=[\n|·•])|(?<=[\n|·•/] ))(?-i:[TFMCOHWPD])(?=[ ](?:[+(\d]|\Z))|try|wa\.me"
    r"|help ?(?:line|desk)|reception|customer (?:service|care)[:.]|(?-i:(?<![A-Za-z./])(?:[TFMCOHW]:"
    r"|[TFM]\.))"
    r"|(?<=\()[tfmcohw]\)|handy(?:nummer)?|rufnummer|telefonnummer|portable|numéro|número|nummer|msisdn|sim|otp|ph|hp"
    r"|registered number|(?:my|his|her|their|our|new|old|wrong|right|correct|current|same|this|that|whose"
    r"|different|daytime|evening|emergency|alternate|alternative|backup|secondary|primary|customer'?s)"
    r"(?:[ ](?:new|old|current|other|work|home|own))?[ ]number(?:'s)?)(?![a-z])"
    r"|전화|휴대폰|휴대전화|핸드폰|폰|연락처|연락|팩스|문자|통화|콜백|대표번호|내선|직통"
    rf"|{_NOT_OF_PHONES}번호)",
    re.IGNORECASE | re.ASCII,
)
_JOINED = re.compile(
    rf"(?:{JOIN}|[.;]\s|\.(?=:)|\b(?:me|him|her|them|us|you|back|from|with|using|via|by|please|or|and|now|instead"
    rf"|work|home"
    rf"|office"
    r"|mobile|cell|direct|primary|secondary|today|req|requested|request|needed|required|pls|linked|tied|registered"
    r"|associated|connected|al|unter|sie|mich|moi|au|me|ao|su|mir|auf|le|lautet|ist|est|es|still|has|have|been"
    r"|changed|updated|should|not|isn't|can|only|also"
    r"|after|before|between|during|any ?time|tomorrow|tonight|noon|lunch|morning|evening)\b|[)\]])*+",
    re.IGNORECASE | re.ASCII,
)
# … or with the person who is called between the two: `reach my carer at`.
_VIA = re.compile(
    r"\b(?:reach|contact|call|phone|ring|text|message|buzz|sms|fax|pick up|speak (?:to|with)|get hold of|(?:2fa"
    r"|security|factor|pass|one-time)[ -]?codes?|otp"
    r"|verification code|sms code)(?:ed|ing|s)?[ ]"
    r"(?:[a-z'-]{1,12}[ ]){0,4}(?:at|on|under|via|by|to|is|was)[ :(]{1,3}$",
    re.IGNORECASE | re.ASCII,
)
# … or right before it: `416 60 039 office`, `01012345678로 전화`.
_LABELLED = re.compile(
    r"[\s,;:\\/(\[–-]{0,5}(?:office|mobile|mob|fax|cell|home|work|tel|phone|direct|desk|landline)"
    r"(?![a-z]|[ ]?[:=#])"
    r"|\s?(?:번|번호)?\s?(?:으로|로|에서|에|은|는|이|가|을|를)?\s?"
    r"(?:전화|연락|문자|통화|팩스|발신|수신|부재중|걸|인증번호|카톡)"
    r"|\s?번(?:으로|은|이|에)?(?![가-힣])"
    r"|\sas (?:[a-z]{1,10} ){0,2}(?:phone|mobile|cell|number|contact)"
    r"|[\s,]{1,3}(?:is|was) (?:my|his|her|the|our) (?:\w{2,8} )?(?:number|phone|mobile|cell)"
    r"|[\s,]{1,2}(?:rang|called|texted|keeps calling|does not answer|no longer works|calling me|is not reachable)\b"
    r"|[?.!,]{0,1}\s(?:they|he|she|it|someone|who|which|that)\s(?:\w{1,8}\s){0,2}(?:phoned|called|rang|texted)\b",
    re.IGNORECASE | re.ASCII,
)
# A word between the two that the number speaks of instead.
_OTHER = re.compile(
    r"\b(?:acc(?:oun)?t|a/c|card|visa|mastercard|amex|order|invoice|iban|ssn|social|policy|claim|case|ticket|routing"
    r"|swift"
    r"|isin|cusip|amount|balance|pay|paid|price|page|passport|licen[cs]e|ref|reference|transaction|shares?|worth"
    r"|dated?"
    r"|born|dob|nino|nhs|loan|contract|aba|ip|zip|totals?|rose|fell|revenue|sales)\b"
    r"|계좌|카드|주문|송장|금액|잔액|주민|여권|면허|접수|사건|생년|증권",
    re.IGNORECASE | re.ASCII,
)
_NEAR = re.compile(
    r"phone|\btel\b|\btel[.:]|mobile|\bcell\b|\bcall(?:ed|ing|s)?\b|\btext(?:ed|ing)?\b|\bsms\b|whatsapp|\bfax\b"
    r"|contact"
    r"|\breach\b|\bdial|\bring\b|hotline|handy|rufnummer|전화|휴대폰|휴대전화|핸드폰|연락|팩스|문자|통화",
    re.IGNORECASE | re.ASCII,
)
_ACCOUNT_BEFORE = re.compile(
    rf"(?:계좌|통장|구좌|acc(?:oun)?t|a/c|iban|card|카드)\s?(?:번호|no|number|id)?{JOIN}*+$", re.IGNORECASE | re.ASCII
)
_CARD_GROUPS = re.compile(r"\d+|\d{4}(?:[ -]\d{1,6}){2,4}")
# "call 555 0147 or 555 0148": what announces the first announces the second.
_CHAIN = re.compile(
    r"(?P<first>(?<![0-9A-Za-z.,-])[+(]{0,2}\d[\d .()/-]{5,18}\d)[,;]?\s"
    r"(?:or|and|else|try|then try|/|alternatively|oder|und|ou|또는|혹은|아니면)\s(?:on\s)?$",
    re.IGNORECASE | re.ASCII,
)
_CHAIN_REACH = 48
_LAST_GROUP = re.compile(r"([+(]?.*\d)[ ]\(?\d{1,8}\)?$", re.ASCII)
_HYPHEN_LAST = re.compile(r"[-.]\d{3,4}$")
_EVEN = re.compile(r"\d{3,4} ?- ?\d{3,4}")
_AMOUNTS = re.compile(r"\d{1,3}(?: \d{3})+|\d{3,4} ?- ?\d{3,4}")
_RANGE_AFTER = re.compile(
    r"\s?-?(?:range|levels?|points?|zone|band|strikes?|calls?|puts?|mark|shares)\b", re.IGNORECASE
)
_ASKED = re.compile(
    rf"(?:\b(?:mobile|cell|(?:tele|cell)?phone|call(?:ed)?(?: you)? back|reach you|contact number|call you|fax"
    rf"|text you)"
    rf"|전화|휴대폰|핸드폰|연락처|폰){ANSWERED}$",
    re.IGNORECASE | re.ASCII,
)
_ASKED_REACH = 112
_ANNOUNCED_REACH, _NEAR_REACH = 64, 48
_BETWEEN, _OTHER_REACH = 40, 12


class PhoneRecognizer(StructuredRecognizer):
    """Telephone numbers by their written form, by the words around them, and by numbering plans (phonenumbers).

    People write numbers in the groups of some two hundred national habits, so behind a word that announces one
    (`Fax:`, `call me on`, `로 연락`) any seven to fifteen digits in groups are one. Without it the form decides where
    it can be nothing else (+, brackets, trunk zero, Korean mobile), and a numbering plan where it nearly cannot; runs
    of digits that could be amounts need word and form.
    """

    ENTITY = PHONE_NUMBER
    _EXTENSION = r"(?:[ ,]{0,2}(?:ext\.?|extension|x|내선)[ ]?\d{1,6})?"
    _GAP = r"(?:[ ]?[-. \u00b7][ ]?|/)"
    PATTERNS = (
        (
            "international",
            rf"(?<![0-9A-Za-z+])\(?\+[ ]?\(?[1-9](?:[ .\-/()]{{0,3}}\d){{6,14}}{_EXTENSION}(?!\d|\.\d)",
            LIKELY,
        ),
        ("international by 00", rf"{BEFORE}00[ -]?[1-9](?:[ .\-/()]{{0,3}}\d){{8,13}}{_EXTENSION}{AFTER}", 0.2),
        # (212) 555-0147, 212-555-0147, 1-212-555-0147, 001-212-555-0147, 212.555.0147
        (
            "North America",
            rf"(?<![0-9A-Za-z.$€£₩])(?<!\d-)(?:(?:\+?1|001)[-. ]?)?(?:\([2-9]\d{{2}}\)[ ]?[-.]?[ ]?"
            rf"|[2-9]\d{{2}}[-.])\d{{3}}[-.]\d{{4}}{_EXTENSION}{FIRM_AFTER}",
            STRONG,
        ),
        ("North America with spaces", rf"{BEFORE}(?:1[ ])?[2-9]\d{{2}}[ ]\d{{3}}[ -]\d{{4}}{_EXTENSION}{AFTER}", 0.2),
        # 010-1234-5678, 010.1234.5678, 010 1234 5678, 01012345678
        (
            "Korean mobile",
            rf"{FIRM_BEFORE}(?:01[016789][ ]?[-. )][ ]?\d{{3,4}}[ ]?[-. ][ ]?\d{{4}}|010\d{{8}}){FIRM_AFTER}",
            STRONG,
        ),
        ("Korean mobile in brackets", r"(?<![0-9A-Za-z])\(01[016789]\)[ -]?\d{3,4}[- ]?\d{4}(?!\d)", STRONG),
        (
            "Korean landline",
            rf"{FIRM_BEFORE}\(?0(?:2|[3-6][1-5]|70|50\d)\)?(?:[ ]?[-.)][ ]?|[ ])\d{{3,4}}[ ]?[-.][ ]?\d{{4}}"
            rf"{FIRM_AFTER}",
            LIKELY,
        ),
        ("Korean landline with spaces", rf"{BEFORE}0(?:2|[3-6][1-5]|70)[ ]\d{{3,4}}[ ]\d{{4}}{AFTER}", 0.2),
        (
            "Korean in words",
            r"공일[공일육칠팔구][ ,-]{0,2}[영공일이삼사오육칠팔구]{3,4}[ ,-]{0,2}[영공일이삼사오육칠팔구]{4}",
            STRONG,
        ),
        (
            "Korean mobile with letters",
            r"(?<![0-9A-Za-z])(?=[0-9]*[oOlI])[0oO][1lI][0oO][-. ]\d{4}[-. ]\d{4}(?!\d)",
            LIKELY,
        ),
        (
            "over a line break",
            rf"{BEFORE}(?:01[016789]|\(?[2-9]\d{{2}}\)?)[-. ]\d{{3,4}}[-. ]?\r?\n[ >#*/]{{0,6}}\d{{4}}{AFTER}",
            0.2,
        ),
        ("French", rf"{BEFORE}0[1-9](?:([ .-])\d{{2}})(?:\1\d{{2}}){{3}}{AFTER}", 0.2),
        # (020) 7946 0018, 07700 900123, 030/901820, 0170 1234567: the leading zero of a trunk call
        (
            "trunk call",
            rf"(?<![0-9A-Za-z+$€£₩/])(?<!\d[.,-])(?<!\d[ )])\(?0[1-9]\d{{0,4}}\)?(?:[ ]?[-/ ][ ]?\d{{2,8}}){{1,4}}"
            rf"{_EXTENSION}{AFTER}",
            0.2,
        ),
        # (37) 788-063, (08) 8747 6301, (55)123-4567: no amount is written with a hyphen behind brackets
        (
            "bracketed area",
            rf"(?<![0-9A-Za-z+$€£₩])(?<!\d[.,])\(\d{{2,5}}\)[ ]?[-/.]?[ ]?\d{{2,9}}(?:{_GAP}\d{{2,8}}){{0,3}}"
            rf"{_EXTENSION}{AFTER}",
            0.2,
        ),
        (
            "groups",
            rf"{BEFORE}(?<!\d[ )])\d{{1,5}}(?:{_GAP}\(?\d{{1,8}}\)?){{1,5}}{_EXTENSION}{AFTER}",
            WEAK,
        ),
        ("run of digits", rf"{RUN_BEFORE}\d{{6,13}}{_EXTENSION}{RUN_AFTER}", WEAK),
    )
    # Six digits with little between them.
    GATE = r"\d(?:[ .\-/()\u00b7\r\n>#*]{0,9}\d){5}|공일|[oO][1lI][0oO]|[0oO]1[oO]|0[lI][0oO]"
    # Certain by form; the others want a word, a plan, or both.
    _BY_FORM = frozenset(
        {"North America", "Korean mobile", "Korean mobile in brackets", "Korean landline", "Korean in words",
         "Korean mobile with letters"}
    )  # fmt: skip
    _GENEROUS = frozenset({"international", "international by 00", "trunk call", "bracketed area", "groups"})
    _SURE, _PLAN, _SPOKEN_OF, _EVIDENT = LIKELY + 0.02, 0.45, 0.44, 0.42

    def __init__(self, supported_language: str, settings: RedactSettings, *rest: object) -> None:
        super().__init__(supported_language, settings, *rest)
        self.regions = settings.phone_regions

    def narrowed(self, text: str, start: int, end: int, pattern: Pattern) -> tuple[int, int]:
        start, end = unbracketed(text, start, end)
        return (start, _without_neighbour(text, start, end)) if pattern.name in self._GENEROUS else (start, end)

    def judge(self, text: str, start: int, end: int, pattern: Pattern) -> float:
        value, name = text[start:end], pattern.name
        if name in self._BY_FORM:
            # A run of digits may begin with 010 by chance; right behind the word an account is one.
            return 0.0 if value.isdigit() and _ACCOUNT_BEFORE.search(text, max(0, start - 32), start) else pattern.score
        number = digits(re.split("[xX내e]", value)[0])
        if name == "international":
            valid, possible = in_numbering_plan(value, self.regions)
            if valid or _announced(text, start, end):
                return pattern.score
            # Nobody writes an amount with a plus, nine digits and no separator of thousands or decimals.
            evident = 9 <= len(number) <= 15 and value[1] != " "
            return (0.5 if possible else 0.42 if evident else 0.2) if "." not in value else 0.2
        if not 6 <= len(number) <= 15 or len(set(number)) == 1 or is_date(value) or in_formula(text, start, end):
            return 0.0
        if name == "over a line break":
            return self._SURE if value[:2] == "01" or _announced(text, start, end) else 0.0
        if _RANGE_AFTER.match(text, end):
            return 0.0
        # What a card or a Korean account looks like is not a telephone number by its form alone.
        if _announced(text, start, end):
            if len(number) >= 13 and number[0] in "3456" and luhn(number) and _CARD_GROUPS.fullmatch(value):
                return 0.2
            if name == "run of digits":
                return self._SURE if len(number) >= 7 else 0.0
            return self._SURE if len(number) >= 7 or value.count(" ") + value.count("-") + value.count(".") else 0.0
        if len(number) < 7 or (name == "trunk call" and not 8 <= len(number) <= 12):
            return 0.0
        near = _near(text, start)
        if name == "groups":
            # Groups of three behind blanks may be an amount, two equal ones a range, points decimal ones.
            form = 8 <= len(number) <= 13 and "." not in value and not _AMOUNTS.fullmatch(value)
            return self._SPOKEN_OF if near and form else 0.0
        if name == "run of digits" and not 8 <= len(number) <= 13:
            return 0.0
        if name == "bracketed area":
            return self._SPOKEN_OF if near or ("-" in value and 8 <= len(number) <= 12) else 0.0
        valid, _ = in_numbering_plan(value, self.regions)
        if near:
            return self._PLAN if valid or name != "run of digits" else self._SPOKEN_OF
        if name == "run of digits":
            return 0.0
        # Ten digits and a trunk zero in two groups or more are hardly ever an amount.
        if _ACCOUNT_BEFORE.search(text, max(0, start - 32), start):
            return 0.0
        evident = value.lstrip("( ")[0] == "0" and len(number) >= 9 and len(re.findall(r"\d+", value)) >= 3
        return self._EVIDENT if evident or (valid and value.lstrip("( ")[0] == "0" and len(number) >= 10) else 0.0

    def to_dict(self) -> dict[str, object]:
        return super().to_dict() | {"regions": list(self.regions)}


def _without_neighbour(text: str, start: int, end: int) -> int:
    """Where a number ends that a number behind a blank does not belong to: `010-1234-5678 200`."""
    while (last := _LAST_GROUP.match(text, start, end)) is not None:
        body = last[1]
        count = len(digits(body))
        whole = (
            (count >= 9 and _HYPHEN_LAST.search(body))
            or (count in (10, 11) and body.startswith("01"))
            or (count >= 11 and body.startswith("+82"))
            or (len(digits(last[0])) > 13 and not body.startswith(("+", "00")))
        )
        if not whole:
            break
        end = start + len(body)
    return end


def _announced(text: str, start: int, end: int, links: int = 2) -> bool:
    """Whether a word about telephones stands right before a number with nothing else to speak of between, or behind."""
    if _LABELLED.match(text, end):
        return True
    for cue in _ANNOUNCED.finditer(text, max(0, start - _ANNOUNCED_REACH), start):
        between = text[cue.end() : start]
        others = cue[0] == "번호" and _OTHER.search(text, max(0, cue.start() - _OTHER_REACH), cue.start())
        if len(between) <= _BETWEEN and _JOINED.fullmatch(between) and not others:
            return True
    asked = _ASKED.search(text, max(0, start - _ASKED_REACH), start)
    if asked is not None and not _OTHER.search(asked[0]):
        return True
    via = _VIA.search(text, max(0, start - _ANNOUNCED_REACH), start)
    if via is not None and not _OTHER.search(via[0]) and not _EVEN.fullmatch(text, start, end):
        return True
    chain = _CHAIN.search(text, max(0, start - _CHAIN_REACH), start) if links else None
    return chain is not None and _announced(text, *chain.span("first"), links - 1)


def _near(text: str, start: int) -> bool:
    last = max((cue.end() for cue in _NEAR.finditer(text, max(0, start - _NEAR_REACH), start)), default=None)
    return last is not None and not _OTHER.search(text, last, start) and not re.search(r"\d{4}", text[last:start])


def in_numbering_plan(value: str, regions: tuple[str, ...]) -> tuple[bool, bool]:
    """Whether a telephone number is valid in one of some countries, and whether it has at least a possible length."""
    import phonenumbers

    value = value.lstrip("(")
    if value.startswith("00"):
        value = "+" + value[2:]
    possible = False
    for region in (None,) if value.startswith("+") else regions:
        try:
            number = phonenumbers.parse(value, region)
        except phonenumbers.NumberParseException:
            continue
        if phonenumbers.is_valid_number(number):
            return True, True
        possible = possible or phonenumbers.is_possible_number(number)
    return False, possible


class IpRecognizer(StructuredRecognizer):
    """IPv4 and IPv6 addresses; numbers of paragraphs such as 3.2.1.4 need a cue, versions of software stay."""

    ENTITY = IP_ADDRESS
    PATTERNS = (
        ("IPv4", r"(?<![0-9A-Za-z.])\d{1,3}(?:\.\d{1,3}){3}(?![0-9A-Za-z]|\.\w)", LIKELY),
        (
            "IPv6",
            r"(?<![0-9A-Za-z:.])(?:[0-9a-f]{0,4}:){2,7}(?:(?:\d{1,3}\.){3}\d{1,3}|[0-9a-f]{1,4}|(?<=::))"
            r"(?![0-9A-Za-z])(?!:[0-9a-f]{1,4}:)",
            LIKELY,
        ),
    )
    GATE = r"\d\.\d{1,3}\.\d{1,3}\.\d|[0-9A-Fa-f:]:[0-9A-Fa-f]{0,4}:"
    CUES = r"\bip(?:v[46])?\b|\baddress|\blog(?:ged)?[ -]?in|\bhost|\bserver|\bdevice|접속|주소|로그인"

    def judge(self, text: str, start: int, end: int, pattern: Pattern) -> float:
        value = text[start:end]
        try:
            address = ipaddress.ip_address(value)
        except ValueError:
            return 0.0
        if address.version == 6:
            return pattern.score if len(value) > 6 and any(digit in value for digit in "0123456789") else 0.0
        return WEAK if len(value) == len("1.2.3.4") else pattern.score
