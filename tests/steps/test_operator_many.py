"""A step of several nodes is a JobSet in place of a Job; the test plays the controller of JobSets, which makes the
leader's Job, and the stub runs that one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import kubernetes_stub_objects as objects
import pytest
from kubernetes import client, config
from kubernetes_stub import Cluster, Image
from zenml.enums import ExecutionStatus, StackComponentType
from zenml.integrations.kubernetes.flavors import KubernetesStepOperatorSettings
from zenml.integrations.kubernetes.flavors.kubernetes_orchestrator_flavor import KubernetesOrchestratorConfig
from zenml.integrations.kubernetes.orchestrators import KubernetesOrchestrator

import steps.operator
from domainlm.errors import ConfigurationError
from steps.operator import FLAVOR, StepOperatorFlavor
from steps.operator_many import ManyPodsOperator

IMAGE, MISSING, NAMESPACE = "registry.bank.example/domainlm:1", "registry.bank.example/nowhere:1", "domainlm"
JOBSETS = objects.Resource("jobset.x-k8s.io", "v1alpha2", "jobsets", "JobSet")


def component(kind: type[Any], settings: Any, flavor: str, of_type: StackComponentType) -> Any:
    now = datetime(2026, 11, 21)
    return kind(name="a", id=uuid4(), config=settings, flavor=flavor, type=of_type, user=None, created=now, updated=now)


@pytest.fixture
def without_jobsets(tmp_path: Path) -> Iterator[Cluster]:
    app = tmp_path / "app"
    app.mkdir()
    with Cluster(tmp_path / "cluster", {IMAGE: Image(app)}) as made:
        yield made


@pytest.fixture
def cluster(without_jobsets: Cluster, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """One that knows JobSets, and has nobody who makes anything of them."""
    monkeypatch.setitem(objects.BY_PLURAL, (JOBSETS.group, JOBSETS.plural), JOBSETS)
    monkeypatch.setitem(objects.BY_KIND, JOBSETS.kind, JOBSETS)
    return without_jobsets


@pytest.fixture
def operator(without_jobsets: Cluster, monkeypatch: pytest.MonkeyPatch) -> ManyPodsOperator:
    values = KubernetesOrchestratorConfig(pass_zenml_token_as_secret=True, kubernetes_namespace=NAMESPACE)
    orchestrator = component(KubernetesOrchestrator, values, "kubernetes", StackComponentType.ORCHESTRATOR)
    zenml = SimpleNamespace(
        active_stack=SimpleNamespace(orchestrator=orchestrator),
        active_user=SimpleNamespace(id=uuid4(), oidc_claims={}),
    )
    monkeypatch.setattr(steps.operator, "Client", lambda: zenml)
    monkeypatch.setattr("zenml.integrations.kubernetes.step_operators.kubernetes_step_operator.Client", lambda: zenml)
    flavor = StepOperatorFlavor()
    made = component(
        flavor.implementation_class,
        flavor.config_class(kubernetes_namespace=NAMESPACE, api_request_timeout=30),
        FLAVOR,
        StackComponentType.STEP_OPERATOR,
    )
    api = config.new_client_from_config(str(without_jobsets.kubeconfig()))
    monkeypatch.setattr(made, "get_kube_client", lambda: api)
    monkeypatch.setenv("DOMAINLM_POD", "launching-pod")
    monkeypatch.setenv("DOMAINLM_POD_UID", "2c1ad5d6-0000-4000-8000-000000000001")
    return made


def step(nodes: int = 2, image: str = IMAGE, **extra: Any) -> Any:
    settings = KubernetesStepOperatorSettings(ttl_seconds_after_finished=60)
    return SimpleNamespace(
        snapshot=SimpleNamespace(id=uuid4(), project_id=uuid4()),
        run_id="7a7a",
        run_name="a run",
        step_run_id=uuid4(),
        pipeline_step_name="train",
        pipeline=SimpleNamespace(name="finetuning_pipeline"),
        pipeline_configuration=SimpleNamespace(settings={"step_operator.domainlm": settings}),
        config=SimpleNamespace(command=None, parameters={"nodes": nodes}, extra=extra),
        get_image=lambda key: image,
    )


def submit(operator: ManyPodsOperator, info: Any, script: str = "pass") -> None:
    environment = {"ZENML_STORE_API_TOKEN": "eyJ-the-very-token"}
    operator.submit_with_allocation(info, ["python", "-c", script], environment, None)


def run_of(info: Any) -> Any:
    return SimpleNamespace(id=info.step_run_id, config=info.config)


def control(operator: ManyPodsOperator, cluster: Cluster, only: str = "leader") -> None:
    """Make a Job of each JobSet, as its controller would."""
    api = operator.get_kube_client()
    for found in cluster.list("JobSet"):
        name = found["metadata"]["name"]
        secret = {"metadata": {"name": "zenml-token"}, "stringData": {"zenml_api_token": "x"}}
        for one in found["spec"]["replicatedJobs"]:
            if one["name"] != only:
                continue
            for variable in one["template"]["spec"]["template"]["spec"]["containers"][0]["env"]:
                if reference := variable.get("valueFrom", {}).get("secretKeyRef"):
                    secret["metadata"]["name"] = reference["name"]
                    client.CoreV1Api(api).create_namespaced_secret(NAMESPACE, secret)
            job = {
                "metadata": one["template"]["metadata"] | {"name": f"{name}-{only}-0"},
                "spec": one["template"]["spec"],
            }
            client.BatchV1Api(api).create_namespaced_job(NAMESPACE, job)


def says(operator: ManyPodsOperator, cluster: Cluster, condition: str) -> None:
    """The controller's verdict on the one JobSet."""
    (found,) = cluster.list("JobSet")
    body = {"status": {"conditions": [{"type": condition, "status": "True"}]}}
    client.CustomObjectsApi(operator.get_kube_client()).patch_namespaced_custom_object(
        JOBSETS.group, JOBSETS.version, NAMESPACE, JOBSETS.plural, found["metadata"]["name"], body
    )


