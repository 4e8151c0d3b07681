"""Labelled texts for redaction, drawn from hand-written sentence shapes; as a program, the pack's labelled set.

    python -m domains.makers.labelled        # rewrites domains/finance/labelled/texts.jsonl, byte for byte

The shapes lie in benchmarks/redact_shapes/, in two disjoint halves: `a`, the open one, from which the pack's set is
drawn, and `b`, the sealed one, which only `benchmarks/redact.py` reads. Needs Faker (the `dev` extra) with the version
that the set's README names; reading the set needs nothing.
"""

from __future__ import annotations

import json
import random
import re
import uuid
from collections import Counter
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

import yaml

from domainlm.redact.quality import UNJUDGED, LabelledText, Span
from domainlm.redact.settings import ENTITIES, PERSON, STRUCTURED
from domains.makers.corpus import particle
from domains.makers.identities import KR_BANKS, Identities, luhn_digit

ROOT = Path(__file__).resolve().parent.parent.parent
SHAPES = ROOT / "benchmarks" / "redact_shapes"
OUT = ROOT / "domains" / "finance" / "labelled" / "texts.jsonl"
SEED, SIZES, LEAST_SPANS = 20261121, {"en": 400, "ko": 250}, 30

_PART = re.compile(
    r"\{([A-Z_]+?)(?:_([23]))?(?::(\w+))?\}|\((은|이|을|와|으|아|이랑|이고요)\)(는|가|를|과|로|야|랑|고요)"
)
_COUNTRIES = {"US": "us", "AB": "us", "UK": "uk", "KR": "kr", "IB": "eu"}

STEMS = (
    "Northgate",
    "Halvorsen",
    "Bluewater",
    "Meridian",
    "Castlebrook",
    "Walker",
    "Orion",
    "Harrington",
    "Silverline",
    "Pemberton",
    "Kestrel",
    "Atlas",
    "Redwood",
    "Sterling",
    "Hudson Bay",
    "Fairfax",
)
FORMS = (
    "plc",
    "Inc.",
    "Group",
    "Holdings",
    "Capital Partners",
    "Ltd",
    "AG",
    "Energy",
    "& Sons Ltd",
    "Bancorp",
    "Logistics",
)
STEMS_KO = ("한빛", "대성", "동아", "미래", "삼우", "청솔", "세진", "태광", "누리", "하늘", "금강", "유진")
FORMS_KO = ("전자", "건설", "제약", "홀딩스", "중공업", "바이오", "에너지", "화학", "물산", "테크")
BANKS = (
    "Barclays",
    "HSBC",
    "Citibank",
    "Deutsche Bank",
    "Bank of America",
    "Wells Fargo",
    "JPMorgan Chase Bank",
    "Lloyds Bank",
    "First Horizon Bank",
    "Banco Santander",
    "BNP Paribas",
    "Standard Chartered",
    "TD Bank",
)
BANKS_KO = ("국민은행", "신한은행", "우리은행", "하나은행", "농협은행", "기업은행", "카카오뱅크", "한빛저축은행")
CITIES = (
    "London",
    "Frankfurt",
    "Singapore",
    "Chicago",
    "Charlotte",
    "Paris",
    "Madrid",
    "Austin",
    "Florence",
    "Sydney",
    "Tokyo",
)
CITIES_KO = ("부산", "대전", "광주", "인천", "수원", "판교", "여의도", "세종", "제주")
COUNTRIES = ("Germany", "Japan", "Chad", "Jordan", "Brazil", "South Korea", "Georgia", "Mexico", "Turkey", "Norway")
TICKERS = ("AAPL", "MSFT", "HSBA", "BARC", "TSLA", "BRK.B", "SAP", "ALV", "JPM", "NVDA", "005930.KS", "F")
NEWS = ("Jerome Powell", "Christine Lagarde", "Warren Buffett", "Janet Yellen", "Andrew Bailey", "Jamie Dimon")
NEWS_KO = ("이창용", "최태원", "정의선", "이재용", "구광모", "김동연")
HOTLINES = ("0800 169 0001", "1-800-555-0000")
HOTLINES_KO = ("1588-9999", "1599-1111", "1544-0000")


