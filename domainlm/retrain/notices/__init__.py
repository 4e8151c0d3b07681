"""Notices for people: what they say, and how they get there (docs/notices.md)."""

from domainlm.retrain.notices.delivery import Alert, Courier, deliver, tell
from domainlm.retrain.notices.notice import KINDS, Notice, quarantined

__all__ = ["KINDS", "Alert", "Courier", "Notice", "deliver", "quarantined", "tell"]
