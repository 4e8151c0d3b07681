"""A retraining whose steps are pods, on a stub of Kubernetes with real services: what a "no" leaves, and who knows the
book. Training in pods is the story of `test_story_kubernetes.py`. About 220 CPU seconds."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from cluster_project import CONFIGURATION, NAMESPACE, ClusterProject, cluster_project
from kubernetes_stub_pods import finished
from small_project import ROOT

pytestmark = [pytest.mark.crowded, pytest.mark.timeout(1500)]

# What a schedule does each time: the pods themselves decide. `domainlm retrain` would decide here, and submit nothing.
SUBMIT = """
import sys, time
from pathlib import Path
from rich.console import Console
from cli.environment import enter_project, quiet_libraries
from cli.launch import Launch, effective, launched, show_card
from domainlm.config import RunConfiguration
from domainlm.ledger.run.asked import Asked
enter_project()
configuration = RunConfiguration.load(Path(sys.argv[1]))
def start(stated):
    from pipelines.retraining import retraining_pipeline
    return retraining_pipeline.with_options(config_path=str(effective(configuration.content, stated)))()
console = Console(width=150, highlight=False)
launch = Launch(configuration, Asked(sys.argv[1]), "kubernetes")
finished = launched(start, launch, console, quiet_libraries())
sys.exit(0 if finished is not None and show_card(finished, console, time.monotonic()) else 1)
"""
BOOK = """
import json
from domainlm.retrain.book import open_book
book = open_book()
print(json.dumps({
    "decisions": [[one.decision.retrain, one.run_id] for one in book.decisions(9)],
    "claims": [one.model_dump(mode="json") for one in book.claims()],
    "batches": [batch.state for batch in book.batches()],
    "leases": [book.claim_of(one.token).lease_s for one in book.claims()],
}))
"""


def make_secret(project: ClusterProject, name: str, **values: str) -> None:
    from kubernetes import client, config

    api = client.CoreV1Api(config.new_client_from_config(str(project.cluster.kubeconfig())))
    api.create_namespaced_secret(
        NAMESPACE, client.V1Secret(metadata=client.V1ObjectMeta(name=name), string_data=values)
    )


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterProject]:
    folder = tmp_path_factory.mktemp("pods")
    with cluster_project(folder) as project:
        book = f"sqlite:///{folder / 'book.sqlite'}"
        make_secret(project, "domainlm-book", url=book)
        project.environment["DOMAINLM_BOOK"] = book
        content = yaml.safe_load((project.root / CONFIGURATION).read_text())
        content["parameters"]["controls"] = False
        content["steps"]["detect"]["parameters"]["zone"] = str(folder / "landing")
        content["steps"]["decide"]["parameters"]["new_rows"] = 100_000
        (folder / "landing" / "market").mkdir(parents=True)
        (project.root / CONFIGURATION).write_text(yaml.safe_dump(content, sort_keys=False))
        project.domainlm("stack", "apply", "kubernetes", "-c", CONFIGURATION)
        yield project


def submitted(bank: ClusterProject, configuration: str, code: int) -> str:
    return bank.do(sys.executable, "-c", SUBMIT, configuration, code=code)


def book_of(bank: ClusterProject) -> dict[str, Any]:
    return json.loads(bank.do(sys.executable, "-c", BOOK).splitlines()[-1])


def with_book(bank: ClusterProject) -> set[str]:
    """The steps whose pods were given the book's Secret."""
    found = set()
    for job in bank.cluster.sent("Job"):
        spec = job["spec"]["template"]["spec"]
        if any((one.get("secret") or {}).get("secretName") == "domainlm-book" for one in spec.get("volumes") or []):
            found.add(job["metadata"]["labels"]["step_name"])
    return found


def test_a_no_in_pods_ends_well(bank: ClusterProject) -> None:
    said = submitted(bank, CONFIGURATION, code=0)
    assert "no retraining" in said and "failed" not in said, said
    no = bank.last()
    assert (no["status"], no["failure"], no["model"]) == ("declined", None, None)
    assert {step["name"]: step["status"] for step in no["steps"]} == {"detect": "completed", "decide": "stopped"}
    assert no["collected"]["refused"] == [] and no["verdicts"]["decision"]["verdict"] == "no retraining"
    assert book_of(bank)["decisions"] == [[False, no["run_id"]]]
    assert with_book(bank) == {"detect", "decide"}


def test_a_step_that_fails_without_the_book_does_not_keep_the_batches(bank: ClusterProject) -> None:
    content = yaml.safe_load((bank.root / CONFIGURATION).read_text())
    content["steps"]["decide"]["parameters"]["new_rows"] = 1
    content["settings"]["orchestrator.kubernetes"]["active_deadline_seconds"] = 7200
    content["steps"]["ingest"]["parameters"]["sources"][0]["uri"] = "domains/finance/not_there.csv"
    (bank.root / "configs" / "broken.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    month = Path(content["steps"]["detect"]["parameters"]["zone"]) / "market" / "2023-01"
    month.mkdir()
    shutil.copy(ROOT / "domains" / "finance" / "market" / "2023-01" / "news.jsonl", month)
    (month / "_SUCCESS").touch()
    submitted(bank, "configs/broken.yaml", code=1)
    failed = bank.last()
    assert failed["status"] == "failed" and failed["failure"]["step"] == "ingest", failed["failure"]
    found = book_of(bank)
    assert found["batches"] == ["accepted"] and found["decisions"][0] == [True, failed["run_id"]]
    (claim,) = found["claims"]
    assert (claim["state"], claim["run_id"]) == ("given up", failed["run_id"])
    assert found["leases"] == [7200], "nobody renews it while a step without the book is at work"
    assert claim["batches"] == 1 and with_book(bank) <= {"detect", "decide", "incumbent"}, "no step with data knows it"


def test_a_schedule_is_a_cron_job_whose_runs_decide_by_themselves(bank: ClusterProject) -> None:
    nightly = json.dumps({"name": "nightly", "cron_expression": "30 2 * * *"})
    told = ["-s", "kubernetes", "-c", CONFIGURATION, "--set", f"schedule={nightly}",
            "--set", "steps.decide.parameters.until='2000-01-01'"]  # what landed is of other days  # fmt: skip
    assert "the schedule stands" in bank.domainlm("retrain", "--once", *told)
    before = book_of(bank)
    (schedule,) = bank.cluster.list("CronJob")
    name = bank.cluster.fire(schedule["metadata"]["name"])["metadata"]["name"]
    deadline = time.monotonic() + 600
    while not finished(bank.cluster.objects.get("Job", NAMESPACE, name)):
        assert time.monotonic() < deadline
        time.sleep(0.5)
    bank.domainlm("audit", "collect", "-s", "kubernetes")
    no, after = bank.last(), book_of(bank)
    assert no["status"] == "declined" and no["verdicts"]["decision"]["verdict"] == "no retraining"
    assert len(before["decisions"]) + 1 == len(after["decisions"]) and after["decisions"][0] == [False, no["run_id"]]
