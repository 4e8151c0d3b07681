"""How many documents does the scan read in a second of processor time, and how many Presidio's own loop?

    python benchmarks/redact_speed.py [--texts N] [--seed N] [--memory]

Both sides have the same recognizers. They run in one process, in turns of a block of texts each, and are
timed by the processor's clock.
Mixed texts: a quarter holds personal data (the pack's labelled messages, and its own prose with planted values); the
rest, and all light texts, are headlines, filings, definitions and prose of the pack. `identical_findings` compares
every span, entity and score of every text of the run. With `--memory` a redaction of 10^4, 10^5 and 10^6 light records
runs, each in a process of its own, and the most memory that it held is printed; that takes minutes. Ends with a line of
JSON.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

if TYPE_CHECKING:
    from domainlm.records import Record
    from domainlm.redact.engine import Scanner

PACK = ROOT / "domains" / "finance"
BLOCK_TEXTS = 50
PERSONAL_SHARE = 0.25
MEMORY_SIZES = (10_000, 100_000, 1_000_000)
LEAST_CHARACTERS, MOST_CHARACTERS = 30, 2000

Text = tuple[str, str]  # the text and the code of its language

# Sentences around planted values; the pack's labelled messages are the other half of the personal texts.
_PLANTED = (
    "The card {card} was charged twice; please refund {email}.",
    "You can call me on {phone} after six, account number {account}.",
    "Her SSN is {ssn} and she lives with her brother.",
    "Wire the rest to {iban}, value today. Regards, {name}",
    "Dear {name}, your statement for {account} is ready.",
    "{name_ko} 고객님, 계좌 {account_ko}로 입금되었습니다.",
    "주민등록번호 {rrn} 확인 후 {phone_ko}로 연락 바랍니다.",
    "카드 {card} 분실 신고, 회신은 {email}으로 부탁드립니다. {name_ko} 드림",
)
_NAMES = ("Ruth Ellery", "Daniel Okafor", "Priya Raghunathan", "Marta Nowak", "John A. Whitfield", "Soo-jin Park")
_KOREAN_NAMES = ("김서연", "박도윤", "이하준", "최지우", "정예린", "강민재")


def light_texts() -> list[Text]:
    """Every public text of the pack: headlines, filings, definitions, prose in English and Korean."""
    texts: list[str] = []
    for name in ("headlines.csv", "glossary.csv"):
        with open(PACK / name, encoding="utf-8", newline="") as file:
            texts += [" ".join(row) for row in csv.reader(file)]
    with open(PACK / "extraction.jsonl", encoding="utf-8") as file:
        texts += [json.loads(line)["context"] for line in file]
    for path in sorted((PACK / "corpus").glob("*.md")):
        texts += path.read_text(encoding="utf-8").split("\n\n")
    fitting = dict.fromkeys(text[:MOST_CHARACTERS] for text in texts if len(text) >= LEAST_CHARACTERS)
    return [(text, _language(text)) for text in fitting]


def personal_texts(count: int, chance: random.Random) -> list[Text]:
    """Texts with personal data: the pack's messages, and prose of the pack with planted values, half and half."""
    with open(PACK / "messages.jsonl", encoding="utf-8") as file:
        messages = [json.loads(line) for line in file]
    prose = light_texts()
    texts: list[Text] = []
    for place in range(count):
        if place % 2:
            message = chance.choice(messages)
            texts.append((message["text"], message["language"]))
        else:
            text, _ = chance.choice(prose)
            text = f"{text}\n{chance.choice(_PLANTED).format_map(_Drawn(chance))}"
            texts.append((text, _language(text)))
    return texts


