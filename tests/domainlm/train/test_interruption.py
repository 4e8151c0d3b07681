"""A training that is killed, terminated or interrupted while it writes goes on to the same weights."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from domainlm.errors import TrainingError
from domainlm.train.checkpoints import MARKER, newest

PROGRAM = """
import json, os, signal, sys, time
from pathlib import Path
from datasets import load_from_disk
from transformers import TrainerCallback
from domainlm.artifacts import BaseCheckpoint, TokenizerFolder
from domainlm.tasks import Task
from domainlm.train import checkpoints, train
from domainlm.train.settings import TrainSettings

place, base, tokenizer, how = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4]

def stop(self, args, state, control, **_):
    if state.global_step == 5 and how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if state.global_step == 5 and how == "terminate":
        os.kill(os.getpid(), signal.SIGTERM)

checkpoints.CompletenessMarker.on_step_begin = stop
tasks = {name: Task(**fields) for name, fields in json.loads((place / "tasks.json").read_text()).items()}
settings = TrainSettings(**json.loads((place / "settings.json").read_text()))
records = load_from_disk(str(place / "records"))
train(records, TokenizerFolder(tokenizer), BaseCheckpoint(base), settings, tasks, place / "adapter", place / "work")
"""

SETTINGS = {
    "max_steps": 8,
    "batch_size": 8,
    "rank": 4,
    "alpha": 8,
    "adapt_embedding": False,
    "loss_weighting": "token",
    "learning_rate": 5e-3,
    "dropout": 0.1,
    "logging_steps": 2,
    "save_steps": 2,
    "threads": 1,
    "report_to": [],
    "dev_records": 12,
    "optimizer": "paged_adamw_32bit",
}


@pytest.fixture
def place(tmp_path, toy_records, toy_tasks):
    toy_records.save_to_disk(str(tmp_path / "records"))
    (tmp_path / "tasks.json").write_text(json.dumps({name: task.model_dump() for name, task in toy_tasks.items()}))
    (tmp_path / "settings.json").write_text(json.dumps(SETTINGS))
    return tmp_path


def _run(place, base, tokenizer, how: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, str(place), str(base.path), str(tokenizer.path), how],
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_killed_training_goes_on_to_the_very_same_weights(place, tune, tiny_base, plain_tokenizer) -> None:
    """SIGKILL in step 5; the checkpoint of step 4 counts: with order, random state and the optimizer's state."""
    whole, report = tune("whole", **{**SETTINGS, "report_to": ()})
    assert _run(place, tiny_base, plain_tokenizer, "kill").returncode == -signal.SIGKILL
    assert newest(place / "work").name == "checkpoint-4"
    assert not (place / "adapter" / "domainlm.json").exists()
    from domainlm.train import train

    resumed, resumed_report = _again(train, place, tiny_base, plain_tokenizer)
    assert resumed.digest == whole.digest
    assert resumed_report == report


def _again(train, place, base, tokenizer):
    from datasets import load_from_disk

    from domainlm.tasks import Task
    from domainlm.train.settings import TrainSettings

    tasks = {name: Task(**fields) for name, fields in json.loads((place / "tasks.json").read_text()).items()}
    return train(
        load_from_disk(str(place / "records")),
        tokenizer,
        base,
        TrainSettings(**SETTINGS),
        tasks,
        place / "adapter",
        place / "work",
    )


def test_sigterm_leaves_a_complete_checkpoint_and_says_so(place, tiny_base, plain_tokenizer) -> None:
    done = _run(place, tiny_base, plain_tokenizer, "terminate")
    assert done.returncode == 1
    assert "stopped by SIGTERM after step" in done.stderr and "run again to go on" in done.stderr
    assert newest(place / "work").name in ("checkpoint-5", "checkpoint-6")


def test_the_signal_is_given_back_after_a_training(tune) -> None:
    before = signal.getsignal(signal.SIGTERM)
    tune()
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_checkpoint_without_its_marker_or_with_a_short_file_is_removed(tmp_path) -> None:
    for step, complete in ((2, True), (4, True), (6, False), (10, False)):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "weights").write_bytes(b"1234")
        if complete:
            (folder / MARKER).write_text(json.dumps({"weights": 4}))
    (tmp_path / "checkpoint-4" / "weights").write_bytes(b"12")
    assert newest(tmp_path).name == "checkpoint-2"
    assert sorted(folder.name for folder in tmp_path.iterdir()) == ["checkpoint-2"]
    assert newest(tmp_path / "nothing") is None


def test_a_finished_training_is_not_trained_again(tune, tmp_path) -> None:
    """With a constant learning rate, a step too many would show in the weights."""
    first, report = tune("run", scheduler="constant")
    marker = tmp_path / "run" / "work" / "checkpoint-6" / MARKER
    written = marker.stat().st_mtime_ns
    time.sleep(0.01)
    second, again = tune("run", scheduler="constant")
    assert second.digest == first.digest and again == report
    assert marker.stat().st_mtime_ns == written


def test_at_most_two_checkpoints_are_kept(tune, tmp_path) -> None:
    tune("run", max_steps=10)
    assert sorted(path.name for path in (tmp_path / "run" / "work").glob("checkpoint-*")) == [
        "checkpoint-10",
        "checkpoint-8",
    ]


def test_an_interrupted_first_save_starts_from_the_beginning(tune, tmp_path, monkeypatch) -> None:
    from domainlm.train import checkpoints

    def interrupted(*_) -> None:
        raise TrainingError("the disk is full")

    whole, _ = tune("whole")
    monkeypatch.setattr(checkpoints.os, "replace", interrupted)
    with pytest.raises(TrainingError, match="disk is full"):
        tune("run")
    monkeypatch.undo()
    assert os.path.isdir(tmp_path / "run" / "work" / "checkpoint-2")
    resumed, _ = tune("run")
    assert resumed.digest == whole.digest
