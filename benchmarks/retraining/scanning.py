"""How long does a look into a zone of 100,000 files take, the first time and when nothing is new, and in which memory?

    python -m benchmarks.retraining.scanning [--files 100000] [--book URL]

Each look is a process of its own, so that the memory that it needed at most is its own. The files are small and lie in
folders of 1,000; the first look digests and lands each as a batch. Wanted: at most 10 s when nothing is new.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FILES, QUICK_FILES, A_FOLDER = 100_000, 2_000, 1000
TIMEOUT_S = 1800
_LOOKS = ("first", "nothing new", "one file new", "all read again")


def make_files(zone: Path, files: int) -> None:
    """Small CSV files, each of other content, of a time that is long ago."""
    for number in range(files):
        folder = zone / "news" / f"{number // A_FOLDER:03}"
        if number % A_FOLDER == 0:
            folder.mkdir(parents=True)
        path = folder / f"{number:06}.csv"
        path.write_text(f"text,label\nHeadline {number},up\n")
        os.utime(path, (1_700_000_000, 1_700_000_000))


def look(zone: str, book: str, redigest_h: float) -> dict[str, float | int]:
    """One look from the outside in: seconds, files, landed batches, bytes, and the most memory that was needed."""
    from domainlm.retrain.book import open_book
    from domainlm.retrain.settings import DetectSettings, FeedSettings
    from domainlm.retrain.zone import Zone

    feed = FeedSettings(
        name="news", uri="news/**/*.csv", form="labelled", task="sentiment", licence="CC0-1.0", consent="public",
        purpose="model-training", jurisdiction="us", language="en",
    )  # fmt: skip
    settings = DetectSettings(zone=zone, feeds=(feed,), settle_s=0, redigest_h=redigest_h)
    eyes = Zone(settings, open_book(book))
    began, cpu = time.perf_counter(), time.process_time()
    landed, more = 0, True
    while more:  # a scan takes in 10,000 new files, and the next one goes on at once
        scan = eyes.scan()
        landed, more = landed + len(scan.landed), scan.more
    return {
        "seconds": time.perf_counter() - began,
        "cpu_seconds": time.process_time() - cpu,
        "files": scan.files,
        "landed": landed,
        "digested_bytes": scan.digested_bytes,
        "most_memory_mb": _most_memory_mb(),
    }


def _most_memory_mb() -> float:
    """Of this process alone: what getrusage says also counts what its parent had when it forked."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:"))


def measure(quick: bool = False, files: int = 0, book: str = "") -> dict[str, float | int]:
    """All looks, a line of a table for each; flat figures.

    Args:
        quick: few files, to see whether it works.
        files: how many, instead.
        book: URL of an empty book; SQLite in a temporary folder by default.
    """
    files = files or (QUICK_FILES if quick else FILES)
    found: dict[str, dict[str, float | int]] = {}
    with tempfile.TemporaryDirectory(prefix="scanning") as name:
        zone = Path(name) / "zone"
        make_files(zone, files)
        url = book or f"sqlite:///{name}/book.sqlite"
        print(f"{'look':<16}{'seconds':>9}{'CPU s':>8}{'landed':>9}{'MB at most':>12}")
        for kind in _LOOKS:
            if kind == "one file new":
                (zone / "news" / "new.csv").write_text("text,label\nNew,up\n")
            one = found[kind] = _look_elsewhere(str(zone), url, 0 if kind == "all read again" else 1e6)
            if one["files"] != files + (kind in _LOOKS[2:]):
                raise RuntimeError(f"the look '{kind}' saw {one['files']} files")
            print(
                f"{kind:<16}{one['seconds']:>9.2f}{one['cpu_seconds']:>8.2f}{one['landed']:>9}"
                f"{one['most_memory_mb']:>12.0f}",
                flush=True,
            )
    size = f"{files // 1000}k"
    return {
        f"scan_seconds_{size}": round(found["nothing new"]["seconds"], 2),
        f"scan_first_seconds_{size}": round(found["first"]["seconds"], 2),
        f"scan_one_new_seconds_{size}": round(found["one file new"]["seconds"], 2),
        f"scan_redigest_seconds_{size}": round(found["all read again"]["seconds"], 2),
        f"scan_mb_{size}": round(found["nothing new"]["most_memory_mb"], 1),
        f"scan_first_mb_{size}": round(found["first"]["most_memory_mb"], 1),
        "files": files,
        "landed": found["first"]["landed"] + found["one file new"]["landed"],
    }


def _look_elsewhere(zone: str, book: str, redigest_h: float) -> dict[str, float | int]:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.retraining.scanning", "--look", zone, book, str(redigest_h)],
        capture_output=True, text=True, timeout=TIMEOUT_S, check=False, cwd=ROOT,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"a look failed: {done.stderr[-1000:]}")
    return json.loads(done.stdout)


def main() -> None:
    """Measure, and end with one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=FILES)
    parser.add_argument("--book", default="", help="URL of an empty book; SQLite by default")
    parser.add_argument("--look", nargs=3, metavar=("ZONE", "BOOK", "HOURS"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.look:
        print(json.dumps(look(given.look[0], given.look[1], float(given.look[2]))))
    else:
        print(json.dumps(measure(files=given.files, book=given.book)))


if __name__ == "__main__":
    main()
