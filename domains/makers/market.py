"""Writes the market drops of the finance pack, market/YYYY-MM/{news.jsonl,prices.csv}: python -m domains.makers.market

Two simulated years of twelve invented companies. Prices follow a geometric Brownian motion whose drift and volatility
switch between regimes, with jumps; each headline carries the sentiment of its text (`label`) and, computed from the
prices, where its ticker's close went on the next trading day (`direction`). The two agree only partly, by design.
"""

import csv
import itertools
import json
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

from domains.makers.headlines import PACK, Filler, cue_forms, read_seed, read_shapes, shape_ids

SEED = 2028
FIRST_DAY, LAST_DAY = date(2023, 1, 2), date(2024, 12, 31)
TRADING_DAYS_A_YEAR = 252
# Yearly drift and volatility of the common factor, and the chance a day to leave the regime.
REGIMES = {"calm": (0.07, 0.11, 1 / 80), "rally": (0.40, 0.15, 1 / 45), "slump": (-0.55, 0.27, 1 / 30)}
JUMP_CHANCE, JUMP_SIZE = 0.008, 0.07
# The Korea Exchange lets no share move further than 30 % in a day.
DAILY_LIMIT = 0.30
# Korea Exchange tick sizes since January 2023: up to a price, in steps of so many won.
TICKS = ((2_000, 1), (5_000, 5), (20_000, 10), (50_000, 50), (200_000, 100), (500_000, 500), (math.inf, 1_000))
# A next-day return within this band counts as flat; in basis points, so that its edge is exact.
FLAT_BAND_BP = 50
NEWS_A_MONTH = (46, 58)
# The chance that a headline's sentiment is the sign of the coming return rather than drawn at random.
SIGNAL = 0.25
RECAP_CHANCE, RECAP_MOVE, RECAP_FLAT = 0.10, 0.012, 0.003
SENTIMENT_OF = {"up": "positive", "down": "negative", "flat": "neutral"}


@dataclass(frozen=True)
class Bar:
    """One ticker's trading day, prices in won."""

    day: date
    ticker: str
    open: int
    high: int
    low: int
    close: int
    volume: int


def trading_days() -> list[date]:
    """Every weekday of the two years; the simulated exchange keeps no holidays."""
    span = (FIRST_DAY + timedelta(days=n) for n in range((LAST_DAY - FIRST_DAY).days + 1))
    return [day for day in span if day.weekday() < 5]


def to_tick(price: float) -> int:
    """The nearest price the exchange would quote."""
    step = next(step for limit, step in TICKS if price < limit)
    return max(step, round(price / step) * step)


def direction(close: int, next_close: int) -> str:
    """Where a close went: up, down, or flat within the band."""
    if 10_000 * abs(next_close - close) <= FLAT_BAND_BP * close:
        return "flat"
    return "up" if next_close > close else "down"


def simulate(tickers: dict[str, dict]) -> dict[str, list[Bar]]:
    """The bars of every ticker, day by day."""
    rng = random.Random(SEED)
    day_share = 1 / TRADING_DAYS_A_YEAR
    regime, last = "calm", {ticker: float(facts["price"]) for ticker, facts in tickers.items()}
    bars: dict[str, list[Bar]] = {ticker: [] for ticker in tickers}
    for day in trading_days():
        drift, volatility, leave = REGIMES[regime]
        market = drift * day_share + volatility * math.sqrt(day_share) * rng.gauss(0, 1)
        for ticker, facts in tickers.items():
            # What the factor does not explain of the ticker's volatility, against the calm regime's factor.
            own = math.sqrt(max(facts["volatility"] ** 2 - (facts["beta"] * REGIMES["calm"][1]) ** 2, 0.01))
            jump = rng.gauss(0, JUMP_SIZE) if rng.random() < JUMP_CHANCE else 0.0
            change = facts["beta"] * market + facts["drift"] * day_share + jump
            change += own * math.sqrt(day_share) * rng.gauss(0, 1) - own**2 * day_share / 2
            change = max(math.log(1 - DAILY_LIMIT), min(math.log(1 + DAILY_LIMIT), change))
            bars[ticker].append(_bar(rng, day, ticker, last[ticker], change, own))
            last[ticker] *= math.exp(change)
        if rng.random() < leave:
            regime = rng.choice([name for name in REGIMES if name != regime])
    return bars


def _bar(rng: random.Random, day: date, ticker: str, last: float, change: float, volatility: float) -> Bar:
    noise = volatility / math.sqrt(TRADING_DAYS_A_YEAR)
    opening, close = last * math.exp(0.3 * noise * rng.gauss(0, 1)), last * math.exp(change)
    high = max(opening, close) * math.exp(0.5 * noise * abs(rng.gauss(0, 1)))
    low = min(opening, close) * math.exp(-0.5 * noise * abs(rng.gauss(0, 1)))
    # Volume swells with the size of the move, as it does in real markets.
    volume = round(4e10 / last * math.exp(0.4 * rng.gauss(0, 1)) * (1 + 15 * abs(change)))
    return Bar(day, ticker, to_tick(opening), to_tick(high), to_tick(low), to_tick(close), volume)


def themes(month: int) -> dict[str, float]:
    """The share of each vocabulary in a month, counted from January 2023: year two's terms grow, year one's die out."""
    first = 0.35 if month < 12 else max(0.0, 0.20 - 0.05 * (month - 12))
    second = 0.0 if month < 12 else 0.15 + 0.035 * (month - 12)
    return {"year_one": first, "year_two": second, "evergreen": 1 - first - second}


