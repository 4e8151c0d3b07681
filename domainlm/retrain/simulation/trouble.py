"""What lands when: every month's folder on the first day of the next one, and what goes wrong with some of them.

A month is a folder with `news.jsonl` and a marker. The trouble is what landing zones see in earnest: uploads that stop
half-way, months that come late and out of order, the same bytes twice, empty files, renamed columns, a correction that
swaps labels, files that vanish and come back, and text from a source that nobody vouches for.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from domainlm.retrain.simulation.market import NEWS, Headline, Month

MARKET, VENDOR = "market", "vendor"  # the two feeds, and their folders in the zone
MARKER = "_SUCCESS"
HOUR_S, DAY_S = 3600.0, 86400.0
SWAPPED = {"positive": "negative", "negative": "positive"}
Work = Callable[[Path, Month], None]


@dataclass(frozen=True)
class Act:
    """Something that somebody does to the landing zone.

    Fields:
        time: simulated Unix time.
        folder: below the zone.
        month: whose rows.
        work: what is done, given the folder's path and the month.
        trouble: its name, or "" for what goes as it should.
        told: what is done, for people.
    """

    time: float
    folder: str
    month: Month
    work: Work
    trouble: str = ""
    told: str = ""

    def do(self, zone: Path) -> None:
        """Do it; files get the simulated time."""
        place = zone / self.folder
        self.work(place, self.month)
        if place.is_dir():
            for path in (*place.iterdir(), place):
                os.utime(path, (self.time, self.time))


def timeline(months: Sequence[Month], trouble: bool) -> list[Act]:
    """All acts in the order of time.

    Args:
        months: what is to be delivered.
        trouble: whether anything goes wrong; months that are not among `months` take their trouble with them.
    """
    acts: list[Act] = []
    for month in months:
        acts += _TROUBLE.get(month.name, _as_it_should)(month) if trouble else _as_it_should(month)
    return sorted(acts, key=lambda act: act.time)


def start_of(month: str, after: int = 0) -> float:
    """The first moment (UTC) of a month, or of one so many months after it."""
    year, number = (int(part) for part in month.split("-"))
    number += after
    return datetime(year + (number - 1) // 12, (number - 1) % 12 + 1, 1, tzinfo=UTC).timestamp()


# ---------------------------------------------------------------------------------------------- what is done


def deliver(place: Path, month: Month) -> None:
    """The month as it is, then the marker."""
    place.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(month.folder / NEWS, place / NEWS)
    (place / MARKER).touch()


def _half(place: Path, month: Month) -> None:
    place.mkdir(parents=True)
    content = (month.folder / NEWS).read_bytes()
    (place / NEWS).write_bytes(content[: len(content) // 2])


def _empty(place: Path, month: Month) -> None:
    place.mkdir(parents=True)
    (place / NEWS).touch()
    (place / MARKER).touch()


def _remove(place: Path, month: Month) -> None:
    shutil.rmtree(place)


def _changed(change: Callable[[dict[str, str]], dict[str, str]]) -> Work:
    def work(place: Path, month: Month) -> None:
        place.mkdir(parents=True)
        with (month.folder / NEWS).open(encoding="utf-8") as lines, (place / NEWS).open("w", encoding="utf-8") as sink:
            for line in lines:
                sink.write(json.dumps(change(json.loads(line))) + "\n")
        (place / MARKER).touch()

    return work


def _renamed(row: dict[str, str]) -> dict[str, str]:
    return {"title" if name == "headline" else name: value for name, value in row.items()}


def _swapped(row: dict[str, str]) -> dict[str, str]:
    return row | {"label": SWAPPED.get(row["label"], row["label"])}


def _unvouched(row: dict[str, str]) -> dict[str, str]:
    return row | {"headline": f"{row['headline']} (via a reader)"}


# ---------------------------------------------------------------------------------------------- and when


def _act(month: Month, days: float, work: Work, trouble: str = "", told: str = "", name: str = "", feed: str = MARKET):
    return Act(start_of(month.name, 1) + days * DAY_S, f"{feed}/{name or month.name}", month, work, trouble, told)


def _as_it_should(month: Month) -> list[Act]:
    return [_act(month, 0.25, deliver)]


def _half_written(month: Month) -> list[Act]:
    name = "half-written upload"
    return [
        _act(month, 0.25, _half, name, "half of the file, no marker"),
        _act(month, 0.5, deliver, name, "six hours later the whole file and its marker"),
    ]


def _late(month: Month) -> list[Act]:
    return [_act(month, 61.5, deliver, "late and out of order", "two months late, behind the months after it")]


def _same_again(month: Month) -> list[Act]:
    name = "same bytes under another name"
    return [*_as_it_should(month), _act(month, 1, deliver, name, "sent again", f"{month.name}-again")]


def _empty_first(month: Month) -> list[Act]:
    name = "0 bytes"
    return [
        _act(month, 0.25, _empty, name, "an empty file with a marker"),
        _act(month, 1, deliver, name, "a day later the right file in its place"),
    ]


def _other_columns(month: Month) -> list[Act]:
    name = "changed columns"
    return [
        _act(month, 0.25, _changed(_renamed), name, "`headline` is called `title`"),
        _act(month, 2, deliver, name, "two days later sent again as agreed", f"{month.name}-mended"),
    ]


def _wrong_correction(month: Month) -> list[Act]:
    return [
        *_as_it_should(month),
        _act(month, 1, _changed(_swapped), "swapped labels",
             "a correction of the month, positive and negative swapped", f"{month.name}-correction"),
    ]  # fmt: skip


def _gone_and_back(month: Month) -> list[Act]:
    name = "removed and put back"
    return [
        _act(month, 0.25, deliver, name, "as it should"),
        _act(month, 0.25 + 1 / 24, _remove, name, "an hour later the folder is gone"),
        _act(month, 5, deliver, name, "five days later it is back"),
    ]


def _untrusted(month: Month) -> list[Act]:
    return [
        *_as_it_should(month),
        _act(month, 1, _changed(_unvouched), "untrusted source", "a feed that nobody vouches for", feed=VENDOR),
    ]


_TROUBLE: dict[str, Callable[[Month], list[Act]]] = {
    "2023-02": _half_written,
    "2023-05": _late,
    "2023-08": _same_again,
    "2023-10": _empty_first,
    "2023-12": _other_columns,
    "2024-02": _wrong_correction,
    "2024-05": _gone_and_back,
    "2024-07": _untrusted,
}


def scored(months: Sequence[Month]) -> list[Headline]:
    """All headlines in the order of time: what every model answers."""
    return [headline for month in months for headline in month.headlines]
