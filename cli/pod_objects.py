"""What a run would ask a cluster for, made by the code that asks: for people to read, and for other tools to check."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kubernetes import client as k8s
from zenml.integrations.kubernetes.manifest_utils import (
    build_job_manifest,
    build_pod_manifest,
    pod_template_manifest_from_pod,
)
from zenml.integrations.kubernetes.pod_settings import KubernetesPodSettings

from domainlm.cluster import ray, training
from domainlm.cluster.run_settings import OPERATOR, ORCHESTRATOR, laid_over
from domainlm.errors import ConfigurationError
from domainlm.train.settings import TrainSettings

Object = dict[str, Any]
# what only a run knows
_ENTRYPOINT = ["python", "-m", "zenml.entrypoints.entrypoint"]
_LATER = ["--entrypoint_config_source", "ZENML", "--snapshot_id", "SNAPSHOT", "--step_name", "train"]


def of_training(content: Object, namespace: str) -> list[Object]:
    """The training's Job; with several nodes its JobSet, and the network policy that goes with it.

    Raises:
        ConfigurationError: the training has no pod of its own, or no image.
    """
    step, settings = _step(content, "train")
    if not step.get("step_operator"):
        raise ConfigurationError(
            "the training has no pod of its own", "steps.train.step_operator", "take configs/kubernetes.yaml"
        )
    own = settings.get(OPERATOR) or {}
    pod = _pod(content, settings, own.get("pod_settings"), own.get("service_account_name"))
    job = build_job_manifest(
        job_name="train",
        pod_template=pod_template_manifest_from_pod(pod),
        backoff_limit=0,
        ttl_seconds_after_finished=own.get("ttl_seconds_after_finished"),
        active_deadline_seconds=own.get("active_deadline_seconds"),
        labels=pod.metadata.labels,
    )
    described = training.without_nulls(_json(job)) | {"apiVersion": "batch/v1", "kind": "Job"}
    described["metadata"]["namespace"] = namespace
    nodes = TrainSettings(**(step.get("parameters") or {})).nodes
    if nodes == 1:
        return [described]
    extra = training.ClusterTraining(**(step.get("extra") or {}).get(training.EXTRA, {}))
    return [training.jobset(described, extra, nodes), training.network_policy(namespace, _labels(pod))]


def of_ray(content: Object, namespace: str) -> list[Object]:
    """The Ray cluster that `redact` is spread over, and its network policy.

    Raises:
        ConfigurationError: the configuration asks for none, or names no image.
    """
    step, settings = _step(content, "redact")
    extra = (step.get("extra") or {}).get(ray.EXTRA)
    if extra is None:
        raise ConfigurationError(
            "redact asks for no Ray cluster", f"steps.redact.extra.{ray.EXTRA}", "take configs/kubernetes-ray.yaml"
        )
    own = settings.get(ORCHESTRATOR) or {}
    pod = _pod(content, settings, own.get("pod_settings"), own.get("step_pod_service_account_name"))
    wanted = ray.RayClusterSettings(**extra)
    return [
        ray.raycluster(_json(pod), wanted, namespace),
        ray.network_policy(wanted, namespace, _labels(pod)),
    ]


OBJECTS: dict[str, Callable[[Object, str], list[Object]]] = {"train": of_training, "ray": of_ray}


def _step(content: Object, name: str) -> tuple[Object, Object]:
    step = (content.get("steps") or {}).get(name) or {}
    return step, laid_over(content.get("settings") or {}, step.get("settings") or {})


def _pod(content: Object, settings: Object, pod_settings: Object | None, account: str | None) -> k8s.V1Pod:
    image = (settings.get("docker") or {}).get("parent_image")
    if not image:
        raise ConfigurationError("no image is named", "settings.docker.parent_image", "name the one of `make image`")
    return build_pod_manifest(
        pod_name=None,
        image_name=image,
        command=_ENTRYPOINT,
        args=_LATER,
        env={name: str(value) for name, value in (content.get("environment") or {}).items()},
        privileged=False,
        pod_settings=KubernetesPodSettings(**(pod_settings or {})),
        service_account_name=account,
        labels={},
    )


def _labels(pod: k8s.V1Pod) -> dict[str, str]:
    return {name: value for name, value in pod.metadata.labels.items() if name != training.COMPONENT_LABEL}


def _json(one: Any) -> Object:
    return k8s.ApiClient().sanitize_for_serialization(one)
