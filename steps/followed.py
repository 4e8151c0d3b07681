"""A run on a cluster as ZenML's server tells it."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from zenml.client import Client
from zenml.enums import ExecutionStatus
from zenml.models import PipelineRunResponse, StepRunResponse

from domainlm.cluster.following import RunState, StepState
from domainlm.cluster.logs import exception_line, shown
from domainlm.errors import ConfigurationError
from steps.stacks import require_stack
from steps.stopped import ask_to_stop, close

_PAGE = 500  # steps of one run


class Followed:
    """One run: its id, its name, how it stands, and its end."""

    def __init__(self, run: PipelineRunResponse) -> None:
        self.id: UUID = run.id
        self.name = run.name
        self._order = tuple(run.snapshot.step_configurations) if run.snapshot else ()
        self._errors: dict[UUID, dict[str, str]] = {}

    def state(self) -> RunState:
        """How it stands."""
        run = Client().get_pipeline_run(self.id, hydrate=False)
        steps = Client().list_run_steps(pipeline_run_id=self.id, exclude_retried=True, size=_PAGE, hydrate=False)
        return RunState(str(run.status.value), {step.name: self._step(step) for step in steps}, self._order)

    def stop(self) -> bool:
        """Ask ZenML to stop it; whether an orchestrator was there to hear it."""
        return ask_to_stop(self.id)

    def close(self, status: str, why: str) -> None:
        """Say how it ended, now that nobody works for it any more, where ZenML thinks that it goes on."""
        close(self.id, status, why)

    def _step(self, step: StepRunResponse) -> StepState:
        said = StepState(str(step.status.value), _iso(step.start_time), _iso(step.end_time))
        if step.status == ExecutionStatus.FAILED and step.id not in self._errors:
            self._errors[step.id] = _error(step)
        return said._replace(**self._errors.get(step.id, {}))


def find_run(name: str, stack: str = "") -> Followed:
    """The run that a person means by its id, its name, or the beginning of one of them.

    Args:
        stack: the stack that it must work on.

    Raises:
        ConfigurationError: there is none, or several begin so.
        ArtifactError: it works on another stack, or its stack was deleted.
    """
    try:
        run = Client().get_pipeline_run(name)
    except KeyError as error:
        raise ConfigurationError(f"no run '{name}'", "ZenML server", "give its whole id or name") from error
    require_stack(run, stack)
    return Followed(run)


def _error(step: StepRunResponse) -> dict[str, str]:
    """The exception that ended a step, and its traceback, with as much of either as quotes no data."""
    if (found := step.get_hydrated_version().exception_info) is None:
        return {}
    error = exception_line(found.source or "an exception", found.message or "")
    return {"error": error, "trace": "\n".join(shown(found.traceback).lines)}


def _iso(time: datetime | None) -> str:
    return time.isoformat(timespec="milliseconds") if time else ""
