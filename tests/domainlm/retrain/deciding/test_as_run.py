"""One batch again under its old configuration: what comes from the old run, what stays, and a difference shows."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from domainlm.errors import ConfigurationError
from domainlm.keys import KeyRing
from domainlm.ledger.run import manifest as manifests
from domainlm.ledger.run.manifest import RunManifest, StepEntry
from domainlm.retrain.deciding.as_run import as_run, differences, left_running, manifest_of

RUN = "3c8ef51d-c82c-492e-8c54-970f5df0e84e"


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunManifest:
    monkeypatch.setenv("DOMAINLM_HOME", str(tmp_path))
    steps = [
        StepEntry(name="train", status="completed", parameters={"max_steps": 12, "definitions": [{"name": "x"}]}),
        StepEntry(name="prepare", status="completed", parameters={"test_fraction": 0.3}),
        StepEntry(name="decide", status="completed", parameters={"new_rows": 5}),
        StepEntry(name="contest", status="completed", parameters={"tolerance": 0.2}),
    ]
    run = RunManifest(
        run_id=RUN, run_name="r", pipeline="retraining_pipeline", status="completed", steps=steps,
        configuration={"parameters": {"base": "embedded", "pack": "domains/finance", "controls": False}},
    )  # fmt: skip
    manifests.write(run, lambda *_: KeyRing("test", b"k" * 32))
    return run


def test_what_shapes_the_model_is_the_old_runs_and_the_rest_the_files(old: RunManifest) -> None:
    present = {
        "settings": {"docker": {"skip_build": True}},
        "parameters": {"base": "elsewhere", "controls": True},
        "steps": {
            "train": {"parameters": {"max_steps": 99, "rank": 4}, "experiment_tracker": "mlflow"},
            "vocabulary": {"parameters": {"max_new_tokens": 1}},
            "decide": {"parameters": {"new_rows": 200}},
            "detect": {"parameters": {"zone": "elsewhere"}},
        },
    }
    found = as_run(RUN[:8], present)
    assert found["steps"]["train"] == {"parameters": {"max_steps": 12}, "experiment_tracker": "mlflow"}
    assert found["steps"]["prepare"] == {"parameters": {"test_fraction": 0.3}}
    assert found["steps"]["decide"] == {"parameters": {"new_rows": 200}}, "when to train is the present's"
    assert found["steps"]["detect"] == {"parameters": {"zone": "elsewhere"}}
    assert "parameters" not in found["steps"]["vocabulary"], "the run had none: the defaults hold, as then"
    assert found["parameters"] == {"base": "embedded", "pack": "domains/finance", "controls": False}
    assert found["settings"] == present["settings"]
    assert present["steps"]["train"]["parameters"]["max_steps"] == 99, "what was given is not changed"


def test_a_run_that_is_configured_otherwise_is_told_apart(old: RunManifest) -> None:
    same = {"train": {"max_steps": 12}, "prepare": {"test_fraction": 0.3}, "decide": {"new_rows": 7}}
    assert differences(old, same) == []
    assert differences(old, same | {"train": {"max_steps": 13}}) == ["train.max_steps"]
    assert differences(old, same | {"contest": {"tolerance": 0.1}}) == [], "it judges, and shapes no model"


def test_a_run_that_is_at_work_is_not_repeated_and_one_that_was_left_so_is_known(old: RunManifest) -> None:
    """Its manifest holds the steps that had begun: the others would be the file's."""
    load = lambda *_: KeyRing("test", b"k" * 32)  # noqa: E731
    here = {"host": socket.gethostname(), "pid": os.getpid()}
    manifests.write(old.model_copy(update={"status": "running", "environment": {"process": here}}), load)
    assert not left_running(RUN[:8]) and not left_running("") and not left_running("ffff")
    with pytest.raises(ConfigurationError, match="is at work"):
        as_run(RUN[:8], {})
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        gone.wait(60)
    there = {"host": "elsewhere", "pid": gone.pid}
    for process, left in ((here | {"pid": gone.pid}, True), (there, False)):
        manifests.write(old.model_copy(update={"status": "running", "environment": {"process": process}}), load)
        assert left_running(RUN[:8]) is left


@pytest.mark.parametrize("name", ["", "ffff", RUN + "0"])
def test_there_must_be_just_one_such_run(old: RunManifest, name: str) -> None:
    with pytest.raises(ConfigurationError, match="no such run"):
        manifest_of(name)
    other = old.model_copy(update={"run_id": RUN[:-1] + "f"})
    manifests.write(other, lambda *_: KeyRing("test", b"k" * 32))
    with pytest.raises(ConfigurationError, match="several runs begin so"):
        manifest_of(RUN[:8])
