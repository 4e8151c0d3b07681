"""How source files are read: strictly, as a stream, with messages that name the place and never a value."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from domainlm.errors import SourceError
from domainlm.ingest import ingest
from domainlm.ingest.settings import IngestSettings
from domainlm.keys import KeyRing
from domainlm.records import Record, answer, question
from domainlm.sources import SourceManifest, SourceSettings, stream_records

KEYS = KeyRing("test", b"k" * 32)
SECRET = "Maria Planted"  # stands for a personal value: no message may quote it
TERMS = {
    "licence": "CC0-1.0", "consent": "public", "purpose": "model-training", "jurisdiction": "us", "language": "en",
}  # fmt: skip
QA = """QA_text
"##Question: What is an Index?## Answer: A basket, measured."
##Question: What is a bond?## Answer: A loan.
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DOMAINLM_PROJECT", str(tmp_path))
    return tmp_path


@pytest.fixture
def write(project: Path) -> Callable[[str, str | bytes], Path]:
    def write(name: str, content: str | bytes) -> Path:
        path = project / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


def settings(uri: str, form: str, **more: Any) -> IngestSettings:
    task = {} if form == "documents" else {"task": "some-task"}
    return IngestSettings(sources=({"name": "source", "uri": uri, "form": form} | task | TERMS | more,))


def read(chosen: IngestSettings) -> list[Record]:
    manifest = ingest(chosen)
    return [record for entry in manifest.sources for record in stream_records(entry, manifest, KEYS)]


def fails(chosen: IngestSettings, *named: str) -> str:
    with pytest.raises(SourceError) as caught:
        ingest(chosen)
    message = str(caught.value)
    for part in named:
        assert part in message, message
    assert SECRET not in message and SECRET not in repr(caught.value)
    cause: BaseException | None = caught.value
    while cause is not None:  # a traceback prints the whole chain
        assert SECRET not in str(cause)
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    assert "\n  -> " in message, "no remedy"
    return message


# ---- the four forms


def test_the_papers_question_and_answer_column_is_read(write) -> None:
    write("glossary.csv", QA)
    first, second = read(settings("glossary.csv", "qa_text"))
    assert (question(first), answer(first)) == ("What is an Index?", "A basket, measured.")
    assert (first["row"], second["row"]) == (1, 2)
    assert re.fullmatch("[0-9a-f]{32}", first["id"]) and first["id"] != second["id"]
    assert first["split"] == "" and 0 <= first["split_bucket"] < 10_000


def test_pairs_keep_numbers_as_they_are_written(write) -> None:
    write("a.jsonl", '{"instruction": "NPV?", "response": 1.50, "context": "rate 5%", "other": [1, {"x": 2}]}\n\n')
    (record,) = read(settings("a.jsonl", "pairs"))
    assert (answer(record), record["context"]) == ("1.50", "rate 5%")


def test_labels_are_mapped_and_NA_stays_text(write) -> None:
    write("a.csv", "text,label\nNA,0\nup 5%,1\n")
    records = read(settings("a.csv", "labelled", label_map={"0": "negative", "1": "positive"}))
    assert [(question(record), record["label"]) for record in records] == [("NA", "negative"), ("up 5%", "positive")]
    assert all(len(record["messages"]) == 1 for record in records)


def test_markdown_is_cut_at_headings_and_not_inside_code(write) -> None:
    write("a.md", "# One\n\nfirst\n\n```\n# no heading\n```\n\n## Two\nmore\n# Three\nlast\n")
    records = read(settings("a.md", "documents"))
    assert [question(record).split("\n")[0] for record in records] == ["# One", "# Three"]
    assert "# no heading" in question(records[0]) and "## Two" in question(records[0])
    assert records[0]["task"] == "document" and records[0]["messages"][0]["role"] == "document"


def test_text_is_cut_at_blank_lines_or_kept_whole(write) -> None:
    write("a.txt", "first line\nsame document\n\nsecond document\n")
    assert len(read(settings("a.txt", "documents"))) == 2
    assert len(read(settings("a.txt", "documents", document_separator="file"))) == 1


