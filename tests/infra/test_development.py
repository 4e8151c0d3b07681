"""Secrets of a development cluster: what the pods of the `dev` overlay name is in them, made once, private."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

from kustomize import pod_spec, render

from domainlm.keys import KeyRing

ROOT = Path(__file__).resolve().parents[2]
KUSTOMIZE = ROOT / "infra" / "kubernetes"
BY_SIGNING_IN = {"zenml-api-key", "domainlm-stack"}
WITH_PEOPLE = {"backup-identity", "domainlm-book", "domainlm-notices"}  # a key for a restore; a PostgreSQL; notices


def made(folder: Path) -> list[dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, str(KUSTOMIZE / "development.py"), "secrets", str(folder)],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    return json.loads(done.stdout)["items"]


def test_every_secret_that_a_pod_names_has_the_keys_that_it_names(tmp_path: Path) -> None:
    there = {(one["metadata"]["namespace"], one["metadata"]["name"]): one["stringData"] for one in made(tmp_path / "s")}
    for one in render(KUSTOMIZE / "overlays" / "dev"):
        spec = pod_spec(one)
        if spec is None:
            continue
        place = one["metadata"]["namespace"]
        for volume in spec["volumes"]:
            name = volume.get("secret", {}).get("secretName")
            if name and name not in BY_SIGNING_IN | WITH_PEOPLE:
                assert {item["key"] for item in volume["secret"].get("items", [])} <= set(there[place, name])
        for container in (*spec.get("initContainers", []), *spec["containers"]):
            for source in container.get("envFrom", []):
                if "secretRef" in source and not source["secretRef"].get("optional"):
                    assert (place, source["secretRef"]["name"]) in there
            for variable in container.get("env", []):
                if reference := variable.get("valueFrom", {}).get("secretKeyRef"):
                    assert reference["key"] in there[place, reference["name"]], (one["metadata"]["name"], variable)
    assert KeyRing.parse(there["domainlm", "domainlm-key"]["key.json"], "test").key_id.startswith("development")
    assert there["domainlm", "domainlm-key"] == there["domainlm-services", "domainlm-key"]  # seals fit on both sides


def test_a_second_call_makes_the_same_and_files_are_private(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    first = made(folder)
    assert made(folder) == first
    assert made(tmp_path / "others") != first
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}


def test_nothing_but_secrets_goes_through_the_pipe(tmp_path: Path) -> None:
    """A Namespace among them would take the labels off that enforce pod security."""
    assert {one["kind"] for one in made(tmp_path / "s")} == {"Secret"}


def test_the_recipe_leaves_no_copy_of_a_value_in_an_annotation() -> None:
    """kubectl's client-side `apply` writes the whole object, stringData and all, into last-applied-configuration."""
    done = subprocess.run(
        [sys.executable, str(KUSTOMIZE / "development.py"), "--help"],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    applied = [line for line in done.stdout.splitlines() if "kubectl apply" in line and "-f -" in line]
    assert len(applied) == 2 and all("apply --server-side" in line for line in applied)
