"""Values that a column's header or a field's name announces: tables inside a text, forms, SWIFT messages.

In `client_id;full_name;phone` the rows below hold names and numbers with no cue beside them. One pass over a text reads
every table (pipes, tabs, semicolons, commas with or without quotes, columns set with blanks, simple HTML), every key
with its value in the next cell or on the next line, every `surname: Lamb` of a list, and the parties of a SWIFT MT103
(fields 50, 52–59 as in ISO 15022). A cell is a finding only where `forms.announced` knows its header and the cell has
the form of what is announced, so amounts, companies and codes of a ledger stay. The recognizers, one per entity, share
that pass.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import regex
from presidio_analyzer import Pattern

from domainlm.redact.forms import announced
from domainlm.redact.recognizers.base import STRONG, CuedRecognizer, digits
from domainlm.redact.recognizers.given_names import GIVEN_NAMES
from domainlm.redact.recognizers.korean_names import COMMON, FULL_KOREAN_NAME
from domainlm.redact.recognizers.securities import is_date, is_security
from domainlm.redact.settings import (
    ABA_ROUTING_NUMBER,
    BROKERAGE_ACCOUNT,
    CREDIT_CARD,
    DATE_OF_BIRTH,
    DRIVER_LICENSE,
    IBAN_CODE,
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

Span = tuple[int, int]
Cells = dict[str, list[Span]]  # entity to where its cells are

# Without one of these words a header announces nothing here. They are the recognizers' gates, so they must be plain.
WORDS: dict[str, str] = {
    PERSON: r"name|holder|customer|client|borrower|applicant|beneficiary|payee|payer|remitter|guarantor|sign|nominee"
    r"|contact|employee|insured|patient|owner|surname|debtor|sender|recipient"
    r"|이름|성명|성함|명의|고객|회원|예금주|신청|수취|송금|보증|차주|계약자|피보험자|가입자|담당|직원|대표자|배우자|본인"
    r"|이용자|사용자|보호자|대리인|수익자|사람|받는|보내는",
    PHONE_NUMBER: r"phone|tel|mobile|cell|fax|\bhp\b|msisdn|whatsapp|contact|전화|휴대|핸드폰|연락처|팩스|모바일",
    CREDIT_CARD: r"card|\bcc\b|\bpan\b|primary acc|카드",
    IBAN_CODE: r"iban",
    SWIFT_BIC: r"swift|\bbic",
    US_BANK_NUMBER: r"acc|a/c",
    ABA_ROUTING_NUMBER: r"\baba|routing|\brtn",
    KR_BANK_ACCOUNT: r"계좌|구좌|통장|acc|a/c",
    BROKERAGE_ACCOUNT: r"brokerage|securities|custody|trading|investment|\bira\b|401k|margin|depot|demat|acc|a/c"
    r"|계좌|구좌|통장",
    US_SSN: r"ssn|itin|\btin|social|tax|\bss\b",
    KR_RRN: r"rrn|jumin|resident|registration|national id|주민|외국인|실명",
    UK_NHS: r"nhs",
    UK_NINO: r"nino|national insurance|\bni[ _]n",
    PASSPORT: r"passport|여권",
    DRIVER_LICENSE: r"licen[cs]e|\blic\b|permit|\bdln?\b|면허",
    DATE_OF_BIRTH: r"birth|born|dob|d\.o\.b|생년|생일|출생",
    SECRET: r"pass|pwd|secret|key|token|credential|pin|cvv|cvc|otp|connection|conn|answer|비밀|패스워드|비번|암호"
    r"|인증키|보안",
    LOCATION: r"addr|street|주소|거주지|자택|배송지|소재지",
}
# Headers that announce a person only where the cells look like one: as a data set's column they would say too little.
_PERSONS = re.compile(
    r"(?:employee|insured|patient|owner|holder|account owner|policy ?holder|holder [12]|debtor|client|customer"
    r"|given names?|forenames?|surnames?|family names?|names? of (?:the )?(?:account )?[a-z]+|registered owner"
    r"|sender|recipient|last name, first name)",
    re.IGNORECASE,
)
_LICENCES = re.compile(r"(?:(?:driver'?s?|driving) )?licen[cs]e(?: (?:no|num|number|id))?", re.IGNORECASE)
_NAMED_PART = re.compile(
    r"(?:first|last|given|family|middle|maiden|full|legal)[ _]?names?|(?:sur|fore)names?|성명|성함", re.IGNORECASE
)
_LEDGER = re.compile(r"\bdebits?\b|\bdr\b|ledger|chart of|\bg/?l\b|차변|대변|계정", re.IGNORECASE)
_CUSTODY = re.compile(r"brokerage|securities|custody|\bira\b|401\(?k|depot|demat|증권|위탁|종목|예수금|보유\s?수량",
                      re.IGNORECASE)  # fmt: skip

# Limits that keep the pass linear and the gates true; characters, cells.
_LONGEST_HEADER, _LONGEST_CELL_NAME, _LONGEST_CELL, _MOST_CELLS = 1000, 48, 160, 80
_LONGEST_ROW = 4000
_DELIMITERS = ("|", "\t", ";", ",", "  ")
_WIDE = re.compile(r"\S+(?: \S+)*")
_QUOTED = re.compile(r'\s*"(?P<value>(?:[^"]|"")*)"\s*(?=[;,\t|]|$)')
_SENTENCE = re.compile(r"[.!?]\s+[A-Za-z가-힣]|[@=]|\d{5}|\d[.,]\d")
_SMALL_WORD = re.compile("|".join(WORDS.values()), re.ASCII)
_WORD = {entity: regex.compile(f"(?i:{words})", regex.ASCII) for entity, words in WORDS.items()}
_HANGUL = re.compile("[가-힣]")


@dataclass(frozen=True)
class Column:
    """What a header says of the cells below it.

    Args:
        entity: what they hold; empty where it says nothing.
        start: where the header stands in its line, for columns set with blanks.
        sure: whether a cell need not prove by itself that it is a person.
        ledger: whether short numbers are the accounts of a ledger.
    """

    entity: str
    start: int
    sure: bool = False
    ledger: bool = False


class Reader:
    """Reads a text once for all recognizers that ask; keeps its last answer and nothing else."""

    def __init__(self) -> None:
        self._last: tuple[str, Cells] = ("", {})

    def cells(self, text: str, check: Callable[[], Any]) -> Cells:
        """Where the announced values of each entity are.

        Args:
            text: a text in its plain spelling.
            check: called again and again, to raise when the time is over.
        """
        last, cells = self._last
        if last is not text and last != text:
            cells = _read(text, check)
            self._last = (text, cells)
        return cells


_READER = Reader()


class AnnouncedCellRecognizer(CuedRecognizer):
    """The cells of one entity; see the head of this file. A subclass names the entity and its gate."""

    PATTERNS = (("announced cell", r"\S", STRONG),)
    NARROWED = False
    GUARDED = False
    FLAGS = regex.ASCII

    def matches(self, text: str) -> Iterator[tuple[Pattern, int, int]]:
        """The cells under a header, or beside a key, of this entity."""
        for start, end in _READER.cells(text, self.budget.left_s).get(self.ENTITY, ()):
            yield self.patterns[0], start, end


def _gate(entity: str) -> str:
    """A header's line goes on to its end and another follows; or the end of a cell, a key or a tag comes soon."""
    word = f"(?i:{WORDS[entity]})"
    soon = rf"[^\n]{{0,{_LONGEST_CELL_NAME}}}(?:[ ]{{2}}|[\t\r|<>:=*`'\"])"
    ends = rf"(?:{word})(?:[^\n]{{0,{_LONGEST_HEADER}}}+\n|{soon})"
    return rf"{ends}|:5[0-9][A-Z]?:" if entity in _OF_SWIFT else ends


