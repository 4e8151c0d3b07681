"""A person's request, from their address to a store that no longer knows them, by the real command line and ZenML."""

from __future__ import annotations

import json
import shutil
import stat
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
import yaml
from small_project import Project, make_project

ADDRESS, OTHER, REASON = "ottoline.quist@mail.example.org", "bertram.stone@mail.example.org", "request 2026-117"
KNOWN = {"evidence/erasures.sqlite", "vault/keys.sqlite", "vault/keys.sqlite-wal", "vault/access.jsonl"}
LOAD = """
from zenml.client import Client
import materializers
found = Client().list_artifact_versions(name="prepared_records", sort_by="asc:created", size=1).items[0]
found.load()
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    made = make_project(tmp_path_factory.mktemp("erasure"))
    here = Path(__file__).resolve().parent
    shutil.copy(here / "erasing_pipeline.py", made.root)
    rows = [f"The desk wrote to {address} about bond number {row} and its coupon." for row, address in enumerate(
        [ADDRESS if row in (3, 11) else OTHER if row == 7 else "the treasury" for row in range(40)]
    )]  # fmt: skip
    letters = made.root / "letters.csv"
    letters.write_text("text\n" + "".join(f'"{row}"\n' for row in rows))
    source = {
        "name": "letters", "uri": "letters.csv", "form": "documents", "language": "en", "licence": "proprietary",
        "consent": "contract", "purpose": "model-training", "jurisdiction": "us", "handling": "internal",
        "columns": {"text": "text"},
    }  # fmt: skip
    steps = {
        "ingest": {"parameters": {"sources": [source]}},
        "redact": {"parameters": {"max_quarantined_share": 1.0}},
        "prepare": {"parameters": {"test_fraction": 0.0, "dev_fraction": 0.0}},
    }
    content = {"steps": steps, "enable_step_logs": False, "enable_pipeline_logs": False}
    (made.root / "small.yaml").write_text(yaml.safe_dump(content))
    made.domainlm("setup")
    return made


def run(project: Project) -> dict[str, str]:
    """Start the pipeline as `source .domainlm/activate` lets one; gives each step's status."""
    command = ". .domainlm/activate && python erasing_pipeline.py small.yaml"
    return json.loads(project.do("/bin/sh", "-c", command).strip().splitlines()[-1])


@cache
def subject(project: Project, address: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", "vault", "subject", "EMAIL_ADDRESS", "--reason", REASON],
        cwd=project.root, env=project.environment, input=address, capture_output=True, text=True, timeout=120,
        check=True,
    )  # fmt: skip
    return done.stdout.strip()


def rows_naming(project: Project, name: str) -> int:
    """Rows of stored records that name a subject."""
    import pyarrow as pa

    count = 0
    for path in project.state.glob("artifacts/**/records.arrow"):
        with pa.ipc.open_stream(path) as reader:
            count += sum(name in persons for persons in reader.read_all()["subjects"].to_pylist())
    return count


def left(project: Project, *names: str) -> set[str]:
    """Files whose bytes hold one of some names; `domainlm.audit.erasure.erasure` looks into containers as well."""
    return {
        path.relative_to(project.state).as_posix()
        for path in project.state.rglob("*")
        if path.is_file() and any(name.encode() in path.read_bytes() for name in names)
    }


def test_a_run_stores_two_persons_and_the_next_one_is_served_from_the_cache(project: Project) -> None:
    first = run(project)
    assert set(first.values()) == {"completed"}, first
    assert rows_naming(project, subject(project, ADDRESS)) >= 2
    assert list((project.state / "work" / "learn").rglob("*.safetensors"))
    assert {name for name, status in run(project).items() if status == "cached"} == {"redact", "prepare", "learn"}


def test_everything_is_readable_by_its_owner_alone(project: Project) -> None:
    open_to_others = [
        path.relative_to(project.state).as_posix()
        for path in [project.state, *project.state.rglob("*")]
        if not path.is_symlink()
        and stat.S_IMODE(path.stat().st_mode) & 0o077
        and (path.is_dir() or path.stat().st_size > 0)  # uv makes an empty lock that all may take
    ]
    assert open_to_others == []


def test_a_backup_of_that_day(project: Project) -> None:
    said = project.domainlm("backup", str(project.root / "before.tar"))
    assert "not encrypted" in said
    assert stat.S_IMODE((project.root / "before.tar").stat().st_mode) == 0o600


def test_an_erasure_leaves_nothing_that_names_the_person(project: Project) -> None:
    name = subject(project, ADDRESS)
    said = project.domainlm("erase", name, "--reason", REASON)
    assert f"erased: {name}, ledger entry" in said
    assert "2 rows" in said
    assert left(project, name, ADDRESS) <= KNOWN
    assert not list((project.state / "work" / "learn").rglob("*.safetensors"))
    assert rows_naming(project, name) == 0


def test_loading_what_was_erased_says_so(project: Project) -> None:
    failed = project.do("/bin/sh", "-c", f". .domainlm/activate && python -c '{LOAD}'", code=1)
    assert "its data were deleted on the record (erasure" in failed


def test_the_next_run_leaves_the_person_out(project: Project) -> None:
    statuses = run(project)
    assert set(statuses.values()) == {"completed"}, "something of before the erasure was served"
    assert rows_naming(project, subject(project, ADDRESS)) == 0
    assert rows_naming(project, subject(project, OTHER)) >= 1
    reports = [
        json.loads(path.read_text()) for path in project.state.glob("artifacts/redact/redaction_report/**/*.json")
    ]
    assert [report["erased_rows"] for report in reports if report.get("erased_rows")] == [2]


def test_a_restore_of_the_day_before_erases_again(project: Project) -> None:
    name = subject(project, ADDRESS)
    said = project.domainlm("restore", str(project.root / "before.tar"))
    assert "places of erased persons deleted again" in said
    assert " 0 places" not in said
    assert left(project, name, ADDRESS) <= KNOWN
    assert rows_naming(project, name) == 0
    assert set(run(project).values()) == {"completed"}
    assert rows_naming(project, name) == 0
    assert rows_naming(project, subject(project, OTHER)) >= 1


def test_retention_deletes_what_is_over_and_the_next_run_makes_it_again(project: Project) -> None:
    (project.root / "configs").mkdir(exist_ok=True)
    (project.root / "configs" / "audit.yaml").write_text("retention_days: {prepared_records: 1}\n")
    said = project.domainlm("audit", "retention", "--today", "2099-01-01")
    assert "x prepared_records" in said
    assert "ledger entry" in said
    assert run(project)["prepare"] == "completed", "a cached step handed on what is gone"
