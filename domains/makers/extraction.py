"""Write domains/finance/extraction.jsonl: a short context, a question about one value, the value as it stands there.

    python -m domains.makers.extraction

Names, amounts and dates are drawn afresh for every item, so the only way to answer is to copy from the context.
Company names come from a half of the name space that the generated corpus never uses (see `Invention`).
"""

import hashlib
import json
import random
import re
from pathlib import Path

import yaml

PACK = Path(__file__).resolve().parents[1] / "finance"
SEEDS = PACK / "seeds"
ITEMS_PER_SHAPE = 13
SLOT = re.compile(r"\{([a-z]+)(\d*)(?:\.([a-z]+))?\}")
MONTHS = ("January February March April May June July August September October November December").split()
SMALL = "two three four five six seven eight nine ten twelve fifteen twenty".split()

# Currency styles: one is drawn per text, so that all amounts of a text agree, as they do in a filing.
CURRENCIES = [
    ("${} million", "${} billion", "${}"),
    ("{} million dollars", "{} billion dollars", "{} dollars"),
    ("USD {} million", "USD {} billion", "USD {}"),
    ("€{} million", "€{} billion", "€{}"),
    ("{} million euros", "{} billion euros", "{} euros"),
    ("EUR {} million", "EUR {} billion", "EUR {}"),
    ("£{} million", "£{} billion", "£{}"),
    ("{} million pounds", "{} billion pounds", "{} pounds"),
    ("{} billion won", "{} trillion won", "{} won"),
    ("₩{} billion", "₩{} trillion", "₩{}"),
    ("{} million yen", "{} billion yen", "{} yen"),
    ("{} million francs", "{} billion francs", "{} francs"),
]
KINDS = {
    "name": {"company", "person", "city", "product", "rating", "role", "ref"},
    "date": {"date", "quarter", "year", "month"},
    "currency": {"money", "cash", "neg", "eps", "price", "won", "eurwon", "up", "dn"},
}


def kind_of(slot: str) -> str:
    """The kind of answer that a slot such as `money2` or `upidx.b` holds: number, name, date or currency."""
    base, _, part = SLOT.fullmatch("{" + slot + "}").groups()
    if base in ("up", "dn") and part == "pct":
        return "number"
    return next((kind for kind, slots in KINDS.items() if base in slots), "number")


def number(value: float, digits: int = 1) -> str:
    """Format with thousands separators and exactly `digits` decimals."""
    return f"{value:,.{digits}f}"


