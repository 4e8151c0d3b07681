"""What a training would work on, and about what it would take: the answer of a dry run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from domainlm.reports import Report

if TYPE_CHECKING:
    from domainlm.retrain.batches import Decision
    from domainlm.retrain.rounds import Round


class ForeseenBatch(Report):
    """A batch that would be trained on."""

    id: str
    name: str
    rows: int


class ForeseenFeed(Report):
    """What would be read of a feed: files, and the row after which they are new."""

    name: str
    files: int
    new_after: int


class Foreseen(Report):
    """The plan of a training that is not made.

    Fields:
        start: what it would go on from.
        replay_ratio: old rows for each new one; None keeps all.
        trusted: no batch in it came from a feed that is marked untrusted.
        hours: as earlier trainings took; None where there was none.
    """

    batches: tuple[ForeseenBatch, ...]
    feeds: tuple[ForeseenFeed, ...]
    start: str
    replay_ratio: float | None
    trusted: bool
    hours: float | None

    def lines(self) -> list[str]:
        """For people."""
        lines = [f"would train on: {batch.name or batch.id[:12]} ({batch.rows} rows)" for batch in self.batches]
        lines += [f"feed {feed.name}: {feed.files} files, new after row {feed.new_after}" for feed in self.feeds]
        kept = "all old rows" if self.replay_ratio is None else f"{self.replay_ratio:g} old rows for each new one"
        trust = "trusted" if self.trusted else "an untrusted feed is among them: never promoted by itself"
        cost = "no earlier training to tell the cost by"
        if self.hours is not None:
            cost = f"about {self.hours:.2f} h, as earlier ones took"
        return [*lines, f"from: {self.start}; with {kept}; {trust}", f"cost: {cost}"]


def foreseen(round: Round, decision: Decision) -> Foreseen | None:
    """The plan; None where nothing can be claimed now.

    Args:
        round: of a copy of the book: what waits is claimed in it.
    """
    from domainlm.retrain.deciding.plan import make_plan

    terms, book, waiting = round.terms, round.book, round.waiting()
    ids = [batch.id for batch in waiting]
    claim = book.claim(terms.lane, "dry run", 3600, batches=ids, exclusive=False, allow_empty=True)
    if claim is None:
        return None
    aside = str(round.zone.aside or "")
    plan = make_plan(book, claim, decision, terms.decide, terms.detect.feeds, terms.detect.zone, aside)
    return Foreseen(
        batches=tuple(ForeseenBatch(id=batch.id, name=batch.name, rows=batch.rows) for batch in waiting),
        feeds=tuple(
            ForeseenFeed(name=source.name, files=len(source.parts), new_after=plan.new_after[source.name])
            for source in plan.sources
        ),
        start=plan.start, replay_ratio=plan.replay_ratio, trusted=plan.trusted, hours=round.hours_of_a_training(),
    )  # fmt: skip
