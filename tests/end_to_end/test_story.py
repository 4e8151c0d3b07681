"""One project from its first run to its last: real processes, real training, real stores, no network."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import stat
import sys
import time
from pathlib import Path

import pytest
from leaks import find_leaks
from small_project import LIMITS, Project, ran, steps_of

from domainlm.audit.evidence import Evidence
from domainlm.digests import digest_file
from domainlm.ledger import entries
from domainlm.ledger.log import Ledger
from domainlm.ledger.trust.gate import Gate, identity
from domainlm.ledger.trust.signing import keys_of_pem

BASE = {"base_ingest", "base_redact", "base_prepare", "base_validate", "pretrain"}
AFTER_INGEST = {
    "redact", "prepare", "validate", "vocabulary", "train", "control_shuffled_labels", "control_from_scratch",
    "evaluate",
    "register",
}  # fmt: skip
ALWAYS = {"base_ingest", "ingest", "register"}  # record is not in its own manifest
PICKLE_SUFFIXES = {".pkl", ".pickle", ".pt", ".pth", ".bin", ".joblib", ".ckpt"}


def evidence(project: Project) -> Evidence:
    """The project's ledger, as its own commands would read it."""
    root = (project.state / "evidence" / "root.pem").read_text()
    gate = Gate("domainlm", frozenset(key.keyid for key in keys_of_pem(root, "root.pem")))
    ledger = Ledger(f"sqlite:///{project.state / 'evidence' / 'ledger.sqlite'}", "domainlm")
    return Evidence(ledger.entries(), gate)


@pytest.fixture(scope="module")
def first(project: Project) -> dict:
    output = project.domainlm("run")
    assert "headline: " in output and "registered" in output, output
    return project.last()


def test_a_first_run_completes_every_step_and_leaves_a_manifest(project: Project, first: dict) -> None:
    assert first["status"] == "completed"
    assert ran(first) == BASE | AFTER_INGEST | {"ingest"}
    assert first["code"]["dirty"] is True and len(first["code"]["commit"]) == 40 and len(first["code"]["lock"]) == 64
    for step in first["steps"]:
        assert all(len(digest) == 64 for digest in [*step["inputs"].values(), *step["outputs"].values()]), step["name"]
    assert steps_of(first)["train"]["parameters"]["max_steps"] == 12


def test_the_manifest_names_code_data_base_machine_verdicts_and_rows(project: Project, first: dict) -> None:
    for path in ("steps/train.py", "domainlm/records.py", "domains/finance/glossary.csv", "zenml_config.yaml"):
        assert first["code"]["files"][path] == digest_file(project.root / path)
    assert "changed" not in first["code"] and first["configuration"]["file"] == "zenml_config.yaml"
    sources = {source["name"]: source for source in first["sources"]}
    assert set(sources) == set(LIMITS) and sources["corpus"]["stage"] == "base_ingest"
    for source in sources.values():
        assert source["licence"] and source["rows"] == LIMITS[source["name"]]
        assert all(digest == digest_file(project.root / file) for file, digest in source["files"].items())
    assert first["base"]["name"] == "falcon-tiny" and first["base"]["digest"] == first["model"]["digests"]["base"]
    assert first["hardware"]["cores"] >= 1 and first["hardware"]["memory_bytes"] > 0
    assert {name: found["verdict"] for name, found in first["verdicts"].items()} == {
        "base_redaction": "passed", "base_validation": "kept", "redaction": "passed", "validation": "kept",
        "evaluation": "not shown", "licence": "allowed",
    }  # fmt: skip
    assert set(first["intervals"]) == set(first["metrics"]) and len(first["metrics"]) > 20
    assert all(low <= first["metrics"][name] <= high for name, (low, high) in first["intervals"].items())
    prepared = {steps_of(first)[name]["outputs"]["prepared_records"] for name in ("prepare", "base_prepare")}
    assert {rows["data"] for rows in first["rows"]} == prepared
    assert {rows["use"] for rows in first["rows"]} == {"pretraining", "training", "development", "test"}
    # committed by t@t; git knows all sources; the work tree was changed, so that whoever ran it is an author too
    runner = first["authors"]["trained_by"]
    assert set(first["authors"]["code"]) == {identity("t@t"), runner}
    assert first["authors"]["data"] == [identity("t@t")]


