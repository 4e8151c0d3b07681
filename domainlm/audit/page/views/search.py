"""One field for everything: models, runs, entries and people by name, identity, digest or number."""

from __future__ import annotations

from starlette.responses import Response

from domainlm.audit.page import visit as visits
from domainlm.audit.page.visit import Visit
from domainlm.ledger import entries

MOST = 20  # hits shown of each sort
LEAST = 2  # letters


def show(visit: Visit) -> Response:
    """The hits by sort, the newest first; only what the person may open."""
    asked = visit.asked("q")
    word, book = asked.casefold(), visit.book
    models, runs, found, people = [], [], [], []
    if len(word) >= LEAST or word.isdigit():
        for stated in reversed(book.models.values()):
            model = stated.act.model
            if word in f"{model.name}/{model.version} {model.identity}".casefold():
                models.append(stated)
        for stated in reversed(book.runs.values()):
            if word in f"{stated.act.run_name} {stated.act.run_id} {stated.act.pipeline}".casefold():
                runs.append(stated)
        if visit.may(visits.LEDGER):
            hidden = not visit.may(visits.ACCESS)
            for stated in reversed(book.evidence.stated):
                kind = stated.header.kind
                if hidden and kind == entries.READ:
                    continue
                if (
                    word == str(stated.number)
                    or (len(word) >= 6 and stated.digest.startswith(word))
                    or (kind != entries.READ and word in (kind, stated.header.by.casefold()))
                ):
                    found.append(stated)
            people = [name for name in book.evidence.policy.members if word in name.casefold()]
    return visit.page(
        "search.html", query=asked, models=models[:MOST], runs=runs[:MOST], entries=found[:MOST], people=people[:MOST],
        counts={"models": len(models), "runs": len(runs), "entries": len(found), "people": len(people)}, most=MOST,
    )  # fmt: skip
