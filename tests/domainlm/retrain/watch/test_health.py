"""How others see that a watcher lives."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from domainlm.retrain.watch import health
from domainlm.retrain.watch.health import Pulse, age_s, notify_systemd, read_heartbeat


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A socket as systemd hands one to a service of Type=notify."""
    place = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(place))
        listening.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", str(place))
        yield listening


def until(true, seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.02)


def test_systemd_is_told_where_it_asks_and_nobody_else(systemd: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    assert notify_systemd("READY=1", "STATUS=watching")
    assert systemd.recv(1024) == b"READY=1\nSTATUS=watching"
    monkeypatch.setenv("NOTIFY_SOCKET", "/nowhere/at/all")
    assert not notify_systemd("READY=1")  # no reason to end
    monkeypatch.delenv("NOTIFY_SOCKET")
    assert not notify_systemd("READY=1")


def test_an_abstract_socket_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind("\0domainlm-test-of-watch")
        listening.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", "@domainlm-test-of-watch")
        assert notify_systemd("WATCHDOG=1")
        assert listening.recv(64) == b"WATCHDOG=1"


def test_the_watchdog_is_fed_at_least_twice_in_its_time(
    systemd: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "200000")
    with Pulse(tmp_path / "watch.json"):
        assert [systemd.recv(64) for _ in range(4)] == [b"WATCHDOG=1"] * 4


def test_the_heartbeat_says_what_the_watcher_does_and_goes_with_it(tmp_path: Path) -> None:
    file = tmp_path / "retrain" / "watch.json"
    with Pulse(file, every_s=0.05) as pulse:
        pulse.touch(state="watching", looks=3)
        until(lambda: read_heartbeat(file).get("looks") == 3)
        said = read_heartbeat(file)
        assert said["state"] == "watching" and age_s(said) < health.STALE_S
        assert file.stat().st_mode & 0o077 == 0 or file.parent.stat().st_mode & 0o077 == 0
    assert not file.exists()


def test_a_heartbeat_of_another_boot_or_none_is_stale(tmp_path: Path) -> None:
    file = tmp_path / "watch.json"
    assert age_s(read_heartbeat(file)) == float("inf")
    file.write_text("{no json")
    assert age_s(read_heartbeat(file)) == float("inf")
    file.write_text(json.dumps({"boot": "another", "monotonic_s": time.monotonic()}))
    assert age_s(read_heartbeat(file)) == float("inf")


def test_a_heartbeat_of_a_process_that_was_killed_is_stale_at_once(tmp_path: Path) -> None:
    file = tmp_path / "watch.json"
    watcher = subprocess.Popen([sys.executable, "-c", HANGING, str(file)], stdin=subprocess.PIPE, text=True)
    try:
        until(lambda: age_s(read_heartbeat(file)) < health.STALE_S, 60)
    finally:
        watcher.kill()
        watcher.communicate()
    said = read_heartbeat(file)
    assert said["pid"] == watcher.pid and age_s(said) == float("inf")
    assert age_s(said | {"pids": "pid:[of another container]"}) < health.STALE_S


HANGING = """
import sys, threading, time
from pathlib import Path
from domainlm.retrain.watch import health
health.PATIENCE_S = 0.1
with health.Pulse(Path(sys.argv[1]), every_s=0.1):
    sys.stdin.readline()  # as a listing on a dead mount
    at_work = threading.Thread(target=lambda: [sum(range(1000)) for _ in iter(int, 1)], daemon=True)
    at_work.start()
    sys.stdin.readline()
"""


def test_a_watcher_that_hangs_does_not_beat_and_one_that_computes_does(tmp_path: Path) -> None:
    file = tmp_path / "watch.json"
    # a process of its own: here other tests' threads may be at work, which would count
    watcher = subprocess.Popen([sys.executable, "-c", HANGING, str(file)], stdin=subprocess.PIPE, text=True)
    try:
        until(lambda: file.exists() and age_s(read_heartbeat(file)) > 0.5, 60)
        watcher.stdin.write("compute\n")
        watcher.stdin.flush()
        until(lambda: age_s(read_heartbeat(file)) < 0.3, 60)
    finally:
        watcher.kill()
        watcher.communicate()


def test_a_full_disk_stops_no_watcher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*given: object, **named: object) -> None:
        raise OSError(28, "No space left on device")

    with Pulse(tmp_path / "watch.json", every_s=0.02) as pulse:
        monkeypatch.setattr(Path, "write_text", full)
        time.sleep(0.1)
        assert pulse._thread.is_alive()