_OF_SWIFT = (PERSON, LOCATION, IBAN_CODE, SWIFT_BIC, US_BANK_NUMBER, KR_BANK_ACCOUNT)


def cell_recognizers() -> tuple[type[AnnouncedCellRecognizer], ...]:
    """A recognizer's class for each entity that has no unmistakable form of its own."""
    return tuple(
        type(
            f"Announced{entity.title().replace('_', '')}CellRecognizer",
            (AnnouncedCellRecognizer,),
            {"ENTITY": entity, "GATE": _gate(entity), "__doc__": f"{entity} in tables, forms and SWIFT messages."},
        )
        for entity in WORDS
    )


# -- headers


def _any_word(line: str) -> bool:
    """Whether a line holds a word of any header; in small letters that is four times as fast as with any case."""
    return bool(_SMALL_WORD.search(line.lower()))


def entity_of(header: str) -> str | None:
    """What a header or a key announces, abbreviations such as `A/C No.`, `Passport #` and `Tel. (home)` included."""
    header = header.strip()
    if len(header) > _LONGEST_CELL_NAME or not _any_word(header):
        return None
    name = header.strip("*_`'\"").rstrip(" :").strip()
    name = re.sub(r"\ba/c\b", "acc", name, flags=re.IGNORECASE).replace("#", " no")
    name = re.sub(r"\.(?=\s|$)", "", name)
    name = re.sub(r"\b([A-Za-z])\.(?=[A-Za-z]\b)", r"\1", name)
    bare = re.sub(r"\s*\([^()]*\)\s*", " ", name).strip()
    plain = re.sub(r"[\s_]+", " ", bare)
    entity = announced(name) or announced(bare)
    if entity is None and _PERSONS.fullmatch(plain):
        entity = PERSON
    if entity is None and _LICENCES.fullmatch(plain):
        entity = DRIVER_LICENSE
    return entity if entity in _WORD and _WORD[entity].search(header) else None


