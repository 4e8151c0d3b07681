"""The pack's drops as the simulation reads them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from domainlm.errors import SourceError
from domainlm.retrain.simulation.market import SIGN, read_market

MARKET = Path(__file__).parents[4] / "domains" / "finance" / "market"


def test_two_years_are_read_in_order_of_time() -> None:
    months = read_market(MARKET)
    assert [months[0].name, months[-1].name, len(months)] == ["2023-01", "2024-12", 24]
    assert sum(len(month.headlines) for month in months) == 1224
    days = [headline.day for month in months for headline in month.headlines]
    assert days == sorted(days)
    assert all(headline.day.startswith(month.name) for month in months for headline in month.headlines)


def test_moves_are_those_of_the_prices_and_agree_with_the_directions() -> None:
    for headline in read_market(MARKET, 3)[2].headlines:
        assert (headline.move > 0.005) - (headline.move < -0.005) == SIGN[headline.direction]


def test_a_direction_that_the_prices_do_not_show_is_refused_with_its_row(tmp_path: Path) -> None:
    shutil.copytree(MARKET / "2023-01", tmp_path / "2023-01")
    news = tmp_path / "2023-01" / "news.jsonl"
    lines = news.read_text().splitlines()
    row = json.loads(lines[4])
    lines[4] = json.dumps(row | {"direction": "up" if row["direction"] != "up" else "down"})
    news.write_text("\n".join(lines) + "\n")
    with pytest.raises(SourceError, match=r"news\.jsonl, row 5: states another direction"):
        read_market(tmp_path)


def test_a_folder_without_drops_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no monthly drops"):
        read_market(tmp_path)
