"""The benchmark of a cluster, judged: what counts as a step's own work, and what as the price of its pod."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import kubernetes  # noqa: E402

IMPORT_S = 5.0


def step(started: str, ended: str, *pods: tuple[str, str]) -> dict[str, Any]:
    """A step as `domainlm follow` writes it; times on one day, pods with the start of their containers."""
    made = [{"pod": name, "started": f"2026-11-21T{begun}Z"} for name, begun in pods]
    return {"started": f"2026-11-21T{started}", "ended": f"2026-11-21T{ended}", "pods": made}


TIMES = {
    "steps": {
        "ingest": step("10:00:10", "10:00:12", ("a-ingest", "10:00:04")),
        "base_ingest": step("10:00:11.500", "10:00:13", ("b-base-ingest", "10:00:05")),
        "redact": step("10:00:20", "10:00:30", ("c-redact", "10:00:15")),
        "train": step("10:00:39", "10:01:00", ("d-train", "10:00:33"), ("e-train-step-operator", "10:00:45")),
        "evaluate": step("10:01:20", "10:01:30", ("f-evaluate", "10:01:14")),
        "prepare": {"started": "2026-11-21T10:00:31", "ended": "2026-11-21T10:00:31", "pods": []},
    }
}


def test_what_lies_between_two_steps_is_the_price_of_the_second_ones_pod() -> None:
    found = {cost.step: cost for cost in kubernetes.costs(TIMES, IMPORT_S)}
    assert found["redact"].beyond == 7.0 and found["redact"].work == 10.0
    assert found["evaluate"].beyond == 20.0


def test_the_first_steps_have_no_price_since_nothing_ended_before_them() -> None:
    found = {cost.step: cost for cost in kubernetes.costs(TIMES, IMPORT_S)}
    assert found["ingest"].beyond is None and found["base_ingest"].beyond is None


def test_the_second_pod_of_an_operators_step_and_its_imports_are_no_work_of_the_step() -> None:
    [train] = [cost for cost in kubernetes.costs(TIMES, IMPORT_S) if cost.step == "train"]
    assert train.pods == 2
    assert train.beyond == 9.0 + (6.0 + IMPORT_S)
    assert train.work == 21.0 - (6.0 + IMPORT_S)


def test_a_step_from_the_cache_had_no_pod_and_is_not_counted() -> None:
    assert "prepare" not in {cost.step for cost in kubernetes.costs(TIMES, IMPORT_S)}


def test_without_a_cluster_it_says_so_and_ends_with_the_keys() -> None:
    variables = {name: value for name, value in os.environ.items() if not name.startswith("DOMAINLM_ZENML")}
    command = [sys.executable, "benchmarks/kubernetes.py"]
    done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "no cluster" in done.stdout
    assert json.loads(done.stdout.splitlines()[-1]) == dict.fromkeys(kubernetes.KEYS)
