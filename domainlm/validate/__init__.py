"""Validate: the records keep the contract of the domain pack, or the run stops and names the rows."""

from domainlm.validate.contract import read_suite, validate
from domainlm.validate.verdict import ContractVerdict

__all__ = ["ContractVerdict", "read_suite", "validate"]
