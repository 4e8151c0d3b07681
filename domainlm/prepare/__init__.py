"""Prepare: normalise, take out duplicates and contradictions, split, and keep test text out of training."""

from domainlm.prepare.preparation import prepare

__all__ = ["prepare"]
