"""The step operator's Job, as an API server gets it: no token in it, owned by the launching pod, one at a time."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from kubernetes import client, config
from kubernetes_stub import Cluster, Image
from urllib3.exceptions import MaxRetryError
from zenml.enums import ExecutionStatus, StackComponentType
from zenml.integrations.kubernetes.flavors import KubernetesStepOperatorSettings
from zenml.integrations.kubernetes.flavors.kubernetes_orchestrator_flavor import KubernetesOrchestratorConfig
from zenml.integrations.kubernetes.orchestrators import KubernetesOrchestrator
from zenml.orchestrators import LocalOrchestrator
from zenml.orchestrators.base_orchestrator import BaseOrchestratorConfig

import steps.operator
from domainlm.errors import ConfigurationError
from steps.operator import FLAVOR, StepOperator, StepOperatorFlavor

IMAGE, MISSING = "registry.bank.example/domainlm:1", "registry.bank.example/nowhere:1"
NAMESPACE = "domainlm"
TOKEN = "eyJ-the-very-token"


def component(kind: type[Any], settings: Any, flavor: str, of_type: StackComponentType) -> Any:
    now = datetime(2026, 11, 21)
    return kind(name="a", id=uuid4(), config=settings, flavor=flavor, type=of_type, user=None, created=now, updated=now)


def orchestrator(**values: Any) -> KubernetesOrchestrator:
    values = {"pass_zenml_token_as_secret": True, "kubernetes_namespace": NAMESPACE} | values
    return component(
        KubernetesOrchestrator, KubernetesOrchestratorConfig(**values), "kubernetes", StackComponentType.ORCHESTRATOR
    )


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    app = tmp_path / "app"
    app.mkdir()
    with Cluster(tmp_path / "cluster", {IMAGE: Image(app)}) as made:
        yield made


@pytest.fixture
def stack(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The active stack and user, as ZenML's client would tell them."""
    made = SimpleNamespace(orchestrator=orchestrator())
    zenml = SimpleNamespace(active_stack=made, active_user=SimpleNamespace(id=uuid4(), oidc_claims={}))
    monkeypatch.setattr(steps.operator, "Client", lambda: zenml)
    monkeypatch.setattr("zenml.integrations.kubernetes.step_operators.kubernetes_step_operator.Client", lambda: zenml)
    return made


@pytest.fixture
def operator(cluster: Cluster, stack: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> StepOperator:
    settings = StepOperatorFlavor().config_class(kubernetes_namespace=NAMESPACE, service_account_name="domainlm-step")
    made = component(StepOperator, settings, FLAVOR, StackComponentType.STEP_OPERATOR)
    api = config.new_client_from_config(str(cluster.kubeconfig()))
    monkeypatch.setattr(made, "get_kube_client", lambda: api)
    monkeypatch.setenv("DOMAINLM_POD", "launching-pod")
    monkeypatch.setenv("DOMAINLM_POD_UID", "2c1ad5d6-0000-4000-8000-000000000001")
    return made


def step(image: str = IMAGE, run: str = "7a7a", **pod: Any) -> Any:
    settings = KubernetesStepOperatorSettings(pod_settings=pod or None)
    return SimpleNamespace(
        snapshot=SimpleNamespace(id=uuid4(), project_id=uuid4()),
        run_id=run,
        run_name="a run",
        step_run_id=uuid4(),
        pipeline_step_name="train",
        pipeline=SimpleNamespace(name="finetuning_pipeline"),
        pipeline_configuration=SimpleNamespace(settings={"step_operator.domainlm": settings}),
        config=SimpleNamespace(command=None),
        get_image=lambda key: image,
    )


def submit(operator: StepOperator, info: Any, script: str = "pass") -> dict[str, str]:
    environment = {"ZENML_STORE_API_TOKEN": TOKEN, "COLOUR": "blue"}
    operator.submit_with_allocation(info, ["python", "-c", script], environment, None)
    return environment


def until(true: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 60
    while not (found := true()):
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.05)
    return found


def test_the_job_names_the_runs_token_and_does_not_hold_it(operator: StepOperator, cluster: Cluster) -> None:
    info = step(env=[{"name": "OWN", "value": "1"}], resources={"limits": {"memory": "1Gi"}})
    submit(operator, info)
    (job,) = cluster.sent("Job")
    assert TOKEN not in json.dumps([request.body for request in cluster.requests])
    container = job["spec"]["template"]["spec"]["containers"][0]
    environment = {one["name"]: one for one in container["env"]}
    reference = {"name": f"zenml-token-{info.snapshot.id}", "key": "zenml_api_token"}
    assert environment["ZENML_STORE_API_TOKEN"] == {
        "name": "ZENML_STORE_API_TOKEN",
        "valueFrom": {"secretKeyRef": reference},
    }
    assert environment["OWN"]["value"] == "1" and environment["COLOUR"]["value"] == "blue"
    assert container["resources"]["limits"] == {"memory": "1Gi"}
    assert {request.verb for request in cluster.requests if request.resource == "secrets"} == set()  # nobody copies it


def test_the_job_belongs_to_the_pod_that_launched_it(operator: StepOperator, cluster: Cluster) -> None:
    submit(operator, step())
    (owner,) = cluster.sent("Job")[0]["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"]) == ("Pod", "launching-pod")
    assert owner["uid"] == "2c1ad5d6-0000-4000-8000-000000000001"


