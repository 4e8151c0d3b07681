"""`domainlm stack`: registered once, changed where the file changed, ready only when all answers. About 90 CPU s.

ZenML server, S3-compatible store and MLflow are real processes, the Kubernetes API is the stub.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from cluster_services import Services
from kubernetes_stub import Cluster

ROOT = Path(__file__).resolve().parents[2]
KEY = {"kind": "Secret", "metadata": {"name": "domainlm-key", "namespace": "domainlm"}}
IMAGE = "registry.bank.example/domainlm:0.1.0-cpu"
WITHOUT_GPU = "steps.train.settings.step_operator.domainlm.pod_settings.resources.limits={memory: 16Gi}"


class Place(NamedTuple):
    """Everything that a stack names, at work."""

    services: Services
    cluster: Cluster
    home: Path

    @property
    def secrets(self) -> list[str]:
        """Whatever must stand nowhere but in its file."""
        mine = self.services
        return [mine.zenml_api_key, mine.s3_secret, mine.mlflow_password, *self.cluster.tokens()]

    def call(self, *arguments: str, code: int = 0, cwd: Path = ROOT, **environment: str) -> str:
        """A command of its own process; what it printed."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("DOMAINLM_", "ZENML_"))}
        done = subprocess.run(
            [sys.executable, "-m", "cli.main", "stack", *arguments], cwd=cwd,
            env=kept | self.environment | environment, capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr
        assert not [one for one in self.secrets if one in done.stdout + done.stderr]
        return done.stdout + done.stderr

    @property
    def environment(self) -> dict[str, str]:
        mine = self.services
        return {
            "PYTHONPATH": str(ROOT),
            "DOMAINLM_HOME": str(self.home),
            "DOMAINLM_PROJECT": str(ROOT),
            "DOMAINLM_ZENML_URL": mine.zenml_url,
            "DOMAINLM_ZENML_API_KEY_FILE": str(mine.folder / "key"),
            "DOMAINLM_S3_URL": mine.s3_url,
            "DOMAINLM_S3_PATH": "s3://bank/tenant",
            "DOMAINLM_S3_CREDENTIALS_FILE": str(mine.folder / "s3"),
            "DOMAINLM_MLFLOW_URI": mine.mlflow_url,
            "DOMAINLM_MLFLOW_CREDENTIALS_FILE": str(mine.folder / "mlflow-login"),
            "DOMAINLM_REGISTRY_URI": "127.0.0.1:1",
            "DOMAINLM_KUBECONFIG": str(self.cluster.folder / "kubeconfig-kubernetes-admin"),
            "DOMAINLM_IMAGE": IMAGE,
        }


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("place")
    with Services(folder / "services") as services, Cluster(folder / "cluster", {}, rules=[KEY]) as cluster:
        services.bucket("bank")
        services.secret_file("key", services.zenml_api_key)
        services.secret_file(
            "s3", f"aws_access_key_id: {services.s3_id}\naws_secret_access_key: {services.s3_secret}\n"
        )
        services.secret_file("mlflow-login", f"user: {services.mlflow_user}\npassword: {services.mlflow_password}\n")
        cluster.kubeconfig()
        yield Place(services, cluster, folder / "home")


def components(place: Place) -> dict[str, dict[str, Any]]:
    """Name -> configuration, as the server keeps it."""
    found = place.services.zenml("GET", "/components?size=100&hydrate=true")["items"]
    return {one["name"]: one["metadata"]["configuration"] for one in found}


def test_a_stack_that_is_not_registered_is_not_ready_and_check_registers_nothing(place: Place) -> None:
    before = components(place)
    said = place.call("check", "kubernetes", code=1)
    assert "stack domainlm-kubernetes: added" in said and "-> domainlm stack apply kubernetes" in said
    assert "not ready: domainlm-kubernetes" in said and components(place) == before


def test_what_is_not_there_is_registered_and_said_to_be_ready(place: Place) -> None:
    local = (ROOT / ".zen" / "config.yaml").read_text() if (ROOT / ".zen").is_dir() else None
    said = place.call("apply", "kubernetes", "-c", "configs/kubernetes.yaml")
    for line in (
        "secret domainlm-store: added", "secret domainlm-mlflow: added", "flavor domainlm: added",
        "orchestrator domainlm-kubernetes: added", "step_operator domainlm-training: added",
        "artifact_store domainlm-store: added", "stack domainlm-kubernetes: added",
        "ready: stack domainlm-kubernetes",
    ):  # fmt: skip
        assert line in said
    # the project's own store and its active stack are another matter
    assert not (place.home / "zenml" / "config.yaml").exists()
    assert local is None or (ROOT / ".zen" / "config.yaml").read_text() == local


def test_a_second_time_changes_nothing_and_says_so(place: Place) -> None:
    before = components(place)
    assert "nothing to change" in place.call("apply", "kubernetes") and components(place) == before


def test_no_secret_stands_in_a_component_or_in_a_file_of_the_project(place: Place) -> None:
    found = components(place)
    assert found["domainlm-store"]["authentication_secret"] == "domainlm-store"
    assert (
        found["domainlm-mlflow"]
        == {
            "tracking_uri": place.services.mlflow_url,
            "tracking_username": "{{domainlm-mlflow.user}}",
            "tracking_password": "{{domainlm-mlflow.password}}",
        }
        or not found["domainlm-mlflow"]
    )  # tracker and registry have one name
    assert not [one for one in place.secrets if one in str(found)]
    written = [path.read_bytes() for path in place.home.rglob("*") if path.is_file()]
    assert written and not [one for one in place.secrets if any(one.encode() in text for text in written)]


def test_only_what_changed_is_changed_also_in_a_secret(place: Place) -> None:
    path = place.services.folder / "mlflow-login"
    text = path.read_text()
    path.write_text(text.replace(place.services.mlflow_password, "another"))
    try:
        said = place.call("apply", "kubernetes", code=1, DOMAINLM_REGISTRY_URI="127.0.0.1:2", DOMAINLM_S3_REGION="eu-1")
    finally:
        path.write_text(text)
    lines = [line.strip() for line in said.splitlines() if ": changed" in line or ": added" in line]
    assert lines == [
        "secret domainlm-mlflow: changed",
        "artifact_store domainlm-store: changed (client_kwargs)",
        "container_registry domainlm-registry: changed (uri)",
    ]
    assert components(place)["domainlm-registry"] == {"uri": "127.0.0.1:2"}
    assert "refuses user and password" in said and "not ready: stack domainlm-kubernetes is registered" in said
    said = place.call("apply", "kubernetes")
    assert said.count(": changed") == 3 and "ready: stack domainlm-kubernetes" in said


def test_a_cluster_without_a_gpu_is_not_ready_for_a_training_that_wants_one(place: Place) -> None:
    node = place.cluster.objects.get("Node", "", "node-1")
    del node["status"]["allocatable"]["nvidia.com/gpu"]
    place.cluster.objects.merge("Node", "", "node-1", {"status": {"allocatable": {"nvidia.com/gpu": None}}})
    arguments = ("check", "kubernetes", "-c", "configs/kubernetes.yaml")
    said = place.call(*arguments, code=1)
    assert "a pod of step train: asks for nvidia.com/gpu 1, and no node has any" in said and "not ready" in said
    assert "ready: domainlm-kubernetes" in place.call(*arguments, "--set", WITHOUT_GPU)


def test_a_check_of_another_namespace_and_store_changes_nothing(place: Place) -> None:
    before = components(place)
    said = place.call("check", "kubernetes", code=1, DOMAINLM_S3_PATH="s3://elsewhere/tenant")
    assert "there is no bucket 'elsewhere'" in said
    assert "artifact_store domainlm-store: changed (path)" in said and "not ready: domainlm-kubernetes" in said
    said = place.call("check", "kubernetes", code=1, DOMAINLM_NAMESPACE="domainlm-elsewhere")
    assert "namespace domainlm-elsewhere: is not there" in said and "not ready: domainlm-elsewhere-kubernetes" in said
    assert components(place) == before and not place.cluster.sent("Namespace")


def test_a_run_uses_no_other_stack_than_the_one_that_was_checked(place: Place) -> None:
    code = (
        "from cli.environment import enter_project; enter_project(ready=False)\n"
        "from cli.stack import require_applied; from domainlm.cluster.settings import find_stack\n"
        "from domainlm.errors import ConfigurationError\n"
        "stack = find_stack('kubernetes'); stack.enter(); require_applied(stack); print('as it is')\n"
        "import os; os.environ['DOMAINLM_REGISTRY_URI'] = 'elsewhere.example'\n"
        "try: require_applied(stack)\n"
        "except ConfigurationError as error: print(error)\n"
    )
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DOMAINLM_", "ZENML_"))}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=kept | place.environment, capture_output=True, text=True,
        check=True, timeout=300,
    )  # fmt: skip
    assert "as it is" in done.stdout and "container_registry domainlm-registry: changed (uri)" in done.stdout
    assert components(place)["domainlm-registry"] == {"uri": "127.0.0.1:1"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"DOMAINLM_KUBECONFIG": "/no/such/kubeconfig"}, "there is no kubeconfig"),
        ({"DOMAINLM_ZENML_URL": "http://127.0.0.1:1"}, "nothing listens there"),
        ({"DOMAINLM_S3_PATH": ""}, "the environment variable DOMAINLM_S3_PATH is not set"),
        ({"DOMAINLM_S3_CREDENTIALS_FILE": "/no/such/file"}, "the file /no/such/file cannot be read"),
    ],
    ids=["kubeconfig", "server", "variable", "secret"],
)
def test_what_cannot_be_used_ends_apply_before_anything_is_registered(
    place: Place, change: dict[str, str], said: str
) -> None:
    before = components(place)
    told = place.call("apply", "kubernetes", code=1, DOMAINLM_NAMESPACE="domainlm-new", **change)
    assert said in told and "ready: " not in told
    assert components(place) == before


def test_show_names_secrets_and_never_shows_them(place: Place) -> None:
    content = yaml.safe_load(place.call("show", "kubernetes"))
    assert content["secrets"]["domainlm-store"]["file"] == str(place.services.folder / "s3")
    assert content["components"]["orchestrator"]["configuration"]["kubernetes_namespace"] == "domainlm"


def test_a_path_counts_from_where_the_user_stands(place: Place, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(
        (ROOT / "infra" / "stacks" / "local.yaml").read_text().replace("-local", "-mine")
    )
    assert "name: domainlm-mine" in place.call("show", "mine.yaml", cwd=tmp_path)


def test_the_local_stack_has_nothing_to_reach(place: Place) -> None:
    assert "ready: domainlm-local" in place.call("check", "local")
