"""One pass over a text that says which expressions could match in it, so that only those are searched for.

Hyperscan reads all expressions at once, in time linear in the text. It knows no lookaround, no backreference and none
of Python's Unicode classes, so each expression is first weakened to one that matches wherever the original does: see
`supersets`. Where there is no Hyperscan (it is built for Linux on x86-64) the recognizers' gates are searched for one
after the other, with a time limit; which of the two was used changes no finding.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from functools import cache
from importlib.util import find_spec
from itertools import takewhile
from re import _constants as sre  # Python's own parser of expressions, at this place since 3.11
from re import _parser
from typing import Any, Protocol

import regex

# A longer repetition is written as "this often or more": what makes an automaton large is counting.
MOST_COUNTED = 40  # characters of one round times rounds
MOST_STATES = 300  # of one expression, about; of a larger one a part has to do
MOST_CHARACTERS = 12_000  # of one expression; Hyperscan refuses 16,000
# The two modules give ASCII different values.
_FLAGS = ((regex.ASCII, re.ASCII), (regex.IGNORECASE, re.IGNORECASE), (regex.MULTILINE, re.MULTILINE),
          (regex.DOTALL, re.DOTALL))  # fmt: skip
# What `regex` reads otherwise than `re`: POSIX classes and fuzzy matching. The rest that only it knows is an error.
_ONLY_REGEX = re.compile(r"\[\[:|\{[\d\s,<>=+]*[eisd][\d\s,<>=+eisd]*\}")
# Letters that are ASCII ones in other case (the Turkish i's, the long s, the Kelvin sign), and halves of characters,
# which have no encoding: texts with them are searched for everything.
_IRREGULAR = re.compile("[\u0130\u0131\u017f\u212a\ud800-\udfff]")
_WORD = frozenset(b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz")
_ASCII = frozenset(range(0x80))
_CATEGORIES = {
    sre.CATEGORY_DIGIT: frozenset(b"0123456789"),
    sre.CATEGORY_SPACE: frozenset(b"\t\n\v\f\r "),
    sre.CATEGORY_WORD: _WORD,
}
_UNICODE_SPACE = frozenset(b"\x1c\x1d\x1e\x1f")  # spaces beside the six, unless ASCII is asked for
_NEGATED = {
    sre.CATEGORY_NOT_DIGIT: sre.CATEGORY_DIGIT,
    sre.CATEGORY_NOT_SPACE: sre.CATEGORY_SPACE,
    sre.CATEGORY_NOT_WORD: sre.CATEGORY_WORD,
}
_BEYOND_ASCII = (0x80, 0x10FFFF)
_REPEATS = (sre.MAX_REPEAT, sre.MIN_REPEAT, sre.POSSESSIVE_REPEAT)

Item = tuple[Any, Any]


class Unweakened(Exception):
    """An expression holds something that `supersets` does not know; its recognizer's gate has to do."""


def supersets(expression: str, flags: int = 0) -> list[str]:
    r"""Expressions for Hyperscan of which one matches in every text in which a Python expression matches.

    Negative lookarounds go; of the positive ones those that begin or end the expression are read as if they were
    consumed, since what they ask for must stand there. Classes that Unicode widens take in every character beyond
    ASCII, long repetitions lose their bounds, a backreference becomes its group, and of `\b` the ASCII one stays.

    Args:
        expression: what the `regex` module is given.
        flags: `ASCII`, `IGNORECASE`, `MULTILINE`, `DOTALL` of `regex`.

    Raises:
        Unweakened: the expression uses what this function does not know.
    """
    if _ONLY_REGEX.search(expression):
        raise Unweakened
    try:
        tree = _parser.parse(expression, sum(theirs for ours, theirs in _FLAGS if flags & ours))
    except (re.error, RecursionError):
        raise Unweakened from None
    return _parts(list(tree), tree.state.flags)


