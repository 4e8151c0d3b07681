"""How fast, how large and how right is a training, beside the recipe of the paper?

    python benchmarks/train.py [--budget-s N] [--wheels FOLDER] [--out FOLDER] [--phases smoke,headline] [--base FOLDER]

On a machine with a GPU: bases of the real shapes (Falcon-7B, Llama-3-8B) with random weights, made on the device;
nothing is downloaded. Without one: the same phases on toys of the same architectures, and what only a CPU is asked for.
In order:

    smoke         card, bf16 matrix rate, 4-bit layers that exist and learn
    correctness   each means of speed follows the baseline's loss over 20 steps on the same batches
    headline      the rows that the claims rest on
    interleaved   the paper's recipe and ours once more: with the headline's rows A B A B
    ablation      ours with one thing changed
    cpu           without a GPU: overhead over a bare loop, start-up, time to a held-out loss

Each row runs in its own process, within its own time; its JSON is in `rows.jsonl` as soon as it ends. A row is the
middle one of three blocks of twenty steps after a warm-up, with the slowest and the fastest beside it; steps hold the
loading of data and the optimizer. Tokens are counted without padding. A row that fails, runs out of memory or is not
run stays in the table. All rows of a table are from one device.

It needs torch, transformers, peft and accelerate, and from `--wheels` (installed into a folder that is gone afterwards)
what a machine lacks of: bitsandbytes, pydantic, pydantic-core, annotated-types, typing-inspection, rfc8785. Without a
GPU it also needs datasets. Ends with one line of JSON, and with exit code 1 where smoke or correctness failed.
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
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.training.plan import PHASES, plan  # noqa: E402
from benchmarks.training.runner import Runner  # noqa: E402
from benchmarks.training.table import summary, table  # noqa: E402

GPU_BUDGET_S, CPU_BUDGET_S = 570, 170  # ten minutes and three, less the start and the end


def has_gpu(environment: dict[str, str]) -> bool:
    """Whether torch sees a CUDA device; asked in a process of its own, since this one imports nothing heavy."""
    command = [sys.executable, "-c", "import torch; print(torch.cuda.is_available())"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    if done.returncode:
        raise SystemExit(f"torch cannot be imported:\n{done.stderr[-2000:]}")
    return done.stdout.split()[-1] == "True"


def install(wheels: Path, folder: Path) -> None:
    """Unpack wheels into a folder, without an index and without what they would like to have."""
    files = sorted(map(str, wheels.glob("*.whl")))
    if not files:
        raise SystemExit(f"{wheels} holds no wheel (*.whl)")
    options = ["--quiet", "--no-index", "--no-deps", "--no-compile", "--no-cache-dir", "--target", str(folder)]
    done = subprocess.run([sys.executable, "-m", "pip", "install", *options, *files], timeout=300)
    if done.returncode:
        raise SystemExit(f"a wheel of {wheels} does not fit this machine")


def environment(site: Path | None, temporary: Path, threads: int) -> dict[str, str]:
    """What the workers see: no network, the wheels first, a place that is cleared, so many threads."""
    temporary.mkdir(exist_ok=True)
    path = [str(site)] if site else []
    path += [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    return os.environ | {
        "PYTHONPATH": os.pathsep.join(path),
        "TMPDIR": str(temporary),
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "OMP_NUM_THREADS": str(threads),
        "OMP_WAIT_POLICY": "PASSIVE",
    }


def run(options: argparse.Namespace, work: Path) -> dict[str, Any]:
    """Carry the plan out and print it; the figures of the JSON line come back."""
    started = time.monotonic()
    site = work / "site" if options.wheels else None
    if site:
        install(options.wheels, site)
    surroundings = environment(site, work / "temporary", options.threads or 1)
    toy = options.device == "cpu" or not has_gpu(surroundings)
    # one card, and the first: beside a second one the plain Trainer would copy its model to both
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "0").partition(",")[0]
    surroundings["CUDA_VISIBLE_DEVICES"] = "" if toy else first
    threads = options.threads or (1 if toy else 4)
    budget = options.budget_s or (CPU_BUDGET_S if toy else GPU_BUDGET_S)
    jobs = plan(toy, work / "base", threads, tuple(options.phases.split(",")), options.base)
    runner = Runner(
        budget - (time.monotonic() - started),
        options.out or work / "out",
        surroundings | {"OMP_NUM_THREADS": str(threads)},
        lambda row: print(f"{row['name']}: {row['status']}", file=sys.stderr, flush=True),
    )
    rows = runner.run(jobs)
    found = summary(rows)
    found |= {"mode": "cpu" if toy else "gpu", "seconds": time.monotonic() - started, "budget_s": budget}
    (runner.out / "summary.json").write_text(json.dumps(found, indent=1) + "\n")
    _print(found, rows)
    return found


def _print(found: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    print(f"device: {found['device']}")
    if found["smoke"] and found["smoke"].get("matrix_flops"):
        smoke = found["smoke"]
        print(f"matrix rate: {smoke['matrix_flops'] / 1e12:,.2f} TFLOP/s ({smoke['matrix']})")
        print(f"4-bit layers: {smoke.get('four_bit_layers')}")
    for row in found["correctness"]:
        print(f"{row['name']}: {row['status']}, passed: {row.get('passed')}")
        control = {"control": row["control"]} if row.get("control") else {}
        for name, entry in (row.get("variants", {}) | control).items():
            apart = entry.get("difference")
            print(f"  {name:<32}{entry['status']:<10}{'-' if apart is None else format(apart, '.2g')}")
    print(table(rows))
    for name in ("speedup_over_paper_recipe", "overhead_over_bare_loop", "startup_seconds"):
        print(f"{name}: {'not measured' if found[name] is None else format(found[name], '.3g')}")
    for entry in found["time_to_target"] or []:
        times = ", ".join(
            f"{name} {'never' if value is None else f'{value:.2f} s'}" for name, value in entry["seconds"].items()
        )
        print(f"to {entry['target']:.4f} nats a token ({entry['what']}): {times}")
    for line in found["not_ok"]:
        print(f"! {line}")


def main() -> int:
    """Parse, run, and end with the line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--budget-s", type=float, help=f"seconds for everything ({GPU_BUDGET_S}; {CPU_BUDGET_S} on a CPU)"
    )
    parser.add_argument("--device", choices=("auto", "cpu"), default="auto", help="cpu: toys, even beside a GPU")
    parser.add_argument("--phases", default=",".join(PHASES), help="those that are wanted, by comma")
    parser.add_argument("--wheels", type=Path, help="folder of wheels that this machine lacks")
    parser.add_argument("--out", type=Path, help="folder for rows, summary and log; else they are gone")
    parser.add_argument("--base", help="folder of a small base, in place of one that is pre-trained here (CPU)")
    parser.add_argument("--threads", type=int, help="CPU threads of a process (1; 4 beside a GPU)")
    options = parser.parse_args()
    if unknown := set(options.phases.split(",")) - set(PHASES):
        parser.error(f"no phase {', '.join(sorted(unknown))}; known: {', '.join(PHASES)}")
    with tempfile.TemporaryDirectory(prefix="domainlm-benchmark-") as work:
        found = run(options, Path(work))
    print(json.dumps(found))
    smoke = found["smoke"]
    return 0 if (smoke is None or smoke["status"] == "ok") and found["correct"] is not False else 1


if __name__ == "__main__":
    sys.exit(main())