def until(true: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 60
    while not (found := true()):
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.05)
    return found


def test_several_nodes_are_one_jobset_of_the_launching_pod(operator: ManyPodsOperator, cluster: Cluster) -> None:
    submit(operator, step(3, training={"queue": "gpu"}))
    (sent,) = cluster.sent("JobSet")
    assert not cluster.sent("Job")
    (owner,) = sent["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"]) == ("Pod", "launching-pod")
    assert sent["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "gpu"
    assert sent["spec"]["ttlSecondsAfterFinished"] == 60
    leader, worker = (one["template"]["spec"] for one in sent["spec"]["replicatedJobs"])
    assert (leader["completions"], worker["completions"]) == (1, 2)
    assert "eyJ" not in str(sent) and "zenml-token" in str(leader) and "zenml-token" not in str(worker)


def test_one_node_is_a_job_and_asks_nothing_of_jobsets(operator: ManyPodsOperator, without_jobsets: Cluster) -> None:
    info = step(1)
    submit(operator, info)
    assert len(without_jobsets.sent("Job")) == 1
    operator.cancel(run_of(info))
    operator.get_status(run_of(info))
    assert {request.resource for request in without_jobsets.requests} <= {"jobs", "pods"}


def test_a_step_waits_for_the_controller_and_ends_with_node_0(operator: ManyPodsOperator, cluster: Cluster) -> None:
    info = step()
    submit(operator, info)
    assert operator.get_status(run_of(info)) == ExecutionStatus.RUNNING  # no Job yet: Kueue may let it wait
    control(operator, cluster)
    until(lambda: operator.get_status(run_of(info)) == ExecutionStatus.COMPLETED)


@pytest.mark.parametrize(
    ("condition", "status"), [("Completed", ExecutionStatus.COMPLETED), ("Failed", ExecutionStatus.FAILED)]
)
def test_the_controllers_verdict_holds(
    operator: ManyPodsOperator, cluster: Cluster, condition: str, status: ExecutionStatus
) -> None:
    """A node that fails fails them all, also while node 0's Job is still there."""
    info = step()
    submit(operator, info, "import time; time.sleep(600)")
    control(operator, cluster)
    until(lambda: operator.get_status(run_of(info)) == ExecutionStatus.RUNNING)
    says(operator, cluster, condition)
    assert operator.get_status(run_of(info)) == status


def test_node_0_that_cannot_start_fails_the_step_and_takes_the_others_along(
    operator: ManyPodsOperator, cluster: Cluster
) -> None:
    info = step(image=MISSING)
    submit(operator, info)
    control(operator, cluster)
    until(lambda: operator.get_status(run_of(info)) == ExecutionStatus.FAILED)
    until(lambda: not cluster.list("JobSet"))
    assert operator.get_status(run_of(info)) == ExecutionStatus.FAILED


def test_cancelling_ends_all_nodes(operator: ManyPodsOperator, cluster: Cluster) -> None:
    info, other = step(), step()
    other.run_id = "another"
    submit(operator, info)
    submit(operator, other)
    operator.cancel(run_of(info))
    (left,) = cluster.list("JobSet")
    assert left["metadata"]["labels"]["run_id"] == "another"
    operator.cancel(run_of(info))  # once more is no fault


def test_an_earlier_try_is_ended_first_and_one_that_has_ended_is_left(
    operator: ManyPodsOperator, cluster: Cluster
) -> None:
    submit(operator, step())
    says(operator, cluster, "Failed")
    submit(operator, step())
    ended, running = (one["metadata"]["name"] for one in cluster.list("JobSet"))
    submit(operator, step())
    left = {one["metadata"]["name"] for one in cluster.list("JobSet")}
    assert ended in left and running not in left and len(left) == 2


def test_a_cluster_without_jobsets_is_named(operator: ManyPodsOperator, without_jobsets: Cluster) -> None:
    with pytest.raises(ConfigurationError, match="this cluster knows no JobSets") as raised:
        submit(operator, step())
    assert "docs/many-gpus.md" in raised.value.remedy
    assert operator._gang is None


def test_an_account_that_may_not_make_jobsets_is_named(
    operator: ManyPodsOperator, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*_: Any, **__: Any) -> None:
        raise client.ApiException(status=403)

    monkeypatch.setattr(client.CustomObjectsApi, "create_namespaced_custom_object", forbidden)
    with pytest.raises(ConfigurationError, match="may not list or create JobSets"):
        submit(operator, step())
