"""Training text: the pack's hand-written carriers, filled with names and places drawn by seed, with their labels.

The seeds are `tagger_*.yaml` of the pack. What stands in no slot is no name; news keeps its names unlabelled, since
the stage lets them stay.
"""

from __future__ import annotations

import csv
import json
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from zlib import crc32

import yaml

from domainlm.redact.tagger.features import NAME, PERSONAL_MARKS, PLACE, Lists, kind_of_text

SEEDS = "seeds"
_CHOICE = re.compile(r"\[([^\[\]]*)\]")
_SLOT = re.compile(r"\{(\w+)\}|\+([가-힣]+)/([가-힣]+)")
_FORM_SLOT = re.compile(r"\{(\w+)\}")
_PARTICLES = frozenset(
    "van von der den de la del di da dos do du le lo al el bin binti ter ten dela san santa st".split()
)
_FIRMS = frozenset(
    """ag bank bancorp banking brokers bv capital co company corp corporation foundation fund funds gmbh group holding
    holdings inc industries insurance laboratories labs llc llp limited ltd nv partners plc sa securities solutions
    systems technologies technology trust university ventures airlines motors energy pharma pharmaceuticals foods steel
    hotel hospital school college church association institute agency ministry department committee union club orchestra
    society council office services sons bros brothers associates consulting logistics media studios records""".split()
)
_STREETS = frozenset(
    """street st avenue ave road rd boulevard blvd lane ln drive dr court ct place pl way circle terrace parkway pkwy
    trail loop square highway pike alley close crescent gardens grove mews row walk hill rue via calle avenida plaza
    paseo rua strasse straße weg platz allee gasse straat laan gracht plein cad sok ul ulica út utca u tér box apt
    apartment suite unit flat floor house po p.o jalan jl marg nagar soi lorong apo dpo fpo psc""".split()
)
# Words before they are names, however they are written.
_NEVER = frozenset(
    """a an and any are as at be by can do for go had has he her hi him his i if in is it its jan low ma may me men
    my no nor not of oh ok on or our out she sir so than that the their then they this to too up us was we
    who will with yes you your lu long old sun""".split()
)
_ORDER_TURNED = frozenset(
    {"chinese_vietnamese_asian", "japanese", "korean_romanised", "hungarian_baltic_greek_turkish"}
)
_FIRM_FORMS = (
    "{b} {f}", "{b} {f}", "{b}", "{b} & {b}", "{b}{x}", "{b} {b} {f}", "{s} {f}", "{s} & {s}", "{s}, {s} and {s} {f}",
    "{s}-{s}", "{t} {f}", "{b} {w} {f}", "{s} Brothers",
)  # fmt: skip
_FIRM_WORDS = (
    "Bank", "Capital", "Group", "Inc", "Inc.", "Ltd", "Corp", "LLC", "plc", "AG", "Holdings", "Partners", "Foods",
    "Energy", "Steel", "Motors", "Pharma", "Insurance", "Airlines", "Technologies", "Securities", "Trust", "GmbH",
    "Mutual", "University", "Hospital", "Museum", "Records", "Media", "Solutions", "Consulting", "Properties",
    "Telecom",
)  # fmt: skip
_FIRM_STEMS = (
    "Nor", "Vel", "Kora", "Zen", "Altu", "Bri", "Cyra", "Delta", "Evo", "Fjor", "Gran", "Helio", "Inno", "Juno", "Kel",
    "Lumi", "Mer", "Nex", "Ori", "Pola", "Quan", "Rive", "Sol", "Tri", "Uni", "Vanta", "West", "Xeno", "Yel", "Zeta",
)  # fmt: skip
_FIRM_ENDS = ("tron", "mark", "via", "tech", "soft", "gen", "bay", "line", "dyne", "corp", "mont", "ford", "lux", "net")
_STREET_ENDS = (
    "straße", "strasse", "str.", "weg", "gasse", "allee", "platz", "straat", "laan", "plein", "vej", "gade", "veien",
    "gata", "vegen", "vägen", "gatan", "katu", "tie", "vegur", "gata", " u.", " út", " utca", "ova", "ska", " tee",
    " iela", " g.", " Cad.", " Sk.",
)  # fmt: skip
_MIDDLE_WORDS = (
    "National",
    "First",
    "Global",
    "United",
    "Pacific",
    "Northern",
    "Digital",
    "Community",
    "General",
    "Royal",
)
_STREWN = 2400  # texts at full scale
_MONTHS = "January February March April May June July August September October November December".split()


