"""ZenML's way of stopping a run on a cluster, and what to tell its server of a run that nobody works for any more.

The server computes a run's status from its steps': asked for "stopped" while steps are missing, it says "running". And
a step that is said to have failed while it has tries left becomes "retrying". So a run is said to be stopping, or to
have failed, and its unfinished steps, whose pods are gone, to be stopped.
"""

from __future__ import annotations

from contextlib import suppress
from uuid import UUID

from zenml.client import Client
from zenml.enums import ExecutionStatus
from zenml.exceptions import IllegalOperationError
from zenml.orchestrators.publish_utils import publish_pipeline_run_status_update, publish_stopped_step_run
from zenml.utils.run_utils import stop_run


def ask_to_stop(run_id: UUID) -> bool:
    """Ask ZenML to stop a run: its orchestrator then starts nothing more, and the Jobs of its steps are deleted.

    Returns:
        Whether an orchestrator was there to hear it; one that has not begun yet is not.
    """
    run = Client().get_pipeline_run(run_id)
    if run.orchestrator_run_id and not run.status.is_finished and run.status != ExecutionStatus.STOPPING:
        with suppress(IllegalOperationError, RuntimeError):  # it ended meanwhile, or a Job did not go
            stop_run(run, graceful=False)
    return bool(run.orchestrator_run_id)


def close(run_id: UUID, status: str, why: str) -> None:
    """Say how a run ended that nobody works for any more; one that has ended for ZenML too is left as it is.

    Args:
        run_id: the run.
        status: "stopped" or "failed".
        why: the reason that stands beside it.
    """
    wanted = ExecutionStatus.FAILED if status == "failed" else ExecutionStatus.STOPPING
    client = Client()
    if not client.get_pipeline_run(run_id, hydrate=False).status.is_finished:
        publish_pipeline_run_status_update(run_id, wanted, status_reason=why)
    for step in client.get_pipeline_run(run_id).steps.values():
        if not step.status.is_finished:
            publish_stopped_step_run(step.id)
    if not client.get_pipeline_run(run_id, hydrate=False).status.is_finished:
        publish_pipeline_run_status_update(run_id, wanted, status_reason=why)
