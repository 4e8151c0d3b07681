"""A registered version that might become champion, and how it stands: what the ledger's judge says to retraining."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from domainlm.reports import Report

CHAMPION, PROMOTED, OVERTAKEN, NOT_ENTERED = "champion", "promoted", "overtaken", "not-entered"
BY_STANDING, APPROVED, WAITS = "by-standing", "approved", "waits"


class Candidate(Report):
    """A version and how it stands (`domainlm.audit.decisions.candidates`).

    Fields:
        label: NAME/VERSION.
        state: `champion`; `promoted`: it was once; `overtaken`: a newer one waits, or became champion; `not-entered`:
            no completed run of the ledger registered it; `by-standing`: a standing approval allows it; `approved`:
            people did; `waits`: something is missing.
        untrusted: names of its untrusted sources.
        missing: the approvals that are missing, by role; empty where it is something else, or more.
    """

    label: str
    identity: str
    state: Literal["champion", "promoted", "overtaken", "not-entered", "by-standing", "approved", "waits"]
    untrusted: list[str] = Field(default_factory=list)
    missing: list[str] = Field(default_factory=list)
