"""Stopping on purpose: SIGTERM (a drained node, a preempted pod) and Ctrl-C end the step, save, and stop."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from domainlm.errors import TrainingStopped

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopOnSignal(TrainerCallback):
    """Takes both signals over while a stage trains. A second Ctrl-C does not wait for the checkpoint.

    With several processes a signal may reach one of them a step earlier than another: they agree after each step, and
    read the answer one step later, so that no GPU waits for it.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._before: dict[int, Any] = {}
        self._asked: Any = None
        self._saving = False

    def on_train_begin(self, args, state, control, **_):
        """Take the signals over; only the main thread may."""
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in SIGNALS}

    def _note(self, number: int, frame: Any) -> None:
        if number == signal.SIGINT and self.received == signal.SIGINT:
            self.release()
            raise KeyboardInterrupt
        self.received = signal.Signals(number)

    def on_step_end(self, args, state, control, **_):
        """Ask for a checkpoint after the step in which a signal came."""
        if self._agreed(args):
            self._saving = control.should_save = True

    def on_save(self, args, state, control, **_):
        """Stop once it is there. Not before: a checkpoint that says "stop" is taken for the end of its stage."""
        if self._saving:
            control.should_training_stop = True

    def _agreed(self, args: Any) -> bool:
        if args.world_size == 1:
            return self.received is not None
        import torch

        earlier = self._asked is not None and bool(self._asked.item())
        self._asked = torch.tensor(float(self.received is not None), device=args.device)
        torch.distributed.all_reduce(self._asked, op=torch.distributed.ReduceOp.MAX)
        if earlier and self.received is None:
            self.received = signal.SIGTERM  # another process has it
        return earlier

    def on_train_end(self, args, state, control, **_):
        """Give the signals back; where a training raises, whoever called it does (`release`)."""
        self.release()

    def release(self) -> None:
        """Give the signals back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def raise_if_stopped(self, step: int, work: Path) -> None:
        """Say that the stage did not come to its end.

        Raises:
            TrainingStopped: SIGTERM stopped it.
            KeyboardInterrupt: Ctrl-C did.
        """
        if not self._saving:
            return
        if self.received == signal.SIGINT:
            raise KeyboardInterrupt
        raise TrainingStopped(
            f"stopped by SIGTERM after step {step}; its checkpoint is complete", str(work), "run again to go on"
        )
