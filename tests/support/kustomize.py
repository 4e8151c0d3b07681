"""Renders the subset of Kustomize that infra/kubernetes uses, so that its tests need no kubectl.

Test code, and no second Kustomize: a field, patch operation or generator option that our files do not use is refused,
so that nobody trusts a rendering that is not Kustomize's. `tests/infra/test_manifests.py` compares every overlay with
`kubectl kustomize` where kubectl is there.

In order, as Kustomize does it for each folder: resources, components (which see what came before), generators, patches,
namespace, labels, images.
"""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import yaml

Objects = list[dict[str, Any]]
FIELDS = {
    "apiVersion", "kind", "resources", "components", "generatorOptions", "configMapGenerator", "patches", "namespace",
    "labels", "images",
}  # fmt: skip
WITHOUT_NAMESPACE = {
    "Namespace", "PriorityClass", "ClusterRole", "ClusterRoleBinding", "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
}  # fmt: skip


class Unsupported(Exception):
    """A part of Kustomize that is not rendered here."""


def render(folder: Path) -> Objects:
    """The objects of a Kustomization, as `kubectl kustomize FOLDER` gives them (in another order).

    Raises:
        Unsupported: a file uses what is not rendered here.
    """
    return _build(folder.resolve(), [])


def _build(folder: Path, objects: Objects) -> Objects:
    [content] = list(yaml.safe_load_all((folder / "kustomization.yaml").read_text(encoding="utf-8")))
    _only(content, FIELDS, folder)
    for name in content.get("resources", []):
        path = folder / name
        if path.is_dir():
            objects += _build(path.resolve(), [])
        else:
            objects += [one for one in yaml.safe_load_all(path.read_text(encoding="utf-8")) if one]
    for name in content.get("components", []):
        objects = _build((folder / name).resolve(), objects)
    if content.get("generatorOptions", {}) not in ({}, {"disableNameSuffixHash": True}):
        raise Unsupported(f"{folder}: generatorOptions")
    for generator in content.get("configMapGenerator", []):
        _generate(folder, generator, objects)
    for patch in content.get("patches", []):
        _only(patch, {"target", "patch"}, folder)
        _patch(objects, patch["target"], yaml.safe_load(patch["patch"]))
    if namespace := content.get("namespace"):
        _move(objects, namespace)
    for labels in content.get("labels", []):
        _only(labels, {"pairs", "includeTemplates"}, folder)
        for one in objects:
            _label(one, labels["pairs"], labels.get("includeTemplates", False))
    for image in content.get("images", []):
        _only(image, {"name", "newName", "newTag"}, folder)
        for pod in (spec for one in objects if (spec := pod_spec(one))):
            for container in (*pod.get("initContainers", []), *pod["containers"]):
                if container["image"] == image["name"]:
                    container["image"] = f"{image['newName']}:{image['newTag']}"
    return objects


def pod_template(one: dict[str, Any]) -> dict[str, Any] | None:
    """The pod template inside an object; None where it makes no pods."""
    if one["kind"] == "CronJob":
        return one["spec"]["jobTemplate"]["spec"]["template"]
    return one["spec"]["template"] if one["kind"] in ("Deployment", "Job") else None


def pod_spec(one: dict[str, Any]) -> dict[str, Any] | None:
    """The pod specification inside an object; None where it makes no pods."""
    template = pod_template(one)
    return template["spec"] if template else None


def _generate(folder: Path, generator: dict[str, Any], objects: Objects) -> None:
    _only(generator, {"name", "namespace", "behavior", "literals", "files"}, folder)
    data = dict(literal.split("=", 1) for literal in generator.get("literals", []))
    data |= {name: (folder / name).read_text(encoding="utf-8") for name in generator.get("files", [])}
    if generator.get("behavior") == "merge":
        [found] = [
            one for one in objects
            if one["kind"] == "ConfigMap" and one["metadata"]["name"] == generator["name"]
            and one["metadata"].get("namespace") == generator.get("namespace")
        ]  # fmt: skip
        found["data"] |= data
    elif "behavior" not in generator:
        place = {"namespace": generator["namespace"]} if "namespace" in generator else {}
        metadata = {"name": generator["name"]} | place
        objects.append({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})
    else:
        raise Unsupported(f"{folder}: behavior {generator['behavior']}")


def _patch(objects: Objects, target: dict[str, Any], operations: Any) -> None:
    _only(target, {"kind", "name"}, Path(str(target)))
    if not isinstance(operations, list):
        raise Unsupported(f"{target}: a patch that is no list of JSON patch operations")
    for one in objects:
        if one["kind"] == target["kind"] and re.fullmatch(target.get("name", ".*"), one["metadata"]["name"]):
            for operation in operations:
                _operate(one, operation)


def _operate(one: dict[str, Any], operation: dict[str, Any]) -> None:
    """One operation of RFC 6902."""
    _only(operation, {"op", "path", "value"}, Path(str(operation)))
    *way, last = [part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")[1:]]
    place: Any = one
    for part in way:
        place = place[int(part)] if isinstance(place, list) else place[part]
    key: Any = int(last) if isinstance(place, list) else last
    match operation["op"]:
        case "test":
            if place[key] != operation["value"]:
                raise AssertionError(f"{operation}: there is {place[key]!r}")
        case "replace":
            place[key]  # must be there
            place[key] = copy.deepcopy(operation["value"])
        case "add" if isinstance(place, dict):
            place[key] = copy.deepcopy(operation["value"])
        case other:
            raise Unsupported(f"{operation}: {other}")


def _move(objects: Objects, namespace: str) -> None:
    """Subjects of bindings stay where they say they are: Kustomize moves only accounts called `default`."""
    for one in objects:
        if one["kind"] == "Namespace":
            one["metadata"]["name"] = namespace
        elif one["kind"] not in WITHOUT_NAMESPACE:
            one["metadata"]["namespace"] = namespace


def _label(one: dict[str, Any], pairs: dict[str, str], templates: bool) -> None:
    places = [one["metadata"]]
    if templates and (template := pod_template(one)):
        places.append(template.setdefault("metadata", {}))
        if one["kind"] == "CronJob":
            places.append(one["spec"]["jobTemplate"].setdefault("metadata", {}))
    for place in places:
        place["labels"] = place.get("labels", {}) | pairs


def _only(content: dict[str, Any], known: set[str], where: Path) -> None:
    if more := set(content) - known:
        raise Unsupported(f"{where}: {', '.join(sorted(more))}")
