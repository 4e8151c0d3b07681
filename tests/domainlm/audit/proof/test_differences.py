"""Every way to alter a log is named with its place, whatever the log's size and its checkpoints."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domainlm.audit.proof.differences import Fit, Log, Mark, compare
from domainlm.ledger.merkle import Frontier


def leaf(value: object) -> bytes:
    return hashlib.sha256(repr(value).encode()).digest()


def marks_of(leaves: list[bytes], every: int, published: bool = False) -> list[Mark]:
    sizes = [*range(every, len(leaves), every), len(leaves)]
    return [
        Mark(size, Frontier().extended(leaves[:size]).root, f"the checkpoint of size {size}", published)
        for size in sizes
    ]


class Kept:
    """A log of `size` entries, a second apart, with a checkpoint every `every`."""

    def __init__(self, size: int = 60, every: int = 7) -> None:
        self.leaves = [leaf(number) for number in range(size)]
        self.times = [1000 * number for number in range(size)]
        self.marks = marks_of(self.leaves, every)

    def compare(self, order: list[int | tuple[bytes, int]], numbers: list[int] | None = None, **rest) -> Fit:
        """The log as it is now: places of its entries in an order, or foreign (leaf, time)."""
        leaves = [self.leaves[item] if isinstance(item, int) else item[0] for item in order]
        times = [self.times[item] if isinstance(item, int) else item[1] for item in order]
        refused = rest.pop("refused", set())
        stored = rest.pop("stored", None)
        return compare(
            Log(leaves, numbers or list(range(len(leaves))), times, refused, stored), rest.pop("marks", self.marks)
        )


def lines(fit: Fit) -> list[tuple[str, str]]:
    return [(finding.code, finding.where) for finding in fit.findings]


@pytest.mark.parametrize("every", [1, 7, 60])
def test_an_untouched_log_fits_every_checkpoint(every: int) -> None:
    kept = Kept(60, every)
    fit = kept.compare(list(range(60)))
    assert fit.findings == [] and len(fit.fitting) == len(kept.marks)
    assert fit.root == Frontier().extended(kept.leaves).root


def test_a_checkpoint_less_log_and_an_empty_one_are_no_difference() -> None:
    assert Kept().compare(list(range(60)), marks=[]).findings == []
    assert compare(Log([], [], [], set()), []).root == hashlib.sha256(b"").digest()
    assert [code for code, _ in lines(compare(Log([], [], [], set()), Kept().marks))] == ["truncated"]


@settings(max_examples=150, deadline=None)
@given(st.integers(2, 90), st.integers(1, 12), st.data())
def test_an_exchange_of_two_names_both(size: int, every: int, data: st.DataObject) -> None:
    first = data.draw(st.integers(0, size - 2))
    second = data.draw(st.integers(first + 1, size - 1))
    order = list(range(size))
    order[first], order[second] = second, first
    fit = Kept(size, every).compare(order)
    assert [code for code, _ in lines(fit)] == ["reordered"]
    # of two neighbours one has changed its place as much as the other: naming one is enough
    assert lines(fit)[0][1] == (f"entries {first} and {second}" if second - first > 1 else f"entry {first}")


@pytest.mark.parametrize("every", [1, 2, 4])
@pytest.mark.parametrize("early", [5, 6, 7])
def test_an_exchange_before_an_entry_that_was_signed_earlier_names_those_two_alone(every: int, early: int) -> None:
    kept = Kept(12, every)
    kept.times[early] = 1  # signed elsewhere before all of them, and added later
    assert kept.compare(list(range(12))).findings == []
    assert lines(kept.compare([0, 1, 2, 4, 3, *range(5, 12)])) == [("reordered", "entry 3")]
    assert lines(kept.compare([0, 1, 5, 3, 4, 2, *range(6, 12)])) == [("reordered", "entries 2 and 5")]
    # moved across a checkpoint, either way
    assert lines(kept.compare([0, 1, 2, 8, *range(3, 8), *range(9, 12)])) == [("reordered", "entry 3")]
    assert lines(kept.compare([0, 1, 2, *range(4, 9), 3, *range(9, 12)])) == [("reordered", "entry 8")]


def test_an_order_by_times_that_fits_one_checkpoint_alone_names_nothing() -> None:
    kept = Kept(60, 1)
    kept.times[40] = 10_500
    order = list(range(60))
    order[3], order[30] = 30, 3
    assert lines(kept.compare(order)) == [("reordered", "entries 3 and 30")]


@settings(max_examples=100, deadline=None)
@given(st.integers(3, 90), st.integers(1, 12), st.data())
def test_a_moved_entry_is_reordered_also_where_times_say_nothing(size: int, every: int, data: st.DataObject) -> None:
    start, target = data.draw(st.integers(0, size - 1)), data.draw(st.integers(0, size - 1))
    order = list(range(size))
    order.insert(target, order.pop(start))
    if order == list(range(size)):
        return
    kept = Kept(size, every)
    assert [code for code, _ in lines(kept.compare(order))] == ["reordered"]
    kept.times = [0] * size
    codes = {code for code, _ in lines(kept.compare(order))}
    assert codes  # without times it may only be known that something is not what was signed
    if start // every == target // every and abs(start - target) == 1:
        assert codes == {"reordered"}


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 60), st.integers(1, 12), st.data())
def test_an_inserted_entry_is_named(size: int, every: int, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, size - 1))
    moment = data.draw(st.sampled_from([0, 1000 * place - 1, 1000 * size, 5000 * size]))
    order = list(range(size))
    order.insert(place, (leaf("foreign"), moment))
    assert lines(Kept(size, every).compare(order)) == [("inserted", f"entry {place}")]


def test_several_insertions_are_found_one_after_the_other_or_at_once() -> None:
    kept = Kept()
    order: list = list(range(60))
    for place in (50, 30, 10):
        order.insert(place, (leaf(("foreign", place)), 1000 * place))
    assert lines(kept.compare(order)) == [("inserted", f"entry {place}") for place in (10, 31, 52)]
    # entries that the gate refuses are left out together
    fit = kept.compare(order, refused={10, 31, 52})
    assert lines(fit) == [("inserted", "entries 10, 31 and 52")]


def test_a_repetition_is_left_out() -> None:
    order = list(range(60))
    order.insert(20, 3)
    assert lines(Kept().compare(order)) == [("inserted", "entry 20")]


@pytest.mark.parametrize("place", [0, 13, 14, 58])
def test_a_deleted_entry_brackets_its_place(place: int) -> None:
    kept = Kept()
    order = [number for number in range(60) if number != place]
    numbered = kept.compare(order, numbers=order)
    assert lines(numbered) == [("deleted", f"entry {place}")]
    renumbered = kept.compare(order)
    (code, where), *rest = lines(renumbered)
    if place < 56:
        assert code == "deleted" and not rest
        first, last = place // 7 * 7, place // 7 * 7 + 6
        assert where == f"entries {first} to {last}"
    else:  # behind the last checkpoint within reach there is nothing that could tell a gap from an end
        assert (code, where) == ("truncated", "entry 59")


def test_a_range_that_is_deleted_is_named_by_its_numbers() -> None:
    order = [number for number in range(60) if not 20 <= number < 33]
    assert lines(Kept().compare(order, numbers=order)) == [("deleted", "entries 20 to 32")]


def test_a_deletion_and_a_truncation_are_both_named() -> None:
    order = [number for number in range(58) if number != 57]
    found = lines(Kept(60, 60).compare([*order, 57][:57], numbers=[*range(10), *range(11, 58)]))
    assert ("deleted", "entry 10") in found and ("truncated", "entries 57 to 59") in found


def test_an_edit_is_named_by_the_gate_or_by_the_stored_hash() -> None:
    kept = Kept()
    order: list = list(range(60))
    order[20] = (leaf("edited"), 20_000)
    assert lines(kept.compare(order, refused={20})) == [("edited", "entry 20")]
    assert lines(kept.compare(order)) == [("edited", "entries 14 to 20")]
    assert lines(kept.compare(order, stored=lambda: kept.leaves)) == [("edited", "entry 20")]
    order[40] = (leaf("edited too"), 40_000)
    fit = kept.compare(order, stored=lambda: kept.leaves)
    assert lines(fit) == [("edited", "entry 20"), ("edited", "entry 40")]


def test_an_exchange_below_the_stored_hashes_is_an_exchange() -> None:
    kept = Kept()
    order = list(range(60))
    order[5], order[50] = 50, 5
    kept.times = [0] * 60
    assert lines(kept.compare(order, stored=lambda: kept.leaves)) == [("reordered", "entries 5 and 50")]


@pytest.mark.parametrize(
    "stored",
    [lambda: [], lambda: [b""] * 60, lambda: 1 // 0, lambda: [leaf(("other", number)) for number in range(60)]],
)
def test_hints_that_are_wrong_or_cannot_be_read_lead_nowhere(stored: Callable) -> None:
    order: list = list(range(60))
    order[20] = (leaf("edited"), 20_000)
    kept = Kept()
    assert lines(kept.compare(order, stored=stored)) == [("edited", "entries 14 to 20")]
    assert kept.compare(list(range(60)), stored=stored).findings == []


def test_truncation_and_roll_back_are_told_apart_by_where_the_checkpoint_lies() -> None:
    kept = Kept()
    outside = [Mark(60, kept.marks[-1].root, "the checkpoint published at p", True)]
    assert lines(kept.compare(list(range(40)))) == [("truncated", "entries 40 to 59")]
    then = [mark for mark in kept.marks if mark.size <= 40]
    assert lines(kept.compare(list(range(40)), marks=[*then, *outside])) == [("rolled-back", "entries 40 to 59")]


def test_two_histories_are_a_fork() -> None:
    kept = Kept()
    other = [leaf(("other", number)) for number in range(60)]
    outside = [Mark(28, Frontier().extended(other[:28]).root, "the checkpoint published at p", True)]
    fit = kept.compare(list(range(60)), marks=[*kept.marks, *outside])
    assert lines(fit) == [("forked", "the checkpoint published at p")]
    assert all(not mark.published for mark in fit.fitting)
    # rewritten behind what was published, and signed anew only from there on
    assert lines(kept.compare(list(range(60)), marks=outside)) == [("forked", "the checkpoint published at p")]


def test_numbers_that_were_changed_alone_are_named() -> None:
    numbers = list(range(60))
    numbers[30] = 300
    assert lines(Kept().compare(list(range(60)), numbers=numbers)) == [("edited", "entry 300")]


def test_many_faults_at_once_end_in_findings_and_in_time() -> None:
    draw = random.Random(1)
    kept = Kept(1000, 250)
    order: list = list(range(1000))
    draw.shuffle(order)
    kept.times = [0] * 1000
    assert {code for code, _ in lines(kept.compare(order))} == {"edited"}
    assert kept.compare([(leaf(("x", n)), draw.randrange(10**9)) for n in range(1500)]).findings
