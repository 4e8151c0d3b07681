"""Where the curve of a training is drawn: TensorBoard files, an MLflow run, Weights & Biases.

Each gets the same figures under the same names. Samples of generated text go to the first two, which are the
institution's own; never to W&B, which may be somebody else's computer.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from domainlm.errors import TrainingError

LOGGED = {
    "loss": "train/loss",
    "learning_rate": "train/learning_rate",
    "grad_norm": "train/gradient_norm",
    "tokens_per_second": "speed/tokens_per_second",
    "padded_tokens_per_second": "speed/padded_tokens_per_second",
    "supervised_tokens_per_second": "speed/supervised_tokens_per_second",
    "mfu": "speed/mfu",
    "hfu": "speed/hfu",
    "peak_allocated_gb": "memory/peak_allocated_gb",
    "peak_reserved_gb": "memory/peak_reserved_gb",
    "peak_process_gb": "memory/peak_process_gb",
}
LOOK = "eval_bits_per_character"  # alone, or followed by an underscore and a task's name
DEVELOPMENT = "dev/bits_per_character"


def check(report_to: Sequence[str]) -> None:
    """Make sure that the destinations can be written to, before a model is loaded.

    Raises:
        TrainingError: a package is missing.
    """
    if "wandb" in report_to and importlib.util.find_spec("wandb") is None:
        raise TrainingError(
            "report_to names wandb, and the package wandb is not installed",
            "steps.train.parameters.report_to",
            "install the extra `wandb` (pip install -e '.[wandb]'), or take wandb out of report_to",
        )


def callbacks(report_to: Sequence[str], work: Path, recipe: Mapping[str, Any] | None = None) -> list[TrainerCallback]:
    """One callback a destination; MLflow only where its URI is set, else it would make files wherever we are.

    Args:
        report_to: the destinations' names.
        work: where files go.
        recipe: the settings, for W&B's page of the run.
    """
    found: list[TrainerCallback] = []
    if "tensorboard" in report_to:
        found.append(TensorBoardCurve(work / "tensorboard"))
    if "mlflow" in report_to and mlflow_is_configured():
        found.append(MLflowCurve())
    if "wandb" in report_to:
        found.append(WandbCurve(work / "wandb", recipe or {}))
    return found


def named(logs: Mapping[str, Any] | None) -> dict[str, float]:
    """What is drawn of a log line, by the curve's name."""
    found = {name: float(logs[key]) for key, name in LOGGED.items() if key in (logs or {})}
    for key, value in (logs or {}).items():
        if key.startswith(LOOK):
            found[DEVELOPMENT + key.removeprefix(LOOK)] = float(value)
    return found


def mlflow_is_configured() -> bool:
    """Whether there is a tracking URI, or a run that a step has begun."""
    import sys

    if os.environ.get("MLFLOW_TRACKING_URI"):
        return True
    loaded = sys.modules.get("mlflow")  # a run that a step has begun; importing mlflow only to ask would cost seconds
    return loaded is not None and hasattr(loaded, "active_run") and loaded.active_run() is not None


class TensorBoardCurve(TrainerCallback):
    """Writes event files for `tensorboard --logdir`."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._writer = folder, None

    def _open(self, step: int):
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter

            # after a resume, points beyond the checkpoint would stand twice
            self._writer = SummaryWriter(str(self._folder), purge_step=step)
        return self._writer

    def on_log(self, args, state, control, logs=None, **_):
        """Add the logged values at the current step."""
        found = named(logs)
        if state.is_world_process_zero and found:
            from tensorboard.compat.proto.summary_pb2 import Summary
            from torch.utils.tensorboard.summary import scalar

            points = [point for name, value in found.items() for point in scalar(name, value).value]
            # one record for all: each has checksums, which the writer counts out in Python
            self._open(state.global_step).file_writer.add_summary(Summary(value=points), state.global_step)

    def sample(self, step: int, path: Path, said: Sequence[Mapping[str, Any]]) -> None:
        """Show generated texts under their records' ids."""
        for entry in said:
            text = f"{entry['prompt']}\n\n---\n\n{entry['answer']}"
            self._open(step).add_text(f"samples/{entry['record']}", text, step)

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
        found = named(logs)
        if state.is_world_process_zero and found:
            import mlflow

            mlflow.log_metrics(found, step=state.global_step)

    def sample(self, step: int, path: Path, said: Sequence[Mapping[str, Any]]) -> None:
        """Keep generated texts as an artifact of the run."""
        import mlflow

        mlflow.log_artifact(str(path), "samples")

    def on_train_end(self, args, state, control, **_):
        """End a run of its own."""
        if self._own_run:
            import mlflow

            mlflow.end_run()
            self._own_run = False


class WandbCurve(TrainerCallback):
    """Logs figures to Weights & Biases: offline, to files, unless WANDB_MODE says otherwise.

    Console output, code and the state of git are not sent.
    """

    def __init__(self, folder: Path, recipe: Mapping[str, Any]) -> None:
        self._folder, self._recipe, self._run = folder, recipe, None

    def on_train_begin(self, args, state, control, **_):
        """Begin a run."""
        if not state.is_world_process_zero:
            return
        import wandb

        self._folder.mkdir(parents=True, exist_ok=True)
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "domainlm"),
            dir=str(self._folder),
            mode=os.environ.get("WANDB_MODE", "offline"),
            config=dict(self._recipe),
            settings=wandb.Settings(console="off", save_code=False, disable_git=True, disable_code=True),
        )

    def on_log(self, args, state, control, logs=None, **_):
        """Log the values at the current step."""
        found = named(logs)
        if self._run is not None and found:
            self._run.log(found, step=state.global_step)

    def on_train_end(self, args, state, control, **_):
        """Finish the run."""
        if self._run is not None:
            self._run.finish()
            self._run = None
