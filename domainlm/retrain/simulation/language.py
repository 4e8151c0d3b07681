"""Language that drifts: what dated texts cost a model that stopped reading, and one that goes on reading year by year.

Bits a character need no labels and do not depend on the tokenizer. Prequential as with the news: the texts of a year
are scored by models that have read nothing of it. Lazaridou et al. (2021, "Mind the Gap: Assessing Temporal
Generalization in Neural Language Models") measured the same on news and papers.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from domainlm.errors import SourceError
from domainlm.reports import Report
from domainlm.retrain.simulation.draws import Draws
from domainlm.retrain.simulation.outcome import Figure
from domainlm.text import words

TERMS_SHOWN = 16
_DATED = re.compile(r"(?<!\d)((?:19|20)\d{2})-?(0[1-9]|1[0-2])-?([0-3]\d)(?!\d)")


class Passage(NamedTuple):
    """A piece of a dated text, redacted, as a model reads it.

    Fields:
        group: of the text that it is a piece of.
    """

    text: str
    group: str


class Reader(Protocol):
    """The bits that each passage costs a model."""

    def __call__(self, passages: Sequence[Passage]) -> list[float]: ...


class Teacher(Protocol):
    """Pre-trains the base further on the texts of some years; of none, the base itself."""

    def __call__(self, years: Sequence[int]) -> Reader: ...


class Year(Report):
    """One year.

    Fields:
        texts, characters: what was scored.
        base, frozen, retrained: bits a character; the latter two None for years that the frozen model read.
        terms: share of the year's texts that use a term of the pack.
        new_words: share of running words that no year before had.
    """

    year: int
    texts: int
    characters: int
    base: Figure
    frozen: Figure | None
    retrained: Figure | None
    terms: dict[str, float]
    new_words: float


class Language(Report):
    """What the drift of a language costs.

    Fields:
        early: the last year that the frozen model read.
        terms: those whose share moved most between the first and the second half.
        gain: bits a character over all later years, frozen minus retrained: positive where reading on helps.
        first_gain, last_gain: the same over the first and the last five of the later years.
        repeated: share of the later years' characters in passages that an earlier year has word for word.
        fresh_gain: the gain on the passages that no earlier year has.
    """

    early: int
    terms: tuple[str, ...]
    years: tuple[Year, ...]
    gain: Figure
    first_gain: Figure
    last_gain: Figure
    repeated: float
    fresh_gain: Figure


def dated_files(folder: Path) -> dict[int, tuple[str, ...]]:
    """The text files of a folder by the year that their names hold (20190130.txt, minutes-2019-01-30.txt).

    Raises:
        SourceError: there is none, or they are of fewer than three years.
    """
    found: dict[int, list[str]] = {}
    for path in sorted(folder.glob("*.txt")):
        if match := _DATED.search(path.name):
            found.setdefault(int(match[1]), []).append(path.name)
    if len(found) < 3:
        raise SourceError(
            f"holds dated texts of {len(found)} years", str(folder), "name a folder of YYYYMMDD.txt files of many years"
        )
    return {year: tuple(names) for year, names in sorted(found.items())}


def glossary_terms(path: Path) -> list[str]:
    """The terms of a pack's glossary.

    Raises:
        OSError, KeyError: the file is not there, or has no column `term`.
    """
    with path.open(encoding="utf-8", newline="") as lines:
        return sorted({row["term"] for row in csv.DictReader(lines)})


def language_of(
    passages: Mapping[int, Sequence[Passage]], teach: Teacher, early: int, terms: Sequence[str]
) -> Language:
    """Score every year by the base, by a model that stopped reading, and by one that read every year before.

    Args:
        passages: year -> its passages, in order of time.
        teach: pre-trains.
        early: the last year that the frozen model reads.
        terms: what to count.

    Raises:
        SourceError: no year lies behind `early`, or none before.
    """
    years = sorted(passages)
    later = [year for year in years if year > early]
    if not later or later == years:
        raise SourceError(f"has no texts on both sides of {early}", "statements", "choose another first period")
    base, frozen = teach([]), teach([year for year in years if year <= early])
    costs: dict[int, dict[str, list[float]]] = {}
    for year in years:
        costs[year] = {"base": base(passages[year])}
        if year in later:
            costs[year]["frozen"] = frozen(passages[year])
            costs[year]["retrained"] = teach([before for before in years if before < year])(passages[year])
    shares, new_words = _shares(passages, terms), _new_words(passages)
    repeated = _repeated(passages)
    return Language(
        early=early,
        terms=_moved(shares, years),
        years=tuple(
            Year(
                year=year, texts=len({one.group for one in passages[year]}),
                characters=sum(len(one.text) for one in passages[year]),
                **{name: _bits(passages[year], costs[year].get(name)) for name in ("base", "frozen", "retrained")},
                terms={term: share for term, share in shares[year].items() if share}, new_words=new_words[year],
            )
            for year in years
        ),
        gain=_gain(passages, costs, later),
        first_gain=_gain(passages, costs, later[:5]),
        last_gain=_gain(passages, costs, later[-5:]),
        repeated=round(
            sum(len(one.text) for year in later for one, old in zip(passages[year], repeated[year], strict=True) if old)
            / sum(len(one.text) for year in later for one in passages[year]), 4,
        ),
        fresh_gain=_gain(passages, costs, later, repeated),
    )  # fmt: skip


def _ratio(sums: np.ndarray) -> np.ndarray:
    return sums[..., 0] / sums[..., 1]


def _bits(passages: Sequence[Passage], bits: list[float] | None) -> Figure | None:
    if bits is None:
        return None
    draws = Draws([one.group for one in passages])
    rows = np.asarray([[[cost, len(one.text)] for cost, one in zip(bits, passages, strict=True)]])
    return Figure(**dict(zip(("value", "low", "high"), draws.interval(_ratio, rows), strict=True)))


def _gain(
    passages: Mapping[int, Sequence[Passage]],
    costs: Mapping[int, Mapping[str, Sequence[float]]],
    years: Sequence[int],
    left_out: Mapping[int, Sequence[bool]] | None = None,
) -> Figure:
    rows = [
        (one, frozen, retrained)
        for year in years
        for number, (one, frozen, retrained) in enumerate(
            zip(passages[year], costs[year]["frozen"], costs[year]["retrained"], strict=True)
        )
        if left_out is None or not left_out[year][number]
    ]
    draws = Draws([one.group for one, _, _ in rows])
    frozen, retrained = (
        np.asarray([[[row[place], len(row[0].text)] for row in rows]], dtype=float) for place in (1, 2)
    )
    found = draws.difference(_ratio, frozen, retrained)
    return Figure(value=found.value, low=found.low, high=found.high, signed=True)


def _repeated(passages: Mapping[int, Sequence[Passage]]) -> dict[int, list[bool]]:
    """Which passages an earlier year has, up to case, figures and signs."""
    seen: set[tuple[str, ...]] = set()
    found = {}
    for year in sorted(passages):
        said = [tuple(word for word in words(one.text) if word.isalpha()) for one in passages[year]]
        found[year] = [text in seen for text in said]
        seen.update(said)
    return found


def _shares(passages: Mapping[int, Sequence[Passage]], terms: Sequence[str]) -> dict[int, dict[str, float]]:
    """The share of each year's texts in which a term stands as words, whatever their case."""
    patterns = {term: re.compile(rf"\b{re.escape(term)}s?\b", re.IGNORECASE) for term in terms}
    found = {}
    for year, pieces in passages.items():
        texts: dict[str, list[str]] = {}
        for one in pieces:
            texts.setdefault(one.group, []).append(one.text)
        found[year] = {
            term: round(sum(any(pattern.search(text) for text in parts) for parts in texts.values()) / len(texts), 4)
            for term, pattern in patterns.items()
        }
    return found


def _moved(shares: Mapping[int, Mapping[str, float]], years: Sequence[int]) -> tuple[str, ...]:
    """The terms whose share moved most from the first half of the years to the second, those that faded first."""
    halves = years[: len(years) // 2], years[len(years) // 2 :]

    def moved(term: str) -> float:
        first, second = (sum(shares[year][term] for year in half) / len(half) for half in halves)
        return second - first

    terms = sorted(shares[years[0]], key=lambda term: (-abs(moved(term)), term))[:TERMS_SHOWN]
    return tuple(sorted((term for term in terms if moved(term)), key=moved))


def _new_words(passages: Mapping[int, Sequence[Passage]]) -> dict[int, float]:
    seen: set[str] = set()
    found = {}
    for year in sorted(passages):
        running = [word for one in passages[year] for word in words(one.text) if word.isalpha()]
        found[year] = round(sum(word not in seen for word in running) / max(1, len(running)), 4)
        seen.update(running)
    return found
