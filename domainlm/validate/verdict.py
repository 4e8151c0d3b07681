"""What validate reports: each expectation, how many rows broke it, and their ids; never a value."""

from __future__ import annotations

from typing import Any

from domainlm.errors import ContractViolation
from domainlm.reports import Report


class ExpectationResult(Report):
    """One expectation of the suite.

    Fields:
        column: the column it speaks about; empty for the table as a whole.
        condition: the rows it speaks about; empty for all.
        severity: a broken "critical" expectation stops the run, a "warning" is only reported.
        checked: rows that were looked at.
        unexpected: rows that broke it.
        ids: ids of the first of these.
    """

    type: str
    column: str
    condition: str
    severity: str
    success: bool
    checked: int
    unexpected: int
    ids: tuple[str, ...]
    note: str = ""

    def sentence(self) -> str:
        """The result in one line, for messages."""
        about = (
            self.type
            + (f" of {self.column}" if self.column else "")
            + (f" where {self.condition}" if self.condition else "")
        )
        rows = f": {self.unexpected} of {self.checked} rows" if self.ids else ""
        ids = f", ids {', '.join(self.ids)}" + (", ..." if self.unexpected > len(self.ids) else "") if self.ids else ""
        return about + rows + ids + (f" ({self.note})" if self.note else "")


class ContractVerdict(Report):
    """The verdict on one set of records.

    Fields:
        suite_digest: of the suite's canonical JSON, so that a verdict names the very contract.
        test_rows: task -> rows of the test split.
    """

    suite: str
    suite_digest: str
    great_expectations: str
    rows: int
    success: bool
    results: tuple[ExpectationResult, ...]
    test_rows: dict[str, int]

    def require(self) -> None:
        """Refuse to go on without a kept contract: what steps call that must not run on other data.

        Raises:
            ContractViolation: the verdict is not a success.
        """
        if not self.success:
            remedy = "see the contract verdict of this run"
            raise ContractViolation("the records did not keep their contract", self.suite, remedy)

    def summary(self) -> dict[str, Any]:
        """Counts of expectations, kept and broken."""
        broken = [result for result in self.results if not result.success]
        return {
            "suite": self.suite,
            "suite_digest": self.suite_digest,
            "rows": self.rows,
            "success": self.success,
            "expectations": len(self.results),
            "expectations_broken": sum(result.severity == "critical" for result in broken),
            "warnings": sum(result.severity != "critical" for result in broken),
            "test_rows": sum(self.test_rows.values()),
        }
