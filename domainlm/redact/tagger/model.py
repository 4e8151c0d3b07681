"""The model in use: looks up what its features weigh, and sums over all labellings of a stretch of text.

A linear-chain conditional random field (Lafferty, McCallum, Pereira 2001) with three labels: none, name, place. A
span's score is the probability of its surest word, so that one threshold serves for precision and recall alike.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Mapping
from functools import cache
from math import exp
from pathlib import Path
from typing import Any

from domainlm.errors import ModelError
from domainlm.redact.tagger.features import (
    MARKET_MARKS,
    NAME,
    PERSONAL_MARKS,
    PLACE,
    VERSION,
    Lists,
    Window,
    chunks,
    windows,
)

# Without a capital letter, Hangul, or what small letters say before a name, nothing is tagged. Linear, `re.ASCII`.
GATE = (
    r"[A-Z\u00c0-\u00de\u0100-\u024f\u1e00-\u1eff]|[가-힣]{2}"
    r"|\b(?:name|dear|hi|hello|hey|mr|mrs|ms|dr|i'm|i am|this is|my|says?|said|from|to|for|by|regards|thanks)\b"
)
_GATE = re.compile(GATE, re.ASCII)
WEIGHTS, CARD = "weights.safetensors", "card.json"
LABELS = 3
NEWS_LEAST = 0.93  # least probability of a name where the text reads like news or a filing, and of nobody's own affairs
MARKET_LEAST = 0.6  # where it speaks of markets or of a firm's affairs at all
Span = tuple[int, int, int, float]
Table = dict[str, tuple[float, float, float]]  # value of a feature to the weights of the three labels
_PARTICLES = frozenset("로 으로 에 에서 은 는 이 가 을 를 의 와 과 도 입니다 이에요 예요 인데 이고 까지 앞으로".split())
# What announces a number that is no house's.
_NUMBERS_OF_OTHERS = frozenset(
    "ISIN CUSIP SEDOL LEI IBAN BIC SWIFT NHS SSN NINO ABA CVV PIN OTP MB GB KB TB kB kWh km Rs Ref ref".split()
)
# Signs inside a name: "J. R. Smith", "Smith, Anna", "Min - su".
_IN_NAME = frozenset(".,-'")
_BEFORE_FAMILY = frozenset("van von der den de la del di da dos do du la le lo al el bin binti ter ten dela".split())


class Tagger:
    """Names and places of a text.

    Args:
        lists: the words that are known.
        weights: for each template, value to the weights of the three labels.
        steps: weight of each label after each label.
        low: least probability with which a word joins a span.
    """

    def __init__(
        self, lists: Lists, weights: dict[str, Table], steps: list[list[float]],
        low: float = 0.3, digest: str = "",
    ) -> None:  # fmt: skip
        self.lists, self.low, self.digest = lists, low, digest
        self._weights: Mapping[str, Table] = defaultdict(dict, weights)
        self._steps = [[exp(step) for step in row] for row in steps]
        self._last: tuple[str, list[Span]] = ("", [])

    def tag(self, text: str, still: Callable[[], Any] = lambda: None) -> list[Span]:
        """Start, end, label and probability of each name and place, in order. Two recognizers ask for each text.

        Args:
            text: a text in its plain spelling.
            still: called between stretches of a long text; raises when its time is over.
        """
        last, spans = self._last
        if text == last:
            return spans
        spans = []
        if _GATE.search(text):
            for offset, piece in chunks(text):
                for window in windows(piece, self.lists):
                    spans += [(offset + start, offset + end, *rest) for start, end, *rest in self._spans(piece, window)]
                still()
        self._last = (text, spans)
        return spans

    def marginals(self, window: Window) -> list[tuple[float, float]]:
        """Probability of name and of place for each token of a window."""
        (a0, a1, a2), (b0, b1, b2), (c0, c1, c2) = self._steps
        weights = self._weights
        emissions, forward = [], []
        x, y, z = 1.0, 0.0, 0.0
        for values in window.values:
            s0 = s1 = s2 = 0.0
            for template, value in values:
                found = weights[template].get(value)
                if found is not None:
                    w0, w1, w2 = found
                    s0 += w0
                    s1 += w1
                    s2 += w2
            top = s0 if s0 >= s1 and s0 >= s2 else s1 if s1 >= s2 else s2
            e0, e1, e2 = exp(s0 - top), exp(s1 - top), exp(s2 - top)
            x, y, z = (
                (x * a0 + y * b0 + z * c0) * e0, (x * a1 + y * b1 + z * c1) * e1, (x * a2 + y * b2 + z * c2) * e2,
            )  # fmt: skip
            total = x + y + z
            x, y, z = x / total, y / total, z / total
            emissions.append((e0, e1, e2))
            forward.append((x, y, z))
        out = []
        x = y = z = 1.0
        for (e0, e1, e2), (f0, f1, f2) in zip(reversed(emissions), reversed(forward), strict=True):
            total = f0 * x + f1 * y + f2 * z
            out.append((f1 * y / total, f2 * z / total))
            x, y, z = x * e0, y * e1, z * e2
            x, y, z = a0 * x + a1 * y + a2 * z, b0 * x + b1 * y + b2 * z, c0 * x + c1 * y + c2 * z
            total = x + y + z
            x, y, z = x / total, y / total, z / total
        out.reverse()
        return out

    def _spans(self, text: str, window: Window) -> list[Span]:
        spans: list[Span] = []
        first = last = label = 0
        best = 0.0
        words = [text[start:end] for start, end in window.spans]

        def close() -> None:
            if not label:
                return
            begin, stop = first, last
            while begin <= stop and not self._may_border(words[begin], label):
                begin += 1
            while stop >= begin and not (self._may_border(words[stop], label) and not _ends_behind(words, stop)):
                stop -= 1
            if begin <= stop and self._plausible(words[begin : stop + 1], label, window.marks, best):
                end = window.spans[stop][1]
                if label == NAME and stop < last and words[stop + 1] == "." and len(words[stop]) == 1:
                    end += 1  # the point of an initial
                if label == PLACE:  # both brackets or none
                    inside = words[begin : stop + 1]
                    if "(" in inside and ")" not in inside and words[stop + 1 : stop + 2] == [")"]:
                        end += 1
                    elif ")" in inside and "(" not in inside and words[begin - 1 : begin] == ["("]:
                        begin -= 1
                spans.append((window.spans[begin][0], end, label, best))

        for place, (name, where) in enumerate(self.marginals(window)):
            kind, chance = (NAME, name) if name >= where else (PLACE, where)
            word = words[place]
            if chance < self.low or (not word[0].isalpha() and word not in (_IN_NAME if kind == NAME else word)):
                kind = 0
            elif word == "|":
                kind = 0
            if kind == NAME == label and word[0] >= "가" and window.spans[place][0] == window.spans[place - 1][1]:
                kind = 0  # a particle
            if kind and kind == label:
                last, best = place, max(best, chance)
                continue
            close()
            first, last, label, best = place, place, kind, chance
        close()
        return spans

    def _may_border(self, word: str, label: int) -> bool:
        """Whether a word may be the first or the last of a name or place."""
        low = word.lower()
        if label == PLACE:
            if word == low and word.isalpha() and word.isascii() and low in self.lists.common:
                return low in self.lists.streets
            return word[0].isalnum() or word == "#"
        if word in self.lists.korean_common:
            return False
        return word[0].isalpha() and (low != word or not low.isascii() or low in _BEFORE_FAMILY or self._listed(low))

    def _plausible(self, words: list[str], label: int, marks: tuple[str, ...], chance: float) -> bool:
        """Whether there is anything in a span that could be a name, or a place that tells where somebody lives."""
        letters = [word for word in words if word[0].isalpha()]
        if label == NAME:
            market = not MARKET_MARKS.isdisjoint(marks)
            news = market and not PERSONAL_MARKS.intersection(marks)
            alone = market and len(letters) == 1 and not self._listed(words[0].lower())
            least = NEWS_LEAST if news or alone else MARKET_LEAST if market else 0
            return chance >= least and any(len(word) > 1 or not word.isascii() for word in letters)
        if not PERSONAL_MARKS.intersection(marks) and not any(word[0].isdigit() for word in words):
            return False  # "sales in Germany, France and Italy"
        if not _NUMBERS_OF_OTHERS.isdisjoint(words):
            return False
        lists = self.lists
        return any(
            len(word) > 1 and (word.lower() in lists.streets or word.lower() not in lists.common) for word in letters
        )

    def _listed(self, low: str) -> bool:
        return low in self.lists.given or low in self.lists.family


def _ends_behind(words: list[str], place: int) -> bool:
    """Whether a word is a Korean particle behind a house number: "12로", "101호에서"."""
    return words[place] in _PARTICLES and place > 0 and (words[place - 1][-1].isdigit() or words[place - 1] in "호동")


@cache
def load(folder: Path) -> Tagger:
    """The tagger of a folder.

    Raises:
        ModelError: weights or card are missing, malformed, of other features, or not those that belong together.
    """
    weights, card = folder / WEIGHTS, read_card(folder)
    remedy = "restore the folder, or train again: python -m domainlm.redact.tagger.train"
    from domainlm.digests import digest_file

    try:
        digest = digest_file(weights)
    except OSError:
        raise ModelError("the tagger's weights are missing", str(weights), remedy) from None
    if digest != card.get("weights_sha256"):
        raise ModelError("the tagger's weights are not those of their card", str(weights), remedy)
    if card.get("features_version") != VERSION:
        raise ModelError("the tagger was trained on another version of the features", str(folder), remedy)
    from safetensors.numpy import load_file

    return unpack(load_file(weights), float(card["low"]), digest)


def read_card(folder: Path) -> dict[str, Any]:
    """The card of a tagger.

    Raises:
        ModelError: missing or malformed.
    """
    path = folder / CARD
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise ModelError(
            "the tagger's card is missing or malformed", str(path),
            "restore it, train again (python -m domainlm.redact.tagger.train), or set name_engine: none",
        ) from None  # fmt: skip
    if not isinstance(card, dict):
        raise ModelError("the tagger's card is malformed", str(path), "restore it")
    return card


def pack(lists: Lists, keys: list[str], weights: Any, steps: Any) -> dict[str, Any]:
    """Lists, feature names and weights as arrays; texts as bytes, one line each."""
    import numpy

    arrays = {f"list.{name}": _bytes(sorted(words)) for name, words in vars(lists).items() if name != "described"}
    arrays["keys"] = _bytes(keys)
    arrays["weights"] = numpy.ascontiguousarray(weights, dtype=numpy.float16)
    arrays["steps"] = numpy.ascontiguousarray(steps, dtype=numpy.float32)
    return arrays


def unpack(arrays: dict[str, Any], low: float, digest: str) -> Tagger:
    """The tagger of such arrays."""
    lists = Lists(**{name[5:]: frozenset(_lines(array)) for name, array in arrays.items() if name.startswith("list.")})
    tables: dict[str, Table] = {}
    for key, row in zip(_lines(arrays["keys"]), arrays["weights"].astype("float64").tolist(), strict=True):
        template, value = key.split(":", 1)
        tables.setdefault(template, {})[value] = tuple(row)
    return Tagger(lists, tables, arrays["steps"].tolist(), low, digest)


def _bytes(lines: list[str]) -> Any:
    import numpy

    return numpy.frombuffer("\n".join(lines).encode(), dtype=numpy.uint8).copy()


def _lines(array: Any) -> list[str]:
    text = array.tobytes().decode()
    return text.split("\n") if text else []
