"""A stack file: variables, secrets from private files, and a process that uses it without touching the local store."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes.client import Configuration
from kubernetes.config import load_kube_config

from domainlm.cluster import kubeconfig
from domainlm.cluster.settings import find_stack, private_text, read_stack, stack_path
from domainlm.errors import ConfigurationError, SecretError
from domainlm.variables import expand

ROOT = Path(__file__).resolve().parents[3]
VARIABLES = {
    "DOMAINLM_ZENML_URL": "http://127.0.0.1:1",
    "DOMAINLM_S3_PATH": "s3://bank/tenant",
    "DOMAINLM_MLFLOW_URI": "http://127.0.0.1:2",
    "DOMAINLM_REGISTRY_URI": "registry.bank.example",
}
FILES = {
    "DOMAINLM_ZENML_API_KEY_FILE": "ZENKEY_very_secret\n",
    "DOMAINLM_S3_CREDENTIALS_FILE": "aws_access_key_id: AKID\naws_secret_access_key: very-secret\n",
    "DOMAINLM_MLFLOW_CREDENTIALS_FILE": "user: olga\npassword: very-secret\n",
}
KUBECONFIG = {
    "current-context": "office",
    "contexts": [
        {"name": "office", "context": {"cluster": "one", "user": "anna"}},
        {"name": "night", "context": {"cluster": "two", "user": "victor"}},
    ],
    "users": [{"name": "anna", "user": {"token": "very-secret"}}],
}


@pytest.fixture(autouse=True)
def variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of somebody who has a cluster."""
    for name in [name for name in os.environ if name.startswith(("DOMAINLM_S3", "DOMAINLM_KUBE", "KUBE"))]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("DOMAINLM_NAMESPACE", raising=False)
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    for name, text in FILES.items():
        path = tmp_path / name.lower()
        path.touch(mode=0o600)
        path.write_text(text)
        monkeypatch.setenv(name, str(path))
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(KUBECONFIG))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))


