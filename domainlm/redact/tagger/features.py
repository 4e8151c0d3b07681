"""What is known of each word: its form, the lists it stands in, the words around it, and the kind of text it is in.

Names themselves are no features: a capitalised word that is not common is known by its form, its lists and its first
and last letters only, so that what is learned holds for names that no list has. The same code runs in training and in
use.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from domainlm.redact.tagger.tokens import COMPOUND_SURNAMES, SURNAMES, name_length, tokenize

VERSION = 1
NAME, PLACE = 1, 2
CHUNK_CHARACTERS = 1500
REACH = 5

_FIRST_PERSON = re.compile(
    r"(?i)\b(?:i|i'm|i've|i'd|my|me|mine|you|your|you're|please|thanks|hello|hi"
    r"|dear|we're)\b|저는|제가|제 |저희|주세요|습니까|나요|했어요|드립니다|드려요"
)
_THIRD_PERSON = re.compile(r"(?i)\b(?:he|she|his|her|him|hers|who)\b|님|씨|본인")
_MARKET = re.compile(
    r"(?i)\b(?:shares?|stocks?|index|indices|sensex|nifty|revenues?|fiscal|quarter(?:ly)?|profits?|earnings|net|crore"
    r"|rall(?:y|ies|ied)|markets?|equit(?:y|ies)|bonds?|yields?|sales|dividends?|analysts?|forecasts?|growth|inflation"
    r"|investors?|q[1-4]|ipo|buy|sell|target|upgrades?|downgrades?|brokerage|fund|funds|bank|federal|policy|rates?"
    r"|inc|corp|ltd|plc|company|business|segment|assets|liabilities|consolidated|statements?|securities|tax|gold|oil"
    r"|rupee|dollar|trading|results|million|billion|economy|economic|operating|compensation|plan|agreement)\b"
    r"|\b(?:balances?|owed|actuarial|statute|amortized|aggregate|tranche|restated)\b|(?:\|\s*\(?\$?\d[\d.,]*\s?\)?%?\s*){2}"
    r"|%|증시|코스피|주가|매출|금리|환율|영업이익|시장|분기|지수|투자자|기업"
)
MARKET_MARKS = frozenset({"m1", "m3"})
PERSONAL_MARKS = frozenset("13ac")
_CONTACT = re.compile(r"@|\d[\d ().-]{5,}\d")
_AFFAIRS = re.compile(
    r"(?i)\b(?:account|card|loan|mortgage|transfer|deposit|customer|client|caller|address|phone|email|e-mail|name"
    r"|passport|signed|signature|applicant|beneficiary|complaint|city|country"
    r"|resid(?:es|ent|ence|ing)|lives?|living|lived|born|moved|grew up|founders?)\b"
    r"|계좌|카드|대출|송금|고객|주소|전화|연락처|성명|이체"
    r"|거주|출생|국적|태어|살고|이사|고향"
)
_CAPITALISED = re.compile(r"[A-Z][a-z]")
_WORD = re.compile(r"[A-Za-z]{2,}")
Described = tuple[str, str, str, str, bool]


@dataclass(frozen=True)
class Lists:
    """Words that are known to be something; small letters.

    Args:
        given: given names.
        family: family names.
        common: words of the language, whatever else they may be.
        places: towns, regions and countries.
        firms: words that make a name a company's.
        streets: words that make a name a street's.
        korean_given: given names in Hangul.
        korean_common: words of Korean.
        described: what was said of words that are no names, with and without regard to capitals; filled in use.
    """

    given: frozenset[str]
    family: frozenset[str]
    common: frozenset[str]
    places: frozenset[str]
    firms: frozenset[str]
    streets: frozenset[str]
    korean_given: frozenset[str]
    korean_common: frozenset[str]
    described: dict[bool, dict[str, Described]] = field(default_factory=lambda: {True: {}, False: {}}, compare=False)


@dataclass(frozen=True)
class Window:
    """A stretch of text around words that may be names: what the model sees at once.

    Args:
        spans: start and end of its tokens in the text.
        values: for each token, template and value of each of its features.
        marks: of the text as a whole; see `kind_of_text`.
    """

    spans: list[tuple[int, int]]
    values: list[list[tuple[str, str]]]
    marks: tuple[str, ...]


def kind_of_text(text: str) -> tuple[str, ...]:
    """Marks of the text as a whole: a customer's words, a market report, a headline, a form."""
    market = len(_MARKET.findall(text))
    words = _WORD.findall(text)
    capitals = sum(word[0].isupper() for word in words)
    return (
        "1" if _FIRST_PERSON.search(text) else "-1",
        "3" if _THIRD_PERSON.search(text) else "-3",
        "m0" if not market else "m1" if market < 3 else "m3",
        "c" if _CONTACT.search(text) else "-c",
        "a" if _AFFAIRS.search(text) else "-a",
        "t" if len(words) > 4 and capitals > 0.6 * len(words) else "l" if not capitals else "-t",
        "." if text.rstrip()[-1:] in ".!?\"')" else "-.",
    )


