"""Write domains/finance/messages.jsonl: customer messages, English and Korean, with planted personal data.

    python -m domains.makers.messages

All values are synthetic, and their spans are recorded. Where a range is set aside for fiction, documentation or testing
it is used (555-01xx and Ofcom telephone numbers, 192.0.2.0/24 and its like, example.com, NHS numbers from 999, card
numbers from the networks' test prefixes, routing numbers from an unused prefix); the rest is random, with the checksum
that a real value would have.
"""

import json
import random
import re
import unicodedata
from pathlib import Path

import yaml

from domains.makers.corpus import particle, settle_particles
from domains.makers.extraction import MONTHS, PACK, SEEDS

FILLS_PER_SHAPE = 2
SLOT = re.compile(r"\{(\w+?)(\d?)\}")
MARKER = re.compile(r"^\([은이을와으]\)[는가를과로]")
FULL_WIDTH = str.maketrans("0123456789-", "０１２３４５６７８９－")
ZERO_WIDTH = "\u200b"
# Values that people paste or type in odd shapes; the share of each oddity is low, as it is in real traffic.
NUMERIC = {"CREDIT_CARD", "PHONE_NUMBER", "US_SSN", "KR_RRN", "KR_BANK_ACCOUNT", "IBAN_CODE"}
SHARE_FULL_WIDTH = {"ko": 0.12, "en": 0.03}
SHARE_ZERO_WIDTH = 0.04
DESKS = {
    "card": ("Card services", "카드 업무팀"),
    "transfer": ("Payments", "송금 업무팀"),
    "access": ("Online access", "디지털 채널팀"),
    "loan": ("Lending", "여신팀"),
    "fraud": ("Fraud desk", "사기 대응팀"),
    "details": ("Customer records", "고객 정보팀"),
    "fees": ("Fees and complaints", "민원팀"),
    "statement": ("Statements", "증명서 발급팀"),
    "investing": ("Investments", "투자 상담팀"),
}
QUESTIONS = {
    "en": [
        "Which desk should handle this message?",
        "Route this message to a desk.",
        "Who in the bank should answer this?",
    ],
    "ko": [
        "이 메시지는 어느 팀이 처리해야 합니까?",
        "이 문의를 담당 팀으로 보내 주세요.",
        "은행의 어느 팀이 답해야 합니까?",
    ],
}
JURISDICTIONS = {
    "us": ["us"],
    "uk": ["uk"],
    "eu": ["eu"],
    "kr": ["kr"],
    "plain_en": ["us", "uk", "eu"],
    "plain_ko": ["kr"],
}


