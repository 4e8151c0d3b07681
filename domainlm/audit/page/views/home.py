"""The entrance, the language, and addresses where nothing is."""

from __future__ import annotations

from starlette.responses import RedirectResponse, Response

from domainlm.audit.page.visit import NotAllowed, NotThere, Visit, local_path
from domainlm.audit.page.words import LANGUAGES

YEAR_S = 365 * 86400


def show(visit: Visit) -> Response:
    """On to the models, or to the sign-in."""
    return RedirectResponse("/models" if visit.session else "/sign-in", 303)


def language(visit: Visit) -> Response:
    """Remember a language; a harmless wish, so it needs no session."""
    wanted = visit.given("language", 2)
    if wanted not in LANGUAGES:
        raise NotAllowed
    response = visit.go(local_path(visit.given("next", 2000)))
    response.set_cookie(
        "domainlm-language", wanted, max_age=YEAR_S, httponly=True, samesite="strict",
        secure=visit.office.settings.public_url.startswith("https:"),
    )  # fmt: skip
    return response


def missing(visit: Visit) -> Response:
    """Any other address."""
    raise NotThere