def _columns(line: str, cells: Sequence[Span], delimiter: str, above: str) -> list[Column] | None:
    """The columns of a header; None if the line is none."""
    if not 2 <= len(cells) <= _MOST_CELLS:
        return None
    names = [line[start:end] for start, end in cells]
    if any(len(name) > _LONGEST_CELL_NAME or _SENTENCE.search(name) for name in names):
        return None
    if delimiter in ",;" and any(len(name.split()) > 5 for name in names):
        return None
    entities = [entity_of(name) for name in names]
    known = [entity for entity in entities if entity]
    if not known or (delimiter == "," and ", " in line and len(known) < 2):
        return None
    ledger, custody = bool(_LEDGER.search(line)), bool(_CUSTODY.search(line) or _CUSTODY.search(above))
    others = any(entity not in (PERSON, LOCATION) for entity in known)
    columns = []
    for entity, name, (start, _) in zip(entities, names, cells, strict=True):
        if custody and entity in (US_BANK_NUMBER, KR_BANK_ACCOUNT):
            entity = BROKERAGE_ACCOUNT
        columns.append(Column(entity or "", start, others or bool(_NAMED_PART.search(name)), ledger))
    return columns


# -- lines


def _split(line: str, delimiter: str) -> list[Span]:
    """Where the cells of a line are, without blanks, quotes and the pipes at its edges."""
    if delimiter == "  ":
        return [match.span() for match in _WIDE.finditer(line)]
    cells = []
    at, end = 0, len(line)
    if delimiter == "|":
        bare = line.strip()
        at = line.index("|") + 1 if bare.startswith("|") else 0
        end = line.rindex("|") if bare.endswith("|") and len(bare) > 1 else end
    while at <= end and len(cells) <= _MOST_CELLS:
        quoted = _QUOTED.match(line, at, end)
        if quoted:
            cells.append(quoted.span("value"))
            at = quoted.end() + 1
            continue
        stop = line.find(delimiter, at, end)
        stop = end if stop < 0 else stop
        cells.append(_trimmed(line, at, stop))
        at = stop + 1
    return cells


