"""Who may do what (the policy in force), and who looked at what (the access log)."""

from __future__ import annotations

from starlette.responses import Response

from domainlm.audit.page.visit import Slice, Visit


def show(visit: Visit) -> Response:
    """Members, their roles and keys, revoked ones too, and the rules."""
    policy = visit.book.evidence.policy
    return visit.page("people.html", policy=policy, number=visit.book.evidence.gate.policies[-1][0])


def access(visit: Visit) -> Response:
    """The access log, the newest first."""
    visit.note("access")
    person = visit.asked("person")
    reads = visit.book.reads
    found = [stated for stated in reversed(reads) if not person or stated.act.person == person]
    return visit.page(
        "access.html", slice=Slice.of(visit, found), person=person,
        people=sorted({stated.act.person for stated in reads}), models=visit.book.models,
        entry=visit.book.evidence.entry,
    )  # fmt: skip
