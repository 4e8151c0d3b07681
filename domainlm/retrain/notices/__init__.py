"""Notices for people: what they say, and how they get there (docs/notices.md)."""

from domainlm.retrain.notices.delivery import Alert, Courier, deliver, tell, tell_past_book
from domainlm.retrain.notices.notice import KINDS, Notice, feed_failing, quarantined, unreadable

__all__ = [
    "KINDS", "Alert", "Courier", "Notice", "deliver", "feed_failing", "quarantined", "tell", "tell_past_book",
    "unreadable",
]  # fmt: skip