def _trimmed(line: str, start: int, end: int) -> Span:
    while start < end and line[start] in " \t*`'\"\r":
        start += 1
    while start < end and line[end - 1] in " \t*`'\"\r":
        end -= 1
    return start, end


def _is_rule(line: str) -> bool:
    """Whether a line is drawn: `|---|:--:|`, `====`."""
    return any(rule in line for rule in ("--", "==", "__")) and not line.strip(" \t\r|:+=_-")


def _header(line: str, above: str) -> tuple[str, list[Column], list[Span]] | None:
    """The delimiter, columns and cells of a line that names columns."""
    if len(line) > _LONGEST_HEADER or not _any_word(line):
        return None
    for delimiter in _DELIMITERS:
        if delimiter in line.strip():
            cells = _split(line, delimiter)
            columns = _columns(line, cells, delimiter, above)
            if columns:
                return delimiter, columns, cells
    return None


def _read(text: str, check: Callable[[], Any]) -> Cells:
    """All announced values of a text, in time linear in it."""
    found: dict[str, list[Span]] = defaultdict(list)
    table: tuple[str, list[Column]] | None = None
    waiting = ""  # what the last line announced for the next
    above, blank = "", False
    lines = [(match.start(), match[0]) for match in re.finditer(r"[^\n]+", text)]
    for place, (offset, line) in enumerate(lines):
        check()
        before, blank = blank, not line.strip()
        if blank or _is_rule(line):
            blank = blank or before
            continue
        gap = before or (place > 0 and offset - lines[place - 1][0] - len(lines[place - 1][1]) > 1)
        if waiting:
            start, end = _trimmed(line, 0, len(line))
            if end - start <= _LONGEST_CELL and not entity_of(line[start:end]):
                _add(found, Column(waiting, 0), line, start, end, offset, alone=True)
            waiting = ""
        below = lines[place + 1][1] if place + 1 < len(lines) else ""
        header = _header(line, above)
        if header and table and _is_row(line, table, gap, found={}):
            header = None
        if header and not _is_pair(line, header, below, lines, place):
            table = header[:2]
        elif table and _is_row(line, table, gap, found, offset):
            pass
        else:
            table = None
            if not _pairs(line, offset, found) and len(line) <= _LONGEST_CELL_NAME and "," not in line:
                waiting = entity_of(line) or ""
        above = line[:_LONGEST_HEADER]
    _keys(text, found, check)
    _swift(text, found, check)
    _html(text, found, check)
    return {entity: sorted(set(spans)) for entity, spans in found.items()}


def _is_pair(
    line: str, header: tuple[str, list[Column], list[Span]], below: str, lines: Sequence[tuple[int, str]], place: int
) -> bool:
    """Whether a line that could name columns is a key with its value: `| Full name | Jane Doe |`."""
    delimiter, columns, cells = header
    if len(cells) != 2 or not columns[0].entity or columns[1].entity or delimiter in ",;":
        return False
    if not fits(Column(columns[0].entity, 0), line[slice(*cells[1])], alone=True):
        return False
    if _is_rule(below):
        below = lines[place + 2][1] if place + 2 < len(lines) else ""
    row = _split(below[:_LONGEST_HEADER], delimiter) if delimiter in below else []
    return not (row and fits(columns[0], below[slice(*row[0])]))


def _is_row(
    line: str, table: tuple[str, list[Column]], gap: bool, found: dict[str, list[Span]] | None = None, offset: int = 0
) -> bool:
    """Take the values of a row; false if the line does not belong to the table."""
    delimiter, columns = table
    if len(line) > _LONGEST_ROW or delimiter not in line.strip():
        return False
    cells = _split(line, delimiter)
    if len(cells) < 2 or (gap and len(cells) != len(columns)) or len(cells) > 3 * len(columns):
        return False
    values: list[tuple[Column, Span]] = []
    if delimiter == "  " and len(cells) != len(columns):
        for start, end in cells:
            left = [column for column in columns if column.start <= start + 1]
            values.append((left[-1] if left else columns[0], (start, end)))
    else:
        values = list(zip(columns, cells, strict=False))
    taken = 0
    for column, (start, end) in values:
        if column.entity and start < end and not entity_of(line[start:end]):
            taken += _add(found if found is not None else {}, column, line, start, end, offset)
    return taken > 0 or len(cells) == len(columns)


