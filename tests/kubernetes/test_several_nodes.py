"""A training of two nodes in the whole DAG, where the cluster has JobSet; the other node knows no secret."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from cluster_commands import ClusterProject, at_work, pods_of, run_id_of
from real_cluster import Cluster

COMPONENT = Path(__file__).resolve().parents[2] / "infra" / "kubernetes" / "components" / "many-nodes" / "jobsets.yaml"


@pytest.fixture(scope="module")
def allowed(cluster: Cluster) -> None:
    """The component of infra/kubernetes that several nodes need, in the tests' namespace."""
    if "jobsets" not in cluster.kubectl.text("api-resources", "--api-group=jobset.x-k8s.io", "-o", "name"):
        pytest.skip("JobSet is not installed on this cluster")
    for one in yaml.safe_load_all(COMPONENT.read_text(encoding="utf-8")):
        one["metadata"]["namespace"] = cluster.namespace
        for subject in one.get("subjects", ()):
            subject["namespace"] = cluster.namespace
        cluster.kubectl.apply(one)


def two_nodes(content: dict[str, Any]) -> None:
    content["parameters"]["controls"] = False
    train = content["steps"]["train"]
    train["parameters"] |= {"nodes": 2, "processes": 1, "strategy": "ddp", "threads": 1}
    train["extra"] = {"training": {"wait_s": 600}}


def test_two_nodes_train_in_the_dag_and_one_of_them_holds_no_secret(
    project: ClusterProject, cluster: Cluster, allowed: None
) -> None:
    output = project.run(project.configuration(two_nodes))
    run = run_id_of(output)
    manifest = project.manifest(run)
    assert manifest["status"] == "completed"
    (jobset,) = cluster.kubectl.objects("jobsets.jobset.x-k8s.io", f"run_id={run}")
    assert [one["kind"] for one in jobset["metadata"]["ownerReferences"]] == ["Pod"]
    pods = pods_of(cluster, run, "train")
    nodes = {
        kind: [one for one in pods if one["metadata"]["labels"].get("jobset.sigs.k8s.io/replicatedjob-name") == kind]
        for kind in ("leader", "worker")
    }
    assert [len(found) for found in nodes.values()] == [1, 1] and len(pods) == 3  # one launches
    told = json.dumps(nodes["worker"][0]["spec"])
    assert "secret" not in told.lower() and "ZENML" not in told
    [train] = [step for step in manifest["steps"] if step["name"] == "train"]
    assert nodes["leader"][0]["metadata"]["name"] in {place["pod"] for place in train["places"]}
    assert at_work(pods) == []
