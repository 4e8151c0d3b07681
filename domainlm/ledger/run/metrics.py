"""What the collector of a cluster's evidence shows to Prometheus (text exposition format, by prometheus_client).

Numbers only: no run, step, person or value is a label, so the page may be read by whoever may reach the port.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from domainlm.ledger.run.manifest import COMPLETED, DECLINED, FAILED, INTERRUPTED

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass
class State:
    """What a pass of the collector leaves behind for the next look.

    Args:
        runs: runs collected since the start, by how they ended.
        refused: of these, runs that wait for a person: a seal is wrong.
        waiting: manifests without an entry in the ledger now.
        elsewhere: ids of runs whose submissions said that another ledger has them.
        stray: outboxes in the store whose runs the last round's stack does not have.
        began: when the runs began that have not ended; UTC.
        passes: rounds that looked at every run.
        broken_passes: rounds that could not.
        last_success_unix_s: when the last whole round ended; 0 before the first.
    """

    runs: dict[str, int] = field(default_factory=lambda: dict.fromkeys((COMPLETED, DECLINED, FAILED, INTERRUPTED), 0))
    refused: int = 0
    waiting: int = 0
    elsewhere: set[Any] = field(default_factory=set)
    stray: int = 0
    began: list[datetime] = field(default_factory=list)
    passes: int = 0
    broken_passes: int = 0
    last_success_unix_s: float = 0.0


def serve(state: State, port: int, address: str = "0.0.0.0") -> Callable[[], None]:
    """Answer `GET /metrics` in a thread of its own.

    Args:
        state: read anew at each request.
        port: where to listen; 0 takes a free one.
        address: every address of the pod by default; who may reach it says a network policy.

    Returns:
        What ends it.

    Raises:
        OSError: the port is taken.
    """
    from prometheus_client import CollectorRegistry, start_http_server

    registry = CollectorRegistry()
    registry.register(_Metrics(state))
    server, thread = start_http_server(port, address, registry)

    def stop() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return stop


class _Metrics:
    """Makes the samples when they are asked for."""

    def __init__(self, state: State) -> None:
        self._state = state

    def collect(self):
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        state = self._state
        now = datetime.now(UTC)
        ages = [(now - (at.replace(tzinfo=UTC) if at.tzinfo is None else at)).total_seconds() for at in state.began]
        runs = CounterMetricFamily(
            "domainlm_runs_collected", "Runs whose evidence was collected since the start", labels=["status"]
        )
        for status, count in state.runs.items():
            runs.add_metric([status], count)
        yield runs
        yield CounterMetricFamily("domainlm_collect_passes", "Rounds that looked at every run", state.passes)
        yield CounterMetricFamily("domainlm_collect_broken_passes", "Rounds that could not", state.broken_passes)
        for name, what, value in (
            ("domainlm_runs_refused", "Runs whose evidence bears a wrong seal, since the start", state.refused),
            ("domainlm_manifests_waiting", "Manifests without an entry in the ledger", state.waiting),
            ("domainlm_runs_of_other_ledgers", "Ended runs that their submitters enter", len(state.elsewhere)),
            ("domainlm_outboxes_of_no_run", "Outboxes whose runs the stack does not have", state.stray),
            ("domainlm_runs_at_work", "Runs that have not ended", len(state.began)),
            ("domainlm_oldest_run_at_work_seconds", "Age of the oldest of them", max(ages, default=0.0)),
            (
                "domainlm_collect_last_success_timestamp_seconds",
                "End of the last whole round",
                state.last_success_unix_s,
            ),
        ):
            yield GaugeMetricFamily(name, what, value)
