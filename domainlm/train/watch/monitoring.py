"""What is watched while a training runs: a loss that is not finite, jumps or grows stops it and names the records."""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from transformers import TrainerCallback

from domainlm.errors import TrainingError

WINDOW = 100  # optimizer steps that say what is usual; batches grouped by length go round in 50
ENOUGH = 10  # steps before a median says anything
SMALLEST = 0.05  # nats; a median below it counts as this much, or a step from .001 to .02 would be a spike
ABOVE = 1.5  # times the highest loss of the window, or that of guessing: beyond what happens by chance
EARLY, LITTLE = 3.0, 0.6  # before there is a window: times the highest so far, and that share of guessing at least
FLOOR = 1.0  # nats; among smaller losses nothing diverges
IN_A_ROW = 5  # steps beyond that: the training does not come back
GUESSES, KNOWS = 0.95, 0.8  # shares of the loss of guessing: knowing nothing, and having known something
FALLEN = 8  # steps of knowing nothing after having known something


class Watch:
    """Sees the loss of each forward and backward pass, and judges each optimizer step once its passes are there.

    - A spike is a step whose loss is `spike_factor` times the recent median and far above the whole window.
    - A learning rate that is far too high seldom makes one: behind a last layer norm logits stay bounded, and broken
      weights give a loss of a few times the usual one or, most often, that of guessing, step after step. Several such
      steps in a row are a divergence; single ones happen wherever easy and hard batches mix.

    Args:
        record_ids: the record of each row, by the row's index.
        spike_factor: what counts as a spike; None looks for neither, losses must be finite all the same.
        guessing: the loss of a uniform guess, in nats: the logarithm of the vocabulary's size; 0 where there are few
            outcomes, among which guessing is nothing special.
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
        self._step = 0
        self._passes: list[tuple[float, Sequence[int]]] = []
        self._usual: deque[float] = deque(maxlen=WINDOW)
        self._beyond: list[float] = []  # the steps in a row that lie beyond, held back from what is usual
        self._first = 0.0
        self._last: deque[float] = deque(maxlen=3)
        self._known = False
        self._guessed = 0

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
        for fault in (self._spike(loss), self._divergence(loss), self._fall(loss)):
            if fault:
                self._stop(fault, worst)

    def _spike(self, loss: float) -> str:
        if len(self._usual) < ENOUGH:
            return ""
        median = max(statistics.median(self._usual), SMALLEST)
        if loss <= self._factor * median or loss <= ABOVE * max(self._usual):
            return ""
        return f"the loss of step {self._step} is {loss:.3g}, {loss / median:.0f} times its recent median"

    def _divergence(self, loss: float) -> str:
        if not self._usual:
            self._first = loss
            self._usual.append(loss)
            return ""
        highest = max(*self._usual, FLOOR)
        limit = ABOVE * highest if len(self._usual) >= ENOUGH else max(EARLY * highest, LITTLE * self._guessing)
        limit = min(limit, ABOVE * max(self._first, self._guessing, FLOOR))
        self._beyond.append(loss)
        if loss <= limit:
            self._usual.extend(self._beyond)
            self._beyond = []
        if len(self._beyond) < IN_A_ROW:
            return ""
        return f"the loss grows instead of falling: {loss:.3g} at step {self._step}, {IN_A_ROW} steps above {limit:.3g}"

    def _fall(self, loss: float) -> str:
        self._last.append(loss)
        # by the mean of three: one easy batch shows no knowledge
        self._known = self._known or statistics.fmean(self._last) < KNOWS * self._guessing
        self._guessed = self._guessed + 1 if self._known and loss >= GUESSES * self._guessing else 0
        if self._guessed < FALLEN:
            return ""
        return f"the model guesses what it knew before: loss {loss:.3g} at step {self._step}, {FALLEN} steps in a row"

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
        """The gradient's norm of the step that is logged; in float16 some overflow, and their steps are left out."""
        if logs and "grad_norm" in logs and not args.fp16:
            self._watch.norm(state.global_step, logs["grad_norm"])
