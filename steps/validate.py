"""Fourth stage: the contract that data must keep before anything is trained on them."""

from __future__ import annotations

from typing import Annotated, Any

from datasets import Dataset
from zenml import log_metadata

from domainlm.names import VALIDATE
from domainlm.validate import ContractVerdict
from domainlm.validate import validate as check_contract
from domainlm.validate.settings import ValidateSettings
from steps.stage import stage_step


@stage_step(VALIDATE)
def validate(
    records: Dataset, suite: dict[str, Any], settings: ValidateSettings
) -> Annotated[ContractVerdict, "contract_verdict"]:
    """Check the records against a Great Expectations suite of the domain pack.

    Args:
        records: prepared records.
        suite: the suite as JSON, read when the run was compiled, so that a changed contract runs again.
        settings: bounds that are not expectations.

    Raises:
        ContractViolation: names the expectation and the record ids, never a value.
    """
    verdict = check_contract(records, suite, settings)
    log_metadata(verdict.summary())
    return verdict
