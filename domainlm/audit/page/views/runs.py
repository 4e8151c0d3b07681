"""All runs, failed and stopped ones too; one run by its manifest."""

from __future__ import annotations

from starlette.responses import Response

from domainlm.audit.page import visit as visits
from domainlm.audit.page.picture import picture
from domainlm.audit.page.visit import NotThere, Slice, Visit


def listing(visit: Visit) -> Response:
    """The newest first, by how they ended."""
    runs = visit.book.runs.values()
    status, query = visit.asked("status"), visit.asked("q").casefold()
    found = [
        stated
        for stated in sorted(runs, key=lambda stated: -stated.number)
        if (not status or stated.act.status == status)
        and query in f"{stated.act.run_name} {stated.act.run_id} {stated.act.pipeline}".casefold()
    ]
    return visit.page(
        "runs.html", slice=Slice.of(visit, found), status=status, query=visit.asked("q"),
        all_status=sorted({stated.act.status for stated in runs}),
    )  # fmt: skip


def show(visit: Visit) -> Response:
    """One run."""
    stated = visit.book.runs.get(visit.request.path_params["run"])
    if stated is None:
        raise NotThere
    visit.note("run", stated.digest)
    return visit.page(
        "run.html", stated=stated, manifest=stated.act, model=None, picture=picture(stated.act),
        findings=visit.may(visits.FINDINGS),
    )  # fmt: skip