def _parts(items: list[Item], flags: int) -> list[str]:
    """The weakened expression, cut at an alternation into several where it is longer than Hyperscan takes."""
    weakened = _Weakener().sequence(items, flags, head=True, tail=True)
    if len(weakened) <= MOST_CHARACTERS:
        return [weakened]
    for place, (kind, value) in enumerate(items):
        if kind is sre.BRANCH:
            before, behind = items[:place], items[place + 1 :]
            return [part for branch in value[1] for part in _parts([*before, *branch, *behind], flags)]
        if kind is sre.SUBPATTERN and value[0] is None and len(items) == 1:
            return _parts(list(value[3]), (flags | value[1]) & ~value[2])
    raise Unweakened


class _Weakener:
    """Writes the parsed expression down again, weaker. `head` and `tail`: nothing of it stands before or behind."""

    def __init__(self) -> None:
        self._groups: dict[int, str] = {}

    def sequence(self, items: Sequence[Item], flags: int, head: bool, tail: bool) -> str:
        items = _trimmed(items, head, tail)
        if head and tail:
            items = _window(items)
        wide = [place for place, item in enumerate(items) if not _is_zero_width(item)]
        if not wide:
            return self._zero_width(items, flags, head, tail)
        first, last = wide[0], wide[-1]
        before = self._border(items[:first], items[first], flags, head, False)
        behind = self._border(items[last + 1 :], items[last], flags, False, tail)
        parts = [before]
        for place in range(first, last + 1):
            item = items[place]
            if _is_zero_width(item):
                parts.append(self._anchor(item, flags, False, False))
            else:
                at_head, at_tail = place == first and head and not before, place == last and tail and not behind
                parts.append(self._item(item, flags, at_head, at_tail))
        return "".join([*parts, behind])

    def _border(self, items: Sequence[Item], neighbour: Item, flags: int, head: bool, tail: bool) -> str:
        """What stands without width before the first or behind the last of the other items."""
        if not head and not tail:
            return ""
        looks = [item for item in items if _looks(item, 1 if tail else -1)]
        if looks:
            return self._look(looks[0 if tail else -1], flags)
        # A lookaround inside the neighbour is read as consumed, so the anchors would stand behind it.
        return "" if _has_look(neighbour) else "".join(self._anchor(item, flags, head, tail) for item in items)

    def _zero_width(self, items: Sequence[Item], flags: int, head: bool, tail: bool) -> str:
        """One of several things that are asked of one place is enough."""
        for item in items:
            if (tail and _looks(item, 1)) or (head and _looks(item, -1)):
                return self._look(item, flags)
        return self._anchor(items[0], flags, head, tail) if len(items) == 1 else ""

    def _look(self, item: Item, flags: int) -> str:
        direction, inside = item[1]
        return f"(?:{self.sequence(list(inside), flags, head=direction < 0, tail=direction > 0)})"

    def _anchor(self, item: Item, flags: int, head: bool, tail: bool) -> str:
        kind, value = item
        if kind is sre.SUBPATTERN or kind is sre.BRANCH:
            return "" if _has_look(item) else self._item(item, flags, head, tail)
        if kind is not sre.AT:
            return ""
        if value in (sre.AT_BEGINNING, sre.AT_BEGINNING_STRING) and head:
            return "(?m:^)" if value is sre.AT_BEGINNING and flags & re.MULTILINE else "^"
        if value in (sre.AT_END, sre.AT_END_STRING) and tail:
            return r"(?:\n|$)"
        # At a border the repetitions next to it lose what is too much, and the boundary with it.
        return r"\b" if value is sre.AT_BOUNDARY and flags & re.ASCII and not head and not tail else ""

    def _item(self, item: Item, flags: int, head: bool, tail: bool) -> str:
        kind, value = item
        if kind is sre.LITERAL or kind is sre.NOT_LITERAL:
            return self._class([(sre.LITERAL, value)], kind is sre.NOT_LITERAL, flags)
        if kind is sre.IN:
            negated = value[0][0] is sre.NEGATE
            return self._class(value[1:] if negated else value, negated, flags)
        if kind is sre.ANY:
            return r"[\x00-\x{10ffff}]" if flags & re.DOTALL else r"[^\n]"
        if kind is sre.BRANCH:
            return f"(?:{'|'.join(self.sequence(list(branch), flags, head, tail) for branch in value[1])})"
        if kind is sre.SUBPATTERN:
            group, added, removed, inside = value
            within = (flags | added) & ~removed
            if group is not None:
                self._groups[group] = f"(?:{self.sequence(list(inside), within, head=False, tail=False)})"
            return f"(?:{self.sequence(list(inside), within, head, tail)})"
        if kind is sre.ATOMIC_GROUP:
            return f"(?:{self.sequence(list(value), flags, head, tail)})"
        if kind in _REPEATS:
            least, most, inside = value
            if (head or tail) and least:
                most = least  # what is beyond stands at the edge, and the expression matches without it
            once = most == 1
            body = f"(?:{self.sequence(list(inside), flags, head and once, tail and once)})"
            rounds = max(1, MOST_COUNTED // max(1, _positions(inside)))
            if most <= rounds:
                return f"{body}{{{least},{most}}}"
            return f"{body}{{{min(least, rounds)},}}"
        if kind is sre.GROUPREF and value in self._groups:
            return self._groups[value]
        raise Unweakened

    def _class(self, members: Sequence[Item], negated: bool, flags: int) -> str:
        """A class of characters: at least what Python's matches, or, inside a negated one, at most."""
        ascii_members: set[int] = set()
        others: list[tuple[int, int]] = []
        any_case = bool(flags & re.IGNORECASE) and not negated
        for kind, value in members:
            if kind is sre.CATEGORY:
                inside = _CATEGORIES[_NEGATED.get(value, value)]
                if _NEGATED.get(value, value) is sre.CATEGORY_SPACE and negated == (value in _NEGATED):
                    inside = inside | _UNICODE_SPACE
                ascii_members |= _ASCII - inside if value in _NEGATED else inside
                if not negated and (value in _NEGATED or not flags & re.ASCII):
                    others.append(_BEYOND_ASCII)
                continue
            start, end = (value, value) if kind is sre.LITERAL else value
            ascii_members |= set(range(start, min(end, 0x7F) + 1))
            if end < 0x80:
                continue
            start = max(start, 0x80)
            if flags & re.IGNORECASE and not 0xAC00 <= start <= end <= 0xD7A3:  # Hangul has no case
                if not negated:
                    others.append(_BEYOND_ASCII)
                    ascii_members |= set(b"KkSsIi")
            else:
                others.append((start, end))
        if any_case:
            ascii_members |= {ord(chr(code).swapcase()) for code in ascii_members}
        if not negated and not ascii_members and not others:
            raise Unweakened
        ranges = _ranges(ascii_members) + others
        if not ranges:
            return r"[\x00-\x{10ffff}]"
        if len(ranges) == 1 and ranges[0][0] == ranges[0][1] and not negated:
            return _character(ranges[0][0])
        written = "".join(_character(a) if a == b else f"{_character(a)}-{_character(b)}" for a, b in ranges)
        return f"[{'^' * negated}{written}]"


def _trimmed(items: Sequence[Item], head: bool, tail: bool) -> Sequence[Item]:
    """The items without those at an edge that may be absent: the expression matches where the rest does."""
    while tail and (last := len(items) - 1 - len(behind := _edge(reversed(items)))) >= 0:
        if _is_bound(behind, 1) or items[last][0] not in _REPEATS or items[last][1][0]:
            break
        items = items[:last]
    while head and (first := len(before := _edge(items))) < len(items):
        if _is_bound(before, -1) or items[first][0] not in _REPEATS or items[first][1][0]:
            break
        items = items[first + 1 :]
    return items


def _is_bound(border: Iterable[Item], direction: int) -> bool:
    """Whether what stands without width at a border asks for something there, so that nothing may be left out."""
    free = (sre.ASSERT, sre.ASSERT_NOT)
    return any(
        _looks(item, direction) or (item[0] not in free and item[1] not in (sre.AT_BOUNDARY, sre.AT_NON_BOUNDARY))
        for item in border
    )


def _window(items: Sequence[Item]) -> Sequence[Item]:
    """Of items that are together too many states, the neighbours that say most: a part matches where the whole does."""
    if len(items) < 2 or _positions(items) <= MOST_STATES:
        return items
    windows = [
        items[start:end]
        for start in range(len(items))
        for end in range(start + 1, len(items) + 1)
        if end == start + 1 or _positions(items[start:end]) <= MOST_STATES
    ]
    return max(windows, key=lambda window: (_telling(window), -_positions(window)))


def _telling(items: Iterable[Item]) -> float:
    """About how many letters a match of the items must have that hardly any other text has there."""
    told = 0.0
    for kind, value in items:
        if kind is sre.LITERAL:
            told += 1
        elif kind is sre.IN:
            told += 0.25 if len(value) < 9 and value[0][0] is not sre.NEGATE else 0
        elif kind is sre.SUBPATTERN:
            told += _telling(value[3])
        elif kind is sre.ATOMIC_GROUP:
            told += _telling(value)
        elif kind is sre.BRANCH:
            told += min(map(_telling, value[1]))
        elif kind in _REPEATS:
            told += _telling(value[2]) * min(value[0], 4)
    return told


def _edge(items: Iterable[Item]) -> list[Item]:
    """The items without width that come first."""
    return list(takewhile(_is_zero_width, items))


def _positions(items: Iterable[Item]) -> int:
    """About how many states of an automaton the items need."""
    count = 0
    for kind, value in items:
        if kind is sre.SUBPATTERN:
            count += _positions(value[3])
        elif kind is sre.ATOMIC_GROUP:
            count += _positions(value)
        elif kind is sre.BRANCH:
            count += sum(map(_positions, value[1]))
        elif kind in _REPEATS:
            body, least, most = _positions(value[2]), value[0], value[1]
            count += body * (most if body * most <= MOST_COUNTED else max(1, min(least, MOST_COUNTED // max(1, body))))
        elif kind not in (sre.AT, sre.ASSERT, sre.ASSERT_NOT):
            count += 1
    return count


def _ranges(codes: set[int]) -> list[tuple[int, int]]:
    ranges: list[tuple[int, int]] = []
    for code in sorted(codes):
        if ranges and ranges[-1][1] == code - 1:
            ranges[-1] = ranges[-1][0], code
        else:
            ranges.append((code, code))
    return ranges


def _character(code: int) -> str:
    if code in _WORD:
        return chr(code)
    return f"\\x{code:02x}" if code < 0x80 else f"\\x{{{code:x}}}"


def _is_zero_width(item: Item) -> bool:
    kind, value = item
    if kind is sre.SUBPATTERN:
        return all(map(_is_zero_width, value[3]))
    if kind is sre.BRANCH:
        return all(_is_zero_width(inner) for branch in value[1] for inner in branch)
    return kind in (sre.AT, sre.ASSERT, sre.ASSERT_NOT)


def _looks(item: Item, direction: int) -> bool:
    return item[0] is sre.ASSERT and item[1][0] == direction


def _has_look(item: Item) -> bool:
    kind, value = item
    if kind in (sre.ASSERT, sre.ASSERT_NOT):
        return kind is sre.ASSERT
    if kind is sre.SUBPATTERN:
        return any(map(_has_look, value[3]))
    if kind is sre.ATOMIC_GROUP:
        return any(map(_has_look, value))
    if kind is sre.BRANCH:
        return any(_has_look(inner) for branch in value[1] for inner in branch)
    return kind in _REPEATS and any(map(_has_look, value[2]))


class Prefilter(Protocol):
    """Says which of its expressions may match in a text."""

    def hits(self, text: str, timeout_s: float) -> Collection[int]:
        """Numbers of expressions, at least of all that match.

        Raises:
            TimeoutError: it took longer than `timeout_s`.
        """
        ...


def prefilter(expressions: Sequence[tuple[str, int]], search: bool = True) -> Prefilter:
    """The fastest prefilter that this machine has.

    Args:
        expressions: each with its flags.
        search: whether those that Hyperscan does not take are searched for one by one; else they always hit.
    """
    return HyperscanPrefilter(expressions, search) if has_hyperscan() else SearchPrefilter(expressions)


@cache
def has_hyperscan() -> bool:
    """Whether Hyperscan is installed."""
    return find_spec("hyperscan") is not None


class SearchPrefilter:
    """Searches for each expression with `regex`, which has a time limit; `re` has none.

    Args:
        expressions: each with its flags.
        numbers: what to call them; their places by default.
    """

    def __init__(self, expressions: Sequence[tuple[str, int]], numbers: Sequence[int] | None = None) -> None:
        compiled = (regex.compile(expression, flags) for expression, flags in expressions)
        self._searched = list(zip(range(len(expressions)) if numbers is None else numbers, compiled, strict=True))

    def hits(self, text: str, timeout_s: float) -> list[int]:
        """See `Prefilter.hits`."""
        return [number for number, compiled in self._searched if compiled.search(text, timeout=timeout_s)]


class HyperscanPrefilter:
    """Reads a text once for all expressions.

    A Hyperscan database does not pickle: each process builds its own.

    Args:
        expressions: each with its flags.
        search: whether those that cannot be weakened are searched for one by one; else they always hit.
    """

    def __init__(self, expressions: Sequence[tuple[str, int]], search: bool = True) -> None:
        weakened, rest = _weakened(expressions, each_accepted=False)
        try:
            database = _load(weakened) if weakened else None
        except Unweakened:
            weakened, rest = _weakened(expressions, each_accepted=True)
            database = _load(weakened) if weakened else None
        self._everything = range(len(expressions))
        self._database = database
        self._rest = SearchPrefilter([expressions[number] for number in rest], rest) if rest and search else None
        self._always = () if search else rest
        self._seen: list[int] = []

    def hits(self, text: str, timeout_s: float) -> Collection[int]:
        """See `Prefilter.hits`."""
        if not text.isascii() and _IRREGULAR.search(text):
            return self._everything
        encoded = text.encode()
        self._seen = [*self._always]
        if self._database is not None:
            self._database.scan(encoded, match_event_handler=self._note)
        if self._rest is not None:
            self._seen += self._rest.hits(text, timeout_s)
        return self._seen

    def _note(self, number: int, *_: Any) -> None:
        self._seen.append(number)


def _weakened(
    expressions: Sequence[tuple[str, int]], each_accepted: bool
) -> tuple[tuple[tuple[str, int], ...], tuple[int, ...]]:
    """The parts of all weakened expressions with their numbers, and the numbers of those that cannot be weakened.

    Args:
        expressions: each with its flags.
        each_accepted: whether to try each, and count those as such that Hyperscan refuses.
    """
    weakened: list[tuple[str, int]] = []
    rest = []
    for number, (expression, flags) in enumerate(expressions):
        try:
            parts = [(part, number) for part in supersets(expression, flags)]
            if each_accepted:
                _compile(tuple(parts))
        except Unweakened:
            rest.append(number)
        else:
            weakened += parts
    return tuple(weakened), tuple(rest)


def _load(expressions: tuple[tuple[str, int], ...]) -> Any:
    """A database of one's own: what it notes down during a scan is not to be shared, what it costs to build is."""
    import hyperscan

    database = hyperscan.loadb(_built(expressions), hyperscan.HS_MODE_BLOCK)
    database.scratch = hyperscan.Scratch(database)
    return database


@cache
def _built(expressions: tuple[tuple[str, int], ...]) -> bytes:
    import hyperscan

    return hyperscan.dumpb(_compile(expressions))


def _compile(expressions: tuple[tuple[str, int], ...]) -> Any:
    import hyperscan

    flags = hyperscan.HS_FLAG_UTF8 | hyperscan.HS_FLAG_SINGLEMATCH | hyperscan.HS_FLAG_PREFILTER
    database = hyperscan.Database(mode=hyperscan.HS_MODE_BLOCK)
    try:
        database.compile(
            expressions=[expression.encode() for expression, _ in expressions],
            ids=[number for _, number in expressions],
            elements=len(expressions),
            flags=[flags | hyperscan.HS_FLAG_ALLOWEMPTY] * len(expressions),
        )
    except hyperscan.error:
        raise Unweakened from None
    return database
