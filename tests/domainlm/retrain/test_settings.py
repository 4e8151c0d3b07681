"""Days of a backfill: one form, which is compared as text, and nothing else."""

from __future__ import annotations

from datetime import date, datetime

import pytest

from domainlm.retrain.settings import DecideSettings


@pytest.mark.parametrize("given", ["2026-02-28", date(2026, 2, 28)], ids=["text", "as YAML reads it"])
def test_a_day_is_taken(given: object) -> None:
    assert DecideSettings(since=given, until=given).since == "2026-02-28"


@pytest.mark.parametrize(
    "wrong",
    ["yesterday", "2023-13-01", "2023-1-1", "20230101", "2023-02-30", "2023-W01-1", "2023-01-01T00:00:00", " ", 2023,
     datetime(2023, 1, 1), None],
)  # fmt: skip
@pytest.mark.parametrize("name", ["since", "until"])
def test_what_is_no_day_is_an_error(name: str, wrong: object) -> None:
    with pytest.raises(ValueError, match="is no day"):
        DecideSettings(**{name: wrong})


def test_days_in_the_wrong_order_are_an_error() -> None:
    with pytest.raises(ValueError, match="since 2026-03-02 is after until 2026-03-01"):
        DecideSettings(since="2026-03-02", until="2026-03-01")
