"""What a run configuration says to a cluster is checked before anything is sent."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from domainlm.cluster import run_settings
from domainlm.cluster.run_settings import wanted_images, wanted_resources
from domainlm.config import RunConfiguration
from domainlm.errors import ConfigurationError

CONFIGURATION = Path(__file__).resolve().parents[3] / "configs" / "kubernetes.yaml"
IMAGE = "registry.bank.example/domainlm:0.1.0-cpu"
TRAIN = "steps.train.settings.step_operator.domainlm"
STEPS = "settings.orchestrator.kubernetes"


@pytest.fixture(autouse=True)
def image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOMAINLM_IMAGE", IMAGE)
    for name in ("DOMAINLM_TRAINING_IMAGE", "DOMAINLM_TENANT", "DOMAINLM_COST_CENTER"):
        monkeypatch.delenv(name, raising=False)


def load(*overrides: str) -> dict[str, Any]:
    return RunConfiguration.load(CONFIGURATION, list(overrides)).content


def refusal(*overrides: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load(*overrides)
    return str(caught.value)


def test_the_configuration_of_a_cluster_works_on_the_same_data_with_the_same_parameters() -> None:
    local = RunConfiguration.load(CONFIGURATION.parents[1] / "zenml_config.yaml").content
    there = load()
    assert there["parameters"] == local["parameters"] and there["model"] == local["model"]
    for name, step in local["steps"].items():
        assert there["steps"][name].get("parameters") == step.get("parameters"), name
    assert {name for name, step in there["steps"].items() if step.get("step_operator")} == {"train"}


def test_only_training_asks_for_a_gpu_and_the_pod_that_launches_it_does_not() -> None:
    wanted = wanted_resources(load())
    launching, training = wanted.pop("train")
    assert training["limits"]["nvidia.com/gpu"] == "1" and "nvidia.com/gpu" not in launching["limits"]
    assert all("nvidia.com/gpu" not in pod.get("limits", {}) for pods in wanted.values() for pod in pods)
    assert all(pod["limits"]["memory"] for pods in wanted.values() for pod in pods)


def test_a_cluster_without_a_gpu_needs_one_override() -> None:
    content = load(f"{TRAIN}.pod_settings.resources.limits={{memory: 16Gi}}")
    assert wanted_resources(content)["train"][1]["limits"] == {"memory": "16Gi"}


def test_every_pod_is_restricted_and_holds_no_secret_in_its_specification() -> None:
    content = load()
    orchestrator = content["settings"][run_settings.ORCHESTRATOR]
    training = content["steps"]["train"]["settings"][run_settings.OPERATOR]
    for pod in (orchestrator["orchestrator_pod_settings"], orchestrator["pod_settings"], training["pod_settings"]):
        container, whole = pod["container_security_context"], pod["additional_pod_spec_args"]["security_context"]
        assert container["readOnlyRootFilesystem"] and container["runAsNonRoot"]
        assert container["allowPrivilegeEscalation"] is False and container["capabilities"] == {"drop": ["ALL"]}
        assert whole["seccompProfile"] == {"type": "RuntimeDefault"} and whole["fsGroup"] == 10001
        assert not [one for one in pod["env"] if "KEY" in one["name"] and one["name"] != "DOMAINLM_KEY_FILE"]
    launching = content["steps"]["train"]["settings"][run_settings.ORCHESTRATOR]["pod_settings"]
    for pod in (orchestrator["orchestrator_pod_settings"], launching):
        assert {volume["name"] for volume in pod["volumes"]} == {"home", "tmp"}  # who only starts others has no key
    for pod in (orchestrator["pod_settings"], training["pod_settings"]):
        key = next(volume for volume in pod["volumes"] if volume["name"] == "key")
        assert key["secret"] == {"secretName": "domainlm-key", "defaultMode": 0o440}
    assert orchestrator["pod_settings"]["additional_pod_spec_args"]["automount_service_account_token"] is False
    assert training["pod_settings"]["additional_pod_spec_args"]["automount_service_account_token"] is False


CLAIM = {"claimName": "domainlm-state"}


def parts(pod: dict[str, Any]) -> dict[str, str]:
    """Path -> the part of the claim that is mounted there."""
    claims = {one["name"] for one in pod["volumes"] if one.get("persistentVolumeClaim") == CLAIM}
    return {one["mountPath"]: one.get("subPath", "") for one in pod["volume_mounts"] if one["name"] in claims}


@pytest.mark.parametrize("name", ["kubernetes.yaml", "kubernetes-two-nodes.yaml", "kubernetes-ray.yaml"])
def test_the_training_sees_its_checkpoints_of_the_claim_and_neither_quarantine_nor_vault(name: str) -> None:
    """Both hold what was taken out of the data, and the key that opens them is mounted beside."""
    content = RunConfiguration.load(CONFIGURATION.with_name(name), []).content
    training = parts(content["steps"]["train"]["settings"][run_settings.OPERATOR]["pod_settings"])
    # steps.workspace works in home()/work, a base from the hub lies in home()/cache (domainlm.project)
    assert training == {"/var/lib/domainlm/work": "training/work", "/var/lib/domainlm/cache": "training/cache"}
    redacting = [
        parts(step["settings"][run_settings.ORCHESTRATOR]["pod_settings"])
        for step_name, step in content["steps"].items() if step_name.endswith("redact") and step.get("settings")
    ]  # fmt: skip
    own = {} if name == "kubernetes-ray.yaml" else {"/var/lib/domainlm": "redaction"}
    assert redacting and all(found == own for found in redacting)


@pytest.mark.parametrize("name", ["kubernetes-two-nodes.yaml", "kubernetes-ray.yaml"])
def test_what_the_three_configurations_share_is_the_same_in_each(name: str) -> None:
    """YAML knows no inclusion, so the pods' rights and limits stand three times."""
    first, other = load(), RunConfiguration.load(CONFIGURATION.with_name(name), []).content
    for key in ("settings", "environment", "retry", "enable_step_logs", "enable_pipeline_logs"):
        assert other[key] == first[key], key

    def training(content: dict[str, Any]) -> dict[str, Any]:
        settings = copy.deepcopy(content["steps"]["train"]["settings"])
        pod = settings[run_settings.OPERATOR]["pod_settings"]
        del pod["resources"], pod["additional_pod_spec_args"]["termination_grace_period_seconds"]
        for volume in pod["volumes"]:
            (volume.get("emptyDir") or {}).pop("sizeLimit", None)
        return settings

    assert training(other) == training(first)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        (
            "settings.resources={memory: 4Gi}",
            "write them under settings.orchestrator.kubernetes.pod_settings.resources",
        ),
        ("steps.train.settings.resources={gpu_count: 1}", "for a step on the operator step_operator.domainlm"),
        ("settings.step_operator.kubernetes={}", "did you mean 'step_operator.domainlm'?"),
        (f"{STEPS}.pod_setings={{}}", "pod_setings: unknown key; did you mean 'pod_settings'?"),
        (f"{STEPS}.pod_settings.resource={{}}", "resource: unknown key; did you mean 'resources'?"),
        (f"{STEPS}.pod_settings.resources.limits.memory=lots", "limits.memory: 'lots' is no quantity"),
        (f"{TRAIN}.pod_settings.resources.requests.memory=17Gi", "asks for 17Gi, more than its limit 16Gi"),
        (f"{TRAIN}.pod_settings.resources.limits.nvidia.com/gpu='0.5'", "nvidia.com/gpu: '0.5': devices come whole"),
        (f"{TRAIN}.pod_settings.volume_mounts.0.name=kye", "mounts the volume 'kye', which is not there"),
        (f"{TRAIN}.pod_settings.labels.domainlm.dev/tenant='a b'", "domainlm.dev/tenant: must be up to 63 letters"),
        (f"{TRAIN}.active_deadline=5", "did you mean 'active_deadline_seconds'?"),
        ("settings.docker.parent_image=registry.bank.example/domainlm", "names no image for good"),
        ("settings.docker.parent_image=registry.bank.example:5000/domainlm:latest", "names no image for good"),
        ("settings.docker.parent_image='two words'", "'two words' is no image"),
        ("schedule={cron_expression: daily}", "schedule.cron_expression: must have five fields"),
        (
            "schedule={cron_expresion: '30 2 * * *'}",
            "schedule.cron_expresion: unknown key; did you mean 'cron_expression'?",
        ),
        ("retry.max_retry=2", "did you mean 'max_retries'?"),
    ],
)
def test_what_a_cluster_would_refuse_or_drop_is_named_before_the_run(override: str, said: str) -> None:
    assert said in refusal(override)


