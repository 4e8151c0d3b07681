"""A run is followed on a stub of the API server, whose pods are processes; ZenML's part is played by the test."""

from __future__ import annotations

import io
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from kubernetes_stub import Cluster, Image
from rich.console import Console
from small_pods import RUN

import cli.follow
from cli.follow import Attending, Manner
from cli.interrupts import Interrupts, OnInterrupt
from domainlm.cluster.following import RunState, StepState
from domainlm.cluster.settings import ClusterSettings, StackFile, StackSettings
from domainlm.project import home

IMAGE, NAMESPACE = "registry.bank.example/domainlm:1", "domainlm"
ROLES = Path(__file__).resolve().parents[2] / "infra" / "kubernetes" / "base" / "runs"
PATIENT = Manner()
SLEEP = "import time; time.sleep(300)"


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """The stub under the roles that infra/kubernetes grants."""
    files = [ROLES / name for name in ("accounts.yaml", "roles.yaml")]
    rules = [one for path in files for one in yaml.safe_load_all(path.read_text())]
    rules = [one | {"metadata": one["metadata"] | {"namespace": NAMESPACE}} for one in rules]
    (tmp_path / "app").mkdir()
    with Cluster(tmp_path / "cluster", {IMAGE: Image(tmp_path / "app")}, rules) as made:
        yield made


class Run:
    """ZenML's view of a run, as the test wants it."""

    id, name = RUN, "finetuning_pipeline-2026"

    def __init__(self, cluster: Cluster, says: Callable[[Run], RunState]) -> None:
        self.cluster, self._says = cluster, says
        self.closed: tuple[str, str] | None = None

    def state(self) -> RunState:
        return self._says(self)

    def stop(self) -> bool:
        return False

    def close(self, status: str, why: str) -> None:
        self.closed = (status, why)

    def job(
        self, name: str, script: str, step: str = "", *, image: str = IMAGE, gpus: int = 0, operator: bool = False
    ) -> None:
        """Make a Job as ZenML's orchestrator or the step operator does."""
        annotations = {"zenml.io/step-name": step} if step else {"zenml.io/orchestrator": "x"}
        resources: dict[str, Any] = {"limits": {"memory": "256Mi"} | ({"nvidia.com/gpu": str(gpus)} if gpus else {})}
        container = {
            "name": "main",
            "image": image,
            "command": ["python", "-c"],
            "args": [script],
            "resources": resources,
        }
        metadata = {"name": name, "labels": {"run_id": RUN},
                    "annotations": annotations | ({"zenml.io/step-operator": "x"} if operator else {})}  # fmt: skip
        pod = {"metadata": {"labels": {"run_id": RUN}}, "spec": {"restartPolicy": "Never", "containers": [container],
               "terminationGracePeriodSeconds": 1}}  # fmt: skip
        body = {"apiVersion": "batch/v1", "metadata": metadata, "spec": {"backoffLimit": 0, "template": pod}}
        from kubernetes import client, config

        api = config.new_client_from_config(str(self.cluster.kubeconfig()))
        client.BatchV1Api(api).create_namespaced_job(NAMESPACE, body)

    def over(self, job: str) -> str:
        """How a Job ended; empty while it is at work."""
        found = next((one for one in self.cluster.list("Job") if one["metadata"]["name"] == job), None)
        conditions = (found or {}).get("status", {}).get("conditions") or []
        return next((one["type"] for one in conditions if one["type"] in ("Complete", "Failed")), "")


class Followed:
    """What the command said and did."""

    def __init__(self, result: Any, said: str) -> None:
        self.result, self.said = result, said
        self.times = json.loads((home() / "following" / f"{RUN}.json").read_text()) if self._wrote() else {}

    def _wrote(self) -> bool:
        return (home() / "following" / f"{RUN}.json").exists()


