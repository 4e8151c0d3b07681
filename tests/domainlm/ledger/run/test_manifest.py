"""A manifest is written whole, carries its own digest, and says what state the code was in."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from domainlm.errors import ArtifactError
from domainlm.ledger.run import manifest as manifests
from domainlm.ledger.run.checkout import changed_files, code_state, file_digests
from domainlm.ledger.run.machine import environment_state, hardware_state
from domainlm.ledger.run.manifest import COMPLETED, RunManifest, StepEntry


def example() -> RunManifest:
    step = StepEntry(
        name="train", status=COMPLETED, parameters={"learning_rate": 2e-3, "epochs": 1.0}, outputs={"adapter": "a" * 64}
    )
    return RunManifest(run_id="1", run_name="run", pipeline="finetuning_pipeline", status=COMPLETED, steps=[step])


def test_a_manifest_comes_back_as_it_was_written_and_nothing_else_is_left() -> None:
    path = manifests.write(example())
    assert manifests.read(path).model_copy(update={"digest": ""}) == example()
    assert sorted(found.name for found in path.parent.iterdir()) == ["1.json", "1.seal"]


@pytest.mark.parametrize("change", [("0.002", "0.003"), ("completed", "Completed"), ('"a', '"b')])
def test_a_changed_manifest_is_refused(change: tuple[str, str]) -> None:
    path = manifests.write(example())
    path.write_text(path.read_text().replace(*change))
    with pytest.raises(ArtifactError, match="digest"):
        manifests.read(path)


def test_what_is_no_manifest_is_refused(tmp_path: Path) -> None:
    for text in ("", "[]", '{"format": 1}', "{"):
        path = tmp_path / "x.json"
        path.write_text(text)
        with pytest.raises(ArtifactError, match="not a run manifest"):
            manifests.read(path)


def test_a_later_state_replaces_an_earlier_one() -> None:
    manifests.write(example().model_copy(update={"status": "running"}))
    path = manifests.write(example())
    assert json.loads(path.read_text())["status"] == COMPLETED


def test_what_a_step_measured_is_kept_and_sealed() -> None:
    found = example()
    found.steps[0].measured = {"seconds": 12.5, "energy_missing": {"gpu": "no GPU is used"}}
    path = manifests.write(found)
    assert manifests.read(path).steps[0].measured == found.steps[0].measured
    path.write_text(path.read_text().replace("12.5", "1.5"))
    with pytest.raises(ArtifactError, match="digest"):
        manifests.read(path)


def test_a_manifest_from_before_steps_measured_anything_keeps_its_digest() -> None:
    """Its steps have no such fields; a digest over empty ones would refuse every earlier run."""
    from domainlm.digests import digest_json

    content = json.loads(manifests.write(example()).read_text())
    assert all("measured" not in step and "chosen" not in step for step in content["steps"])
    assert content.pop("digest") == digest_json(content)


def test_a_manifest_of_the_first_format_still_reads_and_verifies(tmp_path: Path) -> None:
    """Written before audit: none of the later fields, and a digest over what there was."""
    from domainlm.digests import digest_json

    old = {
        "format": "domainlm.run/1", "run_id": "1", "run_name": "run", "pipeline": "p", "status": COMPLETED,
        "started": "2026-11-21T06:43:54.495", "ended": "", "key_id": "development-1",
        "steps": [{"name": "train", "status": COMPLETED, "cached": False, "parameters": {"epochs": 1.0}, "inputs": {},
                   "outputs": {"adapter": "a" * 64}, "code": "", "started": "", "ended": ""}],
        "failure": None, "configuration": {}, "code": {"commit": "c" * 40, "dirty": False, "lock": ""},
        "environment": {},
    }  # fmt: skip
    path = tmp_path / "1.json"
    path.write_text(json.dumps(old | {"digest": digest_json(old)}))
    found = manifests.read(path)
    assert found.format == "domainlm.run/1" and found.authors.code == [] and found.model is None
    path.write_text(path.read_text().replace('"epochs": 1.0', '"epochs": 2.0'))
    with pytest.raises(ArtifactError, match="digest"):
        manifests.read(path)


def git(folder: Path, *arguments: str) -> None:
    subprocess.run(
        ["git", "-C", str(folder), "-c", "user.name=t", "-c", "user.email=t@t", *arguments],
        check=True,
        capture_output=True,
    )


def test_the_state_of_the_code_is_commit_and_dirty_flag(tmp_path: Path) -> None:
    git(tmp_path, "init")
    (tmp_path / "a.py").write_text("x = 1\n")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-m", "a")
    clean = code_state(tmp_path)
    assert len(clean["commit"]) == 40 and clean["dirty"] is False
    (tmp_path / "b.py").write_text("new\n")
    assert code_state(tmp_path) == {**clean, "dirty": True}


def test_every_file_of_the_code_has_its_digest_and_an_edit_shows(tmp_path: Path) -> None:
    (tmp_path / "steps" / "__pycache__").mkdir(parents=True)
    (tmp_path / "steps" / "__pycache__" / "a.pyc").write_bytes(b"x")
    (tmp_path / "steps" / "a.py").write_text("x = 1\n")
    (tmp_path / "run.yaml").write_text("steps: {}\n")
    before = file_digests(tmp_path, ["steps", "run.yaml", "gone"])
    assert set(before) == {"steps/a.py", "run.yaml"} and all(len(digest) == 64 for digest in before.values())
    state = (tmp_path / "steps" / "a.py").stat()
    (tmp_path / "steps" / "a.py").write_text("x = 2\n")
    os.utime(tmp_path / "steps" / "a.py", ns=(state.st_atime_ns, state.st_mtime_ns))  # same time, same size
    (tmp_path / "steps" / "b.py").write_text("")
    assert changed_files(before, file_digests(tmp_path, ["steps", "run.yaml"])) == ["steps/a.py", "steps/b.py"]


def test_the_hardware_is_named() -> None:
    found = hardware_state()
    assert found["cores"] >= 1 and found["memory_bytes"] > 1 << 28 and isinstance(found["gpus"], list)


def test_a_folder_without_git_counts_as_dirty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert code_state(tmp_path)["dirty"] is True


def test_the_environment_names_the_versions_that_matter() -> None:
    found = environment_state()
    assert all(found["packages"][name] for name in ("torch", "transformers", "peft", "bitsandbytes", "zenml", "mlflow"))
