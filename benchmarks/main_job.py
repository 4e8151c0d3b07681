"""How long does the main job take, and how much memory, on a checkout that has never run?

    python benchmarks/main_job.py [--cores 0,1]

Clones the committed state into a temporary folder with a home of its own, runs the set-up and the default pipeline
twice there (the second run finds everything in the cache) and once more with `--fresh`, and compares the adapters of
the two trainings. Installation is not part of the figures. Ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def measured(clone: Path, *arguments: str) -> float:
    """Wall seconds of one `domainlm` command in the clone; its output goes to this program's error stream."""
    environment = {
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        "HOME": str(clone.parent / "home"),
        "PYTHONPATH": str(clone),
    }
    started = time.monotonic()
    subprocess.run(
        [sys.executable, "-m", "cli.main", *arguments], cwd=clone, env=environment, check=True, stdout=sys.stderr
    )
    return time.monotonic() - started


def adapters(clone: Path) -> list[str]:
    """The digest of the adapter of each run, oldest first."""
    manifests = [json.loads(path.read_text()) for path in (clone / ".domainlm" / "runs").glob("*.json")]
    return [
        step["outputs"]["adapter"]
        for manifest in sorted(manifests, key=lambda found: found["started"])
        for step in manifest["steps"]
        if step["name"] == "train"
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cores", help="processors to use, such as 0,1")
    options = parser.parse_args()
    if options.cores:
        os.sched_setaffinity(0, {int(core) for core in options.cores.split(",")})
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "clone"
        (Path(folder) / "home").mkdir()
        subprocess.run(["git", "clone", "--quiet", "--local", str(ROOT), str(clone)], check=True)
        figures: dict[str, float | int | bool] = {
            "cores": len(os.sched_getaffinity(0)),
            "setup_seconds": measured(clone, "setup"),
            "first_run_seconds": measured(clone, "run"),
            # ru_maxrss of the children is the largest single process, in KiB on Linux
            "peak_memory_mib": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024,
            "second_run_seconds": measured(clone, "run"),
            "fresh_run_seconds": measured(clone, "run", "--fresh"),
        }
        digests = adapters(clone)
        figures["same_adapter"] = len(set(digests)) == 1
    for name, value in figures.items():
        print(f"{name:<22}{value:>10.1f}" if isinstance(value, float) else f"{name:<22}{value!s:>10}")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
