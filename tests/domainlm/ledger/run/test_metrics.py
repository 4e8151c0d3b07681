"""What Prometheus sees of the collector, in the format that its own parser reads."""

from __future__ import annotations

import socket
import urllib.request
from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client.parser import text_string_to_metric_families

from domainlm.ledger.run.metrics import State, serve


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def samples(port: int) -> dict[tuple[str, str], float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    return {
        (one.name, one.labels.get("status", "")): one.value
        for family in text_string_to_metric_families(text)
        for one in family.samples
    }


def test_every_figure_is_read_anew_at_each_look() -> None:
    state, port = State(), free_port()
    stop = serve(state, port, "127.0.0.1")
    try:
        before = samples(port)
        assert before["domainlm_runs_collected_total", "failed"] == 0
        assert before["domainlm_collect_last_success_timestamp_seconds", ""] == 0
        state.runs["failed"] += 2
        state.refused, state.waiting, state.passes, state.broken_passes = 1, 3, 4, 5
        state.stray = 6
        state.began = [datetime.now(UTC) - timedelta(hours=2), datetime.now(UTC).replace(tzinfo=None)]
        state.last_success_unix_s = 1_800_000_000.0
        after = samples(port)
    finally:
        stop()
    assert after["domainlm_runs_collected_total", "failed"] == 2
    assert after["domainlm_runs_collected_total", "completed"] == 0
    assert (after["domainlm_runs_refused", ""], after["domainlm_manifests_waiting", ""]) == (1, 3)
    assert after["domainlm_collect_passes_total", ""] == 4 and after["domainlm_collect_broken_passes_total", ""] == 5
    assert after["domainlm_runs_at_work", ""] == 2 and after["domainlm_outboxes_of_no_run", ""] == 6
    assert after["domainlm_oldest_run_at_work_seconds", ""] >= 7200
    assert after["domainlm_collect_last_success_timestamp_seconds", ""] == 1_800_000_000.0


def test_nothing_answers_after_the_end() -> None:
    port = free_port()
    serve(State(), port, "127.0.0.1")()
    with pytest.raises(OSError, match="refused"):
        samples(port)
