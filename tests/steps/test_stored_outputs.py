"""What `domainlm audit verify --artifacts` learns from a real ZenML store."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated

from small_ledgers import small_ledger, small_run
from zenml import pipeline, step

import materializers.report  # noqa: F401 - registers itself
from domainlm.artifacts import TOMBSTONE
from domainlm.audit.proof.cross_checks import known_runs, stored_artifacts
from domainlm.ledger.run.manifest import COMPLETED, RunManifest, StepEntry
from domainlm.reports import Report


class Finding(Report):
    """Something small to store."""

    count: int


@step(enable_cache=False)
def look(count: int) -> Annotated[Finding, "finding"]:
    """Makes an output."""
    return Finding(count=count)


@pipeline(enable_cache=False)
def looking(count: int) -> None:
    """Stands for a training."""
    look(count)
    look(count + 1, id="again")


def ran(count: int) -> tuple[RunManifest, dict[str, Path]]:
    """The manifest of a run, and the folder of each step's output."""
    run = looking(count)
    outputs = {name: found.get_hydrated_version().outputs["finding"][0] for name, found in run.steps.items()}
    steps = [
        StepEntry(name=name, status=COMPLETED, outputs={"finding": str(found.content_hash)})
        for name, found in outputs.items()
    ]
    manifest = small_run(count, run_id=str(run.id), run_name=f"run-{count}", steps=steps, model=None)
    return manifest, {name: Path(found.uri) for name, found in outputs.items()}


def test_outputs_are_the_same_changed_gone_or_erased(stores: Path, tmp_path: Path) -> None:
    from steps.stored_outputs import ended_runs, stored_outputs

    made = small_ledger(tmp_path / "ledger")
    manifest, folders = ran(1)
    made.enter_run(manifest)

    def codes() -> list[tuple[str, str]]:
        found, count = stored_artifacts(made.evidence(), stored_outputs([manifest]))
        assert count == 2
        return [(finding.code, finding.where) for finding in found]

    assert codes() == []
    report = folders["look"] / "report.json"
    kept = report.read_bytes()
    report.write_text(json.dumps({"count": 7}))
    assert codes() == [("replaced-artifact", "run-1/look/finding")]
    report.write_bytes(b"")
    assert codes() == [("replaced-artifact", "run-1/look/finding")]
    report.unlink()
    assert codes() == [("missing-artifact", "run-1/look/finding")]
    stone = folders["look"] / TOMBSTONE
    stone.write_text(json.dumps({"kind": "retention", "act": "0" * 64, "day": "2026-11-21"}))
    assert codes() == [("missing-artifact", "run-1/look/finding")]  # a tombstone is believed only with an entry
    stone.unlink()
    report.write_bytes(kept)
    # what ZenML itself states does not count: the digest is the ledger's
    other = manifest.model_copy(update={"steps": [step.model_copy(update={"outputs": {"finding": "0" * 64}})
                                                  for step in manifest.steps]})  # fmt: skip
    assert [found.actual == found.expected for found in stored_outputs([other])] == [False, False]
    unknown = small_run(9, run_name="gone", steps=manifest.steps)
    assert [found.actual for found in stored_outputs([unknown])] == [None, None]

    second, _ = ran(5)
    begin = made.evidence().stated[0].header.time
    assert [finding.where for finding in known_runs(made.evidence(), ended_runs(begin))] == [
        finding.where for finding in known_runs(made.evidence(), [(second.run_id, _name_of(second.run_id))])
    ]
    assert list(ended_runs("2099-01-01T00:00:00.000Z")) == []
    assert os.getcwd() == str(stores)


def _name_of(run_id: str) -> str:
    from zenml.client import Client

    return Client().get_pipeline_run(run_id).name
