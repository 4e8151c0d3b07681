"""Retraining: what landed, whether it is reason enough to train again, and that each batch counts exactly once."""
