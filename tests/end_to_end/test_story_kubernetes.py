"""One project's runs on a cluster, from `domainlm stack apply` to what is left: the API of Kubernetes is a stub.

Everything else is real: ZenML's server, an S3-compatible store and MLflow run beside it, each pod is a process with
nothing but what its spec gives it, and every call is made under the roles that infra/kubernetes grants.

The tests run in the order of the file, each on what the ones before left.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cluster_project import CONFIGURATION, IMAGE, NAMESPACE, RUN_S, ClusterProject, cluster_project
from kubernetes_stub import Right
from kubernetes_stub_pods import finished
from leaks import find_leaks
from manifest_rules import broken_rules
from small_project import ran, steps_of

pytestmark = [pytest.mark.crowded, pytest.mark.timeout(2400)]

OPERATOR = "steps.train.settings.step_operator.domainlm.pod_settings.resources"
UNANCHORED = 2  # exit code of `audit verify`: all is well, but no checkpoint is published outside in a test's project
STEPS = {
    "base_ingest", "base_redact", "base_prepare", "base_validate", "pretrain", "ingest", "redact", "prepare",
    "validate", "vocabulary", "train", "control_shuffled_labels", "control_from_scratch", "evaluate", "register",
}  # fmt: skip
NEVER_CACHED = {"base_ingest", "ingest", "register"}  # record neither, but it is not in its own manifest
# what must come out the same wherever a step ran; reports hold times, costs and machines
SAME_EVERYWHERE = {"source_manifest", "redacted_records", "prepared_records", "base", "tokenizer", "adapter",
                   "control_adapter", "contract_verdict"}  # fmt: skip
# as `zenml pipeline schedule` does, without the ten seconds that its command line takes to start
CHANGE_AND_END_THE_SCHEDULE = """
from cli.environment import enter_project
from domainlm.cluster.settings import find_stack
enter_project()
find_stack("kubernetes").enter()
from zenml.client import Client
client = Client()
(schedule,) = client.list_schedules().items
client.update_schedule(schedule.id, cron_expression="30 3 * * *")
client.delete_schedule(schedule.id)
"""
# Rights that this story has no occasion to use, each with its reason.
UNUSED = {
    "domainlm-submitter": {
        Right("", "secrets", "patch"): "ZenML writes a token anew where one of this name stands",
    },
    "domainlm-runner": {},
}


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterProject]:
    with cluster_project(tmp_path_factory.mktemp("bank")) as project:
        yield project


@pytest.fixture(scope="module")
def applied(bank: ClusterProject) -> str:
    return bank.domainlm("stack", "apply", "kubernetes", "-c", CONFIGURATION)


@pytest.fixture(scope="module")
def first(bank: ClusterProject, applied: str) -> dict[str, Any]:
    output = bank.run_on_cluster()
    assert "headline: " in output and "registered" in output, output
    return bank.last()


def until(true: Callable[[], Any], seconds: float = 300) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.1)
    return found


def pods(bank: ClusterProject, run: str = "", phase: str = "", **labels: str) -> list[dict[str, Any]]:
    """Pods of a run (of all runs where none is named) with labels and in a phase."""
    wanted = labels | ({"run_id": run} if run else {})
    found = bank.cluster.list("Pod", ",".join(f"{name}={value}" for name, value in wanted.items()))
    return [pod for pod in found if phase in ("", pod["status"].get("phase"))]


def component(pod: dict[str, Any]) -> str:
    return pod["metadata"]["labels"]["app.kubernetes.io/component"]


def nothing_works(bank: ClusterProject) -> bool:
    return not pods(bank, phase="Running") and not pods(bank, phase="Pending")


def test_a_stack_is_registered_and_ready_and_applying_it_again_changes_nothing(
    bank: ClusterProject, applied: str
) -> None:
    assert applied.rstrip().endswith("ready: stack domainlm-kubernetes") and "not ready" not in applied
    assert "nothing to change" in bank.domainlm("stack", "apply", "kubernetes")
    for secret in bank.secrets():
        assert secret not in applied


def test_the_whole_dag_goes_through_with_training_on_the_step_operator(
    bank: ClusterProject, first: dict[str, Any]
) -> None:
    assert first["status"] == "completed" and ran(first) == STEPS
    found = pods(bank, first["run_id"])
    assert {pod["status"]["phase"] for pod in found} == {"Succeeded"}
    by_step: dict[str, list[str]] = {}
    for pod in found:
        by_step.setdefault(pod["metadata"]["labels"].get("step_name", ""), []).append(component(pod))
    assert by_step.pop("") == ["orchestrator"]
    assert by_step.pop("train") == ["orchestrator", "training"], "one pod launches, one trains"
    assert by_step == {step: ["step"] for step in (STEPS | {"record"}) - {"train"}}
    (training,) = (pod for pod in found if component(pod) == "training")
    assert training["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert not any(
        "nvidia.com/gpu" in pod["spec"]["containers"][0]["resources"].get("limits", {})
        for pod in found
        if pod["metadata"]["uid"] != training["metadata"]["uid"]
    )


def test_the_manifest_says_where_each_step_ran_and_verifies(bank: ClusterProject, first: dict[str, Any]) -> None:
    by_name = {pod["metadata"]["name"]: pod for pod in pods(bank, first["run_id"])}
    for step in first["steps"]:
        for place in step["places"]:
            pod = by_name[place["pod"]]
            assert (place["uid"], place["node"], place["image"]) == (pod["metadata"]["uid"], "node-1", IMAGE)
            assert place["image_digest"] == bank.cluster.images[IMAGE].digest
            # what launches a training has no key to seal with; what it says is known from the cluster alone
            assert place.get("sealed") is (None if component(pod) == "orchestrator" else True)
    assert len(steps_of(first)["train"]["places"]) == 2
    assert first["code"]["dirty"] is False and len(first["code"]["commit"]) == 40
    assert not any(first["collected"][fault] for fault in ("missing", "refused", "mixed"))
    assert "unanchored" in bank.domainlm("audit", "verify", code=UNANCHORED)


def test_a_local_run_on_the_same_data_has_the_same_digests(bank: ClusterProject, first: dict[str, Any]) -> None:
    bank.domainlm("run")
    local = bank.last()
    assert local["status"] == "completed" and ran(local) == STEPS, "nothing is shared with the cluster's store"
    there, here = steps_of(first), steps_of(local)
    for step in STEPS:
        for name in SAME_EVERYWHERE & set(here[step]["outputs"]):
            assert there[step]["outputs"][name] == here[step]["outputs"][name], (step, name)
    assert there["train"]["outputs"]["adapter"]
    for part in ("sources", "base", "verdicts", "metrics", "rows"):
        assert first[part] == local[part], part
    assert first["code"]["commit"] == local["code"]["commit"] and first["code"]["lock"] == local["code"]["lock"]


def test_a_second_run_comes_from_the_cache_and_survives_the_loss_of_its_pods(
    bank: ClusterProject, first: dict[str, Any]
) -> None:
    known = {pod["metadata"]["name"] for pod in pods(bank)}
    process = bank.start_on_cluster()

    def fresh(**labels: str) -> list[dict[str, Any]]:
        return [pod for pod in pods(bank, phase="Running", **labels) if pod["metadata"]["name"] not in known]

    (lost,) = until(lambda: fresh(step_name="ingest"))[:1]
    bank.cluster.evict(lost)
    (conductor,) = (pod for pod in fresh() if component(pod) == "orchestrator")
    bank.cluster.delete("Pod", conductor["metadata"]["name"])
    output, _ = process.communicate(timeout=900)
    assert process.returncode == 0, output
    second = bank.last()
    assert second["status"] == "completed" and ran(second) == NEVER_CACHED
    assert steps_of(second)["train"]["outputs"] == steps_of(first)["train"]["outputs"]
    assert len(pods(bank, second["run_id"], step_name="ingest")) == 2, "a new pod in the same Job"
    assert "unanchored" in bank.domainlm("audit", "verify", code=UNANCHORED)


def test_a_failing_step_ends_the_run_with_its_reason(bank: ClusterProject) -> None:
    source = bank.cluster.images[IMAGE].app / "domains" / "finance" / "glossary.csv"
    hidden = source.rename(source.with_suffix(".away"))
    try:
        output = bank.run_on_cluster(code=1)
    finally:
        hidden.rename(source)
    assert "SourceError" in output and "glossary.csv" in output and "Traceback" not in output, output
    failed = bank.last()
    assert (failed["status"], failed["failure"]["step"], failed["failure"]["error"]) == (
        "failed", "ingest", "SourceError"
    )  # fmt: skip
    until(lambda: nothing_works(bank))


def test_a_training_that_needs_more_memory_than_it_may_have_is_named(bank: ClusterProject) -> None:
    little = json.dumps(
        {"requests": {"cpu": "1", "memory": "100Mi"}, "limits": {"memory": "100Mi", "nvidia.com/gpu": "1"}}
    )
    output = bank.run_on_cluster(
        "--set", f"{OPERATOR}={little}", "--set", "steps.train.parameters.max_steps=13", code=1
    )  # fmt: skip
    assert "OOMKilled" in output and "100Mi" in output and "steps.train" in output, output
    failed = bank.last()
    assert failed["status"] == "failed" and failed["failure"]["step"] == "train"
    assert "OOMKilled" in json.dumps(failed["failure"])
    until(lambda: nothing_works(bank))


def test_a_training_that_no_node_can_take_is_named_and_stopped(bank: ClusterProject) -> None:
    runs = len(bank.manifests())
    bank.cluster.set_allocatable("nvidia.com/gpu", "0")
    try:
        output = bank.run_on_cluster("--set", "steps.train.parameters.max_steps=14", "--wait-for-node", "3", code=1)
    finally:
        bank.cluster.set_allocatable("nvidia.com/gpu", "8")
    assert "nvidia.com/gpu" in output and "train" in output, output
    last = bank.last()
    assert len(bank.manifests()) == runs + 1 and last["status"] == "failed"
    assert (last["failure"]["step"], last["failure"]["error"]) == ("train", "Unschedulable")
    until(lambda: nothing_works(bank))


def test_an_image_that_cannot_be_pulled_is_named_before_any_step_runs(bank: ClusterProject) -> None:
    bank.environment["DOMAINLM_IMAGE"] = missing = IMAGE.replace("0.1.0", "none")
    try:
        output = bank.run_on_cluster(code=1)
    finally:
        bank.environment["DOMAINLM_IMAGE"] = IMAGE
    assert missing in output and ("ImagePullBackOff" in output or "cannot be pulled" in output), output
    assert bank.last()["status"] != "completed"
    until(lambda: nothing_works(bank))


def test_an_interruption_stops_the_run_and_leaves_no_pod(bank: ClusterProject) -> None:
    process = bank.start_on_cluster("--on-interrupt", "stop")
    until(lambda: [pod for pod in pods(bank, phase="Running") if component(pod) == "step"])
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 1, output
    until(lambda: nothing_works(bank))
    assert bank.last()["status"] != "completed"
    assert not [one for one in bank.cluster.list("Secret") if one["metadata"]["name"].startswith("zenml-token")]


def test_a_schedule_is_a_cron_job_whose_runs_are_collected_by_themselves(bank: ClusterProject) -> None:
    nightly = json.dumps({"name": "nightly", "cron_expression": "30 2 * * *"})
    assert "the schedule stands" in bank.run_on_cluster("--set", f"schedule={nightly}")
    (schedule,) = bank.cluster.list("CronJob")
    assert schedule["spec"]["schedule"] == "30 2 * * *" and nothing_works(bank)
    name = bank.cluster.fire(schedule["metadata"]["name"])["metadata"]["name"]
    until(lambda: finished(bank.cluster.objects.get("Job", NAMESPACE, name)), RUN_S)
    known = len(bank.manifests())
    bank.domainlm("audit", "collect")
    assert len(bank.manifests()) == known + 1
    assert bank.last()["status"] == "completed" and ran(bank.last()) == NEVER_CACHED
    bank.do(sys.executable, "-c", CHANGE_AND_END_THE_SCHEDULE)
    assert bank.cluster.list("CronJob") == []


def test_every_object_that_was_sent_holds_to_the_schema_and_to_our_rules(bank: ClusterProject) -> None:
    sent = bank.cluster.sent()
    jobs = [one for one in sent if one["kind"] == "Job"]
    assert len(jobs) > 25
    broken = [line for one in sent for line in broken_rules(without_nulls(one), labelled=False)]
    assert broken == []
    for job in jobs:
        for labels in (job["metadata"]["labels"], job["spec"]["template"]["metadata"]["labels"]):
            assert labels["app.kubernetes.io/name"] == labels["app.kubernetes.io/part-of"] == "domainlm"
            assert labels["domainlm.dev/tenant"] and labels["domainlm.dev/cost-center"]
        assert job["spec"]["ttlSecondsAfterFinished"] and job["spec"]["activeDeadlineSeconds"]
        assert job["spec"]["template"]["spec"]["containers"][0]["image"].startswith("registry.bank.example/domainlm:")


def test_no_secret_stands_in_clear_in_any_object_log_or_artifact(bank: ClusterProject, tmp_path: Path) -> None:
    objects = [one for one in bank.cluster.sent() if one["kind"] != "Secret"]
    (tmp_path / "objects.json").write_text(json.dumps(objects))
    made = [one for one in bank.cluster.sent("Secret") if one["metadata"]["name"] != "domainlm-key"]
    assert made and all(one["metadata"]["name"].startswith("zenml-token") for one in made), "tokens of runs, no more"
    logs = tmp_path / "logs"
    logs.mkdir()
    for path in (bank.cluster.folder / "pods").glob("*/log"):
        (logs / path.parent.name).write_bytes(path.read_bytes())
    text = "".join(path.read_text(errors="replace") for path in [tmp_path / "objects.json", *logs.iterdir()])
    assert not [secret for secret in bank.secrets() if secret in text]
    stored = bank.services.folder / "store" / "data"
    wanted = [bank.services.zenml_api_key, bank.services.s3_secret, bank.services.mlflow_password]
    assert find_leaks([stored, bank.state / "runs", bank.state / "configurations"], wanted) == []


def test_nothing_was_written_into_the_image(bank: ClusterProject) -> None:
    app = bank.cluster.images[IMAGE].app
    known = set(json.loads((app / ".checkout.json").read_text())["files"]) | {".checkout.json"}
    found = {str(path.relative_to(app)) for path in app.rglob("*") if path.is_file()}
    assert found == known


def test_roles_grant_what_was_used_and_nothing_more(bank: ClusterProject) -> None:
    assert not [one for one in bank.cluster.refused() if one.resource not in ("namespaces", "nodes")]
    for user, unused in UNUSED.items():
        assert bank.cluster.granted(user) - bank.cluster.used(user) == set(unused), user
    assert bank.cluster.granted("domainlm-step") == bank.cluster.used("domainlm-step") == set()


def without_nulls(value: Any) -> Any:
    """A body as the server reads it: a field that is null is a field that is not there.

    ZenML 0.98 merges its own security context, as a dictionary of the Python client's names with null in all but one of
    them, into the one that the configuration gives.
    """
    if isinstance(value, dict):
        return {key: without_nulls(one) for key, one in value.items() if one is not None}
    return [without_nulls(one) for one in value] if isinstance(value, list) else value
