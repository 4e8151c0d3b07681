"""The benchmark of retraining, judged: it says what is wanted, and a lost batch is a failure whatever the rest."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import retrain  # noqa: E402

GOOD = {
    "batches": 1000, "trained_once": 1000, "lost": 0, "duplicate_starts": 37, "scan_seconds_100k": 2.8,
    "notice_seconds": 0.4, "idle_mb": 97.0, "idle_cpu_percent": 0.2,
}  # fmt: skip


def verdicts(figures: dict[str, float | int]) -> dict[str, bool]:
    return {one.figure: retrain.met(one, figures) for one in retrain.WANTED if one.figure in figures}


def test_every_figure_that_was_asked_for_is_judged() -> None:
    assert set(GOOD) <= {one.figure for one in retrain.WANTED}
    assert all(verdicts(GOOD).values()) and retrain.sound(GOOD)


@pytest.mark.parametrize(
    ("figure", "value"),
    [("scan_seconds_100k", 10.1), ("notice_seconds", 2.1), ("idle_mb", 151.0), ("idle_cpu_percent", 1.01)],
)
def test_a_slow_machine_misses_a_wish_and_breaks_nothing(figure: str, value: float) -> None:
    found = GOOD | {figure: value}
    assert [name for name, kept in verdicts(found).items() if not kept] == [figure]
    assert retrain.sound(found)
    assert "NOT MET" in retrain.line(next(one for one in retrain.WANTED if one.figure == figure), found)


@pytest.mark.parametrize(
    "changed",
    [{"lost": 1}, {"trained_once": 999}, {"trained_once": 1001},
     {"postgresql_batches": 10, "postgresql_trained_once": 9, "postgresql_lost": 1}],
)  # fmt: skip
def test_a_batch_that_is_lost_or_trained_twice_breaks_the_promise(changed: dict[str, int]) -> None:
    assert not retrain.sound(GOOD | changed)


def test_a_part_runs_and_the_last_line_is_json() -> None:
    done = subprocess.run(
        [sys.executable, "benchmarks/retrain.py", "--quick", "--only", "scanning"], cwd=ROOT, capture_output=True,
        text=True, timeout=300, check=False, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["landed"] == found["files"] + 1
    assert found["scan_seconds_2k"] > 0


def test_an_unknown_part_is_refused() -> None:
    done = subprocess.run(
        [sys.executable, "benchmarks/retrain.py", "--only", "scaning"], cwd=ROOT, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "no part 'scaning'" in done.stderr
