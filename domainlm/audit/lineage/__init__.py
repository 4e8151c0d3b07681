"""Which rows: from a model to its rows, from a person to the models."""
