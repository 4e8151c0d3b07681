"""The report as one self-contained HTML page: style and pictures inside, nothing loaded, nothing that runs."""

from __future__ import annotations

import html
import re
from pathlib import Path

from domainlm.audit.report.document import Code, Document
from domainlm.audit.report.proof import CHECKPOINT
from domainlm.errors import EvidenceRefused

LAYOUT = Path(__file__).parent / "layout"
LONGEST_WORD = 22  # letters of a word that a table makes room for; longer ones are broken
_PRINTED = re.compile(rf'<pre id="{CHECKPOINT}">\n(.*?)</pre>', re.DOTALL)


def to_html(document: Document) -> str:
    """The page. Everything that came from data is escaped; the same document gives the same bytes."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(loader=FileSystemLoader(LAYOUT), autoescape=True, undefined=StrictUndefined)
    environment.tests["code"] = lambda value: isinstance(value, Code)
    environment.tests["long"] = lambda value: any(len(word) > LONGEST_WORD for word in value.split())
    style = (LAYOUT / "report.css").read_text(encoding="utf-8").replace('"FOOTER"', _css_string(document.footer))
    return environment.get_template("report.html.jinja").render(document=document, style=style) + "\n"


def checkpoint_of_html(text: str) -> str:
    """The signed note that a report prints.

    Raises:
        EvidenceRefused: `no-checkpoint`: it prints none.
    """
    found = _PRINTED.search(text)
    if found is None:
        remedy = "make it again with `domainlm audit report`"
        raise EvidenceRefused("prints no checkpoint", "report", remedy, "no-checkpoint")
    return html.unescape(found[1])


def _css_string(text: str) -> str:
    """Text as a CSS string inside of a style element: whatever could end either is written as a code point."""
    safe = "".join(letter if letter.isalnum() or letter in " ,./:-" else f"\\{ord(letter):06x}" for letter in text)
    return f'"{safe}"'