@pytest.fixture
def follow(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Followed]:
    """Follows a run and gives what was said; evidence is collected elsewhere and tested there."""
    collected: list[Any] = []
    ended = {"as": "completed"}

    def collect(run: str, pods: Any, failure: Any, stack: str, only_seen: bool) -> Any:
        assert stack == "k" and not only_seen
        collected.append((pods, failure))
        return SimpleNamespace(path=Path("manifest.json"), manifest=SimpleNamespace(status=ended["as"]))

    monkeypatch.setitem(sys.modules, "steps.collected", SimpleNamespace(collect=collect))
    monkeypatch.setattr(cli.follow, "evidence_of", lambda run, console: "entry 7")

    def do(
        run: Run, manner: Manner = PATIENT, after_s: float = 0.0, sign: int = 0, stopped: bool = False,
        status: str = "completed",
    ) -> Followed:  # fmt: skip
        ended["as"] = status
        cluster_settings = ClusterSettings(
            kubeconfig=str(cluster.kubeconfig("domainlm-submitter")), namespace=NAMESPACE
        )
        components = {"orchestrator": {"name": "k", "flavor": "kubernetes"}}
        stack = StackFile(Path("k.yaml"), StackSettings(name="k", cluster=cluster_settings, components=components))
        console = Console(file=io.StringIO(), width=150, highlight=False)
        if sign:
            threading.Timer(after_s, os.kill, (os.getpid(), sign)).start()
        attending = Attending(run, stack, manner, console)
        with Interrupts() as interrupts:
            result = attending.stopped(interrupts) if stopped else attending.followed(interrupts)
        found = Followed(result, console.file.getvalue())
        found.collected = collected[-1] if collected else None
        return found

    return do


def at_work(cluster: Cluster) -> list[str]:
    return [one["metadata"]["name"] for one in cluster.list("Pod") if one["status"]["phase"] in ("Pending", "Running")]


def test_a_run_that_completes(cluster: Cluster, follow: Callable[..., Followed]) -> None:
    def says(run: Run) -> RunState:
        if run.over("ingest-1") == "Complete":
            return RunState("completed", {"ingest": StepState("completed")}, ("ingest",))
        return RunState("running", {"ingest": StepState("running")}, ("ingest",))

    run = Run(cluster, says)
    run.job("run", SLEEP)
    run.job("ingest-1", "import time; time.sleep(3)", "ingest")
    found = follow(run)
    assert found.result.evidence == "entry 7"
    pods, failure = found.collected
    assert failure is None and pods["ingest"][0].image_digest == cluster.images[IMAGE].digest
    assert found.times["status"] == "completed" and found.times["steps"]["ingest"]["seconds"] >= 2
    assert found.times["submission_to_first_pod_seconds"] is not None
    assert "ingest                    running" in found.said and "ingest                    completed" in found.said
    assert cluster.refused() == [] or {one.resource for one in cluster.refused()} == {"nodes"}


def failing(job: str, error: str = "") -> Callable[[Run], RunState]:
    """ZenML hears of the failure when the Job has ended."""

    def says(run: Run) -> RunState:
        status = "failed" if run.over(job) else "running"
        return RunState(status, {"train": StepState(status, error=error if status == "failed" else "")}, ("train",))

    return says


def test_a_retraining_that_was_declined_is_no_failure(cluster: Cluster, follow: Callable[..., Followed]) -> None:
    def says(run: Run) -> RunState:
        if run.over("decide-1") == "Failed":
            return RunState("stopped", {"decide": StepState("stopped")}, ("decide", "train"))
        return RunState("running", {"decide": StepState("running")}, ("decide", "train"))

    def run_of() -> Run:
        run = Run(cluster, says)
        run.job("run", "pass")
        run.job("decide-1", "raise SystemExit(1)", "decide")
        return run

    declined = follow(run_of(), status="declined")
    assert declined.result is not None and "the run" not in declined.said.split("\n", 1)[1]
    assert declined.collected[1] is None, "no failure is recorded"


def test_out_of_memory_is_told_with_the_key_to_raise(cluster: Cluster, follow: Callable[..., Followed]) -> None:
    run = Run(cluster, failing("train-1"))
    run.job("train-1", "x = bytearray(600_000_000); import time; time.sleep(60)", "train", operator=True)
    found = follow(run)
    assert found.result is None
    assert "the run failed in step train" in found.said
    assert "OOMKilled: asked 256Mi" in found.said
    assert "raise steps.train.settings.step_operator.domainlm.pod_settings.resources.limits.memory" in found.said
    assert found.collected[1].error == "OOMKilled"


def test_a_log_is_shown_without_what_may_quote_data(cluster: Cluster, follow: Callable[..., Followed]) -> None:
    script = "print('Step `train` has started.'); print('row: Kim Min-jun'); raise KeyError('Kim Min-jun')"
    found = follow_failed(cluster, follow, script, "KeyError: its message is withheld, since it may quote data")
    assert "Exception: KeyError: its message is withheld" in found.said
    assert "Step `train` has started." in found.said
    assert "Kim Min-jun" not in found.said
    assert "others may quote data and are withheld (kubectl -n domainlm logs train-1" in found.said
    assert found.collected[1] is None, "the pod itself told what failed"


