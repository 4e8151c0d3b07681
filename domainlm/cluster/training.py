"""A training over several GPUs of one pod, or over several pods: what fits together, and the object that starts it.

Several pods are one JobSet (`jobset.x-k8s.io/v1alpha2`, https://github.com/kubernetes-sigs/jobset; checked against the
CRD of 0.12): `leader` is the very Job that the step operator would have made, `worker` one Indexed Job of the other
nodes. JobSet gives them names (a headless service), ends all when one fails, and Kueue admits it as a whole or not at
all. docs/many-gpus.md says why it is JobSet and not PyTorchJob or TrainJob.

The other nodes run `python -m domainlm.train.processes.nodes`, get everything from node 0, and therefore hold no
secret: no key, no token, no credentials of the store. What they may keep of node 0's pod is listed here, not what they
may not.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from pydantic import Field, field_validator

from domainlm.cluster.pods import OPERATOR_ANNOTATION
from domainlm.cluster.quantities import amount
from domainlm.cluster.run_settings import OPERATOR, laid_over
from domainlm.reports import Settings
from domainlm.yaml_lines import Fault, model_faults

GROUP, VERSION, PLURAL, KIND = "jobset.x-k8s.io", "v1alpha2", "jobsets", "JobSet"
LEADER, WORKER = "leader", "worker"
NAME_LABEL = "jobset.sigs.k8s.io/jobset-name"  # JobSet puts it on its Jobs and pods
QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
COMPONENT_LABEL, TRAINING = "app.kubernetes.io/component", "training"
STEP_RUN_LABEL = "step_run_id"  # ZenML's: the Job that has it decides how the step stands
EXTRA = "training"  # steps.train.extra.training
GPU, SHM = "nvidia.com/gpu", "/dev/shm"
# NVIDIA's NCCL guide, "Shared memory": containers want --shm-size=1g at the least. A GiB for each process is a rule of
# thumb that follows it; loaders and NCCL's channels between n processes share it. Not measured by us.
SHM_BYTES_A_PROCESS = 1 << 30
NODE_COMMAND = ["python", "-m", "domainlm.train.processes.nodes"]
# of node 0's variables, those that a training's processes read; neither keys nor tokens begin so
WORKER_VARIABLES = re.compile(
    r"HOME|TMPDIR|PATH|LANG|LC_\w+|PYTHON\w*|OMP_\w+|MKL_\w+|NCCL_\w+|GLOO_\w+|TORCH\w*|CUDA_\w+|NVIDIA_\w+|HF_HOME"
    r"|HF_HUB_OFFLINE|TOKENIZERS_PARALLELISM|XDG_\w+|MPLCONFIGDIR|MASTER_(ADDR|PORT)"
    r"|DOMAINLM_(HOME|PROJECT|PLACE|POD|POD_UID|NODE|NAMESPACE|IMAGE|NODES_WAIT_S)"
)
_VARIABLE = re.compile(r"[A-Za-z_]\w*")
_LONGEST_NAME = 63  # of a pod's host name (RFC 1123), which JobSet makes of four parts

Object = dict[str, Any]
Place = tuple[str | int, ...]


class ClusterTraining(Settings):
    """What a training over several pods asks of the cluster besides each pod's own settings.

    How many pods there are, and how many processes each has, is the recipe's: `nodes` and `processes`.
    """

    queue: str = Field(
        default="",
        pattern=r"^([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)?$",
        description="a Kueue LocalQueue: all pods start together or none; empty: each when there is room for it",
    )
    topology: str = Field(
        default="", description="a label of nodes, such as topology.kubernetes.io/zone: all pods where its value is one"
    )
    shared_claims: tuple[str, ...] = Field(
        default=(),
        description="claims that pods on several nodes can mount at once (ReadWriteMany, ReadOnlyMany); the other nodes"
        " get an empty folder in place of any other claim",
    )
    network_interface: str = Field(
        default="eth0", description="the pods' network interface, for gloo and NCCL; empty: theirs to find"
    )
    port: int = Field(default=29500, ge=1024, le=65534, description="of node 0; the next one is used too")
    wait_s: int = Field(default=1800, ge=10, description="seconds that pods wait for each other to start")
    environment: dict[str, str] = Field(
        default_factory=dict, description="variables of all nodes, such as NCCL_DEBUG: WARN; never secrets"
    )

    @field_validator("environment")
    @classmethod
    def _of_a_training(cls, value: dict[str, str]) -> dict[str, str]:
        for name in value:
            if not _VARIABLE.fullmatch(name) or not WORKER_VARIABLES.fullmatch(name):
                raise ValueError(f"'{name}' is no variable of a training's processes (NCCL_*, GLOO_*, TORCH_*, CUDA_*)")
        return value


# ---- what fits together


def training_faults(content: Mapping[str, Any], train: Any) -> list[Fault]:
    """Why the training's pods, as configured, could not run its processes.

    Args:
        content: a run configuration whose keys are known to be right.
        train: its checked parameters of `train`: processes, nodes, strategy.
    """
    step = (content.get("steps") or {}).get("train") or {}
    where: Place = ("steps", "train")
    extra = (step.get("extra") or {}).get(EXTRA)
    faults = model_faults(ClusterTraining, extra, (*where, "extra", EXTRA)) if extra is not None else []
    if faults or not step.get("step_operator"):
        return faults
    merged = laid_over(content.get("settings") or {}, step.get("settings") or {})
    pod = (merged.get(OPERATOR) or {}).get("pod_settings") or {}
    place: Place = (*where, "settings", OPERATOR, "pod_settings")
    faults = [((*place, *at), what) for at, what in pod_faults(train, pod)]
    controls = (content.get("parameters") or {}).get("controls", True)
    if train.nodes == 1:
        apart = [f"control_{kind}" for kind in ("shuffled_labels", "from_scratch")]
        steps = content.get("steps") or {}
        if train.processes > 1 and controls and not all((steps.get(name) or {}).get("step_operator") for name in apart):
            told = f"a control repeats the recipe of train: give {' and '.join(apart)} its step_operator and settings"
            faults.append((("parameters", "controls"), f"{told}, or set it to false"))
        return faults
    if train.strategy == "ray":
        told = "the pods meet by torchrun: use ddp, fsdp2 or auto, or nodes: 1 with the address of a Ray cluster"
        faults.append(((*where, "parameters", "strategy"), told))
    if controls:
        told = "must be false: a control repeats the recipe of train, in a single pod, which has not that many nodes"
        faults.append((("parameters", "controls"), told))
    return faults


def pod_faults(settings: Any, pod: Mapping[str, Any]) -> list[tuple[Place, str]]:
    """What keeps one pod from running its share of a training's processes.

    Args:
        settings: the recipe (`TrainSettings`).
        pod: ZenML's pod settings: resources, volumes and their mounts.
    """
    resources = pod.get("resources") or {}
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    faults: list[tuple[Place, str]] = []
    gpus = int(amount(limits.get(GPU, "0")))
    if gpus and gpus != settings.processes:
        told = f"the pod has {gpus}, and steps.train.parameters.processes is {settings.processes}: one a GPU"
        faults.append((("resources", "limits", GPU), told))
    if settings.processes == 1:
        return faults
    cpu = limits.get("cpu") or requests.get("cpu")
    wanted = settings.processes * settings.threads
    if cpu is not None and amount(cpu) < wanted:
        kind = "limits" if "cpu" in limits else "requests"
        told = f"{settings.processes} processes of {settings.threads} threads want {wanted}, the pod has {cpu}"
        faults.append((("resources", kind, "cpu"), told))
    return faults + _shm_faults(settings.processes, pod, limits.get("memory"))


def _shm_faults(processes: int, pod: Mapping[str, Any], memory: str | None) -> list[tuple[Place, str]]:
    """NCCL and the loaders' processes exchange tensors in /dev/shm, of which a container has 64 MiB by itself."""
    wanted = processes * SHM_BYTES_A_PROCESS
    mount = next((one for one in pod.get("volume_mounts") or () if one.get("mountPath") == SHM), None)
    if mount is None:
        told = f"nothing is mounted at {SHM}, where {processes} processes exchange tensors; add an emptyDir of memory"
        return [(("volume_mounts",), told)]
    index, volume = next(
        ((index, one) for index, one in enumerate(pod.get("volumes") or ()) if one.get("name") == mount.get("name")),
        (0, {}),
    )
    folder = volume.get("emptyDir")
    if folder is None or folder.get("medium") != "Memory":
        return [(("volumes", index), f"{SHM} must be an emptyDir with medium: Memory")]
    size = folder.get("sizeLimit")
    faults: list[tuple[Place, str]] = []
    if size is None or amount(str(size)) < wanted:
        told = f"is {size or 'without limit'}; {processes} processes want {_gib(wanted)} at {SHM}"
        faults.append((("volumes", index, "emptyDir", "sizeLimit"), told))
    elif memory is not None and amount(memory) <= amount(str(size)):
        told = f"is {memory}, and {SHM} alone may take {size} of it"
        faults.append((("resources", "limits", "memory"), told))
    return faults


