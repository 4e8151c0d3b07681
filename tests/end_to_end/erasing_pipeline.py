"""A pipeline of the real first stages and a step that leaves what a training leaves, for the story of an erasure.

Run in a project of its own: `python erasing_pipeline.py CONFIG`; prints each step's status as JSON.
"""

from __future__ import annotations

import json
import sys
from typing import Annotated

from datasets import Dataset
from zenml import pipeline
from zenml.client import Client

from domainlm.redact.policy import read_policy
from domainlm.reports import Report
from pipelines import hooks
from steps.erased import erasure_register
from steps.ingest import ingest
from steps.keys import load_keys
from steps.prepare import prepare
from steps.redact import redact
from steps.stage import stage_step
from steps.workspace import workspace


class Learnt(Report):
    """What the step says of itself."""

    rows: int


@stage_step("train")
def learn(records: Dataset) -> Annotated[Learnt, "training_report"]:
    """Leave a checkpoint and a sample under its record's id, as a training does."""
    with workspace() as place:
        checkpoint = place.work / "checkpoint-2"
        checkpoint.mkdir(parents=True, exist_ok=True)
        (checkpoint / "adapter_model.safetensors").write_bytes(b"weights")
        (place.work / "samples.json").write_text(json.dumps([{"record": records[0]["id"]}]))
    records.map(lambda row: {"tokens": [1, 2]})  # leaves a cache file beside the artifact
    return Learnt(rows=len(records))


@pipeline(**hooks.around_a_run)
def small_pipeline() -> None:
    """Ingest, redact, prepare, and learn."""
    keys = load_keys()
    redacted, _ = redact(
        ingest(), policy=read_policy("domains/finance"), key_id=keys.lineage,
        erased=erasure_register(keys).mark(),
    )  # fmt: skip
    prepared, _ = prepare(redacted)
    learn(prepared)


if __name__ == "__main__":
    run = small_pipeline.with_options(config_path=sys.argv[1])()
    found = Client().get_pipeline_run(run.id, hydrate=True)
    print(json.dumps({name: str(step.status) for name, step in found.steps.items()}))
