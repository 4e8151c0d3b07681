"""What the run of the present step was compiled with: pipeline parameters, and what each step was told."""

from __future__ import annotations

from typing import Any, NamedTuple

from zenml import get_step_context
from zenml.client import Client

from domainlm.config import STEP_SETTINGS, PipelineSettings
from steps.ledger_view import settings_in


class Compiled(NamedTuple):
    """The configuration of a run.

    Args:
        run_id: ZenML's id of it.
        pipeline: the pipeline's parameters, defaults filled in.
        steps: step -> its parameters, of every step of the DAG.
    """

    run_id: str
    pipeline: PipelineSettings
    steps: dict[str, dict[str, Any]]

    def settings(self, step: str) -> Any:
        """The checked settings of a step."""
        return settings_in(step, self.steps.get(step, {}))

    def all_settings(self) -> dict[str, dict[str, Any]]:
        """Step -> the settings that it was told, without what the pipeline handed in beside them."""
        return {
            name: {key: value for key, value in told.items() if key in type(self.settings(name)).model_fields}
            for name, told in self.steps.items()
            if name in STEP_SETTINGS
        }


def compiled() -> Compiled:
    """Of the run that this step belongs to."""
    run = Client().get_pipeline_run(get_step_context().pipeline_run.id, hydrate=True)
    steps = run.snapshot.step_configurations if run.snapshot else {}
    told = {name: dict(step.config.parameters) for name, step in steps.items()}
    known = {
        name: value for name, value in (run.config.parameters or {}).items() if name in PipelineSettings.model_fields
    }
    return Compiled(str(run.id), PipelineSettings(**known), told)
