"""Which batches the champion is still to be asked about, so that a decay of its score can be seen before a training."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from domainlm.digests import digest_json
from domainlm.reports import Report
from domainlm.retrain.batches import ACCEPTED, BriefBatch, Decision, LandedData, Reason
from domainlm.retrain.deciding.plan import fresh
from domainlm.retrain.settings import FeedSettings

if TYPE_CHECKING:
    from domainlm.retrain.book import Book


class FreshRows(Report):
    """Rows that landed and that nothing was trained on yet.

    Fields:
        identity: of the model that is asked.
        landed: as sources.
        ends: feed -> (number of its last row, batch), in order.
    """

    identity: str
    landed: LandedData
    ends: dict[str, list[tuple[int, str]]]

    @property
    def batches(self) -> list[str]:
        """Ids, in order."""
        return list(dict.fromkeys(batch for own in self.ends.values() for _, batch in own))


def to_probe(book: Book, identity: str, feeds: Sequence[FeedSettings]) -> list[BriefBatch]:
    """Accepted batches of feeds with labels that a model was not asked about yet, in order of landing; light."""
    waiting = book.briefs(state=ACCEPTED, feeds=[feed.name for feed in feeds if feed.task])
    asked = {score.batch for score in book.scores(identity)} if waiting else set()
    empty = book.values(_mark(identity, "")) if waiting else {}
    return [batch for batch in waiting if batch.id not in asked and _mark(identity, batch.id) not in empty]


def fresh_rows(book: Book, identity: str, lane: str, feeds: Sequence[FeedSettings], zone: str) -> FreshRows | None:
    """Those batches as sources; None where there is none."""
    wanted = {batch.id for batch in to_probe(book, identity, feeds)}
    found = fresh([batch for batch in book.batches(state=ACCEPTED) if batch.id in wanted], feeds, zone)
    if not found.sources:
        return None
    landed = LandedData(lane=lane, sources=found.sources, digests=found.digests, new_after={})
    return FreshRows(identity=identity, landed=landed, ends=found.ends)


def nothing(identity: str, threshold: float | None) -> Decision:
    """Why nobody is asked: there is no champion, it was asked about all, or nobody wants to know."""
    if threshold is None:
        told = "score decay is not looked at"
    else:
        told = "no fresh labelled rows that the champion was not asked about" if identity else "there is no champion"
    reasons = (Reason(code="score-decay", holds=False, threshold=threshold, told=told),)
    bare = Decision(id="", decided="", retrain=False, reasons=reasons)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return bare.model_copy(update={"id": digest_json(bare.model_dump(mode="json")), "decided": now})


def unscored(book: Book, identity: str, batches: Sequence[str]) -> None:
    """Remember that these were looked at and had nothing to score, so that they are not read again for this model."""
    for batch in batches:
        book.set_value(_mark(identity, batch), "nothing to score")


def _mark(identity: str, batch: str) -> str:
    return f"probe/{identity[:32]}/{batch[:32]}"
