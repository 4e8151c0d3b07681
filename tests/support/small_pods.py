"""Jobs, pods and events of a small run, as an API server answers them, made by hand: to play a whole run in a test."""

from __future__ import annotations

from typing import Any

from domainlm.cluster.pods import OPERATOR_ANNOTATION, STEP_ANNOTATION, Object, Seen

RUN = "7b0e2f6c-1111-4222-8333-944455566677"


def job(name: str, step: str = "", end: str = "", *, operator: bool = False, reason: str = "", made: int = 0) -> Object:
    """A Job; without a step it is the orchestrator's. `end` is "Complete" or "Failed"."""
    annotations = {STEP_ANNOTATION: step} if step else {"zenml.io/orchestrator": "x"}
    if operator:
        annotations[OPERATOR_ANNOTATION] = "x"
    conditions = [{"type": end, "status": "True", "reason": reason}] if end else []
    container = {"name": "main", "image": "registry.bank.example/domainlm:1", "env": [_token()]}
    return {
        "metadata": {"name": name, "uid": f"job-{name}", "creationTimestamp": f"2026-11-21T14:00:{made:02}Z",
                     "labels": {"run_id": RUN}, "annotations": annotations},
        "spec": {"activeDeadlineSeconds": 60, "template": {"spec": {"containers": [container]}}},
        "status": {"conditions": conditions},
    }  # fmt: skip


def pod(of: str, phase: str = "Running", *, number: int = 0, state: Any = None, conditions: Any = None) -> Object:
    """A pod of the Job `of`; `state` is its main container's."""
    running = {"running": {"startedAt": "2026-11-21T14:00:10Z"}} if phase == "Running" else {}
    resources = {"limits": {"memory": "4Gi"}, "requests": {"memory": "4Gi"}}
    return {
        "metadata": {"name": f"{of}-{number}", "uid": f"pod-{of}-{number}", "labels": {"job-name": of},
                     "creationTimestamp": f"2026-11-21T14:00:{number:02}Z"},
        "spec": {"nodeName": "node1" if phase != "Pending" else "",
                 "containers": [{"name": "main", "image": "registry.bank.example/domainlm:1", "resources": resources}]},
        "status": {"phase": phase, "conditions": conditions or [],
                   "containerStatuses": [{"name": "main", "state": state or running, "restartCount": 0}]},
    }  # fmt: skip


def killed(of: str, reason: str = "Error", code: int = 1, number: int = 0) -> Object:
    """A pod whose container ended badly."""
    return pod(of, "Failed", number=number, state={"terminated": {"exitCode": code, "reason": reason}})


def unscheduled(of: str) -> Object:
    """A pod that waits for a node with a GPU."""
    message = "0/1 nodes are available: 1 Insufficient nvidia.com/gpu."
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    return pod(of, "Pending", conditions=[condition])


def waiting(of: str, reason: str, message: str = "") -> Object:
    """A pod whose container waits for something."""
    return pod(of, "Pending", state={"waiting": {"reason": reason, "message": message}})


def look(*things: Object, events: list[Object] | None = None) -> Seen:
    """A look at Jobs and pods."""
    jobs = [one for one in things if "template" in one["spec"]]
    return Seen(jobs, [one for one in things if one not in jobs], events or [])


def _token() -> Object:
    reference = {"name": "zenml-token-5", "key": "zenml_api_token"}
    return {"name": "ZENML_STORE_API_TOKEN", "valueFrom": {"secretKeyRef": reference}}