@dataclass(frozen=True)
class Shape:
    """A sentence with slots.

    Args:
        id: file, and place in it.
        language: en or ko.
        kind: what sort of text it is.
        cue: whether each value has a cue word in the text.
        text: with slots.
    """

    id: str
    language: str
    kind: str
    cue: bool
    text: str

    @property
    def entities(self) -> Counter[str]:
        """Targets of the shape."""
        return Counter(entity for match in _PART.finditer(self.text) if (entity := _target(match[1])))


def _target(slot: str | None) -> str:
    if slot in ("FIRST", "LAST"):
        return PERSON
    return slot if slot in ENTITIES else ""


def read_shapes(half: str, folder: Path = SHAPES) -> list[Shape]:
    """The shapes of one half, English before Korean.

    Raises:
        ValueError: a shape has a slot that nothing fills.
    """
    shapes = []
    for language in ("en", "ko"):
        name = f"{language}_{half}"
        groups = yaml.safe_load((folder / f"{name}.yaml").read_text(encoding="utf-8"))
        for group in groups:
            for text in group["texts"]:
                shapes.append(Shape(f"{name}-{len(shapes):03}", language, group["kind"], group["cue"], text))
    for shape in shapes:
        for match in _PART.finditer(shape.text):
            if match[1] and not _target(match[1]) and match[1] not in _HARMLESS and match[1] not in _NOT_JUDGED:
                raise ValueError(f"shape {shape.id}: nothing fills the slot {{{match[1]}}}")
    return shapes


def draw(shapes: list[Shape], texts: int, least_spans: int, seed: int) -> list[LabelledText]:
    """Fill shapes with fresh values: every shape in turn, then more of those whose entities have too few spans.

    Args:
        shapes: the sentences.
        texts: how many at least.
        least_spans: spans that each structured entity of the shapes has at least.
        seed: equal seeds give equal texts.
    """
    filler = Filler(seed)
    drawn: list[LabelledText] = []
    counts: Counter[str] = Counter()

    def add(shape: Shape) -> None:
        text = filler.fill(shape)
        drawn.append(text)
        counts.update(span.entity for span in text.spans)

    for shape in islice(cycle(shapes), texts):
        add(shape)
    for entity in STRUCTURED:
        holders = [shape for shape in shapes if shape.entities[entity]]
        while holders and counts[entity] < least_spans:
            for shape in holders:
                add(shape)
    return drawn


