"""Ingest: look at every source once, strictly, and write down what it is. No text passes on from here."""

from domainlm.ingest.inspection import ingest
from domainlm.ingest.landed import require_as_accepted, with_landed

__all__ = ["ingest", "require_as_accepted", "with_landed"]
