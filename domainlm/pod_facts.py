"""What is known of a pod when it is gone: what a cluster's follower hands to whoever makes the run's manifest."""

from __future__ import annotations

from typing import NamedTuple


class PodFacts(NamedTuple):
    """What is kept of a pod when it is gone.

    Args:
        step: the step that it worked for.
        pod, uid: its name and its id.
        node: the node it ran on; empty if it never got one.
        image: the image that was asked for.
        image_digest: `sha256:...` of what really ran, as the node says; empty if it never ran.
        phase: Pending, Running, Succeeded or Failed.
        restarts: how many earlier pods of the same Job there were, and restarts of this one's container.
        reason: Kubernetes' word for how it ended, such as OOMKilled or Evicted; empty if nothing is said.
        started, ended: when its container ran, UTC by the node's clock, whole seconds; empty if it did not.
    """

    step: str
    pod: str
    uid: str
    node: str
    image: str
    image_digest: str
    phase: str
    restarts: int
    reason: str
    started: str
    ended: str
