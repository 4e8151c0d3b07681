"""The pack's monthly drops of news and prices: rows to score, and what the prices did after each of them."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from domainlm.errors import SourceError

NEWS, PRICES = "news.jsonl", "prices.csv"
UP, DOWN, FLAT = "up", "down", "flat"
SIGN = {UP: 1, FLAT: 0, DOWN: -1}
FLAT_WITHIN = 0.005  # of the close; the pack's own definition of a flat day (domains/finance/README.md)


@dataclass(frozen=True)
class Headline:
    """One headline of a month.

    Fields:
        text: as it was published.
        label: its sentiment: positive, neutral or negative.
        shape: the sentence shape that it was made from; rows of one shape are one observation.
        day: ISO 8601 date.
        direction: where the ticker's close went on the next trading day: up, flat or down.
        move: that close over the day's own, minus 1.
    """

    text: str
    label: str
    shape: str
    day: str
    direction: str
    move: float


@dataclass(frozen=True)
class Month:
    """What was published in one month.

    Fields:
        name: YYYY-MM.
        folder: where its files lie in the pack.
        headlines: in the order of publication.
    """

    name: str
    folder: Path
    headlines: tuple[Headline, ...]


def read_market(folder: Path, months: int | None = None) -> tuple[Month, ...]:
    """Read the drops in order of time, and hold each row's `direction` against the prices of its drop.

    Args:
        folder: the pack's `market`, with a folder a month.
        months: only so many, from the first on.

    Raises:
        SourceError: there are no drops, or a row's direction is not what the closing prices say.
    """
    drops = sorted(path.parent for path in folder.glob(f"[0-9][0-9][0-9][0-9]-[0-9][0-9]/{NEWS}"))[:months]
    if not drops:
        raise SourceError("holds no monthly drops", str(folder), f"a drop is YYYY-MM/{NEWS} with {PRICES}")
    return tuple(Month(drop.name, drop, tuple(_headlines(drop))) for drop in drops)


def _headlines(drop: Path) -> list[Headline]:
    moves = _moves(drop / PRICES)
    found = []
    with (drop / NEWS).open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            row = json.loads(line)
            move = moves.get((row["ticker"], row["date"]))
            if move is None or _direction(move) != row["direction"]:
                raise SourceError(
                    "states another direction than the prices of its drop", f"{drop / NEWS}, row {number}",
                    "make the drops again (python -m domains.makers.market)",
                )  # fmt: skip
            found.append(Headline(row["headline"], row["label"], row["shape"], row["date"], row["direction"], move))
    return found


def _moves(prices: Path) -> dict[tuple[str, str], float]:
    """(ticker, day) -> the next trading day's close over this day's, minus 1; a drop's last day has none."""
    closes: dict[str, list[tuple[str, float]]] = {}
    with prices.open(encoding="utf-8", newline="") as lines:
        for bar in csv.DictReader(lines):
            closes.setdefault(bar["ticker"], []).append((bar["date"], float(bar["close"])))
    return {
        (ticker, day): after / close - 1
        for ticker, days in closes.items()
        for (day, close), (_, after) in pairwise(days)
    }


def _direction(move: float) -> str:
    if abs(move) <= FLAT_WITHIN:
        return FLAT
    return UP if move > 0 else DOWN
