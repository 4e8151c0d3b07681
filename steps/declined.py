"""How a run ends well before its last step: because it was decided that nothing should be trained.

ZenML 0.98 knows no such end. A step whose own status is "stopping" when it raises becomes "stopped" and not "failed",
and so does a run that is said to be stopping once no step of it is at work; the step after it is started by neither
orchestrator, since the local one fails fast and the Kubernetes one saw a Job fail. So both are said to be stopping,
with the reason, and then an exception ends the step, which the hooks and `pipelines.ending` know.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

from zenml import get_step_context
from zenml.client import Client
from zenml.enums import ExecutionStatus
from zenml.exceptions import RunStoppedException
from zenml.models import PipelineRunResponse, StepRunResponse, StepRunUpdate
from zenml.orchestrators.publish_utils import publish_pipeline_run_status_update

from domainlm.names import DECIDE, DECISION
from domainlm.retrain.batches import NO_RETRAINING, Decision


class Declined(RunStoppedException):
    """Nothing is to be trained: the run is over, and nothing went wrong.

    Args:
        why: in one line.
        lines: the decision with all its reasons, for people.
    """

    def __init__(self, why: str, lines: Sequence[str] = ()) -> None:
        self.lines = tuple(lines)
        super().__init__(why)


def decline(decision: Decision) -> NoReturn:
    """End the run of this step.

    Raises:
        Declined: always; nothing may catch it but what knows it.
    """
    context = get_step_context()
    why = "; ".join(decision.lines()[:1] + [f"{one.code}: {one.told}" for one in decision.reasons if one.holds])
    publish_pipeline_run_status_update(context.pipeline_run.id, ExecutionStatus.STOPPING, status_reason=why[:250])
    Client().zen_store.update_run_step(context.step_run.id, StepRunUpdate(status=ExecutionStatus.STOPPING))
    raise Declined(why, decision.lines())


def told(decision: Decision) -> dict[str, Any]:
    """A decision as metadata of its step, which the run's manifest repeats."""
    return {
        "verdict": decision.lines()[0],
        "reasons": " | ".join(decision.lines()[1:]),
        "barred": ", ".join(decision.barred),
        "id": decision.id,
        "policy": decision.policy,
    }


def decision_in(step: StepRunResponse | None) -> dict[str, Any]:
    """What the step `decide` of a run decided, as `told` put it; empty where it did not come so far."""
    return dict(step.get_hydrated_version().run_metadata.get(DECISION) or {}) if step else {}


def declined(run: PipelineRunResponse) -> bool:
    """As `was_declined`, of a run as ZenML's store has it."""
    return was_declined(run.status, run.steps.get(DECIDE))


def was_declined(status: ExecutionStatus, step: StepRunResponse | None) -> bool:
    """Whether a run ended because nothing was to be trained.

    Args:
        status: of the run.
        step: its step `decide`.
    """
    return status == ExecutionStatus.STOPPED and decision_in(step).get("verdict") == NO_RETRAINING
