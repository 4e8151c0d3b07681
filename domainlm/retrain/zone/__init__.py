"""The landing zone: what is new in a folder, in a store or behind a query, and complete (docs/landing-zone.md)."""

from domainlm.retrain.zone.places import ZoneUnreachable
from domainlm.retrain.zone.scans import Scan
from domainlm.retrain.zone.zone import Zone

__all__ = ["Scan", "Zone", "ZoneUnreachable"]