def _add(
    found: dict[str, list[Span]], column: Column, line: str, start: int, end: int, offset: int, alone: bool = False
) -> bool:
    value = line[start:end]
    entity = fits(column, value, alone)
    if entity:
        found.setdefault(entity, []).append((offset + start, offset + end))
    return bool(entity)


def _pairs(line: str, offset: int, found: dict[str, list[Span]]) -> bool:
    """Keys whose value stands in the next cell of their line: `Account no.         754439150`."""
    if len(line) > _LONGEST_HEADER or not _any_word(line):
        return False
    taken = False
    for delimiter in ("|", "\t", "  "):
        if delimiter not in line.strip():
            continue
        cells = _split(line, delimiter)
        for key, value in pairwise(cells):
            entity = entity_of(line[slice(*key)])
            if entity and not entity_of(line[slice(*value)]):
                taken = _add(found, Column(entity, 0), line, *value, offset, alone=True) or taken
    return taken


# -- keys, SWIFT fields, HTML

# Structured values behind a colon are found by their own recognizers; these have no form of their own.
_KEYED = regex.compile(
    r"(?:^|(?<=[\n,;|{(\[]))[ \t*\"'-]{0,4}(?P<key>[A-Za-z가-힣][0-9A-Za-z가-힣_ .'/-]{1,40}+)[ ]?[:=][ ]?"
    r"(?P<value>[^\n,;|:=]{2,64}+)(?=[,;|\n})\]]|$)",
)
_SURNAME_FIRST = regex.compile(
    r"(?i:last name|surname|family name),? ?(?:and )?(?i:first name|given names?|forenames?)[ ]?:[ ]?"
    r"(?P<last>[^\n,;:]{2,40}+),[ ]?(?P<first>[^\n,;:]{2,40}+)"
)


def _keys(text: str, found: dict[str, list[Span]], check: Callable[[], Any]) -> None:
    """`surname: Lamb, given_names: Vanessa`, `licence: 817591511`, `Last name, first name: Lamb, Vanessa`."""
    if ":" not in text and "=" not in text:
        return
    for match in _KEYED.finditer(text):
        check()
        key = match["key"]
        entity = entity_of(key) if _any_word(key) else None
        start, end = _trimmed(text, *match.span("value"))
        if entity in (PERSON, DRIVER_LICENSE):
            column = Column(entity, 0, bool(_NAMED_PART.search(key)))
            _add(found, column, text, start, end, 0, alone=not column.sure)
    for match in _SURNAME_FIRST.finditer(text):
        if all(fits(Column(PERSON, 0, True), match[part].strip()) for part in ("last", "first")):
            for part in ("last", "first"):
                found[PERSON].append(_trimmed(text, *match.span(part)))


# Fields of ISO 15022: ordering customer, beneficiary; banks by BIC (option A).
_FIELD = re.compile(r":(?P<tag>5[0-9][A-Z]?):(?P<content>[^\n]{0,80}(?:\n(?![:{-])[^\n]{1,80}){0,5})")
_BANK_FIELD = re.compile(r"(?:/[^\n]{1,40}\n)?(?P<value>[A-Z]{6}[A-Z0-9]{2}(?:[A-Z0-9]{3})?)\b", re.IGNORECASE)
_LONGEST_PARTY_LINE = 36  # 35 characters, and a slash before the account
_NUMBERED = re.compile(r"[1-8]/(?:[A-Z]{2}/)?")


