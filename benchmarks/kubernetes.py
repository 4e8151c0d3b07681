"""What does a step cost on a cluster beyond its own work, and how soon is the first pod there?

    python benchmarks/kubernetes.py [-s kubernetes] [-c configs/kubernetes.yaml] [--set KEY=VALUE ...]
    python benchmarks/kubernetes.py --run RUN_ID          of a run that was followed from this project before

Runs the pipeline of this project on the cluster of a stack that `domainlm stack apply` has registered, with nothing
from the cache, and reads what following it measured (docs/following.md, "Times"). A step's own work is the time between
its start and its end in ZenML: imports are over by then, inputs and outputs are read and written in it. Beyond it lies
the time from the end of the last step that ended before it began: ending that pod, noticing it, making a Job,
scheduling, starting a container, importing. A step on the step operator has two pods: what its launching pod takes
until the second one's container runs, and that one's imports, count too. Ends with one line of JSON; without a cluster
its values are null.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import image as images  # noqa: E402
from domainlm.project import environment, home  # noqa: E402

RUN_TIMEOUT_S = 4 * 3600
_RUN = re.compile(r"domainlm follow ([0-9a-f]{8}-[0-9a-f-]{27})")
KEYS = ("steps", "seconds", "seconds_per_step", "image_mb", "import_seconds", "submission_to_first_pod_seconds")


class Cost(NamedTuple):
    """One step: its pods, its own work and what it cost beyond, in seconds. `beyond` is None for the run's first steps,
    before which nothing ended: the run's start is stated apart."""

    step: str
    pods: int
    work: float
    beyond: float | None


def run_on_cluster(arguments: list[str]) -> str:
    """Run the pipeline, and return the run's id.

    Raises:
        RuntimeError: it did not complete; its own words have been printed by then.
    """
    command = [sys.executable, "-m", "cli.main", "run", "--fresh", "--on-interrupt", "stop", *arguments]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    output = []
    for line in process.stdout:
        print(line, end="", file=sys.stderr)
        output.append(line)
    code = process.wait(RUN_TIMEOUT_S)
    found = _RUN.search("".join(output))
    if code or not found:
        raise RuntimeError(f"the run ended with {code}")
    return found[1]


def costs(times: dict[str, Any], import_seconds: float) -> list[Cost]:
    """What each step that had a pod cost, in the order of their starts.

    Args:
        times: the file of `domainlm follow`.
        import_seconds: what a process in the image takes to import, for the second pod of an operator's step.
    """
    ran = {name: step for name, step in times["steps"].items() if step["pods"] and step["started"] and step["ended"]}
    ends = {name: moment(step["ended"]) for name, step in ran.items()}
    found = []
    for name, step in sorted(ran.items(), key=lambda one: moment(one[1]["started"])):
        start = moment(step["started"])
        before = [end for other, end in ends.items() if other != name and end <= start]
        beyond = start - max(before) if before else None
        work = ends[name] - start
        second = [moment(pod["started"]) for pod in step["pods"] if "step-operator" in pod["pod"] and pod["started"]]
        if second and beyond is not None:
            inner = max(0.0, min(second) - start) + import_seconds
            work, beyond = max(0.0, work - inner), beyond + inner
        found.append(Cost(name, len(step["pods"]), work, beyond))
    return found


def moment(stated: str) -> float:
    """Seconds since 1970 of an ISO time, which is UTC where it does not say."""
    parsed = datetime.fromisoformat(stated.replace("Z", "+00:00"))
    return (parsed if parsed.tzinfo else datetime.fromisoformat(stated + "+00:00")).timestamp()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-s", "--stack", default="kubernetes")
    parser.add_argument("-c", "--config", default="configs/kubernetes.yaml")
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    parser.add_argument("--run", help="a run that was followed before")
    given = parser.parse_args()
    os.environ.update(environment())
    if not given.run and not os.environ.get("DOMAINLM_ZENML_URL"):  # make bench goes on: there is nothing to measure
        print("no cluster: set what infra/stacks/kubernetes.yaml asks for, and apply it (docs/stack.md)")
        print(json.dumps(dict.fromkeys(KEYS)))
        return 0
    overrides = [part for value in given.overrides for part in ("--set", value)]
    try:
        run = given.run or run_on_cluster(["-s", given.stack, "-c", given.config, *overrides])
    except RuntimeError as error:
        print(f"nothing was measured: {error}", file=sys.stderr)
        return 1
    times = json.loads((home() / "following" / f"{run}.json").read_text())
    image = images.measure(os.environ.get("DOMAINLM_IMAGE", images.IMAGE))
    if image["import_seconds"] is None:
        print(f"{image['image']} is not on this machine: what an operator's second pod imports counts as its own work")
    found = costs(times, image["import_seconds"] or 0.0)
    print(f"{'step':<28}{'pods':>5}{'own work, s':>13}{'beyond it, s':>14}")
    for cost in found:
        beyond = f"{cost.beyond:14.1f}" if cost.beyond is not None else f"{'(first)':>14}"
        print(f"{cost.step:<28}{cost.pods:>5}{cost.work:>13.1f}{beyond}")
    counted = [cost.beyond for cost in found if cost.beyond is not None]
    result = {
        "steps": len(found),
        "seconds": times["seconds"],
        "seconds_per_step": round(sum(counted) / len(counted), 2) if counted else None,
        "image_mb": image["image_mb"],
        "import_seconds": image["import_seconds"],
        "submission_to_first_pod_seconds": times["submission_to_first_pod_seconds"],
    }
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
