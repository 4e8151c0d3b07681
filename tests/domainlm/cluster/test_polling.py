"""Servers are asked side by side: one that hangs or fails holds up nobody."""

from __future__ import annotations

import threading
import time

from domainlm.cluster.polling import LONGEST_S, Polling, pause_s


def answers_of(polling: Polling, enough: int) -> list:
    found: list = []
    deadline = time.monotonic() + 30
    while len(found) < enough and time.monotonic() < deadline:
        found += polling.answers(0.1)
    return found


def test_one_that_hangs_holds_up_nobody() -> None:
    hold = threading.Event()
    with Polling({"slow": hold.wait, "quick": lambda: 7}, lambda: 0.01) as polling:
        found = answers_of(polling, 5)
    hold.set()
    assert {one.server for one in found} == {"quick"}
    assert {(one.value, one.error) for one in found} == {(7, None)}


def test_an_error_is_handed_on_and_the_server_asked_again() -> None:
    tries = iter([ConnectionError("away"), 1, 2, 3])

    def ask() -> int:
        said = next(tries, 4)
        if isinstance(said, Exception):
            raise said
        return said

    with Polling({"server": ask}, lambda: 0.01) as polling:
        found = answers_of(polling, 3)
    assert isinstance(found[0].error, ConnectionError) and found[0].value is None
    assert [one.value for one in found[1:3]] == [1, 2]


def test_a_server_that_fails_is_asked_less_and_less_often() -> None:
    assert [pause_s(1.0, failures) for failures in range(7)] == [1, 2, 4, 8, LONGEST_S, LONGEST_S, LONGEST_S]
    assert pause_s(60.0, 1) == 60.0, "never sooner than where it answers"


def test_nobody_is_asked_any_more_when_it_is_over() -> None:
    count = iter(range(10**9))
    with Polling({"server": lambda: next(count)}, lambda: 0.01) as polling:
        answers_of(polling, 2)
    time.sleep(0.1)
    reached = next(count)
    time.sleep(0.1)
    assert next(count) == reached + 1