def _swift(text: str, found: dict[str, list[Span]], check: Callable[[], Any]) -> None:
    """The parties of a payment: `:59:/12345678`, name and address below; `:57A:` and a BIC."""
    if ":5" not in text:
        return
    for field in _FIELD.finditer(text):
        check()
        tag, offset = field["tag"], field.start("content")
        if tag[2:] == "A":
            bank = _BANK_FIELD.match(field["content"])
            if bank:
                found[SWIFT_BIC].append((offset + bank.start("value"), offset + bank.end("value")))
        elif tag[:2] in ("50", "59"):
            _party(field["content"], offset, found)


def _party(content: str, offset: int, found: dict[str, list[Span]]) -> None:
    named, person = False, False
    for line in content.split("\n"):
        start, end = _trimmed(line, 0, len(line))
        number = _NUMBERED.match(line, start, end)
        if end - start > _LONGEST_PARTY_LINE or any(sign in line for sign in "<>|"):
            break
        if line.startswith("/", start):
            start += 1
            kind = IBAN_CODE if line[start : start + 2].isalpha() else US_BANK_NUMBER
            _add(found, Column(kind, 0), line, start, end, offset)
        elif not named:
            start = number.end() if number else start
            named, person = True, _add(found, Column(PERSON, 0, True), line, start, end, offset)
        elif person:
            _add(found, Column(LOCATION, 0), line, number.end() if number else start, end, offset)
        offset += len(line) + 1


_TAG = re.compile(r"<(?P<tag>[Tt][RrHhDd])\b[^<>\n]{0,200}>(?:\s{0,8}<[bBpP]>)?(?P<content>[^<>]{0,160})")


def _html(text: str, found: dict[str, list[Span]], check: Callable[[], Any]) -> None:
    """Tables of HTML: a header row of `th` or `td`, rows below, or a `th` with its `td` beside it."""
    if "<t" not in text and "<T" not in text:
        return
    columns: list[Column] | None = None
    rows: list[list[Span]] = []
    for tag in _TAG.finditer(text):
        check()
        if tag["tag"][1] in "rR":
            rows.append([])
        elif rows:
            rows[-1].append(_trimmed_all(text, *tag.span("content")))
    for cells in rows:
        check()
        line = " | ".join(text[start:end] for start, end in cells)[:_LONGEST_HEADER]
        names = [text[start:end] for start, end in cells]
        places = []
        at = 0
        for name in names:
            places.append((at, at + len(name)))
            at += len(name) + 3
        header = _columns(line, places, "|", "") if at <= _LONGEST_HEADER and _any_word(line) else None
        if len(cells) == 2 and header and fits(Column(header[0].entity, 0), names[1], alone=True):
            header = None
        if header:
            columns = header
        elif columns and len(cells) == len(columns):
            for column, (start, end) in zip(columns, cells, strict=True):
                if column.entity and not entity_of(text[start:end]):
                    _add(found, column, text, start, end, 0)
        else:
            for name, (start, end) in zip(names, cells[1:], strict=False):
                entity = entity_of(name)
                if entity and not entity_of(text[start:end]):
                    _add(found, Column(entity, 0), text, start, end, 0, alone=True)


def _trimmed_all(text: str, start: int, end: int) -> Span:
    while start < end and text[start].isspace():
        start += 1
    while start < end and text[end - 1].isspace():
        end -= 1
    return start, end


# -- forms of cells

