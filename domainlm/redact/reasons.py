"""Why a text must not pass, in one word each: what the quarantine, the report, its page and `scan` say."""

from __future__ import annotations

import re

INVALID_TEXT, TOO_LONG, TIME_OUT, TOO_MANY, ERROR = (
    "invalid-text", "too-long", "time-out", "too-many-findings", "analysis-error",
)  # fmt: skip
SURVIVES, RISK, IN_LABEL, MALFORMED, INJECTION = (
    "identifier-survives", "residual-risk", "identifier-in-label", "malformed-record", "prompt-injection",
)  # fmt: skip
# What makes a text invalid: NUL, and surrogates without their partner.
UNSAFE = re.compile("[\x00\ud800-\udfff]")
