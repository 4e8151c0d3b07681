"""The report of one model version: one self-contained HTML page and PDF/A, the verdict first, how to check it last.

    document = build(evidence, identity, verification, decision, "en", checkpoint=note, checklist=checklist)
    page = to_html(document)
    content = to_pdf(page)

Readable in ten minutes by somebody who decides and is no engineer. It is made from the evidence alone, in English or
Korean, and the same evidence gives the same bytes. The signed checkpoint that it prints (and attaches to the PDF) makes
the file itself a place where the ledger was published: `read_checkpoint` takes it out again.
"""

from __future__ import annotations

from domainlm.audit.report.building import build
from domainlm.audit.report.document import Document
from domainlm.audit.report.html import checkpoint_of_html, to_html
from domainlm.audit.report.pdf import checkpoint_of_pdf, to_pdf
from domainlm.audit.report.saving import save

__all__ = ["Document", "build", "read_checkpoint", "save", "to_html", "to_pdf"]

PDF_MAGIC = b"%PDF-"


def read_checkpoint(content: bytes) -> str:
    """The signed note of a report, HTML or PDF.

    Raises:
        EvidenceRefused: `no-checkpoint`: there is none in it.
    """
    if content.startswith(PDF_MAGIC):
        return checkpoint_of_pdf(content)
    return checkpoint_of_html(content.decode("utf-8", errors="replace"))