_LETTER_NAME = re.compile(r"[^\W\d_](?:[^\W\d_]|['.’-])*(?:[ ,]{1,2}[^\W\d_](?:[^\W\d_]|['.’-])*){0,5}")
_PARTICLES = frozenset(
    "van von der den de da do dos das del della di du la le el al bin bint ibn ben y e ter ten zu st af av".split()
)
_COMPANY = re.compile(
    r"\b(?:ltd|limited|inc|llc|llp|plc|corp|corporation|co|company|companies|gmbh|ag|sa|nv|bv|kg|se|oy|ab|spa|srl|pte"
    r"|bank|banks|banking|group|holdings?|partners?|capital|funds?|trust|insurance|assurance|securities|university"
    r"|department|division|services?|systems?|technolog(?:y|ies)|energy|industries|international|global|motors?"
    r"|airlines?|stores?|foundation|association|society|agency|office|branch|account|customer|client|portfolio"
    r"|investments?|management|advis(?:e|o)rs|finance|financial|credit|savings|federal|national|logistics|solutions"
    r"|total|subtotal|sum|other|others|various|none|nil|unknown|average|all|n/?a|tbd|yes|no|true|false|null|test"
    r"|united|states|america|europe|asia|sales|revenue|income|cost|assets|retail|corporate|and|of|for|the|to|or|in"
    r"|january|february|march|april|june|july|august|september|october|november|december|regards|thanks|please)\b\.?"
    r"|은행|주식회사|㈜|\(주\)|증권|보험|카드|캐피탈|공사$|재단|협회|전자$|그룹|상사$|화학$|건설$|생명$|합계|소계|총계|기타"
    r"|번호|일자|금액|여부|구분|지점|센터|대학교",
    re.IGNORECASE,
)
_KOREAN_CELL = re.compile(rf"(?:{FULL_KOREAN_NAME})(?:[ ]?님)?")
_KOREAN_LOOSE = re.compile(r"[가-힣]{2,4}(?:[ ]?님)?")
_DATE = re.compile(
    r"(?:(?:19|20)?\d{2}[ ]?[-./년][ ]?\d{1,2}[ ]?[-./월][ ]?\d{1,2}[ ]?[.일]?(?:생)?"
    r"|\d{1,2}[ ]?[-./ ][ ]?\d{1,2}[ ]?[-./ ][ ]?(?:19|20)?\d{2}"
    r"|\d{1,2}(?:st|nd|rd|th)?[ ]?[-./ ]?[ ]?(?:of )?[A-Za-z]{3,9}\.?,?[ ]?[-./ ]?[ ]?(?:19|20)?\d{2}"
    r"|[A-Za-z]{3,9}\.? \d{1,2}(?:st|nd|rd|th)?,? (?:19|20)?\d{2}"
    r"|(?:19|20)\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])|\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01]))"
)
_SHAPES: Mapping[str, re.Pattern[str]] = {
    PHONE_NUMBER: re.compile(
        r"[+(]{0,2}\d[\d ()./+-]{4,24}(?:[ ]?(?:x|ext\.?|내선)[ ]?\d{1,6}(?:번)?)?", re.IGNORECASE
    ),
    CREDIT_CARD: re.compile(r"\d(?:[ -]{0,3}\d){11,18}"),
    IBAN_CODE: re.compile(r"[A-Z]{2}\d{2}(?:[ -]?[0-9A-Z]){11,30}", re.IGNORECASE),
    SWIFT_BIC: re.compile(r"[A-Z]{6}[A-Z0-9]{2}(?:[ ]?[A-Z0-9]{3})?", re.IGNORECASE),
    US_BANK_NUMBER: re.compile(r"[X*]{0,8}\d(?:[ -]{0,3}\d){5,16}"),
    ABA_ROUTING_NUMBER: re.compile(r"\d(?:[ -]?\d){8}"),
    KR_BANK_ACCOUNT: re.compile(r"\d(?:[ -]{0,3}\d){7,15}"),
    BROKERAGE_ACCOUNT: re.compile(r"[A-Z]{0,4}[ -]?\d(?:[ -]{0,3}\d){4,15}[A-Z]?"),
    US_SSN: re.compile(r"\d{3}([ .-]{0,3})\d{2}\1\d{4}"),
    KR_RRN: re.compile(r"\d{6}[ -]{0,3}[0-9]\d{6}"),
    UK_NHS: re.compile(r"\d{3}([ -]{0,3})\d{3}\1\d{4}"),
    UK_NINO: re.compile(r"[A-Z]{2}(?:[ -]{0,3}\d{2}){3}[ -]{0,3}[A-D]", re.IGNORECASE),
    PASSPORT: re.compile(r"(?=(?:[A-Z <-]*\d){5})[0-9A-Z](?:[ -]?[0-9A-Z]){6,9}", re.IGNORECASE),
    DRIVER_LICENSE: re.compile(
        r"(?=(?:[^\d]*\d){5})(?:(?:서울|부산|경기|강원|충북|충남|전북|전남|경북|경남|제주|대구|인천|광주|대전|울산)"
        r"[ -]?)?[0-9A-Z](?:[ -]{0,3}[0-9A-Z*]){5,17}",
        re.IGNORECASE,
    ),
    SECRET: re.compile(r"(?=\S*[^A-Za-z\s])(?!\*+$)[^\s|]{4,120}|[A-Za-z]{12,120}"),
    LOCATION: re.compile(
        r"(?!.*(?:@|//))(?:(?=.*\d)(?=.*[^\W\d_]{2}).{6,150}|(?=.*[가-힣](?:시|도|구|군|읍|면|동|로|길)(?:\s|$)).{5,150})"
    ),
}
# Groups that a Korean bank writes and an American one does not: 110-123-456789, 3333-01-1234567, 123-456789-01-011.
_KOREAN_GROUPS = re.compile(r"\d{3,6}[ -]{1,3}\d{2,6}[ -]{1,3}\d{2,8}(?:[ -]{1,3}\d{1,3})?")
_LEAST_LEDGER_DIGITS = 8
_MOST_PHONE_DIGITS = 15


