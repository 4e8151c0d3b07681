"""One request of one person: who they are, what they may see, their language, and how a page is rendered for them."""

from __future__ import annotations

import json
import re
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import jinja2
from markupsafe import Markup, escape
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from domainlm.audit.evidence import Stated
from domainlm.audit.page.book import Book
from domainlm.audit.page.challenges import Challenges
from domainlm.audit.page.desk import Desk, PageSettings
from domainlm.audit.page.reads import ReadLog
from domainlm.audit.page.sessions import Limiter, Session, Sessions
from domainlm.audit.page.watch import Watch
from domainlm.audit.page.words import LANGUAGES, cut, say, translated, visible, words
from domainlm.errors import DomainLMError, EvidenceRefused
from domainlm.ledger.acts import Read
from domainlm.ledger.findings import BROKEN
from domainlm.ledger.trust.gate import OFFICER, TRAINER, VALIDATOR, Member, now

ROWS = 25  # of a list, a page
SESSION = "session"  # the name of its cookie
MODELS, FINDINGS, LEDGER, SIGN, ACCESS = "models", "findings", "ledger", "sign", "access"
# what each role may do: read models and their lineage; personal-data findings; the ledger's entries and people; sign;
# read the access log
RIGHTS: dict[str, frozenset[str]] = {
    TRAINER: frozenset({MODELS}),
    VALIDATOR: frozenset({MODELS, FINDINGS, LEDGER, SIGN}),
    OFFICER: frozenset({MODELS, FINDINGS, LEDGER, SIGN, ACCESS}),
}


class NotThere(Exception):
    """Nothing bears that name, or the person may not know."""


class NotAllowed(Exception):
    """The person's roles do not allow it."""


