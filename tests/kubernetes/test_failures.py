"""Runs that must fail: exit code 1, the reason and the key to change, a manifest, and nothing left at work."""

from __future__ import annotations

from typing import Any

import pytest
from cluster_commands import ClusterProject, at_work, pods_of, run_id_of
from real_cluster import Cluster

GPU = "nvidia.com/gpu"
ABSENT = "localhost/domainlm:never-built"


def training(content: dict[str, Any]) -> dict[str, Any]:
    """The settings of the pod that trains."""
    return content["steps"]["train"]["settings"]["step_operator.domainlm"]["pod_settings"]


def failed(project: ClusterProject, output: str, step: str) -> dict[str, Any]:
    """The manifest of a run that failed in a step; nothing of the run is at work any more."""
    run = run_id_of(output)
    assert at_work(pods_of(project.cluster, run)) == []
    manifest = project.manifest(run)
    assert manifest["status"] == "failed"
    assert manifest["failure"]["step"] == step, manifest["failure"]
    return manifest


def test_a_step_that_raises_ends_the_run_with_its_own_message(project: ClusterProject) -> None:
    def change(content: dict[str, Any]) -> None:
        content["steps"]["ingest"]["parameters"]["sources"][0]["uri"] = "domains/finance/nowhere.csv"

    output = project.run(project.configuration(change), code=1)
    failed(project, output, "ingest")
    assert "nowhere.csv" in output, output


def test_a_training_that_is_killed_for_memory_says_how_much_it_asked_and_which_key_to_raise(
    project: ClusterProject, completed: str
) -> None:
    def change(content: dict[str, Any]) -> None:
        training(content)["resources"] = {"requests": {"memory": "150Mi"}, "limits": {"memory": "150Mi"}}
        content["steps"]["train"]["parameters"]["seed"] = 1  # else it would come from the cache

    output = project.run(project.configuration(change), code=1)
    manifest = failed(project, output, "train")
    assert "OOMKilled" in output and "150Mi" in output, output
    assert "steps.train.settings.step_operator.domainlm.pod_settings.resources.limits.memory" in output, output
    [train] = [step for step in manifest["steps"] if step["name"] == "train"]
    assert "OOMKilled" in {place.get("reason") for place in train["places"]}


def test_an_image_that_is_nowhere_is_named(project: ClusterProject) -> None:
    output = project.run(project.small, code=1, DOMAINLM_IMAGE=ABSENT)
    assert ABSENT in output and ("ImagePull" in output or "ErrImage" in output), output
    run = run_id_of(output)
    assert at_work(pods_of(project.cluster, run)) == []
    assert project.manifest(run)["status"] == "failed"


def test_a_training_that_no_node_can_take_is_told_and_stopped(project: ClusterProject, completed: str) -> None:
    def change(content: dict[str, Any]) -> None:
        training(content)["resources"]["limits"][GPU] = str(most_gpus(project.cluster) + 1)
        content["steps"]["train"]["parameters"]["seed"] = 2

    output = project.run(project.configuration(change), "--wait-for-node", "10", code=1)
    failed(project, output, "train")
    assert "Unschedulable" in output and GPU in output, output


@pytest.mark.parametrize("quantity", ["lots", "16GB"])
def test_a_quantity_that_is_none_is_refused_before_anything_is_sent(project: ClusterProject, quantity: str) -> None:
    def change(content: dict[str, Any]) -> None:
        training(content)["resources"]["limits"]["memory"] = quantity

    before = {one["metadata"]["name"] for one in project.cluster.kubectl.objects("jobs")}
    output = project.run(project.configuration(change), code=1)
    assert quantity in output and "memory" in output, output
    assert {one["metadata"]["name"] for one in project.cluster.kubectl.objects("jobs")} == before


def most_gpus(cluster: Cluster) -> int:
    nodes = cluster.kubectl.objects("nodes")
    return max(int(one["status"]["allocatable"].get(GPU, "0")) for one in nodes)
