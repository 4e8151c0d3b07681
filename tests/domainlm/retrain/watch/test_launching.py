"""Children: real processes, in groups of their own."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from domainlm.retrain.watch import launching
from domainlm.retrain.watch.launching import Child, Children, LaunchFailed, new_log

SLEEPS = [sys.executable, "-c", "import time; print('at work', flush=True); time.sleep(120)"]
STUBBORN = [
    sys.executable, "-c",
    "import signal, subprocess, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "inner = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(120)']); print(inner.pid, flush=True)\n"
    "time.sleep(120)",
]  # fmt: skip


def child(command: list[str], folder: Path) -> Child:
    return Child("one", command, folder / "one.log", lambda: None)


def at_work(log: Path) -> str:
    for _ in range(500):
        if log.exists() and log.read_text().strip():
            return log.read_text().strip()
        time.sleep(0.02)
    raise AssertionError("it says nothing")


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(") ")[1][0] != "Z"
    except OSError:
        return False


def test_its_output_is_private_and_its_end_is_told(tmp_path: Path) -> None:
    import threading

    ended = threading.Event()
    one = Child(
        "one", [sys.executable, "-c", "print('hello'); raise SystemExit(3)"], tmp_path / "l" / "x.log", ended.set
    )
    assert ended.wait(30) and one.wait(5)
    assert (one.code, one.told()) == (3, "ended with code 3")
    assert one.log.read_text() == "hello\n"
    assert one.log.stat().st_mode & 0o777 == 0o600 and one.log.parent.stat().st_mode & 0o777 == 0o700


def test_it_leads_a_group_of_its_own(tmp_path: Path) -> None:
    one = child(SLEEPS, tmp_path)
    assert os.getpgid(one.pid) == one.pid != os.getpgid(0)
    one.end()
    assert one.told() == "was ended by SIGKILL"


def test_sigterm_is_asked_first_and_sigkill_takes_the_whole_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launching, "GRACE_S", 0.5)
    said: list[str] = []
    children = Children(tmp_path, lambda: None, said.append)
    kind = children.start("retrain", SLEEPS)
    stubborn = children.start("accept", STUBBORN)
    inner = int(at_work(stubborn.log))
    at_work(kind.log)
    children.stop("stop")
    assert kind.code == -signal.SIGTERM and stubborn.code == -signal.SIGKILL
    for _ in range(250):
        if not alive(inner):
            break
        time.sleep(0.02)
    assert not alive(inner)
    assert any("accept did not stop" in line for line in said) and any(
        "goes on from its checkpoint, where there is one" in line for line in said
    )


def test_a_training_may_be_left_to_itself(tmp_path: Path) -> None:
    said: list[str] = []
    children = Children(tmp_path, lambda: None, said.append)
    one = children.start("retrain", SLEEPS)
    children.stop("leave")
    assert one.code is None and str(one.pid) in said[0]
    one.end()


def test_what_cannot_be_started_is_said(tmp_path: Path) -> None:
    with pytest.raises(LaunchFailed, match="cannot be started"):
        child(["/no/such/program"], tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(LaunchFailed):
        child(SLEEPS, tmp_path / "file")


def test_old_logs_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launching, "KEPT_LOGS", 3)
    for _ in range(5):
        new_log(tmp_path, "accept").write_text("x")
    other = new_log(tmp_path, "retrain")
    other.write_text("x")
    assert len(list(tmp_path.glob("accept-*.log"))) == 3 and other.exists()
