"""What was seen of a run's Jobs and pods, also of those that are gone by now.

A cluster forgets quickly: the orchestrator deletes the Job of a pod whose image cannot be had, a deadline deletes the
pod, finished Jobs go after their time. The last look at each is kept, by its id.
"""

from __future__ import annotations

from domainlm.cluster import reasons
from domainlm.cluster.pods import (
    ORCHESTRATOR,
    PENDING,
    STEP_ANNOTATION,
    Object,
    annotations_of,
    by_operator,
    condition_of,
    job_of,
    name_of,
    phase_of,
    pods_of,
    uid_of,
)
from domainlm.cluster.pods import Seen as Look
from domainlm.cluster.reasons import Keys, Reason

VAGUE = ("Error", "Terminated")  # reasons after which the step itself may know more
EXCEPTION = "Exception"  # the step itself


class Memory:
    """The Jobs and pods of one run."""

    def __init__(self) -> None:
        self.jobs: dict[str, Object] = {}  # by id, in the order in which they were first seen
        self.pods: dict[str, Object] = {}
        self.first_seen: dict[str, float] = {}  # {id: when}
        self.worked: dict[str, float] = {}  # {id of a pod: when it was first seen to have left "Pending"}
        self.words: dict[str, Reason] = {}  # {id of a pod: what its log says, where Kubernetes says nothing}
        self._there: set[str] = set()  # ids of the last look
        self._events: list[Object] = []
        self._nodes: list[Object] | None = None

    def add(self, look: Look, now: float) -> None:
        """Take a look at the cluster."""
        self.jobs |= {uid_of(job): job for job in look.jobs}
        self.pods |= {uid_of(pod): pod for pod in look.pods}
        self._there = {uid_of(one) for one in (*look.jobs, *look.pods)}
        self._events = look.events or self._events
        self._nodes = look.nodes or self._nodes
        for uid in self._there:
            self.first_seen.setdefault(uid, now)
        for pod in look.pods:
            if phase_of(pod) != PENDING:
                self.worked.setdefault(uid_of(pod), now)

    def there(self, one: Object) -> bool:
        """Whether the last look saw it."""
        return uid_of(one) in self._there

    def at_work(self) -> list[Object]:
        """The steps' Jobs that are there and have not ended."""
        return [
            job for job in self.jobs.values() if self.there(job) and not ended(job) and step_of(job) != ORCHESTRATOR
        ]

    def orchestrator(self) -> Object | None:
        """The Job whose pod starts the steps."""
        return next((job for job in reversed(self.jobs.values()) if step_of(job) == ORCHESTRATOR), None)

    def silent_since(self) -> float | None:
        """Since when a pod waits, or a Job has no pod, or one is gone before it ended; None where nothing of it is."""
        found = [
            self.first_seen[uid_of(pod)] for pod in self.pods.values() if self.there(pod) and phase_of(pod) == PENDING
        ]
        for uid, job in self.jobs.items():
            if not ended(job) and (not self.there(job) or not self.pods_of_job(job)):
                found.append(self.first_seen[uid])
        return min(found, default=None)

    def by_step(self) -> dict[str, list[Object]]:
        """{step: its pods}, the one that works last."""
        return pods_of(list(self.jobs.values()), list(self.pods.values()))

    def pods_of_job(self, job: Object) -> list[Object]:
        """The pods that a Job made, in their order."""
        ones = [pod for pod in self.pods.values() if job_of(pod) == name_of(job)]
        return sorted(ones, key=lambda pod: pod["metadata"]["creationTimestamp"])

    def reason_of_pod(self, pod: Object) -> Reason | None:
        """Why a pod failed or does not start."""
        job = next((job for job in self.jobs.values() if name_of(job) == job_of(pod)), None)
        keys = keys_of(job) if job else Keys(ORCHESTRATOR)
        return reasons.of_pod(pod, keys, self._events, self._nodes)

    def telling_of_pod(self, pod: Object) -> Reason | None:
        """Why a pod failed or does not start, where that is more than an exit code or an exception of the step."""
        why = self.reason_of_pod(pod)
        if why and why.code in VAGUE:
            why = self.words.get(uid_of(pod))
        return why if why and why.code != EXCEPTION else None

    def reason_of_job(self, job: Object) -> Reason | None:
        """What a Job says beyond its pods."""
        return reasons.of_job(job, keys_of(job), self._events)

    def why_waits(self, job: Object) -> Reason | None:
        """Why a Job that has not ended does nothing; None where it works, or nothing is known."""
        ones = [pod for pod in self.pods_of_job(job) if self.there(pod)]
        if not ones:
            return self.reason_of_job(job)
        return self.reason_of_pod(ones[-1]) if phase_of(ones[-1]) == PENDING else None

    def why_failed(self, step: str) -> tuple[Reason | None, Reason | None]:
        """(what the cluster did to a step's pods, what is left to say where the step itself says nothing)."""
        own = [job for job in self.jobs.values() if step_of(job) == step]
        said = [one for pod in reversed(self.by_step().get(step, [])) if (one := self.reason_of_pod(pod))]
        said += [one for job in own if (one := self.reason_of_job(job))]
        gone = [one for job in own if (one := reasons.of_job_gone(job, self._events, keys_of(job)))]
        telling = next((one for one in said if one.code not in VAGUE), None)
        words = [self.words[uid_of(pod)] for pod in reversed(self.by_step().get(step, [])) if uid_of(pod) in self.words]
        return telling, next(iter([*words, *gone, *said]), None)


def keys_of(job: Object) -> Keys:
    """Where the run configuration describes a Job's pods."""
    return Keys(step_of(job), by_operator(job))


def step_of(job: Object) -> str:
    """The step that a Job works for; `ORCHESTRATOR` for the Job whose pod starts the steps."""
    return annotations_of(job).get(STEP_ANNOTATION, ORCHESTRATOR)


def ended(job: Object) -> bool:
    """Whether a Job is over, well or not."""
    return bool(condition_of(job, "Complete") or condition_of(job, "Failed"))
