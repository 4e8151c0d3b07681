"""What happens to a run when something happens to its pods: it goes on, or it ends as it was told to."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from cluster_commands import ClusterProject, Command, at_work, pods_of, run_id_of, running
from real_cluster import Cluster, make_secret

ORCHESTRATOR = "app.kubernetes.io/component=orchestrator"
LATE_S = 5
GLOSSARY = "term,QA_text\nbond,##Question: What is a bond?\\n##Answer: A loan that can be sold.\n"


def late_source(project: ClusterProject, uri: str) -> Path:
    """A configuration with one source more, which lies at an URI of the store."""
    make_secret(project.cluster, "domainlm-store", project.cluster.store_access())

    def change(content: dict[str, Any]) -> None:
        sources = content["steps"]["ingest"]["parameters"]["sources"]
        sources.append(sources[0] | {"name": "late", "uri": uri, "limit": 10})
        access = [{"secretRef": {"name": "domainlm-store"}}]
        for step in ("ingest", "redact"):
            settings = content["steps"].setdefault(step, {}).setdefault("settings", {})
            settings.setdefault("orchestrator.kubernetes", {}).setdefault("pod_settings", {})["env_from"] = access

    return project.configuration(change)


def begun(project: ClusterProject, step: str = "ingest") -> tuple[Command, str]:
    """A run of which a step's pod is at work; what can be cached is."""
    command = project.begin_run(project.small)
    run = command.run_id()
    command.until(lambda: running(pods_of(project.cluster, run, step)), f"no pod of {step} runs")
    return command, run


def tokens(cluster: Cluster) -> set[str]:
    """The Secrets that hold a run's token for ZenML's server."""
    names = {one["metadata"]["name"] for one in cluster.kubectl.objects("secrets")}
    return {name for name in names if name.startswith("zenml-token")}


def orchestrators(cluster: Cluster, run: str) -> list[dict[str, Any]]:
    """The pods that start the steps of a run; an operator step's launching pod has the same component, and a step."""
    found = cluster.kubectl.objects("pods", f"run_id={run},{ORCHESTRATOR}")
    return [one for one in found if "step_name" not in one["metadata"]["labels"]]


def test_a_step_that_fails_is_tried_again_in_a_new_pod(project: ClusterProject, completed: str) -> None:
    """Its source is not there at first. The test puts it there when the first pod has failed.

    What comes after is no matter of this test, and would all be computed anew: the run is stopped.
    """
    name = f"late-{time.time_ns()}.csv"
    uri = project.cluster.uri_of(name)
    command = project.begin_run(late_source(project, uri), "--on-interrupt", "stop")
    run = command.run_id()

    def phases() -> list[str]:
        return [one["status"]["phase"] for one in pods_of(project.cluster, run, "ingest")]

    command.until(lambda: "Failed" in phases(), "the first pod of ingest did not fail")
    project.cluster.put(name, GLOSSARY)
    command.until(lambda: phases() == ["Failed", "Succeeded"], "no second pod of ingest went through")
    command.interrupt()
    command.end(1)
    [step] = [one for one in project.manifest(run)["steps"] if one["name"] == "ingest"]
    assert step["status"] == "completed" and len(step["places"]) == 2, step["places"]


def test_a_run_goes_on_when_its_orchestrators_pod_is_deleted(project: ClusterProject, completed: str) -> None:
    command, run = begun(project)
    [first] = orchestrators(project.cluster, run)
    # with its usual time of grace it may come to the end of a run that the cache serves
    project.cluster.kubectl.text("delete", "pod", first["metadata"]["name"], "--wait=false", "--grace-period=1")
    command.end(0)
    names = {one["metadata"]["name"] for one in orchestrators(project.cluster, run)}
    assert names - {first["metadata"]["name"]}, "no other pod took its place"
    assert project.manifest(run)["status"] == "completed"


def test_a_run_goes_on_when_its_node_is_drained(project: ClusterProject, completed: str, may_drain: None) -> None:
    """All its pods are evicted while no node takes new ones; a little later a node does."""
    command, run = begun(project)
    kubectl = project.cluster.kubectl
    nodes = {one["spec"]["nodeName"] for one in pods_of(project.cluster, run) if one["spec"].get("nodeName")}
    evicted = set(at_work(pods_of(project.cluster, run)))
    try:
        for node in nodes:
            kubectl.text(
                "drain", node, f"--pod-selector=run_id={run}", "--ignore-daemonsets", "--delete-emptydir-data",
                "--force", "--timeout=120s", timeout_s=150,
            )  # fmt: skip
        time.sleep(LATE_S)
    finally:
        for node in nodes:
            kubectl.text("uncordon", node)
    command.end(0)
    assert len(evicted) >= 2, "the orchestrator and a step"
    names = {one["metadata"]["name"] for one in pods_of(project.cluster, run) if one["status"]["phase"] == "Succeeded"}
    assert names and not names & evicted
    assert project.manifest(run)["status"] == "completed"


def test_a_cancelled_run_leaves_no_pod_no_job_and_no_token(project: ClusterProject, completed: str) -> None:
    before = tokens(project.cluster)
    command = project.begin_run(project.small, "--on-interrupt", "stop")
    run = command.run_id()
    command.until(lambda: running(pods_of(project.cluster, run, "ingest")), "no pod of ingest runs")
    assert tokens(project.cluster) - before, "the run's token lies in a Secret while it works"
    command.interrupt()
    output = command.end(1)
    assert pods_of(project.cluster, run) == [], output
    assert project.cluster.kubectl.objects("jobs", f"run_id={run}") == []
    assert tokens(project.cluster) <= before
    assert project.manifest(run)["status"] != "completed"


def test_a_cancelled_training_leaves_no_pod_of_the_step_operator(project: ClusterProject, completed: str) -> None:
    """ZenML deletes one Job a step; a step on the operator has two."""

    def change(content: dict[str, Any]) -> None:
        content["steps"]["train"]["parameters"] |= {"seed": 3, "max_steps": 100_000}

    command = project.begin_run(project.configuration(change), "--on-interrupt", "stop")
    run = command.run_id()
    command.until(lambda: len(running(pods_of(project.cluster, run, "train"))) == 2, "no training runs", timeout_s=600)
    command.interrupt()
    output = command.end(1)
    assert pods_of(project.cluster, run) == [], output
    assert project.cluster.kubectl.objects("jobs", f"run_id={run}") == []


def test_a_second_run_is_served_by_the_cache(project: ClusterProject, completed: str) -> None:
    output = project.run(project.small)
    steps = {step["name"]: step["cached"] for step in project.manifest(run_id_of(output))["steps"]}
    assert {name for name, cached in steps.items() if not cached} <= {"ingest", "base_ingest", "register", "record"}
    assert steps["train"] and steps["pretrain"]
    trained = pods_of(project.cluster, run_id_of(output), "train")
    assert trained == [], "a step from the cache needs no pod"


def test_two_runs_at_the_same_time_do_not_mix(project: ClusterProject, completed: str) -> None:
    both = [project.begin_run(project.small) for _ in range(2)]
    runs = [run_id_of(command.end(0)) for command in both]
    assert len(set(runs)) == 2
    for run in runs:
        manifest = project.manifest(run)
        assert manifest["run_id"] == run and manifest["status"] == "completed"
        pods = {place["pod"] for step in manifest["steps"] if not step["cached"] for place in step["places"]}
        assert pods <= {one["metadata"]["name"] for one in pods_of(project.cluster, run)}
