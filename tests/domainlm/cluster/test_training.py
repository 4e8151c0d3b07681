"""What a training's pods must have, and the JobSet of several: what Kubernetes' own schema and JobSet's say of it, and
that the other nodes get no secret."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from domainlm.cluster import ray
from domainlm.cluster.training import (
    COMPONENT_LABEL,
    NAME_LABEL,
    SHM_BYTES_A_PROCESS,
    ClusterTraining,
    jobset,
    network_policy,
    pod_faults,
    without_nulls,
)
from domainlm.config import RunConfiguration
from domainlm.errors import ConfigurationError
from domainlm.train.settings import TrainSettings

ROOT = Path(__file__).resolve().parents[3]
KUBERNETES = "1.32"
TWO_NODES, RAY = ROOT / "configs" / "kubernetes-two-nodes.yaml", ROOT / "configs" / "kubernetes-ray.yaml"
POD = "steps.train.settings.step_operator.domainlm.pod_settings"

RESTRICTED = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
JOB = {
    "metadata": {
        "name": "0f3a-train-finetuning-pipeline-step-operator",
        "labels": {"step_run_id": "s1", "run_id": "r1", "step_name": "train"},
        "annotations": {"zenml.io/step-name": "train", "zenml.io/step-operator": "o1"},
        "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "launching", "uid": "u1"}],
    },
    "spec": {
        "backoffLimit": 0,
        "parallelism": 1,
        "ttlSecondsAfterFinished": 600,
        "activeDeadlineSeconds": 3600,
        "template": {
            "metadata": {"labels": {"run_id": "r1", "step_name": "train"}},
            "spec": {
                "restartPolicy": "Never",
                "serviceAccountName": "domainlm-step",
                "containers": [
                    {
                        "name": "main",
                        "image": "registry.bank.example/domainlm:0.1.0-cuda",
                        "command": ["python", "-m", "zenml.entrypoints.entrypoint"],
                        "args": ["--step_run_id", "s1"],
                        "env": [
                            {"name": "DOMAINLM_HOME", "value": "/var/lib/domainlm"},
                            {"name": "DOMAINLM_POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                            {"name": "DOMAINLM_KEY_FILE", "value": "/run/secrets/domainlm/key.json"},
                            {"name": "ZENML_STORE_URL", "value": "https://zenml.bank.example"},
                            {
                                "name": "ZENML_STORE_API_TOKEN",
                                "valueFrom": {"secretKeyRef": {"name": "zenml-token-1", "key": "token"}},
                            },
                            {"name": "AWS_SECRET_ACCESS_KEY", "value": "never here"},
                        ],
                        "envFrom": [{"secretRef": {"name": "domainlm-store"}}],
                        "securityContext": RESTRICTED | {"run_as_user": None},
                        "volumeMounts": [
                            {"name": name, "mountPath": f"/{name}"} for name in ("key", "home", "models", "shm")
                        ],
                    }
                ],
                "volumes": [
                    {"name": "key", "secret": {"secretName": "domainlm-key"}},
                    {"name": "home", "persistentVolumeClaim": {"claimName": "domainlm-state"}},
                    {"name": "models", "persistentVolumeClaim": {"claimName": "models"}},
                    {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "8Gi"}},
                ],
            },
        },
    },
}


def made(nodes: int = 3, **extra) -> tuple[dict, dict, dict]:
    """The JobSet, and the pods of node 0 and of the others."""
    found = jobset(JOB, ClusterTraining(**extra), nodes)
    return found, *(one["template"]["spec"]["template"]["spec"] for one in found["spec"]["replicatedJobs"])


def variables(pod: dict) -> dict[str, str | None]:
    return {one["name"]: one.get("value") for one in pod["containers"][0]["env"]}


def test_the_jobs_of_the_set_pass_the_schema_of_kubernetes() -> None:
    before = copy.deepcopy(JOB)
    found, *_ = made()
    assert before == JOB
    for one in found["spec"]["replicatedJobs"]:
        job = {"apiVersion": "batch/v1", "kind": "Job", **one["template"]}
        job["metadata"] = {"name": f"{found['metadata']['name']}-{one['name']}-0", **job["metadata"]}
        kubernetes_validate.validate(job, KUBERNETES, strict=True)
        assert one["template"]["spec"]["backoffLimit"] == 0 and one["template"]["spec"]["completionMode"] == "Indexed"
    assert [one["template"]["spec"]["completions"] for one in found["spec"]["replicatedJobs"]] == [1, 2]


def test_the_set_is_what_jobset_knows() -> None:
    """By hand, from the published definition of v1alpha2 (0.12): its names, and no others."""
    found, *_ = made(queue="training")
    assert (found["apiVersion"], found["kind"]) == ("jobset.x-k8s.io/v1alpha2", "JobSet")
    assert set(found["spec"]) == {
        "network", "successPolicy", "failurePolicy", "replicatedJobs", "ttlSecondsAfterFinished",
    }  # fmt: skip
    assert found["spec"]["successPolicy"] == {"operator": "All", "targetReplicatedJobs": ["leader"]}
    assert found["spec"]["failurePolicy"] == {"maxRestarts": 0}
    assert found["spec"]["ttlSecondsAfterFinished"] == 600
    for one in found["spec"]["replicatedJobs"]:
        assert set(one) == {"name", "replicas", "template"} and one["replicas"] == 1
        assert "ttlSecondsAfterFinished" not in one["template"]["spec"]
        assert one["template"]["spec"]["activeDeadlineSeconds"] == 3600
    assert found["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "training"
    assert found["metadata"]["ownerReferences"] == JOB["metadata"]["ownerReferences"]
    assert "kueue.x-k8s.io/queue-name" not in made()[0]["metadata"]["labels"]


def test_the_other_nodes_hold_no_secret() -> None:
    _, leader, worker = made()
    told = json.dumps(worker)
    for word in ("secret", "TOKEN", "AWS_", "KEY_FILE", "ZENML", "never here", "envFrom"):
        assert word not in told, word
    assert "zenml-token-1" in json.dumps(leader)
    assert worker["containers"][0]["command"] == ["python", "-m", "domainlm.train.processes.nodes"]
    assert "args" not in worker["containers"][0] and leader["containers"][0]["args"] == ["--step_run_id", "s1"]
    assert worker["automountServiceAccountToken"] is False
    assert {one["name"]: sorted(set(one) - {"name"}) for one in worker["volumes"]} == {
        "home": ["emptyDir"], "models": ["emptyDir"], "shm": ["emptyDir"],
    }  # fmt: skip
    assert [one["name"] for one in worker["containers"][0]["volumeMounts"]] == ["home", "models", "shm"]
    shared = made(shared_claims=("models",))[2]
    assert shared["volumes"][1] == {"name": "models", "persistentVolumeClaim": {"claimName": "models"}}
    for pod in (leader, worker):
        assert pod["containers"][0]["securityContext"] == RESTRICTED  # without ZenML's nulls


def test_the_nodes_find_each_other() -> None:
    found, leader, worker = made(environment={"NCCL_DEBUG": "WARN"}, port=29600, network_interface="net1")
    name = found["metadata"]["name"]
    assert found["spec"]["network"] == {
        "enableDNSHostnames": True, "publishNotReadyAddresses": True, "subdomain": name,
    }  # fmt: skip
    for pod in (leader, worker):
        told = variables(pod)
        assert told["MASTER_ADDR"] == f"{name}-leader-0-0.{name}" and told["MASTER_PORT"] == "29600"
        assert told["NCCL_SOCKET_IFNAME"] == told["GLOO_SOCKET_IFNAME"] == "net1"
        assert told["NCCL_DEBUG"] == "WARN"
    # the pods of a JobSet all have a completion index, of which node 0's would be taken for node 1's
    assert variables(leader)["DOMAINLM_NODE_RANK"] == "0"
    assert "DOMAINLM_NODE_RANK" not in variables(worker)
    assert "GLOO_SOCKET_IFNAME" not in variables(made(network_interface="")[1])


def test_a_step_stands_as_node_0_stands() -> None:
    found, *_ = made()
    leader, worker = (one["template"]["metadata"]["labels"] for one in found["spec"]["replicatedJobs"])
    assert leader["step_run_id"] == "s1" and "step_run_id" not in worker
    assert worker["run_id"] == "r1"
    told = [one["template"]["metadata"]["annotations"] for one in found["spec"]["replicatedJobs"]]
    assert told == [JOB["metadata"]["annotations"], {"zenml.io/step-name": "train"}]
    pods = [one["template"]["spec"]["template"]["metadata"]["labels"] for one in found["spec"]["replicatedJobs"]]
    assert all(labels[COMPONENT_LABEL] == "training" and labels["run_id"] == "r1" for labels in pods)


@pytest.mark.parametrize("nodes", [2, 11, 128])
def test_names_leave_room_for_jobsets_own(nodes) -> None:
    job = copy.deepcopy(JOB)
    job["metadata"]["name"] = "9" + "x" * 62
    name = jobset(job, ClusterTraining(), nodes)["metadata"]["name"]
    assert name[0].isalpha()
    assert max(len(f"{name}-leader-0-0"), len(f"{name}-worker-0-{nodes - 2}")) <= 63


def test_all_pods_may_be_kept_together() -> None:
    found, *pods = made(topology="topology.kubernetes.io/zone")
    for pod in pods:
        [term] = pod["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
        assert term["topologyKey"] == "topology.kubernetes.io/zone"
        assert term["labelSelector"]["matchLabels"] == {NAME_LABEL: found["metadata"]["name"]}
    assert "affinity" not in made()[1]


def test_a_pod_of_several_containers_is_refused() -> None:
    job = copy.deepcopy(JOB)
    job["spec"]["template"]["spec"]["containers"] *= 2
    with pytest.raises(ValueError, match="one container"):
        jobset(job, ClusterTraining(), 2)


@pytest.mark.parametrize("name", ["ZENML_STORE_API_TOKEN", "AWS_SECRET_ACCESS_KEY", "DOMAINLM_KEY_FILE", "A B", ""])
def test_no_secret_becomes_a_variable_of_all_nodes(name) -> None:
    with pytest.raises(ValueError, match="no variable of a training"):
        ClusterTraining(environment={name: "x"})


def test_nulls_go_and_what_is_false_or_empty_stays() -> None:
    assert without_nulls({"a": None, "b": False, "c": [{"d": None, "e": 0}], "f": ""}) == {
        "b": False, "c": [{"e": 0}], "f": "",
    }  # fmt: skip


# ---- what fits together


def pod(**changes) -> dict:
    """A pod of two GPUs as it should be, but for what changes."""
    found = {
        "resources": {"requests": {"cpu": "8"}, "limits": {"memory": "64Gi", "nvidia.com/gpu": "2"}},
        "volumes": [{"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "2Gi"}}],
        "volume_mounts": [{"name": "shm", "mountPath": "/dev/shm"}],
    }
    return found | changes


def faults(recipe: dict, found: dict) -> list[str]:
    settings = TrainSettings(**({"processes": 2, "threads": 4} | recipe))
    return [f"{'.'.join(map(str, where))}: {what}" for where, what in pod_faults(settings, found)]


def test_a_pod_that_fits_is_fine() -> None:
    assert faults({}, pod()) == []
    assert faults({"processes": 1}, {"resources": {"limits": {"nvidia.com/gpu": "1"}}}) == []
    assert faults({"processes": 1}, {}) == []


@pytest.mark.parametrize(
    ("recipe", "changes", "said"),
    [
        (
            {"processes": 1},
            {},
            "resources.limits.nvidia.com/gpu: the pod has 2, and steps.train.parameters.processes is 1",
        ),
        ({}, {"resources": {"limits": {"nvidia.com/gpu": "1"}}}, "the pod has 1"),
        ({"threads": 8}, {}, "resources.requests.cpu: 2 processes of 8 threads want 16, the pod has 8"),
        (
            {},
            {"resources": {"requests": {"cpu": "32"}, "limits": {"cpu": "4500m", "nvidia.com/gpu": "2"}}},
            "resources.limits.cpu: 2 processes of 4 threads want 8, the pod has 4500m",
        ),
        ({}, {"volume_mounts": []}, "volume_mounts: nothing is mounted at /dev/shm"),
        (
            {},
            {"volumes": [{"name": "shm", "emptyDir": {}}]},
            "volumes.0: /dev/shm must be an emptyDir with medium: Memory",
        ),
        (
            {},
            {"volumes": [{"name": "shm", "persistentVolumeClaim": {"claimName": "x"}}]},
            "/dev/shm must be an emptyDir with medium: Memory",
        ),
        (
            {},
            {"volumes": [{"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "512Mi"}}]},
            "volumes.0.emptyDir.sizeLimit: is 512Mi; 2 processes want 2Gi at /dev/shm",
        ),
        ({}, {"volumes": [{"name": "shm", "emptyDir": {"medium": "Memory"}}]}, "is without limit"),
        (
            {},
            {"resources": {"limits": {"memory": "2Gi", "nvidia.com/gpu": "2"}}},
            "resources.limits.memory: is 2Gi, and /dev/shm alone may take 2Gi of it",
        ),
    ],
)
def test_a_pod_that_cannot_run_its_processes_is_named(recipe, changes, said) -> None:
    [fault] = faults(recipe, pod(**changes))
    assert said in fault
    assert SHM_BYTES_A_PROCESS == 1 << 30


def load(path: Path, *overrides: str) -> dict:
    return RunConfiguration.load(path, list(overrides)).content


@pytest.fixture
def image(monkeypatch) -> None:
    monkeypatch.setenv("DOMAINLM_IMAGE", "registry.bank.example/domainlm:0.1.0-cuda")


@pytest.mark.parametrize(
    ("path", "override", "said"),
    [
        (TWO_NODES, "parameters.controls=true", "parameters.controls: must be false: a control repeats the recipe"),
        (
            TWO_NODES,
            "steps.train.parameters.strategy=ray",
            "steps.train.parameters.strategy: the pods meet by torchrun",
        ),
        (TWO_NODES, "steps.train.parameters.processes=4", "the pod has 8"),
        (TWO_NODES, "steps.train.extra.training.queu=x", "did you mean 'queue'?"),
        (TWO_NODES, "steps.train.extra.training.port=80", "steps.train.extra.training.port"),
        (RAY, "steps.redact.parameters.engine=local", "must be ray: there is a Ray cluster for it"),
        (RAY, "steps.redact.parameters.processes=17", "17 tasks want a core each, and 4 workers have 4 each"),
        (RAY, "steps.redact.extra.ray.spill=much", "steps.redact.extra.ray.spill: is no quantity"),
        (RAY, "steps.redact.extra.ray.object_store=5Gi", "is more than half of memory (8Gi)"),
        (RAY, "steps.redact.extra.ray.worker=4", "did you mean 'workers'?"),
    ],
)
def test_a_configuration_that_does_not_fit_together_is_refused(path, override, said, image) -> None:
    with pytest.raises(ConfigurationError) as raised:
        load(path, override)
    assert said in str(raised.value)


def test_one_node_of_the_same_configuration_is_a_plain_job(image) -> None:
    load(TWO_NODES, "steps.train.parameters.nodes=1")


def test_a_control_that_would_start_its_processes_in_a_small_pod_is_refused(image) -> None:
    with pytest.raises(ConfigurationError, match="a control repeats the recipe of train"):
        load(TWO_NODES, "steps.train.parameters.nodes=1", "parameters.controls=true")


# ---- the policies


def test_the_policy_that_is_printed_is_the_one_that_is_installed() -> None:
    path = ROOT / "infra" / "kubernetes" / "components" / "many-nodes" / "jobsets.yaml"
    role, _, installed = list(yaml.safe_load_all(path.read_text(encoding="utf-8")))
    printed = network_policy("domainlm", {})
    assert installed["spec"] == printed["spec"]
    assert installed["metadata"]["name"] == printed["metadata"]["name"]
    assert role["rules"] == [
        {"apiGroups": ["jobset.x-k8s.io"], "resources": ["jobsets"], "verbs": ["create", "list", "delete"]}
    ]
    for one in yaml.safe_load_all(path.read_text(encoding="utf-8")):
        kubernetes_validate.validate(one, KUBERNETES, strict=True)


# ---- Ray


STEP_POD = {
    "metadata": {"labels": {COMPONENT_LABEL: "step", "domainlm.dev/tenant": "default"}},
    "spec": copy.deepcopy(JOB["spec"]["template"]["spec"]),
}


def cluster(**changes) -> dict:
    settings = ray.RayClusterSettings(**{"workers": 2, "cpus": 4, "memory": "8Gi"} | changes)
    return ray.raycluster(STEP_POD, settings, "domainlm")


def groups(found: dict) -> list[dict]:
    return [found["spec"]["headGroupSpec"], *found["spec"]["workerGroupSpecs"]]


def test_the_pods_of_a_ray_cluster_pass_the_schema_and_keep_the_steps_security() -> None:
    for group in groups(cluster()):
        template = group["template"]
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x", **template["metadata"]}}
        kubernetes_validate.validate(pod | {"spec": template["spec"]}, KUBERNETES, strict=True)
        container = template["spec"]["containers"][0]
        assert container["securityContext"] == RESTRICTED
        assert "command" not in container and "args" not in container  # KubeRay's
        assert container["resources"]["limits"] == container["resources"]["requests"]
        assert template["spec"]["automountServiceAccountToken"] is False
        assert template["metadata"]["labels"][COMPONENT_LABEL] == "step"


def test_strangers_are_kept_out_of_ray_and_nothing_of_it_stays() -> None:
    found = cluster(object_store="2Gi", spill="5Gi")
    assert found["spec"]["authOptions"] == {"mode": "token"}
    assert found["spec"]["headGroupSpec"]["rayStartParams"]["dashboard-host"] == "127.0.0.1"
    assert found["spec"]["headGroupSpec"]["serviceType"] == "ClusterIP"
    for group in groups(found):
        parameters, spec = group["rayStartParams"], group["template"]["spec"]
        mounts = {one["mountPath"]: one["name"] for one in spec["containers"][0]["volumeMounts"]}
        volumes = {one["name"]: one.get("emptyDir") for one in spec["volumes"]}
        assert volumes[mounts[parameters["object-spilling-directory"]]] == {"sizeLimit": "5Gi"}
        assert volumes[mounts["/dev/shm"]] == {"medium": "Memory", "sizeLimit": "2Gi"}
        assert int(parameters["object-store-memory"]) < 2 << 30
        assert all(isinstance(value, str) for value in parameters.values())  # the CRD's type
        probe = spec["containers"][0]["readinessProbe"]["tcpSocket"]["port"]
        assert probe == (6379 if group is found["spec"]["headGroupSpec"] else int(parameters["node-manager-port"]))
    assert found["spec"]["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"


def test_the_step_of_the_example_drives_the_cluster_of_the_example(image) -> None:
    step = load(RAY)["steps"]["redact"]
    settings = ray.RayClusterSettings(**step["extra"]["ray"])
    env = step["settings"]["orchestrator.kubernetes"]["pod_settings"]["env"]
    for wanted in ray.driver_variables(settings):
        assert wanted in env
    # the cluster's own pods get address and token from KubeRay
    pod = {"metadata": {}, "spec": {"containers": [{"name": "main", "env": env}]}}
    names = {one["name"] for one in ray._template(pod, settings, "1Gi", "1", 1)["spec"]["containers"][0]["env"]}
    assert not names & {one["name"] for one in ray.driver_variables(settings)}


def test_only_steps_reach_the_ray_cluster() -> None:
    policy = ray.network_policy(ray.RayClusterSettings(workers=1, cpus=1, memory="4Gi"), "domainlm", {})
    kubernetes_validate.validate(policy, KUBERNETES, strict=True)
    step = {"podSelector": {"matchLabels": {COMPONENT_LABEL: "step"}}}
    assert policy["spec"]["ingress"] == [{"from": [step]}] and policy["spec"]["egress"] == [{"to": [step]}]
