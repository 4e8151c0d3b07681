"""Sign-in by a personal key, and sign-out."""

from __future__ import annotations

import secrets

from starlette.responses import Response

from domainlm.audit.page.challenges import member_of
from domainlm.audit.page.visit import SESSION, Visit, local_path
from domainlm.errors import EvidenceRefused
from domainlm.ledger.trust.gate import now

BROWSER = "browser"  # the name of its cookie


def ask(visit: Visit) -> Response:
    """The challenge, and the two ways to answer it."""
    if visit.session:
        return visit.go(local_path(visit.asked("next", 2000)))
    return _form(visit, visit.asked("next", 2000))


def enter(visit: Visit) -> Response:
    """Check the answer and open a session."""
    office = visit.office
    address = visit.request.client.host if visit.request.client else ""
    onward = visit.given("next", 2000)
    if not office.limiter.allows(address):
        return _form(visit, onward, "sign_in.too_many", 429)
    try:
        challenge = office.challenges.take(visit.given("nonce", 64), visit.cookie(BROWSER))
        office.book.refresh()
        policy = office.book.evidence.policy
        keyid = challenge.answered_by(visit.given("token", 400), policy)
        person, _ = member_of(policy, keyid, now())
    except EvidenceRefused as error:
        office.limiter.failed(address)
        # the same words for every cause that concerns the key: a stranger learns nothing of the policy
        expired = error.code == "malformed" and "expired" in error.what
        return _form(visit, onward, "sign_in.expired" if expired else "sign_in.refused", 403)
    if visit.session:
        office.sessions.end(visit.session)
    session = office.sessions.start(person, keyid)
    response = visit.go(local_path(onward))
    visit.remember(response, SESSION, session.id)
    return response


def leave(visit: Visit) -> Response:
    """Sign out."""
    if visit.session:
        visit.office.sessions.end(visit.session)
    response = visit.go("/sign-in")
    visit.remember(response, SESSION, "")
    return response


def _form(visit: Visit, onward: str, problem: str = "", status: int = 200) -> Response:
    visit.session = None
    visit.office.book.refresh()  # a ledger that cannot be believed lets nobody in
    browser = visit.cookie(BROWSER) or secrets.token_urlsafe(24)
    challenge = visit.office.challenges.ask(browser)
    response = visit.page(
        "sign_in.html", status, challenge=challenge, payload=challenge.payload.decode(), problem=problem,
        next=local_path(onward),
    )  # fmt: skip
    visit.remember(response, BROWSER, browser)
    return response
