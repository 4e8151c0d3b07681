"""The columns of a batch against those of the batches of its feed before it, and which names may be told.

A column's name is quoted only where it is known: the first line of a file without a header is a row of data.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import get_args

from domainlm.retrain.settings import FeedSettings
from domainlm.sources import NEEDED, OurColumn

_QUOTED = re.compile(r"'([^']*)'")


class ColumnsDiffer(Exception):
    """They are not those of the batches before: what a person reads."""


class Columns:
    """The columns of a batch against those of the batches of its feed before it.

    Args:
        feed: its settings.
        headers: columns of the batches before it, in order of landing.
        allowed: a person has released the batch as it is.

    Fields:
        found: columns that were read so far.
        known: names that may be told.
    """

    def __init__(self, feed: FeedSettings, headers: Sequence[tuple[str, ...]], allowed: bool) -> None:
        self._feed, self._allowed = feed, allowed
        self._csv = feed.resolved_format == "csv"
        self._before = headers[-1] if headers else ()
        self._all = frozenset(name for header in headers for name in header)
        self._always = frozenset(self._before).intersection(*headers) if headers else frozenset()
        configured = {*NEEDED[feed.form].values(), *feed.columns.values(), *feed.label_map, *get_args(OurColumn)}
        self.known = frozenset(configured | {feed.name, feed.resolved_task} | self._all)
        self.found: list[str] = []

    def read(self, header: Sequence[str], file: str) -> None:
        """Note the columns of a file. Files of CSV have the same ones in the same order: they are read as one source.

        Raises:
            ColumnsDiffer: they have not.
        """
        before = self.found or list(self._before)
        self.found += [name for name in header if name not in self.found]
        if self._csv and before and list(header) != before:
            remedy = f"ask who delivers it; if it is meant, give it a feed of its own beside '{self._feed.name}'"
            raise ColumnsDiffer(f"{file}: {self._difference(before, header)}; {remedy}")

    def compare(self, batch: str) -> None:
        """Compare the columns of JSON lines with those of the batches before.

        One that only some of them had may be left out; that another one is missing or new a person must allow, by
        releasing the batch.

        Raises:
            ColumnsDiffer: they differ, and nobody has allowed it.
        """
        differ = not self._all.issuperset(self.found) or not self._always.issubset(self.found)
        if self._before and not self._csv and differ and not self._allowed:
            told = self._difference(sorted(self._always), self.found)
            raise ColumnsDiffer(f"{batch}: {told}; ask who delivers it; if it is meant, release the batch")

    def hint(self, header: Sequence[str]) -> str:
        """How a file that lacks a column differs from those before it; nothing where there are none."""
        before = self._before if self._csv else sorted(self._always)
        return f"; {self._difference(before, header)}" if before and not set(before).issubset(header) else ""

    def _difference(self, before: Sequence[str], header: Sequence[str]) -> str:
        new = [name for name in header if name not in self._all.union(before)]
        missing = [name for name in before if name not in header]
        if not new and not missing:
            return "its columns stand in another order than in the files before it"
        parts = [f"missing {_names(missing)}"] if missing else []
        if 2 * len(new) > len(header):  # then the first line may be no header but a row
            parts.append(f"{len(new)} that are not known")
        elif new:
            parts.append(f"new {_names(new)}")
        return f"its columns are not those of the files before it: {'; '.join(parts)}"


def _names(columns: Sequence[str]) -> str:
    """Names that somebody else chose, for a message: short, few, and without signs that a terminal would follow."""
    shown = [name[:40] if name.isprintable() else ascii(name)[:40] for name in columns[:10]]
    return ", ".join([*shown, *([f"and {len(columns) - 10} more"] if len(columns) > 10 else [])])


def only_known(text: str, known: frozenset[str]) -> str:
    """A message of the reader without quoted words that are no names of ours: they may be cells of a row.

    The readers quote in single marks; a list of a header's names follows "known:".
    """
    quoted = _QUOTED.findall(text)
    if "known: " not in text and text.count("'") == 2 * len(quoted) and known.issuperset(quoted):
        return text
    start, end = text.find("'"), text.rfind("'") + 1
    return f"{text[:start]}(no known name){text[end:]}" if end and "known: " not in text else ""
