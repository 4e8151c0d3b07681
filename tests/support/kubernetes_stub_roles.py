"""RBAC as the stub of the Kubernetes API decides it: what roles grant, to whom, and what a run really used."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

# Everybody who is authenticated may ask about himself (the default ClusterRole system:basic-user).
ABOUT_ONESELF = {"selfsubjectaccessreviews", "selfsubjectrulesreviews", "selfsubjectreviews"}


class Right(NamedTuple):
    """One thing that may be done; `resource` is `pods` or `pods/log`."""

    group: str
    resource: str
    verb: str


def account(namespace: str, name: str) -> str:
    return f"system:serviceaccount:{namespace}:{name}"


def rules_of(user: str, namespace: str, objects: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rules that bindings among `objects` give to a user in a namespace ("" for what has no namespace)."""
    objects = list(objects)
    roles = {(one["kind"], one["metadata"].get("namespace", ""), one["metadata"]["name"]): one for one in objects}
    found: list[dict[str, Any]] = []
    for binding in objects:
        kind, place = binding["kind"], binding["metadata"].get("namespace", "")
        if kind not in ("RoleBinding", "ClusterRoleBinding") or (kind == "RoleBinding" and place != namespace):
            continue
        if not any(_is(subject, user, place) for subject in binding.get("subjects", [])):
            continue
        reference = binding["roleRef"]
        role = roles.get((reference["kind"], place if reference["kind"] == "Role" else "", reference["name"]))
        found += (role or {}).get("rules") or []
    return found


def allows(rules: list[dict[str, Any]], right: Right, name: str) -> bool:
    """Whether any rule grants a right on the object of a name ("" where the request names none)."""
    return any(
        _among(right.group, rule.get("apiGroups"))
        and _among(right.resource, rule.get("resources"))
        and _among(right.verb, rule.get("verbs"))
        and (not rule.get("resourceNames") or name in rule["resourceNames"])
        for rule in rules
    )


def granted(rules: list[dict[str, Any]]) -> set[Right]:
    """Every single right that rules spell out; a `*` stays a `*`, so that nobody takes it for few rights."""
    return {
        Right(group, resource, verb)
        for rule in rules
        for group in rule.get("apiGroups", [])
        for resource in rule.get("resources", [])
        for verb in rule["verbs"]
    }


def _among(wanted: str, allowed: list[str] | None) -> bool:
    return "*" in (allowed or []) or wanted in (allowed or [])


def _is(subject: dict[str, Any], user: str, namespace: str) -> bool:
    if subject["kind"] == "ServiceAccount":
        return user == account(subject.get("namespace", namespace), subject["name"])
    return subject["kind"] == "User" and user == subject["name"]