def test_a_long_document_is_cut_between_paragraphs_without_loss_and_stays_in_one_group(write) -> None:
    paragraphs = [f"Paragraph {number}. " + "It says something. " * 15 for number in range(12)]
    write("a.txt", "\n\n".join(paragraphs) + "\n\n" + "x" * 900)
    records = read(settings("a.txt", "documents", document_separator="file", max_document_characters=700))
    assert len(records) > 5 and all(len(question(record)) <= 700 for record in records)
    joined = " ".join(question(record) for record in records)
    assert re.sub(r"\s", "", joined) == re.sub(r"\s", "", "".join(paragraphs) + "x" * 900)
    assert len({record["group"] for record in records}) == 1


# ---- ids, groups, splits


def test_ids_depend_on_key_source_and_content_and_not_on_position(write) -> None:
    write("a.csv", QA)
    write("b.csv", QA.replace("QA_text\n", "QA_text\n##Question: New?## Answer: Yes.\n"))
    first, shifted = read(settings("a.csv", "qa_text")), read(settings("b.csv", "qa_text"))
    assert {record["id"] for record in first} < {record["id"] for record in shifted}
    renamed = read(settings("a.csv", "qa_text", name="other"))
    assert {record["id"] for record in first}.isdisjoint(record["id"] for record in renamed)


def test_the_split_bucket_does_not_depend_on_the_key(write) -> None:
    write("a.csv", QA)
    manifest = ingest(settings("a.csv", "qa_text"))
    other = KeyRing("other", b"o" * 32)
    streams = (stream_records(manifest.sources[0], manifest, keys) for keys in (KEYS, other))
    for mine, theirs in zip(*streams, strict=True):
        assert mine["split_bucket"] == theirs["split_bucket"] and mine["group"] != theirs["group"]


def test_rows_are_grouped_by_column_else_subject_else_passage_else_question(write) -> None:
    write("a.jsonl", '{"instruction":"Q?","response":"1","context":"P","customer":"c"}\n'
          '{"instruction":"R?","response":"2","context":"P","customer":"d"}\n')  # fmt: skip
    groups = [record["group"] for record in read(settings("a.jsonl", "pairs"))]
    assert groups[0] == groups[1]
    customers = read(settings("a.jsonl", "pairs", columns={"subject": "customer"}))
    assert customers[0]["group"] != customers[1]["group"]
    assert all(re.fullmatch("[0-9a-f]{32}", record["subjects"][0]) for record in customers)


def test_a_source_may_fix_its_split_and_read_a_part(write) -> None:
    write("a.csv", QA)
    (record,) = read(settings("a.csv", "qa_text", split="test", limit=1))
    assert record["split"] == "test"
    whole, part = ingest(settings("a.csv", "qa_text")), ingest(settings("a.csv", "qa_text", limit=1))
    assert whole.sources[0].files == part.sources[0].files, "a limited source is still digested to its end"


def test_a_template_and_patterns_reshape_foreign_columns(write) -> None:
    write("a.jsonl", '{"term":"index","definition":"Meaning: a basket"}\n{"term":"bond","definition":"none"}\n')
    columns = {"instruction": "term", "response": "definition"}
    chosen = {"columns": columns, "question_template": "What is {}?", "patterns": {"response": "Meaning: (.*)"}}
    fails(settings("a.jsonl", "pairs", **chosen), "a.jsonl, row 2 (line 2)", "pattern")
    manifest = ingest(settings("a.jsonl", "pairs", unmatched="skip", **chosen))
    (record,) = stream_records(manifest.sources[0], manifest, KEYS)
    assert (question(record), answer(record)) == ("What is index?", "a basket")
    assert (manifest.sources[0].rows, manifest.sources[0].skipped_rows) == (1, 1)


# ---- the manifest