class Filler:
    """Fills shapes, and notes where the values stand.

    Args:
        seed: of every value.
    """

    def __init__(self, seed: int) -> None:
        self.identities = Identities(seed)
        self.random = random.Random(seed + 1)

    def fill(self, shape: Shape) -> LabelledText:
        """A text with its spans."""
        people: dict[str, tuple[str, str]] = {}
        bank, personal = "", bool(shape.entities)
        text, spans, last = "", [], 0
        for match in _PART.finditer(shape.text):
            text += shape.text[last : match.start()]
            last = match.end()
            slot, number, style, closed, opened = match.groups()
            if closed:
                text += _particle(text, closed, opened)
                continue
            entity = _target(slot)
            if entity == PERSON:
                person = people.get(number or "")
                if person is None:
                    person = people[number or ""] = self.identities.name(shape.language, style or "")
                value = _spelled(person, slot, style or "")
            elif entity:
                value = self.identities.draw(entity, shape.language, bank if bank else style or "")
            elif slot == "KR_BANK":
                value = bank = self.random.choice(list(KR_BANKS))
            else:
                value = self._harmless(slot, shape.language)
            if entity or slot in _NOT_JUDGED or (personal and slot in _PLACES):
                spans.append(Span(len(text), len(text) + len(value), entity or UNJUDGED))
            text += value
        return LabelledText(
            text + shape.text[last:], shape.language, _jurisdiction(shape), tuple(spans), shape.id, shape.cue
        )

    def _harmless(self, slot: str, language: str) -> str:
        pick, number = self.random, self.random.randrange
        year, month, day = number(2015, 2027), number(1, 13), number(1, 29)
        name = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()[month - 1]
        amount = number(1_000, 90_000_000) / pick.choice((1, 100))
        digits, pattern = self.identities.digits, self.identities.pattern
        options: dict[str, tuple[str, ...]] = {
            "MONEY": (
                f"${amount:,.2f}",
                f"EUR {amount:,.2f}",
                f"£{number(1, 900)}.{number(1, 9)}m",
                f"{amount:,.0f} USD",
                f"US${number(1, 90)} billion",
                f"€{amount:,.0f}",
            ),
            "MONEY_KO": (
                f"{number(1, 900)}만원",
                f"{amount:,.0f}원",
                f"{number(1, 90)}억 {number(1, 9)}천만원",
                f"{number(2, 900)}억원",
            ),
            "RATE": (f"{number(0, 12)}.{number(1, 99)}%", f"{number(1, 60)}%", f"{number(0, 9)}.{number(100, 999)}%"),
            "DATE": (
                f"{day} {name} {year}",
                f"{year}-{month:02}-{day:02}",
                f"{month:02}/{day:02}/{year}",
                f"{name} {day}, {year}",
            ),
            "DATE_KO": (f"{year}년 {month}월 {day}일", f"{year}.{month:02}.{day:02}", f"{month}월 {day}일"),
            "TIME": (
                f"{number(0, 24):02}:{number(0, 60):02}",
                f"{number(0, 24):02}:{number(0, 60):02}:{number(0, 60):02}",
            ),
            "QUARTER": (f"Q{number(1, 5)} {year}", f"{number(1, 5)}Q{year % 100:02}", "the third quarter"),
            "QUARTER_KO": (f"{number(1, 5)}분기", f"{year}년 {number(1, 5)}분기"),
            "YEAR": (str(year),),
            "NUM": (str(number(2, 900)), f"{number(1, 900)},{number(100, 999)}", str(number(1000, 99_999))),
            "PRICE": (f"{number(1, 400)}.{number(10, 99)}", f"{number(50, 140)}.{number(100, 999)}"),
            "INDEX": (f"{number(1, 40)},{number(100, 999)}.{number(10, 99)}",),
            "TICKER": TICKERS,
            "ISIN": (_isin(pick.choice(("US", "KR", "DE", "GB")) + digits(9)),),
            "CUSIP": (_cusip(pattern("#####@@#")),),
            "LEI": (_lei(pattern("####00@#@#@#@#@#@#")),),
            "ORDER": (
                f"ORD-{digits(7)}",
                f"{year}{digits(8)}",
                f"INV{year}-{digits(5)}",
                digits(8),
                pattern("@@#########"),
            ),
            "TRACKING": (
                digits(12),
                pattern("1Z####@@##########"),
                pattern("RR#########GB"),
                pattern("####-####-####"),
            ),
            "UUID": (str(uuid.UUID(int=pick.getrandbits(128), version=4)),),
            "HASH": (f"{pick.getrandbits(28):07x}", f"{pick.getrandbits(160):040x}"),
            "VERSION": (
                f"{number(1, 12)}.{number(0, 40)}.{number(0, 20)}",
                f"{number(1, 12)}.{number(0, 9)}.{number(0, 9)}-rc{number(1, 5)}",
            ),
            "BRN": (_business(pattern("###-8#-####")),),
            "COMPANY": (f"{pick.choice(STEMS)} {pick.choice(FORMS)}",),
            "COMPANY_KO": (
                pick.choice(STEMS_KO) + pick.choice(FORMS_KO),
                f"(주){pick.choice(STEMS_KO)}{pick.choice(FORMS_KO)}",
            ),
            "BANK": BANKS,
            "BANK_KO": BANKS_KO,
            "CITY": CITIES,
            "CITY_KO": CITIES_KO,
            "COUNTRY": COUNTRIES,
            "NEWS_PERSON": NEWS,
            "HOTLINE": HOTLINES,
            "TOWN": CITIES,
            "KOREA": ("Korea", "South Korea"),
            "KOREA_KO": ("대한민국", "한국"),
            "KOREA_REGION": ("경기남부", "서울", "부산"),
        }
        if language == "ko" and slot in ("NEWS_PERSON", "HOTLINE"):
            return pick.choice(NEWS_KO if slot == "NEWS_PERSON" else HOTLINES_KO)
        return pick.choice(options[slot])


