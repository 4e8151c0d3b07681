"""`domainlm watch` as a process: the real command over a real zone. What it outlives is tested in test_watching.py."""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from small_landing import SmallLanding

from domainlm.retrain.book import open_book

HEAVY = ("torch", "datasets", "pandas", "pyarrow", "zenml", "mlflow", "transformers", "numpy")
NEVER = {
    "new_rows": None, "max_age_days": None, "label_drift": None, "vocabulary_drift": None, "term_drift": None,
    "on_erasure": False, "on_base": False, "on_policy": False,
}  # fmt: skip


class Watching:
    """A watcher and its lines."""

    def __init__(self, landing: SmallLanding, *arguments: str) -> None:
        self.log = landing.home / "watch.log"
        self.out = open(self.log, "w")
        import subprocess
        import sys

        self.process = subprocess.Popen(
            [sys.executable, "-m", "cli.main", "watch", "-c", str(landing.configuration), *arguments],
            cwd=landing.zone, env=landing.environment, stdout=self.out, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def until(self, words: str, seconds: float = 120.0) -> str:
        end = time.monotonic() + seconds
        while words not in (said := self.log.read_text()):
            assert self.process.poll() is None and time.monotonic() < end, said
            time.sleep(0.05)
        return said

    def end(self) -> int:
        self.process.terminate()
        try:
            return self.process.wait(timeout=60)
        finally:
            self.process.kill()
            self.out.close()


@pytest.fixture
def landing(tmp_path: Path, home: Path) -> SmallLanding:
    return SmallLanding(tmp_path, home, **NEVER)


@pytest.fixture
def watching(landing: SmallLanding) -> Iterator[Watching]:
    found = Watching(landing)
    yield found
    if found.process.poll() is None:
        found.end()


@pytest.mark.parametrize(
    "asked",
    [{"asked": True}, {"as_run": "0" * 8}, {"since": "2026-01-01"}, {"until": "2026-01-01"}, {"batches": ["0" * 8]}],
)
def test_what_is_asked_for_once_is_refused(asked: dict[str, object], landing: SmallLanding) -> None:
    landing.configure(**NEVER, **asked)
    _, said = landing.do("watch", code=1)
    assert f"steps.decide.parameters.{next(iter(asked))}" in said and "is asked for once" in said


def test_what_lands_is_looked_into_by_a_child_and_the_watcher_stays_light(
    landing: SmallLanding, watching: Watching
) -> None:
    watching.until("the kernel tells of changes")
    landing.drop("one.csv", "Shares rise", "Shares fall")
    watching.until("landed ")
    book = open_book()
    for _ in range(600):
        if [batch.state for batch in book.batches()] == ["accepted"]:
            break
        time.sleep(0.1)
    assert [(batch.state, batch.rows) for batch in book.batches()] == [("accepted", 2)]
    maps = Path(f"/proc/{watching.process.pid}/maps").read_text()
    assert not any(f"/{name}/" in maps for name in HEAVY)
    [peak] = [
        int(line.split()[1])
        for line in Path(f"/proc/{watching.process.pid}/status").read_text().splitlines()
        if line.startswith("VmHWM")
    ]
    assert peak < 150 * 1024  # kB
    landing.do("watch", "--health")
    for _ in range(60):  # its first beat comes before it has a state to tell
        told, _ = landing.do("watch", "--health")
        if '"state": "watching"' in told:
            break
        time.sleep(0.5)
    assert '"state": "watching"' in told
    assert watching.end() == 0
    assert "the watcher ends" in watching.log.read_text()
    landing.do("watch", "--health", code=1)


def test_systemd_hears_that_it_is_ready_reloads_and_stops(landing: SmallLanding, tmp_path: Path) -> None:
    place = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(place))
        listening.settimeout(60)
        landing.environment |= {"NOTIFY_SOCKET": str(place), "WATCHDOG_USEC": "1000000"}
        watching = Watching(landing)
        try:
            heard = [listening.recv(4096).decode()]
            while not {"READY=1", "WATCHDOG=1"} <= {line for one in heard for line in one.splitlines()}:
                heard.append(listening.recv(4096).decode())
            watching.process.send_signal(signal.SIGHUP)
            while not any("RELOADING=1" in one for one in heard):
                heard.append(listening.recv(4096).decode())
        finally:
            watching.end()
        while not any("STOPPING=1" in one for one in heard):
            heard.append(listening.recv(4096).decode())


def test_a_changed_configuration_is_taken_and_children_work_with_the_one_in_force(
    landing: SmallLanding, watching: Watching
) -> None:
    watching.until("the kernel tells of changes")
    landing.configuration.write_text(landing.configuration.read_text().replace("settle_s", "settle_sec"))
    said = watching.until("the changed configuration is refused")
    assert "settle_s" in said and str(landing.configuration) in said
    landing.drop("one.csv", "Shares rise")  # noticed, and looked into by a child, under the configuration in force
    book = open_book()
    for _ in range(600):
        if [batch.state for batch in book.batches()] == ["accepted"]:
            break
        time.sleep(0.1)
    assert [batch.state for batch in book.batches()] == ["accepted"]
    landing.configure(**NEVER | {"cool_down_h": 1.0})
    watching.until("the changed configuration is in force")


def test_a_dry_run_starts_nothing_and_leaves_no_book(landing: SmallLanding) -> None:
    landing.configure(new_rows=1)
    landing.drop("one.csv", "Shares rise")
    watching = Watching(landing, "--dry-run")
    watching.until("a training would start now; this is a dry run")
    assert watching.end() == 0
    assert not list(landing.home.rglob("book.sqlite"))


def test_a_zone_of_the_command_line_counts_from_where_the_user_stands(landing: SmallLanding) -> None:
    (landing.zone / "elsewhere" / "news").mkdir(parents=True)
    (landing.zone / "elsewhere" / "news" / "x.csv").write_text("headline,label\nShares rise,neutral\n")
    watching = Watching(landing, "elsewhere", "--poll", "0.3")
    said = watching.until("landed ")
    assert f"watching {landing.zone / 'elsewhere'}" in said
    assert watching.end() == 0


def test_what_cannot_be_used_is_refused_at_the_start(landing: SmallLanding) -> None:
    _, err = landing.do("watch", "--on-stop", "whatever", code=1)
    assert "stop or leave" in err
    _, err = landing.do("watch", "--set", "schedule={name: nightly, cron_expression: '30 2 * * *'}", code=1)
    assert "beside the watcher" in err
    landing.configuration = Path("configs/nowhere.yaml")
    _, err = landing.do("watch", code=1)
    assert "nowhere.yaml" in err
