"""Whether the ledger is sound: the latest verification, and a new one on request."""

from __future__ import annotations

from starlette.responses import JSONResponse, Response

from domainlm.audit.page.visit import Visit
from domainlm.errors import DomainLMError
from domainlm.ledger import entries


def show(visit: Visit) -> Response:
    """The verdict and every finding."""
    latest = visit.office.watch.latest
    fault = None
    try:
        visit.book.refresh()
    except DomainLMError as error:
        fault = error
    return visit.page(
        "verification.html",
        latest=latest,
        fault=fault,
        minutes=visit.office.settings.verify_every_s // 60,
        said_published=next(reversed(list(visit.book.evidence.of_kind(entries.ANCHOR))), None),
    )


def ask(visit: Visit) -> Response:
    """Verify again, in the background."""
    visit.office.watch.ask()
    return visit.go("/verification")


def status(visit: Visit) -> Response:
    """What the status line of an open page asks for, so that it stays true."""
    watch = visit.office.watch
    latest = watch.latest
    return JSONResponse({
        "verdict": latest.verdict,
        "running": watch.running,
        "at": latest.at.isoformat(timespec="seconds") if latest.at else "",
        "text": visit.say(f"verdict.{latest.verdict}"),
        "detail": visit.say("status.running") if watch.running else (
            visit.say("status.at", time=f"{latest.at:%Y-%m-%d %H:%M:%S}") if latest.at else ""
        ),
    })  # fmt: skip