@dataclass
class Office:
    """What all visits share."""

    desk: Desk
    settings: PageSettings
    book: Book
    sessions: Sessions
    challenges: Challenges
    limiter: Limiter
    reads: ReadLog
    watch: Watch
    decisions: dict[str, tuple[int, str, Any]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def decision(self, identity: str) -> Any:
        """What is missing before a model may be promoted, as of today; asked again when the ledger tells more."""
        stamp, today = self.book.size - len(self.book.reads), now().date().isoformat()
        found = self.decisions.get(identity)
        if found is None or found[:2] != (stamp, today):
            with self.lock:  # it reads the whole ledger: not many at a time
                found = (stamp, today, self.desk.decide(self.book.evidence, identity))
            self.decisions[identity] = found
        return found[2]


@dataclass
class Visit:
    """One request.

    Args:
        language: one of `LANGUAGES`.
        session: None before sign-in.
        member: the policy's entry of the person.
        form: fields of a POST; empty for a GET.
    """

    office: Office
    request: Request
    language: str
    session: Session | None = None
    member: Member | None = None
    form: FormData = field(default_factory=FormData)

    @property
    def book(self) -> Book:
        return self.office.book

    @property
    def signed_in(self) -> Session:
        """The session of a page that takes a right, and so has one.

        Raises:
            NotAllowed: nobody is signed in.
        """
        if self.session is None:
            raise NotAllowed
        return self.session

    @property
    def person(self) -> str:
        """Who is signed in."""
        return self.session.person if self.session else ""

    def say(self, key: str, **values: Any) -> str:
        """A sentence in the visitor's language."""
        return say(self.language, key, **values)

    def told(self, sentence: str) -> Markup:
        """What another part of domainlm said, in the visitor's language where it was translated."""
        return translated(self.language, sentence)

    def meaning(self, code: str) -> str:
        """What a finding's code means; a code that nobody translated stands for itself."""
        return self.say(f"finding.{code}") if f"finding.{code}" in words(self.language) else code

    def word(self, sort: str, value: Any) -> Any:
        """A reports' own word in the visitor's language; the word itself where nobody translated it."""
        key = f"{sort}.{value}"
        return self.say(key) if key in words(self.language) else value

    @property
    def broken(self) -> bool:
        """Whether the latest verification found the ledger broken."""
        return self.office.watch.latest.verdict == BROKEN

    def need_sound(self) -> None:
        """Raises `EvidenceRefused` where the ledger is broken: nobody is asked to sign on such a ground."""
        if self.broken:
            raise EvidenceRefused(
                "is broken, and no decision is taken upon it", self.office.desk.origin,
                "see its verification for what does not fit", self._first_fault(),
            )  # fmt: skip

    def _first_fault(self) -> str:
        found = self.office.watch.latest.verification
        return next((one.code for one in found.findings if one.severity == BROKEN), "") if found else ""

    def may(self, right: str) -> bool:
        """Whether one of the person's roles has a right."""
        return any(right in RIGHTS.get(role, ()) for role in (self.member.roles if self.member else ()))

    def need(self, right: str) -> None:
        """Raises `NotAllowed` without a right."""
        if not self.may(right):
            raise NotAllowed

    def note(self, page: str, *subjects: str) -> None:
        """Record a look, before it is answered.

        Raises:
            ArtifactError: it cannot be recorded, so there is no answer.
        """
        self.office.reads.note(*(Read(person=self.person, page=page, subject=subject) for subject in subjects or ("",)))

    def model(self) -> Stated:
        """The run of the model that the address names by its whole identity."""
        found = self.book.models.get(self.request.path_params["identity"])
        if found is None:
            raise NotThere
        return found

    def asked(self, name: str, most: int = 200) -> str:
        """A field of the address's query."""
        return self.request.query_params.get(name, "")[:most].strip()

    def given(self, name: str, most: int = 4000) -> str:
        """A field of the form."""
        value = self.form.get(name, "")
        return value[:most].strip() if isinstance(value, str) else ""

    def page(self, template: str, status: int = 200, /, **values: Any) -> Response:
        """A rendered page."""
        message = None
        if self.session and self.session.message:
            message, self.session.message = self.session.message, None
        text = _environment().get_template(template).render(
            visit=self, t=self.say, language=self.language, languages=LANGUAGES, session=self.session,
            watch=self.office.watch, ledger=self.office.desk.origin, message=message, **values,
        )  # fmt: skip
        return HTMLResponse(text, status)

    def tell(self, key: str, **values: Any) -> None:
        """What the next page says first."""
        if self.session:
            self.session.message = (key, values)

    def cookie(self, name: str) -> str:
        """The value of a cookie of ours that this process signed; empty for any other."""
        return self.office.sessions.unsigned(self.request.cookies.get(self._cookie_name(name)))

    def remember(self, response: Response, name: str, value: str) -> None:
        """Set a signed cookie that no script can read; an empty value deletes it."""
        response.set_cookie(
            self._cookie_name(name), self.office.sessions.signed(value) if value else "", httponly=True,
            samesite="strict", secure=self.office.settings.secure, path="/", max_age=None if value else 0,
        )  # fmt: skip

    def _cookie_name(self, name: str) -> str:
        """Over TLS a cookie bears the prefix that ties it to this very host (RFC 6265bis, section 4.1.3)."""
        return f"__Host-domainlm-{name}" if self.office.settings.secure else f"domainlm-{name}"

    def go(self, path: str) -> Response:
        """On to another page of ours, after a form."""
        return RedirectResponse(path, 303)

    def refused(self, error: DomainLMError, status: int = 400) -> Response:
        """An error of ours as a page."""
        return self.page("error.html", status, error=error, code=getattr(error, "code", ""), status_code=status)


@dataclass(frozen=True)
class Slice:
    """One page of a list.

    Args:
        first: number of the first row shown, from 1; 0 for an empty list.
        base: the address of the list with its filters, ready for `page=`.
    """

    rows: list[Any]
    number: int
    pages: int
    total: int
    first: int
    base: str

    @classmethod
    def of(cls, visit: Visit, found: list[Any], rows: int = ROWS) -> Slice:
        """The page that the address asks for, or the nearest there is."""
        pages = max(1, -(-len(found) // rows))
        asked = visit.asked("page", 9)
        number = min(max(1, int(asked) if asked.isascii() and asked.isdigit() else 1), pages)
        query = [(name, value) for name, value in visit.request.query_params.multi_items() if name != "page" and value]
        base = f"{visit.request.url.path}?{urlencode(query)}{'&' if query else ''}page="
        start = (number - 1) * rows
        return cls(found[start : start + rows], number, pages, len(found), min(start + 1, len(found)), base)


def local_path(text: str) -> str:
    """A path of this page, or "/" for whatever might lead elsewhere."""
    fine = text.startswith("/") and not text.startswith(("//", "/\\")) and text.isprintable() and text.isascii()
    return text if fine and "\\" not in text else "/"


def download(content: bytes, name: str, kind: str) -> Response:
    """A file to save: never shown inside the page's origin."""
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", name)[:100]
    # RFC 6266: the first name is for old browsers, the second for all others
    header = f"attachment; filename=\"{plain}\"; filename*=UTF-8''{_in_path(visible(name)[:100])}"
    return Response(
        content,
        media_type=kind,
        headers={"content-disposition": header, "content-security-policy": "sandbox; default-src 'none'"},
    )


def _when(value: Any) -> Markup:
    """A moment as UTC to the second, readable by programs too."""
    text = value.isoformat() if isinstance(value, datetime) else str(value)
    try:
        moment = datetime.fromisoformat(text)
        moment = moment.astimezone(UTC) if moment.tzinfo else moment
    except (ValueError, OverflowError):
        return Markup("<span>{}</span>").format(visible(cut(text, 40)))
    spelled = f"{moment:%Y-%m-%d %H:%M:%S} UTC" if moment.tzinfo else f"{moment:%Y-%m-%d %H:%M}"
    return Markup('<time datetime="{}">{}</time>').format(moment.isoformat(timespec="seconds"), spelled)


def _number(value: Any) -> str:
    """Thousands apart; a fraction with four digits."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4f}"


def _in_path(text: Any) -> str:
    """One part of an address."""
    return quote(str(text).encode("utf-8", "replace"), safe="")


def _with_code(text: str) -> Markup:
    """A sentence of ours, with what stands between backticks as code."""
    parts = text.split("`")
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if place % 2 else Markup(escape(part))
        for place, part in enumerate(parts)
    )


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


_lock = threading.Lock()
_made: list[jinja2.Environment] = []


def _environment() -> jinja2.Environment:
    """Jinja with everything escaped, every missing name an error, and hidden characters made visible."""
    with _lock:
        if not _made:
            environment = jinja2.Environment(
                loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
                autoescape=True, undefined=jinja2.StrictUndefined, finalize=visible, trim_blocks=True,
                lstrip_blocks=True,
            )  # fmt: skip
            environment.filters |= {
                "cut": cut,
                "when": _when,
                "number": _number,
                "path": _in_path,
                "json": _json,
                "code": _with_code,
            }
            _made.append(environment)
        return _made[0]
