"""Runs jobs one after another, each in its own process and its own time, and keeps what every one of them said.

While a job runs, the process of the next one is started and imports its libraries; a job begins to measure only once
that is over. So no time holds an import, and nothing of the benchmark runs beside a measurement.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
IMPORT_LIMIT_S = 120
GRACE_S = 5  # between the deadline that a job knows and its end by force

Job = dict[str, Any]
Row = dict[str, Any]


class Worker:
    """A process that imports at once and does one job when it gets one.

    Args:
        environment: its environment.
        log: file for what its libraries print.
    """

    def __init__(self, environment: dict[str, str], log: Path) -> None:
        self._log = open(log, "ab")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.training.worker"],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
        )
        self._lines: queue.Queue[dict[str, Any] | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()
        self.imported: bool | None = None  # None while it imports, False where it died over it

    def _read(self) -> None:
        for line in self._process.stdout:
            try:
                self._lines.put(json.loads(line))
            except ValueError:
                continue  # half a line of a process that was killed
        self._lines.put(None)

    def wait_for_imports(self, deadline: float) -> bool:
        """Whether its imports are done by a moment of `time.monotonic()`."""
        if self.imported is None:
            message = self._next(deadline)
            self.imported = message is not None and message["event"] == "imported"
        return self.imported

    def _next(self, deadline: float) -> dict[str, Any] | None:
        try:
            return self._lines.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            return None

    def _send(self, text: str) -> None:
        try:
            self._process.stdin.write(text.encode() + b"\n")
            self._process.stdin.flush()
        except OSError:
            pass  # it died; the reader will say so

    def do(self, job: Job, deadline: float, end: float, when_ready: Callable[[], Any]) -> Row:
        """Have a job done.

        Args:
            job: what to do, with `limit_s`.
            deadline: moment at which the process is ended.
            end: the moment to which waiting for a quiet machine may move the deadline at most.
            when_ready: called when the job is about to measure; it goes on when this returns.

        Returns:
            What the job found out, or what it had said before its process died or its time was over.
        """
        if not self.wait_for_imports(deadline):
            return self._ended({}, deadline)
        self._send(json.dumps(job))
        partial: Row = {}
        while True:
            message = self._next(deadline)
            if message is None:
                return self._ended(partial, deadline)
            if message["event"] == "ready":
                waited = time.monotonic()
                when_ready()
                deadline = min(end, deadline + time.monotonic() - waited)
                self._send("go")
            elif message["event"] == "partial":
                partial = message["row"]
            elif message["event"] == "done":
                return message["row"]

    def _ended(self, partial: Row, deadline: float) -> Row:
        late = time.monotonic() >= deadline
        self.end()
        if late:
            return partial | {"status": "out of time"}
        return partial | {"status": "died", "error": f"its process ended with code {self._process.returncode}"}

    def end(self) -> None:
        """End the process, whatever it does; it may have ended already."""
        try:
            self._process.stdin.close()
        except OSError:
            pass
        try:
            self._process.wait(timeout=0.2 if self._process.poll() is None else 0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(timeout=30)
        self._log.close()


class Runner:
    """Carries a plan out within a budget.

    Args:
        budget_s: seconds for everything.
        out: folder for `rows.jsonl` and `workers.log`, what the workers' libraries print.
        environment: of the workers.
        say: told each row at once.
    """

    def __init__(
        self, budget_s: float, out: Path, environment: dict[str, str], say: Callable[[Row], None] = lambda row: None
    ) -> None:
        self._end = time.monotonic() + budget_s
        self.out, self._environment, self._say = out, environment, say
        self.rows: list[Row] = []
        self.device = ""
        out.mkdir(parents=True, exist_ok=True)
        self._file = out / "rows.jsonl"
        self._file.write_text("")

    def run(self, jobs: Iterable[Job]) -> list[Row]:
        """Do all jobs; one for which no time is left is a row that says so."""
        left = list(jobs)
        waiting: Worker | None = None
        known: dict[str, Any] = {"peak_flops": None, "matrix_flops": None}  # the smoke finds them out
        try:
            while left:
                job, left = left[0], left[1:]
                remaining = self._end - time.monotonic()
                if remaining <= GRACE_S:
                    self._keep(job, {"status": "not run: out of time"})
                    continue
                started = time.monotonic()
                worker, waiting = waiting or self._start(), None
                # the next one imports meanwhile
                waiting = self._start() if left and remaining > 2 * GRACE_S else None
                hurry = min(self._end, time.monotonic() + IMPORT_LIMIT_S)
                worker.wait_for_imports(hurry)
                limit = min(job["limit_s"], self._end - GRACE_S - time.monotonic())
                job = self._informed(job | known | {"limit_s": max(0.0, limit)})
                found = worker.do(
                    job,
                    min(self._end, time.monotonic() + limit + GRACE_S),
                    self._end,
                    lambda waiting=waiting, hurry=hurry: waiting and waiting.wait_for_imports(hurry),
                )
                worker.end()
                self._keep(job, found | {"wall_s": round(time.monotonic() - started, 1)})
                known |= {key: found[key] for key in known if key in found}
        finally:
            if waiting:
                waiting.end()
        return self.rows

    def _informed(self, job: Job) -> Job:
        """A job that follows another takes the candidate that was the fastest there."""
        first = next((row for row in self.rows if row["name"] == job.get("after") and "micro_batch" in row), None)
        if first is None:
            return job
        fixed = [one | {"micro_batch": first["micro_batch"]} for one in job["candidates"][:1]]
        return job | {"candidates": fixed}

    def _start(self) -> Worker:
        return Worker(self._environment, self.out / "workers.log")

    def _keep(self, job: Job, found: Row) -> None:
        row = {key: job[key] for key in ("name", "phase", "kind", "recipe") if key in job} | found
        if found.get("device"):
            self.device = self.device or found["device"]
            if found["device"] != self.device:
                raise RuntimeError(f"a row of {found['device']} must not stand in a table of {self.device}")
        self.rows.append(row)
        with open(self._file, "a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self._say(row)
