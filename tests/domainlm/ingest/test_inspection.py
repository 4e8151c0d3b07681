"""The ingest stage: contradictions within a source, memory, weight of its configuration, and the pack's own files."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest

from domainlm.errors import SourceError
from domainlm.ingest import ingest
from domainlm.ingest.settings import IngestSettings
from domainlm.project import resolve

TERMS = {
    "licence": "CC0-1.0", "consent": "public", "purpose": "model-training", "jurisdiction": "us", "language": "en",
}  # fmt: skip


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DOMAINLM_PROJECT", str(tmp_path))
    return tmp_path


def settings(uri: str, form: str = "pairs", allow: bool = False, **more) -> IngestSettings:
    source = {"name": "source", "uri": uri, "form": form, "task": "some-task"} | TERMS | more
    return IngestSettings(sources=(source,), allow_conflicting_answers=allow)


def test_two_answers_for_one_question_name_both_rows_and_quote_neither(project: Path) -> None:
    (project / "a.csv").write_text(
        "instruction,response\nWhat is an index?,A basket.\nWhat else?,B\nwhat is an INDEX,Maria Planted\n"
    )
    with pytest.raises(SourceError) as caught:
        ingest(settings("a.csv"))
    message = str(caught.value)
    assert "a.csv, row 3 (line 4)" in message and "row 1" in message and "allow_conflicting_answers" in message
    assert "Planted" not in message and "basket" not in message
    assert ingest(settings("a.csv", allow=True)).sources[0].rows == 3


def test_rows_are_counted_by_their_own_law_and_language_and_what_is_no_code_is_not_repeated(project: Path) -> None:
    (project / "a.csv").write_text(
        "instruction,response,law,tongue\nA?,1,eu,de\nB?,2,,\nC?,3,Maria Planted,en\nD?,4,eu,\n"
    )
    columns = {"jurisdiction": "law", "language": "tongue"}
    (found,) = ingest(settings("a.csv", columns=columns)).sources
    assert found.jurisdictions == {"?": 1, "eu": 2, "us": 1} and found.languages == {"de": 1, "en": 3}
    assert "Planted" not in found.model_dump_json()


def test_an_answer_given_twice_or_for_another_passage_is_no_contradiction(project: Path) -> None:
    (project / "a.csv").write_text("instruction,response,context\nQ?,a,one\nQ?,A.,one\nQ?,b,two\n")
    assert ingest(settings("a.csv")).sources[0].rows == 3


def test_answers_that_differ_in_their_sign_alone_contradict_each_other(project: Path) -> None:
    (project / "a.csv").write_text("instruction,response\nChange?,3.5%\nChange?,-3.5%\n")
    with pytest.raises(SourceError, match="another answer than row 1"):
        ingest(settings("a.csv"))


def test_an_id_given_twice_is_refused(project: Path) -> None:
    (project / "a.csv").write_text("text,label,key\na,x,1\nb,x,1\n")
    with pytest.raises(SourceError, match=r"a\.csv, row 2 \(line 3\): has the same id as row 1"):
        ingest(settings("a.csv", "labelled", columns={"id": "key"}))


def test_patterns_that_match_no_row_are_refused(project: Path) -> None:
    (project / "a.csv").write_text("text,label\na,x\nb,x\n")
    with pytest.raises(SourceError, match="none of its 2 rows"):
        ingest(settings("a.csv", "labelled", patterns={"label": "(z)"}, unmatched="skip"))


def test_a_large_file_is_read_as_a_stream(project: Path) -> None:
    long_text = "long text " * 150
    with open(project / "a.csv", "w") as stream:
        stream.write("text,label\n")
        for number in range(4_000):
            stream.write(f"{number} {long_text},positive\n")
    size = (project / "a.csv").stat().st_size
    ingest(settings("a.csv", "labelled", limit=1))  # imports
    tracemalloc.start()
    try:
        assert ingest(settings("a.csv", "labelled")).sources[0].rows == 4_000
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert size > 6_000_000 and peak < size / 8


def test_the_configuration_of_the_three_stages_imports_nothing_heavy() -> None:
    program = (
        "import sys, domainlm.ingest.settings, domainlm.prepare.settings, domainlm.validate.settings; "
        "heavy = {'numpy', 'pandas', 'datasets', 'pyarrow', 'datasketch', 'great_expectations', 'torch'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("file", "chosen"),
    [
        ("glossary.csv", {"form": "qa_text"}),
        ("headlines.csv", {"form": "labelled", "columns": {"text": "headline", "group": "shape"}}),
        ("extraction.jsonl", {"form": "pairs"}),
        ("general.jsonl", {"form": "pairs"}),
        ("corpus/*.md", {"form": "documents", "task": "document"}),
    ],
)
def test_the_packs_own_files_pass(file: str, chosen: dict) -> None:
    manifest = ingest(settings(f"domains/finance/{file}", **chosen))
    assert manifest.sources[0].rows > 100
    assert all(resolve(entry.uri).is_file() for entry in manifest.sources[0].files)