class Newsroom:
    """Writes the headlines of the simulated market."""

    def __init__(self, tickers: dict[str, dict]) -> None:
        """Takes the listed companies; reads shapes and names from the seeds."""
        seed = read_seed("headline_shapes")
        names = read_seed("headline_names")
        self._tickers, self._months = tickers, names["words"]["month"]
        self._filler = Filler(names)
        self._shapes = {
            (section, label): [shape.partition(" @")[::2] for shape in read_shapes(block)]
            for section, labels in seed["market"].items() for label, block in labels.items()
        }
        plain = [shape for shapes in self._shapes.values() for shape, _ in shapes]
        self._ids = shape_ids(plain, cue_forms(seed["cues"]), "m-")
        self._written: set[str] = set()

    def write(self, rng: random.Random, month: int, previous: Bar, today: Bar, tomorrow: Bar) -> dict[str, str]:
        """A new headline about today's ticker, with its sentiment and the direction of the next close."""
        outcome = direction(today.close, tomorrow.close)
        while True:
            section, label = self._pick(rng, month, today.close / previous.close - 1, outcome)
            tags = self._tickers[today.ticker]["tags"]
            shape = rng.choice([shape for shape, tag in self._shapes[section, label] if not tag or tag in tags])
            text = self._filler.fill(shape, rng, self._given(rng, previous, today))
            if text not in self._written:
                self._written.add(text)
                return {
                    "date": today.day.isoformat(), "ticker": today.ticker, "headline": text, "label": label,
                    "direction": outcome, "shape": self._ids[shape],
                }

    def _pick(self, rng: random.Random, month: int, move: float, outcome: str) -> tuple[str, str]:
        if rng.random() < RECAP_CHANCE:
            if abs(move) < RECAP_FLAT:
                return "recap_flat", "neutral"
            if abs(move) > RECAP_MOVE:
                return ("recap_up", "positive") if move > 0 else ("recap_down", "negative")
        label = SENTIMENT_OF[outcome] if rng.random() < SIGNAL else rng.choice(list(SENTIMENT_OF.values()))
        odds = themes(month)
        return rng.choices(list(odds), list(odds.values()))[0], label

    def _given(self, rng: random.Random, previous: Bar, today: Bar) -> dict[str, str]:
        facts = self._tickers[today.ticker]
        other = rng.choice([ticker for ticker in self._tickers if ticker != today.ticker])
        item = rng.choice(facts["items"])
        return {
            "name": facts["name"],
            "other": self._tickers[other]["name"],
            "item": item,
            "items": item + "s",
            "month": self._months[(today.day.month + rng.randint(0, 2)) % 12],
            "last_month": self._months[today.day.month - 2],
            "close": f"{today.close:,}",
            "move": f"{abs(today.close / previous.close - 1):.1%}",
            "target": f"{to_tick(today.close * rng.uniform(0.75, 1.35)):,}",
            "amount": f"{rng.randint(12, 980)} billion won",
        }


def drops() -> Iterator[tuple[str, list[dict[str, str]], list[Bar]]]:
    """Month by month: its name, its news and its bars."""
    tickers = read_seed("headline_names")["tickers"]
    bars, newsroom, rng = simulate(tickers), Newsroom(tickers), random.Random(SEED + 1)
    days = trading_days()
    months = itertools.groupby(range(len(days)), key=lambda index: days[index].strftime("%Y-%m"))
    for count, (month, group) in enumerate(months):
        indices = list(group)
        # The last day has no news: its direction would need a price that this drop does not hold yet. The first day
        # of all has none either, for want of a day before it.
        news_days = sorted(rng.choices(indices[1 if count == 0 else 0:-1], k=rng.randint(*NEWS_A_MONTH)))
        news = []
        for index in news_days:
            series = bars[rng.choice(list(tickers))]
            news.append(newsroom.write(rng, count, *series[index - 1:index + 2]))
        yield month, news, [bars[ticker][index] for index in indices for ticker in tickers]


def write(pack: Path = PACK) -> None:
    """Writes every monthly drop into a pack folder."""
    scores, changes = [], []
    for month, news, prices in drops():
        folder = pack / "market" / month
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "news.jsonl").open("w", encoding="utf-8", newline="\n") as file:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in news)
        with (folder / "prices.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["date", "ticker", "open", "high", "low", "close", "volume"])
            writer.writerows([b.day, b.ticker, b.open, b.high, b.low, b.close, b.volume] for b in prices)
        scores += [("negative", "neutral", "positive").index(row["label"]) for row in news]
        changes += [("down", "flat", "up").index(row["direction"]) for row in news]
        print(f"{month}: {len(news)} headlines, {len(prices)} bars")
    print(f"{len(scores)} headlines; sentiment against direction: r = {_correlation(scores, changes):.3f}")


def _correlation(left: list[int], right: list[int]) -> float:
    mean_l, mean_r = sum(left) / len(left), sum(right) / len(right)
    covariance = sum((a - mean_l) * (b - mean_r) for a, b in zip(left, right, strict=True))
    return covariance / math.sqrt(sum((a - mean_l) ** 2 for a in left) * sum((b - mean_r) ** 2 for b in right))


if __name__ == "__main__":
    write()
