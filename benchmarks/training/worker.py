"""One process of the benchmark: it imports, waits for a job, does it, and says what came out.

    python -m benchmarks.training.worker

Speaks JSON, a line at a time: `imported`, `ready` (then it waits for a line), `partial`, and `done` go out of the first
standard output; a job and `go` come in. Whatever libraries print goes to standard error.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from typing import Any


def main() -> None:
    """Wait for one job, do it, and end."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def say(**message: Any) -> None:
        out.write(json.dumps(message) + "\n")
        out.flush()

    started = time.monotonic()
    job_of = _imports()
    say(event="imported", seconds=time.monotonic() - started)
    line = sys.stdin.readline()
    if not line:
        return
    job = json.loads(line)
    job["deadline"] = time.monotonic() + job["limit_s"]
    import torch

    from benchmarks.training.jobs import OUT_OF_MEMORY, Channel, device_name, is_out_of_memory, memory

    torch.set_num_threads(job["threads"])
    quiet = []

    def ready() -> None:
        if not quiet:
            quiet.append(True)
            say(event="ready")
            waited = time.monotonic()
            sys.stdin.readline()
            job["deadline"] += time.monotonic() - waited

    known: dict[str, Any] = {}

    def tell(partial: dict[str, Any]) -> None:
        known.update(partial)
        say(event="partial", row=partial)

    channel = Channel(tell, ready)
    try:
        found = {"status": "ok"} | job_of[job["kind"]](job, channel)
    except Exception as error:
        short = is_out_of_memory(error)
        traceback.print_exc()
        # the data are random numbers and the project's own public glossary: nothing private stands in a message
        found = {"status": OUT_OF_MEMORY if short else "failed", "error": f"{type(error).__name__}: {str(error)[:500]}"}
        found = known | memory() | found
    say(event="done", row=found | {"device": device_name()})


def _imports() -> dict[str, Any]:
    """All libraries that a job needs, so that no job's time holds their import."""
    import peft  # noqa: F401
    import torch  # noqa: F401
    from transformers import AutoModelForCausalLM, Trainer, TrainingArguments  # noqa: F401

    import domainlm.train.loop
    import domainlm.train.methods
    import domainlm.train.trainer  # noqa: F401
    from benchmarks.training import correctness, cpu, jobs

    return {
        "smoke": jobs.smoke,
        "row": jobs.row,
        "correctness": correctness.correctness,
        "overhead": cpu.overhead,
        "base": cpu.base,
        "startup": cpu.startup,
        "target": cpu.target,
    }


if __name__ == "__main__":
    main()
