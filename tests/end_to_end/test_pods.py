"""Evidence from pods: steps that are processes of their own, each with an empty home, against a real ZenML server and
an S3-compatible store, leave the same manifest and digests as a run of one machine. About 250 CPU seconds."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml
from cluster_services import Services
from leaks import find_leaks
from small_project import make_project

SUPPORT = Path(__file__).resolve().parents[1] / "support"
ADDRESS, OTHER = "ottoline.quist@mail.example.org", "bertram.stone@mail.example.org"
CARD = "4539 1488 0343 6467"
# What may differ between a run of one machine and the same run in pods: time and place, and what follows from them.
TIME_AND_PLACE = {
    "run_id", "run_name", "started", "ended", "digest",
    "configuration/stack",                  # the place
    "environment/process", "collected",     # who wrote it down
    "authors/configuration", "authors/trained_by", "authors/code",  # with a server, whoever was signed in counts too
    "steps/*/started", "steps/*/ended", "steps/*/places",
    "steps/*/code",                         # ZenML's cache key covers the artifact store
}  # fmt: skip


class Bank:
    """A project, its services, and the stack whose steps are processes."""

    def __init__(self, folder: Path, services: Services) -> None:
        self.services = services
        self.project = make_project(folder / "project")
        self.root = self.project.root
        self.bucket, self.landing = services.bucket("bank"), services.bucket("landing")
        self._letters()
        shutil.copy(Path(__file__).parent / "pods_pipeline.py", self.root)
        (self.root / ".gitignore").write_text(".domainlm\n.zen\nsite\nempty_home\nlogs\n__pycache__\n*.yaml.pods\n")
        self.project.do("git", "add", "-A")
        self.project.do("git", "-c", "user.name=t", "-c", "user.email=tina@bank.example", "commit", "-qm", "letters")
        (self.root / "logs").mkdir()
        self.environment = {
            "AWS_ENDPOINT_URL_S3": services.s3_url, "AWS_ACCESS_KEY_ID": services.s3_id,
            "AWS_SECRET_ACCESS_KEY": services.s3_secret, "AWS_DEFAULT_REGION": "us-east-1",
        }  # fmt: skip
        self.project.environment |= self.environment | {
            "PYTHONPATH": f"{self.root}:{self.root / 'site'}:{SUPPORT}",
            "PODS_AS_PROCESSES_LOGS": str(self.root / "logs"),
        }
        self.project.domainlm("setup")
        self.stack = self._stack()

    def run(self, configuration: str = "small.yaml", on_pods: bool = True) -> dict[str, str]:
        """Start the pipeline; gives the run's id and each step's status."""
        said = "python pods_pipeline.py " + configuration + (f" {self.stack}" if on_pods else "")
        printed = self.project.do("/bin/sh", "-c", f". .domainlm/activate && {said}")
        return json.loads(printed.strip().splitlines()[-1])

    def collect(self, *arguments: str, code: int = 0) -> str:
        return self.project.domainlm("audit", "collect", "-s", str(self.stack), *arguments, code=code)

    def manifest(self, run: str) -> dict[str, Any]:
        return json.loads((self.project.state / "runs" / f"{run}.json").read_text())

    def outbox(self, run: str) -> Path:
        return self.bucket / "tenant-a" / "evidence-outbox" / run

    def _letters(self) -> None:
        """Raw text lies in a bucket of its own, which no step writes to."""
        rows = [f"The desk wrote to {address} about bond number {row} and its coupon." for row, address in enumerate(
            [ADDRESS if row in (3, 11) else OTHER if row == 7 else "the treasury" for row in range(40)]
        )] + [f"Please charge my credit card {CARD} for the fee."]  # fmt: skip
        (self.landing / "letters.csv").write_text("text\n" + "".join(f'"{row}"\n' for row in rows))
        for name, file in (("small.yaml", "letters.csv"), ("lost.yaml", "lost.csv")):
            source = {
                "name": "letters", "uri": f"s3://landing/{file}", "form": "documents", "language": "en",
                "licence": "proprietary", "consent": "contract", "purpose": "model-training", "jurisdiction": "us",
                "handling": "internal", "columns": {"text": "text"}, "steward": "olga@bank.example",
            }  # fmt: skip
            steps = {
                "ingest": {"parameters": {"sources": [source]}},
                "redact": {"parameters": {"max_quarantined_share": 1.0}},
                "prepare": {"parameters": {"test_fraction": 0.0, "dev_fraction": 0.0}},
            }
            content = {"steps": steps, "enable_step_logs": False, "enable_pipeline_logs": False}
            (self.root / name).write_text(yaml.safe_dump(content))

    def _kubeconfig(self) -> Path:
        """Of a cluster that does not answer: evidence goes without what only it knows."""
        nobody = {
            "apiVersion": "v1", "kind": "Config", "current-context": "none",
            "contexts": [{"name": "none", "context": {"cluster": "none", "user": "none"}}],
            "clusters": [{"name": "none", "cluster": {"server": "http://127.0.0.1:1"}}],
            "users": [{"name": "none", "user": {"token": "none"}}],
        }  # fmt: skip
        return self.services.secret_file("kubeconfig", yaml.safe_dump(nobody))

    def _stack(self) -> Path:
        services = self.services
        key = services.secret_file("zenml-api-key", services.zenml_api_key)
        store = {"aws_access_key_id": services.s3_id, "aws_secret_access_key": services.s3_secret}
        variables = self.environment | {
            "ZENML_STORE_URL": services.zenml_url, "ZENML_STORE_API_KEY": services.zenml_api_key,
            "DOMAINLM_KEY_FILE": str(self.project.state / "keys" / "development.key"),
            "PYTHONPATH": self.project.environment["PYTHONPATH"],
        }  # fmt: skip
        file = services.secret_file("pods.json", json.dumps(variables))
        content = {
            "name": "pods",
            "server": {"url": services.zenml_url, "api_key_file": str(key)},
            "cluster": {"kubeconfig": str(self._kubeconfig()), "namespace": "domainlm"},
            "secrets": {"pods-store": {"file": str(services.secret_file("store.yaml", yaml.safe_dump(store))),
                                       "keys": list(store)}},
            "components": {
                "orchestrator": {"name": "pods", "flavor": "pods_as_processes", "configuration": {
                    "python": sys.executable, "project": str(self.root), "variables": str(file)}},
                "container_registry": {"name": "pods-registry", "flavor": "default", "configuration": {
                    "uri": "registry.bank.example"}},
                "image_builder": {"name": "pods-builder", "flavor": "local"},
                "artifact_store": {"name": "pods-store", "flavor": "s3", "configuration": {
                    "path": "s3://bank/tenant-a", "authentication_secret": "pods-store",
                    "client_kwargs": {"endpoint_url": services.s3_url, "region_name": "us-east-1"}}},
            },
        }  # fmt: skip
        path = self.services.folder / "pods.yaml"
        path.write_text(yaml.safe_dump(content))
        return path


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bank]:
    folder = tmp_path_factory.mktemp("pods")
    (folder / "project").mkdir()
    with Services(folder / "services", ("store", "zenml")) as services:
        yield Bank(folder, services)


@pytest.fixture(scope="module")
def first(bank: Bank) -> str:
    """A run in pods, collected as soon as it ended."""
    done = bank.run()
    assert set(done.values()) == {done["run"], "completed"}, done
    printed = bank.collect()
    assert f"run {done['run']} completed: entry" in printed
    return done["run"]


def test_a_run_in_pods_has_the_manifest_of_a_local_run_but_for_time_and_place(bank: Bank, first: str) -> None:
    local = bank.run(on_pods=False)["run"]
    one, other = bank.manifest(local), bank.manifest(first)
    assert set(differences(one, other)) <= TIME_AND_PLACE
    assert steps(one)["prepare"]["outputs"] == steps(other)["prepare"]["outputs"]
    assert one["rows"] == other["rows"] and one["rows"], "the rows are committed to where the index is"
    assert other["collected"]["missing"] == other["collected"]["refused"] == other["collected"]["mixed"] == []
    assert len(other["collected"]["record"]) == 64
    assert not other["code"]["dirty"] and other["code"] == one["code"]
    assert set(one["authors"]["configuration"]) <= set(other["authors"]["configuration"])


def test_each_step_names_its_pod_and_node(bank: Bank, first: str) -> None:
    for name, step in steps(bank.manifest(first)).items():
        (place,) = step["places"]
        assert place["pod"].startswith(name) and place["node"] == socket.gethostname() and place["sealed"]
        assert place["image"] == "registry.bank.example/domainlm:0.1.0-cpu" and place["namespace"] == "domainlm"
        assert place["hardware"]["cores"] >= 1


def test_nothing_raw_and_no_credential_lies_in_the_store_the_server_or_the_manifests(bank: Bank, first: str) -> None:
    key = json.loads((bank.project.state / "keys" / "development.key").read_text())["secret"]
    own = [bank.bucket, bank.project.state / "runs", bank.project.state / "evidence", bank.root / "logs"]
    assert find_leaks(own, [ADDRESS, OTHER, CARD, key, bank.services.s3_secret, bank.services.zenml_api_key]) == []
    assert find_leaks(bank.services.folder / "zenml", [ADDRESS, OTHER, CARD, key]) == []
    assert find_leaks(bank.landing, [ADDRESS, CARD]), "the search does find what is there"


def test_a_changed_file_makes_the_run_wait_until_it_is_as_the_pod_left_it(bank: Bank, first: str) -> None:
    done = bank.run()
    assert (done["redact"], done["prepare"], done["record"]) == ("cached", "cached", "completed")
    path = bank.outbox(done["run"]) / "places" / "ingest.1.json"
    before = path.read_bytes()
    path.write_bytes(before.replace(socket.gethostname().encode(), b"elsewhere"))
    printed = bank.collect(code=1)
    assert "places/ingest.1: was not sealed by this project's key" in printed and "not in the ledger yet" in printed
    told = bank.project.domainlm("audit", "verify", code=1)
    assert done["run"] in told
    path.write_bytes(before)
    assert "completed: entry" in bank.collect("--run", done["run"])
    cached = {name for name, step in steps(bank.manifest(done["run"])).items() if step["cached"]}
    assert cached == {"redact", "prepare"}
    assert all("places" not in steps(bank.manifest(done["run"]))[name] for name in cached)


def test_a_failed_run_is_collected_by_the_watcher_with_the_steps_own_words(bank: Bank, first: str) -> None:
    done = bank.run("lost.yaml")
    assert done["ingest"] == "failed"
    other = bank.stack.with_name("other.yaml")
    other.write_text(bank.stack.read_text().replace("name: pods\n", "name: another-tenant\n"))
    told = bank.project.domainlm("audit", "collect", "-s", str(other), code=1)
    assert "no such stack" in told and done["run"] not in told, "another tenant's runs are not looked at"
    told = bank.project.domainlm("audit", "collect", "-s", str(other), "--run", done["run"], code=1)
    assert "on the stack 'pods', not on 'another-tenant'" in told
    assert not (bank.project.state / "runs" / f"{done['run']}.json").exists()
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    watcher = bank.project.start(
        sys.executable, "-m", "cli.main", "audit", "collect", "-s", str(bank.stack), "--watch", "--every", "2",
        "--metrics-port", str(port),
    )  # fmt: skip
    try:
        shown = wait_for(port, 'domainlm_runs_collected_total{status="failed"} 1.0')
    finally:
        watcher.send_signal(signal.SIGTERM)
        printed, _ = watcher.communicate(timeout=60)
    assert watcher.returncode == 0, printed
    assert "domainlm_manifests_waiting 0.0" in shown and "domainlm_runs_at_work 0.0" in shown
    found = bank.manifest(done["run"])
    assert (found["status"], found["failure"]["step"], found["failure"]["error"]) == ("failed", "ingest", "SourceError")
    assert "s3://landing/lost.csv" in found["failure"]["message"]


def test_an_erased_person_leaves_the_clusters_store_and_no_pod_brings_them_back(bank: Bank, first: str) -> None:
    asked = subprocess.run(
        [sys.executable, "-m", "cli.main", "vault", "subject", "EMAIL_ADDRESS", "--reason", "request 2026-117"],
        cwd=bank.root, env=bank.project.environment, input=ADDRESS, capture_output=True, text=True, timeout=120,
        check=True,
    )  # fmt: skip
    person = asked.stdout.strip()
    assert rows_naming(bank, person) >= 2
    mark = bank.bucket / "tenant-a" / "evidence-outbox" / "erasures" / "current.json"
    before = mark.read_bytes()
    erase = ("erase", person, "--reason", "request 2026-117")
    bank.project.domainlm(*erase)  # the run of one machine lies in the project's own store
    assert rows_naming(bank, person) >= 2, "each store is erased from by naming its stack"
    printed = bank.project.domainlm(*erase, "-s", str(bank.stack))
    assert "2 rows" in printed and rows_naming(bank, person) == 0
    assert mark.read_bytes() != before and person.encode() not in mark.read_bytes()
    done = bank.run()
    assert (done["redact"], done["record"]) == ("completed", "completed"), "what was cached names the person"
    assert rows_naming(bank, person) == 0
    bank.collect()


def test_the_ledger_of_all_of_them_verifies(bank: Bank, first: str) -> None:
    printed = bank.project.domainlm("audit", "verify", code=2)  # no checkpoint is published in a test's project
    assert "unanchored" in printed
    assert bank.collect() == "", "what has its entry is not touched again"


def rows_naming(bank: Bank, person: str) -> int:
    """Rows of records in the store that name a subject."""
    count = 0
    for path in (bank.bucket / "tenant-a").rglob("records.arrow"):
        with pa.ipc.open_stream(path) as reader:
            count += sum(person in persons for persons in reader.read_all()["subjects"].to_pylist())
    return count


def steps(manifest: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {step["name"]: step for step in manifest["steps"]}


def differences(one: Any, other: Any, path: str = "") -> Iterator[str]:
    """Paths in which two manifests differ; steps by `*`, what is a leaf of `TIME_AND_PLACE` as a whole."""
    if path in TIME_AND_PLACE or not (isinstance(one, dict | list) and type(one) is type(other)):
        if one != other:
            yield path
    elif isinstance(one, dict):
        for name in one.keys() | other.keys():
            yield from differences(one.get(name), other.get(name), f"{path}/{name}".strip("/"))
    elif path == "steps":
        assert [step["name"] for step in one] == [step["name"] for step in other]
        for left, right in zip(one, other, strict=True):
            yield from differences(left, right, "steps/*")
    elif one != other:
        yield path


def wait_for(port: int, line: str) -> str:
    """The page of metrics, once it has a line."""
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
                shown = answer.read().decode()
        except OSError:
            shown = ""
        if line in shown:
            return shown
        time.sleep(0.5)
    raise AssertionError(f"{line} does not come: {shown}")
