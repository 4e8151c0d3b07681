"""Choosing settings on the development split: an Optuna study whose every trial is a training of its own."""
