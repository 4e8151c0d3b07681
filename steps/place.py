"""Whether this process is a step in a pod. What it says of itself does not do: a run configuration can set a variable
for the steps of one's own machine too, and their evidence would then lie in an outbox that nobody collects."""

from __future__ import annotations

from zenml.client import Client
from zenml.orchestrators import LocalOrchestrator

from domainlm.ledger.run.outbox import says_pod


def in_pod() -> bool:
    """Whether this process is a step of a cluster's run: it has neither ledger nor a home that lasts."""
    return says_pod() and not isinstance(Client().active_stack.orchestrator, LocalOrchestrator)
