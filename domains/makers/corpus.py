"""Write domains/finance/corpus/generated_*.md: pre-training text for a small base model, from hand-written frames.

    python -m domains.makers.corpus

Two habits are to be learned from it: what words mean for a reader of news (an event is followed by its
consequences), and how to copy a name or a value that stood earlier in the text. A document is a `# title` line and
the lines below it; a blank line ends it. Prints the share of template-made text in the whole corpus and the count of
distinct word 5-grams, as one JSON line.
"""

import json
import random
import re
from collections.abc import Iterator
from pathlib import Path

import yaml

from domains.makers.extraction import PACK, SEEDS, SLOT, Invention, number, sentence_case

SIZES = {  # bytes of UTF-8 of each kind of document
    "events": 520_000,
    "copying": 270_000,
    "markets": 200_000,
    "offices": 190_000,
    "daily": 160_000,
    "korean": 130_000,
}
NAMES = frozenset("company person city product role good currency kco kperson kcity".split())
CHOICE = re.compile(r"\[([^\[\]]*\|[^\[\]]*)\]")
BANK = re.compile(r"<(\w+)>")
DIGITS_WITH_FINAL = "013678"  # read aloud in Korean (영 일 삼 육 칠 팔), these end in a consonant
DIGITS_WITH_LIEUL = "178"


def read(name: str) -> dict:
    """A file of hand-written frames."""
    return yaml.safe_load((SEEDS / f"corpus_{name}.yaml").read_text(encoding="utf-8"))


def particle(last: str, marker: str) -> str:
    """The Korean particle for a word that ends in `last`; `marker` is one of (은)는 (이)가 (을)를 (와)과 (으)로."""
    with_final, without = marker[1], marker[3]
    if "가" <= last <= "힣":
        final = (ord(last) - ord("가")) % 28
        closed, lieul = final > 0, final == 8
    else:
        closed, lieul = last in DIGITS_WITH_FINAL, last in DIGITS_WITH_LIEUL
    if marker == "(와)과":
        return "과" if closed else "와"
    if marker == "(으)로":
        return "으로" if closed and not lieul else "로"
    return with_final if closed else without


def settle_particles(text: str) -> str:
    """Replace every particle marker by the form that the word before it asks for."""
    return re.sub(r"(.)(\([은이을와으]\)[는가를과로])", lambda m: m.group(1) + particle(*m.groups()), text)


class Deck:
    """Entries of one bank in shuffled order, reshuffled when used up: every frame gets its turn, none is overused."""

    def __init__(self, entries: list, rng: random.Random):
        self.entries, self.random, self.left = list(entries), rng, []

    def draw(self):
        """The next entry."""
        if not self.left:
            self.left = self.random.sample(self.entries, len(self.entries))
        return self.left.pop()

    def some(self, low: int, high: int) -> list:
        """Between low and high different entries."""
        wanted = min(self.random.randint(low, high), len(self.entries))
        drawn: list = []
        while len(drawn) < wanted:
            entry = self.draw()
            if entry not in drawn:
                drawn.append(entry)
        return drawn


class CorpusInvention(Invention):
    """Adds the slots that only the corpus uses: goods, currencies, degrees and the Korean ones."""

    def __init__(self, seed: int):
        self.words = read("words")
        self.korean = read("korean")["names"]
        super().__init__(seed, half=0)

    def _good(self) -> str:
        return self.random.choice(self.words["good"])

    def _currency(self) -> str:
        return self.random.choice(self.words["currency"])

    def _quote(self) -> str:
        return (
            number(self.random.uniform(1_050, 1_490))
            if self.random.random() < 0.5
            else number(self.random.uniform(0.6, 19), 4)
        )

    def _deg(self) -> str:
        return str(self.random.randint(1, 38))

    def _kco(self) -> str:
        return self.random.choice(self.korean["company_first"]) + self.random.choice(self.korean["company_last"])

    def _kperson(self) -> str:
        return "".join(self.random.choice(self.korean[part]) for part in ("surname", "given_first", "given_last"))

    def _kcity(self) -> str:
        return self.random.choice(self.korean["city"])

    def _kmoney(self) -> str:
        amount = self.random.randint(11, 9_900)
        return f"{self.random.randint(1, 40)}조 {amount:,}억 원" if self.random.random() < 0.3 else f"{amount:,}억 원"

    def _kcash(self) -> str:
        return f"{self.random.randint(11, 9_900) * 100:,}원"

    def _kpct(self) -> str:
        return number(self.random.uniform(0.2, 38)) + self.random.choice(["%", "%", "퍼센트"])

    def _kmove(self) -> str:
        return number(min(0.2 + self.random.expovariate(0.7), 24)) + "%"

    def _krate(self) -> str:
        return number(self.random.uniform(0.5, 12), 2) + "%"

    def _kwon(self) -> str:
        return number(self.random.uniform(1_050, 1_590)) + "원"

    def _kdate(self) -> str:
        return f"{self.random.randint(2015, 2031)}년 {self.random.randint(1, 12)}월 {self._day()}일"

    def _kq(self) -> str:
        return f"{self.random.randint(1, 4)}분기"

    def _pair(self, base: str, index: str) -> dict[str, str]:
        if base != "kidx":
            return super()._pair(base, index)
        low = self.random.uniform(1_950, 3_200)
        return {f"kidx{index}.lo": number(low, 2), f"kidx{index}.hi": number(low * self.random.uniform(1.002, 1.04), 2)}


