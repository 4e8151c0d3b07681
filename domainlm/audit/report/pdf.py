"""The report as PDF/A-3b (ISO 19005-3): fonts embedded, colours defined, tagged, dated by the evidence.

The printed checkpoint is attached as well, so that a program can take it out letter by letter. Whether a file keeps
the standard is for a validator such as veraPDF to say; what is tested here is listed in docs/report.md.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from html import escape, unescape
from io import BytesIO
from typing import Any, NoReturn

from domainlm.audit.report.html import checkpoint_of_html
from domainlm.audit.report.words import Words
from domainlm.errors import ArtifactError, ConfigurationError, EvidenceRefused, StageFailed

ATTACHED = "checkpoint.txt"
VARIANT = "pdf/a-3b"
STAND_IN = "□"  # U+25A1, for what no font has
HANGUL = re.compile("[가-힣ᄀ-ᇿ㄰-㆏]")
_LANGUAGE, _CREATED = re.compile(r'<html lang="(\w+)">'), re.compile(r'name="dcterms.created" content="([^"]+)"')


def to_pdf(html: str) -> bytes:
    """The PDF of a page that `to_html` made. The same page gives the same bytes on the same fonts.

    Characters that no font of this machine has are shown as a box, and the first page says so.

    Raises:
        ConfigurationError: the report is Korean and the machine has no font with Hangul.
    """
    content, missing = _written(html)
    if not missing:
        return content
    if "ko" == _language(html) and HANGUL.search("".join(missing)):
        raise ConfigurationError(
            "no font of this machine has Hangul, so that a Korean PDF cannot be made", "report",
            "install one (Debian: fonts-noto-cjk), take the HTML report, or --language en",
        )  # fmt: skip
    content, still = _written(_with_stand_ins(html, missing))
    if still:
        raise StageFailed("no font of this machine has even a box to stand in", "report", "install fonts-dejavu-core")
    return content


def checkpoint_of_pdf(content: bytes) -> str:
    """The signed note that is attached to a report.

    Raises:
        EvidenceRefused: `no-checkpoint`: none is attached, or it is no PDF.
    """
    import pikepdf

    try:
        with pikepdf.open(BytesIO(content)) as pdf:
            if ATTACHED in pdf.attachments:
                return pdf.attachments[ATTACHED].get_file().read_bytes().decode("utf-8")
    except (pikepdf.PdfError, UnicodeDecodeError):
        pass
    remedy = "take the PDF that `domainlm audit report` wrote"
    raise EvidenceRefused("has no checkpoint attached", "report", remedy, "no-checkpoint")


def _written(html: str) -> tuple[bytes, set[str]]:
    """The PDF, and the characters that no font has."""
    from weasyprint import HTML, Attachment

    try:
        note = checkpoint_of_html(html)
    except EvidenceRefused:
        note = ""
    said = _CREATED.search(html)
    if said is None:
        raise ArtifactError("is no page of a report", "report", "make it with `domainlm audit report`")
    created = datetime.fromisoformat(said[1])
    dates = {"created": created, "modified": created}
    about = {"name": ATTACHED, "description": "signed checkpoint of the ledger", "relationship": "Data"}
    attached = Attachment(string=note, url_fetcher=_nothing, **about, **dates)
    attachments = [attached] if note else []
    with _silent():
        document = HTML(string=html, url_fetcher=_nothing).render(pdf_tags=True)
        content = document.write_pdf(pdf_variant=VARIANT, pdf_tags=True, attachments=attachments)
    missing = {character for font in document.fonts.values() for character in _missing(font)}
    if content is None:
        raise StageFailed("the PDF was not written", "report", "make the HTML report")
    return content, missing


def _missing(font: Any) -> Iterable[str]:
    return [chr(codepoint) for codepoint in font.missing]


def _with_stand_ins(html: str, missing: set[str]) -> str:
    """The page with a box for each character that no font has, and a sentence that says so below the title."""
    for character in missing:
        html = html.replace(character, STAND_IN)
    words = Words(_language(html))
    said = f'<p class="notice caution"><strong>{escape(words("tone.caution"))}</strong> <span>'
    said += f"{escape(words('pdf.missing', count=len(missing)))}</span></p>"
    return html.replace("</header>", f"{said}</header>", 1)


def _language(html: str) -> str:
    found = _LANGUAGE.search(html)
    return unescape(found[1]) if found else "en"


def _nothing(url: str, *_: Any, **__: Any) -> NoReturn:
    """A report loads nothing: no file, no network."""
    raise ValueError("a report loads nothing")


@contextmanager
def _silent() -> Iterator[None]:
    """WeasyPrint reports style rules that it does not know; they are for screens."""
    loggers = [logging.getLogger(name) for name in ("weasyprint", "fontTools")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
