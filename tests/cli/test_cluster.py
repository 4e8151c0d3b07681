"""`domainlm cluster manifest` prints what would be created, and creates nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def printed(tmp_path: Path):
    """Runs the command in a process of its own and reads what it prints."""

    def run(*arguments: str) -> list[dict]:
        variables = {
            "DOMAINLM_IMAGE": "registry.bank.example/domainlm:0.1.0-cuda",
            "DOMAINLM_PROJECT": str(ROOT),
            "DOMAINLM_HOME": str(tmp_path / "home"),
            "PYTHONPATH": str(ROOT),
        }
        command = [sys.executable, "-m", "cli.main", "cluster", "manifest", *arguments]
        done = subprocess.run(
            command, cwd=ROOT, env=os.environ | variables, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stderr
        assert "&id" not in done.stdout  # YAML's anchors: nobody reviews those
        return list(yaml.safe_load_all(done.stdout))

    return run


def test_two_nodes_are_a_jobset_and_a_policy(printed) -> None:
    jobset, policy = printed("train", "-c", "configs/kubernetes-two-nodes.yaml", "-n", "domainlm-tina")
    assert (jobset["kind"], policy["kind"]) == ("JobSet", "NetworkPolicy")
    assert jobset["metadata"]["namespace"] == policy["metadata"]["namespace"] == "domainlm-tina"
    pods = [one["template"]["spec"]["template"]["spec"] for one in jobset["spec"]["replicatedJobs"]]
    for pod in pods:
        container = pod["containers"][0]
        assert container["resources"]["limits"]["nvidia.com/gpu"] == "8"
        assert container["image"] == "registry.bank.example/domainlm:0.1.0-cuda"
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert pod["securityContext"]["runAsNonRoot"] is True and pod["terminationGracePeriodSeconds"] == 300
    assert [pod["containers"][0]["command"][-1] for pod in pods] == [
        "zenml.entrypoints.entrypoint",
        "domainlm.train.processes.nodes",
    ]


def test_one_node_is_a_job(printed) -> None:
    one_node = ("--set", "steps.train.parameters.nodes=1")
    found = printed("train", "-c", "configs/kubernetes-two-nodes.yaml", *one_node)
    assert [one["kind"] for one in found] == ["Job"]


def test_ray_is_a_cluster_and_a_policy(printed) -> None:
    cluster, policy = printed("ray", "-c", "configs/kubernetes-ray.yaml")
    assert (cluster["kind"], policy["kind"]) == ("RayCluster", "NetworkPolicy")
    assert cluster["metadata"]["name"] == policy["metadata"]["name"] == "domainlm-ray"
    assert cluster["spec"]["workerGroupSpecs"][0]["replicas"] == 4
