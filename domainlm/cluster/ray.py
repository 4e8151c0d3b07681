"""A Ray cluster for data at scale (`engine: ray` of redact): the KubeRay object, made of the step's own pod.

Written for KubeRay 1.6 and later (`ray.io/v1`; checked against the CRD of 1.7), whose operator makes the token that
every call to the cluster must bear. It is a RayCluster and not a RayJob: the step that drives it is a step of the
pipeline, with its lock, its evidence and its artifacts; its pod joins the cluster as a node without CPUs
(`domainlm.redact.ray_member`).

What travels through Ray are numbers of rows on the way out and redacted records on the way back (raw originals only
encrypted); each node reads the sources itself. Objects that memory does not hold are spilled to an emptyDir of the pod
and end with it.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from pydantic import Field

from domainlm.cluster.quantities import amount
from domainlm.cluster.training import without_nulls
from domainlm.reports import Settings
from domainlm.yaml_lines import Fault, model_faults

EXTRA = "ray"  # steps.redact.extra.ray
PORT = 6379  # of the head: where nodes join
TOKEN_KEY = "auth_token"  # of KubeRay's own Secret, which has the cluster's name
NODE_PORT, OBJECT_PORT = 6380, 6381  # fixed, so that a probe and a network policy can name them
WORKER_PORTS = (10002, 10101)
SPILL = "/var/ray-spill"

Object = dict[str, Any]


class RayClusterSettings(Settings):
    """The Ray cluster that a step's work is spread over."""

    name: str = Field(
        default="domainlm-ray", pattern=r"^[a-z]([-a-z0-9]{0,39}[a-z0-9])?$", description="the cluster's name"
    )
    workers: int = Field(ge=1, description="pods that work")
    cpus: int = Field(ge=1, description="cores of each; one a Ray task")
    memory: str = Field(description="memory of each, such as 8Gi, its share of Ray's object store included")
    object_store: str = Field(
        default="1Gi", description="of that, for Ray's objects, in /dev/shm; what does not fit is spilled"
    )
    spill: str = Field(default="10Gi", description="disk of each pod for spilled objects; gone with the pod")
    head_memory: str = Field(default="4Gi", description="memory of the head, which keeps the cluster together")


def ray_faults(content: Mapping[str, Any], step: str = "redact") -> list[Fault]:
    """Why a step's Ray cluster, as configured, could not do its work.

    Args:
        content: a run configuration whose keys are known to be right.
        step: the step whose work is spread.
    """
    found = (content.get("steps") or {}).get(step) or {}
    extra = (found.get("extra") or {}).get(EXTRA)
    if extra is None:
        return []
    where = ("steps", step, "extra", EXTRA)
    if faults := model_faults(RayClusterSettings, extra, where):
        return faults
    faults = []
    settings = RayClusterSettings(**extra)
    sizes: dict[str, Any] = {}
    for name in ("memory", "object_store", "spill", "head_memory"):
        try:
            sizes[name] = amount(getattr(settings, name))
        except ValueError:
            faults.append(((*where, name), "is no quantity: write bytes as 16Gi"))
    if not faults and sizes["object_store"] * 2 > sizes["memory"]:
        faults.append(((*where, "object_store"), f"is more than half of memory ({settings.memory})"))
    parameters = found.get("parameters") or {}
    if parameters.get("engine") != "ray":
        faults.append((("steps", step, "parameters", "engine"), "must be ray: there is a Ray cluster for it"))
    elif (tasks := parameters.get("processes", 1)) > settings.workers * settings.cpus:
        told = f"{tasks} tasks want a core each, and {settings.workers} workers have {settings.cpus} each"
        faults.append((("steps", step, "parameters", "processes"), told))
    return faults


