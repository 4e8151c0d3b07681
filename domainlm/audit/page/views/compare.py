"""What differs between two model versions."""

from __future__ import annotations

from starlette.responses import Response

from domainlm.audit.page import visit as visits
from domainlm.audit.page.differences import differences
from domainlm.audit.page.views.model import scores
from domainlm.audit.page.visit import NotThere, Visit

MOST_CHOICES = 500
PRIVATE = ("verdicts",)  # holds what redaction found


def show(visit: Visit) -> Response:
    """Choose two, or see their difference."""
    models = visit.book.models
    asked = [visit.asked("before"), visit.asked("after")]
    newest = list(reversed(models))[:MOST_CHOICES]
    shown = [*newest, *(identity for identity in asked if identity in models and identity not in newest)]
    choices = [models[identity].act.model for identity in shown]
    if not all(asked):
        wanted = [asked[0] or "".join(newest[1:2]), asked[1] or "".join(newest[:1])]
        return visit.page(
            "compare.html", before=None, after=None, sections={}, scores=[], choices=choices, asked=wanted
        )
    before, after = models.get(asked[0]), models.get(asked[1])
    if before is None or after is None:
        raise NotThere
    visit.note("compare", asked[0], asked[1])
    sections = differences(before.act, after.act)
    sections.pop("metrics")  # have a table of their own
    if not visit.may(visits.FINDINGS):
        for name in PRIVATE:
            sections.pop(name)
    return visit.page(
        "compare.html", before=before.act, after=after.act, sections=sections,
        scores=scores(after.act, before.act), choices=choices, asked=asked,
    )  # fmt: skip