def test_the_manifest_holds_digests_and_counts_and_no_text_and_is_stable(write, project: Path, monkeypatch) -> None:
    path = write("data/a.csv", QA)
    manifest = ingest(settings("data/*.csv", "qa_text"))
    (file,) = manifest.sources[0].files
    assert (file.uri, file.size_bytes, manifest.sources[0].rows) == ("data/a.csv", path.stat().st_size, 2)
    text = manifest.model_dump_json()
    assert "basket" not in text and str(project) not in text
    monkeypatch.chdir("/")
    os.utime(path, (0, 0))
    again = ingest(settings("data/*.csv", "qa_text"))
    assert again.digest == manifest.digest
    assert SourceManifest.model_validate_json(text) == manifest


def test_no_raw_text_lands_in_the_datasets_cache(write, home: Path, monkeypatch) -> None:
    import datasets.config

    cache = home / "datasets-cache"
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(cache))
    write("a.csv", QA)
    assert len(read(settings("a.csv", "qa_text"))) == 2
    for path in [file for folder in (home, cache) for file in folder.rglob("*") if file.is_file()]:
        assert path.stat().st_size == 0, f"{path} holds something"


def test_a_file_that_changed_after_ingest_is_refused_before_its_first_row(write) -> None:
    path = write("a.csv", QA)
    manifest = ingest(settings("a.csv", "qa_text"))
    path.write_text(QA.replace("loan", "debt"))
    with pytest.raises(SourceError, match=r"a\.csv: changed since it was ingested"):
        next(stream_records(manifest.sources[0], manifest, KEYS))


def test_a_file_that_changes_while_it_is_read_is_refused_at_its_end(write, monkeypatch) -> None:
    import domainlm.sources

    path = write("a.csv", QA)
    manifest = ingest(settings("a.csv", "qa_text"))
    entry = manifest.sources[0]
    path.write_text(QA.replace("loan", "debt"))
    monkeypatch.setattr(domainlm.sources, "_files_now", lambda _: list(entry.files))  # the change came just after
    with pytest.raises(SourceError, match="changed"):
        list(stream_records(entry, manifest, KEYS))


def test_a_file_that_joins_a_glob_after_ingest_is_refused(write) -> None:
    write("data/a.csv", QA)
    manifest = ingest(settings("data/*.csv", "qa_text"))
    write("data/b.csv", QA)
    with pytest.raises(SourceError, match=r"data/b\.csv"):
        list(stream_records(manifest.sources[0], manifest, KEYS))


# ---- bad input


def test_a_missing_file_names_its_nearest_neighbour(write) -> None:
    write("glossary.csv", QA)
    fails(settings("glosary.csv", "qa_text"), "glosary.csv", "did you mean 'glossary.csv'")
    fails(settings("nowhere/a.csv", "qa_text"), "nowhere/a.csv", "does not exist")


def test_a_glob_without_a_match_and_a_folder_are_refused(write) -> None:
    write("data/a.csv", QA)
    fails(settings("data/*.jsonl", "qa_text"), "data/*.jsonl", "no file matches")
    fails(settings("data", "qa_text", format="csv"), "is a folder")


@pytest.mark.parametrize("content", ["", "\n\n", "QA_text\n", "\ufeff"])
def test_an_empty_file_is_refused(write, content: str) -> None:
    write("a.csv", content)
    fails(settings("a.csv", "qa_text"), "a.csv", "empty")


def test_a_wrong_column_names_the_nearest(write) -> None:
    write("a.csv", QA.replace("QA_text", "QA_txt"))
    fails(settings("a.csv", "qa_text"), "a.csv", "'QA_text'", "did you mean 'QA_txt'")


def test_a_header_that_names_a_column_twice_is_refused(write) -> None:
    write("a.csv", "text,label,text\na,b,c\n")
    fails(settings("a.csv", "labelled"), "a.csv", "'text' twice")


