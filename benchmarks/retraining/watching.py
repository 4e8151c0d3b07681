"""How soon `domainlm watch` notices, and what it costs while nothing happens.

    python -m benchmarks.retraining.watching [--quick]

A real `domainlm watch` over a zone of its own, with a ledger-less home and thresholds that never train. Noticing is the
time from the moment at which data are complete to the moment at which the watcher says that the batch landed, which it
does once the book has it. Complete are data with the rename of marker or checksum; a file without them is when it kept
its size for `settle_s` (1 s, the default), which is not counted in `notice_...` and is in `notice_..._from_rename`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from statistics import median
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
COMMON = {
    "form": "labelled", "columns": {"text": "headline"}, "task": "sentiment", "language": "en", "licence": "CC0-1.0",
    "consent": "public", "purpose": "model-training", "jurisdiction": "us", "handling": "public",
}  # fmt: skip
FEEDS: list[dict[str, Any]] = [
    {"name": "marker", "uri": "marker/*/*.csv", "batch": "folder"},
    {"name": "checksum", "uri": "checksum/*.csv", "checksum": True},
    {"name": "settle", "uri": "settle/*.csv"},
]
NEVER = dict.fromkeys(
    ("new_rows", "max_age_days", "label_drift", "vocabulary_drift", "term_drift", "score_decay", "budget_hours"), None
)
SETTLE_S = 1.0
TIMEOUT_S = 120.0


class Watched:
    """A zone with a watcher.

    Args:
        folder: everything lies below it.
        told: whether the kernel tells of changes; else the same folder is given as a URI, and polled.
        known: files that the book knows before the watcher starts.
    """

    def __init__(self, folder: Path, told: bool, known: int = 0) -> None:
        self.zone, self.home = folder / "zone", folder / "home"
        for feed in FEEDS:
            (self.zone / feed["name"]).mkdir(parents=True)
        self.home.mkdir(mode=0o700)
        (self.home / "activate").touch()  # as `make setup` leaves it; nothing of a stack is needed
        zone = str(self.zone) if told else f"local://{self.zone}"
        configuration = folder / "retrain.yaml"
        configuration.write_text(yaml.safe_dump(_configuration(zone)), encoding="utf-8")
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("DOMAINLM_")} | {
            "DOMAINLM_HOME": str(self.home), "DOMAINLM_PROJECT": str(ROOT), "PYTHONPATH": str(ROOT),
        }  # fmt: skip
        self._python("from domainlm.keys import create_development_key; create_development_key()")
        self._know(known, zone)
        self._landed: queue.Queue[float] = queue.Queue()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "cli.main", "watch", "-c", str(configuration)], env=self.environment, cwd=ROOT,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        self._up = threading.Event()
        threading.Thread(target=self._listen, daemon=True).start()
        if not self._up.wait(TIMEOUT_S):
            raise RuntimeError("the watcher does not start")
        time.sleep(2.0)  # the kernel's watch stands, and the first look is over

    def __enter__(self) -> Watched:
        return self

    def __exit__(self, *error: object) -> None:
        self.process.terminate()
        self.process.wait(timeout=TIMEOUT_S)

    def notice(self, kind: str, number: int) -> float:
        """Seconds from complete to landed."""
        while not self._landed.empty():
            self._landed.get()
        content = f"headline,label\nA headline of number {number},neutral\n".encode()
        last = {"marker": self._marker, "checksum": self._checksum, "settle": self._settle}[kind](number, content)
        began = time.monotonic()
        last.with_name(f".{last.name}.tmp").rename(last)
        return self._landed.get(timeout=TIMEOUT_S) - began

    def _marker(self, number: int, content: bytes) -> Path:
        folder = self.zone / "marker" / f"drop-{number}"
        folder.mkdir()
        (folder / "news.csv").write_bytes(content + b"of a marker,neutral\n")
        time.sleep(1.5)  # the data lie there, looked at and not complete
        (folder / "._SUCCESS.tmp").touch()
        return folder / "_SUCCESS"

    def _checksum(self, number: int, content: bytes) -> Path:
        content += b"of a checksum,neutral\n"
        (self.zone / "checksum" / f"{number}.csv").write_bytes(content)
        time.sleep(1.5)
        (self.zone / "checksum" / f".{number}.csv.sha256.tmp").write_text(hashlib.sha256(content).hexdigest())
        return self.zone / "checksum" / f"{number}.csv.sha256"

    def _settle(self, number: int, content: bytes) -> Path:
        (self.zone / "settle" / f".{number}.csv.tmp").write_bytes(content)
        return self.zone / "settle" / f"{number}.csv"

    def idle(self, seconds: float) -> dict[str, float]:
        """CPU in percent of one core, and resident megabytes (2^20 bytes), over so long without any change."""
        time.sleep(8.0)  # its first look and decision are over
        before = _cpu_s(self.process.pid)
        time.sleep(seconds)
        cpu = (_cpu_s(self.process.pid) - before) / seconds * 100
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        rss, peak = (
            next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith(name))
            for name in ("VmRSS", "VmHWM")
        )
        return {"cpu_percent": cpu, "mb": rss, "peak_mb": peak}

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            at = time.monotonic()
            if " watching " in line:
                self._up.set()
            if " landed " in line:
                self._landed.put(at)

    def _know(self, count: int, zone: str) -> None:
        """A model, since any data ask for a first one; and one batch of so many files, landed and accepted."""
        folder = self.zone / "marker" / "before"
        folder.mkdir()
        for number in range(count):
            (folder / f"{number}.csv").write_text(f"headline,label\nheadline {number},neutral\n")
        if count:
            (folder / "_SUCCESS").touch()
        self._python(_KNOW, json.dumps(_configuration(zone)["steps"]["detect"]["parameters"]))

    def _python(self, *arguments: str) -> None:
        subprocess.run([sys.executable, "-c", *arguments], env=self.environment, cwd=ROOT, check=True, timeout=600)


_KNOW = """
import json, sys
from domainlm.retrain.batches import Result
from domainlm.retrain.book import open_book
from domainlm.retrain.settings import DetectSettings
from domainlm.retrain.zone import Zone
book = open_book()
claim = book.claim("domainlm-finance", "before", 60, allow_empty=True)
book.accept_result(claim, Result(run_id="before", identity="0" * 64))
zone = Zone(DetectSettings(**json.loads(sys.argv[1])), book)
for batch in zone.settled(60).landed:
    book.accept(batch.id, len(batch.files))