_NOT_JUDGED = frozenset("NEWS_PERSON HOTLINE TOWN KOREA KOREA_KO KOREA_REGION".split())
_PLACES = frozenset("CITY CITY_KO COUNTRY".split())  # beside a person's data they hint at the person: not judged there
_HARMLESS = frozenset(
    "MONEY MONEY_KO RATE DATE DATE_KO TIME QUARTER QUARTER_KO YEAR NUM PRICE INDEX TICKER ISIN CUSIP LEI ORDER TRACKING"
    " UUID HASH VERSION BRN COMPANY COMPANY_KO BANK BANK_KO KR_BANK CITY CITY_KO COUNTRY".split()
)


def _spelled(person: tuple[str, str], slot: str, style: str) -> str:
    first, last = person
    korean = "가" <= last[0] <= "힣"
    roman = style == "ko_roman" and len(first) % 2  # both orders are common
    whole = last + first if korean else f"{last} {first}" if roman else f"{first} {last}"
    value = {"FIRST": first, "LAST": last}.get(slot, whole)
    return value.upper() if style == "upper" else value.lower() if style == "lower" else value


def _particle(text: str, closed: str, opened: str) -> str:
    """The form of a particle after what has been written so far."""
    if opened in ("과", "로"):
        return particle(text[-1], f"({closed}){opened}")
    return closed if particle(text[-1], "(은)는") == "은" else opened


def _jurisdiction(shape: Shape) -> str:
    found = {_COUNTRIES[entity[:2]] for entity in shape.entities if entity[:2] in _COUNTRIES}
    return ",".join(sorted(found | ({"kr"} if shape.language == "ko" else set()))) or "us"


def _isin(body: str) -> str:
    """ISO 6166: the check digit of the letters read as numbers from 10."""
    return body + luhn_digit("".join(str(int(sign, 36)) for sign in body))


def _cusip(body: str) -> str:
    total = 0
    for index, sign in enumerate(body):
        digit = int(sign, 36) * (1 + index % 2)
        total += digit // 10 + digit % 10
    return body + str(-total % 10)


def _lei(body: str) -> str:
    """ISO 17442: check digits by ISO 7064 MOD 97-10."""
    return body + f"{98 - int(''.join(str(int(sign, 36)) for sign in body) + '00') % 97:02}"


def _business(body: str) -> str:
    """A Korean business registration number: not personal, published by the tax service."""
    digits = [int(sign) for sign in body if sign.isdigit()]
    total = sum(digit * weight for digit, weight in zip(digits, (1, 3, 7, 1, 3, 7, 1, 3, 5), strict=True))
    return body + str(-(total + digits[8] * 5 // 10) % 10)


def pack_texts() -> list[LabelledText]:
    """The pack's labelled set: each open shape in turn, then more where a structured entity has too few values."""
    shapes = read_shapes("a")
    texts = [
        text
        for index, (language, size) in enumerate(SIZES.items())
        for text in draw([shape for shape in shapes if shape.language == language], size, 0, SEED + index)
    ]
    counts = Counter(span.entity for text in texts for span in text.spans)
    more = Filler(SEED + len(SIZES))
    for entity in STRUCTURED:
        holders = [shape for shape in shapes if shape.entities[entity]]
        while counts[entity] < LEAST_SPANS:
            for shape in holders:
                texts.append(more.fill(shape))
                counts.update(span.entity for span in texts[-1].spans)
    return texts


def main() -> None:
    from importlib.metadata import version

    texts = pack_texts()
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text("".join(text.to_json() + "\n" for text in texts), encoding="utf-8")
    languages = Counter(text.language for text in texts)
    counts = Counter(span.entity for text in texts for span in text.spans)
    print(json.dumps({"texts": languages, "spans": counts, "faker": version("faker")}))


if __name__ == "__main__":
    main()
