"""What a training would work on, and about what it would take: the answer of a dry run, for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from domainlm.retrain.deciding.plan import make_plan

if TYPE_CHECKING:
    from domainlm.retrain.batches import Decision
    from domainlm.retrain.rounds import Round


def foreseen(round: Round, decision: Decision) -> list[str]:
    """The plan in lines.

    Args:
        round: of a copy of the book: what waits is claimed in it.
    """
    terms, book, waiting = round.terms, round.book, round.waiting()
    ids = [batch.id for batch in waiting]
    claim = book.claim(terms.lane, "dry run", 3600, batches=ids, exclusive=False, allow_empty=True)
    if claim is None:
        return ["nothing can be claimed now"]
    aside = str(round.zone.aside or "")
    plan = make_plan(book, claim, decision, terms.decide, terms.detect.feeds, terms.detect.zone, aside)
    lines = [f"would train on: {batch.name or batch.id[:12]} ({batch.rows} rows)" for batch in waiting]
    for source in plan.sources:
        lines.append(f"feed {source.name}: {len(source.parts)} files, new after row {plan.new_after[source.name]}")
    kept = "all old rows" if plan.replay_ratio is None else f"{plan.replay_ratio:g} old rows for each new one"
    trust = "trusted" if plan.trusted else "an untrusted feed is among them: never promoted by itself"
    hours = round.hours_of_a_training()
    cost = "no earlier training to tell the cost by" if hours is None else f"about {hours:.2f} h, as earlier ones took"
    return [*lines, f"from: {plan.start}; with {kept}; {trust}", f"cost: {cost}"]
