"""Curves reach TensorBoard files and a configured MLflow, and nothing else."""

from __future__ import annotations

import pytest


def test_the_curve_reaches_tensorboard(tune, tmp_path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    _, report = tune("run", report_to=("tensorboard",))
    events = EventAccumulator(str(tmp_path / "run" / "work" / "tensorboard")).Reload()
    drawn = {point.step: point.value for point in events.Scalars("train/loss")}
    assert drawn == pytest.approx({point["step"]: point["loss"] for point in report.curve}, rel=1e-3)
    assert {"train/learning_rate", "train/gradient_norm"} <= set(events.Tags()["scalars"])


def test_the_curve_reaches_the_active_mlflow_run(tune, tmp_path, monkeypatch) -> None:
    import mlflow

    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    mlflow.set_tracking_uri(uri)
    mlflow.create_experiment("curves", artifact_location=(tmp_path / "artifacts").as_uri())
    mlflow.set_experiment("curves")
    try:
        with mlflow.start_run() as run:
            _, report = tune("run", report_to=("mlflow",))
            assert mlflow.active_run() is not None
        history = mlflow.MlflowClient(uri).get_metric_history(run.info.run_id, "train/loss")
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
