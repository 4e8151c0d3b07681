"""What a person is told of a pod, from what a real API server answered (Kubernetes 1.32, `recorded.json`)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from domainlm.cluster import reasons
from domainlm.cluster.pods import by_operator
from domainlm.cluster.reasons import Keys, Reason

RECORDED = json.loads((Path(__file__).parent / "recorded.json").read_text())
JOBS = {job["metadata"]["name"]: job for job in RECORDED["jobs"]}


def pod_of(job: str, index: int = 0) -> dict:
    return [pod for pod in RECORDED["pods"] if pod["metadata"]["labels"]["job-name"] == job][index]


def keys_of(job: str) -> Keys:
    step = JOBS[job]["metadata"]["annotations"]["zenml.io/step-name"]
    return Keys(step, by_operator(JOBS[job]))


def told(job: str, nodes: list | None = RECORDED["nodes"]) -> Reason | None:
    return reasons.of_pod(pod_of(job), keys_of(job), RECORDED["events"], nodes)


def test_out_of_memory_names_what_was_asked_and_the_key_to_raise() -> None:
    assert str(told("oom")) == (
        "OOMKilled: asked 32Mi, and needed more memory\n"
        "  -> raise steps.train.settings.step_operator.domainlm.pod_settings.resources.limits.memory"
    )


def test_the_key_is_the_steps_own() -> None:
    pod, memory = pod_of("oom"), "pod_settings.resources.limits.memory"
    assert (
        reasons.of_pod(pod, Keys("prepare")).remedy == f"raise steps.prepare.settings.orchestrator.kubernetes.{memory}"
    )
    assert reasons.of_pod(pod, Keys("")).remedy == f"raise settings.orchestrator.kubernetes.orchestrator_{memory}"


def test_a_process_that_was_killed_was_not_out_of_its_own_memory() -> None:
    found = told("killed")
    assert found.code == "Killed" and "exit 137, but not by its own memory limit" in found.what


@pytest.mark.parametrize(
    ("job", "code", "words"),
    [
        (
            "pull",
            "ImagePullBackOff",
            "the image registry.invalid/domainlm:9.9.9-cpu cannot be had: the node cannot resolve",
        ),
        ("badname", "InvalidImageName", "'registry.bank.example/Domainlm::x' is no image name"),
        ("noconfig", "CreateContainerConfigError", "the secret 'zenml-token-x' is missing"),
        ("nomount", "FailedMount", "the secret 'domainlm-key' is missing"),
        ("gpu", "Unschedulable", "no node with nvidia.com/gpu"),
        ("memory", "Unschedulable", "no node with 64Gi memory: the largest has 15.1Gi"),
        ("cpus", "Unschedulable", "no node with 64 cpu: the largest has 4"),
        ("selector", "Unschedulable", "no node has the labels that were asked (accelerator=h100)"),
        ("claim", "Unschedulable", "the volume claim 'domainlm-state' is missing"),
        ("evicted", "Evicted", "the volume 'scratch' grew over its limit of 8Mi"),
        ("start", "StartError", "the image has no 'python'"),
        ("drain", "Evicted", "its node is being drained, or somebody evicted it (EvictionByEvictionAPI, node node1)"),
        ("failed", "Error", "exit 1"),
    ],
)
def test_each_pod_says_why(job: str, code: str, words: str) -> None:
    found = told(job)
    assert found.code == code
    assert words in found.what
    assert found.pod == pod_of(job)["metadata"]["name"]
    assert found.remedy or code == "Error"  # what a program of ours says itself is in its log


def test_a_pod_that_works_or_has_worked_has_nothing_to_say() -> None:
    assert told("running") is None
    assert told("done") is None


@pytest.mark.parametrize(
    ("job", "code", "words", "remedy"),
    [
        ("deadline", "DeadlineExceeded", "did not end within 3 s", "orchestrator.kubernetes.active_deadline_seconds"),
        ("quota", "QuotaExceeded", "requested: requests.memory=128Mi", "resources"),
        ("policy", "AdmissionRefused", "runAsNonRoot != true", "container_security_context"),
        ("account", "NoServiceAccount", "'domainlm-step' is missing", "infra/kubernetes"),
    ],
)
def test_a_job_says_why_it_has_no_pod(job: str, code: str, words: str, remedy: str) -> None:
    found = reasons.of_job(JOBS[job], keys_of(job), RECORDED["events"])
    assert found.code == code
    assert words in found.what
    assert remedy in found.remedy


def test_a_job_whose_pods_tell_for_themselves_says_nothing() -> None:
    assert reasons.of_job(JOBS["oom"], keys_of("oom"), RECORDED["events"]) is None
    assert reasons.of_job(JOBS["running"], keys_of("running"), RECORDED["events"]) is None


def test_events_of_another_jobs_pod_are_not_taken() -> None:
    assert reasons.of_job(JOBS["running"], keys_of("quota"), RECORDED["events"]) is None
    assert reasons.of_pod(pod_of("nomount"), keys_of("nomount"), []) is None


@pytest.mark.parametrize(
    ("job", "code"),
    [
        ("pull", "ErrImagePull"),
        ("badname", "InvalidImageName"),
        ("noconfig", "CreateContainerConfigError"),
        ("gpu", "Unschedulable"),
    ],
)
def test_events_tell_of_a_job_that_was_deleted_before_anybody_looked(job: str, code: str) -> None:
    found = reasons.of_job_gone(JOBS[job], RECORDED["events"], keys_of(job))
    assert found.code == code
    assert found.what == told(job, nodes=None).what


def test_without_the_right_to_list_nodes_there_is_less_to_say_but_no_error() -> None:
    assert told("memory", nodes=None).what == "no node with 64Gi memory free"
    assert told("gpu", nodes=None).what == "no node with 1 nvidia.com/gpu free"


def test_room_that_others_hold_is_not_called_missing() -> None:
    node = {"metadata": {"name": "gpu1"}, "status": {"allocatable": {"nvidia.com/gpu": "8"}}}
    assert told("gpu", nodes=[node]).what == "no node with 1 nvidia.com/gpu free now: the largest has 8 in all"


def pending(message: str) -> dict:
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    return {
        "metadata": {"name": "p", "uid": "u"},
        "spec": {"containers": [{"name": "main", "resources": {"requests": {"memory": "4Gi", "nvidia.com/gpu": "1"}}}]},
        "status": {"phase": "Pending", "conditions": [condition]},
    }


def test_several_causes_are_all_told() -> None:
    found = reasons.of_pod(
        pending(
            "0/3 nodes are available: 1 node(s) had untolerated taint {domainlm.dev/try: x}, 2 Insufficient memory, "
            "2 Insufficient nvidia.com/gpu. preemption: 0/3 nodes are available: 3 Preemption is not helpful."
        ),
        Keys("train", True),
    )
    assert "a node has the taint domainlm.dev/try: x, which the pod does not tolerate" in found.what
    assert "no node with 4Gi memory free" in found.what
    assert "no node with 1 nvidia.com/gpu free" in found.what
    assert "steps.train.settings.step_operator.domainlm.pod_settings.tolerations" in found.remedy


def test_a_message_that_nobody_foresaw_is_shown_as_it_is() -> None:
    assert reasons.of_pod(pending("0/1 nodes are available: 1 something new."), Keys("train")).what == "1 something new"


def failed(reason: str = "", message: str = "", conditions: list | None = None) -> dict:
    return {
        "metadata": {"name": "p", "uid": "u"},
        "spec": {
            "nodeName": "node7",
            "containers": [{"name": "main", "image": "i", "resources": {"requests": {"memory": "400Mi"}}}],
        },
        "status": {"phase": "Failed", "reason": reason, "message": message, "conditions": conditions or []},
    }


def test_memory_and_disk_pressure_of_the_node_are_told_apart() -> None:
    # the kubelet's own words: pkg/kubelet/eviction/helpers.go
    memory = failed("Evicted", "The node was low on resource: memory. Threshold quantity: 100Mi, available: 50Mi. "
                    "Container main was using 3Gi, request is 400Mi, has larger consumption of memory. ")  # fmt: skip
    found = reasons.of_pod(memory, Keys("train"))
    assert found.what == "the node node7 ran low on memory; the container used 3Gi, asked 400Mi"
    assert "resources.requests.memory" in found.remedy
    disk = failed("Evicted", "Pod ephemeral local storage usage exceeds the total limit of containers 1Gi. ")
    found = reasons.of_pod(disk, Keys("train"))
    assert "exceeds the total limit of containers 1Gi" in found.what and "limits.ephemeral-storage" in found.remedy


@pytest.mark.parametrize("reason", ["DeletionByTaintManager", "DeletionByPodGC"])
def test_a_lost_node_is_named(reason: str) -> None:
    condition = {"type": "DisruptionTarget", "status": "True", "reason": reason, "message": "..."}
    found = reasons.of_pod(failed(conditions=[condition]), Keys("train"))
    assert found.code == "NodeLost" and "node7" in found.what