class Invention:
    """Values for the slots of one text; the same slot yields the same value until `fresh` starts the next text.

    The space of company names is cut in two by a hash: `half` 0 belongs to the generated corpus, 1 to the extraction
    items, so that no name in an extraction item has been seen in pre-training.
    """

    def __init__(self, seed: int, half: int, unique_names: bool = False):
        self.random = random.Random(seed)
        self.seeds = yaml.safe_load((SEEDS / "extraction_names.yaml").read_text(encoding="utf-8"))
        self.half = half
        self.unique_names = unique_names
        self.used: set[str] = set()
        self.fresh()

    def fresh(self) -> None:
        """Forget all bound values and draw the currency of the next text."""
        self.bound: dict[str, str] = {}
        self.millions, self.billions, self.plain = self.random.choice(CURRENCIES)

    def fill(self, template: str) -> str:
        """Replace every slot of the template by its value."""
        return SLOT.sub(lambda match: self.value(*match.groups()), template)

    def value(self, base: str, index: str = "", part: str | None = None) -> str:
        """The value of one slot, drawn on first use and distinct from every other value of the text."""
        key = base + index + ("." + part if part else "")
        while key not in self.bound:
            drawn = self._pair(base, index) if part else {key: self._draw(base)}
            if not any(self._clash(new, old) for new in drawn.values() for old in self.bound.values()):
                self.bound.update(drawn)
        return self.bound[key]

    @staticmethod
    def _clash(new: str, old: str) -> bool:
        # Whole words, and figures only: 20 degrees clashes neither with 2020, nor the won with 1,300 won.
        short, long = sorted((new, old), key=len)
        return short == long or (any(map(str.isdigit, short)) and f" {short} " in f" {long} ")

    def _draw(self, base: str) -> str:
        return getattr(self, "_" + base)()

    def root(self) -> str:
        """A company's invented proper name, from this instance's half of the name space."""
        while True:
            pick = self.random.choice
            name = pick(self.seeds["onset"]) + pick(self.seeds["middle"]) + pick(self.seeds["ending"])
            if hashlib.sha256(name.encode()).digest()[0] % 2 == self.half and name not in self.used:
                if self.unique_names:
                    self.used.add(name)
                return name

    def _company(self) -> str:
        return f"{self.root()} {self.random.choice(self.seeds['sector'])}".strip()

    def _person(self) -> str:
        return f"{self.random.choice(self.seeds['given'])} {self.root()}"

    def _city(self) -> str:
        return self.random.choice(self.seeds["city"])

    def _product(self) -> str:
        return self.random.choice(self.seeds["product"])

    def _role(self) -> str:
        return self.random.choice(self.seeds["role"])

    def _rating(self) -> str:
        return self.random.choice(["AA", "A", "BBB", "BB", "B", "CCC"]) + self.random.choice(["+", "-", " flat"])

    def _ref(self) -> str:
        return f"{self.random.choice('ABCDEFGHKLMNPRSTVW')}{self.random.randrange(100, 9999)}"

    def _amount(self) -> float:
        return self.random.choice(
            [self.random.uniform(1, 10), self.random.uniform(10, 99), self.random.randint(100, 990)]
        )

    def _scaled(self, amount: float, form: str) -> str:
        return form.format(number(amount, 0 if amount >= 100 else 1))

    def _money(self) -> str:
        if self.random.random() < 0.2:
            return self.billions.format(number(self.random.uniform(1, 60)))
        return self._scaled(self._amount(), self.millions)

    def _neg(self) -> str:
        return "-" + self._scaled(self._amount(), self.millions)

    def _cash(self) -> str:
        if "won" in self.plain or "₩" in self.plain or "yen" in self.plain:
            return self.plain.format(number(self.random.randint(11, 9900) * 100, 0))
        amount = self.random.choice([self.random.uniform(12, 999), self.random.randint(1_000, 98_000)])
        return self.plain.format(number(amount, 0 if amount >= 1_000 or self.random.random() < 0.5 else 2))

    def _price(self) -> str:
        if "won" in self.plain or "₩" in self.plain or "yen" in self.plain:
            return self.plain.format(number(self.random.randint(110, 9900) * 10, 0))
        return self.plain.format(number(self.random.uniform(2, 190), 2))

    def _eps(self) -> str:
        if "won" in self.plain or "₩" in self.plain or "yen" in self.plain:
            return self.plain.format(number(self.random.randint(11, 990) * 10, 0))
        return self.plain.format(number(self.random.uniform(0.05, 9), 2))

    def _won(self) -> str:
        return f"{number(self.random.uniform(1_050, 1_490))} won"

    def _eurwon(self) -> str:
        return f"{number(self.random.uniform(1_500, 1_790))} won"

    def _pct(self) -> str:
        sign = self.random.choice(["%", "%", " percent"])
        return number(self.random.choice([self.random.uniform(0.2, 9.9), self.random.uniform(10, 89)])) + sign

    def _move(self) -> str:
        """A day's change of a price: small on most days."""
        return number(min(0.2 + self.random.expovariate(0.4), 24)) + self.random.choice(["%", "%", " percent"])

    def _low(self) -> str:
        """A rate of inflation, growth or unemployment."""
        return number(self.random.uniform(0.2, 11.9)) + self.random.choice(["%", "%", " percent"])

    def _rate(self) -> str:
        return number(self.random.uniform(0.25, 14), self.random.choice([1, 2])) + "%"

    def _bp(self) -> str:
        return f"{self.random.randint(3, 480)} basis points"

    def _ratio(self) -> str:
        return f"{number(self.random.uniform(1.1, 38))} times"

    def _count(self) -> str:
        return number(self.random.choice([self.random.randint(100, 999), self.random.randint(1_000, 99_000)]), 0)

    def _small(self) -> str:
        return self.random.choice(SMALL)

    def _tenor(self) -> str:
        return f"{self.random.choice(SMALL)} {self.random.choice(['years', 'years', 'months', 'weeks', 'days'])}"

    def _term(self) -> str:
        return f"{self.random.choice(SMALL)}-{self.random.choice(['year', 'year', 'month'])}"

    def _day(self) -> int:
        return self.random.randint(1, 28)

    def _date(self) -> str:
        month, year = self.random.choice(MONTHS), self.random.randint(2015, 2031)
        return self.random.choice(
            [f"{self._day()} {month} {year}", f"{month} {self._day()}, {year}", f"{self._day()} {month}"]
        )

    def _month(self) -> str:
        return self.random.choice(MONTHS)

    def _year(self) -> str:
        return str(self.random.randint(2008, 2031))

    def _quarter(self) -> str:
        which = ["first quarter", "second quarter", "third quarter", "fourth quarter", "first half", "second half"]
        return f"the {self.random.choice(which)} of {self._year()}"

    def _pair(self, base: str, index: str) -> dict[str, str]:
        """Before and after of a rise or fall, with the change as it follows from the rounded figures."""
        low = self.random.uniform(1.2, 90)
        high = low * self.random.uniform(1.02, 1.6)
        before, after = (low, high) if base.startswith("up") else (high, low)
        what = base[2:]
        digits = 1
        if what == "rate":
            low = self.random.randint(1, 36) / 4
            high = low + self.random.choice([0.25, 0.25, 0.5, 0.75, 1.0])
            before, after = (low, high) if base == "uprate" else (high, low)
            texts = [number(value, 2) + "%" for value in (before, after)]
            change = f"{round(abs(after - before) * 100)} basis points"
        elif what == "count":
            before, after = (round(value * 437) for value in (before, after))
            texts = [number(value, 0) for value in (before, after)]
        elif what == "idx":
            base_level = self.random.choice([2_300, 780, 7_400, 15_200, 3_900, 31_000])
            before = base_level * self.random.uniform(0.85, 1.15)
            after = before * (1 + self.random.uniform(0.001, 0.045) * (1 if base == "upidx" else -1))
            digits = 2
            texts = [number(value, 2) for value in (before, after)]
        else:
            texts = [self.millions.format(number(value)) for value in (before, after)]
        if what != "rate":
            before, after = round(before, digits), round(after, digits)
            change = number(abs(after / before - 1) * 100) + "%"
        return {f"{base}{index}.a": texts[0], f"{base}{index}.b": texts[1], f"{base}{index}.pct": change}


