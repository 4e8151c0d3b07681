"""A training over several processes, cards and nodes: who starts them, what wraps the model, whose rows are whose."""