class _Drawn(dict[str, str]):
    """Values drawn when they are asked for; none is a real person's."""

    def __init__(self, chance: random.Random) -> None:
        super().__init__()
        self._chance = chance

    def _digits(self, count: int) -> str:
        return "".join(self._chance.choices("0123456789", k=count))

    def __missing__(self, kind: str) -> str:
        chance, digits = self._chance, self._digits
        if kind == "card":
            number = chance.choice(("4539", "5412", "2221", "9410")) + digits(11)
            doubled = [int(digit) * (2 if place % 2 == 0 else 1) for place, digit in enumerate(number)]
            number += str(-sum(value - 9 if value > 9 else value for value in doubled) % 10)
            return chance.choice(("", " ", "-")).join(number[at : at + 4] for at in range(0, 16, 4))
        if kind == "iban":
            body = digits(18)
            check = 98 - int(f"{body}131400") % 97  # DE is 13 14 in the registry's arithmetic
            return f"DE{check:02d}{body}"
        born = f"{chance.randint(40, 99)}{chance.randint(1, 12):02d}{chance.randint(1, 28):02d}"
        return {
            "email": f"{chance.choice(('j.woo', 'a_b'))}{digits(2)}@{chance.choice(('mail.com', 'post.kr'))}",
            "phone": chance.choice((f"(312) 4{digits(2)}-{digits(4)}", f"+44 7700 900{digits(3)}")),
            "phone_ko": f"010-{digits(4)}-{digits(4)}",
            "account": digits(chance.randint(8, 12)),
            "account_ko": f"110-{digits(3)}-{digits(6)}",
            "ssn": f"{chance.randint(100, 665)}-{chance.randint(10, 99)}-{chance.randint(1000, 9999)}",
            "rrn": f"{born}-{chance.choice('1256')}{digits(6)}",
            "name": chance.choice(_NAMES),
            "name_ko": chance.choice(_KOREAN_NAMES),
        }[kind]


def _language(text: str) -> str:
    return "ko" if any("가" <= character <= "힣" for character in text) else "en"


def draw(texts: int, seed: int, personal_share: float) -> list[Text]:
    """So many texts, a share of which holds personal data, in an order of chance."""
    chance = random.Random(seed)
    personal = personal_texts(round(texts * personal_share), chance)
    light = light_texts()
    rest = texts - len(personal)
    drawn = personal + (chance.sample(light, rest) if rest <= len(light) else chance.choices(light, k=rest))
    chance.shuffle(drawn)
    return drawn


@dataclass
class Comparison:
    """Both sides of one kind of text."""

    fast: list[float]
    plain: list[float]
    different: int = 0

    @property
    def speedup(self) -> float:
        """The middle one of the blocks' ratios."""
        return statistics.median(fast / plain for fast, plain in zip(self.fast, self.plain, strict=True))


def compare(fast: Scanner, plain: Scanner, texts: list[Text]) -> Comparison:
    """Documents per CPU-second of two scanners over the same texts, block by block in turns."""
    result = Comparison([], [])
    for scanner in (fast, plain):  # what is loaded at the first text is no part of the figures
        for text, language in texts[:5]:
            scanner.find(text, language)
    for number, at in enumerate(range(0, len(texts), BLOCK_TEXTS)):
        block = texts[at : at + BLOCK_TEXTS]
        sides = [(fast, result.fast), (plain, result.plain)]
        found = {}
        for scanner, rates in sides if number % 2 else sides[::-1]:
            started = time.process_time()
            found[id(rates)] = [scanner.find(text, language)[1] for text, language in block]
            rates.append(len(block) / (time.process_time() - started))
        result.different += sum(
            one != two for one, two in zip(found[id(result.fast)], found[id(result.plain)], strict=True)
        )
    return result