def write(tmp_path: Path, **changes: Any) -> Path:
    content = yaml.safe_load((ROOT / "infra" / "stacks" / "kubernetes.yaml").read_text()) | changes
    (tmp_path / "stack.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    return tmp_path / "stack.yaml"


# ---------------------------------------------------------------------------------------------- variables


def test_a_variable_is_replaced_as_a_shell_would(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLOUR", "blue")
    monkeypatch.setenv("EMPTY", "")
    monkeypatch.delenv("UNSET", raising=False)
    given = {
        "a": "${COLOUR}-${UNSET:-x}",
        "b": ["${EMPTY:-y}"],
        "c": "${UNSET:-${COLOUR}}",
        "d": "$COLOUR {{s.k}}",
        "e": 3,
    }
    assert expand(given) == ({"a": "blue-x", "b": ["y"], "c": "blue", "d": "$COLOUR {{s.k}}", "e": 3}, [])


def test_a_value_that_comes_out_empty_leaves_its_key_out_and_one_that_is_written_empty_stays() -> None:
    assert expand({"gone": "${UNSET_ONE:-}", "kept": ""}) == ({"kept": ""}, [])


def test_what_a_variable_holds_is_not_read_as_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ODD", "${HOME}")
    assert expand("${ODD}")[0] == "${HOME}"


# ---------------------------------------------------------------------------------------------- the file


def test_every_name_follows_the_tenants_namespace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOMAINLM_NAMESPACE", "domainlm-retail")
    stack = find_stack("kubernetes")
    names = [stack.settings.name, *stack.settings.secrets, *(part.name for part in stack.components().values())]
    assert all(name.startswith("domainlm-retail-") for name in names)
    components = stack.components()
    assert components["orchestrator"].configuration["kubernetes_namespace"] == "domainlm-retail"
    assert components["step_operator"].configuration["kubernetes_namespace"] == "domainlm-retail"
    assert components["artifact_store"].configuration["authentication_secret"] == "domainlm-retail-store"


def test_all_that_is_missing_is_told_at_once_each_with_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DOMAINLM_S3_PATH")
    monkeypatch.delenv("DOMAINLM_ZENML_URL")
    with pytest.raises(ConfigurationError) as caught:
        find_stack("kubernetes")
    said = str(caught.value)
    lines = (ROOT / "infra" / "stacks" / "kubernetes.yaml").read_text().splitlines()
    for name in ("DOMAINLM_S3_PATH", "DOMAINLM_ZENML_URL"):
        line = next(number for number, text in enumerate(lines, 1) if f"${{{name}}}" in text)
        assert f"kubernetes.yaml:{line}: " in said and f"{name} is not set" in said


def test_an_unknown_key_names_the_nearest_right_one(tmp_path: Path) -> None:
    server = {"url": "http://127.0.0.1:1", "api_key": "x"}
    with pytest.raises(ConfigurationError, match=r"server\.api_key: unknown key; did you mean 'api_key_file'"):
        read_stack(write(tmp_path, server=server))


@pytest.mark.parametrize("key", ["key", "secret", "aws_secret_access_key", "tracking_password", "token", "credentials"])
def test_a_secret_in_clear_is_refused_and_not_quoted(tmp_path: Path, key: str) -> None:
    component = {"name": "a", "flavor": "s3", "configuration": {key: "very-secret"}}
    others = {
        kind: {"name": "a", "flavor": "local"} for kind in ("orchestrator", "container_registry", "image_builder")
    }
    with pytest.raises(ConfigurationError, match="is a secret in clear") as caught:
        read_stack(write(tmp_path, components={"artifact_store": component} | others))
    assert f"components.artifact_store.configuration.{key}" in str(caught.value)
    assert "very-secret" not in str(caught.value)
    component["configuration"] = {key: "{{domainlm-store.some_key}}", "authentication_secret": "domainlm-store"}
    read_stack(write(tmp_path, components={"artifact_store": component} | others))


@pytest.mark.parametrize(
    ("kind", "configuration", "place"),
    [
        ("artifact_store", {"client_kwargs": {"aws_secret_access_key": "very-secret"}}, "client_kwargs"),
        ("artifact_store", {"client_kwargs": {"endpoint_url": "http://olga:very-secret@h"}}, "client_kwargs.endpoint"),
        ("artifact_store", {"config_kwargs": {"a": [{"awsSessionToken": "very-secret"}]}}, "config_kwargs.a.0"),
        ("experiment_tracker", {"tracking_uri": "https://tina:very-secret@mlflow.bank.example"}, "tracking_uri"),
        ("experiment_tracker", {"tracking_password": 4711}, "tracking_password"),
        (
            "orchestrator",
            {"pod_settings": {"env": [{"name": "API_KEY", "value": "very-secret"}]}},
            "pod_settings.env.0.value",
        ),
    ],
)
def test_a_secret_in_clear_is_found_at_any_depth_and_in_any_address(
    tmp_path: Path, kind: str, configuration: dict[str, Any], place: str
) -> None:
    components = yaml.safe_load((ROOT / "infra" / "stacks" / "kubernetes.yaml").read_text())["components"]
    components[kind]["configuration"] |= configuration
    with pytest.raises(ConfigurationError, match="is a secret in clear") as caught:
        read_stack(write(tmp_path, components=components))
    assert f"components.{kind}.configuration.{place}" in str(caught.value)
    assert "very-secret" not in str(caught.value)


def test_an_address_of_the_environment_holds_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOMAINLM_ZENML_URL", "https://tina:very-secret@zenml.bank.example")
    with pytest.raises(ConfigurationError, match=r"server\.url: is a secret in clear") as caught:
        find_stack("kubernetes")
    assert "very-secret" not in str(caught.value)


def test_where_the_cloud_gives_accounts_their_rights_a_copy_of_the_file_needs_no_store_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What docs/stack.md says under "Limits"; test_services.py shows whose credentials the check then uses."""
    monkeypatch.delenv("DOMAINLM_S3_CREDENTIALS_FILE")
    content = yaml.safe_load((ROOT / "infra" / "stacks" / "kubernetes.yaml").read_text())
    with pytest.raises(ConfigurationError, match="DOMAINLM_S3_CREDENTIALS_FILE is not set"):
        read_stack(write(tmp_path))
    [store] = [name for name in content["secrets"] if name.endswith("-store")]
    del content["secrets"][store], content["components"]["artifact_store"]["configuration"]["authentication_secret"]
    stack = read_stack(write(tmp_path, secrets=content["secrets"], components=content["components"]))
    assert list(stack.settings.secrets) == ["domainlm-mlflow"]
    assert "authentication_secret" not in stack.components()["artifact_store"].configuration


@pytest.mark.parametrize("kind", ["orchestrator", "artifact_store", "container_registry", "image_builder"])
def test_a_stack_of_a_cluster_without_a_part_that_zenml_wants_is_refused(tmp_path: Path, kind: str) -> None:
    content = yaml.safe_load((ROOT / "infra" / "stacks" / "kubernetes.yaml").read_text())
    del content["components"][kind]
    with pytest.raises(ConfigurationError, match=f"needs the components {kind} too"):
        read_stack(write(tmp_path, components=content["components"]))


def test_a_server_without_a_cluster_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path)
    content = yaml.safe_load(path.read_text())
    del content["cluster"]
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(ConfigurationError, match="needs the section cluster"):
        read_stack(path)


def test_a_name_that_is_no_stack_names_those_that_are() -> None:
    with pytest.raises(ConfigurationError, match="did you mean 'kubernetes'"):
        find_stack("kubernets")
    assert stack_path("domainlm-local") is None  # a stack of ZenML's own store


def test_the_local_stack_is_a_stack_file_without_a_server(home: Path) -> None:
    stack = find_stack("local")
    assert not stack.remote and stack.environment() == {}
    assert stack.components()["artifact_store"].configuration == {"path": f"{home}/artifacts"}


# ---------------------------------------------------------------------------------------------- secrets


def test_a_secret_comes_from_its_file() -> None:
    values = find_stack("kubernetes").secret_values("domainlm-store")
    assert values == {"aws_access_key_id": "AKID", "aws_secret_access_key": "very-secret"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("aws_access_key_id: AKID\n", "does not hold exactly aws_access_key_id, aws_secret_access_key"),
        ("aws_access_key_id: AKID\naws_secret_access_key:\n", "does not hold exactly"),
        ("very-secret: [", "does not hold exactly"),
        ("very-secret", "does not hold exactly"),
        ("", "is empty"),
    ],
)
def test_a_malformed_secret_file_is_refused_and_never_quoted(text: str, said: str) -> None:
    Path(os.environ["DOMAINLM_S3_CREDENTIALS_FILE"]).write_text(text)
    with pytest.raises(SecretError, match=said) as caught:
        find_stack("kubernetes").secret_values("domainlm-store")
    assert "very-secret" not in str(caught.value)


def test_a_secret_file_that_others_can_read_is_refused() -> None:
    path = Path(os.environ["DOMAINLM_S3_CREDENTIALS_FILE"])
    path.chmod(0o640)
    with pytest.raises(SecretError, match="can be read by others"):
        find_stack("kubernetes").secret_values("domainlm-store")


def test_a_mounted_secret_may_be_read_by_the_pods_group_and_by_nobody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "mounted"
    path.write_text("x")
    whole = os.fstat
    monkeypatch.setattr(os, "geteuid", lambda: 10001)
    monkeypatch.setattr(os, "fstat", lambda handle: os.stat_result([*whole(handle)[:4], owner, *whole(handle)[5:]]))
    owner = 20002
    path.chmod(0o440)
    with pytest.raises(SecretError, match="can be read by others"):
        private_text(path, "here")
    owner = 0  # a pod: the file is root's
    for mode, accepted in ((0o440, True), (0o400, True), (0o444, False), (0o460, False)):
        path.chmod(mode)
        if accepted:
            assert private_text(path, "here") == "x"
        else:
            with pytest.raises(SecretError):
                private_text(path, "here")


# ---------------------------------------------------------------------------------------------- the process


def test_a_process_of_the_stack_has_a_zenml_configuration_of_its_own(home: Path) -> None:
    found = find_stack("kubernetes").environment()
    place = home / "stacks" / "domainlm-kubernetes"
    assert found["ZENML_CONFIG_PATH"] == str(place / "zenml") and found["ZENML_REPOSITORY_PATH"] == str(
        place / "client"
    )
    assert found["ZENML_STORE_URL"] == "http://127.0.0.1:1" and found["ZENML_STORE_API_KEY"] == "ZENKEY_very_secret"
    assert found["ZENML_CUSTOM_SOURCE_ROOT"] == str(ROOT)


def test_the_context_gets_the_stacks_name_and_no_credential_is_copied(home: Path, tmp_path: Path) -> None:
    first, second = find_stack("kubernetes").environment()["KUBECONFIG"].split(":")
    assert second == str(tmp_path / "kubeconfig") and "very-secret" not in Path(first).read_text()
    content = yaml.safe_load(Path(first).read_text())
    assert content["current-context"] == "domainlm-kubernetes"
    context = {"cluster": "one", "user": "anna", "namespace": "domainlm"}
    assert content["contexts"] == [{"name": "domainlm-kubernetes", "context": context}]


def test_a_named_context_wins_over_the_current_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOMAINLM_KUBE_CONTEXT", "night")
    context = find_stack("kubernetes").context()
    assert context is not None and (context.cluster, context.user) == ("two", "victor")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"DOMAINLM_KUBECONFIG": "/no/such/file"}, "there is no kubeconfig: /no/such/file"),
        ({"DOMAINLM_KUBE_CONTEXT": "nigth"}, "there is no context 'nigth' in .*did you mean 'night'"),
    ],
)
def test_a_kubeconfig_or_context_that_is_not_there_is_named(
    monkeypatch: pytest.MonkeyPatch, changed: dict[str, str], said: str
) -> None:
    for name, value in changed.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=f"(?s){said}"):
        find_stack("kubernetes").context()


def test_a_file_that_is_no_kubeconfig_is_not_quoted(tmp_path: Path) -> None:
    for text in ("very-secret", "contexts: [{very-secret: 1}]", "a: [", "{}"):
        (tmp_path / "kubeconfig").write_text(text)
        with pytest.raises(ConfigurationError) as caught:
            find_stack("kubernetes").context()
        assert "very-secret" not in str(caught.value)


def test_a_pod_of_the_cluster_needs_no_kubeconfig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1")
    assert find_stack("kubernetes").context() is None
    (tmp_path / "account").mkdir()
    (tmp_path / "account" / "token").write_text("very-secret")
    (tmp_path / "account" / "ca.crt").write_text("authority")
    monkeypatch.setattr(kubeconfig, "ACCOUNT", tmp_path / "account")
    path = find_stack("kubernetes").environment()["KUBECONFIG"]
    assert "very-secret" not in Path(path).read_text()  # named, not copied: Kubernetes renews it
    settings = Configuration()
    load_kube_config(path, "domainlm-kubernetes", client_configuration=settings)
    assert settings.host == "https://10.96.0.1:443" and settings.ssl_ca_cert == str(tmp_path / "account" / "ca.crt")
    assert settings.get_api_key_with_prefix("authorization") == "Bearer very-secret"


def test_reading_a_stack_imports_neither_zenml_nor_kubernetes() -> None:
    code = (
        "import sys; from domainlm.cluster.settings import find_stack; find_stack('kubernetes').environment();"
        "print(sorted({'zenml', 'kubernetes', 'boto3', 'requests'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"