def test_the_run_is_in_the_ledger_with_its_whole_manifest(project: Project, first: dict) -> None:
    stated = evidence(project).run(first["run_id"])
    assert stated is not None and stated.act.digest == first["digest"]
    subjects = entries.subjects(stated.envelope)
    assert subjects["train/adapter"] == steps_of(first)["train"]["outputs"]["adapter"]
    assert subjects["manifest"] == first["digest"]


def test_a_model_leads_to_the_rows_that_made_it(project: Project, first: dict) -> None:
    model = f"{first['model']['name']}/{first['model']['version']}"
    told = project.domainlm("audit", "lineage", model, "--json", "--rows")
    trace, *rows = [json.loads(line) for line in told.splitlines()]
    assert [one["proof"] for one in trace["sets"]] == ["proven"] * len(first["rows"])
    assert len(rows) == sum(one["rows"] for one in first["rows"])
    assert {row["source"] for row in rows} <= set(LIMITS) and all(len(row["record"]) == 32 for row in rows)


def test_every_input_of_a_step_is_the_output_of_another(first: dict) -> None:
    made = {digest for step in first["steps"] for digest in step["outputs"].values()}
    for step in first["steps"]:
        assert set(step["inputs"].values()) <= made, step["name"]


def test_the_set_up_is_done_once_and_keys_are_private(project: Project, first: dict) -> None:
    key = project.state / "keys" / "development.key"
    before = key.read_text()
    project.domainlm("setup")
    assert key.read_text() == before
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert first["key_id"] == json.loads(before)["key_id"]


def test_nothing_was_written_to_the_users_home(project: Project, first: dict) -> None:
    assert [path for path in (project.root / "empty_home").rglob("*") if path.is_file()] == []


def test_the_pages_for_an_officer_lie_beside_the_manifest(project: Project, first: dict) -> None:
    pages = sorted((project.state / "runs").glob("*.html"))
    assert {page.name.split(".")[1] for page in pages} == {
        "redaction_report", "base_redaction_report", "evaluation_report",
    }  # fmt: skip
    assert all(stat.S_IMODE(page.stat().st_mode) == 0o600 for page in pages)
    (redaction,) = (page.read_text() for page in pages if page.name.endswith(".redaction_report.html"))
    assert "CREDIT_CARD" in redaction and "Gramm-Leach-Bliley" in redaction


def test_the_artifact_store_holds_no_pickle(project: Project, first: dict) -> None:
    files = [path for path in (project.state / "artifacts").rglob("*") if path.is_file()]
    assert {"records.arrow", "report.json", "adapter_model.safetensors", "tokenizer.json"} <= {
        path.name for path in files
    }
    for path in files:
        start = path.read_bytes()[:2]
        assert path.suffix not in PICKLE_SUFFIXES and not (start[:1] == b"\x80" and start[1:] in b"\x02\x03\x04\x05"), (
            path
        )


def test_no_planted_personal_value_is_found_in_anything_that_the_run_wrote(project: Project, first: dict) -> None:
    """Names aside, which redaction finds by their surroundings and not always (docs/redact.md has the rates)."""
    planted = set()
    for line in (project.root / "domains/finance/messages.jsonl").read_text().splitlines()[:120]:
        for span in json.loads(line)["spans"]:
            if span["entity_type"] not in ("PERSON", "LOCATION", "DATE_OF_BIRTH") and len(span["value"]) > 8:
                planted.add(span["value"])
    assert len(planted) > 60
    assert find_leaks(project.state, sorted(planted)) == []


def test_the_model_is_registered_with_the_digests_it_came_from(project: Project, first: dict) -> None:
    store = next(path for path in project.state.rglob("mlflow.db"))
    with sqlite3.connect(store) as database:
        tags = dict(database.execute("select key, value from model_version_tags where version = 1").fetchall())
    text = json.dumps(tags)
    assert steps_of(first)["train"]["outputs"]["adapter"] in text
    assert steps_of(first)["prepare"]["outputs"]["prepared_records"] in text


def test_a_second_run_takes_everything_from_the_cache_and_registers_nothing_new(project: Project, first: dict) -> None:
    output = project.domainlm("run", cwd=project.root / "docs")  # from a folder inside the project
    second = project.last()
    assert second["run_id"] != first["run_id"]
    assert ran(second) == ALWAYS
    assert steps_of(second)["train"]["outputs"] == steps_of(first)["train"]["outputs"]
    assert "the same model was there already" in output