def test_the_traceback_that_zenml_keeps_is_shown_where_the_pod_is_gone(
    cluster: Cluster, follow: Callable[..., Followed]
) -> None:
    trace = '  File "/app/steps/train.py", line 7, in train\n    x = "Kim Min-jun"\nKeyError: "Kim Min-jun"'
    step = StepState("failed", error="KeyError: its message is withheld", trace=trace)
    found = follow(Run(cluster, lambda run: RunState("failed", {"train": step}, ("train",))))
    assert "its pod and log are gone" in found.said
    assert 'File "/app/steps/train.py", line 7, in train' in found.said
    assert "Kim Min-jun" not in found.said


def test_an_image_without_the_package_is_told(cluster: Cluster, follow: Callable[..., Followed]) -> None:
    found = follow_failed(cluster, follow, "import steps_of_another_version")
    assert (
        "ImageWithoutPackage: the image registry.bank.example/domainlm:1 has no 'steps_of_another_version'"
        in found.said
    )


def follow_failed(cluster: Cluster, follow: Callable[..., Followed], script: str, error: str = "") -> Followed:
    run = Run(cluster, failing("train-1", error))
    run.job("train-1", script, "train")
    found = follow(run)
    assert found.result is None
    return found


class FailsFast:
    """ZenML hears of a pod that ended before its step began when all of its Job is deleted: it has no exception then.

    The Job goes after two more looks at the pods, so that one look saw the pod's end.
    """

    def __init__(self, job: str, step: str) -> None:
        self._job, self._step = job, step
        self._looks = -1  # at the pods, until the Job had ended
        self._gone = False

    def __call__(self, run: Run) -> RunState:
        looks = sum(one.resource == "pods" and one.verb == "list" for one in run.cluster.requests)
        if self._looks < 0 and run.over(self._job):
            self._looks = looks
        if 0 <= self._looks < looks - 1 and not self._gone:
            from kubernetes import client, config

            api = config.new_client_from_config(str(run.cluster.kubeconfig()))
            client.BatchV1Api(api).delete_namespaced_job(self._job, NAMESPACE, propagation_policy="Background")
            self._gone = True
        gone = self._gone and not run.cluster.list("Pod")
        status = "failed" if gone else "running"
        return RunState(status, {self._step: StepState(status)} if gone else {}, (self._step,))


def test_a_store_that_pods_do_not_reach_is_told_though_the_pod_is_gone(
    cluster: Cluster, follow: Callable[..., Followed]
) -> None:
    script = """
class EndpointConnectionError(Exception):
    __module__ = "botocore.exceptions"
raise EndpointConnectionError('Could not connect to the endpoint URL: "http://127.0.0.1:39177/bank?list-type=2"')
"""
    run = Run(cluster, FailsFast("ingest-1", "ingest"))
    run.job("ingest-1", script, "ingest")
    found = follow(run)
    assert "the run failed in step ingest" in found.said
    assert "Unreachable: from the pod the store http://127.0.0.1:39177 cannot be reached" in found.said
    assert "let DOMAINLM_S3_URL be an address that pods reach" in found.said
    assert "Error: exit 1" not in found.said
    assert (found.collected[1].step, found.collected[1].error) == ("ingest", "Unreachable")


def running(run: Run) -> RunState:
    return RunState("running", {"train": StepState("running")}, ("train",))


def test_nobody_waits_for_a_node_for_ever_and_nothing_is_left(
    cluster: Cluster, follow: Callable[..., Followed]
) -> None:
    run = Run(cluster, running)
    run.job("run", SLEEP)
    run.job("train-1", SLEEP, "train", gpus=99, operator=True)
    found = follow(run, Manner(wait_for_node_s=1.0))
    assert "train waits: Unschedulable: no node with 99 nvidia.com/gpu" in found.said
    assert "waited" in found.said and found.result is None
    assert at_work(cluster) == []
    assert run.closed == ("failed", "train: Unschedulable")
    failure = found.collected[1]
    assert (failure.step, failure.error) == ("train", "Unschedulable"), "its record says more than that it was stopped"
    assert failure.message.startswith("no node with 99 nvidia.com/gpu")


