"""The profile of a batch or a source: what later comparisons need of its rows, and none of their text.

Words are counted in 4,096 buckets under the project's key (`KeyRing.bucket`): in how many rows a bucket occurs. A plain
hash would let anybody who can read the book ask it "does the name Kim stand in this batch?": of a batch of fifty rows
nine buckets of ten are empty, so an empty one answers no for certain. Under the key that question needs the key, and
buckets stay comparable through its rotations. In clear stand the labels that the pack defines, and the terms that the
pack itself brings: its glossary and its list of watched terms. Figures are one bucket: a new price is no new word.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from domainlm.errors import ConfigurationError
from domainlm.project import resolve
from domainlm.reports import Report
from domainlm.sources import LABELLED, RawRow, SourceSettings
from domainlm.tasks import Task, load_tasks
from domainlm.text import words

if TYPE_CHECKING:
    from domainlm.keys import KeyRing

BUCKETS = 4096
USE = "profile"  # of the key
FIGURE = "0"  # stands for every word with a digit in it
UNKNOWN = "?"
TERM_FILES = ("glossary.csv", "watched_terms.csv")  # of a pack: CSV with a column `term`; neither must be there
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


class Profile(Report):
    """Counts over the rows of one task. Profiles of equal `key` and task can be added up and compared.

    Fields:
        key: mark of the key that its buckets were made under.
        task: task of the domain pack.
        source: name of the feed or source; empty for several.
        rows: rows that were kept; `words`: their words.
        columns: the columns of the files, in their order.
        labels: rows by label, for tasks whose labels the pack defines.
        buckets: bucket -> rows in which one of its words occurs; without empty ones.
        terms: term of the pack -> rows in which it occurs; without those that do not.
        lengths: words of a row -> rows; from 64 on in steps of a quarter of the power of two below.
        languages: rows by ISO 639-1 code; "?" counts what is no code.
        first_day, last_day: ISO 8601; empty where no row has a time.
    """

    key: str
    task: str
    source: str = ""
    rows: int = 0
    words: int = 0
    columns: tuple[str, ...] = ()
    labels: dict[str, int] = Field(default_factory=dict)
    buckets: dict[int, int] = Field(default_factory=dict)
    terms: dict[str, int] = Field(default_factory=dict)
    lengths: dict[int, int] = Field(default_factory=dict)
    languages: dict[str, int] = Field(default_factory=dict)
    first_day: str = ""
    last_day: str = ""

    def length_quantiles(self) -> dict[float, int]:
        """Words of a row at 5, 25, 50, 75 and 95 % of the rows."""
        found: dict[float, int] = {}
        seen = 0
        for length, rows in sorted(self.lengths.items()):
            seen += rows
            found |= {share: length for share in _QUANTILES if share not in found and seen >= share * self.rows}
        return found


def added(profiles: Iterable[Profile], by_source: bool = True) -> list[Profile]:
    """Profiles summed up, one for each key, task and (where asked) source, in order of their names."""
    groups: dict[tuple[str, str, str], list[Profile]] = {}
    for profile in profiles:
        groups.setdefault((profile.key, profile.task, profile.source if by_source else ""), []).append(profile)
    return [_sum(*names, parts) for names, parts in sorted(groups.items())]


def _sum(key: str, task: str, source: str, parts: Sequence[Profile]) -> Profile:
    def total(name: str) -> dict:
        counts: Counter = Counter()
        for part in parts:
            counts.update(getattr(part, name))
        return dict(sorted(counts.items()))

    return Profile(
        key=key, task=task, source=source, rows=sum(part.rows for part in parts),
        words=sum(part.words for part in parts),
        columns=tuple(dict.fromkeys(name for part in parts for name in part.columns)),
        labels=total("labels"), buckets=total("buckets"), terms=total("terms"), lengths=total("lengths"),
        languages=total("languages"),
        first_day=min((part.first_day for part in parts if part.first_day), default=""),
        last_day=max((part.last_day for part in parts), default=""),
    )  # fmt: skip


@dataclass(frozen=True)
class Pack:
    """What of a domain pack a profile needs.

    Args:
        tasks: by name.
        terms: the words of each term, and the term as the pack writes it.
    """

    tasks: Mapping[str, Task]
    terms: Mapping[tuple[str, ...], str]
    longest: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "longest", max(map(len, self.terms), default=0))

    @classmethod
    def read(cls, pack: str) -> Pack:
        """The pack in a folder, relative to the project.

        Raises:
            ConfigurationError: it has no tasks, or a file of terms without a column `term`.
        """
        folder = resolve(pack)
        terms = {tuple(words(term)): term for name in TERM_FILES for term in _terms_of(folder / name)}
        terms.pop((), None)
        return cls(load_tasks(folder / "tasks"), terms)

    def labels_of(self, task: str) -> tuple[str, ...]:
        """The classes of a task; none where the pack does not say."""
        return self.tasks[task].labels if task in self.tasks else ()

    def found_in(self, text: Sequence[str]) -> set[str]:
        """The terms among the words of a text; inside a longer one a shorter one does not count."""
        found: set[str] = set()
        place = 0
        while place < len(text):
            for length in range(min(self.longest, len(text) - place), 0, -1):
                if term := self.terms.get(tuple(text[place : place + length])):
                    found.add(term)
                    place += length - 1
                    break
            place += 1
        return found


def _terms_of(path: Path) -> list[str]:
    if not path.is_file():
        return []
    with open(path, encoding="utf-8-sig", newline="") as stream:
        reader = csv.DictReader(stream)
        if "term" not in (reader.fieldnames or ()):
            raise ConfigurationError("has no column 'term'", str(path), "one term a row, in a column called term")
        return [row["term"] or "" for row in reader]


class Profiler:
    """Counts rows as they stream by; memory does not grow with their number.

    Args:
        source: whose rows they are.
        pack: tasks and terms.
        keys: makes the buckets.
    """

    def __init__(self, source: SourceSettings, pack: Pack, keys: KeyRing) -> None:
        self._source, self._pack, self._keys = source, pack, keys
        self._labelled = source.form == LABELLED
        self._known = frozenset(pack.labels_of(source.resolved_task))
        self._bucket_of: dict[str, int] = {}
        self._counts: dict[str, Counter] = {
            name: Counter() for name in ("labels", "buckets", "terms", "lengths", "languages")
        }
        self.rows = self._words = 0
        self._first = self._last = ""

    def add(self, row: RawRow) -> None:
        """Count one row."""
        text = words(" ".join((row.question, row.context, "" if self._labelled else row.answer)))
        counts = self._counts
        self.rows += 1
        self._words += len(text)
        counts["buckets"].update({self._bucket(word) for word in text})
        counts["terms"].update(self._pack.found_in(text))
        counts["lengths"][_rounded(len(text))] += 1
        language = row.language
        counts["languages"][language if _is_code(language) else UNKNOWN] += 1
        if self._labelled and self._known:
            counts["labels"][row.answer if row.answer in self._known else UNKNOWN] += 1
        if row.timestamp:
            day = datetime.fromisoformat(row.timestamp).date().isoformat()
            self._first, self._last = min(self._first or day, day), max(self._last, day)

    def _bucket(self, word: str) -> int:
        if any(map(str.isdigit, word)):
            word = FIGURE
        found = self._bucket_of.get(word)
        if found is None:
            if len(self._bucket_of) >= 1 << 18:  # a text of ever new words must not fill the memory
                self._bucket_of.clear()
            found = self._bucket_of[word] = self._keys.bucket(USE, word, BUCKETS)
        return found

    def profile(self, columns: Sequence[str]) -> Profile:
        """What was counted so far."""
        return Profile(
            key=self._keys.origin, task=self._source.resolved_task, source=self._source.name, rows=self.rows,
            words=self._words, columns=tuple(columns),
            first_day=self._first, last_day=self._last,
            **{name: dict(sorted(counts.items())) for name, counts in self._counts.items()},
        )  # fmt: skip


def _rounded(length: int) -> int:
    return length if length < 64 else length - length % (1 << length.bit_length() - 3)


def _is_code(text: str) -> bool:
    return len(text) == 2 and text.isascii() and text.isalpha() and text.islower()