def test_a_training_says_what_it_cost_and_a_cached_one_what_the_run_that_made_it_did(
    project: Project, first: dict
) -> None:
    for name in ("train", "control_shuffled_labels", "control_from_scratch"):
        measured = steps_of(first)[name]["measured"]
        assert measured["seconds"] > 0 and measured["tokens_per_second"] > 0 and measured["peak_gb"] > 0
        assert steps_of(project.last())[name]["cached"] and steps_of(project.last())[name]["measured"] == measured


def test_zenml_runs_the_same_pipeline_as_the_readme_types_it(project: Project, first: dict) -> None:
    line = (
        "source .domainlm/activate && zenml pipeline run pipelines.finetuning.finetuning_pipeline -c zenml_config.yaml"
    )
    project.do("bash", "-c", line)
    assert project.last()["status"] == "completed"
    assert ran(project.last()) == ALWAYS


def test_another_parameter_runs_its_step_and_what_follows(project: Project, first: dict) -> None:
    project.domainlm("run", "--set", "steps.evaluate.parameters.resamples=1001")
    assert ran(project.last()) == ALWAYS | {"evaluate"}


def test_editing_docs_runs_nothing_and_editing_redact_runs_it_and_all_after_it(project: Project, first: dict) -> None:
    with open(project.root / "docs" / "redact.md", "a") as stream:
        stream.write("\nMore.\n")
    with open(project.root / "domainlm" / "redact" / "placeholders.py", "a") as stream:
        stream.write("\n# changed\n")
    project.domainlm("run")
    again = project.last()
    assert ran(again) == BASE | AFTER_INGEST | {"ingest"}
    # the same seed on the same data: the same adapter, bit for bit, in another process with another hash seed
    assert steps_of(again)["train"]["outputs"]["adapter"] == steps_of(first)["train"]["outputs"]["adapter"]
    assert steps_of(again)["pretrain"]["outputs"]["base"] == steps_of(first)["pretrain"]["outputs"]["base"]


def test_a_run_that_is_killed_while_it_trains_goes_on_and_ends_in_the_same_adapter(project: Project) -> None:
    longer = ["--set", "steps.train.parameters.max_steps=60", "--set", "parameters.controls=false"]
    process = project.start(sys.executable, "-m", "cli.main", "run", *longer)
    deadline = time.monotonic() + 180
    work = project.state / "work" / "train"
    published = "*/work/checkpoint-*"  # not deeper: what is being written there is renamed while we look
    known = set(work.glob(published))
    while not any(int(path.name.split("-")[1]) >= 6 for path in set(work.glob(published)) - known):
        assert process.poll() is None and time.monotonic() < deadline, "the run ended before it could be killed"
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    killed = project.last()
    assert killed["status"] == "running", "nothing but the next run can tell"

    output = project.domainlm("run", *longer)
    assert "ended from outside" in output
    interrupted, resumed = project.manifests()[-2:]
    assert interrupted["run_id"] == killed["run_id"] and interrupted["status"] == "interrupted"
    assert resumed["status"] == "completed"
    assert "train" in ran(resumed) and "vocabulary" not in ran(resumed)

    project.domainlm("run", "--fresh", *longer)
    uninterrupted = project.last()
    assert "train" in ran(uninterrupted) and "redact" in ran(uninterrupted), "--fresh took something from the cache"
    assert steps_of(uninterrupted)["train"]["outputs"]["adapter"] == steps_of(resumed)["train"]["outputs"]["adapter"]


def test_a_changed_artifact_is_found_even_when_everything_comes_from_the_cache(project: Project) -> None:
    project.domainlm("run")
    stored = {
        path: path.read_bytes() for path in (project.state / "artifacts").rglob("evaluation_report/**/report.json")
    }
    for path, content in stored.items():
        path.write_bytes(content.replace(b"not shown", b"shown"))
    try:
        output = project.domainlm("run", code=1)
    finally:
        for path, content in stored.items():
            path.write_bytes(content)
    assert "was changed after it was stored" in output
    assert "Traceback" not in output
    failed = project.last()
    assert (failed["status"], failed["failure"]["step"], failed["failure"]["error"]) == (
        "failed",
        "register",
        "ArtifactError",
    )
    project.domainlm("run")


def test_without_a_signer_a_run_ends_as_it_would_waits_and_is_entered_by_the_next_one(project: Project) -> None:
    keys = project.state / "keys" / "signer"
    hidden = keys.rename(keys.with_name("away"))
    try:
        output = project.domainlm("run")
        assert "not in the ledger yet" in output
        waiting = project.last()
        assert waiting["status"] == "completed" and evidence(project).run(waiting["run_id"]) is None
        runs = len(project.manifests())
        output = project.domainlm("run", "--set", "parameters.mode=production", code=1)
        assert "SecretError" in output and "signing key" in output, "in production nothing starts"
        assert len(project.manifests()) == runs
    finally:
        hidden.rename(keys)
    project.domainlm("run")
    assert evidence(project).run(waiting["run_id"]) is not None