def _gib(size_bytes: int) -> str:
    return f"{Decimal(size_bytes) / (1 << 30):f}Gi"


# ---- the object


def jobset(job: Object, training: ClusterTraining, nodes: int) -> Object:
    """The JobSet of a training over several pods.

    Args:
        job: the Job (`batch/v1`, as JSON) that would run the step on one pod; it stays as it is.
        training: what the cluster is asked for besides.
        nodes: how many pods, node 0's included.

    Raises:
        ValueError: the job has not exactly one container, so nobody could say which one trains.
    """
    job = without_nulls(job)
    containers = job["spec"]["template"]["spec"]["containers"]
    if len(containers) != 1:
        raise ValueError(f"a training's pod has one container, this one has {len(containers)}")
    name = _name(job["metadata"]["name"], nodes)
    variables = _variables(name, training)
    leader, worker = _replicated(LEADER, job, 1), _replicated(WORKER, job, nodes - 1)
    # every Job of a JobSet is an Indexed one, whose index is not the number of the node
    _set_variables(leader, variables | {"DOMAINLM_NODE_RANK": "0"})
    _strip(worker, set(training.shared_claims))
    _set_variables(worker, variables)
    # what happens to a step is told of node 0's Job and pod; the others stand beside the one that launched it
    worker["template"]["metadata"]["labels"].pop(STEP_RUN_LABEL, None)
    worker["template"]["metadata"]["annotations"].pop(OPERATOR_ANNOTATION, None)
    for one in (leader, worker):
        pod = one["template"]["spec"]["template"]
        pod["metadata"].setdefault("labels", {})[COMPONENT_LABEL] = TRAINING
        if training.topology:
            _keep_together(pod["spec"], name, training.topology)
    metadata = {key: value for key, value in job["metadata"].items() if key not in ("name", "creationTimestamp")}
    if training.queue:
        metadata["labels"] = {**metadata.get("labels", {}), QUEUE_LABEL: training.queue}
    spec: Object = {
        "network": {"enableDNSHostnames": True, "publishNotReadyAddresses": True, "subdomain": name},
        # the step has ended when node 0 says so; a retry is ZenML's, and is another JobSet
        "successPolicy": {"operator": "All", "targetReplicatedJobs": [LEADER]},
        "failurePolicy": {"maxRestarts": 0},
        "replicatedJobs": [leader, worker],
    }
    if (ttl := job["spec"].get("ttlSecondsAfterFinished")) is not None:
        spec["ttlSecondsAfterFinished"] = ttl
    return {"apiVersion": f"{GROUP}/{VERSION}", "kind": KIND, "metadata": metadata | {"name": name}, "spec": spec}