def sentence_case(text: str) -> str:
    """Capitalise the first letter of the text and of each sentence that begins with a lower-case word."""
    return re.sub(r"(^|[.!?] )([a-z])", lambda match: match.group(1) + match.group(2).upper(), text)


def make(seed: int = 20261) -> list[dict]:
    """All items; `group` is the context shape, so a split by group tests on unseen wordings."""
    shapes = yaml.safe_load((SEEDS / "extraction_shapes.yaml").read_text(encoding="utf-8"))
    invention = Invention(seed, half=1, unique_names=True)
    items = []
    for index, (context, questions) in enumerate(shapes):
        slots = list(questions)
        for turn in range(ITEMS_PER_SHAPE):
            slot = slots[(turn + index) % len(slots)]
            invention.fresh()
            filled = sentence_case(invention.fill(context))
            answer = invention.bound[slot]
            items.append(
                {
                    "context": filled,
                    "instruction": invention.fill(questions[slot]),
                    "response": answer if answer in filled else sentence_case(answer),
                    "group": f"extraction-{index:03d}",
                    "kind": kind_of(slot),
                }
            )
    return items


def write(path: Path = PACK / "extraction.jsonl") -> None:
    """Write the items as JSON lines."""
    lines = [json.dumps(item, ensure_ascii=False) for item in make()]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write()