def measure_speed(texts: int = 2000, seed: int = 1) -> dict[str, float | int | bool]:
    """The figures of the table: ratios, documents per CPU-second of each side, and whether all findings were the same.

    Args:
        texts: how many of each kind.
        seed: draws texts and values.
    """
    from domainlm.redact.engine import Scanner
    from domainlm.redact.settings import RedactSettings

    mixed, light = draw(texts, seed, PERSONAL_SHARE), draw(texts, seed + 1, 0.0)
    figures: dict[str, float | int | bool] = {"texts": 3 * texts}
    different = 0
    for names, kinds in (("none", (("mixed", mixed), ("light", light))), ("tagger", (("with_names", mixed),))):
        settings = RedactSettings(name_engine=names)
        started = time.process_time()
        fast = Scanner(settings)
        figures[f"start_{names}_cpu_s"] = round(time.process_time() - started, 2)
        started = time.process_time()
        fast.prepare()
        figures[f"prepare_{names}_cpu_s"] = round(time.process_time() - started, 2)
        plain = Scanner(settings, plain=True)
        for kind, drawn in kinds:
            result = compare(fast, plain, drawn)
            figures[f"speedup_{kind}"] = round(result.speedup, 1)
            figures[f"fast_{kind}_per_cpu_s"] = round(statistics.median(result.fast))
            figures[f"plain_{kind}_per_cpu_s"] = round(statistics.median(result.plain))
            different += result.different
    figures["different"] = different
    figures["identical_findings"] = different == 0
    return figures


def measure_memory(sizes: tuple[int, ...] = MEMORY_SIZES, seed: int = 1) -> dict[str, float]:
    """The most memory, in MB, that a redaction of so many light records held; each in a process of its own.

    Without the tagger, whose time would make an hour of it; it keeps one text.
    """
    peaks = {}
    for size in sizes:
        command = [sys.executable, __file__, "--stream", str(size), "--seed", str(seed)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=os.environ)
        peaks[f"peak_mb_{size}"] = float(done.stdout.split()[-1])
    return peaks


def stream(size: int, seed: int) -> float:
    """Redact so many records, keep none, and say how many MB the process held at most."""
    from domainlm.keys import KeyRing
    from domainlm.redact.redactor import RecordRedactor
    from domainlm.redact.settings import RedactSettings

    redactor = RecordRedactor(RedactSettings(name_engine="none"), KeyRing("benchmark", bytes(range(32))))
    redactor.scanner.prepare()
    changed = sum(bool(redactor.redact(record).entities) for record in _records(size, seed))
    print(f"{changed} of {size} records changed", file=sys.stderr)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _records(size: int, seed: int) -> Iterator[Record]:
    chance, texts = random.Random(seed), light_texts()
    for row in range(size):
        text, language = chance.choice(texts)
        yield {
            "id": f"{row:032x}", "task": "document", "messages": [{"role": "document", "content": text}], "context": "",
            "label": "", "source": "stream", "row": row, "licence": "CC0-1.0", "consent": "public",
            "purpose": "model-training", "jurisdiction": "us", "handling": "public", "language": language,
            "timestamp": "2024-03-15", "group": "0" * 32, "split_bucket": 1, "split": "", "subjects": [],
        }  # fmt: skip


def main() -> None:
    """Print the table and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=2000, help="texts of each kind")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--memory", action="store_true", help="also stream up to a million records")
    parser.add_argument("--stream", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.stream:
        print(stream(arguments.stream, arguments.seed))
        return
    figures = measure_speed(arguments.texts, arguments.seed)
    print(f"{'texts':<12}{'plain /CPU-s':>14}{'fast /CPU-s':>14}{'ratio':>8}")
    for kind in ("mixed", "light", "with_names"):
        rates = figures[f"plain_{kind}_per_cpu_s"], figures[f"fast_{kind}_per_cpu_s"]
        print(f"{kind:<12}{rates[0]:>14,}{rates[1]:>14,}{figures[f'speedup_{kind}']:>8}")
    print(f"texts with other findings: {figures['different']} of {figures['texts']}")
    if arguments.memory:
        peaks = measure_memory(seed=arguments.seed)
        for name, peak in peaks.items():
            print(f"{name}: {peak:.0f} MB")
        figures |= peaks
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
