"""The same redaction in processes and over Ray: the same records, the same report, nothing left behind."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from domainlm.digests import digest_dataset
from domainlm.errors import ConfigurationError, RedactionIncomplete, SourceError
from domainlm.ingest import ingest
from domainlm.ingest.settings import IngestSettings
from domainlm.keys import KeyRing, create_development_key
from domainlm.redact import Redactor
from domainlm.redact.settings import RedactSettings
from domainlm.redact.shards import cut, stream_shard
from domainlm.sources import stream_records

ROWS = 60


def source(name, path):
    return dict(
        name=name, uri=str(path), form="labelled", task="sentiment", licence="CC0-1.0", consent="public",
        purpose="model-training", jurisdiction="us", language="en", handling="public",
    )  # fmt: skip


@pytest.fixture
def manifest(tmp_path):
    for name in ("first", "second"):
        lines = [f'"Dear Mr. Tom Becker, {name} item {row} of 010-1234-56{row + 10}.",positive' for row in range(ROWS)]
        lines[7] = '"nothing personal, a NUL \x00 though",neutral'
        (tmp_path / f"{name}.csv").write_text("text,label\n" + "\n".join(lines) + "\n", encoding="utf-8")
    settings = IngestSettings(sources=tuple(source(name, tmp_path / f"{name}.csv") for name in ("first", "second")))
    return ingest(settings)


def redactor(keys, folder, **settings):
    settings = {"entities": ("PERSON", "PHONE_NUMBER"), "name_engine": "none", "max_quarantined_share": 0.1} | settings
    return Redactor(RedactSettings(**settings), keys, folder / "quarantine", folder / "work")


@pytest.mark.parametrize(("rows", "count"), [(1, 1), (1, 4), (10, 3), (120, 7), (0, 2)])
def test_shards_cover_every_row_once_and_in_order(rows, count):
    shards = cut(rows, count)
    assert [row for first, last in shards for row in range(first, last)] == list(range(rows))
    assert max(last - first for first, last in shards) - min(last - first for first, last in shards) <= 1


def test_the_shards_of_several_sources_are_the_sources(manifest, keys):
    whole = [record for entry in manifest.sources for record in stream_records(entry, manifest, keys)]
    parts = [record for shard in cut(len(whole), 7) for record in stream_shard(manifest, keys, *shard)]
    assert parts == whole and len(whole) == 2 * ROWS


def test_several_processes_give_the_records_and_the_report_of_one(manifest, keys, tmp_path):
    alone, alone_report = redactor(keys, tmp_path / "one").run(manifest)
    several, several_report = redactor(keys, tmp_path / "three", processes=3).run(manifest)
    assert digest_dataset(several) == digest_dataset(alone)
    assert several_report == alone_report
    assert alone_report.quarantine_reasons == {"invalid-text": 2}
    sealed = [sorted(path.name for path in (tmp_path / name / "quarantine").iterdir()) for name in ("one", "three")]
    assert sealed[0] == sealed[1] and len(sealed[0]) == 2
    assert [path.name for path in (tmp_path / "three" / "work").iterdir()] == ["records.arrow"]


@pytest.mark.timeout(120)
def test_processes_end_though_the_step_only_notes_a_sigterm(manifest, keys, tmp_path):
    notes = tmp_path / "notes"
    before = signal.signal(signal.SIGTERM, lambda *_: notes.write_text(str(os.getpid())))
    try:
        redactor(keys, tmp_path, processes=3).run(manifest)
    finally:
        assert signal.signal(signal.SIGTERM, before) is not signal.SIG_DFL  # this process kept its own
    assert not notes.exists()


def test_a_process_that_fails_leaves_no_output(manifest, keys, tmp_path, monkeypatch):
    def broken(*_):
        raise MemoryError("Tom Becker")

    monkeypatch.setattr("domainlm.redact.shards.stream_shard", broken)
    with pytest.raises(RedactionIncomplete, match="a process of the redaction failed") as failure:
        redactor(keys, tmp_path, processes=2).run(manifest)
    assert "Becker" not in str(failure.value)
    assert list((tmp_path / "work").iterdir()) == []


def test_a_source_that_changes_under_the_processes_is_noticed(manifest, keys, tmp_path):
    path = tmp_path / "second.csv"
    path.write_text(path.read_text(encoding="utf-8").replace("item 59", "item 99"), encoding="utf-8")
    with pytest.raises(SourceError, match="changed since it was ingested"):
        redactor(keys, tmp_path, processes=2).run(manifest)


def test_ray_gives_the_records_and_the_report_of_one_process(manifest, tmp_path, home):
    pytest.importorskip("ray", reason="the package ray is not installed")
    create_development_key()
    alone, alone_report = redactor(KeyRing.load(), tmp_path / "one").run(manifest)
    (tmp_path / "manifest.json").write_text(manifest.model_dump_json())
    program = f"""
from pathlib import Path
from domainlm.digests import digest_dataset
from domainlm.keys import KeyRing
from domainlm.redact import Redactor
from domainlm.redact.settings import RedactSettings
from domainlm.sources import SourceManifest
folder = Path({str(tmp_path / "ray")!r})
settings = RedactSettings(entities=("PERSON", "PHONE_NUMBER"), name_engine="none", max_quarantined_share=0.1,
                          engine="ray", processes=2)
manifest = SourceManifest.model_validate_json(Path({str(tmp_path / "manifest.json")!r}).read_text())
rows, report = Redactor(settings, KeyRing.load(), folder / "quarantine", folder / "work").run(manifest)
Path({str(tmp_path / "report.json")!r}).write_text(report.model_dump_json())
print(digest_dataset(rows))
"""
    # A process of its own: Ray starts servers on loopback, which outlive a test's socket rules.
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[3]), "RAY_USAGE_STATS_ENABLED": "0"},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1] == digest_dataset(alone)
    report = (tmp_path / "report.json").read_text()
    differing = {"digests", "residual_risk"}
    from domainlm.redact import RedactionReport

    found = RedactionReport.model_validate_json(report)
    assert found.model_dump(exclude=differing) == alone_report.model_dump(exclude=differing)
    assert found.digests["recognizers"] == alone_report.digests["recognizers"]


def test_the_vault_stays_on_one_machine(manifest, keys, tmp_path):
    pytest.importorskip("ray", reason="the package ray is not installed")
    from domainlm.redact.record import RecordRedactor
    from domainlm.redact.shards import outcomes
    from domainlm.redact.vault import Vault

    one = RecordRedactor(RedactSettings(engine="ray", name_engine="none"), keys)
    one.vault = Vault(tmp_path / "vault", keys)
    with pytest.raises(ConfigurationError, match="a file of one machine"):
        next(outcomes(manifest, one, tmp_path))
