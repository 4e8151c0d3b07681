"""The stub of the Kubernetes API answers the real client as a real server does, in what our tests rely on."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client, config
from kubernetes.client import ApiException
from kubernetes_stub import Cluster, Image, Right

IMAGE = "registry.bank.example/domainlm:1"
NAMESPACE = "domainlm"
ROLES = [
    {"kind": "Namespace", "metadata": {"name": NAMESPACE}},
    {"kind": "ServiceAccount", "metadata": {"name": "domainlm-step", "namespace": NAMESPACE}},
    {
        "kind": "Role",
        "metadata": {"name": "submitter", "namespace": NAMESPACE},
        "rules": [
            {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["create", "get"]},
            {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"], "resourceNames": ["domainlm-key"]},
        ],
    },
    {
        "kind": "RoleBinding",
        "metadata": {"name": "submitter", "namespace": NAMESPACE},
        "subjects": [{"kind": "ServiceAccount", "name": "domainlm-submitter"}],
        "roleRef": {"kind": "Role", "name": "submitter"},
    },
]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    app = tmp_path / "app"
    app.mkdir()
    with Cluster(tmp_path / "cluster", {IMAGE: Image(app, {"COLOUR": "blue", "DATA": "/app/data"})}) as made:
        yield made


def api(cluster: Cluster, user: str = "kubernetes-admin") -> client.ApiClient:
    return config.new_client_from_config(str(cluster.kubeconfig(user)))


def job(script: str, name: str = "one", pod: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    container = {"name": "main", "image": IMAGE, "command": ["python", "-c"], "args": [script]}
    container |= (pod or {}).pop("container", {}) if pod else {}
    template = {
        "metadata": {"labels": {"run": name}},
        "spec": {"restartPolicy": "Never", "containers": [container], **(pod or {})},
    }
    return {"metadata": {"name": name}, "spec": {"backoffLimit": 0, **spec, "template": template}}


def until(true: Callable[[], Any], seconds: float = 30) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.05)
    return found


def run(cluster: Cluster, body: dict[str, Any]) -> tuple[client.V1Job, list[client.V1Pod]]:
    """Create a Job and wait until it is over."""
    batch, core = client.BatchV1Api(api(cluster)), client.CoreV1Api(api(cluster))
    batch.create_namespaced_job(NAMESPACE, body)
    name = body["metadata"]["name"]

    def over() -> client.V1Job | None:
        found = batch.read_namespaced_job(name, NAMESPACE)
        return found if any(one.type in ("Complete", "Failed") for one in found.status.conditions or []) else None

    done = until(over)
    return done, core.list_namespaced_pod(NAMESPACE, label_selector=f"job-name={name}").items


def conclusion(job: client.V1Job) -> tuple[str, str]:
    return job.status.conditions[-1].type, job.status.conditions[-1].reason


def terminated(pod: client.V1Pod) -> client.V1ContainerStateTerminated:
    return pod.status.container_statuses[0].state.terminated


def test_a_job_runs_its_command_in_a_pod_of_its_own(cluster: Cluster) -> None:
    script = "import os, socket; e = os.environ; print(e['COLOUR'], e['DATA'], socket.gethostname(), 'PATH' in e)"
    done, (pod,) = run(cluster, job(script))
    assert conclusion(done)[0] == "Complete" and done.status.succeeded == 1
    assert pod.status.phase == "Succeeded" and terminated(pod).exit_code == 0
    log = client.CoreV1Api(api(cluster)).read_namespaced_pod_log(pod.metadata.name, NAMESPACE)
    assert log.split() == ["blue", str(cluster.images[IMAGE].app / "data"), pod.metadata.name, "True"]
    assert cluster.images[IMAGE].digest in pod.status.container_statuses[0].image_id


def test_a_pod_sees_its_volumes_secrets_and_fields_and_nothing_of_the_test(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OF_THE_TEST", "1")
    core = client.CoreV1Api(api(cluster))
    core.create_namespaced_secret(NAMESPACE, {"metadata": {"name": "domainlm-key"}, "stringData": {"key.json": "{}"}})
    pod = {
        "container": {
            "env": [
                {"name": "KEY", "value": "/run/secrets/domainlm/key.json"},
                {"name": "VALUE", "valueFrom": {"secretKeyRef": {"name": "domainlm-key", "key": "key.json"}}},
                {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                {"name": "BOTH", "value": "$(POD)-$(VALUE)"},
            ],
            "volumeMounts": [
                {"name": "key", "mountPath": "/run/secrets/domainlm"},
                {"name": "tmp", "mountPath": "/tmp"},
            ],
        },
        "volumes": [{"name": "key", "secret": {"secretName": "domainlm-key"}}, {"name": "tmp", "emptyDir": {}}],
    }
    script = (
        "import os, tempfile; assert 'OF_THE_TEST' not in os.environ; key, mode = os.environ['KEY'], 0o777\n"
        "print(open(key).read(), os.environ['BOTH'], oct(os.stat(key).st_mode & mode))\n"
        "print(os.listdir(tempfile.gettempdir()))"
    )
    _, (made,) = run(cluster, job(script, pod=pod))
    log = cluster.log(cluster.list("Pod")[0])
    assert log.split() == ["{}", f"{made.metadata.name}-{{}}", "0o400", "[]"]


def test_a_part_of_a_claim_that_is_mounted_inside_of_another_volume_outlives_the_pod(cluster: Cluster) -> None:
    pod = {
        "container": {
            "env": [{"name": "DOMAINLM_HOME", "value": "/home/of/pods"}],
            "volumeMounts": [
                {"name": "state", "mountPath": "/home/of/pods/work", "subPath": "training/work"},
                {"name": "home", "mountPath": "/home/of/pods"},
            ],
        },
        "volumes": [
            {"name": "home", "emptyDir": {}},
            {"name": "state", "persistentVolumeClaim": {"claimName": "domainlm-state"}},
        ],
    }
    script = (
        "import os, pathlib; home = pathlib.Path(os.environ['DOMAINLM_HOME'])\n"
        "print(sorted(str(one.relative_to(home)) for one in home.glob('*/*')), (home / 'gone').exists())\n"
        "(home / 'work' / 'checkpoint').touch(); (home / 'gone').touch()"
    )
    core, said = client.CoreV1Api(api(cluster)), []
    for name in ("one", "two"):
        _, (made,) = run(cluster, job(script, name, copy.deepcopy(pod)))
        said.append(core.read_namespaced_pod_log(made.metadata.name, NAMESPACE).strip())
    assert said == ["[] False", "['work/checkpoint'] False"]


def test_a_failing_job_is_tried_again_as_often_as_it_says(cluster: Cluster) -> None:
    done, pods = run(cluster, job("raise SystemExit(3)", backoffLimit=2))
    assert conclusion(done) == ("Failed", "BackoffLimitExceeded") and len(pods) == 3
    assert {terminated(pod).exit_code for pod in pods} == {3} and {terminated(pod).reason for pod in pods} == {"Error"}


def test_a_failure_policy_ends_a_job_at_once_or_does_not_count_a_disruption(cluster: Cluster) -> None:
    rules = [
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]},
        {"action": "FailJob", "onExitCodes": {"containerName": "main", "operator": "In", "values": [4]}},
    ]
    done, pods = run(cluster, job("raise SystemExit(4)", "stop", backoffLimit=5, podFailurePolicy={"rules": rules}))
    assert conclusion(done) == ("Failed", "PodFailurePolicy") and len(pods) == 1
    batch = client.BatchV1Api(api(cluster))
    batch.create_namespaced_job(
        NAMESPACE, job("import time; time.sleep(60)", "moved", podFailurePolicy={"rules": rules})
    )
    first = until(lambda: [pod for pod in cluster.list("Pod", "run=moved") if pod["status"]["phase"] == "Running"])[0]
    cluster.evict(first)
    until(lambda: len(cluster.list("Pod", "run=moved")) == 2)
    evicted = client.CoreV1Api(api(cluster)).read_namespaced_pod(first["metadata"]["name"], NAMESPACE)
    assert (evicted.status.phase, evicted.status.reason) == ("Failed", "Evicted")
    assert not batch.read_namespaced_job("moved", NAMESPACE).status.conditions


def test_more_memory_than_the_limit_is_an_oom(cluster: Cluster) -> None:
    pod = {"container": {"resources": {"limits": {"memory": "64Mi"}}}}
    _, (found,) = run(cluster, job("import time; kept = bytearray(10**8); time.sleep(60)", pod=pod))
    assert (terminated(found).reason, terminated(found).exit_code) == ("OOMKilled", 137)


def test_what_cannot_start_waits_with_its_reason(cluster: Cluster) -> None:
    batch, core = client.BatchV1Api(api(cluster)), client.CoreV1Api(api(cluster))
    wanted = {
        "image": {"container": {"image": "registry.bank.example/domainlm:none"}},
        "name": {"container": {"image": "NO NAME"}},
        "secret": {"container": {"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "no", "key": "a"}}}]}},
        "gpu": {"container": {"resources": {"limits": {"nvidia.com/gpu": "9"}}}},
    }
    for name, pod in wanted.items():
        batch.create_namespaced_job(NAMESPACE, job("", name, pod))

    def waiting(name: str) -> client.V1Pod | None:
        for pod in core.list_namespaced_pod(
            NAMESPACE, label_selector=f"run={name}", field_selector="status.phase=Pending"
        ).items:
            if pod.status.container_statuses or any(one.status == "False" for one in pod.status.conditions or []):
                return pod
        return None

    reasons = {
        name: until(lambda name=name: waiting(name)).status.container_statuses[0].state.waiting.reason
        for name in ("image", "name", "secret")
    }
    assert reasons == {
        "image": "ImagePullBackOff", "name": "InvalidImageName", "secret": "CreateContainerConfigError"
    }  # fmt: skip
    condition = until(lambda: waiting("gpu")).status.conditions[0]
    assert condition.reason == "Unschedulable" and "1 Insufficient nvidia.com/gpu" in condition.message
    events = {event.reason for event in core.list_namespaced_event(NAMESPACE).items}
    assert {"FailedScheduling", "Failed", "InspectFailed"} <= events
    with pytest.raises(ApiException) as refused:
        core.read_namespaced_pod_log(waiting("image").metadata.name, NAMESPACE)
    assert refused.value.status == 400 and "is waiting to start: ImagePullBackOff" in refused.value.body


def test_deleting_a_job_in_the_foreground_ends_its_process_and_what_it_owns(cluster: Cluster, tmp_path: Path) -> None:
    batch, core = client.BatchV1Api(api(cluster)), client.CoreV1Api(api(cluster))
    made = batch.create_namespaced_job(NAMESPACE, job("import time; time.sleep(60)"))
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": "one", "uid": made.metadata.uid}
    core.create_namespaced_secret(
        NAMESPACE, {"metadata": {"name": "owned", "ownerReferences": [owner]}, "stringData": {"a": "b"}}
    )
    until(lambda: [pod for pod in cluster.list("Pod") if pod["status"]["phase"] == "Running"])
    batch.delete_namespaced_job("one", NAMESPACE, propagation_policy="Foreground")
    until(lambda: not cluster.list("Job"))
    assert not cluster.list("Pod") and not cluster.list("Secret")


def test_a_deadline_and_a_time_to_live_end_a_job(cluster: Cluster) -> None:
    done, pods = run(cluster, job("import time; time.sleep(60)", "late", activeDeadlineSeconds=1))
    assert conclusion(done) == ("Failed", "DeadlineExceeded") and not pods
    run(cluster, job("", "brief", ttlSecondsAfterFinished=1))
    until(lambda: not cluster.list("Pod", "run=brief"))
    assert [one["metadata"]["name"] for one in cluster.list("Job")] == ["late"]


def test_a_suspended_job_starts_when_it_is_told_to(cluster: Cluster) -> None:
    batch = client.BatchV1Api(api(cluster))
    batch.create_namespaced_job(NAMESPACE, job("print(1)", suspend=True))
    until(lambda: batch.read_namespaced_job("one", NAMESPACE).status.conditions)
    assert not cluster.list("Pod")
    batch.patch_namespaced_job("one", NAMESPACE, {"spec": {"suspend": False}})
    until(lambda: batch.read_namespaced_job("one", NAMESPACE).status.succeeded)


def test_indexed_jobs_run_side_by_side(cluster: Cluster) -> None:
    script = "import os; print(os.environ['JOB_COMPLETION_INDEX'])"
    done, pods = run(cluster, job(script, completionMode="Indexed", completions=2, parallelism=2))
    assert done.status.succeeded == 2
    assert sorted(cluster.log(pod).strip() for pod in cluster.list("Pod")) == ["0", "1"] and len(pods) == 2


def test_roles_decide_and_are_compared_with_what_was_used(tmp_path: Path) -> None:
    with Cluster(tmp_path, {IMAGE: Image(tmp_path)}, ROLES) as cluster:
        submitter = api(cluster, "domainlm-submitter")
        batch, core = client.BatchV1Api(submitter), client.CoreV1Api(submitter)
        batch.create_namespaced_job(NAMESPACE, job("print(1)"))
        for call in (
            lambda: batch.delete_namespaced_job("one", NAMESPACE),
            lambda: core.read_namespaced_secret("other", NAMESPACE),
            lambda: core.list_node(),
        ):
            with pytest.raises(ApiException) as refused:
                call()
            assert refused.value.status == 403
        said = json.loads(refused.value.body)["message"]
        assert 'User "system:serviceaccount:domainlm:domainlm-submitter" cannot list resource "nodes"' in said
        with pytest.raises(ApiException) as missing:
            core.read_namespaced_secret("domainlm-key", NAMESPACE)
        assert missing.value.status == 404
        reviews = client.AuthorizationV1Api(submitter)
        asked = {"namespace": NAMESPACE, "group": "batch", "resource": "jobs"}
        verdicts = [
            reviews.create_self_subject_access_review(
                {"spec": {"resourceAttributes": asked | {"verb": verb}}}
            ).status.allowed
            for verb in ("create", "delete")
        ]
        assert verdicts == [True, False]
        assert cluster.used("domainlm-submitter") == {Right("batch", "jobs", "create"), Right("", "secrets", "get")}
        assert cluster.granted("domainlm-submitter") - cluster.used("domainlm-submitter") == {
            Right("batch", "jobs", "get")
        }


def test_a_pod_calls_the_api_as_its_service_account(tmp_path: Path) -> None:
    script = (
        "from kubernetes import client, config; config.load_incluster_config()\n"
        "try: client.CoreV1Api().list_namespaced_pod('domainlm')\n"
        "except client.ApiException as error: print(error.body)"
    )
    with Cluster(tmp_path, {IMAGE: Image(tmp_path)}, ROLES) as cluster:
        run(cluster, job(script, pod={"serviceAccountName": "domainlm-step"}))
        assert "system:serviceaccount:domainlm:domainlm-step" in cluster.log(cluster.list("Pod")[0])


def test_an_expired_token_a_missing_namespace_and_a_wrong_quantity_are_refused(cluster: Cluster) -> None:
    token = cluster.token("domainlm-submitter")
    expired = config.new_client_from_config(str(cluster.kubeconfig("domainlm-submitter", token=token)))
    cluster.expire(token)
    batch = client.BatchV1Api(api(cluster))
    wrong = {"container": {"resources": {"limits": {"memory": "lots"}}}}
    more = {"container": {"resources": {"requests": {"memory": "2Gi"}, "limits": {"memory": "1Gi"}}}}
    calls: list[tuple[Callable[[], Any], int, str]] = [
        (lambda: client.BatchV1Api(expired).list_namespaced_job(NAMESPACE), 401, "Unauthorized"),
        (lambda: batch.create_namespaced_job("other", job("")), 404, 'namespaces \\"other\\" not found'),
        (lambda: batch.create_namespaced_job(NAMESPACE, job("", pod=wrong)), 400, "quantities must match"),
        (lambda: batch.create_namespaced_job(NAMESPACE, job("", pod=more)), 422, "must be less than or equal"),
        (lambda: batch.create_namespaced_job(NAMESPACE, job("", name="No_Name")), 422, "metadata.name"),
    ]
    for call, code, words in calls:
        with pytest.raises(ApiException) as refused:
            call()
        assert refused.value.status == code and words in refused.value.body
    assert client.VersionApi(api(cluster)).get_code().minor == "32"


def test_a_cron_job_fires_when_the_test_wants_it(cluster: Cluster) -> None:
    body = {
        "metadata": {"name": "nightly"},
        "spec": {"schedule": "0 3 * * *", "jobTemplate": {"spec": job("print(1)")["spec"]}},
    }
    client.BatchV1Api(api(cluster)).create_namespaced_cron_job(NAMESPACE, body)
    cluster.fire("nightly")
    until(lambda: any(one["status"].get("succeeded") for one in cluster.list("Job")))
