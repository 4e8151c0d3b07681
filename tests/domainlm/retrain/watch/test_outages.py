"""Trouble is told of when it lasts, once a day, and anew when it comes back another day."""

from __future__ import annotations

from domainlm.retrain.watch.outages import Outages


def test_what_is_over_within_a_minute_is_not_told_and_what_lasts_is_once_a_day() -> None:
    now, day = [0.0], ["2026-11-21"]
    outages = Outages(60.0, lambda: now[0], lambda: day[0])
    assert not outages.met("zone")
    now[0] = 59.0
    assert not outages.met("zone")
    outages.over()
    now[0] = 61.0
    assert not outages.met("zone"), "it began anew"
    now[0] = 121.0
    assert outages.met("zone") and not outages.met("zone") and not outages.met("book")
    day[0] = "2026-11-22"
    assert outages.met("zone") and not outages.met("zone")


def test_of_several_only_those_that_are_over_begin_anew() -> None:
    now = [0.0]
    outages = Outages(60.0, lambda: now[0], lambda: "2026-11-21")
    outages.met("one"), outages.met("two")
    outages.over(but={"two"})
    now[0] = 60.0
    assert not outages.met("one") and outages.met("two")
