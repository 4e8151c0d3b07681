"""Redact: personal data out of the text, before anything stores it.

    redacted, report = Redactor(settings, KeyRing.load(), quarantine_folder).run(manifest)

Presidio's analyzer with recognizers for finance (`recognizers/`) finds; placeholders of the document replace
(`[PERSON_1]`); what cannot be made safe goes into an encrypted quarantine instead of the output.
"""

from domainlm.redact.redactor import Redactor
from domainlm.redact.report import RedactionReport

__all__ = ["RedactionReport", "Redactor"]
