"""Prepare: normalise, take out duplicates and contradictions, split, and keep test text out of training."""

from domainlm.prepare.preparation import prepare
from domainlm.prepare.report import PreparationReport

__all__ = ["PreparationReport", "prepare"]
