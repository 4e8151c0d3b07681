"""Work that fails again and again is left alone longer and longer, also after a restart and a jump of the clock."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from domainlm.retrain.watch.patience import KEPT, Patience


class Facts:
    def __init__(self) -> None:
        self.values: dict[str, str] = {}

    def value(self, name: str) -> str:
        return self.values.get(name, "")

    def set_value(self, name: str, value: str) -> None:
        self.values[name] = value


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def test_each_failure_doubles_the_pause_up_to_the_longest() -> None:
    clock = Clock()
    held = Patience(Facts(), "train", first_s=30, longest_s=300, clock=clock)
    pauses = []
    for _ in range(6):
        held.failed("a")
        pauses.append(held.held_s("a"))
        clock.now += pauses[-1]
        assert held.held_s("a") == 0
    assert pauses == [30, 60, 120, 240, 300, 300]
    assert held.held_s("b") == 0  # other work is not held up


def test_a_restart_remembers_and_a_success_forgets() -> None:
    facts, clock = Facts(), Clock()
    Patience(facts, "train", clock=clock).failed("a")
    again = Patience(facts, "train", clock=clock)
    assert again.held_s("a") == 30 and again.failed("a") == 2
    assert Patience(facts, "accept", clock=clock).held_s("a") == 0
    again.succeeded("a", "never heard of")
    assert Patience(facts, "train", clock=clock).held_s("a") == 0


def test_a_clock_that_was_put_back_holds_nothing_up_for_years() -> None:
    facts, clock = Facts(), Clock()
    Patience(facts, "train", longest_s=300, clock=clock).failed("a")
    clock.now -= 86400 * 365
    assert Patience(facts, "train", longest_s=300, clock=clock).held_s("a") == 0


def test_what_cannot_be_read_counts_for_nothing() -> None:
    facts = Facts()
    for broken in ("{", "[]", '{"a": 1}', '{"a": ["x", "y"]}'):
        facts.values["watch/failures/train"] = broken
        assert Patience(facts, "train").held_s("a") == 0


@given(st.lists(st.text("abcdef", min_size=3, max_size=8), min_size=310, max_size=400, unique=True))
def test_what_is_kept_stays_small(keys: list[str]) -> None:
    facts = Facts()
    held = Patience(facts, "train", clock=Clock())
    held.failed(*keys[:200])
    held.failed(*keys[200:])
    assert len(json.loads(facts.values["watch/failures/train"])) == KEPT
