"""How large is an image, and how long does a step's process take before the step's own work begins?

    python benchmarks/image.py [IMAGE] [--engine podman]        (localhost/domainlm:cpu; build it by `make image`)

Runs what a pod runs, in a container as a pod has it (not root, read-only, no capabilities, no network): ZenML's entry
point, its activation of integrations, the stack's components and the step's module. The first process of a fresh
container may read the files from disk, later ones find them in the page cache, as every later pod on a node does.
The other rows show what it would be with all integrations active, and without the image's bytecode.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from statistics import median
from typing import Any

IMAGE = "localhost/domainlm:cpu"
ENGINES = ("podman", "docker")
TIMEOUT_S = 300
REPEATS = 3
COMPONENTS = (
    "zenml.integrations.kubernetes.orchestrators.kubernetes_orchestrator",
    "zenml.integrations.kubernetes.step_operators.kubernetes_step_operator",
    "zenml.integrations.s3.artifact_stores.s3_artifact_store",
    "zenml.integrations.mlflow.experiment_trackers.mlflow_experiment_tracker",
)
STEPS = ("ingest", "redact", "prepare", "validate", "vocabulary", "train", "evaluate", "register", "record")
# what a pod imports before a step's own work begins; for a container or a pod, prints one line of JSON
IMPORTS = f"""
import importlib, json, sys, time
seconds, last = {{}}, time.perf_counter()
def mark(name):
    global last
    now = time.perf_counter()
    seconds[name], last = round(now - last, 3), now
import zenml.entrypoints.entrypoint, zenml.entrypoints.step_entrypoint_configuration
import zenml.step_operators.step_operator_entrypoint_configuration
mark("entry point")
from zenml.integrations.registry import integration_registry
integration_registry.activate_integrations()
mark("integrations")
for name in {COMPONENTS!r}:
    importlib.import_module(name)
mark("stack components")
for name in {STEPS!r}:
    importlib.import_module("steps." + name)
mark("all steps' modules")
print(json.dumps({{"seconds": seconds, "heavy": sorted({{"torch", "sklearn", "transformers"}} & set(sys.modules))}}))
"""
VARIANTS: dict[str, list[str]] = {
    "as built": [],
    "all integrations": ["--env", "DOMAINLM_ALL_INTEGRATIONS=1"],
    "no bytecode": ["--env", "PYTHONPYCACHEPREFIX=/tmp/none"],
    "all integrations, no bytecode": [
        "--env", "DOMAINLM_ALL_INTEGRATIONS=1", "--env", "PYTHONPYCACHEPREFIX=/tmp/none",
    ],
}  # fmt: skip


def container(engine: str, image: str, options: list[str], *command: str) -> list[str]:
    """A command in a container as a pod of the `restricted` kind has it: the image's user, nothing writable but two
    folders, no capability, no network."""
    return [
        engine, "run", "--rm", "--read-only", "--cap-drop=all", "--security-opt=no-new-privileges", "--network=none",
        "--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024", "--tmpfs=/tmp",
        "--mount=type=volume,target=/var/lib/domainlm", *options, image, *command,
    ]  # fmt: skip


def image_mb(engine: str, image: str) -> float:
    """Size of an image's files, uncompressed, in millions of bytes.

    Raises:
        subprocess.CalledProcessError: there is no such image.
    """
    return round(int(_run([engine, "image", "inspect", "--format", "{{.Size}}", image])) / 1e6, 1)


def imports(engine: str, image: str, options: list[str] | None = None) -> dict[str, Any]:
    """Seconds of each part of a step's start, of the whole process as seen from outside, and which of the heavy
    libraries were loaded although nothing had asked for them yet.

    Raises:
        subprocess.CalledProcessError: something cannot be imported in the image.
    """
    started = time.perf_counter()
    printed = _run(container(engine, image, options or [], "python", "-c", IMPORTS))
    found = json.loads(printed.strip().splitlines()[-1])
    return found | {"process": round(time.perf_counter() - started, 3)}


def measure(image: str = IMAGE, engine: str | None = None) -> dict[str, Any]:
    """What benchmarks/kubernetes.py repeats: `image_mb`, and `import_seconds` as the middle one of three processes.

    Both are None where no engine of this machine has the image: it may lie on the nodes alone.
    """
    tool = engine or next((name for name in ENGINES if shutil.which(name)), "")
    if not tool or subprocess.run([tool, "image", "inspect", image], capture_output=True).returncode:
        return {"image": image, "image_mb": None, "import_seconds": None}
    found = [imports(tool, image) for _ in range(REPEATS)]
    totals = [round(sum(one["seconds"].values()), 2) for one in found]
    return {
        "image": image,
        "image_mb": image_mb(tool, image),
        "import_seconds": median(totals),
        "import_seconds_first": totals[0],
        "heavy": found[0]["heavy"],
    }


def _run(command: list[str]) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=TIMEOUT_S).stdout.strip()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("image", nargs="?", default=IMAGE)
    parser.add_argument("--engine", choices=ENGINES)
    given = parser.parse_args()
    engine = given.engine or next((name for name in ENGINES if shutil.which(name)), None)
    result = measure(given.image, engine)
    if engine is None or result["image_mb"] is None:  # make bench goes on: there is nothing to measure here
        print(f"{given.image} is not here; build it by `make image`")
        print(json.dumps(result))
        return 0
    print(f"{given.image}: {result['image_mb']} MB")
    for name, options in VARIANTS.items():
        one = imports(engine, given.image, options)
        parts = ", ".join(f"{part} {seconds:.1f}" for part, seconds in one["seconds"].items())
        heavy = " ".join(one["heavy"]) or "none"
        print(f"{name:<32}{sum(one['seconds'].values()):6.1f} s   ({parts}; heavy libraries: {heavy})")
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
