"""Tells after each step how far a training is."""

from __future__ import annotations

import time
from collections import deque

from transformers import TrainerCallback

from domainlm.train.watch import progress

RECENT = 20  # steps that the time left is judged by; their speed changes with the lengths of rows


class Teller(TrainerCallback):
    """Tells the listeners after each step.

    Args:
        stage: the stage's name.
    """

    def __init__(self, stage: str = "") -> None:
        self._stage = stage
        self._times: deque[float] = deque(maxlen=RECENT + 1)
        self._loss: float | None = None
        self._speed: float | None = None

    def on_train_begin(self, args, state, control, **_):
        """The clock of the first step."""
        self._times.append(time.monotonic())
        self._tell(state)

    def on_log(self, args, state, control, logs=None, **_):
        """Remember what the curve says."""
        self._loss = (logs or {}).get("loss", self._loss)
        self._speed = (logs or {}).get("tokens_per_second", self._speed)

    def on_step_end(self, args, state, control, **_):
        """One step further."""
        self._times.append(time.monotonic())
        self._tell(state)

    def on_train_end(self, args, state, control, **_):
        """The last point of the curve."""
        self._tell(state)

    def _tell(self, state) -> None:
        if not (progress.listeners and state.is_world_process_zero):
            return
        left = None
        if len(self._times) > 1:
            pace = (self._times[-1] - self._times[0]) / (len(self._times) - 1)
            left = pace * (state.max_steps - state.global_step)
        progress.tell(progress.Advance(self._stage, state.global_step, state.max_steps, left, self._loss, self._speed))