@pytest.mark.parametrize(
    "override",
    [
        "environment.AWS_SECRET_ACCESS_KEY=very-secret",
        "environment.DB_PASSWORD=4711",
        "environment.PROXY='http://tina:very-secret@proxy.bank.example:3128'",
        "steps.train.environment.ZENML_STORE_API_TOKEN=very-secret",
        f"{STEPS}.pod_settings.env=[{{name: ZENML_STORE_API_TOKEN, value: very-secret}}]",
        f"{STEPS}.orchestrator_pod_settings.env=[{{name: ZENML_STORE_API_TOKEN, value: very-secret}}]",
        f"{TRAIN}.pod_settings.env=[{{name: ANYTHING, value: eyJhbGciOiJIUzI1.eyJzdWIiOiIxMjM0NTY}}]",
        f"{TRAIN}.pod_settings.annotations={{bank.example/api_key: very-secret}}",
        "settings.docker.parent_image='https://tina:very-secret@registry.bank.example/domainlm'",
        "extra={hook: 'https://hooks.bank.example/?token=very-secret'}",
        "steps.train.extra={training: {environment: {HF_TOKEN: very-secret}}}",
    ],
)
def test_a_secret_in_clear_is_refused_wherever_the_server_or_a_pod_would_keep_it(override: str) -> None:
    said = refusal(override)
    assert "is a secret in clear; name a Secret of the cluster" in said
    assert "very-secret" not in said and "4711" not in said and "eyJ" not in said