def chunks(text: str) -> list[tuple[int, str]]:
    """A long text in pieces that end at a line or a sentence, each with its offset."""
    if len(text) <= CHUNK_CHARACTERS:
        return [(0, text)]
    pieces, start = [], 0
    while start < len(text):
        end = start + CHUNK_CHARACTERS
        if end < len(text):
            for mark in ("\n", ". ", " "):
                cut = text.rfind(mark, start + CHUNK_CHARACTERS // 2, end)
                if cut > 0:
                    end = cut + len(mark)
                    break
        pieces.append((start, text[start:end]))
        start = end
    return pieces


def windows(text: str, lists: Lists, forget: Callable[[str], bool] | None = None) -> list[Window]:
    """What the model looks at in a text: nothing where no word may be a name.

    Args:
        text: a text in its plain spelling.
        lists: the words that are known.
        forget: in training, which names count as being in no list.
    """
    found = []
    for offset, piece in chunks(text):
        spans = tokenize(piece)
        words = [piece[start:end] for start, end in spans]
        lows, shapes, kinds, norms, candidates = [], [], [], [], []
        any_case = not _CAPITALISED.search(piece)
        known = None if forget else lists.described[any_case]
        for place, word in enumerate(words):
            described = known.get(word) if known is not None else None
            if described is None:
                described = _describe(word, lists, forget, any_case)
                if known is not None and not described[4] and len(known) < MOST_KNOWN:
                    known[word] = described
            lows.append(described[0])
            shapes.append(described[1])
            kinds.append(described[2])
            norms.append(described[3])
            if described[4]:
                candidates.append(place)
        if not candidates:
            continue
        marks = kind_of_text(piece)
        for first, last in _stretches(candidates, len(words)):
            values = [
                _values(place, words, lows, shapes, kinds, norms, marks, len(words)) for place in range(first, last)
            ]
            found.append(Window([(offset + start, offset + end) for start, end in spans[first:last]], values, marks))
    return found


# Words described once; what may be a name is not kept.
MOST_KNOWN = 20_000


def _stretches(candidates: list[int], count: int) -> list[tuple[int, int]]:
    """The candidates' surroundings, joined where they meet."""
    stretches: list[tuple[int, int]] = []
    for place in candidates:
        first, last = max(0, place - REACH), min(count, place + REACH + 1)
        if stretches and first <= stretches[-1][1]:
            stretches[-1] = (stretches[-1][0], last)
        else:
            stretches.append((first, last))
    return stretches


def _describe(
    word: str, lists: Lists, forget: Callable[[str], bool] | None, any_case: bool
) -> tuple[str, str, str, str, bool]:
    """Small letters, form, form with lists, what neighbours see, and whether it may begin or be part of a name."""
    first = word[0]
    if "가" <= first <= "힣":
        return _describe_korean(word, lists, forget)
    if not first.isalpha():
        if first.isdigit():
            shape = f"d{min(len(word), 6)}" if word.isdigit() else "dx"
            return word, shape, shape, f"<{shape}>", False
        sign = "⏎" if word == "\n" else word
        return sign, sign, sign, sign, False
    low = word.lower()
    length = len(word)
    if word == low:
        shape = "x"
    elif length == 1:
        shape = "X"
    elif word.isupper():
        shape = "XX"
    elif first.isupper():
        shape = "X-x" if "-" in word else "Xx" if word[1:].islower() else "XxX"
    else:
        shape = "xX"
    if not word.isascii():
        shape += "~"
    common = _is_common(low, lists.common)
    kind = ("c" if common else "") + ("f" if low in lists.firms else "") + ("t" if low in lists.streets else "")
    if forget is None or not forget(low):
        if low in lists.places:
            kind += "p"
        if low in lists.given or ("-" in low and low.split("-")[0] in lists.given):
            kind += "g"
        if low in lists.family:
            kind += "s"
    capital = shape[0] == "X"
    listed = "g" in kind or "s" in kind
    if not capital and not common and listed:
        norm = f"<{shape}{kind}>"
    else:
        norm = low if common or not capital or length == 1 else f"<{shape}{kind}>"
    if capital:
        candidate = listed or not common
    else:
        candidate = any_case and ((listed and not common) or "p" in kind or "t" in kind)
    if length > 24:
        low = low[:24]
    return low, shape, shape + kind, norm, candidate


_ENDINGS = ("s", "es", "ed", "d", "ing", "ly", "er", "y")
_SHORTENED = ("'s", "'ve", "'m", "'ll", "'d", "'re", "'t")


def _is_common(low: str, common: frozenset[str]) -> bool:
    """Whether a word of the list stands behind it: "adjustments" behind "adjustment"."""
    if low in common:
        return True
    if "'" in low:
        return low.endswith(_SHORTENED)
    if "-" in low:
        return all(part in common for part in low.split("-") if part)
    if len(low) < 5:
        return len(low) == 4 and low[3] == "s" and low[:3] in common
    for ending in _ENDINGS:
        if low.endswith(ending):
            stem = low[: -len(ending)]
            if stem in common or (ending in ("ed", "ing", "er") and (stem + "e" in common or stem[:-1] in common)):
                return True
    return False


def _describe_korean(word: str, lists: Lists, forget: Callable[[str], bool] | None) -> tuple[str, str, str, str, bool]:
    shape = f"h{min(len(word), 5)}"
    common = word in lists.korean_common or (len(word) > 2 and word[:-1] in lists.korean_common)
    kind = "c" if common else ""
    if word in lists.places or (len(word) > 2 and word[-1] in "시군구동읍면리도" and word[:-1] in lists.places):
        kind += "p"
    may_be_name = (
        1 < len(word) < 5 and word[0] in SURNAMES and word not in lists.korean_common and name_length(word) == len(word)
    )
    if may_be_name:
        kind += "n"
        given = word[2:] if word[:2] in COMPOUND_SURNAMES and len(word) > 2 else word[1:]
        if given in lists.korean_given and (forget is None or not forget(word)):
            kind += "g"
    norm = f"<{shape}{kind}>" if may_be_name and not common else word[:6]
    return word[:8], shape, shape + kind, norm, ("n" in kind and (not common or "g" in kind)) or "p" in kind


def _values(
    i: int, words: list[str], lows: list[str], shapes: list[str], kinds: list[str], norms: list[str],
    marks: tuple[str, ...], count: int,
) -> list[tuple[str, str]]:  # fmt: skip
    kind, norm = kinds[i], norms[i]
    one, two, three = (
        (norms[i - 1] if i else "<<"),
        (norms[i - 2] if i > 1 else "<<"),
        (norms[i - 3] if i > 2 else "<<"),
    )
    next_one = norms[i + 1] if i + 1 < count else ">>"
    next_two = norms[i + 2] if i + 2 < count else ">>"
    next_three = norms[i + 3] if i + 3 < count else ">>"
    kind_before = kinds[i - 1] if i else "<<"
    kind_after = kinds[i + 1] if i + 1 < count else ">>"
    values = [
        ("k", kind), ("w", norm), ("a1", one), ("a2", two), ("a3", three), ("b1", next_one), ("b2", next_two),
        ("b3", next_three), ("kk", kind_before + "|" + kind), ("kl", kind + "|" + kind_after),
        ("kkk", kind_before + "|" + kind + "|" + kind_after), ("a1k", one + "|" + kind), ("b1k", next_one + "|" + kind),
        ("a21", two + "|" + one), ("b12", next_one + "|" + next_two), ("ab", one + "|" + next_one),
        ("a21k", two + "|" + one + "|" + shapes[i]),
    ]  # fmt: skip
    shape = shapes[i]
    if shape[0] == "X" or shape[0] == "h" or "g" in kind:
        last = i + 1 == count or words[i + 1] == "\n"
        place = "^" if i == 0 else "n" if words[i - 1] == "\n" else "." if words[i - 1] in ".!?" else "-"
        values.append(("e", place + ("$" if last else "-") + kind))
        values += [("m", mark + kind) for mark in marks]
        low = lows[i]
        if shape[0] == "h":
            if "n" in kind:
                values += [("h0", low[0]), ("h1", low[1]), ("hz", low[-1]), ("h2", low[:2]), ("hl", low)]
        elif len(low) > 2 and "c" not in kind:
            values += [("p2", low[:2]), ("p3", low[:3]), ("z2", low[-2:]), ("z3", low[-3:]), ("z4", low[-4:])]
    return values