@dataclass(frozen=True)
class Labelled:
    """A text with the places of its names.

    Args:
        text: the text.
        spans: start, end and label of each name and place.
        language: en or ko.
        shape: the carriers that it was made of, for splitting.
    """

    text: str
    spans: tuple[tuple[int, int, int], ...]
    language: str
    shape: str


class Names:
    """Names and places to draw from, by where they are at home.

    Args:
        pack: the pack's folder.
        keep: which names may be drawn; the others are in no list either.
    """

    def __init__(self, pack: Path, keep: Any = lambda name: True) -> None:
        from domainlm.redact.recognizers.given_names import GIVEN_NAMES

        read = {
            name: yaml.safe_load((pack / SEEDS / f"tagger_{name}.yaml").read_text(encoding="utf-8"))
            for name in ("names", "places", "words")
        }
        self.given: dict[str, list[str]] = {"any": sorted(name for name in GIVEN_NAMES if keep(name))}
        self.family: dict[str, list[str]] = {}
        for origin, kinds in read["names"].items():
            self.given[origin] = [name for name in kinds["given"].split() if keep(name)]
            self.family[origin] = [name for name in _with_particles(kinds["family"]) if keep(name)]
        self.places = read["places"]
        self.towns = {
            origin: [town for town in _items(place["towns"]) if keep(town.lower())]
            for origin, place in self.places.items()
        }
        self.countries = [
            country
            for place in self.places.values()
            for country in _items(place.get("countries", ""))
            if keep(country.lower())
        ]
        self._words = read["words"]
        self._pack = pack

    def lists(self) -> Lists:
        """The lists of the features: of the names that may be drawn, and of words."""
        latin = [origin for origin in self.family if origin != "hangul"]
        common = frozenset(self._words["english"].split()) | frozenset(_pack_words(self._pack)) | _FIRMS | _STREETS
        towns = [town for origin in self.towns for town in self.towns[origin]] + self.countries
        towns += [part for kind in ("regions", "districts", "quarters") for part in _items(self.places["korea"][kind])]
        return Lists(
            given=frozenset(name for origin, names in self.given.items() if origin != "hangul" for name in names)
            - _NEVER,
            family=frozenset(
                part
                for origin in latin
                for name in self.family[origin]
                for part in name.split()
                if part not in _PARTICLES
            )
            - _NEVER,
            common=common,
            places=frozenset(part.strip(".") for town in towns for part in town.lower().split() if part not in common),
            firms=_FIRMS,
            streets=_STREETS,
            korean_given=frozenset(self.given["hangul"]),
            korean_common=frozenset(self._words["korean"].split()),
        )


def _items(text: str) -> list[str]:
    return [item.strip() for item in text.split(",") if item.strip()]


def _with_particles(text: str) -> list[str]:
    """Family names of a list, of which some are several words: "van der berg"."""
    names, before = [], ""
    for word in text.split():
        before += word
        if word in _PARTICLES:
            before += " "
        else:
            names.append(before)
            before = ""
    return names


def _pack_words(pack: Path) -> Iterator[str]:
    """Words that stand in small letters in the pack's own prose."""
    from collections import Counter

    counts: Counter[str] = Counter()
    for path in sorted([*pack.glob("corpus/*.md"), pack / "glossary.csv"]):
        counts.update(re.findall(r"(?<![\w'-])[a-z]{2,}(?![\w'-])", path.read_text(encoding="utf-8")))
    yield from counts


