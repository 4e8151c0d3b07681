"""Whether to train again, with every reason, and on what: the plan of a retraining."""
