"""What landed beside the configured sources, and that it is still what was accepted."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import pytest

from domainlm.errors import ConfigurationError, SourceError
from domainlm.ingest import ingest, require_as_accepted, with_landed
from domainlm.ingest.settings import IngestSettings
from domainlm.sources import SourceSettings

TERMS = {
    "licence": "CC0-1.0", "consent": "public", "purpose": "model-training", "jurisdiction": "us", "language": "en",
    "form": "pairs", "task": "some-task",
}  # fmt: skip


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DOMAINLM_PROJECT", str(tmp_path))
    (tmp_path / "old.csv").write_text("instruction,response\nWhat is old?,this\n")
    (tmp_path / "zone").mkdir()
    for name in "ab":
        (tmp_path / "zone" / f"{name}.csv").write_text(f"instruction,response\nWhat is {name}?,{name}\n")
    return tmp_path


def landed(name: str = "news") -> SourceSettings:
    return SourceSettings(name=name, uri="zone", format="csv", parts=("b.csv", "a.csv"), **TERMS)


def digests(project: Path) -> dict[str, str]:
    return {f"zone/{name}.csv": sha256((project / "zone" / f"{name}.csv").read_bytes()).hexdigest() for name in "ab"}


def configured() -> IngestSettings:
    return IngestSettings(sources=({"name": "static", "uri": "old.csv", **TERMS},))


def test_configured_sources_come_first_and_what_landed_in_its_order(project: Path) -> None:
    manifest = ingest(with_landed(configured(), [landed()]))
    assert [entry.name for entry in manifest.sources] == ["static", "news"]
    assert [file.uri for file in manifest.sources[1].files] == ["zone/b.csv", "zone/a.csv"]
    require_as_accepted(manifest, digests(project))


def test_a_feed_that_is_called_as_a_source_is_refused(project: Path) -> None:
    with pytest.raises(ConfigurationError, match="both called 'static'"):
        with_landed(configured(), [landed("static")])


def test_what_changed_since_it_was_accepted_is_named(project: Path) -> None:
    accepted = digests(project)
    (project / "zone" / "a.csv").write_text("instruction,response\nWhat is a?,something else\n")
    with pytest.raises(SourceError, match=r"zone/a\.csv: changed since its batch was accepted"):
        require_as_accepted(ingest(with_landed(configured(), [landed()])), accepted)
    with pytest.raises(SourceError, match="was not read"):
        require_as_accepted(ingest(configured()), accepted)
