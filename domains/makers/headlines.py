"""Writes headlines.csv and headlines_lexicon_disjoint.csv of the finance pack: python -m domains.makers.headlines

Each row is one filling of a hand-written sentence shape (seeds/headline_shapes.yaml). A split by `shape` keeps whole
sentence frames apart, so a test row can only be labelled by what its words mean, not by a frame seen in training.
"""

import csv
import hashlib
import random
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import yaml

PACK = Path(__file__).resolve().parents[1] / "finance"
LABELS = ("positive", "negative", "neutral")
SEED = 2023
FILLINGS = 4
DISJOINT_FILLINGS = 2
# Two shapes whose delexicalised skeletons share more than this part of their word 3-grams count as one shape.
SAME_SHAPE_JACCARD = 0.4

SLOT = re.compile(r"\{(\w+)\}")
WORD = re.compile(r"[a-z]+(?:-[a-z]+)*|[_~0]")


def read_seed(name: str) -> dict:
    """One file of the pack's seeds folder."""
    return yaml.safe_load((PACK / "seeds" / f"{name}.yaml").read_text(encoding="utf-8"))


def read_shapes(block: str) -> list[str]:
    """The shapes of a block, one a line, without its `# ...` headings."""
    lines = (line.strip() for line in block.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def cue_forms(block: str) -> dict[str, str]:
    """Maps each inflected form of a cue to its lemma."""
    return {form: line.split()[0] for line in read_shapes(block) for form in line.split()}


def skeleton(shape: str, cues: Mapping[str, str]) -> tuple[str, ...]:
    """The frame of a shape: lower-cased words, every slot as `_`, every cue as `~`, every number as `0`.

    Cues are masked too, so that "profit rises at X" and "profit falls at X" are one frame.
    """
    plain = re.sub(r"\d[\d.,]*", "0", SLOT.sub("_", shape).lower().replace("_'s", "_"))
    return tuple("~" if word in cues else word for word in WORD.findall(plain))


def trigrams(frame: tuple[str, ...]) -> set[tuple[str, ...]]:
    """The word 3-grams of a skeleton, with the sentence's two ends as words."""
    words = ("^", *frame, "$")
    return set(zip(words, words[1:], words[2:], strict=False))


def jaccard(left: set, right: set) -> float:
    """The shared part of two sets."""
    return len(left & right) / len(left | right)


def shape_ids(shapes: Iterable[str], cues: Mapping[str, str], prefix: str) -> dict[str, str]:
    """An id for each shape; near-identical shapes (transitively) get the id of the first of them.

    Ids hash the text of a shape, so adding shapes at the end of a list moves no older shape into another split.
    """
    ids: dict[str, str] = {}
    frames: dict[str, set[tuple[str, ...]]] = {}
    for shape in shapes:
        frame = trigrams(skeleton(shape, cues))
        near = {ids[other] for other, seen in frames.items() if jaccard(frame, seen) > SAME_SHAPE_JACCARD}
        own = next((i for i in ids.values() if i in near), None)
        own = own or prefix + hashlib.sha256(shape.encode()).hexdigest()[:10]
        if len(near) > 1:
            ids = {other: own if i in near else i for other, i in ids.items()}
        ids[shape] = own
        frames[shape] = frame
    return ids


class Filler:
    """Fills the slots of shapes with invented names and random figures.

    A slot that ends in 2 ({company2}) takes another value of the same kind; no name stem occurs twice in a headline.
    """

    def __init__(self, names: dict) -> None:
        """Takes the content of seeds/headline_names.yaml."""
        self._stems, self._endings, self._words = names["stems"], names["endings"], names["words"]
        people = names["people"]
        self._people = [f"{given} {family}" for given in people["given"] for family in people["family"]]
        # The Korean list is short: repeated, so that every second person or so is Korean.
        self._people += people["korean"] * 20
        self._figures: dict[str, Callable[[random.Random], str]] = {
            "pct": lambda r: r.choice((f"{r.randint(1, 9)}.{r.randint(1, 9)}%", f"{r.randint(10, 48)}%")),
            "amt": lambda r: r.choice("$€£") + r.choice((
                f"{r.randint(11, 980)} million", f"{r.randint(1, 9)}.{r.randint(1, 9)} billion")),
            "won": lambda r: r.choice((
                f"{r.randint(110, 980)} billion won", f"{r.randint(1, 9)}.{r.randint(1, 9)} trillion won")),
            "price": lambda r: f"{r.randint(1, 9)}.{r.randint(10, 99)}",
            "n": lambda r: f"{r.randint(210, 9800):,}",
            "tens": lambda r: str(r.randint(13, 95)),
            "past": lambda r: str(r.randint(2008, 2021)),
            "year": lambda r: str(r.randint(2026, 2028)),
            "year2": lambda r: str(r.randint(2029, 2031)),
            "kospi": lambda r: f"{r.randint(1980, 3150):,}",
            "krw": lambda r: f"{r.randint(1180, 1460):,}",
            "bps": lambda r: f"{r.randrange(10, 80, 5)} basis points",
            "dom": lambda r: str(r.randint(1, 28)),
        }

    def fill(self, shape: str, rng: random.Random, given: Mapping[str, str] | None = None) -> str:
        """A headline of this shape; `given` fixes the values of some slots."""
        given, used = given or {}, set((given or {}).values())

        def value(slot: re.Match) -> str:
            name = slot.group(1)
            return given[name] if name in given else self._draw(name, rng, used)

        text = SLOT.sub(value, shape)
        # "a 8.4%" and "a Ostrel order": the article depends on what fell into the slot.
        text = re.sub(r"\b([Aa]) (?=[AEIOaeio]|8|11\b|18\b)(?!euro|one)", r"\1n ", text)
        text = text.replace("s's ", "s' ")
        return text[0].upper() + text[1:]

    def _draw(self, name: str, rng: random.Random, used: set[str]) -> str:
        if name in self._figures:
            return self._figures[name](rng)
        kind = name.rstrip("2")
        if kind in self._endings:
            ending = self._endings[kind]
            stem = rng.choice([stem for stem in self._stems[ending["stems"]] if stem not in used])
            used.add(stem)
            return f"{stem} {rng.choice(ending['words'])}"
        values = self._people if kind == "person" else self._words.get(kind)
        if values is None:
            raise KeyError(f"seeds/headline_names.yaml knows no slot {{{name}}}: add it there or mend the shape")
        value = rng.choice([value for value in values if value not in used])
        used.add(value)
        return value


def rows(blocks: Mapping[str, str], cues: Mapping[str, str], prefix: str, fillings: int) -> list[dict[str, str]]:
    """The rows of one headline file: every shape of every label, filled several times, no headline twice."""
    filler = Filler(read_seed("headline_names"))
    labelled = [(label, shape) for label in LABELS for shape in read_shapes(blocks[label])]
    ids = shape_ids([shape for _, shape in labelled], cues, prefix)
    if len(ids) != len(labelled):
        raise ValueError("seeds/headline_shapes.yaml holds a shape twice")
    result, seen = [], set()
    for label, shape in labelled:
        rng = random.Random(f"{SEED}:{shape}")
        texts = list(dict.fromkeys(filler.fill(shape, rng) for _ in range(20 * fillings)))
        texts = [text for text in texts if text not in seen][:fillings]
        if len(texts) < fillings:
            raise ValueError(f"seeds/headline_shapes.yaml: {shape!r} has too few slots for {fillings} headlines")
        seen.update(texts)
        result += [{"headline": text, "label": label, "shape": ids[shape]} for text in texts]
    random.Random(SEED).shuffle(result)
    return result


def write(pack: Path = PACK) -> None:
    """Writes both headline files into a pack folder."""
    seed = read_seed("headline_shapes")
    cues = cue_forms(seed["cues"])
    for name, block, prefix, fillings in (
        ("headlines", seed["headlines"], "h-", FILLINGS),
        ("headlines_lexicon_disjoint", seed["lexicon_disjoint"], "d-", DISJOINT_FILLINGS),
    ):
        table = rows(block, cues, prefix, fillings)
        with (pack / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, ["headline", "label", "shape"], lineterminator="\n")
            writer.writeheader()
            writer.writerows(table)
        print(f"{name}.csv: {len(table)} rows of {len({row['shape'] for row in table})} shapes")


if __name__ == "__main__":
    write()
