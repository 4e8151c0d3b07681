"""Where the curve of a training is drawn: TensorBoard files, and the MLflow run when a tracking URI is configured."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from transformers import TrainerCallback

LOGGED = {"loss": "train/loss", "learning_rate": "train/learning_rate", "grad_norm": "train/gradient_norm"}


def callbacks(report_to: Sequence[str], work: Path) -> list[TrainerCallback]:
    """One callback a destination; MLflow only where its URI is set, else it would make files wherever we are."""
    found: list[TrainerCallback] = []
    if "tensorboard" in report_to:
        found.append(TensorBoardCurve(work / "tensorboard"))
    if "mlflow" in report_to and _mlflow_is_configured():
        found.append(MLflowCurve())
    return found


def _mlflow_is_configured() -> bool:
    import sys

    if os.environ.get("MLFLOW_TRACKING_URI"):
        return True
    loaded = sys.modules.get("mlflow")  # a run that a step has begun; importing mlflow only to ask would cost seconds
    return loaded is not None and hasattr(loaded, "active_run") and loaded.active_run() is not None


class TensorBoardCurve(TrainerCallback):
    """Writes event files for `tensorboard --logdir`."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._writer = folder, None

    def on_log(self, args, state, control, logs=None, **_):
        """Add the logged values at the current step."""
        if not state.is_world_process_zero:
            return
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter

            # after a resume, points beyond the checkpoint would stand twice
            self._writer = SummaryWriter(str(self._folder), purge_step=state.global_step)
        for key, name in LOGGED.items():
            if key in (logs or {}):
                self._writer.add_scalar(name, logs[key], state.global_step)

    def on_train_end(self, args, state, control, **_):
        """Close the file."""
        if self._writer is not None:
            self._writer.close()


class MLflowCurve(TrainerCallback):
    """Logs into the active run, or into one of its own where none is active."""

    def __init__(self) -> None:
        self._own_run = False

    def on_train_begin(self, args, state, control, **_):
        """Join the active run or begin one."""
        import mlflow

        if state.is_world_process_zero and mlflow.active_run() is None:
            mlflow.start_run(run_name="train")
            self._own_run = True

    def on_log(self, args, state, control, logs=None, **_):
        """Log the values at the current step."""
        if state.is_world_process_zero:
            import mlflow

            found = {name: float(logs[key]) for key, name in LOGGED.items() if key in (logs or {})}
            if found:
                mlflow.log_metrics(found, step=state.global_step)

    def on_train_end(self, args, state, control, **_):
        """End a run of its own."""
        if self._own_run:
            import mlflow

            mlflow.end_run()
            self._own_run = False
