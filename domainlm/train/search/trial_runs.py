"""Every trial as an MLflow run of its own, nested under the run of the search; nothing where there is no MLflow."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

from domainlm.train.search.report import COMPLETE, SearchReport, TrialReport

TAG = "domainlm.search"  # on every trial's run: the search's name, by which all trials of all its processes are found
MLFLOW = "mlflow"


class TrialRuns:
    """The search's run: the active one, which a ZenML step with an experiment tracker has begun, or one of its own.

    Args:
        report_to: the recipe's destinations.
        name: the search's name.
    """

    def __init__(self, report_to: Iterable[str], name: str) -> None:
        from domainlm.train.watch import curves

        self._wanted = MLFLOW in report_to and curves.mlflow_is_configured()
        self._name, self._own = name, False

    def __enter__(self) -> TrialRuns:
        if self._wanted:
            import mlflow

            if mlflow.active_run() is None:
                mlflow.start_run(run_name="search")
                self._own = True
            mlflow.set_tag(TAG, self._name)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._own:
            import mlflow

            mlflow.end_run("FAILED" if kind else "FINISHED")

    def begin(self, number: int, values: dict[str, Any]) -> None:
        """A trial begins, or goes on in the run that it had in the process that died."""
        if not self._wanted:
            return
        import mlflow

        experiment = mlflow.active_run().info.experiment_id
        found = mlflow.search_runs(
            [experiment], f"tags.`{TAG}` = '{self._name}' and tags.trial = '{number}'", output_format="list"
        )
        if found:
            mlflow.start_run(run_id=found[0].info.run_id, nested=True)
            return
        tags = {TAG: self._name, "trial": str(number)}
        mlflow.start_run(run_name=f"trial {number}", experiment_id=experiment, nested=True, tags=tags)
        mlflow.log_params(values)

    def look(self, step: int, score: float) -> None:
        """One look at the development split."""
        if self._wanted:
            import mlflow

            mlflow.log_metric("dev/score", score, step=step)

    def end(self, trial: TrialReport) -> None:
        """A trial is over; each has its state, a complete one its score, others a reason."""
        if not self._wanted:
            return
        import mlflow

        mlflow.set_tags({"state": trial.state} | ({"reason": trial.reason} if trial.reason else {}))
        if trial.score is not None:
            mlflow.log_metric("score", trial.score)
        mlflow.end_run("FINISHED" if trial.state == COMPLETE else "KILLED" if not trial.reason else "FAILED")

    def interrupt(self) -> None:
        """The process ends in the middle of a trial."""
        if self._wanted:
            import mlflow

            mlflow.end_run("KILLED")

    def chosen(self, report: SearchReport, folder: Path) -> None:
        """What came of it all, with report and plots as artifacts."""
        if not self._wanted:
            return
        import mlflow

        mlflow.log_params({f"chosen_{name}": value for name, value in report.chosen.items()})
        mlflow.log_metric("score", report.score)
        mlflow.log_artifacts(str(folder), "search")
