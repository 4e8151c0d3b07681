"""Finding the terms that a domain says often, that its tokenizer splits, and that general language hardly knows.

A term's score is the tokens that it saves times its termhood against general language (the weirdness ratio of Ahmad,
Gillam and Tostevin 1999, with add-one smoothing):

    score(t) = f(t) * (pieces(t) - 1) * max(0, ln( (f(t)+1)/(N+V)  /  ((g(t)+1)/(M+V)) ))

f and g count the groups (a sentence shape, a customer, a document) that use t in the domain and the contrast text, so
that a name repeated by one template counts once; N and M are their sums, V is the number of distinct words of both.
Without any contrast text there is no termhood to speak of, and the tokens saved decide alone.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from domainlm.vocabulary.settings import VocabularySettings

PLACEHOLDER = re.compile(r"\[[A-Z_]+_\d+\]")
# letters of any script, inner hyphens and ampersands ("M&A"): no digit, so that amounts stay made of digits
WORD = re.compile(r"[^\W\d_]+(?:[-&][^\W\d_]+)*")
MAX_NAME_SHARE = 0.9
MIN_PURITY = 0.5


def words(text: str) -> list[str]:
    """The words of a text, placeholders left out; "\0" stands where something other than one space separates two."""
    found, last = [], None
    for match in WORD.finditer(PLACEHOLDER.sub("\n", text)):
        if last is not None and match.string[last : match.start()] != " ":
            found.append("\0")
        found.append(match.group())
        last = match.end()
    return found


def mine(
    domain: Iterable[tuple[str, str]],
    contrast: Iterable[tuple[str, str]],
    tokenizer: PreTrainedTokenizerBase,
    settings: VocabularySettings,
) -> list[str]:
    """The best terms, best first, each with the space before it.

    Args:
        domain: (group, text) of the training records.
        contrast: (group, text) of general language.
        tokenizer: the base's tokenizer.
        settings: bounds.
    """
    counts = _count(domain, settings.max_words)
    general = _count(contrast, settings.max_words)
    domain_total, general_total, distinct = counts.total(), general.total(), len(counts | general)
    candidates = [
        term for term, count in counts.items() if count >= settings.min_groups and _allowed(term, counts, settings)
    ]
    pieces = _pieces(tokenizer, candidates)
    scored = []
    for term in candidates:
        if pieces[term] < settings.min_pieces or not _pure(term, counts):
            continue
        ratio = (counts[term] + 1) * (general_total + distinct) / ((general[term] + 1) * (domain_total + distinct))
        termhood = max(0.0, math.log(ratio)) if general_total else 1.0
        score = counts[term] * (pieces[term] - 1) * termhood
        if score > 0:
            scored.append((-score, term))
    return [f" {term}" for _, term in sorted(scored)[: settings.max_new_tokens]]


def _count(texts: Iterable[tuple[str, str]], max_words: int) -> Counter[str]:
    """In how many groups each run of up to `max_words` words occurs."""
    seen: set[tuple[str, str]] = set()
    for group, text in texts:
        run = words(text)
        for size in range(1, max_words + 1):
            for start in range(len(run) - size + 1):
                part = run[start : start + size]
                if "\0" not in part:
                    seen.add((group, " ".join(part)))
    return Counter(term for _, term in seen)


def _allowed(term: str, counts: Counter[str], settings: VocabularySettings) -> bool:
    if len(term) < 3:
        return False
    if settings.names or term.isupper() or not any(word[0].isupper() for word in term.split()):
        return True
    return counts[term.lower()] >= (1 - MAX_NAME_SHARE) * (counts[term] + counts[term.lower()])


def _pure(term: str, counts: Counter[str]) -> bool:
    """Whether words that begin like the term mostly are the term: as a token, "option" would also cut "optional"."""
    beginning = sum(
        count for other, count in counts.items() if other.startswith(term) and " " not in other[len(term) :]
    )
    return counts[term] >= MIN_PURITY * beginning


def _pieces(tokenizer: PreTrainedTokenizerBase, terms: list[str]) -> dict[str, int]:
    rows = tokenizer([f" {term}" for term in terms], add_special_tokens=False)["input_ids"] if terms else []
    return {term: len(row) for term, row in zip(terms, rows, strict=True)}
