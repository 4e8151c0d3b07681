"""Lineage events of runs: each run once, what fails waits, and no run ends otherwise for it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from small_ledgers import small_run

from domainlm.audit.standards.sending import send_waiting
from domainlm.ledger.run import manifest as manifests
from domainlm.ledger.run.manifest import RUNNING


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that events go to; its folder is not there yet."""
    target = tmp_path / "lineage" / "events.jsonl"
    settings = tmp_path / "audit.yaml"
    settings.write_text(f"openlineage: {target.as_uri()}\n")
    monkeypatch.setenv("DOMAINLM_AUDIT", str(settings))
    return target


def runs_in(target: Path) -> list[str]:
    """Run ids of the pipeline's own end events, in order."""
    found = [json.loads(line) for line in target.read_text().splitlines()]
    return [
        event["run"]["runId"] for event in found if event["eventType"] == "COMPLETE" and "." not in event["job"]["name"]
    ]


def test_each_ended_run_is_sent_once_and_what_fails_waits(url: Path) -> None:
    manifests.write(small_run(1))
    manifests.write(small_run(2, status=RUNNING))
    assert "0 of" in send_waiting(), "there is no folder to write to"
    url.parent.mkdir()
    assert send_waiting() == ""
    assert runs_in(url) == [small_run(1).run_id]
    manifests.write(small_run(2))
    assert send_waiting() == ""
    assert runs_in(url) == [small_run(1).run_id, small_run(2).run_id]
    assert send_waiting() == "" and len(runs_in(url)) == 2


def test_without_a_place_nothing_is_sent() -> None:
    manifests.write(small_run(1))
    assert send_waiting() == ""


def test_a_broken_configuration_is_a_reason_and_no_error(url: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path(url.parent.parent / "audit.yaml").write_text("openlineage: [1]\n")
    assert send_waiting()
