"""The market drops: rebuilt byte for byte, each complete in itself, prices and news consistent with one another."""

import csv
import hashlib
import json
import re
from collections import Counter, defaultdict
from datetime import date
from fractions import Fraction
from statistics import correlation

import pytest

from domains.makers import headlines, market

ROOT = headlines.PACK / "market"
SCORE = {"negative": -1, "neutral": 0, "positive": 1}


@pytest.fixture(scope="module")
def news():
    return {
        folder.name: [json.loads(line) for line in (folder / "news.jsonl").read_text(encoding="utf-8").splitlines()]
        for folder in sorted(ROOT.iterdir())
    }


@pytest.fixture(scope="module")
def closes():
    """month -> ticker -> [(date, close), ...] of that month's file alone."""
    table = {folder.name: defaultdict(list) for folder in sorted(ROOT.iterdir())}
    for month, series in table.items():
        with (ROOT / month / "prices.csv").open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                series[row["ticker"]].append((row["date"], int(row["close"])))
    return table


def test_the_maker_rewrites_every_drop_byte_for_byte(tmp_path):
    market.write(tmp_path)

    def digests(root):
        return {
            str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(root.rglob("*"))
            if path.is_file()
        }

    assert digests(tmp_path / "market") == digests(ROOT), "run python -m domains.makers.market"


def test_there_are_24_months_of_ten_or_more_tickers_and_40_or_more_headlines(news, closes):
    assert list(news) == [f"{year}-{month:02}" for year in (2023, 2024) for month in range(1, 13)]
    assert min(len(rows) for rows in news.values()) >= 40
    assert all(len(series) >= 10 for series in closes.values())
    texts = [row["headline"] for rows in news.values() for row in rows]
    assert len(set(texts)) == len(texts)
    assert not any(re.search(r"[{}@]|\s\s", text) for text in texts)


def test_a_direction_follows_from_the_prices_of_its_own_drop(news, closes):
    for month, rows in news.items():
        for row in rows:
            series = closes[month][row["ticker"]]
            at = [day for day, _ in series].index(row["date"])
            change = Fraction(series[at + 1][1], series[at][1]) - 1
            expected = "up" if change > Fraction(1, 200) else "down" if change < -Fraction(1, 200) else "flat"
            assert row["direction"] == expected, (month, row)


def test_recaps_tell_the_move_that_the_prices_hold(news, closes):
    pattern = re.compile(r"(\d+\.\d)%")
    recaps = headlines.read_seed("headline_shapes")["market"]
    blocks = [block for section in ("recap_up", "recap_down") for block in recaps[section].values()]
    shapes = [shape for block in blocks for shape in headlines.read_shapes(block)]
    frames = [re.sub(r"\\\{\w+\\\}", ".+", re.escape(shape)) for shape in shapes]
    checked = 0
    for month, rows in news.items():
        for row in rows:
            series = closes[month][row["ticker"]]
            at = [day for day, _ in series].index(row["date"])
            if at == 0 or not any(re.fullmatch(frame, row["headline"]) for frame in frames):
                continue
            change = series[at][1] / series[at - 1][1] - 1
            assert f"{abs(change):.1%}" == pattern.search(row["headline"]).group(0)
            assert row["label"] == ("positive" if change > 0 else "negative")
            checked += 1
    assert checked >= 30


def test_bars_are_possible_on_the_exchange(closes):
    previous = {}
    for month in closes:
        with (ROOT / month / "prices.csv").open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                low, high = int(row["low"]), int(row["high"])
                assert 0 < low <= min(int(row["open"]), int(row["close"]))
                assert max(int(row["open"]), int(row["close"])) <= high
                assert int(row["volume"]) > 0 and date.fromisoformat(row["date"]).weekday() < 5
                close = int(row["close"])
                assert close == market.to_tick(close)
                if row["ticker"] in previous:
                    assert abs(close / previous[row["ticker"]] - 1) < 0.301  # 30 % and half a tick
                previous[row["ticker"]] = close


def test_sentiment_tells_part_of_the_next_move_and_no_more(news):
    rows = [row for month in news.values() for row in month]
    moves = {"down": -1, "flat": 0, "up": 1}
    r = correlation([SCORE[row["label"]] for row in rows], [moves[row["direction"]] for row in rows])
    agree = sum(market.SENTIMENT_OF[row["direction"]] == row["label"] for row in rows) / len(rows)
    majority = max(Counter(row["direction"] for row in rows).values()) / len(rows)
    print(f"{len(rows)} headlines: r = {r:.3f}, agreement {agree:.3f}, largest direction {majority:.3f}")
    assert 0.10 < r < 0.40
    assert majority < agree < 0.65


def test_the_vocabulary_drifts_in_year_two(news):
    def share(year, terms):
        texts = [row["headline"].lower() for month, rows in news.items() if month.startswith(year) for row in rows]
        return sum(any(term in text for term in terms) for text in texts) / len(texts)

    new = ("ai accelerator", "value-up", "robotaxi", "tokenised", "high-bandwidth", "sovereign-cloud", "data-centre")
    old = ("pandemic-era", "metaverse", "supply-chain", "reopening", "energy bill")
    assert share("2023", new) == 0 and share("2024", new) > 0.10
    assert share("2023", old) > 0.10 > share("2024", old)


def test_the_drops_are_no_copies_of_the_headline_set(news):
    seed = headlines.read_seed("headline_shapes")
    cues = headlines.cue_forms(seed["cues"])
    own = {
        shape.partition(" @")[0]
        for labels in seed["market"].values()
        for block in labels.values()
        for shape in headlines.read_shapes(block)
    }
    others = [
        shape
        for part in ("headlines", "lexicon_disjoint")
        for label in headlines.LABELS
        for shape in headlines.read_shapes(seed[part][label])
    ]
    assert len(own) >= 120
    frames = {shape: headlines.trigrams(headlines.skeleton(shape, cues)) for shape in [*own, *others]}
    near = [
        (left, right)
        for left in own
        for right in others
        if headlines.jaccard(frames[left], frames[right]) > headlines.SAME_SHAPE_JACCARD
    ]
    assert near == []
    with (headlines.PACK / "headlines.csv").open(encoding="utf-8", newline="") as file:
        main = {row["headline"] for row in csv.DictReader(file)}
    assert not main & {row["headline"] for rows in news.values() for row in rows}


def test_prices_are_quoted_in_the_ticks_of_the_exchange():
    assert [market.to_tick(price) for price in (1_999.4, 4_998, 19_986, 41_837, 92_749, 215_240, 512_400)] == [
        1_999,
        5_000,
        19_990,
        41_850,
        92_700,
        215_000,
        512_000,
    ]
    assert [market.direction(1000, close) for close in (1006, 1005, 995, 994)] == ["up", "flat", "flat", "down"]