@pytest.mark.parametrize(
    "line",
    [f'"{SECRET} is not closed,positive', f'"{SECRET}" went on,positive', f'"{SECRET}\nover two lines,positive\n"x",y'],
)
def test_a_broken_quote_names_the_row_where_it_began(write, line: str) -> None:
    write("a.csv", f"text,label\nfine,positive\n{line}\nalso fine,negative\n")
    fails(settings("a.csv", "labelled"), "a.csv, row 2 (line 3)", "quote")


@pytest.mark.parametrize("line", [f"{SECRET}", f"{SECRET},positive,extra"])
def test_a_row_of_another_length_is_refused(write, line: str) -> None:
    write("a.csv", f"text,label\nfine,positive\n{line}\n")
    fails(settings("a.csv", "labelled"), "a.csv, row 2 (line 3)", "cells")


def test_bytes_that_are_not_utf8_are_named_by_line_and_offset(write) -> None:
    head = b"text,label\nfine,positive\n"
    line = SECRET.encode() + b" caf\xe9,positive\n"
    write("a.csv", head + line)
    offset = len(head) + line.index(b"\xe9")
    fails(settings("a.csv", "labelled"), "a.csv, line 3", f"offset {offset}", "UTF-8")
    write("b.csv", "text,label\nfine,positive\n".encode("utf-16"))
    fails(settings("b.csv", "labelled"), "b.csv", "UTF-16")


def test_a_byte_order_mark_is_no_part_of_the_first_column(write) -> None:
    write("a.csv", "\ufeff" + QA)
    assert len(read(settings("a.csv", "qa_text"))) == 2


def test_a_row_without_an_answer_or_label_is_refused(write) -> None:
    write("a.csv", f"instruction,response\nQ?,A\n{SECRET}?,  \n")
    fails(settings("a.csv", "pairs"), "a.csv, row 2 (line 3)", "no answer", "'response'")
    write("b.csv", f"text,label\n{SECRET},\n")
    fails(settings("b.csv", "labelled"), "b.csv, row 1 (line 2)", "no label")
    write("c.csv", f"QA_text\n##Question: {SECRET}?## Answer:\n")
    fails(settings("c.csv", "qa_text"), "c.csv, row 1 (line 2)", "no answer")
    write("d.jsonl", f'{{"instruction": "{SECRET}"}}\n')
    fails(settings("d.jsonl", "pairs"), "d.jsonl", "'response'")
    write("e.jsonl", f'{{"instruction": "Q", "response": "A"}}\n{{"instruction": "{SECRET}"}}\n')
    fails(settings("e.jsonl", "pairs"), "e.jsonl, row 2", "'response'")


@pytest.mark.parametrize(
    "cell",
    [SECRET, f"Question: {SECRET}? Answer: yes", f"##Question: a?## Answer: b ##Question: {SECRET}?## Answer: d"],
)
def test_a_malformed_question_and_answer_is_refused(write, cell: str) -> None:
    write("a.csv", f"QA_text\n{cell}\n")
    fails(settings("a.csv", "qa_text"), "a.csv, row 1 (line 2)", "##Question")


def test_an_unknown_label_is_refused_without_quoting_it(write) -> None:
    write("a.csv", f"text,label\nup,0\ndown,{SECRET}\n")
    fails(settings("a.csv", "labelled", label_map={"0": "negative"}), "a.csv, row 2 (line 3)", "known labels: 0")


@pytest.mark.parametrize(
    "line",
    [
        f'{{"instruction": "{SECRET}", ',
        f'["{SECRET}"]',
        '{"instruction": NaN, "response": "a"}',
        f'{{"response": "{SECRET}", "response": "b"}}',
    ],
)
def test_broken_json_lines_name_their_line(write, line: str) -> None:
    write("a.jsonl", f'{{"instruction": "Q", "response": "A"}}\n{line}\n')
    fails(settings("a.jsonl", "pairs"), "a.jsonl, row 2 (line 2)")


