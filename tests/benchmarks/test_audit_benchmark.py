"""The audit's benchmark: its last line has every figure, and what must hold holds, also where it is quick."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    """benchmarks/audit.py, which is a program and no package."""
    found = importlib.util.spec_from_file_location("audit_benchmark", ROOT / "benchmarks" / "audit.py")
    module = importlib.util.module_from_spec(found)
    sys.modules[found.name] = module
    found.loader.exec_module(module)
    return module


def test_the_last_line_has_every_figure_and_what_must_hold_holds(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "audit.py"), "--quick"],
        capture_output=True, text=True, timeout=600, check=False, env={**os.environ, "TMPDIR": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["mutations"] > 0 and found["detected"] == found["mutations"] and found["false_alarms"] == 0
    assert found["kills"] == found["kills_recovered"] > 0
    assert found["kills_false_verdicts"] == found["kills_entries_lost"] == found["kills_others_hindered"] == 0
    assert found["writers"] == 8 and found["writers_failed"] == 0 and found["writers_entries"] == 8 * 3 * 5
    assert found["entries_lost"] == found["entries_twice"] == 0 and found["writers_verdict"] == "good"
    assert found["appends_per_second"] > 0 and found["verify_seconds_per_million"] > 0
    assert found["verify_verdict"] == "good" and found["verify_entries"] == 2001
    assert found["manifest_overhead"] > 0 and found["manifest_bytes"] > 10_000 and found["quick"] is True


def test_a_lost_entry_would_be_counted(benchmark: ModuleType, tmp_path: Path) -> None:
    with benchmark.project(tmp_path):
        service = benchmark.local_service()
        receipts = service.record(*benchmark.some(3, service.ledger.origin))
        known = {receipt.entry: receipt.number for receipt in receipts}
        assert benchmark._lost(service.ledger, known) == 0
        assert benchmark._lost(service.ledger, known | {"0" * 64: 2}) == 1
        assert benchmark._lost(service.ledger, known | {receipts[0].entry: 2}) == 1  # there, at another number


def test_an_older_ledger_would_be_a_verdict_other_than_good(benchmark: ModuleType, tmp_path: Path) -> None:
    with benchmark.project(tmp_path):
        service = benchmark.local_service()
        note = service.record(*benchmark.some(3, service.ledger.origin))[-1].checkpoint
        assert benchmark.verified(service.ledger, note).verdict == "good"
        with benchmark.project(tmp_path / "other"):
            assert benchmark.verified(benchmark.open_ledger(), note).verdict == "broken"


def test_a_line_that_was_being_written_at_the_kill_confirms_nothing(benchmark: ModuleType, tmp_path: Path) -> None:
    with benchmark.project(tmp_path):
        benchmark._write(tmp_path / "confirmed", 2, 2)
    whole, note = benchmark._confirmed([tmp_path / "confirmed"])
    assert sorted(whole.values()) == [1, 2, 3, 4] and note
    raw = (tmp_path / "confirmed").read_bytes()
    (tmp_path / "confirmed").write_bytes(raw[:-1])
    assert len(benchmark._confirmed([tmp_path / "confirmed", tmp_path / "missing"])[0]) == 2


def test_the_environment_is_as_it_was_after_a_project(benchmark: ModuleType, tmp_path: Path) -> None:
    before = dict(os.environ)
    with benchmark.project(tmp_path):
        assert os.environ["DOMAINLM_HOME"] == str(tmp_path)
    assert dict(os.environ) == before
