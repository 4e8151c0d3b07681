"""What the stub of the Kubernetes API stores: objects with names, versions, owners and selectors."""

from __future__ import annotations

import copy
import re
import secrets
import threading
import uuid
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, NamedTuple

Object = dict[str, Any]
NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
SUFFIX = "bcdfghjklmnpqrstvwxz2456789"  # the letters of generated names (k8s.io/apimachinery/pkg/util/rand)


class Resource(NamedTuple):
    """One row of the API's discovery."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True

    @property
    def full_name(self) -> str:
        """As error messages write it: `jobs.batch`, `pods`."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version


RESOURCES = [
    *(Resource("", "v1", plural, kind) for plural, kind in (
        ("pods", "Pod"), ("secrets", "Secret"), ("configmaps", "ConfigMap"), ("services", "Service"),
        ("events", "Event"),
        ("serviceaccounts", "ServiceAccount"), ("persistentvolumeclaims", "PersistentVolumeClaim"),
        ("resourcequotas", "ResourceQuota"), ("limitranges", "LimitRange"))),
    Resource("", "v1", "namespaces", "Namespace", False),
    Resource("", "v1", "nodes", "Node", False),
    Resource("batch", "v1", "jobs", "Job"),
    Resource("batch", "v1", "cronjobs", "CronJob"),
    Resource("apps", "v1", "deployments", "Deployment"),
    Resource("apps", "v1", "statefulsets", "StatefulSet"),
    Resource("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget"),
    Resource("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy"),
    Resource("networking.k8s.io", "v1", "ingresses", "Ingress"),
    Resource("scheduling.k8s.io", "v1", "priorityclasses", "PriorityClass", False),
    Resource("rbac.authorization.k8s.io", "v1", "roles", "Role"),
    Resource("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding"),
    Resource("rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole", False),
    Resource("rbac.authorization.k8s.io", "v1", "clusterrolebindings", "ClusterRoleBinding", False),
    Resource("authorization.k8s.io", "v1", "selfsubjectaccessreviews", "SelfSubjectAccessReview", False),
    Resource("authorization.k8s.io", "v1", "selfsubjectrulesreviews", "SelfSubjectRulesReview", False),
    Resource("authentication.k8s.io", "v1", "selfsubjectreviews", "SelfSubjectReview", False),
]  # fmt: skip
BY_PLURAL = {(one.group, one.plural): one for one in RESOURCES}
BY_KIND = {one.kind: one for one in RESOURCES}


