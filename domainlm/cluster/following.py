"""Where a run on a cluster stands, and when it is over: the cluster's objects and ZenML's words, put together.

Neither is enough. ZenML's server knows steps, but nothing of a pod that never started, and it goes on saying "running"
when the pod that starts the steps has died. The cluster knows pods, but not that the cache served a step. So both are
asked, and a run has completed only where ZenML says so and no Job of it failed.

`Course` decides and does nothing itself: it takes looks at the cluster and ZenML's words, each with the time in seconds
of a monotonic clock, so that tests play a run of hours in milliseconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from domainlm.cluster.memory import EXCEPTION, Memory, ended, step_of
from domainlm.cluster.pods import (
    ORCHESTRATOR,
    PENDING,
    RUNNING,
    Object,
    Seen,
    by_operator,
    condition_of,
    fact,
    facts_of,
    job_of,
    name_of,
    phase_of,
    step_names,
    uid_of,
)
from domainlm.cluster.reasons import HOPELESS, NOT_ATTACHED, QUOTA, UNSCHEDULABLE, Reason, lacks_something
from domainlm.pod_facts import PodFacts

COMPLETED, FAILED, STOPPED, LOST = "completed", "failed", "stopped", "lost"
CLUSTER, ZENML = "the cluster's API server", "the ZenML server"
OVER = (COMPLETED, FAILED, STOPPED, "cached", "skipped", "cancelled", "retried")  # ZenML's words for what has ended
CLOSER_S = 4.0  # so long may a pod be silent before events and nodes are asked too
ROOM, START, NEVER = "room", "start", "never"  # what a pod waits for


class StepState(NamedTuple):
    """What ZenML says of a step: its status and times (ISO, UTC).

    Args:
        error: the exception that ended it, in a line that is fit to be shown.
        trace: lines of its traceback that are.
    """

    status: str
    started: str = ""
    ended: str = ""
    error: str = ""
    trace: str = ""


class RunState(NamedTuple):
    """What ZenML says of a run.

    Args:
        status: ZenML's word.
        steps: those that have begun.
        order: all of the DAG.
    """

    status: str
    steps: Mapping[str, StepState]
    order: tuple[str, ...]


class Limits(NamedTuple):
    """How long is waited, in seconds.

    Args:
        node_s: for a node, a quota or a volume to come free.
        start_s: for an image, a secret or a volume that should be there already.
        never_s: for what waiting hardly mends: a name that is none, a rule that forbids the pod.
        lost_s: for a server that does not answer.
        settle_s: for ZenML and the cluster to agree that a run is over.
    """

    node_s: float = 600.0
    start_s: float = 60.0
    never_s: float = 10.0
    lost_s: float = 300.0
    settle_s: float = 45.0


class Row(NamedTuple):
    """A line of the table: a step, its state in a word, the pod that works for it, and why it waits, if it does."""

    step: str
    state: str
    pod: str
    node: str
    restarts: int
    seconds: float | None
    reason: Reason | None


class Outcome(NamedTuple):
    """How a run ended, as far as can be known.

    Args:
        status: COMPLETED, FAILED, STOPPED, or LOST where nobody can tell any more.
        reasons: {step: why}; `ORCHESTRATOR` for the run as a whole.
        stop: whether something of it still works or waits on the cluster, and must be stopped.
    """

    status: str
    reasons: dict[str, Reason]
    stop: bool = False


class Course:
    """One run, from its submission to its end.

    Args:
        limits: how long is waited.
        now: when following began.
    """

    def __init__(self, limits: Limits, now: float) -> None:
        self.memory, self._limits = Memory(), limits
        self.state = RunState("", {}, ())
        self._answered = {CLUSTER: now, ZENML: now}
        self._silent: dict[str, str] = {}  # {server: why it does not answer}
        self._ends: dict[str, float] = {}  # {step: when it was first said to have ended}
        self._waits: dict[str, tuple[str, float, Reason]] = {}  # {step: (what for, since when, why)}
        self._last_waits: dict[str, Reason] = {}  # of Jobs that never got to work
        self._before: set[str] = set()
        self._over_since: float | None = None

    def see(self, look: Seen, now: float) -> None:
        """Take a look at the cluster."""
        self._answered[CLUSTER] = now
        self._silent.pop(CLUSTER, None)
        self.memory.add(look, now)
        found = {step_of(job): why for job in self.memory.jobs.values()
                 if self.memory.there(job) and not ended(job) and (why := self.memory.why_waits(job))}  # fmt: skip
        self._last_waits |= found
        waits = {}
        for step, why in found.items():
            before = self._waits.get(step)
            since = before[1] if before and before[0] == _kind(why) else now
            waits[step] = (_kind(why), since, why)
        self._waits = waits

    def hear(self, state: RunState, now: float) -> None:
        """Take ZenML's word."""
        self._answered[ZENML] = now
        self._silent.pop(ZENML, None)
        if not self.state.status:  # the first word: whoever comes later saw nothing of what had ended before
            self._before = {step for step, said in state.steps.items() if said.status in OVER}
        self.state = state
        for step, said in state.steps.items():
            if said.status in OVER:
                self._ends.setdefault(step, now)
            else:
                self._ends.pop(step, None)  # it is tried again

    def miss(self, server: str, why: str) -> None:
        """A server did not answer."""
        self._silent[server] = why

    def silent(self, now: float) -> list[str]:
        """Which servers do not answer, in a line each."""
        return [
            f"{name} has not answered for {now - self._answered[name]:.0f} s: {why}"
            for name, why in self._silent.items()
        ]

    def wants_a_closer_look(self, now: float) -> bool:
        """Whether something has been silent so long that events may explain it."""
        since = self.memory.silent_since()
        return since is not None and now - since > CLOSER_S

    def rows(self, now: float) -> list[Row]:
        """The table: the steps of the DAG in its order, each with the last pod that worked for it."""
        pods = self.memory.by_step()
        names = [*self.state.order, *(step for step in pods if step not in self.state.order and step != ORCHESTRATOR)]
        return [self._row(step, pods.get(step, []), now) for step in names]

    def waiting(self) -> dict[str, Reason]:
        """{step: why its pod does not start}; `ORCHESTRATOR` for the pod that starts the steps."""
        return {step: why for step, (_, _, why) in self._waits.items()}

    def mishaps(self) -> dict[str, tuple[str, Reason]]:
        """{pod: (step, what the cluster did to it)}; another pod may take its place."""
        found = {}
        for step, pods in self.memory.by_step().items():
            for pod in pods:
                why = self.memory.telling_of_pod(pod) if phase_of(pod) != PENDING else None
                if why:
                    found[name_of(pod)] = (step, why)
        return found

    def facts(self) -> dict[str, list[PodFacts]]:
        """{step: its pods}, also those that are gone: what the evidence of the run gets."""
        return facts_of(list(self.memory.jobs.values()), list(self.memory.pods.values()))

    def outcome(self, now: float) -> Outcome | None:
        """How the run ended; None while it goes on."""
        if found := self._lost(now) or self._given_up(now):
            return found
        if self.state.status in OVER:
            return self._ended(now)
        if wrong := self._wrong_image():
            return Outcome(FAILED, wrong, stop=True)
        if why := self._nobody_goes_on() or self._failed_for_good():
            if not self._settled(now):
                return None
            return Outcome(FAILED, self._reasons() or {ORCHESTRATOR: why}, stop=True)
        self._over_since = None
        return None

    def _lost(self, now: float) -> Outcome | None:
        for server, last in self._answered.items():
            if now - last > self._limits.lost_s:
                what = f"{server} has not answered for {now - last:.0f} s: {self._silent.get(server, 'no word')}"
                why = Reason("ServerLost", what, "the run may go on; follow it again when the server is back")
                return Outcome(LOST, {ORCHESTRATOR: why})
        return None

    def _given_up(self, now: float) -> Outcome | None:
        limits = {ROOM: self._limits.node_s, START: self._limits.start_s, NEVER: self._limits.never_s}
        for step, (kind, since, why) in self._waits.items():
            if now - since > limits[kind]:
                return Outcome(FAILED, {step: why._replace(what=f"{why.what}; waited {now - since:.0f} s")}, stop=True)
        return None

    def _ended(self, now: float) -> Outcome | None:
        """ZenML says that the run is over."""
        at_work = self.memory.at_work()
        if self.state.status != COMPLETED:
            if not self._settled(now) and (at_work or not self._explained()):
                return None
            return Outcome(FAILED if self.state.status == FAILED else STOPPED, self._reasons(), stop=bool(at_work))
        if at_work and not self._settled(now):
            return None
        if wrong := [*self._failed_jobs(), *at_work]:
            return Outcome(FAILED, self._reasons() or _disagree(wrong), stop=bool(at_work))
        return Outcome(COMPLETED, {})

    def _wrong_image(self) -> dict[str, Reason]:
        """{step: what its image lacks}, by its newest pod: no other try of it can end better."""
        found = {}
        for step, pods in self.memory.by_step().items():
            said = self.state.steps.get(step)
            why = self.memory.telling_of_pod(pods[-1])
            if why and lacks_something(pods[-1], why) and not (said and said.status in OVER and said.status != FAILED):
                found[step] = why
        return found

    def _nobody_goes_on(self) -> Reason | None:
        """Why nobody starts further steps while ZenML still thinks that the run goes on."""
        job = self.memory.orchestrator()
        if job is None:
            return None
        if condition_of(job, "Failed"):
            why = self.memory.why_failed(ORCHESTRATOR)
            told = next((one for one in why if one), None)
            return told or Reason("OrchestratorFailed", "the pod that starts the steps failed for good")
        if condition_of(job, "Complete"):
            return Reason("OrchestratorEnded", "the pod that starts the steps has ended, but the run has not")
        if not self.memory.there(job):
            return self._last_waits.get(ORCHESTRATOR) or Reason(
                "JobGone", "the run's Job was deleted", "somebody deleted it, or its namespace"
            )
        return None

    def _failed_for_good(self) -> Reason | None:
        """A step's Job that has no try left, while ZenML lets other branches go on: of a pod that was killed before its
        step began it hears only when all of them have ended, whatever the execution mode."""
        for job in self._failed_jobs():
            said = self.state.steps.get(step_of(job))
            if not by_operator(job) and not (said and said.status in OVER and said.status != FAILED):
                return Reason("JobFailed", f"the Job {name_of(job)} failed for good")
        return None

    def _settled(self, now: float) -> bool:
        """Whether ZenML and the cluster had time enough to agree since one of them first said that all is over."""
        if self._over_since is None:
            self._over_since = now
        return now - self._over_since > self._limits.settle_s

    def _explained(self) -> bool:
        """Whether every failed step has its reason; what the store does not know (a killed pod) may come late."""
        broken = {step for step, said in self.state.steps.items() if said.status == FAILED}
        broken |= {step_of(job) for job in self._failed_jobs()}
        return bool(broken) and broken <= self._reasons().keys()

    def _failed_jobs(self) -> list[Object]:
        """The steps' Jobs that failed, but those whose place a later Job took (a new try of a step)."""
        jobs = sorted(self.memory.jobs.values(), key=lambda job: job["metadata"]["creationTimestamp"])
        last = {(step_of(job), by_operator(job)): job for job in jobs if step_of(job) != ORCHESTRATOR}
        return [job for job in last.values() if condition_of(job, "Failed")]

    def _reasons(self) -> dict[str, Reason]:
        """Why steps failed: what the cluster did to a pod, else what the step itself said, else what is left."""
        broken = [step for step, said in self.state.steps.items() if said.status == FAILED]
        broken += [step_of(job) for job in self._failed_jobs()]
        broken += [step for step in self._last_waits if self._never_worked(step)]
        found: dict[str, Reason] = {}
        for step in dict.fromkeys(broken):
            telling, rest = self.memory.why_failed(step)
            said = self.state.steps.get(step)
            own = Reason(EXCEPTION, said.error, pod=self._last_pod(step)) if said and said.error else None
            waited = self._last_waits.get(step) if self._never_worked(step) else None
            if why := telling or own or waited or rest:
                found[step] = why
        return found

    def _never_worked(self, step: str) -> bool:
        said = self.state.steps.get(step)
        pods = self.memory.by_step().get(step, [])
        return not (said and said.status in OVER and said.status != FAILED) and not any(
            uid_of(pod) in self.memory.worked for pod in pods
        )

    def _last_pod(self, step: str) -> str:
        pods = self.memory.by_step().get(step)
        return name_of(pods[-1]) if pods else ""

    def _row(self, step: str, pods: list[Object], now: float) -> Row:
        said = self.state.steps.get(step)
        status = said.status if said else ""
        wait = self._waits.get(step)
        earlier = sum(job_of(pod) == job_of(pods[-1]) for pod in pods[:-1]) if pods else 0
        shown = fact(step, pods[-1], earlier) if pods else None
        if status in OVER:
            word = status
        elif wait:
            word = wait[2].code
        elif shown is None:
            word = "waits"
        elif not any(self.memory.there(pod) for pod in pods):
            word = "gone"  # deleted, by the orchestrator, a stop or a drain
        elif shown.phase == PENDING:
            word = "starting"
        elif shown.phase == RUNNING:
            word = status or "loading"  # the pod imports; the step has not said that it began
        else:
            why = self.memory.telling_of_pod(pods[-1])
            word = why.code if why else "ending"
        seconds = None
        if said and step in self._before and said.started and said.ended:
            seconds = (datetime.fromisoformat(said.ended) - datetime.fromisoformat(said.started)).total_seconds()
        elif pods:
            begun = min(self.memory.first_seen[uid_of(pod)] for pod in pods)
            seconds = max(self._ends.get(step, now) - begun, 0.0)
        reason = wait[2] if wait and status not in OVER else None
        if shown is None:
            return Row(step, word, "", "", 0, seconds, reason)
        return Row(step, word, shown.pod, shown.node, shown.restarts, seconds, reason)


def _kind(why: Reason) -> str:
    if why.code in (UNSCHEDULABLE, QUOTA, NOT_ATTACHED):
        return ROOM
    return NEVER if why.code in HOPELESS else START


def _disagree(jobs: list[Object]) -> dict[str, Reason]:
    what = "ZenML says that the run completed, but the Job {} failed or still works"
    return {
        step: Reason("JobFailed", what.format(name), "start the run again; what is complete comes from the cache")
        for name, step in step_names(jobs).items()
    }