def luhn_digit(digits: str) -> str:
    """The digit that makes `digits` plus it pass the Luhn test (ISO/IEC 7812-1)."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        doubled = int(digit) * (2 if place % 2 == 0 else 1)
        total += doubled - 9 if doubled > 9 else doubled
    return str(-total % 10)


def iban(country: str, account: str) -> str:
    """An IBAN with its ISO 13616 check digits (mod 97)."""
    spelled = "".join(str(int(character, 36)) for character in account + country + "00")
    return f"{country}{98 - int(spelled) % 97:02d}{account}"


def aba_digit(digits: str) -> str:
    """Check digit of an American routing number (weights 3, 7, 1)."""
    return str(-sum(int(digit) * weight for digit, weight in zip(digits, (3, 7, 1, 3, 7, 1, 3, 7), strict=True)) % 10)


def rrn_digit(digits: str) -> str:
    """Check digit of a Korean resident registration number."""
    weights = (2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5)
    return str((11 - sum(int(digit) * weight for digit, weight in zip(digits, weights, strict=True)) % 11) % 10)


class Values:
    """Draws personal data (methods in capitals, named as entity types) and harmless figures (lower case)."""

    def __init__(self, seed: int):
        self.random = random.Random(seed)
        self.names = yaml.safe_load((SEEDS / "messages_names.yaml").read_text(encoding="utf-8"))
        self.where = "us"

    def digits(self, length: int) -> str:
        """A run of random digits that does not begin with zero."""
        return str(self.random.randrange(10 ** (length - 1), 10**length))

    def pick(self, options):
        """One of the options."""
        return self.random.choice(options)

    def PERSON(self) -> str:
        if self.where == "kr":
            return self.pick(self.names["korean_surname"]) + self.pick(self.names["korean_given"])
        return f"{self.pick(self.names['given'])} {self.pick(self.names['surname'])}"

    def EMAIL_ADDRESS(self) -> str:
        given, surname = self.pick(self.names["given"]), self.pick(self.names["surname"]).split()[-1]
        local = self.pick(["{g}.{s}", "{g}{n}", "{i}{s}{n}", "{s}_{g}", "{g}+bank", "{g}-{s}.{n}"])
        local = local.format(g=given, s=surname.replace("'", ""), i=given[0], n=self.digits(2)).lower()
        return f"{local}@{self.pick(['example.com', 'example.org', 'example.net', 'mail.example.com'])}"

    def PHONE_NUMBER(self) -> str:
        two, three, four = self.digits(2), self.digits(3), self.digits(4)
        formats = {
            "us": [
                f"({self.pick(['212', '312', '415', '617'])}) 555-01{two}",
                f"+1 503-555-01{two}",
                f"646.555.01{two}",
            ],
            "uk": [f"020 7946 0{three}", f"+44 20 7946 0{three}", f"0113 496 0{three}", f"(0161) 496 0{three}"],
            "eu": [f"+49 30 23125 {three}", f"+33 1 99 00 {two} {self.digits(2)}", f"030 23125{three}"],
            "kr": [
                f"010-{self.pick('01')}{three}-{four}",
                f"010 {self.pick('01')}{three} {four}",
                f"010{self.pick('01')}{three}{four}",
                f"+82 10-{self.pick('01')}{three}-{four}",
                f"02-{self.digits(3)}-{four}",
            ],
        }
        return self.pick(formats[self.where])

    def CREDIT_CARD(self) -> str:
        prefix = self.pick(["411111", "424242", "555555", "601111", "353011", "37828224631"])
        length = 15 if prefix.startswith("37") else 16
        body = prefix + "".join(self.random.choices("0123456789", k=length - 1 - len(prefix)))
        card = body + luhn_digit(body)
        groups = [card[:4], card[4:10], card[10:]] if length == 15 else [card[at : at + 4] for at in range(0, 16, 4)]
        return self.pick(["", " ", "-", " ", "-"]).join(groups)

    def IBAN_CODE(self) -> str:
        if self.where == "uk":
            plain = iban("GB", "ZZZZ" + self.digits(14))
        else:  # bank codes that are not assigned, where the country has such
            plain = self.pick(
                [
                    lambda: iban("DE", "9" + self.digits(17)),
                    lambda: iban("NL", "ZZZZ" + self.digits(10)),
                    lambda: iban("FR", "99999" + self.digits(18)),
                    lambda: iban("BE", self.digits(12)),
                    lambda: iban("AT", self.digits(16)),
                ]
            )()
        return plain if self.random.random() < 0.4 else " ".join(plain[at : at + 4] for at in range(0, len(plain), 4))

    def US_SSN(self) -> str:
        while (area := self.random.randint(1, 899)) == 666:
            continue
        parts = [f"{area:03d}", f"{self.random.randint(1, 99):02d}", f"{self.random.randint(1, 9999):04d}"]
        return self.pick(["-", "-", "-", " "]).join(parts)

    def UK_NHS(self) -> str:
        while True:
            body = "999" + "".join(self.random.choices("0123456789", k=6))
            check = 11 - sum(int(digit) * weight for digit, weight in zip(body, range(10, 1, -1), strict=True)) % 11
            if check != 10:
                number = body + str(check % 11)
                return self.pick([number, f"{number[:3]} {number[3:6]} {number[6:]}"])

    def _birth(self) -> tuple[int, int, int]:
        return self.random.randint(1945, 2004), self.random.randint(1, 12), self.random.randint(1, 28)

    def KR_RRN(self) -> str:
        year, month, day = self._birth()
        century = self.random.randint(1, 2) + (2 if year >= 2000 else 0)  # and sex
        body = f"{year % 100:02d}{month:02d}{day:02d}{century}{self.digits(5)}"
        number = body + rrn_digit(body)
        return number if self.random.random() < 0.15 else f"{number[:6]}-{number[6:]}"

    def KR_BANK_ACCOUNT(self) -> str:
        three, six = self.digits(3), self.digits(6)
        return self.pick(
            [
                f"{three}-{self.digits(3)}-{six}",
                f"{six}-{self.digits(2)}-{six}",
                f"1002-{three}-{six}",
                f"302-{self.digits(4)}-{self.digits(4)}-{self.digits(2)}",
                f"3333-{self.digits(2)}-{self.digits(7)}",
            ]
        )

    def US_BANK_NUMBER(self) -> str:
        return self.digits(self.random.randint(9, 12))

    def ABA_ROUTING_NUMBER(self) -> str:
        body = f"1{self.random.randint(3, 9)}{self.digits(6)}"  # 13 to 19: a prefix that is not in use
        return body + aba_digit(body)

    def IP_ADDRESS(self) -> str:
        if self.random.random() < 0.2:
            return f"2001:db8::{self.random.randrange(1, 65535):x}:{self.random.randrange(1, 65535):x}"
        return f"{self.pick(['192.0.2', '198.51.100', '203.0.113'])}.{self.random.randint(2, 254)}"

    def SWIFT_BIC(self) -> str:
        country = {"us": "US", "uk": "GB", "kr": "KR"}.get(self.where) or self.pick(["DE", "FR", "NL", "AT"])
        bank = "".join(self.random.choices("QXZVJW", k=4))
        return bank + country + self.pick(["2L", "FF", "SE", "33"]) + self.pick(["", "", "XXX"])

    def DATE_OF_BIRTH(self) -> str:
        year, month, day = self._birth()
        return {
            "us": f"{month:02d}/{day:02d}/{year}",
            "uk": f"{day} {MONTHS[month - 1]} {year}",
            "eu": f"{day:02d}.{month:02d}.{year}",
            "kr": self.pick([f"{year}년 {month}월 {day}일", f"{year}-{month:02d}-{day:02d}"]),
        }[self.where]

    def LOCATION(self) -> str:
        return self.pick(self.names[f"{self.where}_address"]).format(
            n=self.random.randint(2, 480), s=self.random.randint(1, 30)
        )

    def amt(self) -> str:
        if self.where == "kr":
            return self.pick(
                [
                    f"{self.random.randint(11, 9_900) * 1_000:,}원",
                    f"{self.random.randint(1, 90)}만 원",
                    f"{self.random.randint(2, 9)}억 원",
                ]
            )
        amount = self.pick([f"{self.random.uniform(3, 990):,.2f}", f"{self.random.randint(1_000, 98_000):,}"])
        return self.pick(
            {"us": ["${}", "${}", "USD {}"], "uk": ["£{}", "GBP {}"], "eu": ["€{}", "EUR {}", "{} euros"]}[self.where]
        ).format(amount)

    def date(self) -> str:
        year, month, day = self.random.randint(2022, 2026), self.random.randint(1, 12), self.random.randint(1, 28)
        if self.where == "kr":
            return self.pick([f"{year}년 {month}월 {day}일", f"{month}월 {day}일", f"{year}-{month:02d}-{day:02d}"])
        if self.where == "us":
            return self.pick([f"{month:02d}/{day:02d}/{year}", f"{MONTHS[month - 1]} {day}"])
        return self.pick([f"{day:02d}/{month:02d}/{year}", f"{day} {MONTHS[month - 1]} {year}"])

    def month(self) -> str:
        return f"{self.random.randint(1, 12)}월" if self.where == "kr" else self.pick(MONTHS)

    def year(self) -> str:
        return str(self.random.randint(1998, 2024))

    def pct(self) -> str:
        return f"{self.random.uniform(0.2, 12):.2f}%"

    def idx(self) -> str:
        return f"{self.random.uniform(2_200, 2_900):,.2f}"

    def page(self) -> str:
        return str(self.random.randint(2, 46))

    def ref(self) -> str:
        return f"{self.pick('ABCDEFGH')}{self.pick('KLMNPQRS')}-{self.digits(self.random.randint(4, 6))}"

    def ticker(self) -> str:
        return self.pick(self.names["tickers"])


def disguised(value: str, entity: str, language: str, rng: random.Random) -> str:
    """Now and then the value as it is pasted from elsewhere: full-width digits, or a zero-width space inside."""
    if entity in NUMERIC and rng.random() < SHARE_FULL_WIDTH[language]:
        return value.translate(FULL_WIDTH)
    if entity in NUMERIC | {"EMAIL_ADDRESS"} and rng.random() < SHARE_ZERO_WIDTH:
        return value[: len(value) // 2] + ZERO_WIDTH + value[len(value) // 2 :]
    return value


def fill(shape: str, values: Values, language: str) -> tuple[str, list[dict]]:
    """The message and the spans of its personal data."""
    text, spans, end, drawn = "", [], 0, set()
    for match in [*SLOT.finditer(shape), None]:
        literal = shape[end : match.start() if match else len(shape)]
        marker = MARKER.match(literal)
        if marker and text:
            last = unicodedata.normalize("NFKC", text[-1])
            literal = particle(last, marker[0]) + literal[marker.end() :]
        text += settle_particles(literal)
        if match is None:
            break
        end, entity = match.end(), match.group(1)
        value = getattr(values, entity)()
        while value in drawn:
            value = getattr(values, entity)()
        drawn.add(value)
        if entity.isupper():
            value = disguised(value, entity, language, values.random)
            spans.append({"start": len(text), "end": len(text) + len(value), "entity_type": entity, "value": value})
        text += value
    return text, spans


def make(seed: int = 20264) -> list[dict]:
    """All messages; `group` is the shape, `label` the intent, `response` the desk that should answer."""
    shapes = yaml.safe_load((SEEDS / "messages_shapes.yaml").read_text(encoding="utf-8"))
    values = Values(seed)
    items = []
    for group, intents in shapes.items():
        language = "ko" if group in ("kr", "plain_ko") else "en"
        for label, wordings in intents.items():
            for place, shape in enumerate(wordings):
                for _ in range(FILLS_PER_SHAPE):
                    values.where = values.pick(JURISDICTIONS[group])
                    text, spans = fill(shape, values, language)
                    items.append(
                        {
                            "id": f"message-{len(items):04d}",
                            "text": text,
                            "language": language,
                            "jurisdiction": values.where,
                            "spans": spans,
                            "label": label,
                            "instruction": values.pick(QUESTIONS[language]),
                            "response": DESKS[label][language == "ko"],
                            "group": f"message-{group}-{label}-{place}",
                        }
                    )
    return items


def write(path: Path = PACK / "messages.jsonl") -> None:
    """Write the messages as JSON lines."""
    lines = [json.dumps(item, ensure_ascii=False) for item in make()]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write()
