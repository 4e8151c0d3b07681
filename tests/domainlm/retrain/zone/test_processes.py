"""Real processes: several watchers of one zone, one that is killed, and what a watcher loads."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from domainlm.retrain.batches import LANDED

FILES = 150
WATCHER = """
import json, sys, time
from domainlm.retrain.book import open_book
from domainlm.retrain.settings import DetectSettings
from domainlm.retrain.zone import Zone
zone = Zone(DetectSettings.model_validate_json(sys.argv[2]), open_book(sys.argv[1]))
end = time.monotonic() + float(sys.argv[3])
while time.monotonic() < end:
    zone.scan()
    time.sleep(0.02)
"""
LOADED = """
import json, re, sys
from domainlm.retrain.book import open_book
from domainlm.retrain.settings import DetectSettings
from domainlm.retrain.zone import Zone
zone = Zone(DetectSettings.model_validate_json(sys.argv[2]), open_book(sys.argv[1]))
landed = len(zone.settled(10).landed)
names = {"torch", "datasets", "pandas", "pyarrow", "numpy", "zenml", "mlflow", "transformers", "botocore"}
heavy = names & set(sys.modules)
# not getrusage: what its parent had when it forked counts there as well
mb = int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024
print(json.dumps({"landed": landed, "heavy": sorted(heavy), "mb": mb}))
"""


def start(one, seconds: float) -> subprocess.Popen:
    url, given = f"sqlite:///{one.book.file}", one.settings.model_dump_json()
    return subprocess.Popen([sys.executable, "-c", WATCHER, url, given, str(seconds)], start_new_session=True)


def check(one) -> None:
    one.settle()
    batches = one.book.batches()
    names = {str(path.relative_to(one.root)) for path in one.root.rglob("*.csv")}
    assert {batch.files[0].path for batch in batches} == names
    assert len(batches) == len(names) == FILES
    assert sorted(batch.number for batch in batches) == list(range(1, FILES + 1))
    for batch in batches:
        assert [change.after for change in one.book.transitions(batch.id)] == [LANDED]


def test_several_watchers_of_one_zone_land_each_file_once(desk) -> None:
    one = desk(settle_s=0.05)
    watchers = [start(one, 8) for _ in range(3)]
    try:
        for number in range(FILES):
            one.write(f"news/{number:03}.csv", f"text,label\nheadline {number},up\n")
            time.sleep(0.01)
    finally:
        codes = [watcher.wait(60) for watcher in watchers]
    assert codes == [0, 0, 0]
    check(one)


def test_a_watcher_that_is_killed_at_any_moment_loses_and_doubles_nothing(desk) -> None:
    one = desk(settle_s=0)
    chance = random.Random(7)
    for number in range(FILES):
        one.write(f"news/{number:03}.csv", f"text,label\nheadline {number},up\n")
    for _ in range(6):
        watcher = start(one, 60)
        time.sleep(0.4 + chance.random() * 0.8)  # it imports for the first part of this
        os.kill(watcher.pid, signal.SIGKILL)
        watcher.wait(60)
    check(one)


def test_a_watcher_loads_no_heavy_library(desk, tmp_path: Path) -> None:
    one = desk(settle_s=0)
    one.write("news/a.csv")
    done = subprocess.run(
        [sys.executable, "-c", LOADED, f"sqlite:///{one.book.file}", one.settings.model_dump_json()],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    found = json.loads(done.stdout)
    assert (found["landed"], found["heavy"]) == (1, [])
    assert found["mb"] < 110, "an idle watcher may have 150 MB in all"