def raycluster(pod: Object, settings: RayClusterSettings, namespace: str) -> Object:
    """The RayCluster whose pods are as a step's pod is: image, variables, mounts, security.

    Args:
        pod: the step's pod (`v1`, as JSON); it stays as it is.
        settings: the size.
        namespace: where it would be created.
    """
    from importlib.metadata import version

    pod = without_nulls(pod)
    labels = pod["metadata"].get("labels", {})
    head = _template(pod, settings, settings.head_memory, "500m", PORT)
    worker = _template(pod, settings, settings.memory, str(settings.cpus), NODE_PORT)
    everywhere = {
        "node-manager-port": str(NODE_PORT),
        "object-manager-port": str(OBJECT_PORT),
        "min-worker-port": str(WORKER_PORTS[0]),
        "max-worker-port": str(WORKER_PORTS[1]),
        # a little less than the folder of memory that holds it, else Ray takes the disk from the start
        "object-store-memory": str(int(amount(settings.object_store) * 9 / 10)),
        "object-spilling-directory": SPILL,
        "disable-usage-stats": "true",
    }
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayCluster",
        "metadata": {"name": settings.name, "namespace": namespace, "labels": labels},
        "spec": {
            "rayVersion": version("ray"),
            "authOptions": {"mode": "token"},
            "enableInTreeAutoscaling": False,
            "headGroupSpec": {
                "serviceType": "ClusterIP",
                # nothing works on the head, and nobody but the head itself reaches its dashboard
                "rayStartParams": everywhere | {"num-cpus": "0", "dashboard-host": "127.0.0.1"},
                "template": head,
            },
            "workerGroupSpecs": [
                {
                    "groupName": "workers",
                    "replicas": settings.workers,
                    "minReplicas": settings.workers,
                    "maxReplicas": settings.workers,
                    "rayStartParams": everywhere | {"num-cpus": str(settings.cpus)},
                    "template": worker,
                }
            ],
        },
    }


def network_policy(settings: RayClusterSettings, namespace: str, labels: Mapping[str, str]) -> Object:
    """Lets the pods of steps reach each other: those of the cluster bear the same label as the step that drives it.

    Nodes of Ray reach each other in both directions and on many ports; every call bears the token, none is encrypted.
    """
    steps = {"podSelector": {"matchLabels": {"app.kubernetes.io/component": "step"}}}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": settings.name, "namespace": namespace, "labels": dict(labels)},
        "spec": {
            **steps,
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"from": [steps]}],
            "egress": [{"to": [steps]}],
        },
    }


def driver_variables(settings: RayClusterSettings) -> list[Object]:
    """What the step's own pod needs to drive the cluster: `pod_settings.env` of the step."""
    token = {"secretKeyRef": {"name": settings.name, "key": TOKEN_KEY}}
    return [
        {"name": "RAY_ADDRESS", "value": f"{settings.name}-head-svc:{PORT}"},
        {"name": "DOMAINLM_RAY_JOIN", "value": "1"},
        {"name": "RAY_AUTH_MODE", "value": "token"},
        {"name": "RAY_AUTH_TOKEN", "valueFrom": token},
    ]


def _template(pod: Object, settings: RayClusterSettings, memory: str, cpu: str, port: int) -> Object:
    spec = copy.deepcopy(pod["spec"])
    container = spec["containers"][0]
    container["name"] = "ray"
    for key in ("command", "args"):  # KubeRay's own: ray start ...
        container.pop(key, None)
    driver = {one["name"] for one in driver_variables(settings)}
    container["env"] = [one for one in container.get("env") or () if one["name"] not in driver]
    container["env"] += [{"name": "RAY_USAGE_STATS_ENABLED", "value": "0"}]
    container["resources"] = {"requests": {"cpu": cpu, "memory": memory}, "limits": {"cpu": cpu, "memory": memory}}
    # KubeRay's own probes call wget, which the image has not
    probe = {"tcpSocket": {"port": port}, "periodSeconds": 10, "failureThreshold": 12}
    container |= {"readinessProbe": probe, "livenessProbe": probe | {"initialDelaySeconds": 60}}
    for name, path, folder in (
        ("ray-shm", "/dev/shm", {"medium": "Memory", "sizeLimit": settings.object_store}),
        ("ray-spill", SPILL, {"sizeLimit": settings.spill}),
    ):
        mounts = [mount for mount in container.get("volumeMounts") or () if mount["mountPath"] != path]
        container["volumeMounts"] = [*mounts, {"name": name, "mountPath": path}]
        spec["volumes"] = [*(spec.get("volumes") or ()), {"name": name, "emptyDir": folder}]
    spec.pop("restartPolicy", None)  # KubeRay's
    spec["automountServiceAccountToken"] = False
    return {"metadata": {"labels": dict(pod["metadata"].get("labels", {}))}, "spec": spec}
