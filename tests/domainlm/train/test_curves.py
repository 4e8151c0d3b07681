"""Curves reach TensorBoard files, a configured MLflow and W&B, and nothing else; samples stay at home."""

from __future__ import annotations

import json
import os
from types import ModuleType

import pytest

from domainlm.errors import TrainingError
from domainlm.train.watch import curves

SPEED = {"speed/tokens_per_second", "speed/padded_tokens_per_second", "speed/supervised_tokens_per_second"}
TRAINED = {"train/loss", "train/learning_rate", "train/gradient_norm"}
LOOKS = {"dev/bits_per_character", "dev/bits_per_character_mood", "dev/bits_per_character_term"}
DRAWN = SPEED | TRAINED | LOOKS | {"memory/peak_process_gb"}


def test_the_curve_reaches_tensorboard(tune, tmp_path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    _, report = tune("run", report_to=("tensorboard",), eval_steps=3)
    events = EventAccumulator(str(tmp_path / "run" / "work" / "tensorboard")).Reload()
    drawn = {point.step: point.value for point in events.Scalars("train/loss")}
    assert drawn == pytest.approx({point["step"]: point["loss"] for point in report.curve}, rel=1e-3)
    assert set(events.Tags()["scalars"]) == DRAWN
    looks = {point.step: point.value for point in events.Scalars("dev/bits_per_character_mood")}
    assert looks[6] == pytest.approx(report.dev_bits_per_character["mood"], rel=1e-4) and set(looks) == {3, 6}
    assert all(point.value > 0 for name in SPEED for point in events.Scalars(name))


def test_mfu_and_gpu_memory_are_drawn_where_the_device_is_known(monkeypatch) -> None:
    """The names of all that a GPU adds; a CPU has none of it."""
    logs = {"mfu": 0.4, "hfu": 0.5, "peak_allocated_gb": 40, "peak_reserved_gb": 42, "total_flos": 1.0, "epoch": 2}
    assert curves.named(logs) == {
        "speed/mfu": 0.4,
        "speed/hfu": 0.5,
        "memory/peak_allocated_gb": 40.0,
        "memory/peak_reserved_gb": 42.0,
    }


def test_samples_reach_tensorboard_under_their_record(tune, tmp_path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    tune("run", report_to=("tensorboard",), sample_prompts=2, max_steps=2)
    (file,) = (tmp_path / "run" / "work" / "samples").iterdir()
    said = [json.loads(line) for line in file.read_text().splitlines()]
    events = EventAccumulator(str(tmp_path / "run" / "work" / "tensorboard")).Reload()
    for entry in said:
        (shown,) = events.Tensors(f"samples/{entry['record']}/text_summary")
        assert entry["prompt"] in shown.tensor_proto.string_val[0].decode()


def test_the_curve_reaches_the_active_mlflow_run(tune, tmp_path, monkeypatch) -> None:
    import mlflow

    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    mlflow.set_tracking_uri(uri)
    mlflow.create_experiment("curves", artifact_location=(tmp_path / "artifacts").as_uri())
    mlflow.set_experiment("curves")
    try:
        with mlflow.start_run() as run:
            _, report = tune("run", report_to=("mlflow",), eval_steps=3, sample_prompts=1)
            assert mlflow.active_run() is not None
        client = mlflow.MlflowClient(uri)
        history = client.get_metric_history(run.info.run_id, "train/loss")
        assert set(client.get_run(run.info.run_id).data.metrics) == DRAWN
        kept = {artifact.path for artifact in client.list_artifacts(run.info.run_id, "samples")}
        assert kept == {f"samples/step-{step}.jsonl" for step in (2, 4, 6)}
    finally:
        mlflow.set_tracking_uri(None)
    assert {point.step: point.value for point in history} == pytest.approx(
        {point["step"]: point["loss"] for point in report.curve}, rel=1e-3
    )


def test_without_a_tracking_uri_nothing_is_written_where_we_are(tune, tmp_path, monkeypatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    tune("run", report_to=("mlflow",))
    assert list(here.iterdir()) == []


@pytest.fixture
def wandb(monkeypatch):
    """A stand-in for the package, which is an extra: it writes down what it is given."""
    import sys

    given: dict = {"logged": [], "finished": 0}

    class Run:
        def log(self, values, step):
            given["logged"].append((step, values))

        def finish(self):
            given["finished"] += 1

    module = ModuleType("wandb")
    module.__spec__ = __import__("importlib.machinery", fromlist=["x"]).ModuleSpec("wandb", None)
    module.Settings = lambda **settings: settings
    module.init = lambda **options: given.update(options) or Run()
    monkeypatch.setitem(sys.modules, "wandb", module)
    for name in ("WANDB_MODE", "WANDB_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    return given


def test_wandb_gets_figures_and_no_text_and_is_offline_unless_told_otherwise(tune, wandb, toy_records) -> None:
    _, report = tune("run", report_to=("wandb",), eval_steps=3, sample_prompts=2)
    assert wandb["mode"] == "offline" and wandb["finished"] == 1
    assert wandb["settings"] == {"console": "off", "save_code": False, "disable_git": True, "disable_code": True}
    assert wandb["config"]["learning_rate"] == report.recipe.learning_rate
    assert {name for _, values in wandb["logged"] for name in values} == DRAWN
    losses = {step: values["train/loss"] for step, values in wandb["logged"] if "train/loss" in values}
    assert losses == pytest.approx({point["step"]: point["loss"] for point in report.curve}, rel=1e-3)
    sent = json.dumps({key: value for key, value in wandb.items() if key != "dir"})
    texts = [turn["content"] for row in toy_records for turn in row["messages"]]
    assert not [text for text in texts if text in sent]


def test_the_mode_of_wandb_is_the_one_that_its_own_variable_says(tune, wandb, monkeypatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_PROJECT", "ours")
    tune("run", report_to=("wandb",), max_steps=2)
    assert (wandb["mode"], wandb["project"]) == ("online", "ours")


def test_wandb_that_is_not_installed_is_named_before_a_model_is_loaded(tune, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(curves.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr("domainlm.train.finetuning.prepare", lambda *_: pytest.fail("a model was loaded"))
    with pytest.raises(TrainingError, match="wandb is not installed") as caught:
        tune("run", report_to=("tensorboard", "wandb"))
    assert "take wandb out of report_to" in caught.value.remedy
    assert not os.path.exists(tmp_path / "run")
