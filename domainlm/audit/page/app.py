"""The application: routes, and what happens around each view: session, language, rights, errors."""

from __future__ import annotations

import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlencode

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from domainlm.audit.page import visit as visits
from domainlm.audit.page.book import Book
from domainlm.audit.page.challenges import Challenges, member_of
from domainlm.audit.page.desk import Desk, PageSettings
from domainlm.audit.page.guard import Guard
from domainlm.audit.page.reads import ReadLog
from domainlm.audit.page.sessions import Limiter, Sessions
from domainlm.audit.page.views import compare, entries, home, model, models, people, runs, search, sign_in, signing
from domainlm.audit.page.views import verification as verifying
from domainlm.audit.page.visit import NotAllowed, NotThere, Office, Visit
from domainlm.audit.page.watch import Watch
from domainlm.audit.page.words import preferred
from domainlm.errors import DomainLMError, EvidenceRefused
from domainlm.ledger.trust.gate import now

LANGUAGE_COOKIE = "domainlm-language"
View = Callable[[Visit], Response]
log = logging.getLogger(__name__)

# address, methods, view, the right that it takes
PAGES: tuple[tuple[str, str, View, str], ...] = (
    ("/models", "GET", models.listing, visits.MODELS),
    ("/models/{identity}", "GET", model.show, visits.MODELS),
    ("/models/{identity}/report.{ending}", "GET", model.report, visits.FINDINGS),
    ("/models/{identity}/decide", "GET", signing.dialogue, visits.SIGN),
    ("/models/{identity}/decide", "POST", signing.prepare, visits.SIGN),
    ("/models/{identity}/condition", "POST", signing.prepare_condition, visits.SIGN),
    ("/statements/{draft}", "GET", signing.statement, visits.SIGN),
    ("/statements/{draft}", "POST", signing.sign, visits.SIGN),
    ("/statements/{draft}/statement.json", "GET", signing.unsigned, visits.SIGN),
    ("/compare", "GET", compare.show, visits.MODELS),
    ("/runs", "GET", runs.listing, visits.MODELS),
    ("/runs/{run:path}", "GET", runs.show, visits.MODELS),
    ("/verification", "GET", verifying.show, visits.MODELS),
    ("/verification", "POST", verifying.ask, visits.MODELS),
    ("/verification/status", "GET", verifying.status, visits.MODELS),
    ("/entries", "GET", entries.listing, visits.LEDGER),
    ("/entries/{number}", "GET", entries.show, visits.LEDGER),
    ("/entries/{number}/envelope.json", "GET", entries.envelope, visits.LEDGER),
    ("/people", "GET", people.show, visits.LEDGER),
    ("/access", "GET", people.access, visits.ACCESS),
    ("/search", "GET", search.show, visits.MODELS),
)
UNWATCHED = ("/verification/status",)  # what a page asks by itself keeps no session alive
EVEN_WHEN_BROKEN = ("/verification", "/verification/status", "/sign-out")  # no evidence, but what is wrong with it


def create_app(desk: Desk, settings: PageSettings, folder: Path) -> Starlette:
    """The application; its threads run while it is served.

    Args:
        desk: the evidence.
        settings: how the page is reached.
        folder: where looks wait for the signer.
    """
    book = Book(desk)
    office = Office(
        desk=desk,
        settings=settings,
        book=book,
        sessions=Sessions(settings.idle_s, settings.absolute_s),
        challenges=Challenges(settings.public_url, desk.origin),
        limiter=Limiter(),
        reads=ReadLog(folder, desk.record, book.entered_looks),
        watch=Watch(desk.verify, settings.verify_every_s),
    )

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        office.reads.start()
        office.watch.start()
        yield
        office.watch.stop()
        await run_in_threadpool(office.reads.stop)

    static = StaticFiles(directory=Path(__file__).parent / "static")
    app = Starlette(
        routes=[
            Route("/", _endpoint(office, home.show, ""), methods=["GET"]),
            Route("/sign-in", _endpoint(office, sign_in.ask, ""), methods=["GET"]),
            Route("/sign-in", _endpoint(office, sign_in.enter, ""), methods=["POST"]),
            Route("/sign-out", _endpoint(office, sign_in.leave, ""), methods=["POST"]),
            Route("/language", _endpoint(office, home.language, ""), methods=["POST"]),
            *(Route(path, _endpoint(office, view, right), methods=[method]) for path, method, view, right in PAGES),
            Mount("/static", static),
            Route("/{path:path}", _endpoint(office, home.missing, ""), methods=["GET"]),
        ],
        lifespan=lifespan,
        exception_handlers={HTTPException: _plain},
    )
    app.state.office = office
    app.add_middleware(Guard, public_url=settings.public_url)
    return app


