"""The tamper benchmark in its small form: everything is detected and named, and nothing else is."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_every_mutation_is_detected_and_nothing_untouched_is() -> None:
    done = subprocess.run(
        [sys.executable, "benchmarks/audit_tampering.py", "--small"], cwd=ROOT, capture_output=True, text=True,
        check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["mutations"] == found["detected"] > 20_000 and found["false_alarms"] == 0
    flips = sum(found["by_kind"]["flip in an entry"].values())
    assert abs(flips - found["bundle_entries"] * found["entry_bytes_mean"]) <= found["bundle_entries"]  # a rounded mean
    assert {"log: edit", "log: delete", "log: exchange", "log: insert", "log: truncate", "log: roll back", "log: merge",
            "log: rewrite"} <= set(found["by_kind"])  # fmt: skip
    assert found["verified_untouched"] >= 60