def fits(column: Column, value: str, alone: bool = False) -> str:
    """The entity that a cell holds; empty if it has not the form of what its header announces.

    Args:
        column: what the header says.
        value: the cell.
        alone: a key with one value and no table around it; then a person's name must be one beyond doubt.
    """
    entity = column.entity
    value = value.strip()
    if not value or len(value) > _LONGEST_CELL or entity_of(value):
        return ""
    if entity == PERSON:
        return PERSON if is_person(value, sure=column.sure and not alone) else ""
    if entity == DATE_OF_BIRTH:
        return DATE_OF_BIRTH if _DATE.fullmatch(value) else ""
    shape = _SHAPES.get(entity)
    if shape is None or not shape.fullmatch(value):
        return ""
    count = len(digits(value))
    if entity == US_BANK_NUMBER:
        if column.ledger and count < _LEAST_LEDGER_DIGITS:
            return ""
        if _KOREAN_GROUPS.fullmatch(value) and 10 <= count <= 16:
            return KR_BANK_ACCOUNT
    if entity == PHONE_NUMBER and (not 6 <= count <= _MOST_PHONE_DIGITS or is_date(value)):
        return ""
    if entity in (US_BANK_NUMBER, KR_BANK_ACCOUNT, BROKERAGE_ACCOUNT, PASSPORT, DRIVER_LICENSE) and (
        is_security(value) or (is_date(value) and not value.isdigit())
    ):
        return ""
    return entity


def is_person(value: str, sure: bool) -> bool:
    """Whether a cell is a person's name rather than a company's, a heading or a place.

    Args:
        value: the cell.
        sure: the table says that it holds persons; else a known given name or a Korean name's form is asked for.
    """
    if len(value) < 2 or _COMPANY.search(value):
        return False
    if _HANGUL.search(value):
        name = value.removesuffix("님").strip()
        form = _KOREAN_LOOSE if sure else _KOREAN_CELL
        return bool(form.fullmatch(value)) and name not in COMMON
    if not _LETTER_NAME.fullmatch(value):
        return False
    words = re.split(r"[ ,]+", value)
    if not all(word[0].isupper() or word.lower() in _PARTICLES for word in words) or not any(
        len(word) > 1 and word[0].isupper() for word in words
    ):
        return False
    if sure:
        return len(words) <= 5
    return len(words) >= 2 and any(word.lower().strip(".") in GIVEN_NAMES for word in words)