def test_a_run_that_zenml_calls_stopped_gets_the_exception_for_which_it_was_stopped(
    cluster: Cluster, follow: Callable[..., Followed]
) -> None:
    def says(run: Run) -> RunState:
        status = "completed" if run.over("train-1") else "running"
        return RunState(status, {"train": StepState(status)}, ("train",))

    run = Run(cluster, says)
    run.job("train-1", "raise KeyError('Kim Min-jun')", "train")
    found = follow(run)
    failure = found.collected[1]
    assert (failure.step, failure.error) == ("train", "Exception")
    assert "KeyError" in failure.message and "Kim Min-jun" not in found.said + failure.message


def test_an_image_that_is_no_name_ends_the_run(cluster: Cluster, follow: Callable[..., Followed]) -> None:
    run = Run(cluster, lambda run: RunState("initializing", {}, ("train",)))
    run.job("run", SLEEP, image="registry.bank.example/Domainlm::1")
    found = follow(run)
    assert "InvalidImageName: 'registry.bank.example/Domainlm::1' is no image name" in found.said
    assert cluster.list("Job") == [] or at_work(cluster) == []


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_leaves_the_run_to_itself(
    cluster: Cluster, follow: Callable[..., Followed], sign: signal.Signals
) -> None:
    run = Run(cluster, running)
    run.job("run", SLEEP)
    found = follow(run, after_s=2.0, sign=sign)
    assert found.result is None and found.collected is None
    assert f"domainlm follow {RUN} --stop" in found.said
    assert len(at_work(cluster)) == 1 and run.closed is None


def test_an_interruption_stops_the_run_where_that_was_said(cluster: Cluster, follow: Callable[..., Followed]) -> None:
    run = Run(cluster, running)
    run.job("run", SLEEP)
    run.job("train-1", SLEEP, "train")
    found = follow(run, Manner(on_interrupt=OnInterrupt.STOP), after_s=2.0, sign=signal.SIGTERM)
    assert found.result is None and "the run was stopped" in found.said
    assert (cluster.list("Pod"), cluster.list("Job")) == ([], [])
    assert run.closed is not None and run.closed[0] == "stopped"
    assert {fact.pod for fact in found.collected[0]["train"]}, "the pods are known though they are gone"


def test_evidence_that_cannot_be_collected_now_waits(
    cluster: Cluster,
    follow: Callable[..., Followed],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def collect(*given: Any) -> Any:
        raise RuntimeError("http://user:password@server says no")

    monkeypatch.setattr(sys.modules["steps.collected"], "collect", collect)
    found = follow(Run(cluster, lambda run: RunState("completed", {}, ())))
    assert found.result is None, "what is not in the ledger is not called good"
    assert "its evidence waits: it cannot be collected now (RuntimeError; where: " in found.said
    assert f"-> domainlm follow {RUN}" in found.said
    assert "RuntimeError at " in caplog.text and "test_follow.py:" in caplog.text
    assert "password" not in found.said + caplog.text


def test_a_run_is_stopped_from_elsewhere(cluster: Cluster, follow: Callable[..., Followed]) -> None:
    run = Run(cluster, running)
    run.job("run", SLEEP)
    assert follow(run, stopped=True).result is None
    assert (cluster.list("Pod"), cluster.list("Job")) == ([], [])


def test_two_runs_at_a_time_do_not_mix(cluster: Cluster, follow: Callable[..., Followed]) -> None:
    other = {"metadata": {"name": "theirs", "labels": {"run_id": "another"}},
             "spec": {"template": {"metadata": {"labels": {"run_id": "another"}}, "spec": {"restartPolicy": "Never",
              "containers": [{"name": "main", "image": IMAGE, "command": ["python", "-c", SLEEP]}]}}}}  # fmt: skip
    from kubernetes import client, config

    client.BatchV1Api(config.new_client_from_config(str(cluster.kubeconfig()))).create_namespaced_job(NAMESPACE, other)
    run = Run(cluster, running)
    run.job("run", SLEEP)
    follow(run, stopped=True)
    assert [one["metadata"]["name"] for one in cluster.list("Job")] == ["theirs"]


def test_an_expired_token_is_named_and_a_new_one_is_taken_up(
    cluster: Cluster, follow: Callable[..., Followed], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(cluster, lambda run: RunState("completed" if time.monotonic() > until else "running", {}, ("train",)))
    run.job("run", SLEEP)
    until = time.monotonic() + 6.0

    def renew() -> None:
        for token in cluster.tokens():
            cluster.expire(token)
        time.sleep(2)
        cluster.kubeconfig("domainlm-submitter")

    threading.Timer(1.0, renew).start()
    assert follow(run).result is not None
