"""A run as evidence: its manifest, what it is made of, and its entry."""
