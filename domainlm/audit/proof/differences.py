"""What must have happened to a log whose entries do not fit its signed checkpoints.

The first checkpoint that fails, after the last one that holds, brackets the place. Within the bracket each way in
which a log is altered is tried (an edit by the leaf hash that the store kept, an insertion or a repetition by leaving
entries out, another order by the entries' times or by exchanging two), until one gives the root that was signed: that
is then a proof and not a guess, and the comparison goes on behind it. A deletion cannot be undone, since a missing
leaf's hash is not known: it is told by the numbers that are skipped, and by fewer entries than a checkpoint covers.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import combinations, islice, product
from typing import NamedTuple

from domainlm.ledger.findings import Finding
from domainlm.ledger.merkle import Frontier

MAX_STEPS = 3_000_000  # hashes spent on trying what happened, about 3 s; behind that only the bracket is named
MAX_PASSES = 10  # over the whole log, likewise
MAX_REPAIRS = 100
NEAR = 16  # places on each side of a checkpoint across which an exchange is looked for first
MAX_LISTED = 100

Held = list[tuple[int, bytes]]  # (place among the entries that were read, leaf hash), in the order of the tree


@dataclass(frozen=True)
class Mark:
    """A checkpoint whose signature holds.

    Args:
        size: how many entries it covers.
        root: of the tree over them, 32 bytes.
        where: for messages.
        published: whether it lies outside of the ledger.
    """

    size: int
    root: bytes
    where: str
    published: bool = False


@dataclass
class Fit:
    """How entries and checkpoints fit.

    Args:
        root: of the tree over all entries as they were read, 32 bytes.
        fitting: the checkpoints that these entries continue.
        findings: what was altered, and where.
    """

    root: bytes
    fitting: list[Mark] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)


@dataclass
class Log:
    """Entries as they were read, one value each.

    Args:
        leaves: leaf hashes, computed.
        numbers: as the store states them; a hint.
        times: UTC milliseconds that the entries bear; a hint.
        refused: places of entries that are malformed, badly signed or may not stand there.
        stored: gives the leaf hashes that the store kept beside the entries; a hint, asked for where one is needed.
    """

    leaves: Sequence[bytes]
    numbers: Sequence[int]
    times: Sequence[int]
    refused: set[int]
    stored: Callable[[], Iterable[bytes]] | None = None

    def name(self, places: Sequence[int]) -> str:
        """Entries by their numbers: "entry 3", "entries 3, 4 and 9", or the first and last of many."""
        if len(places) > 6:
            return f"{len(places)} entries from {self.numbers[places[0]]} to {self.numbers[places[-1]]}"
        *others, last = (str(self.numbers[place]) for place in places)
        return f"entries {', '.join(others)} and {last}" if others else f"entry {last}"


def compare(log: Log, marks: Iterable[Mark]) -> Fit:
    """Compare entries with checkpoints, and name what differs."""
    marks = sorted(marks, key=lambda mark: (mark.size, mark.published))
    frontier, good, bad = _agree(Frontier(), log.leaves, marks)
    rest = Frontier(frontier.size, frontier.hashes).extended(islice(log.leaves, frontier.size, None))
    fit = Fit(rest.root, good)
    covered = max((mark.size for mark in marks), default=0)
    if not bad and covered <= len(log.leaves):
        fit.findings += [_misnumbered(log, place) for place in islice(_wrong_numbers(log.numbers), MAX_LISTED)]
        return fit

    gaps = list(islice(_gaps(log.numbers), MAX_LISTED))
    held: Held = list(enumerate(log.leaves))
    search = _Search(log)
    for _ in range(MAX_REPAIRS):
        fit.findings += [
            Finding(
                code="forked", severity="broken", where=mark.where,
                what=f"is signed and covers {mark.size} entries, but other ones: there are two histories",
            )
            for mark in islice((mark for mark in bad if mark.size <= frontier.size), MAX_LISTED)
        ]  # fmt: skip
        bad = [mark for mark in bad if frontier.size < mark.size <= len(held)]
        if not bad:
            break
        found = search.run(frontier, held[frontier.size :], bad, covered)
        if found is None:
            fit.findings.append(_unresolved(log, held, frontier.size, bad, covered, gaps))
            break
        finding, tail = found
        fit.findings.append(finding)
        held[frontier.size :] = tail
        frontier, _, bad = _agree(frontier, [leaf for _, leaf in held[frontier.size :]], bad)
    if covered > len(held) and not any(finding.code == "deleted" for finding in fit.findings):
        fit.findings += [
            Finding(
                code="deleted", severity="broken", where=_span(*gap), what="the numbers beside are there, not these"
            )
            for gap in gaps
        ]
        if not gaps or covered > max(log.numbers) + 1:
            fit.findings += _short(marks, len(held))
    return fit


def _agree(
    frontier: Frontier, leaves: Sequence[bytes], marks: Sequence[Mark]
) -> tuple[Frontier, list[Mark], list[Mark]]:
    """The frontier at the last mark that holds, the marks that hold, and those within reach that do not.

    Args:
        frontier: of what stands before `leaves`.
        leaves: the rest.
        marks: in order of size.
    """
    good, bad, start, proven = [], [], frontier.size, frontier
    for mark in marks:
        if mark.size > start + len(leaves) or mark.size < start:
            continue
        if mark.size != frontier.size:
            frontier = frontier.extended(leaves[frontier.size - start : mark.size - start])
        if frontier.root == mark.root:
            good.append(mark)
            proven = frontier
        else:
            bad.append(mark)
    return proven, good, bad


class _Try(NamedTuple):
    """Something that may have happened.

    Args:
        finding: what to say of it, if it did.
        window: what the tree then holds up to the checkpoint in question.
        tail: all that it then holds behind the last checkpoint that fits.
        whole: it counts only if it explains all further checkpoints too: it could fit one by chance of the order.
    """

    finding: Callable[[], Finding]
    window: Held
    tail: Callable[[], Held]
    whole: bool = False


class _Search:
    """Tries what may have happened between a checkpoint that holds and the next one."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self.steps_left = MAX_STEPS + MAX_PASSES * len(log.leaves)
        self._kept: list[bytes] | None = None
        self._odd: list[int] | None = None

    def run(self, frontier: Frontier, tail: Held, marks: list[Mark], covered: int) -> tuple[Finding, Held] | None:
        """The first alteration that explains the first of the marks, and the tail without it."""
        mark = marks[0]
        width = mark.size - frontier.size
        self.steps_left -= len(tail)
        for tried in self._tries(tail, width, covered - frontier.size):
            self.steps_left -= width
            if self.steps_left < 0:
                return None
            if len(tried.window) == width and frontier.extended(leaf for _, leaf in tried.window).root == mark.root:
                restored = tried.tail()
                if not tried.whole or self._fits(frontier, restored, marks):
                    return tried.finding(), restored
        return None

    def _fits(self, frontier: Frontier, tail: Held, marks: list[Mark]) -> bool:
        self.steps_left -= len(tail)
        return not _agree(frontier, [leaf for _, leaf in tail], marks)[2]

    def _tries(self, tail: Held, width: int, covered: int) -> Iterator[_Try]:
        yield from self._as_stored(tail, width)
        yield from self._without_refused(tail, width)
        yield from self._across(tail, width, covered)
        yield from self._by_time(tail, width, covered)
        yield from self._without_one(tail, width)
        yield from self._exchanged(tail, width)

    def _as_stored(self, tail: Held, width: int) -> Iterator[_Try]:
        """The leaf hashes that the store kept, where an entry was changed and its hash was not."""
        if self._kept is None:
            try:
                self._kept = list(self.log.stored()) if self.log.stored else []
            except Exception:  # a hint that cannot be read is none
                self._kept = []
        kept = self._kept
        if len(kept) != len(self.log.leaves):
            return
        changed = [place for place, leaf in tail[:width] if kept[place] != leaf]
        if not changed:
            return
        there = {leaf for _, leaf in tail}
        exchanged = there.issuperset(kept[place] for place in changed)
        if exchanged:  # with entries behind the bracket, maybe: they are put back as well
            changed = [place for place, leaf in tail if kept[place] != leaf and kept[place] in there]
        undone = set(changed)

        def finding() -> Finding:
            if exchanged:
                return _reordered(self.log, changed)
            what = "differs from the hash that was stored with it and that the checkpoint bears out"
            return Finding(code="edited", severity="broken", where=self.log.name(changed), what=what)

        def restored(held: Held) -> Held:
            return [(place, kept[place] if place in undone else leaf) for place, leaf in held]

        yield _Try(finding, restored(tail[:width]), lambda: restored(tail))

    def _without_refused(self, tail: Held, width: int) -> Iterator[_Try]:
        """Without repetitions, and without what the gate refuses."""
        seen: dict[bytes, int] = {}
        for place, leaf in tail:
            seen.setdefault(leaf, place)
        repeated = {place for place, leaf in tail if seen[leaf] != place}
        for extra in (repeated, self.log.refused, repeated | self.log.refused):
            kept = [(place, leaf) for place, leaf in tail if place not in extra]
            if len(kept) < len(tail):
                left_out = [place for place, _ in tail if place in extra]
                yield _Try(partial(_inserted, self.log, left_out), kept[:width], partial(list, kept))

    def _across(self, tail: Held, width: int, covered: int) -> Iterator[_Try]:
        """Two entries exchanged, or one moved, from one side of the checkpoint to the other and not far.

        Before their times are asked: an entry that was signed elsewhere, and added later, bears an earlier time than
        those before it. What would go behind all checkpoints was rather put in.
        """
        near, behind = range(max(0, width - NEAR), width), range(width, min(width + NEAR, covered, len(tail)))
        # a quarter of the steps at most: the other ways are tried as well
        pairs = islice(product(reversed(near), behind), self.steps_left // (12 * width))
        for first, second in pairs:
            one, other = tail[first][0], tail[second][0]
            # of two neighbours one has changed its place as much as the other: naming one is enough
            both = [one] if second == first + 1 else [one, other]
            for moved, change in ((both, _swap), ([other], _move), ([one], _move_back)):
                yield _Try(
                    partial(_reordered, self.log, moved),
                    change(tail[: second + 1], first, second, tail[second])[:width],
                    partial(change, tail, first, second, tail[second]),
                    whole=True,
                )

    def _by_time(self, tail: Held, width: int, covered: int) -> Iterator[_Try]:
        """In the order of the times that the entries bear; what then stands behind all checkpoints was put in."""
        times = self.log.times
        ordered = sorted(tail, key=lambda item: times[item[0]])
        if ordered == tail:
            return

        def finding() -> Finding:
            exchanged = [item[0] for item, other in zip(tail, ordered, strict=True) if item != other]
            moved = [tail[index][0] for index in _out_of_order([times[place] for place, _ in tail])]
            if len(exchanged) <= len(moved):
                moved = exchanged
            behind = {place for place, _ in ordered[covered:]}
            return (_inserted if behind.issuperset(moved) else _reordered)(self.log, moved)

        yield _Try(finding, ordered[:width], lambda: ordered, whole=True)

    def _without_one(self, tail: Held, width: int) -> Iterator[_Try]:
        window = tail[: width + 1]
        for index in range(min(width, len(tail))):
            yield _Try(
                partial(_inserted, self.log, [tail[index][0]]),
                window[:index] + window[index + 1 :],
                lambda index=index: tail[:index] + tail[index + 1 :],
            )

    def _exchanged(self, tail: Held, width: int) -> Iterator[_Try]:
        """Two entries exchanged, or one moved: within the bracket, or with one whose time does not fit its place."""
        near = range(min(width, len(tail)))
        index_of = {place: index for index, (place, _) in enumerate(tail)}
        odd = [index_of[place] for place in self._out_of_time() if index_of.get(place, 0) >= width]
        for first, second in (*combinations(near, 2), *product(near, odd)):
            places = [tail[first][0], tail[second][0]]
            for moved, change in ((places, _swap), (places[1:], _move)):
                yield _Try(
                    partial(_reordered, self.log, moved),
                    change(tail[:width], first, second, tail[second]),
                    partial(change, tail, first, second, tail[second]),
                )

    def _out_of_time(self) -> list[int]:
        """Places whose time does not fit those around, at most 1,000."""
        if self._odd is None:
            self._odd = _out_of_order(self.log.times)[:1000]
        return self._odd


def _swap(held: Held, first: int, second: int, item: tuple[int, bytes]) -> Held:
    """`item` of index `second` exchanged with that of `first`; `second` may lie behind what is held here."""
    changed = list(held)
    if second < len(held):
        changed[second] = held[first]
    changed[first] = item
    return changed


def _move(held: Held, first: int, second: int, item: tuple[int, bytes]) -> Held:
    """`item` of index `second` put before that of `first`; as many as are held here."""
    return [*held[:first], item, *held[first:second], *held[second + 1 :]][: len(held)]


def _move_back(held: Held, first: int, second: int, item: tuple[int, bytes]) -> Held:
    """That of index `first` put behind `item` of index `second`."""
    return [*held[:first], *held[first + 1 : second], item, held[first], *held[second + 1 :]]


def _out_of_order(times: Sequence[int]) -> list[int]:
    """Indices of the fewest values without which the others are in order (all but a longest such subsequence)."""
    ends: list[int] = []  # index of the least value that a subsequence of each length ends with
    values: list[int] = []
    before: list[int] = []
    for index, time in enumerate(times):
        length = bisect_right(values, time)
        before.append(ends[length - 1] if length else -1)
        ends[length : length + 1] = [index]
        values[length : length + 1] = [time]
    kept, index = set(), ends[-1]
    while index >= 0:
        kept.add(index)
        index = before[index]
    return [index for index in range(len(times)) if index not in kept]


def _unresolved(
    log: Log, held: Held, start: int, bad: list[Mark], covered: int, gaps: list[tuple[int, int]]
) -> Finding:
    """What can be said where no single alteration explains a checkpoint."""
    mark, first = bad[0], log.numbers[held[start][0]]
    bracket = _span(first, log.numbers[held[mark.size - 1][0]] + 1)
    rest = f"; what follows entry {first} cannot be compared with the tree"
    if all(mark.published for mark in bad) and not gaps:
        # nothing beside the entries contradicts them: whoever holds the log's key signed another history
        code, where, what = "forked", mark.where, f"is signed for {mark.size} entries, and {bracket} are not those"
    elif gaps:
        code, where = "deleted", ", ".join(_span(*gap) for gap in gaps)
        what = f"the numbers beside are there and these are not, and {mark.where} covers them{rest}"
    elif (missing := covered - len(held)) > 0:
        code, where = "deleted", bracket
        what = f"{missing} of the entries that were signed for are missing here, or behind{rest}"
    else:
        wrong = [place for place, _ in held[start : mark.size] if place in log.refused]
        code, where = "edited", log.name(wrong) if wrong else bracket
        what = f"{mark.where} covers something else: edited, or exchanged for another{rest}"
    return Finding(code=code, severity="broken", where=where, what=what)


def _short(marks: list[Mark], size: int) -> Iterator[Finding]:
    """The largest checkpoint of each side that covers more entries than there are."""
    for published, code in ((False, "truncated"), (True, "rolled-back")):
        beyond = [mark for mark in marks if mark.size > size and mark.published == published]
        if beyond:
            yield Finding(
                code=code, severity="broken", where=_span(size, beyond[-1].size),
                what=f"{beyond[-1].where} covers {beyond[-1].size} entries, and there are {size}",
            )  # fmt: skip


def _gaps(numbers: Sequence[int]) -> Iterator[tuple[int, int]]:
    """(first, one behind the last) of the numbers that are skipped."""
    expected = 0
    for number in numbers:
        if number > expected:
            yield expected, number
        expected = max(expected, number + 1)


def _wrong_numbers(numbers: Sequence[int]) -> Iterator[int]:
    return (place for place, number in enumerate(numbers) if number != place)


def _misnumbered(log: Log, place: int) -> Finding:
    return Finding(
        code="edited", severity="broken", where=f"entry {log.numbers[place]}",
        what=f"is in the tree at place {place}: its number was changed",
    )  # fmt: skip


def _span(start: int, stop: int) -> str:
    return f"entry {start}" if stop == start + 1 else f"entries {start} to {stop - 1}"


def _inserted(log: Log, places: list[int]) -> Finding:
    return Finding(
        code="inserted", severity="broken", where=log.name(places), what="the tree that was signed does not hold it"
    )


def _reordered(log: Log, places: list[int]) -> Finding:
    return Finding(
        code="reordered", severity="broken", where=log.name(places), what="the tree that was signed has another order"
    )