def test_a_timestamp_must_be_iso(write) -> None:
    write("a.csv", "text,label,date\nup,x,2026-01-31\ndown,x,31.1.2026\n")
    chosen = settings("a.csv", "labelled", columns={"timestamp": "date"})
    fails(chosen, "a.csv, row 2 (line 3)", "ISO 8601")


def test_files_of_one_source_must_have_the_same_columns(write) -> None:
    write("data/a.csv", "text,label\nup,x\n")
    write("data/b.csv", "label,text\nx,down\n")
    fails(settings("data/*.csv", "labelled"), "data/b.csv", "other columns")


# ---- the configuration


@pytest.mark.parametrize("missing", TERMS)
def test_licence_consent_purpose_jurisdiction_and_language_have_no_default(missing: str) -> None:
    terms = {name: value for name, value in TERMS.items() if name != missing}
    with pytest.raises(ValidationError, match=missing):
        SourceSettings(name="a", uri="a.csv", form="qa_text", task="t", **terms)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"licence": "unknown"}, "states nothing"),
        ({"columns": {"instrction": "x"}}, "did you mean 'instruction'"),
        ({"uri": "a.parquet"}, "format"),
        ({"task": ""}, "needs a task"),
        ({"patterns": {"text": "("}}, "regular expression"),
        ({"patterns": {"text": "x"}}, "no group"),
        ({"jurisdiction": "USA"}, "jurisdiction"),
        ({"uri": "a.md"}, "documents"),
        ({"lisence": "MIT"}, "lisence"),
    ],
)
def test_a_source_that_says_nonsense_is_refused(change: dict[str, Any], named: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(named)):
        SourceSettings(**({"name": "a", "uri": "a.csv", "form": "labelled", "task": "t"} | TERMS | change))


def test_two_sources_of_one_name_are_refused() -> None:
    source = {"name": "a", "uri": "a.csv", "form": "labelled", "task": "t"} | TERMS
    with pytest.raises(ValidationError, match="two sources are called 'a'"):
        IngestSettings(sources=(source, source))


def test_parts_are_read_in_their_order_by_their_very_names(write: Callable[[str, str], Path]) -> None:
    write("zone/b/[one].csv", "instruction,response\nQ1?,a\n")
    write("zone/a/2.csv", "instruction,response\nQ2?,b\n")
    write("zone/a/3.csv", "instruction,response\nQ3?,c\n")
    manifest = ingest(settings("zone", "pairs", parts=("b/[one].csv", "a/2.csv")))
    assert [file.uri for file in manifest.sources[0].files] == ["zone/b/[one].csv", "zone/a/2.csv"]
    assert [question(record) for record in read(settings("zone", "pairs", parts=("b/[one].csv", "a/2.csv")))] == [
        "Q1?",
        "Q2?",
    ]
    remote = ingest(settings(f"file://{Path(write('x', '')).parent}/zone/", "pairs", parts=("a/3.csv",)))
    assert remote.sources[0].files[0].uri.startswith("file://") and remote.sources[0].rows == 1
    assert "parts" not in ingest(settings("zone/a/2.csv", "pairs")).model_dump_json(), "older digests stay"


def test_a_part_that_is_gone_or_a_folder_is_named(write: Callable[[str, str], Path]) -> None:
    write("zone/a/1.csv", "instruction,response\nQ1?,a\n")
    fails(settings("zone", "pairs", format="csv", parts=("a/2.csv",)), "zone/a/2.csv", "withdraw its batch")
    fails(settings("zone", "pairs", format="csv", parts=("a",)), "zone/a", "folder")


@pytest.mark.parametrize("part", ["../secret.csv", "/etc/passwd.csv", "s3://bucket/a.csv", ""])
def test_a_part_lies_below_its_uri(part: str) -> None:
    with pytest.raises(ValidationError, match="below the uri"):
        settings("zone", "pairs", format="csv", parts=(part,))
    with pytest.raises(ValidationError, match="twice"):
        settings("zone", "pairs", parts=("a.csv", "a.csv"))
