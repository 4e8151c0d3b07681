"""What is watched while a training runs: a loss that is not finite, jumps or grows stops it and names the records."""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from transformers import TrainerCallback

from domainlm.errors import TrainingError

WINDOW = 50  # optimizer steps whose median is what is usual
ENOUGH = 10  # steps before a median says anything
SMALLEST = 0.05  # nats; losses below it count as this much, or a step from .001 to .02 would be a spike
DIVERGED = 1.5  # times the loss of guessing (or of the first step), this many steps in a row: no way back
IN_A_ROW = 3


class Watch:
    """Sees the loss of each forward and backward pass.

    A spike is a step whose loss is `spike_factor` times the recent median. That alone misses a learning rate that is
    far too high: behind a last layer norm logits stay bounded, and the loss of broken weights is a few times that of
    guessing, step after step. Both are looked for once an optimizer step is complete.

    Args:
        record_ids: the record of each row, by the row's index.
        spike_factor: what counts as a spike; None looks for neither, losses must be finite all the same.
        guessing: the loss of a uniform guess, in nats: the logarithm of the vocabulary's size.
        seen: told the rows of each pass.
    """

    def __init__(
        self,
        record_ids: Sequence[str],
        spike_factor: float | None = None,
        guessing: float = 0.0,
        seen: Callable[[Sequence[int]], None] | None = None,
    ) -> None:
        self._record_ids, self._factor, self._guessing, self._seen = record_ids, spike_factor, guessing, seen
        self._usual: deque[float] = deque(maxlen=WINDOW)
        self._bound: float | None = None
        self._above = 0
        self._step = 0
        self._passes: list[tuple[float, Sequence[int]]] = []

    def batch(self, step: int, index: Sequence[int], loss: float) -> None:
        """After one micro-batch; it may come late, but in order.

        Args:
            step: the optimizer step that it belongs to, from 1.
            index: the rows of the micro-batch.
            loss: its share of the step's loss.

        Raises:
            TrainingError: the loss is not finite, or an earlier step's was a spike.
        """
        if self._seen is not None:
            self._seen(index)
        if step != self._step:
            self.complete()
            self._step = step
        if not math.isfinite(loss):
            self._stop(f"the loss is not finite at step {step}", index)
        self._passes.append((loss, index))

    @property
    def passes(self) -> int:
        """Micro-batches of the step that have been seen."""
        return len(self._passes)

    def complete(self) -> None:
        """All passes of the step are there: judge it.

        Raises:
            TrainingError: its loss is a spike, or losses have been beyond guessing for several steps.
        """
        if not self._passes:
            return
        loss = sum(share for share, _ in self._passes)
        worst = max(self._passes)[1]  # the micro-batch with the largest share
        self._passes = []
        if self._factor is None:
            return
        self._bound = self._bound or DIVERGED * max(loss, self._guessing, 2.0)
        self._above = self._above + 1 if loss > self._bound else 0
        if self._above == IN_A_ROW:
            self._stop(
                f"the loss grows instead of falling: {loss:.3g} at step {self._step}, above {self._bound:.3g} for"
                f" {IN_A_ROW} steps",
                worst,
            )
        if len(self._usual) >= ENOUGH:
            usual = max(statistics.median(self._usual), SMALLEST)
            if loss > self._factor * usual:
                self._stop(
                    f"the loss of step {self._step} is {loss:.3g}, {loss / usual:.0f} times its recent median", worst
                )
        self._usual.append(loss)

    def norm(self, step: int, norm: float) -> None:
        """The gradient's norm, where it is known anyway.

        Raises:
            TrainingError: it is not finite.
        """
        if not math.isfinite(norm):
            self._stop(f"the gradient is not finite at step {step}", self._passes[-1][1] if self._passes else ())

    def _stop(self, what: str, index: Sequence[int]) -> None:
        raise TrainingError(
            what,
            f"records {', '.join(self._record_ids[position] for position in index)}" if len(index) else "train",
            "lower learning_rate, or look at these records; spike_factor says what counts as a spike",
        )


class Guard(TrainerCallback):
    """Lets the watch judge each step before it can be saved."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch

    def on_step_end(self, args, state, control, **_):
        """Where losses are still on their way from the GPU, the next step's first pass tells."""
        if self._watch.passes >= args.gradient_accumulation_steps:
            self._watch.complete()

    def on_train_end(self, args, state, control, **_):
        """The last step has no next one."""
        self._watch.complete()

    def on_log(self, args, state, control, logs: dict[str, Any] | None = None, **_):
        """The gradient's norm of the step that is logged."""
        if logs and "grad_norm" in logs:
            self._watch.norm(state.global_step, logs["grad_norm"])