"""


def _configuration(zone: str) -> dict[str, Any]:
    content = yaml.safe_load((ROOT / "configs" / "retrain.yaml").read_text(encoding="utf-8"))
    content["steps"]["detect"] = {
        "parameters": {"zone": zone, "settle_s": SETTLE_S, "feeds": [COMMON | feed for feed in FEEDS]}
    }
    content["steps"]["decide"] = {"parameters": NEVER | {"on_erasure": False, "on_base": False, "on_policy": False}}
    return dict(content)


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(quick: bool = False) -> dict[str, float]:
    """Take all figures and print them; flat, seconds and 2^20 bytes."""
    times, seconds = (2, 10.0) if quick else (7, 60.0)
    found: dict[str, float] = {}
    print(f"{'noticed by':<12}{'complete by':<12}{'median s':>10}{'worst s':>10}")
    for how, told in (("kernel", True), ("polling", False)):
        with tempfile.TemporaryDirectory() as folder, Watched(Path(folder), told) as watched:
            for kind in ("marker", "checksum", "settle"):
                taken = [watched.notice(kind, number) for number in range(times)]
                if kind == "settle":
                    found[f"notice_{how}_settle_from_rename_worst_s"] = max(taken)
                    taken = [one - SETTLE_S for one in taken]
                found |= {f"notice_{how}_{kind}_s": median(taken), f"notice_{how}_{kind}_worst_s": max(taken)}
                print(f"{how:<12}{kind:<12}{median(taken):>10.2f}{max(taken):>10.2f}")
    complete = [value for name, value in found.items() if name.endswith("_worst_s") and "from_rename" not in name]
    found["notice_seconds"] = max(complete)
    print(f"{'noticed by':<12}{'known files':<12}{'CPU %':>10}{'MB':>10}{'peak MB':>10}")
    for how, told in (("kernel", True), ("polling", False)):
        for known in (100, 10_000):
            with tempfile.TemporaryDirectory() as folder, Watched(Path(folder), told, known) as watched:
                idle = watched.idle(seconds)
            found |= {f"idle_{how}_{known}_{name}": value for name, value in idle.items()}
            print(f"{how:<12}{known:<12}{idle['cpu_percent']:>10.2f}{idle['mb']:>10.1f}{idle['peak_mb']:>10.1f}")
    found["idle_mb"] = max(value for name, value in found.items() if name.startswith("idle_") and name.endswith("_mb"))
    found["idle_cpu_percent"] = max(found[f"idle_kernel_{known}_cpu_percent"] for known in (100, 10_000))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a small form: fewer repetitions, ten seconds of idleness")
    print(json.dumps({name: round(value, 4) for name, value in measure(parser.parse_args().quick).items()}))


if __name__ == "__main__":
    main()