def network_policy(namespace: str, labels: Mapping[str, str]) -> Object:
    """Lets a namespace's training pods reach each other, and nobody else reach them.

    gloo and NCCL choose ports by themselves, so all are open between them. What they say to each other is neither
    encrypted nor signed: trainings that must not trust each other belong into namespaces of their own.
    """
    ours = {"podSelector": {"matchLabels": {COMPONENT_LABEL: TRAINING}}}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "training-nodes", "namespace": namespace, "labels": dict(labels)},
        "spec": {
            **ours,
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"from": [ours]}],
            "egress": [{"to": [ours]}],
        },
    }


def without_nulls(value: Any) -> Any:
    """The same JSON without what is null: ZenML 0.98 puts the Python client's names of unset fields, such as
    `run_as_user: null`, beside the API's own into a container's security context."""
    if isinstance(value, dict):
        return {key: without_nulls(part) for key, part in value.items() if part is not None}
    return [without_nulls(part) for part in value] if isinstance(value, list) else value


def _name(job: str, nodes: int) -> str:
    """A name that leaves room for what JobSet adds: it names a service too, which must begin with a letter."""
    name = job if job[:1].isalpha() else f"t{job}"
    room = _LONGEST_NAME - len(f"-{LEADER}-0-{nodes}")
    return name[:room].rstrip("-")


