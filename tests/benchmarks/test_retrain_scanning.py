"""The benchmark of scans: its figures are of what it says, also where it is quick."""

from __future__ import annotations

import pytest

from benchmarks.retraining import scanning


def test_every_file_is_seen_and_landed_once_and_little_memory_is_needed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(scanning, "QUICK_FILES", 1200)
    found = scanning.measure(quick=True)
    assert (found["files"], found["landed"]) == (1200, 1201)
    assert found["scan_mb_1k"] < 110
    lines = capsys.readouterr().out.splitlines()
    assert [line[:16].strip() for line in lines[1:]] == ["first", "nothing new", "one file new", "all read again"]
    landed = [int(line.split()[-2]) for line in lines[1:]]
    assert landed == [1200, 0, 1, 0]