async def _plain(_request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    return PlainTextResponse(f"{status}", status)


def _endpoint(office: Office, view: View, right: str) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        if request.method != "POST":
            return await run_in_threadpool(_answer, office, request, FormData(), view, right)
        async with request.form(max_files=1, max_fields=60) as form:
            fields = FormData([
                (name, value if isinstance(value, str) else (await value.read()).decode("utf-8", "replace"))
                for name, value in form.multi_items()
            ])  # fmt: skip
        return await run_in_threadpool(_answer, office, request, fields, view, right)

    return answer


def _answer(office: Office, request: Request, form: FormData, view: View, right: str) -> Response:
    language = preferred(request.cookies.get(LANGUAGE_COOKIE), request.headers.get("accept-language", ""))
    visit = Visit(office, request, language, form=form)
    path = request.url.path
    try:
        _recognize(visit, path)
        if right and visit.session is None:
            return _ask_to_sign_in(request, path)
        if visit.session and request.method == "POST" and path not in ("/language", "/sign-in"):
            if not _same(visit.given("csrf"), visit.session.csrf):
                raise NotAllowed
        if right:
            visit.need(right)
            if path not in EVEN_WHEN_BROKEN:
                office.book.refresh()
        return view(visit)
    except NotThere:
        return visit.page("error.html", 404, error=None, code="", status_code=404)
    except NotAllowed:
        return visit.page("error.html", 403, error=None, code="", status_code=403)
    except EvidenceRefused as error:
        return visit.refused(error, 400 if request.method == "POST" else 503)
    except DomainLMError as error:
        return visit.refused(error, 503)
    except Exception as error:  # what it says may quote the evidence: its type and place must do
        place = error.__traceback__
        while place and place.tb_next:
            place = place.tb_next
        where = f"{place.tb_frame.f_code.co_filename}:{place.tb_lineno}" if place else ""
        log.error("%s in %s", type(error).__name__, where)
        return visit.page("error.html", 500, error=None, code="", status_code=500)


def _recognize(visit: Visit, path: str) -> None:
    """Find the session, and end it where the policy in force no longer lets its key in."""
    office = visit.office
    session = office.sessions.find(visit.cookie(visits.SESSION), touch=path not in UNWATCHED)
    if session is None:
        return
    try:
        office.book.refresh()
    except DomainLMError:
        if path not in EVEN_WHEN_BROKEN:
            visit.session = session  # so that the refusal is told to whom it concerns
            raise
    try:
        person, member = member_of(office.book.evidence.policy, session.keyid, now())
    except EvidenceRefused:
        office.sessions.end(session)
        return
    if person != session.person:
        office.sessions.end(session)
        return
    visit.session, visit.member = session, member


def _same(given: str, wanted: str) -> bool:
    return secrets.compare_digest(given.encode(), wanted.encode())


def _ask_to_sign_in(request: Request, path: str) -> Response:
    if request.method != "GET" or path in UNWATCHED:
        return PlainTextResponse("sign in first", 401)
    target = path + (f"?{request.url.query}" if request.url.query else "")
    return RedirectResponse("/sign-in?" + urlencode({"next": target}), 303)
