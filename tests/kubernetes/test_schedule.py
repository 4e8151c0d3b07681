"""A schedule is a CronJob that the cluster obeys without any client, and that goes when the schedule does."""

from __future__ import annotations

import time
from typing import Any

from cluster_commands import LOOK_S, ClusterProject

FIRES_S = 150  # every minute, and a pod must start


def test_a_schedule_fires_and_goes_when_it_is_deleted(project: ClusterProject, completed: str) -> None:
    name = f"every-minute-{time.time_ns()}"

    def change(content: dict[str, Any]) -> None:
        content["schedule"] = {"name": name, "cron_expression": "* * * * *"}

    kubectl = project.cluster.kubectl
    fired: list[dict[str, Any]] = []
    try:
        project.run(project.configuration(change))
        [cron] = kubectl.objects("cronjobs")
        assert cron["spec"]["schedule"] == "* * * * *"
        fired = wait_for(lambda: jobs_of(kubectl.objects("jobs"), cron), FIRES_S)
        wait_for(lambda: steps_of(kubectl.objects("jobs"), fired[0]), FIRES_S)
    finally:
        project.zenml(f"from zenml.client import Client\nClient().delete_schedule({name!r})")
        left = [one["metadata"]["name"] for one in kubectl.objects("cronjobs")]
        for made in fired:  # with it go the Jobs of its steps
            kubectl.text("delete", "job", made["metadata"]["name"], "--ignore-not-found", "--wait=true")
        for forgotten in left:
            kubectl.text("delete", "cronjob", forgotten)
    assert left == [], "the cluster would go on starting runs of a schedule that ZenML does not know"


def jobs_of(jobs: list[dict[str, Any]], cron: dict[str, Any]) -> list[dict[str, Any]]:
    return [one for one in jobs if cron["metadata"]["uid"] in owners(one)]


def steps_of(jobs: list[dict[str, Any]], fired: dict[str, Any]) -> list[dict[str, Any]]:
    """The Jobs of steps that the orchestrator of a fired run made."""
    return [one for one in jobs if fired["metadata"]["uid"] in owners(one)]


def owners(found: dict[str, Any]) -> set[str]:
    return {owner["uid"] for owner in found["metadata"].get("ownerReferences", [])}


def wait_for(looked: Any, timeout_s: float) -> Any:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if found := looked():
            return found
        time.sleep(LOOK_S)
    raise AssertionError(f"not within {timeout_s} s")
