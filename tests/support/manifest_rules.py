"""What every object that we send to a cluster must hold to: the schema of Kubernetes 1.32, and our own rules.

Test code. The schema (kubernetes-validate, strict: unknown fields are errors) does not see a wrong quantity, a missing
security context or a password in an environment variable; the rules below do.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import kubernetes_validate

from domainlm.cluster.clear_secrets import is_a_secret, names_a_secret, says_a_secret
from domainlm.cluster.quantities import amount

VERSION = "1.32"
COMMON = {"app.kubernetes.io/name": "domainlm", "app.kubernetes.io/part-of": "domainlm"}
COSTS = ("domainlm.dev/tenant", "domainlm.dev/cost-center")
COMPONENTS = {
    "step", "orchestrator", "training", "zenml-server", "mlflow", "store", "evidence", "backup", "watcher",
}  # fmt: skip
WITHOUT_SCHEMA = {"monitoring.coreos.com/v1"}  # custom resources
WITHOUT_TENANT = {"PriorityClass"}
WRITABLE = ("emptyDir", "persistentVolumeClaim", "ephemeral")


def broken_rules(one: dict[str, Any], labelled: bool = True) -> list[str]:
    """Every rule that an object breaks; empty where it is as it should be.

    Args:
        one: the object as JSON; not changed. Defaults that a server fills in are filled in first.
        labelled: whether our labels are demanded; of what ZenML makes by itself they are not.
    """
    name = f"{one['kind']}/{one['metadata'].get('name') or one['metadata'].get('generateName')}"
    found = list(_schema(one))
    found += _labels(one) if labelled else []
    found += _plain_secrets(one)
    if (template := _template(one)) is not None:
        if labelled:
            found += [f"its pods: {line}" for line in _labels(template, one["kind"])]
        found += _pod(template["spec"], one["kind"])
    if one["kind"] == "CronJob":
        found += _cron_job(one["spec"])
    if one["kind"] == "ResourceQuota":
        found += [
            f"quota {key}: {value!r} is no quantity" for key, value in one["spec"]["hard"].items() if not _fine(value)
        ]
    if one["kind"] == "LimitRange":
        for limit in one["spec"]["limits"]:
            values = {k: v for part in limit.values() if isinstance(part, dict) for k, v in part.items()}
            found += [f"limit {key}: {value!r} is no quantity" for key, value in values.items() if not _fine(value)]
    if one["kind"] in ("Role", "ClusterRole"):
        found += _role(one)
    return [f"{name}: {line}" for line in found]


def _schema(one: dict[str, Any]) -> Iterator[str]:
    if one["apiVersion"] in WITHOUT_SCHEMA:
        return
    one = copy.deepcopy(one)
    for rule in ((one.get("spec") or {}).get("podFailurePolicy") or {}).get("rules") or []:
        for condition in rule.get("onPodConditions") or []:
            condition.setdefault("status", "True")  # as a server does
    try:
        kubernetes_validate.validate(one, VERSION, strict=True)
    except kubernetes_validate.ValidationError as error:
        yield f"schema {VERSION}: {'/'.join(map(str, error.path))}: {error.message[:200]}"
    except kubernetes_validate.SchemaNotFoundError:
        yield f"schema {VERSION}: there is no {one['apiVersion']} {one['kind']}"


def _labels(one: dict[str, Any], kind: str = "") -> Iterator[str]:
    labels = (one.get("metadata") or {}).get("labels") or {}
    for key, value in COMMON.items():
        if labels.get(key) != value:
            yield f"label {key} is {labels.get(key)!r}, not {value!r}"
    if (one.get("kind") or kind) not in WITHOUT_TENANT:
        yield from (f"label {key} is missing" for key in COSTS if not labels.get(key))
    component = labels.get("app.kubernetes.io/component")
    if component not in COMPONENTS and (kind or component is not None):
        yield f"label app.kubernetes.io/component is {component!r}"


def _plain_secrets(one: dict[str, Any]) -> Iterator[str]:
    if one["kind"] == "Secret":
        return  # its place; who made it with what is for other tests
    for path, value in _strings(one):
        if is_a_secret(value):
            yield f"{path} looks like a secret in plain text"
    for container in _containers(one):
        for variable in container.get("env") or []:
            name = variable["name"]
            if names_a_secret(name) and says_a_secret(variable.get("value")):
                yield f"env {name} of {container['name']} holds its value in plain text"
    if one["kind"] == "ConfigMap":
        for name in one.get("data") or {}:
            if names_a_secret(name):
                yield f"ConfigMap key {name} is a secret's name"


def _pod(spec: dict[str, Any], kind: str) -> Iterator[str]:
    context = spec.get("securityContext") or {}
    if context.get("runAsNonRoot") is not True or context.get("runAsUser") in (None, 0):
        yield "pod may run as root"
    if (context.get("seccompProfile") or {}).get("type") != "RuntimeDefault":
        yield "pod has no seccomp profile RuntimeDefault"
    if spec.get("automountServiceAccountToken") is not False and spec.get("serviceAccountName") != "domainlm-runner":
        yield "the account's token is mounted"
    if spec.get("serviceAccountName") in (None, "default"):
        yield "no account of its own"
    for key in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(key):
            yield f"{key} is on"
    volumes = {volume["name"]: volume for volume in spec.get("volumes") or []}
    for volume in volumes.values():
        if "hostPath" in volume:
            yield f"volume {volume['name']} is a path of the node"
        if "emptyDir" in volume and not _fine((volume["emptyDir"] or {}).get("sizeLimit")):
            yield f"volume {volume['name']} has no limit"
        if "secret" in volume and volume["secret"].get("defaultMode") != 0o440:
            yield f"secret volume {volume['name']} is not of mode 0440"
    for container in (*(spec.get("initContainers") or []), *spec["containers"]):
        yield from (f"container {container['name']}: {line}" for line in _container(container, volumes))
    if kind == "Deployment":
        for container in spec["containers"]:
            if "livenessProbe" not in container:
                yield f"container {container['name']} has no livenessProbe"
            if container.get("ports") and not {"startupProbe", "readinessProbe"} <= set(container):
                yield f"container {container['name']} lacks a startupProbe or readinessProbe"


def _container(container: dict[str, Any], volumes: dict[str, Any]) -> Iterator[str]:
    context = container.get("securityContext") or {}
    if context.get("allowPrivilegeEscalation") is not False or context.get("privileged"):
        yield "privileges may be raised"
    if context.get("readOnlyRootFilesystem") is not True:
        yield "the root file system can be written"
    if "ALL" not in ((context.get("capabilities") or {}).get("drop") or []) or (context["capabilities"].get("add")):
        yield "capabilities are not dropped"
    image = container["image"]
    if not re.search(r"(:[\w][\w.-]*|@sha256:[0-9a-f]{64})$", image) or image.endswith(":latest"):
        yield f"image {image} is not pinned by a tag or digest"
    resources = container.get("resources") or {}
    requests, limits = resources.get("requests") or {}, resources.get("limits") or {}
    for kind, values in (("requests", requests), ("limits", limits)):
        yield from (f"{kind}.{key}: {value!r} is no quantity" for key, value in values.items() if not _fine(value))
    if not ("cpu" in requests and "memory" in requests and "memory" in limits):
        yield "asks for no cpu and memory, or has no memory limit"
    for key in set(requests) & set(limits):
        if _fine(requests[key]) and _fine(limits[key]) and _number(requests[key]) > _number(limits[key]):
            yield f"asks for more {key} than its limit"
    for mount in container.get("volumeMounts") or []:
        volume = volumes.get(mount["name"])
        if volume is None:
            yield f"mounts {mount['name']}, which is no volume"
        elif not any(form in volume for form in WRITABLE) and not mount.get("readOnly"):
            yield f"mounts {mount['name']} to write"


def _cron_job(spec: dict[str, Any]) -> Iterator[str]:
    job = spec["jobTemplate"]["spec"]
    if spec.get("concurrencyPolicy") != "Forbid":
        yield "two of its Jobs may run at once"
    if "ttlSecondsAfterFinished" not in job or "activeDeadlineSeconds" not in job:
        yield "its Jobs have no deadline or stay for ever"


def _role(one: dict[str, Any]) -> Iterator[str]:
    for rule in one["rules"]:
        for part in ("apiGroups", "resources", "verbs"):
            if "*" in rule[part]:
                yield f"{part} hold a *"
        if "secrets" in rule["resources"] and {"list", "watch"} & set(rule["verbs"]):
            yield "may list Secrets"
        if {"pods/exec", "pods/attach", "serviceaccounts/token"} & set(rule["resources"]):
            yield "may enter pods or make tokens"
        if {"escalate", "bind", "impersonate"} & set(rule["verbs"]):
            yield "may take more rights"


def _template(one: dict[str, Any]) -> dict[str, Any] | None:
    if one["kind"] == "CronJob":
        return one["spec"]["jobTemplate"]["spec"]["template"]
    if one["kind"] == "Pod":
        return one
    return one["spec"]["template"] if one["kind"] in ("Deployment", "Job") else None


def _containers(one: dict[str, Any]) -> list[dict[str, Any]]:
    template = _template(one)
    return [*(template["spec"].get("initContainers") or []), *template["spec"]["containers"]] if template else []


def _strings(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _strings(inner, f"{path}/{key}")
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _strings(inner, f"{path}/{index}")
    elif isinstance(value, str):
        yield path, value


def _fine(value: Any) -> bool:
    if not isinstance(value, (str, int)) or isinstance(value, bool):
        return False
    try:
        return _number(value) >= 0
    except ValueError:
        return False


def _number(value: Any) -> Decimal:
    return amount(str(value))