def test_settings_are_as_written_once_the_step_is_submitted(operator: StepOperator) -> None:
    info = step(env=[{"name": "OWN", "value": "1"}])
    submit(operator, info)
    assert [one["name"] for one in operator.get_settings(info).pod_settings.env] == ["OWN"]


def test_what_an_earlier_try_left_at_work_is_ended_first(operator: StepOperator, cluster: Cluster) -> None:
    submit(operator, step(), "import time; time.sleep(600)")
    (first,) = until(lambda: cluster.list("Job"))
    submit(operator, step(run="another"), "import time; time.sleep(600)")
    submit(operator, step(), "import time; time.sleep(600)")
    left = {job["metadata"]["labels"]["run_id"]: job["metadata"]["name"] for job in cluster.list("Job")}
    assert first["metadata"]["name"] not in left.values() and set(left) == {"7a7a", "another"}
    until(
        lambda: not [pod for pod in cluster.list("Pod") if pod["metadata"]["labels"]["job-name"] not in left.values()]
    )


def test_a_launching_job_of_the_same_step_is_left_alone(operator: StepOperator, cluster: Cluster) -> None:
    container = {"name": "main", "image": IMAGE, "command": ["python", "-c", "import time; time.sleep(600)"]}
    labels = {"run_id": "7a7a", "step_name": "train"}
    body = {
        "metadata": {"name": "launching", "labels": labels, "annotations": {"zenml.io/step-name": "train"}},
        "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [container]}}},
    }
    client.BatchV1Api(operator.get_kube_client()).create_namespaced_job(NAMESPACE, body)
    submit(operator, step())
    assert "launching" in {job["metadata"]["name"] for job in cluster.list("Job")}


@pytest.mark.parametrize(
    ("script", "status"), [("pass", ExecutionStatus.COMPLETED), ("raise SystemExit(1)", ExecutionStatus.FAILED)]
)
def test_a_job_that_ended_says_how(operator: StepOperator, script: str, status: ExecutionStatus) -> None:
    info = step(env=[])
    secret = {"metadata": {"name": f"zenml-token-{info.snapshot.id}"}, "stringData": {"zenml_api_token": TOKEN}}
    client.CoreV1Api(operator.get_kube_client()).create_namespaced_secret(NAMESPACE, secret)
    submit(operator, info, script)
    found = until(lambda: (now := operator.get_status(SimpleNamespace(id=info.step_run_id))).is_finished and now)
    assert found == status


def test_waiting_asks_zenmls_server_while_the_api_server_is_away(
    operator: StepOperator, stack: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    info, asked = step(env=[]), []
    known = [ExecutionStatus.RUNNING, ExecutionStatus.FAILED]
    zenml = steps.operator.Client()
    zenml.get_run_step = lambda step_id, hydrate: SimpleNamespace(status=known[min(len(asked), 2) - 1])
    monkeypatch.setattr(steps.operator, "LOOK_EVERY_S", 0.01)

    def away(step_run: Any) -> ExecutionStatus:
        asked.append(step_run)
        raise client.ApiException(status=503) if len(asked) == 1 else MaxRetryError(None, "/", None)

    monkeypatch.setattr(operator, "get_status", away)
    assert operator.wait(SimpleNamespace(id=info.step_run_id)) == ExecutionStatus.FAILED and len(asked) == 2


def test_an_image_that_is_not_there_ends_the_step_and_leaves_no_pod(operator: StepOperator, cluster: Cluster) -> None:
    info = step(image=MISSING)
    submit(operator, info)
    until(lambda: operator.get_status(SimpleNamespace(id=info.step_run_id)) == ExecutionStatus.FAILED)
    until(lambda: not cluster.list("Job") and not cluster.list("Pod"))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"pass_zenml_token_as_secret": False}, "pass_zenml_token_as_secret"),
        ({"kubernetes_namespace": "b"}, "one namespace"),
    ],
)
def test_an_orchestrator_that_would_show_the_token_is_refused(
    operator: StepOperator, cluster: Cluster, stack: SimpleNamespace, values: dict[str, Any], said: str
) -> None:
    stack.orchestrator = orchestrator(**values)
    with pytest.raises(ConfigurationError, match=said):
        submit(operator, step())
    assert not cluster.sent()


def test_a_stack_is_refused_before_a_run_where_its_orchestrator_does_not_fit(operator: StepOperator) -> None:
    local = component(LocalOrchestrator, BaseOrchestratorConfig(), "local", StackComponentType.ORCHESTRATOR)
    remote = SimpleNamespace(config=SimpleNamespace(is_local=False), name="a", type=None)
    for made, fits in ((orchestrator(), True), (orchestrator(pass_zenml_token_as_secret=False), False), (local, False)):
        stack = SimpleNamespace(orchestrator=made, artifact_store=remote, container_registry=remote)
        assert operator.validator._custom_validation_function(stack)[0] is fits


def test_the_flavor_names_the_operator() -> None:
    flavor = StepOperatorFlavor()
    assert flavor.name == "domainlm" and issubclass(flavor.implementation_class, StepOperator)
    assert flavor.type == StackComponentType.STEP_OPERATOR
