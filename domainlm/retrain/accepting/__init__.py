"""What landed against the contract of its feed, and what is kept of its words: counts, never the words."""
