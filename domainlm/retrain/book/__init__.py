"""The batch book: what landed, who trains on it, and what came of it, in a real database (docs/batch-book.md)."""

from domainlm.errors import BookRefused, BookUnavailable, LeaseLost
from domainlm.retrain.book.book import Book, book_url, open_book
from domainlm.retrain.book.heartbeat import Heartbeat
from domainlm.retrain.book.rows import AcceptedResult, RecordedDecision, Score, Start, Transition

__all__ = [
    "AcceptedResult", "Book", "BookRefused", "BookUnavailable", "Heartbeat", "LeaseLost", "RecordedDecision", "Score",
    "Start", "Transition", "book_url", "open_book",
]  # fmt: skip
