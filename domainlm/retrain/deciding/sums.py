"""The profiles of thousands of batches, summed up: in blocks by order of landing, whose sums the book keeps.

A decision is made each minute, and by each round anew; a profile holds up to some thousand counts. So each block of
batches that lie beside each other is summed once, and again only where another batch is among them, or one was accepted
anew: its sum is kept under a digest of just that. What is kept is a copy of what the book holds; losing it costs time.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from domainlm.digests import digest_json
from domainlm.retrain.accepting.profile import Profile, added
from domainlm.retrain.batches import BriefBatch

if TYPE_CHECKING:
    from domainlm.retrain.book import Book

BLOCK = 256  # batches, by their numbers
FEW = 16  # are summed as fast as their sum is read
SIDES = ("new", "known")  # what waits in a block becomes what is known of it: its sum is found under either name


def summed(book: Book, side: str, batches: Sequence[BriefBatch]) -> list[Profile]:
    """The profiles of some batches, one for each key, task and source.

    Args:
        side: which of the two sums of a block is replaced by this one: NEW or KNOWN of `SIDES`.
    """
    blocks: dict[int, list[str]] = {}
    for batch in batches:
        blocks.setdefault(batch.number // BLOCK, []).append(batch.id)
    accepted = book.acceptances(batch.id for batch in batches)
    total: list[Profile] = []
    for block, ids in sorted(blocks.items()):
        if len(ids) < FEW:
            parts = _profiles(book, ids)
        else:
            parts = _kept(book, side, block, ids, digest_json([[id, accepted.get(id, 0)] for id in ids]))
        total = added([*total, *parts])
    return total


def _kept(book: Book, side: str, block: int, ids: list[str], digest: str) -> list[Profile]:
    for place in SIDES:
        found, _, content = book.value(_place(place, block)).partition(" ")
        if found == digest:
            return [Profile.model_validate(one) for one in json.loads(content)]
    parts = added(_profiles(book, ids))
    content = json.dumps([one.model_dump(mode="json", exclude_defaults=True) for one in parts])
    book.set_value(_place(side, block), f"{digest} {content}")
    return parts


def _profiles(book: Book, ids: list[str]) -> list[Profile]:
    return [Profile.model_validate(content) for content in book.profiles(ids)]


def _place(side: str, block: int) -> str:
    return f"profile/sum/{side}/{block}"
