"""Checkpoints of the Trainer that can be trusted: a folder counts once its marker, written last, is there."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
from pathlib import Path

from transformers import TrainerCallback

MARKER = "complete.json"


def newest(work: Path) -> Path | None:
    """The newest complete checkpoint; folders that were interrupted while they were written are removed."""
    complete = []
    for folder in work.glob("checkpoint-*"):
        if _is_complete(folder):
            complete.append(folder)
        else:
            shutil.rmtree(folder)
    return max(complete, key=lambda folder: int(folder.name.rpartition("-")[2]), default=None)


def _is_complete(folder: Path) -> bool:
    try:
        sizes = json.loads((folder / MARKER).read_text())
        return all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError):
        return False


class CompletenessMarker(TrainerCallback):
    """Write the marker once the Trainer has written everything else of a checkpoint."""

    def on_save(self, args, state, control, **_):
        """Note each file's size; the rename makes the marker appear at once or not at all."""
        if not state.is_world_process_zero:
            return
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        sizes = {
            file.relative_to(folder).as_posix(): file.stat().st_size for file in folder.rglob("*") if file.is_file()
        }
        draft = folder / f"{MARKER}.draft"
        draft.write_text(json.dumps(sizes, sort_keys=True))
        os.replace(draft, folder / MARKER)


class StopOnTermination(TrainerCallback):
    """On SIGTERM (a drained node, a stopped job) finish the step, save, and stop."""

    def __init__(self) -> None:
        self.stopped = False
        self._before = None

    def on_train_begin(self, args, state, control, **_):
        """Take the signal over; only the main thread may."""
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGTERM, self._note)

    def _note(self, *_) -> None:
        self.stopped = True

    def on_step_end(self, args, state, control, **_):
        """Save and stop after the step in which the signal came."""
        if self.stopped:
            control.should_save = True
            control.should_training_stop = True

    def release(self) -> None:
        """Give the signal back."""
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)
            self._before = None
