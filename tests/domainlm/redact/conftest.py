"""Fresh identities by seed, records, and one scanner for all tests (its imports take seconds)."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from domainlm.keys import KeyRing
from domainlm.records import DOCUMENT, Record
from domainlm.redact.settings import RedactSettings


@dataclass
class Identities:
    """Draws values of each entity; none is a real person's."""

    random: random.Random

    def digits(self, count: int) -> str:
        return "".join(self.random.choices("0123456789", k=count))

    def card(self) -> str:
        prefix = self.random.choice(["4", "51", "55", "2221", "2720", "6011", "9410"])
        body = prefix + self.digits(15 - len(prefix))
        doubled = [int(digit) * (2 if place % 2 == 0 else 1) for place, digit in enumerate(body)]
        check = -sum(value - 9 if value > 9 else value for value in doubled) % 10
        number = f"{body}{check}"
        gap = self.random.choice(["", " ", "-"])
        return gap.join(number[at : at + 4] for at in range(0, 16, 4))

    def email(self) -> str:
        name = self.random.choice(["ji.woo", "a_b", "maria-l", "x", "tom.becker+bank", "kim1987"])
        host = self.random.choice(["mail.com", "corp-intra.internal", "post.office.co.kr", "mail.de"])
        return f"{name}{self.digits(2)}@{host}"

    def phone(self) -> str:
        a, b = self.digits(4), self.digits(4)
        return self.random.choice(
            [
                f"010-{a}-{b}", f"010 {a} {b}", f"010{a}{b}", f"+82 10-{a}-{b}", f"02-3{a[:3]}-{b}",
                f"031-2{a[:2]}-{b}",
                f"(312) 4{a[:2]}-{b}", f"646-2{a[:2]}-{b}", f"+1 (206) 3{a[:2]}-{b}", f"415.6{a[:2]}.{b}",
                f"+44 7700 900{a[:3]}", f"+49 30 9{a}{b[:2]}", f"+33 6 {a[:2]} {a[2:]} {b[:2]} {b[2:]}",
            ]
        )  # fmt: skip

    def iban(self) -> str:
        country, body = self.random.choice(
            [
                ("DE", self.digits(18)),
                ("GB", "NWBK" + self.digits(14)),
                ("FR", self.digits(23)),
                ("NL", "ABNA" + self.digits(10)),
            ]
        )
        check = 98 - int("".join(str(int(character, 36)) for character in f"{body}{country}00")) % 97
        iban = f"{country}{check:02d}{body}"
        return iban if self.random.random() < 0.5 else " ".join(iban[at : at + 4] for at in range(0, len(iban), 4))

    def ssn(self) -> str:
        return f"{self.random.randint(100, 665)}-{self.random.randint(10, 99)}-{self.random.randint(1000, 9999)}"

    def rrn(self) -> str:
        born = f"{self.random.randint(40, 99)}{self.random.randint(1, 12):02d}{self.random.randint(1, 28):02d}"
        return f"{born}-{self.random.choice('1256')}{self.digits(6)}"

    def korean_account(self) -> str:
        return self.random.choice(
            [
                f"110-{self.digits(3)}-{self.digits(6)}",
                f"{self.digits(6)}-0{self.digits(1)}-{self.digits(6)}",
                f"3333-{self.digits(2)}-{self.digits(7)}",
            ]
        )

    def ip(self) -> str:
        return ".".join(str(self.random.randint(11, 223)) for _ in range(4))


@pytest.fixture
def identities() -> Identities:
    return Identities(random.Random(20240613))


@pytest.fixture
def keys() -> KeyRing:
    return KeyRing("test-key", bytes(range(32)))


@pytest.fixture(scope="session")
def scanner():
    from domainlm.redact.engine import Scanner

    return Scanner(RedactSettings())


@pytest.fixture
def record() -> Callable[..., Record]:
    def make(*texts: str, roles: tuple[str, ...] = (DOCUMENT, "assistant"), **fields: object) -> Record:
        make.rows += 1
        whole = dict(
            id=f"{make.rows:032x}", task="document", context="", label="", source="letters", row=make.rows,
            licence="CC0-1.0", consent="public", purpose="model-training", jurisdiction="us,kr", handling="public",
            language="en", timestamp="2024-03-15", group="0" * 32, split_bucket=1, split="", subjects=[],
            messages=[{"role": role, "content": text} for role, text in zip(roles, texts, strict=False)],
        )  # fmt: skip
        return Record(**(whole | fields))

    make.rows = 0
    return make
