"""Stops a run on a cluster so that nothing of it is left: no pod at work, no Job that waits, no token in a Secret.

ZenML is asked first: its orchestrator then starts nothing more, publishes how the run ended, and deletes its token.
What is still there after the pods' time of grace is deleted here: an orchestrator that never began, or that died, or
that could not be told because ZenML's server is away.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from domainlm.cluster.memory import ended
from domainlm.cluster.pods import PENDING, RUNNING, Cluster, Seen, name_of, phase_of, token_secrets
from domainlm.errors import DomainLMError

GRACE_S = 90.0  # a pod has 60 s from SIGTERM to SIGKILL (configs/kubernetes.yaml), the orchestrator some to see it
LOOK_S = 1.0


class Run(Protocol):
    """What ZenML can do for a run; `steps.followed.Followed` is one."""

    id: object

    def stop(self) -> bool:
        """Ask ZenML to stop it; whether an orchestrator was there to hear it."""

    def close(self, status: str, why: str) -> None:
        """Say how it ended, where ZenML thinks that it goes on."""


class NotStopped(DomainLMError):
    """Something of a run is still at work on the cluster."""


def stop(
    run: Run,
    cluster: Cluster,
    status: str,
    why: str,
    *,
    whole: bool,
    seen: Callable[[Seen], None] = lambda look: None,
    pause: Callable[[float], None] = time.sleep,
) -> None:
    """Stop a run, and wait until nothing of it is at work.

    Args:
        run: the run.
        cluster: where it works.
        status: what ZenML shall say of it where nobody else does: "stopped" or "failed".
        why: the reason that stands beside it.
        whole: delete also the Jobs that have ended, with their pods and logs; else these stay until their time is over.
        seen: told each look at the cluster: what is deleted is then known.
        pause: waits so many seconds.

    Raises:
        NotStopped: after twice the time of grace there is still something.
    """
    run_id = str(run.id)
    try:
        heard = run.stop()
    except Exception:  # ZenML's server may be away: that must not keep a GPU busy
        heard = False
    look = _wait(cluster, run_id, seen, pause, lambda look: not heard or not _at_work(look))
    secrets = token_secrets(look.jobs)
    cluster.delete_jobs([job for job in look.jobs if whole or not ended(job)])
    look = _wait(cluster, run_id, seen, pause, lambda look: not (look.jobs or look.pods if whole else _at_work(look)))
    if left := _at_work(look):
        names = ", ".join(left)
        raise NotStopped(
            f"still at work: {names}", cluster.namespace, f"see: kubectl -n {cluster.namespace} get pods,jobs"
        )
    cluster.delete_secrets(secrets)
    try:
        run.close(status, why)
    except Exception as error:
        what = f"nothing of it is left on the cluster, but the ZenML server could not be told ({type(error).__name__})"
        raise NotStopped(what, f"run {run_id}", "repeat it when the server is back") from error


def _wait(
    cluster: Cluster, run_id: str, seen: Callable[[Seen], None], pause: Callable[[float], None],
    enough: Callable[[Seen], object],
) -> Seen:  # fmt: skip
    """Look until it is enough, or the time of grace is over."""
    waited = 0.0
    while True:
        look = cluster.look(run_id)
        seen(look)
        if enough(look) or waited >= GRACE_S:
            return look
        pause(LOOK_S)
        waited += LOOK_S


def _at_work(look: Seen) -> list[str]:
    """The names of what is at work, or waits to be: Jobs without an end, and pods that have not ended."""
    jobs = [name_of(job) for job in look.jobs if not ended(job)]
    return jobs + [name_of(pod) for pod in look.pods if phase_of(pod) in (PENDING, RUNNING, "Unknown")]