class Filler:
    """Fills carriers.

    Args:
        names: what may be drawn.
        seed: of the draw.
    """

    def __init__(self, names: Names, seed: int) -> None:
        self.names, self.random = names, random.Random(seed)
        self._origins = [origin for origin in names.family if origin != "hangul"]

    def fill(self, carrier: str, language: str) -> Labelled:
        """A text of a carrier."""
        shape = carrier
        while _CHOICE.search(carrier):
            carrier = _CHOICE.sub(lambda match: self.random.choice(match[1].split("|")), carrier)
        text, spans, end = "", [], 0
        self._origin = self.random.choice(self._origins)
        for match in _SLOT.finditer(carrier):
            text += carrier[end : match.start()]
            end = match.end()
            if match[2]:
                text += _fitting(text, match[2], match[3])
                continue
            value, label = self._value(match[1], language)
            if label:
                spans.append((len(text), len(text) + len(value), label))
            text += value
        text += carrier[end:]
        return self._in_another_case(Labelled(text, tuple(spans), language, shape))

    def _in_another_case(self, labelled: Labelled) -> Labelled:
        """Now and then what people type without, or with nothing but, capitals."""
        chance = self.random.random()
        if labelled.language == "ko" or chance > 0.16:
            return labelled
        if chance > 0.1:  # a headline in capitals; with names it would be another text
            return labelled if labelled.spans else replace(labelled, text=_titled(labelled.text))
        text = labelled.text.lower() if chance < 0.07 else labelled.text.upper()
        return replace(labelled, text=text) if len(text) == len(labelled.text) else labelled

    def _value(self, slot: str, language: str) -> tuple[str, int]:
        pick, chance = self.random.choice, self.random
        if slot in ("P", "G", "S") and language == "ko":
            family, given = pick(self.names.family["hangul"]), pick(self.names.given["hangul"])
            if slot == "G":
                return (given if len(given) > 1 else family + given), NAME
            if chance.random() < 0.12:  # given names that no list has
                given = pick(self.names.given["hangul"])[0] + pick(self.names.given["hangul"])[-1]
            return family + given, NAME
        if slot in ("P", "R"):
            return self.full_name(), NAME
        if slot == "G":
            return self._given(), NAME
        if slot == "S":
            return self._family(), NAME
        if slot == "A":
            return self.address(language), PLACE
        if slot == "C":
            return self._town(language), PLACE
        if slot == "person":
            if language == "ko":
                return pick(self.names.family["hangul"]) + pick(self.names.given["hangul"]), 0
            return self.full_name(), 0
        if slot == "city":
            return self._town(language), 0
        if slot == "country":
            return pick(self.names.countries), 0
        if slot == "org":
            return self.firm(), 0
        return self._plain(slot, language), 0

    def full_name(self) -> str:
        """A person's name in Latin letters, in one of the forms in which names are written."""
        if self.random.random() < 0.5:
            self._origin = self.random.choice(self._origins)
        given, family = self._given(), self._family()
        initial = self.random.choice("ABCDEFGHJKLMNPRSTVW")
        form = self.random.random()
        if form < 0.1:
            name = f"{given} {initial}{self.random.choice(['.', '.', ''])} {family}"
        elif form < 0.14:
            name = f"{initial}. {family}" if form < 0.12 else f"{initial}.{self.random.choice('ABCEJLMR')}. {family}"
        elif form < 0.18:
            name = f"{given} {self._given()} {family}"
        elif form < 0.22:
            name = f"{given} {family}{self.random.choice(['-', ' '])}{self._family()}"
        elif form < 0.235:
            name = f"{family}, {given}"
        elif form < 0.32:
            name = given if form < 0.29 else family
        elif self._origin in _ORDER_TURNED and form < 0.6:
            name = f"{family} {given}"
        else:
            name = f"{given} {family}"
        case = self.random.random()
        return name.upper() if case < 0.04 else name.lower() if case < 0.055 else name

    def _given(self) -> str:
        origin = self._origin if self.random.random() < 0.75 else "any"
        return self._written(self._maybe_new(self.names.given[origin]))

    def _family(self) -> str:
        return self._written(self._maybe_new(self.names.family[self._origin]))

    def _maybe_new(self, names: list[str]) -> str:
        """A name of the list, or one put together from two, which no list has."""
        name = self.random.choice(names)
        if self.random.random() < 0.15 and " " not in name and len(name) > 3:
            other = self.random.choice([word for word in names if len(word) > 3 and " " not in word])
            return name[: max(2, len(name) // 2)] + other[len(other) // 2 :]
        return name

    def _written(self, name: str) -> str:
        """With capitals where a name has them."""
        words = []
        for word in name.split(" "):
            if word in _PARTICLES and word not in ("san", "santa", "st"):
                words.append(word if self.random.random() < 0.8 else word.capitalize())
                continue
            parts = word.split("-")
            second_small = self._origin == "korean_romanised" and self.random.random() < 0.6
            parts = [
                part if place and second_small else part[:1].upper() + part[1:] for place, part in enumerate(parts)
            ]
            word = "-".join(parts)
            if word[:2] in ("Mc", "O'", "D'") and len(word) > 3:
                word = word[:2] + word[2].upper() + word[3:]
            words.append(word)
        return " ".join(words)

    def _town(self, language: str) -> str:
        if language == "ko" and self.random.random() < 0.9:
            return self.random.choice(self.names.towns["korea"])
        chance = self.random.random()
        if chance < 0.25:
            return self.random.choice(self.names.countries)
        origin = self.random.choice(["us", "uk", "europe", "world"])
        town = self.random.choice(self.names.towns[origin])
        if chance < 0.4:
            other = self.random.choice(self.names.towns[origin])
            town = (town[: len(town) // 2] + other[len(other) // 2 :].lower()).strip()
        if chance > 0.95:
            return f"{town}, {self.random.choice(self.names.countries)}"
        return town.upper() if chance > 0.93 else town

    def address(self, language: str) -> str:
        """A postal address in the way of some country."""
        places = self.names.places
        if language == "ko" and self.random.random() < 0.95:
            origin = "korea"
        else:
            origin = self.random.choice(["us", "us", "us", "uk", "uk", "europe", "europe", "world"])
        place = places[origin]
        pick, number = self.random.choice, self.random.randint
        digits = "0123456789"

        def draw(match: re.Match[str]) -> str:
            slot = match[1]
            if slot[0] == "z":
                return "".join(self.random.choices(digits, k=int(slot[1:])))
            if slot[0] == "L":
                return "".join(self.random.choices("ABCDEFGHJKLMNPRSTVWX", k=int(slot[1:])))
            if slot == "n":
                return str(number(1, pick([30, 200, 999, 9999])))
            if slot == "u":
                return pick([str(number(1, 40)), str(number(100, 999)), f"{number(1, 30)}{pick('ABCD')}"])
            if slot == "t":
                return pick(self.names.towns[origin])
            if slot == "c":
                return pick(self.names.countries)
            if slot == "p":
                area = pick(["LS", "BS", "M", "N", "SW", "EC", "YO", "NR", "B", "G", "EH", "CF", "SE", "W"])
                letters = "".join(self.random.choices("ABDEFGHJLNPQRSTUWXYZ", k=2))
                return f"{area}{number(1, 28)} {number(1, 9)}{letters}"
            if slot == "b":
                return str(number(101, 130))
            if slot == "h":
                return f"{number(1, 25)}0{number(1, 6)}"
            word = {"w": "words", "r": "regions", "k": "kinds", "d": "districts", "q": "quarters", "a": "houses"}[slot]
            if slot == "w" and origin in ("us", "uk") and self.random.random() < 0.4:
                return self._written(self._maybe_new(self.names.family[pick(["english", "english", self._origin])]))
            if slot == "w" and origin == "europe" and self.random.random() < 0.4:
                other = pick([*self.names.towns["europe"], *self.names.family[self._origin]]).split(" ")[-1]
                return (other[: self.random.randint(3, 7)].capitalize() + pick(_STREET_ENDS)).replace("  ", " ")
            return pick(_items(place[word]))

        address = _FORM_SLOT.sub(draw, pick(place["forms"]))
        return address.replace("\n", pick(["\n", "\n", ", ", "\n "])) if origin != "korea" else address

    def firm(self) -> str:
        """A company's name; many companies have the names of families and towns."""

        def draw(match: re.Match[str]) -> str:
            pick = self.random.choice
            slot = match[1]
            if slot == "b":
                return pick(_FIRM_STEMS) + pick(_FIRM_ENDS)
            if slot == "s":
                return self._written(pick(self.names.family[pick(self._origins)]))
            if slot == "t":
                return pick(self.names.towns[pick(["us", "uk", "europe", "world"])])
            return pick({"f": _FIRM_WORDS, "x": ("", ".com", " 24", "+"), "w": _MIDDLE_WORDS}[slot])

        return _FORM_SLOT.sub(draw, self.random.choice(_FIRM_FORMS))

    def _plain(self, slot: str, language: str) -> str:
        pick, number = self.random.choice, self.random.randint
        digits = lambda count: "".join(self.random.choices("0123456789", k=count))  # noqa: E731
        if slot == "amt":
            value = f"{number(1, 999):,}" if self.random.random() < 0.3 else f"{number(1000, 9999999):,}"
            if language == "ko":
                return pick([f"{value}원", f"{number(1, 900)}만원", f"{number(1, 900)}만 원", f"₩{value}"])
            if self.random.random() < 0.12:
                return f"Rs {number(10, 999)}{pick([' crore', ' cr', ' lakh', '', '-' + str(number(100, 999))])}"
            return pick(["$", "€", "£", "USD ", "EUR ", "$"]) + value + pick(["", ".00", ".50"])
        if slot == "num":
            return pick([str(number(1, 99)), str(number(18, 89)), str(number(1950, 2025)), f"{number(1000, 99999):,}"])
        if slot == "pct":
            return f"{number(0, 19)}.{number(0, 9)}%"
        if slot == "time":
            return f"{number(0, 23):02d}:{number(0, 59):02d}"
        if slot == "date":
            year, month, day = number(1960, 2025), number(1, 12), number(1, 28)
            if language == "ko":
                return pick([f"{year}년 {month}월 {day}일", f"{month}월 {day}일", f"{year}-{month:02d}-{day:02d}"])
            name = pick([_MONTHS[month - 1], _MONTHS[month - 1][:3]])
            return pick(
                [f"{day} {name} {year}", f"{name} {day}, {year}", f"{name} {day}", f"{year}-{month:02d}-{day:02d}",
                 f"{month}/{day}/{year}", f"{day}.{month}.{year}"]
            )  # fmt: skip
        if slot == "tel":
            if language == "ko":
                return f"010-{digits(4)}-{digits(4)}"
            return pick([f"({digits(3)}) {digits(3)}-{digits(4)}", f"+44 {digits(4)} {digits(6)}",
                         f"{digits(3)}-{digits(3)}-{digits(4)}", f"+{number(30, 99)} {digits(9)}"])  # fmt: skip
        if slot == "mail":
            user, host = pick(["info", "j.k", "mail", "user"]), pick(["mail", "example", "post"])
            return f"{user}{digits(2)}@{host}.{pick(['com', 'org', 'de', 'co.kr'])}"
        if slot == "card":
            return " ".join(digits(4) for _ in range(4))
        if slot == "acct":
            return pick([digits(10), f"{digits(3)}-{digits(6)}-{digits(5)}", f"****{digits(4)}"])
        if slot == "iban":
            return f"{pick(['DE', 'FR', 'NL', 'GB'])}{digits(20)}"
        if slot == "ibang":
            body = digits(18)
            country = pick(["DE", "FR", "NL", "GB", "ES", "BE"])
            groups = pick(["", "NWBK", "ZZZZ"]) + body
            return f"{country}{digits(2)} " + " ".join(groups[at : at + 4] for at in range(0, len(groups), 4))
        if slot == "bic":
            return "".join(self.random.choices("ABCDEFGHKLMNPRSTVX", k=6)) + pick(["2L", "FF", "33", "2A", "KK"])
        if slot == "ssn":
            return f"{digits(3)}-{digits(2)}-{digits(4)}"
        if slot == "nhs":
            return pick(
                [f"{digits(3)} {digits(3)} {digits(4)}", digits(9), f"QQ {digits(2)} {digits(2)} {digits(2)} C"]
            )
        if slot == "pass":
            return pick([digits(9), f"{pick('ABCKM')}{digits(8)}", f"US{digits(10)}"])
        if slot == "sort":
            return pick([f"{digits(2)}-{digits(2)}-{digits(2)}", f"{number(1, 12):02d}/{number(24, 31)}"])
        if slot == "rrn":
            return f"{digits(6)}-{pick('1234')}{digits(6)}"
        if slot == "ip":
            return ".".join(str(number(1, 254)) for _ in range(4))
        if slot == "ticker":
            return "".join(self.random.choices("ABCDEFGHKLMNPRSTVX", k=4))
        if slot == "ref":
            return pick([f"#{digits(6)}", f"{pick(['AB', 'INV', 'C', 'TR'])}-{digits(5)}", digits(8)])
        if slot == "acr":
            return "".join(self.random.choices("ABCDEFGHIKLMNOPRSTUVWX", k=number(3, 5)))
        if slot == "prod":
            return pick(["Premier Savings", "Gold Card", "Flex Loan", "Smart Checking"])
        raise ValueError(f"no slot {slot}")


def _fitting(text: str, with_final: str, without: str) -> str:
    """The particle's form after a syllable with or without a final consonant."""
    last = text[-1:]
    closed = "가" <= last <= "힣" and (ord(last) - 0xAC00) % 28 != 0
    return with_final if closed else without


def _titled(text: str) -> str:
    return re.sub(r"(?<![\w'@.])[a-z]", lambda match: match[0].upper(), text)


def held_out(shape: str, share: int = 15) -> bool:
    """Whether a carrier is kept for measuring."""
    return crc32(shape.encode()) % 100 < share


def read_carriers(pack: Path) -> list[tuple[str, str, str]]:
    """Language, section and carrier of all."""
    found = []
    for language in ("en", "ko"):
        path = pack / SEEDS / f"tagger_carriers_{language}.yaml"
        for section, shapes in yaml.safe_load(path.read_text(encoding="utf-8")).items():
            found += [(language, section, shape) for shape in shapes]
    return found


FILLS = {
    "letters": 20, "calls": 20, "forms": 20, "narrative": 18, "plain": 16, "tables": 12, "news": 44, "customers": 22,
    "cases": 20, "identifiers": 24,
}  # fmt: skip


def training_texts(names: Names, carriers: list[tuple[str, str, str]], seed: int, scale: float = 1.0) -> list[Labelled]:
    """Texts of the carriers, alone and joined as in a letter or a file.

    Args:
        names: what may be drawn.
        carriers: of `read_carriers`.
        seed: of the draw.
        scale: share of the usual number of texts.
    """
    filler = Filler(names, seed)
    texts = [
        filler.fill(shape, language)
        for language, section, shape in carriers
        for _ in range(max(1, round(FILLS[section] * scale)))
    ]
    by_kind: dict[tuple[str, bool], list[str]] = {}
    for language, section, shape in carriers:
        by_kind.setdefault((language, section == "news"), []).append(shape)
    for (language, _), shapes in sorted(by_kind.items()):
        for _ in range(round(len(shapes) * 4 * scale)):
            parts = [filler.fill(filler.random.choice(shapes), language) for _ in range(filler.random.randint(2, 4))]
            texts.append(_joined(parts, filler.random.choice([" ", " ", "\n", "\n\n"]), language))
    return texts


def strewn_texts(names: Names, pack: Path, seed: int, scale: float = 1.0) -> list[Labelled]:
    """Sentences of the pack's handbook in which a name takes the place of some word.

    So a name is told by itself where no carrier ever showed its surroundings. In what reads like news or a filing it
    stays unlabelled.
    """
    filler = Filler(names, seed)
    sentences = sorted(
        sentence
        for path in pack.glob("corpus/handbook*.md")
        for sentence in re.split(r"(?<=[.!?])\s+", path.read_text(encoding="utf-8"))
        if 30 < len(sentence) < 200 and not sentence.startswith("#") and "\n" not in sentence
    )
    texts = []
    for _ in range(round(_STREWN * scale)):
        sentence = filler.random.choice(sentences)
        words = [match.span() for match in re.finditer(r"(?<![\w'-])[a-z]{3,}(?![\w'-])", sentence)]
        if not words:
            continue
        start, end = filler.random.choice(words)
        filler._origin = filler.random.choice(filler._origins)
        form = filler.random.random()
        if form < 0.45:  # what has capitals and is nobody
            name = filler._value(filler.random.choice(["org", "org", "org", "city", "country", "acr"]), "en")[0]
        else:
            name = filler._value("P" if form < 0.85 else "G" if form < 0.93 else "S", "en")[0]
        text = sentence[:start] + name + sentence[end:]
        marks = kind_of_text(text)
        news = "m3" in marks or ("m1" in marks and not PERSONAL_MARKS.intersection(marks))
        spans = () if news or form < 0.45 else ((start, start + len(name), NAME),)
        texts.append(filler._in_another_case(Labelled(text, spans, "en", "strewn")))
    return texts


def _joined(parts: list[Labelled], gap: str, language: str) -> Labelled:
    text, spans = "", []
    for part in parts:
        if text:
            if gap == " " and text[-1] not in ".!?\n":
                text += "."
            text += gap
        spans += [(start + len(text), end + len(text), label) for start, end, label in part.spans]
        text += part.text
    return Labelled(text, tuple(spans), language, parts[0].shape)


def pack_texts(pack: Path) -> list[Labelled]:
    """The pack's own prose, headlines and definitions, in which nobody is to be found."""
    texts: list[tuple[str, str]] = []
    for path in sorted(pack.glob("corpus/*.md")):
        if path.stem.startswith("handbook") or path.stem in ("generated_events", "generated_markets"):
            paragraphs = path.read_text(encoding="utf-8").split("\n")
            step = 1 if path.stem.startswith("handbook") else 9
            texts += [(line.lstrip("# "), "en") for line in paragraphs[::step] if len(line) > 20]
        elif path.stem == "generated_korean":
            texts += [(line, "ko") for line in path.read_text(encoding="utf-8").split("\n")[::2] if len(line) > 10]
    with open(pack / "headlines.csv", encoding="utf-8") as lines:
        texts += [(row["headline"], "en") for row in list(csv.DictReader(lines))[::2]]
    with open(pack / "glossary.csv", encoding="utf-8") as lines:
        texts += [(row["QA_text"], "en") for row in csv.DictReader(lines)]
    with open(pack / "extraction.jsonl", encoding="utf-8") as lines:
        contexts = [json.loads(line)["context"] for line in lines]
    texts += [(context, "en") for context in contexts[::8]]
    return [Labelled(text, (), language, "pack") for text, language in texts]
