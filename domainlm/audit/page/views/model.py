"""One model: whether it may be promoted, how it compares, what it was made from, who decided what."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from starlette.responses import Response

from domainlm.audit.evidence import Stated
from domainlm.audit.page import visit as visits
from domainlm.audit.page.picture import picture
from domainlm.audit.page.views.models import states
from domainlm.audit.page.views.signing import decided
from domainlm.audit.page.visit import NotThere, Visit, download
from domainlm.errors import ArtifactError
from domainlm.ledger import entries
from domainlm.ledger.run.manifest import RunManifest

KINDS = {"html": "text/html; charset=utf-8", "pdf": "application/pdf"}


@dataclass(frozen=True)
class Score:
    """A metric of the model, with its confidence interval, and of the model that it is measured against."""

    name: str
    value: float | None
    other: float | None
    interval: list[float]

    @property
    def difference(self) -> float | None:
        return None if self.value is None or self.other is None else self.value - self.other


def show(visit: Visit) -> Response:
    """The model's page."""
    stated, book = visit.model(), visit.book
    model = stated.act.model
    visit.note("model", model.identity)
    before = book.models.get(book.champion_before(model.name, model.identity))
    found = scores(stated.act, before.act if before else None)
    acts = book.evidence.about(model.identity)
    met = {(act.act.approval, act.act.condition) for act in book.evidence.of_kind(entries.CONDITION_MET)}
    erasures = book.evidence.about(model.identity, entries.ERASURE)
    return visit.page(
        "model.html", stated=stated, manifest=stated.act, model=model, states=states(book, model.identity),
        decision=visit.office.decision(model.identity), champion=before,
        scores=found, leading=leading(stated.act, found),
        picture=picture(stated.act), acts=[act for act in acts if act.header.kind == entries.APPROVAL],
        others=[act for act in acts if act.header.kind != entries.APPROVAL], met=met,
        findings=visit.may(visits.FINDINGS), versions=_versions(visit, stated),
        reports=sorted(visit.office.desk.reports), erased=erasures[0] if erasures else None,
        decided=decided(visit, model.identity), ends=lambda act: ends(act, book.evidence.policy.rules.approval_days),
    )  # fmt: skip


def report(visit: Visit) -> Response:
    """The report as a file to save."""
    stated, ending = visit.model(), visit.request.path_params["ending"]
    made = visit.office.desk.reports.get(ending)
    if made is None or ending not in KINDS:
        raise NotThere
    verification = visit.office.watch.latest.verification
    if verification is None:
        raise ArtifactError("was not verified yet, and a report states the verdict", visit.office.desk.origin,
                            "wait for the verification, or see why it failed")  # fmt: skip
    evidence = visit.book.evidence.until(verification.size)  # what the verdict is about, and no more
    if not evidence.registered(stated.act.model.identity):
        raise ArtifactError("was entered after the last verification", f"entry {stated.number}", "verify again")
    visit.note("report", stated.act.model.identity)
    content = made(evidence, stated.act.model.identity, verification, visit.language)
    return download(content, f"{stated.act.model.name}-{stated.act.model.version}.{ending}", KINDS[ending])


def scores(run: RunManifest, other: RunManifest | None) -> list[Score]:
    """The metrics of both sides by name."""
    others = other.metrics if other else {}
    return [
        Score(name, run.metrics.get(name), others.get(name), run.intervals.get(name, [])[:2])
        for name in sorted(run.metrics.keys() | others.keys())
    ]


def leading(run: RunManifest, found: list[Score]) -> list[Score]:
    """The scores to show first: each task's first metric, which the evaluation's verdicts name, of the model and of its
    base. Metrics are named `task/source/metric/system` (`domainlm.evaluate.report`); empty where they are not."""
    verdict = run.verdicts.get("evaluation", {})
    rows = {
        "/".join(part.strip().replace(" ", "-") for part in (*name.split(" / ", 1), metric))
        for name, metric, _ in (key.rsplit(", ", 2) for key in verdict if key.count(", ") >= 2)
    }
    wanted = {f"{row}/{system}" for row in rows for system in ("tuned", "base")}
    return [score for score in found if score.name in wanted]


def ends(stated: Stated, days: int) -> str:
    """The last day on which an approval counts: its own, else the policy's term (as `decide` counts it)."""
    if stated.act.until or stated.act.decision != "approve":
        return stated.act.until
    return (entries.parse_time(stated.header.time).date() + timedelta(days)).isoformat()


def _versions(visit: Visit, stated: Stated) -> list[Any]:
    """Other models of the same name, the newest first, to compare with."""
    name, identity = stated.act.model.name, stated.act.model.identity
    found = [other.act.model for other in visit.book.models.values() if other.act.model.name == name]
    return [model for model in reversed(found) if model.identity != identity][:50]
