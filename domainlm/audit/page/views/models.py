"""All models, with what was found about each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from starlette.responses import Response

from domainlm.audit.evidence import Stated
from domainlm.audit.page.book import Book
from domainlm.audit.page.visit import Slice, Visit
from domainlm.ledger import entries

STATES = ("all", "champion", "undecided", "approved", "rejected")


@dataclass(frozen=True)
class Line:
    """One row: the run that registered the model, its state by the acts of people, and what its promotion lacks."""

    stated: Stated
    states: frozenset[str]
    decision: Any


def listing(visit: Visit) -> Response:
    """Search, filter, page; the newest first."""
    book = visit.book
    query, state, verdict = visit.asked("q").casefold(), visit.asked("state"), visit.asked("verdict")
    verdicts = sorted({stated.act.model.verdict for stated in book.models.values()} - {""})
    found = [
        stated
        for identity, stated in reversed(book.models.items())
        if query in _text(stated)
        and (not verdict or stated.act.model.verdict == verdict)
        and (state not in STATES[1:] or state in states(book, identity))
    ]
    shown = Slice.of(visit, found)
    lines = [
        Line(stated, states(book, stated.act.model.identity), visit.office.decision(stated.act.model.identity))
        for stated in shown.rows
    ]
    return visit.page(
        "models.html", lines=lines, slice=shown, query=visit.asked("q"), state=state, verdict=verdict,
        verdicts=verdicts, all_states=STATES, known=len(book.models),
    )  # fmt: skip


def states(book: Book, identity: str) -> frozenset[str]:
    """Which of `STATES` a model is in, by the latest act of each person; what counts is for `decide` to say."""
    latest = {stated.header.by: stated.act.decision for stated in book.evidence.about(identity, entries.APPROVAL)}
    decisions = set(latest.values())
    found = {"rejected"} if "reject" in decisions else {"approved"} if "approve" in decisions else {"undecided"}
    champion = book.champion(book.models[identity].act.model.name)
    if champion is not None and champion.act.identity == identity:
        found.add("champion")
    return frozenset(found)


def _text(stated: Stated) -> str:
    model = stated.act.model
    return f"{model.name}/{model.version} {model.identity} {stated.act.run_name} {stated.act.run_id}".casefold()
