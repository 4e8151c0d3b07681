"""Findings while they are collected: of a log that is wrong from end to end nobody reads a million lines."""

from __future__ import annotations

from collections import Counter

from domainlm.errors import EvidenceRefused
from domainlm.ledger.findings import Finding, Severity

MAX_OF_A_CODE = 100  # findings of one code that are listed; the others are counted


class Findings:
    """Collects findings; of one code the first `MAX_OF_A_CODE` are kept and the others counted."""

    def __init__(self) -> None:
        self._kept: list[Finding] = []
        self._counts: Counter[tuple[str, Severity]] = Counter()

    def add(self, code: str, where: str, what: str, severity: Severity = "broken") -> None:
        self._counts[code, severity] += 1
        if self._counts[code, severity] <= MAX_OF_A_CODE:
            self._kept.append(Finding(code=code, severity=severity, where=where, what=what))

    def refused(self, error: EvidenceRefused) -> None:
        """What the gate or a parser says."""
        self.add(error.code, error.where, error.what)

    def all(self) -> list[Finding]:
        """Those kept, and a line for each code that has more."""
        return self._kept + [
            Finding(code=code, severity=severity, where="elsewhere", what=f"{count - MAX_OF_A_CODE} more of the kind")
            for (code, severity), count in self._counts.items()
            if count > MAX_OF_A_CODE
        ]
