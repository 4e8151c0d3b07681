"""What people are told of a training that failed: its own run, step and cause, and never those of another run."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from cli import launch, retrain
from domainlm.config import RunConfiguration
from domainlm.ledger.run import manifest as manifests
from domainlm.ledger.run.manifest import FAILED, Failure, RunManifest
from domainlm.retrain.batches import Decision
from domainlm.retrain.failures import failed
from domainlm.retrain.rounds import Launched

ROOT = Path(__file__).resolve().parents[2]
YES = Decision(id="1" * 64, decided="2026-11-21T12:00:00+00:00", retrain=True, reasons=())


def entered(run: str, cause: str) -> None:
    failure = Failure(step="train", error="TrainingError", message=cause)
    manifests.write(RunManifest(run_id=run, run_name="r", pipeline="p", status=FAILED, failure=failure))


def test_a_failure_is_told_with_run_step_and_cause(home: Path) -> None:
    entered("run-2", "diverged")
    found = failed("run-2")
    assert (found.run, found.step, found.key) == ("run-2", "train", "failed/run-2")
    assert found.cause == "TrainingError: diverged"


def test_without_a_run_or_its_manifest_nothing_is_made_up(home: Path) -> None:
    entered("run-1", "of another run")
    none = failed("")
    assert (none.run, none.step, none.cause) == ("", "", "it did not begin here")
    assert none.key == f"failed/unknown/{datetime.now(UTC).date().isoformat()}"  # told again on another day
    assert (failed("run-9").run, failed("run-9").cause) == ("run-9", "its manifest does not say why")


@pytest.mark.parametrize(("begun", "run"), [([], ""), (["run-2"], "run-2")])
def test_the_run_of_the_probe_before_it_is_not_the_one_that_failed(
    begun: list[str], run: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In this process, with the pipeline left out."""
    entered("probe-1", "of another run"), entered("run-2", "diverged")
    from pipelines import hooks  # here: it narrows the mask of new files, which other tests must not meet

    monkeypatch.setattr(hooks, "started", ["probe-1"])

    def launched(*given: object) -> None:
        hooks.started.extend(begun)  # type: ignore[arg-type]

    told: list[dict[str, Any]] = []
    monkeypatch.setattr(launch, "launched", launched)
    monkeypatch.setattr(retrain, "notify", lambda terms, book, **said: told.append(said))
    configuration = RunConfiguration.load(ROOT / "configs" / "retrain.yaml", [])
    started = retrain._Started(configuration, configuration.path, False, None, Console(quiet=True), home / "log")
    assert retrain._launch(started, YES) == Launched("failed", run)
    assert [one.get("run", "") for one in told] == [run] and "of another run" not in str(told)
    assert told[0]["kind"] == "failed"