class Writer:
    """Expands frames: `<bank>`, `[a|b]` and `{slot}`; a slot keeps its value until the next document."""

    def __init__(self, seed: int):
        self.random = random.Random(seed)
        self.invention = CorpusInvention(seed + 1)
        self.words = {name: Deck(entries, self.random) for name, entries in read("words").items()}
        self.decks: dict[str, Deck] = {}

    def deck(self, name: str, entries: list) -> Deck:
        """The deck kept under this name."""
        return self.decks.setdefault(name, Deck(entries, self.random))

    def text(self, frame: str) -> str:
        """One frame as finished text."""
        while True:
            expanded = CHOICE.sub(lambda match: self.random.choice(match.group(1).split("|")), frame)
            expanded = BANK.sub(lambda match: self.words[match.group(1)].draw(), expanded)
            if expanded == frame:
                break
            frame = expanded
        filled = settle_particles(self.invention.fill(frame))
        # "a <bank>" may meet a vowel: "a airline" -> "an airline", but "a euro", "a one-off"
        filled = re.sub(r"\b([Aa]) (?=[aeioAEIO](?!uro|ne\b|ne-))", r"\1n ", filled)
        return sentence_case(filled)

    def renumber(self, frame: str, by: int, keep: frozenset[str] = frozenset()) -> str:
        """The frame with its slots numbered anew, so that it takes values of its own; those in `keep` stay shared."""

        def shifted(match: re.Match) -> str:
            base, index, part = match.groups()
            return match[0] if base in keep else f"{{{base}{int(index or 1) + by}{'.' + part if part else ''}}}"

        return SLOT.sub(shifted, frame)

    def loose(self, frames: list[str]) -> str:
        """Sentences that share people and places, while each has its own amounts and dates."""
        return " ".join(self.renumber(frame, 10 * place, NAMES) for place, frame in enumerate(frames))

    def document(self, title: str, lines: list[str]) -> str:
        """A titled document about one set of names; the values of its slots are forgotten afterwards."""
        body = "\n".join(self.text(line) for line in lines)
        text = f"# {self.text(title)}\n{body}\n"
        self.invention.fresh()
        return text


def events(writer: Writer) -> Iterator[str]:
    """An event and its consequences, in one tone; now and then a day with two firms of different tone."""
    families = read("events")
    general = families.pop("general")
    names = writer.deck("families", list(families))
    tones = writer.deck("tones", ["good", "bad", "good", "bad", "routine"])

    def paragraph(name: str, tone: str, lengths: tuple[int, int]) -> str:
        family = families[name]
        lines = [writer.deck(f"{name}/{tone}", family[tone]).draw()]
        own = writer.deck(f"{name}/{tone}_after", family.get(f"{tone}_after", []))
        if not family.get("general", True):
            return " ".join(lines + own.some(*lengths))
        if own.entries and writer.random.random() < 0.7:
            lines.append(own.draw())
        lines += writer.deck(f"general/{tone}_after", general[f"{tone}_after"]).some(*lengths)
        return " ".join(lines)

    while True:
        name, tone = names.draw(), tones.draw()
        title = writer.deck(f"{name}/{tone}_title", families[name][f"{tone}_title"]).draw()
        first = paragraph(name, tone, (2, 4))
        if writer.random.random() < 0.4:
            yield writer.document(title, [first])
            continue
        other = writer.deck("tones2", ["good", "bad", "good", "bad", "routine"]).draw()
        # the second firm of the day: its own values, so that nothing is mixed up
        second = writer.renumber(paragraph(names.draw(), other, (1, 3)), 4)
        link = (
            "Elsewhere: "
            if other == tone
            else writer.deck("links", ["In contrast: ", "On the same day: ", "Other news: "]).draw()
        )
        yield writer.document(title, [first, link + second])


def copying(writer: Writer) -> Iterator[str]:
    """Names and values stated and used again; each paragraph stands under its own set of values."""
    seeds = read("copy")
    titles, paragraphs = writer.deck("copy/titles", seeds["titles"]), writer.deck("copy", seeds["paragraphs"])
    while True:
        yield writer.document(titles.draw(), paragraphs.some(2, 3))


