"""Ingest: look at every source once, strictly, and write down what it is. No text passes on from here."""

from domainlm.ingest.inspection import ingest

__all__ = ["ingest"]