def test_what_is_no_secret_is_let_through() -> None:
    reference = "{name: AWS_SECRET_ACCESS_KEY, valueFrom: {secretKeyRef: {name: domainlm-store, key: AWS_SECRET}}}"
    other = "{name: AUTH_TOKEN, value: $(AWS_SECRET_ACCESS_KEY)}"
    load(
        f"{TRAIN}.pod_settings.env=[{reference}, {other}]",
        "environment.TOKENIZERS_PARALLELISM='0'", "environment.MAX_TOKENS='64'",
        "environment.AWS_WEB_IDENTITY_TOKEN_FILE=/run/secrets/token", "environment.OTEL_URL='http://collector:4317'",
        f"{TRAIN}.pod_settings.image_pull_secrets=[registry]",
    )  # fmt: skip


def test_a_step_inherits_what_the_top_of_the_file_says() -> None:
    # 4Gi fits the limit that is written here, 8Gi only the one that is written at the top
    step = "steps.evaluate.settings.orchestrator.kubernetes.pod_settings.resources"
    load(f"{step}={{requests: {{memory: 4Gi}}}}")
    assert "asks for 8Gi, more than its limit 6Gi" in refusal(f"{step}={{requests: {{memory: 8Gi}}}}")


def test_a_variable_that_is_not_set_is_named_once_with_the_line_of_its_first_use(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("DOMAINLM_IMAGE")
    said = refusal()
    assert said.count("DOMAINLM_IMAGE is not set") == 1 and "settings.docker.parent_image" in said
    line = next(
        number for number, text in enumerate(CONFIGURATION.read_text().splitlines(), 1) if "parent_image" in text
    )
    assert f"kubernetes.yaml:{line}:" in said


def test_training_may_have_an_image_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    assert wanted_images(load()) == [IMAGE]
    monkeypatch.setenv("DOMAINLM_TRAINING_IMAGE", "registry.bank.example/domainlm:0.1.0-cuda")
    assert wanted_images(load()) == [IMAGE, "registry.bank.example/domainlm:0.1.0-cuda"]


def test_variables_are_for_places_and_never_touch_what_a_run_works_on() -> None:
    content = load("steps.ingest.parameters.sources.0.uri='domains/${HOME}.csv'")
    assert content["steps"]["ingest"]["parameters"]["sources"][0]["uri"] == "domains/${HOME}.csv"


def test_what_stands_in_pod_specifications_is_a_field_of_a_pod() -> None:
    from kubernetes.client import V1PodSpec

    content = load()
    blocks = [content["settings"], *(step.get("settings") or {} for step in content["steps"].values())]
    named = {
        key
        for block in blocks
        for component in (run_settings.ORCHESTRATOR, run_settings.OPERATOR)
        for pod in run_settings.PODS
        for key in ((block.get(component) or {}).get(pod) or {}).get("additional_pod_spec_args", {})
    }
    assert "security_context" in named and named <= set(V1PodSpec.openapi_types)  # ZenML drops others with a warning


def test_the_lists_of_keys_are_those_of_the_installed_zenml() -> None:
    from zenml.config.retry_config import StepRetryConfig
    from zenml.config.schedule import Schedule
    from zenml.integrations.kubernetes.flavors import KubernetesOrchestratorSettings, KubernetesStepOperatorSettings
    from zenml.integrations.kubernetes.pod_settings import KubernetesPodSettings

    def current(model: Any) -> set[str]:
        return {name for name, field in model.model_fields.items() if not field.deprecated}

    assert current(KubernetesOrchestratorSettings) == run_settings.ORCHESTRATOR_KEYS
    assert current(KubernetesStepOperatorSettings) == run_settings.OPERATOR_KEYS
    assert current(KubernetesPodSettings) == run_settings.POD_KEYS
    assert current(Schedule) == run_settings.SCHEDULE_KEYS and current(StepRetryConfig) == run_settings.RETRY_KEYS