class ApiError(Exception):
    """An answer other than 2xx; becomes a `Status` object."""

    def __init__(self, code: int, reason: str, message: str, details: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.body = {
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message,
            "reason": reason, "details": details or {}, "code": code,
        }  # fmt: skip


def already_exists(resource: Resource, name: str) -> ApiError:
    details = {"name": name, "group": resource.group, "kind": resource.plural}
    return ApiError(409, "AlreadyExists", f'{resource.full_name} "{name}" already exists', details)


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def random_suffix() -> str:
    return "".join(secrets.choice(SUFFIX) for _ in range(5))


class Objects:
    """The store. Every method takes and returns copies, so nobody changes an object but through it."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._objects: dict[tuple[str, str, str], Object] = {}  # (kind, namespace, name)
        self._version = 0

    def create(self, kind: str, body: Object, namespace: str = "") -> Object:
        resource = BY_KIND[kind]
        made = copy.deepcopy(body)
        meta = made.setdefault("metadata", {})
        made |= {"kind": kind, "apiVersion": resource.api_version}
        if not meta.get("name") and meta.get("generateName"):
            meta["name"] = meta["generateName"] + random_suffix()
        if resource.namespaced:
            meta["namespace"] = namespace or meta.get("namespace") or "default"
        with self.lock:
            key = (kind, meta.get("namespace", "") if resource.namespaced else "", meta["name"])
            if key in self._objects:
                raise already_exists(resource, key[2])
            meta |= {"uid": str(uuid.uuid4()), "creationTimestamp": now(), "generation": 1}
            return self._put(key, made)

    def get(self, kind: str, namespace: str, name: str) -> Object:
        with self.lock:
            if (found := self._objects.get((kind, namespace, name))) is None:
                resource = BY_KIND[kind]
                details = {"name": name, "group": resource.group, "kind": resource.plural}
                raise ApiError(404, "NotFound", f'{resource.full_name} "{name}" not found', details)
            return copy.deepcopy(found)

    def find(self, kind: str, namespace: str, name: str) -> Object | None:
        try:
            return self.get(kind, namespace, name)
        except ApiError:
            return None

    def list(self, kind: str, namespace: str = "", labels: str = "", fields: str = "") -> list[Object]:
        """Objects of a kind, oldest first; an empty namespace means all."""
        with self.lock:
            return [
                copy.deepcopy(one)
                for (one_kind, place, _), one in self._objects.items()
                if one_kind == kind
                and namespace in ("", place)
                and labels_match(labels, one["metadata"].get("labels") or {})
                and fields_match(fields, one)
            ]

    def merge(self, kind: str, namespace: str, name: str, patch: Object) -> Object:
        """RFC 7386; lists are replaced, which is also what a strategic merge does where no list is given."""
        with self.lock:
            changed = _merged(self.get(kind, namespace, name), patch)
            return self._put((kind, namespace, name), changed)

    def set_status(self, one: Object, **status: Any) -> Object | None:
        """Change top-level fields of a status; None where the object is gone."""
        meta = one["metadata"]
        key = (one["kind"], meta.get("namespace", ""), meta["name"])
        with self.lock:
            found = self._objects.get(key)
            if found is None or found["metadata"]["uid"] != meta["uid"]:
                return None
            changed = copy.deepcopy(found)
            changed["status"] = {**changed.get("status", {}), **copy.deepcopy(status)}
            return self._put(key, changed)

    def remove(self, one: Object) -> None:
        """Take it out of the store at once, if it is still this one."""
        meta = one["metadata"]
        key = (one["kind"], meta.get("namespace", ""), meta["name"])
        with self.lock:
            if (found := self._objects.get(key)) and found["metadata"]["uid"] == meta["uid"]:
                del self._objects[key]

    def owned_by(self, uid: str) -> list[Object]:
        with self.lock:
            return [
                copy.deepcopy(one)
                for one in self._objects.values()
                if any(owner["uid"] == uid for owner in one["metadata"].get("ownerReferences") or [])
            ]

    def current(self, one: Object) -> Object | None:
        """The object as it is now; None where it is gone or another one took its name."""
        meta = one["metadata"]
        found = self.find(one["kind"], meta.get("namespace", ""), meta["name"])
        return found if found and found["metadata"]["uid"] == meta["uid"] else None

    def event(self, about: Object, kind: str, reason: str, message: str) -> None:
        meta = about["metadata"]
        involved = {"kind": about["kind"], "apiVersion": about["apiVersion"]} | {
            name: meta[name] for name in ("name", "namespace", "uid")
        }
        body = {
            "metadata": {"generateName": f"{meta['name']}."}, "involvedObject": involved, "type": kind,
            "reason": reason, "message": message, "count": 1, "firstTimestamp": now(), "lastTimestamp": now(),
            "source": {"component": "stub"}, "reportingComponent": "stub",
        }  # fmt: skip
        self.create("Event", body, meta["namespace"])

    def _put(self, key: tuple[str, str, str], one: Object) -> Object:
        self._version += 1
        one["metadata"]["resourceVersion"] = str(self._version)
        self._objects[key] = one
        return copy.deepcopy(one)


def _merged(target: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = _merged(result.get(key), value)
    return result


def labels_match(selector: str, labels: dict[str, str]) -> bool:
    """https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors"""
    return all(_requirement(part.strip(), labels) for part in re.split(r",(?![^(]*\))", selector) if part.strip())


def _requirement(part: str, labels: dict[str, str]) -> bool:
    if found := re.fullmatch(r"(\S+)\s+(in|notin)\s+\(([^)]*)\)", part):
        values = {value.strip() for value in found[3].split(",")}
        return (labels.get(found[1]) in values) == (found[2] == "in")
    if "!=" in part:
        name, value = part.split("!=", 1)
        return labels.get(name.strip()) != value.strip()
    if "=" in part:
        name, value = re.split("==?", part, maxsplit=1)
        return labels.get(name.strip()) == value.strip()
    return (part[1:] not in labels) if part.startswith("!") else part in labels


def fields_match(selector: str, one: Object) -> bool:
    return all(_field(part, one) for part in selector.split(",") if part)


def _field(part: str, one: Object) -> bool:
    name, value = re.split("!=|==?", part, maxsplit=1)
    found: Any = one
    for key in name.split("."):
        found = found.get(key, "") if isinstance(found, dict) else ""
    return (str(found) == value) != ("!=" in part)


def controllers(one: Object) -> Iterable[str]:
    return (owner["uid"] for owner in one["metadata"].get("ownerReferences") or [] if owner.get("controller"))
