"""How long a run on a cluster took, and where: a file beside its manifest, for people and for benchmarks.

Two clocks: the follower's own for what it saw (a look a second), and the nodes' for containers (whole seconds).
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from domainlm.cluster.following import Course, Outcome
from domainlm.cluster.memory import step_of
from domainlm.cluster.pods import ORCHESTRATOR, job_of, name_of
from domainlm.project import home


class Timing:
    """The times of one run.

    Args:
        run_id, name: ZenML's id and name of it.
        began: when it was submitted, or following it began, by the monotonic clock.
    """

    def __init__(self, run_id: str, name: str, began: float) -> None:
        self._run_id, self._name, self.began = run_id, name, began
        self.changed = time.monotonic()  # when a row last changed
        self._last: list[tuple[str, str, str]] = []

    def note(self, course: Course, now: float) -> None:
        """Take down whether anything changed."""
        rows = [(row.step, row.state, row.pod) for row in course.rows(now)]
        if rows != self._last:
            self._last, self.changed = rows, now

    def of(self, course: Course, outcome: Outcome, now: float) -> dict[str, Any]:
        """All of it: seconds from the submission, and of each step from its first pod's first sight to its end."""
        first = self._first_seen_at_work(course)
        facts = course.facts()
        return {
            "run_id": self._run_id,
            "run_name": self._name,
            "status": outcome.status,
            "seconds": round(now - self.began, 3),
            "submission_to_first_pod_seconds": first.get(ORCHESTRATOR),
            "submission_to_first_step_pod_seconds": min(
                (when for step, when in first.items() if step != ORCHESTRATOR), default=None
            ),
            "reasons": {step: why._asdict() for step, why in outcome.reasons.items()},
            "steps": {
                row.step: {
                    "state": row.state,
                    "seconds": None if row.seconds is None else round(row.seconds, 3),
                    "submission_to_pod_seconds": first.get(row.step),
                    "started": said.started if (said := course.state.steps.get(row.step)) else "",
                    "ended": said.ended if said else "",
                    "pods": [fact._asdict() for fact in facts.get(row.step, [])],
                }
                for row in course.rows(now)
            },
        }

    def write(self, course: Course, outcome: Outcome, now: float) -> Path:
        """Write it below the project's folder; readable by its owner alone."""
        path = home() / "following" / f"{self._run_id}.json"
        path.parent.mkdir(mode=0o700, exist_ok=True)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as sink:
            json.dump(self.of(course, outcome, now), sink, indent=1)
        return path

    def _first_seen_at_work(self, course: Course) -> dict[str, float]:
        """{step: seconds from the submission until a pod of it was first seen at work}."""
        memory = course.memory
        steps = {name_of(job): step_of(job) for job in memory.jobs.values()}
        found: dict[str, float] = {}
        for uid, when in memory.worked.items():
            step = steps.get(job_of(memory.pods[uid]), ORCHESTRATOR)
            found[step] = min(found.get(step, when), when)
        return {step: round(when - self.began, 3) for step, when in found.items()}
