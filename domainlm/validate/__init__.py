"""Validate: the records keep the contract of the domain pack, or the run stops and names the rows."""

from domainlm.validate.contract import validate

__all__ = ["validate"]
