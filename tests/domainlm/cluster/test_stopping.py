"""Stopping leaves nothing at work, whatever ZenML could do."""

from __future__ import annotations

import pytest
from small_pods import RUN, job, look, pod

from domainlm.cluster.pods import Seen
from domainlm.cluster.stopping import GRACE_S, NotStopped, stop


class Cluster:
    """Objects that go when they are deleted, or when the orchestrator has heard."""

    namespace = "domainlm"

    def __init__(self, *things: dict, sticks: bool = False) -> None:
        self.things, self.sticks = list(things), sticks
        self.secrets: list[str] = []
        self.looks = 0

    def look(self, run_id: str) -> Seen:
        assert run_id == RUN
        self.looks += 1
        return look(*self.things)

    def delete_jobs(self, jobs: list[dict]) -> None:
        names = {one["metadata"]["name"] for one in jobs}
        if not self.sticks:
            self.things = [
                one
                for one in self.things
                if (one["metadata"]["labels"].get("job-name") or one["metadata"]["name"]) not in names
            ]

    def delete_secrets(self, names: list[str]) -> None:
        self.secrets += names


class Run:
    id = RUN

    def __init__(self, cluster: Cluster, stops: bool | Exception = True) -> None:
        self._cluster, self._stops = cluster, stops
        self.closed: tuple[str, str] | None = None

    def stop(self) -> bool:
        if isinstance(self._stops, Exception):
            raise self._stops
        if self._stops:  # its orchestrator ends the steps, then itself
            self._cluster.things = [job("run", end="Complete"), pod("run", "Succeeded")]
        return self._stops

    def close(self, status: str, why: str) -> None:
        self.closed = (status, why)


WORK = (job("run"), pod("run"), job("train-1", "train"), pod("train-1"))


@pytest.mark.parametrize("stops", [True, False, ConnectionError()])
def test_nothing_is_left(stops: bool | Exception) -> None:
    cluster = Cluster(*WORK)
    run = Run(cluster, stops)
    paused: list[float] = []
    stop(run, cluster, "stopped", "asked for", whole=True, pause=paused.append)
    assert cluster.things == []
    assert cluster.secrets == ["zenml-token-5"]
    assert run.closed == ("stopped", "asked for")
    assert sum(paused) < 5, "nobody is waited for who cannot hear"


def test_what_has_ended_stays_with_its_logs_unless_all_shall_go() -> None:
    cluster = Cluster(job("ingest-1", "ingest", "Complete"), pod("ingest-1", "Succeeded"), *WORK)
    stop(Run(cluster, False), cluster, "failed", "x", whole=False, pause=lambda seconds: None)
    assert [one["metadata"]["name"] for one in cluster.things] == ["ingest-1", "ingest-1-0"]


def test_the_last_look_at_each_pod_is_handed_on() -> None:
    cluster = Cluster(*WORK)
    seen: list[Seen] = []
    stop(Run(cluster, False), cluster, "stopped", "x", whole=True, seen=seen.append, pause=lambda seconds: None)
    assert len(seen[0].pods) == 2 and len(seen[-1].pods) == 0


def test_what_does_not_go_is_named() -> None:
    cluster = Cluster(*WORK, sticks=True)
    run, paused = Run(cluster, False), []
    with pytest.raises(NotStopped, match="train-1-0"):
        stop(run, cluster, "stopped", "x", whole=True, pause=paused.append)
    assert sum(paused) == GRACE_S
    assert run.closed is None, "what still works is not said to have ended"


def test_a_server_that_cannot_be_told_is_named() -> None:
    cluster = Cluster(*WORK)
    run = Run(cluster, ConnectionError())
    run.close = lambda status, why: (_ for _ in ()).throw(ConnectionError("http://key@server"))
    with pytest.raises(NotStopped, match="nothing of it is left on the cluster") as error:
        stop(run, cluster, "stopped", "x", whole=True, pause=lambda seconds: None)
    assert "key@" not in str(error.value)
