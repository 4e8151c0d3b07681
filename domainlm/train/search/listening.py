"""A search listens to the training of a trial: every look at the development split, and the clock."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from transformers import TrainerCallback

from domainlm.errors import TrainingError
from domainlm.train.development import Look, mean_bits, rounded


class OutOfTime(Exception):
    """The minutes of a search are over; nothing is wrong."""


class Listener(TrainerCallback):
    """One stage of a trial.

    Args:
        done: optimizer steps of the stages before it.
        measure: how the development split is looked at.
        accuracy: whether a look's score is accuracy; else bits per character.
        tell: is given (step, score, whether the stage ends here) at each look.
        deadline: `time.monotonic()` at which the search is out of time.
    """

    def __init__(
        self, done: int, measure: Look, accuracy: bool, tell: Callable[[int, float, bool], None], deadline: float
    ) -> None:
        self._done, self._measure, self._accuracy, self._tell = done, measure, accuracy, tell
        self._deadline = deadline

    def on_step_end(self, args, state, control, **_):
        """Stop where the time is over."""
        if time.monotonic() > self._deadline:
            raise OutOfTime

    def on_evaluate(self, args, state, control, metrics=None, **_):
        """Hand on what a look found."""
        found = mean_bits(self._measure.accuracy) if self._accuracy else metrics["eval_bits_per_character"]
        if not math.isfinite(found):
            raise TrainingError("the score on the development split is not finite", "", "lower learning_rate")
        self._tell(self._done + state.global_step, rounded(found), state.global_step >= state.max_steps)