def test_another_base_replaces_the_embedded_one_with_no_other_change(project: Project, first: dict) -> None:
    folder = next(path.parent for path in (project.state / "artifacts" / "pretrain").rglob("model.safetensors"))
    project.domainlm("run", "--set", f"parameters.base={folder}", "--set", "parameters.controls=false")
    found = project.last()
    assert BASE.isdisjoint(steps_of(found))
    assert ran(found) >= {"resolve_base", "train", "evaluate"}


BAD_SOURCES = {
    "missing file": (None, "glossary.csv"),
    "empty file": (b"", "glossary.csv"),
    "wrong column": (b"Q,term\n##Question: a?## Answer: b c d.,x\n", "QA_text"),
    "broken quote": (b'QA_text,term\n"##Question: a?## Answer: b,x\n', "glossary.csv"),
    "not UTF-8": (b"QA_text,term\n##Question: caf\xe9?## Answer: b c d.,x\n", "UTF-8"),
    "no answer": (b"QA_text,term\n##Question: a?## Answer: ,x\n", "row 1"),
    "two answers": (b"QA_text,term\n##Question: a?## Answer: b.,x\n##Question: a?## Answer: c.,y\n", "row"),
}


@pytest.mark.parametrize("fault", BAD_SOURCES)
def test_bad_input_ends_with_one_clear_message_and_a_manifest(project: Project, fault: str) -> None:
    path = project.root / "domains" / "finance" / "glossary.csv"
    good = path.read_bytes()
    content, named = BAD_SOURCES[fault]
    path.unlink() if content is None else path.write_bytes(content)
    try:
        output = project.domainlm("run", code=1)
    finally:
        path.write_bytes(good)
    assert "SourceError" in output and named in output and "->" in output, output
    assert "Traceback" not in output
    failed = project.last()
    assert (failed["status"], failed["failure"]["step"], failed["failure"]["error"]) == (
        "failed",
        "ingest",
        "SourceError",
    )


def test_a_step_operator_is_chosen_by_configuration_and_refused_before_anything_runs(project: Project) -> None:
    runs = len(project.manifests())
    output = project.domainlm("run", "--set", "steps.train.step_operator=gpu", code=1)
    assert "gpu" in output or "step operator" in output.lower(), output
    assert len(project.manifests()) == runs


def test_without_a_key_no_text_is_read(project: Project) -> None:
    key = project.state / "keys" / "development.key"
    hidden = key.rename(key.with_suffix(".away"))
    try:
        output = project.domainlm("run", code=1)
    finally:
        hidden.rename(key)
    assert "SecretError" in output and "missing" in output


def test_a_misspelled_key_stops_before_anything_starts(project: Project) -> None:
    output = project.domainlm("run", "--set", "steps.train.parameters.epoch=2", code=1)
    assert "did you mean 'epochs'?" in output


def test_a_stack_that_nobody_knows_or_that_does_not_fit_is_refused_in_a_sentence(project: Project) -> None:
    output = project.domainlm("run", "-s", "kubernets", code=1)
    assert "registered stack 'kubernets'" in output and "kubernetes" in output and "Traceback" not in output
    output = project.domainlm("run", "--set", "settings={orchestrator.kubernetes: {max_parallelism: 2}}", code=1)
    assert "is of a cluster" in output and "-s kubernetes" in output


def test_the_last_run_is_whole(project: Project) -> None:
    """After all of the above the project still works, and every stored manifest has the digest that it carries."""
    from domainlm.ledger.run import manifest as manifests

    project.domainlm("run")
    found = [manifests.read(Path(path)) for path in (project.state / "runs").glob("*.json")]
    assert found and not [entry for entry in found if entry.status == "running"]
    # completed, failed, killed and cached ones, under `domainlm run` and `zenml pipeline run`: each exactly once
    entered = [stated.act for stated in evidence(project).of_kind(entries.RUN)]
    assert sorted(act.run_id for act in entered) == sorted(entry.run_id for entry in found)
    assert {act.run_id: act.digest for act in entered} == {entry.run_id: entry.digest for entry in found}
    assert {act.status for act in entered} == {"completed", "failed", "interrupted"}
