"""Forgetting a person, legal holds and retention."""