def markets(writer: Writer) -> Iterator[str]:
    """A day on a market: sentences of one tone, one against it, a closing line."""
    kinds = read("reports")
    names = writer.deck("markets", list(kinds))
    tones = writer.deck("markets/tones", ["good", "bad", "good", "bad", "plain"])
    while True:
        name, tone = names.draw(), tones.draw()
        kind = kinds[name]
        lines = writer.deck(f"{name}/{tone}", kind[tone]).some(2, 4)
        close = writer.deck(f"{name}/close", kind["close"]).some(1, 2)
        title = writer.deck(f"{name}/titles/{tone}", kind["titles"][tone]).draw()
        yield writer.document(title, [" ".join(lines), " ".join(close)])


def offices(writer: Writer) -> Iterator[str]:
    """Letters, dialogues, minutes, tables in words, extracts of filings."""
    seeds = read("prose")
    names = writer.deck("offices", ["letters", "dialogues", "dialogues", "minutes", "filings", "letters", "tables"])
    while True:
        name = names.draw()
        kind = seeds[name]
        title = writer.deck(f"{name}/titles", kind["titles"]).draw()
        if name == "letters":
            parts = [
                writer.deck("letters/open", kind["open"]).draw(),
                *writer.deck("letters/body", kind["body"]).some(2, 4),
            ]
            yield writer.document(title, [writer.loose(parts), writer.deck("letters/close", kind["close"]).draw()])
        elif name == "dialogues":
            turns = [f'"{turn}"' for talk in writer.deck("turns", kind["turns"]).some(1, 2) for turn in talk]
            yield writer.document(title, [*turns, writer.deck("closing", kind["closing"]).draw()])
        else:
            lines = writer.deck(f"{name}/lines", kind["lines"]).some(3, 6)
            yield writer.document(title, [" ".join(lines) if name == "tables" else writer.loose(lines)])


def daily(writer: Writer) -> Iterator[str]:
    """Plain English away from finance."""
    seeds = read("daily")
    names = writer.deck("daily", list(seeds))
    while True:
        name = names.draw()
        title = writer.deck(f"{name}/titles", seeds[name]["titles"]).draw()
        yield writer.document(title, [writer.loose(writer.deck(f"daily/{name}", seeds[name]["lines"]).some(4, 7))])


def korean(writer: Writer) -> Iterator[str]:
    """Korean market news, notes that repeat their values, and letters of a bank."""
    seeds = read("korean")
    tones = writer.deck("korean/tones", ["good", "bad", "plain", "copy", "letter", "good", "bad"])
    while True:
        tone = tones.draw()
        title = writer.deck(f"korean/titles/{tone}", seeds["titles"][tone]).draw()
        lines = writer.deck(f"korean/{tone}", seeds[tone]).some(*((1, 2) if tone in ("copy", "letter") else (3, 5)))
        yield writer.document(title, lines if tone == "copy" else [writer.loose(lines)])


def make(seed: int = 20262) -> dict[str, str]:
    """Text of every generated file, by kind."""
    files = {}
    for offset, (kind, size_bytes) in enumerate(SIZES.items()):
        writer = Writer(seed + 10 * offset)
        documents, total = [], 0
        for document in globals()[kind](writer):
            if document in documents:  # a short talk without values can come up twice
                continue
            documents.append(document)
            total += len(document.encode()) + 1
            if total >= size_bytes:
                break
        files[kind] = "\n".join(documents)
    return files


def word_ngrams(text: str, length: int) -> Iterator[tuple[str, ...]]:
    """Runs of `length` lower-cased words, numbers and names kept."""
    words = re.findall(r"\w+(?:[.,]\d+)*", text.lower())
    return zip(*(words[start:] for start in range(length)), strict=False)


def statistics(folder: Path) -> dict:
    """Bytes, share of template-made text and distinct word 5-grams of a corpus folder."""
    texts = {path: path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.[mt][dx]*"))}
    sizes = {path: len(text.encode()) for path, text in texts.items()}
    generated = [path for path in texts if path.name.startswith("generated_")]
    five = [gram for path in generated for gram in word_ngrams(texts[path], 5)]
    return {
        "corpus_bytes": sum(sizes.values()),
        "generated_bytes": sum(sizes[path] for path in generated),
        "template_share": round(sum(sizes[path] for path in generated) / sum(sizes.values()), 3),
        "generated_5grams": len(five),
        "generated_5grams_distinct": len(set(five)),
    }


def write(folder: Path = PACK / "corpus") -> None:
    """Write every generated file."""
    folder.mkdir(exist_ok=True)
    for kind, text in make().items():
        (folder / f"generated_{kind}.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write()
    print(json.dumps(statistics(PACK / "corpus")))
