"""What is kept of a run's pods, from what a real API server answered."""

from __future__ import annotations

import copy
import json
from pathlib import Path

from domainlm.cluster import pods
from domainlm.cluster.pods import facts_of

RECORDED = json.loads((Path(__file__).parent / "recorded.json").read_text())


def test_what_is_kept_of_a_pod_that_ended() -> None:
    found = {
        fact.pod.rpartition("-")[0]: fact
        for facts in facts_of(RECORDED["jobs"], RECORDED["pods"]).values()
        for fact in facts
    }
    oom = found["oom"]
    assert (oom.step, oom.node, oom.phase, oom.reason) == ("train", "node1", "Failed", "OOMKilled")
    assert (oom.started, oom.ended) == ("2026-11-21T14:03:54Z", "2026-11-21T14:03:54Z")
    assert oom.image == "localhost/busybox:1"
    assert oom.image_digest == "sha256:5279c0dc26ec4f57e37b9d88e64d699ef232fd018b13a7927a6a1204ddcbcda1"
    gpu = found["gpu"]
    assert (gpu.node, gpu.phase, gpu.image_digest, gpu.started) == ("", "Pending", "", "")
    assert found["evicted"].reason == "Evicted", "what the node says of the pod, not the exit code of what it killed"
    assert found["pull"].reason == "ImagePullBackOff"


def test_a_digest_from_a_registry_loses_the_name() -> None:
    pod = copy.deepcopy(RECORDED["pods"][0])
    pod["status"]["containerStatuses"] = [
        {"name": "main", "imageID": "registry.bank.example/domainlm@sha256:ab", "state": {}}
    ]
    assert pods.fact("train", pod).image_digest == "sha256:ab"


def test_pods_before_it_are_counted_as_restarts() -> None:
    first, second = facts_of(RECORDED["jobs"], RECORDED["pods"])["validate"]
    assert (first.restarts, second.restarts) == (0, 1)
    assert first.started < second.started


def test_pods_that_work_side_by_side_are_no_restarts_of_each_other() -> None:
    oom = next(pod for pod in RECORDED["pods"] if pods.job_of(pod) == "oom")
    found = [copy.deepcopy(oom) for _ in range(3)]
    for index, pod in enumerate(found):
        pod["metadata"]["labels"][pods.INDEX_LABEL] = str(min(index, 1))
    (step,) = facts_of(RECORDED["jobs"], found).values()
    assert [fact.restarts for fact in step] == [0, 0, 1]


def test_the_operators_pod_comes_after_the_one_that_launched_it() -> None:
    launcher = next(job for job in RECORDED["jobs"] if job["metadata"]["name"] == "running")
    trainer = next(job for job in RECORDED["jobs"] if job["metadata"]["name"] == "oom")
    launcher["metadata"]["annotations"]["zenml.io/step-name"] = "train"
    ones = [pod for pod in RECORDED["pods"] if pods.job_of(pod) in ("running", "oom")]
    assert [fact.pod.rpartition("-")[0] for fact in facts_of([trainer, launcher], ones)["train"]] == ["running", "oom"]


def test_the_orchestrators_pod_is_no_steps() -> None:
    job = copy.deepcopy(RECORDED["jobs"][5])
    job["metadata"]["annotations"] = {"zenml.io/orchestrator": "x"}
    own = [pod for pod in RECORDED["pods"] if pods.job_of(pod) == job["metadata"]["name"]]
    assert facts_of([job], own) == {}
    assert own or not RECORDED["pods"]


def test_only_the_runs_own_token_is_swept_away() -> None:
    job = next(job for job in RECORDED["jobs"] if job["metadata"]["name"] == "noconfig")
    assert pods.token_secrets([job, *RECORDED["jobs"]]) == ["zenml-token-x"]


def test_events_that_outlive_a_pod_belong_to_its_job() -> None:
    def event(name: str, uid: str) -> dict:
        return {"involvedObject": {"name": name, "uid": uid}}

    assert pods._concerns(event("train-abc12", "gone"), set(), ("train",))
    assert pods._concerns(event("other", "u1"), {"u1"}, ("train",))
    assert not pods._concerns(event("training-abc12", "gone"), set(), ("train",))


def test_a_schedules_orchestrator_is_found_by_what_it_owns() -> None:
    def owned(*kinds: str) -> dict:
        return {"metadata": {"ownerReferences": [{"kind": kind, "name": f"the-{kind.lower()}"} for kind in kinds]}}

    assert pods.owners([owned("Job"), owned("Pod", "Job"), {"metadata": {}}]) == ["the-job"]