def _variables(name: str, training: ClusterTraining) -> dict[str, str]:
    found = {
        "MASTER_ADDR": f"{name}-{LEADER}-0-0.{name}",  # JobSet's names of pods: JobSet, replicated job, job, pod
        "MASTER_PORT": str(training.port),
        "DOMAINLM_NODES_WAIT_S": str(training.wait_s),
    }
    if training.network_interface:
        found |= dict.fromkeys(("NCCL_SOCKET_IFNAME", "GLOO_SOCKET_IFNAME"), training.network_interface)
    return found | training.environment


def _replicated(name: str, job: Object, pods: int) -> Object:
    spec = copy.deepcopy({key: value for key, value in job["spec"].items() if key != "ttlSecondsAfterFinished"})
    spec |= {"completions": pods, "parallelism": pods, "completionMode": "Indexed", "backoffLimit": 0}
    spec["template"].setdefault("metadata", {})
    metadata = {key: copy.deepcopy(job["metadata"].get(key) or {}) for key in ("labels", "annotations")}
    return {"name": name, "replicas": 1, "template": {"metadata": metadata, "spec": spec}}


def _set_variables(replicated: Object, variables: Mapping[str, str]) -> None:
    container = replicated["template"]["spec"]["template"]["spec"]["containers"][0]
    kept = [one for one in container.get("env") or () if one["name"] not in variables]
    container["env"] = kept + [{"name": name, "value": value} for name, value in variables.items()]


def _strip(worker: Object, shared_claims: set[str]) -> None:
    """Take from a copy of node 0's pod what the other nodes must not have."""
    spec = worker["template"]["spec"]["template"]["spec"]
    container = spec["containers"][0]
    container["command"] = [*container["command"][:1], *NODE_COMMAND[1:]]
    container.pop("args", None)
    container.pop("envFrom", None)
    container["env"] = [
        one
        for one in container.get("env") or ()
        if WORKER_VARIABLES.fullmatch(one["name"]) and ("value" in one or "fieldRef" in (one.get("valueFrom") or {}))
    ]
    spec["volumes"] = [kept for one in spec.get("volumes") or () if (kept := _worker_volume(one, shared_claims))]
    there = {volume["name"] for volume in spec["volumes"]}
    container["volumeMounts"] = [one for one in container.get("volumeMounts") or () if one["name"] in there]
    spec["automountServiceAccountToken"] = False


def _worker_volume(volume: Object, shared_claims: set[str]) -> Object | None:
    """What the other nodes mount in place of a volume of node 0; None for nothing."""
    if "emptyDir" in volume or "configMap" in volume:
        return volume
    if claim := volume.get("persistentVolumeClaim"):
        shared = claim["claimName"] in shared_claims
        return volume if shared else {"name": volume["name"], "emptyDir": {}}
    return None


def _keep_together(spec: Object, name: str, topology: str) -> None:
    """Only where the label's value is that of the training's other pods; the first one chooses."""
    term = {"topologyKey": topology, "labelSelector": {"matchLabels": {NAME_LABEL: name}}}
    affinity = spec.setdefault("affinity", {}).setdefault("podAffinity", {})
    affinity.setdefault("requiredDuringSchedulingIgnoredDuringExecution", []).append(term)
