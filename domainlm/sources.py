"""Sources of raw text: what a configuration says of them, what the manifest proves, and how their rows are read.

The rows that `stream_records` yields are raw: only `redact` may store what it makes of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Literal, get_args

from pydantic import Field, field_validator, model_serializer, model_validator

from domainlm import reading
from domainlm.errors import SourceError, nearest
from domainlm.handling import CLASSES, INTERNAL, Handling
from domainlm.records import ASSISTANT, DOCUMENT, USER, Record, split_bucket
from domainlm.reports import Report, Settings
from domainlm.tasks import DOCUMENT_TASK
from domainlm.text import comparable

if TYPE_CHECKING:
    from domainlm.keys import KeyRing

QA_TEXT, PAIRS, LABELLED, DOCUMENTS = "qa_text", "pairs", "labelled", "documents"
OurColumn = Literal[
    "qa_text", "instruction", "response", "context", "label", "text", "group", "subject", "timestamp", "id",
    "language", "jurisdiction",
]  # fmt: skip
# What a form cannot do without, under the names that its files usually bear.
NEEDED: dict[str, dict[str, str]] = {
    QA_TEXT: {"qa_text": "QA_text"},
    PAIRS: {"instruction": "instruction", "response": "response"},
    LABELLED: {"text": "text", "label": "label"},
    DOCUMENTS: {"text": reading.TEXT_COLUMN},
}
# Read without being asked for where a file has a column of just this name.
USUAL = ("context", "group", "timestamp")
_QA = re.compile(r"\s*##\s*Question\s*:(?P<question>.*?)##\s*Answer\s*:(?P<answer>.*)", re.DOTALL | re.IGNORECASE)


class SourceSettings(Settings):
    """One source of text. Licence, consent, purpose, jurisdiction and language have no default on purpose."""

    name: str = Field(
        pattern=r"^[a-z0-9][a-z0-9_-]*$", description="what messages, reports and record ids call the source"
    )
    uri: str = Field(min_length=1, description="path, glob or fsspec URI; relative ones count from the project root")
    form: Literal["qa_text", "pairs", "labelled", "documents"] = Field(
        description="##Question: ...## Answer: ... in one column; instruction and response; text and label; documents"
    )
    task: str = Field(default="", description="task of the domain pack; documents need none")
    licence: str = Field(min_length=2, description='SPDX identifier or "proprietary"')
    consent: str = Field(min_length=2, description='ground on which the text may be used: "public", "contract", ...')
    purpose: str = Field(min_length=2, description='what it may be used for: "model-training"')
    jurisdiction: str = Field(
        pattern=r"^[a-z]{2}(,[a-z]{2})*$", description="lower-case codes of the law that applies: us,kr"
    )
    language: str = Field(pattern=r"^[a-z]{2}$", description="ISO 639-1 code")
    # A forgotten class must not open a text, so that only a statement makes one public.
    handling: Handling = Field(
        default=INTERNAL, description="public, internal, confidential or mnpi; records and model inherit the strictest"
    )
    trusted: bool = Field(
        default=True, description="false for text that strangers can write: prompt injections are quarantined"
    )
    format: Literal["csv", "jsonl", "text", "markdown", ""] = Field(
        default="", description="from the suffix when empty"
    )
    columns: dict[OurColumn, str] = Field(
        default_factory=dict, description="our column -> the file's; the rest by form"
    )
    label_map: dict[str, str] = Field(
        default_factory=dict, description="the file's label -> the task's; any other label is then an error"
    )
    question_template: str = Field(
        default="{}", pattern=r"^[^{}]*\{\}[^{}]*$", description='wraps the instruction column: "What is {}?"'
    )
    patterns: dict[OurColumn, str] = Field(
        default_factory=dict, description="our column -> regular expression whose first group is the value"
    )
    unmatched: Literal["error", "skip"] = Field(
        default="error", description="what a row does that a pattern does not match; skipped rows are counted"
    )
    delimiter: str = Field(default=",", min_length=1, max_length=1, description="between the cells of a CSV file")
    document_separator: Literal["blank_line", "heading", "file", ""] = Field(
        default="", description="where a document ends; heading for Markdown, blank_line for text when empty"
    )
    max_document_characters: int = Field(
        default=4000, ge=200, description="longer documents are cut between paragraphs"
    )
    split: Literal["train", "dev", "test", ""] = Field(default="", description="fixes the split of every row")
    limit: int = Field(default=0, ge=0, description="reads only so many rows; 0 reads all")
    steward: str = Field(
        default="",
        pattern=r"^(|[^<>\s@]+@[^<>\s@]+)$",
        description="e-mail address of whoever answers for the text; four eyes are counted against them",
    )
    parts: tuple[str, ...] = Field(
        default=(), description="files below uri, read in this order; what landed in a zone is named so"
    )

    @model_serializer(mode="wrap")
    def _without_what_is_unstated(self, write: Any) -> dict[str, Any]:
        """Left out where empty: so manifests of sources from before these fields keep their digest."""
        return {name: value for name, value in write(self).items() if value or name not in ("steward", "parts")}

    @field_validator("parts")
    @classmethod
    def _below_the_uri(cls, parts: tuple[str, ...]) -> tuple[str, ...]:
        for part in parts:
            if PurePosixPath(part).is_absolute() or ".." in PurePosixPath(part).parts or "://" in part or not part:
                raise ValueError(f"'{part}' does not lie below the uri: name it relative to it")
        if len(set(parts)) < len(parts):
            raise ValueError("a part is named twice: its rows would count double")
        return parts

    @field_validator("handling", mode="before")
    @classmethod
    def _known_handling(cls, value: Any) -> Any:
        if value not in CLASSES:
            raise ValueError(f"unknown handling class '{value}': {nearest(str(value), CLASSES)}")
        return value

    @field_validator("columns", "patterns", mode="before")
    @classmethod
    def _known_columns(cls, value: Any) -> Any:
        for name in value if isinstance(value, dict) else ():
            if name not in get_args(OurColumn):
                raise ValueError(f"unknown column '{name}': {nearest(str(name), get_args(OurColumn))}")
        return value

    @field_validator("patterns")
    @classmethod
    def _working_patterns(cls, value: dict[str, str]) -> dict[str, str]:
        for name, pattern in value.items():
            try:
                groups = re.compile(pattern).groups
            except re.error as error:
                raise ValueError(f"the pattern of '{name}' is no regular expression: {error}") from None
            if not groups:
                raise ValueError(f"the pattern of '{name}' has no group: put the part that counts in brackets")
        return value

    @field_validator("licence", "consent", "purpose")
    @classmethod
    def _stated(cls, value: str) -> str:
        if value.strip().lower() in {"unknown", "none", "n/a", "todo", "tbd", "?"}:
            raise ValueError(f"'{value}' states nothing: find out, or leave the source out")
        return value

    @model_validator(mode="after")
    def _task_stated(self) -> SourceSettings:
        if not self.task and self.form != DOCUMENTS:
            raise ValueError(f"source '{self.name}': the form {self.form} needs a task, such as task: definition")
        if not self.resolved_format:
            raise ValueError(
                f"source '{self.name}': the format of '{self.uri}' is unclear: say format: csv, jsonl, text or markdown"
            )
        if self.resolved_format in ("text", "markdown") and self.form != DOCUMENTS:
            raise ValueError(
                f"source '{self.name}': a {self.resolved_format} file holds documents: say form: documents"
            )
        return self

    @property
    def resolved_format(self) -> str:
        """The format as stated, or by the suffix of the URI or of the first part; empty where none tells."""
        named = self.parts[0] if self.parts else self.uri
        return self.format or reading.FORMATS.get(PurePosixPath(named).suffix.lower(), "")

    @property
    def resolved_task(self) -> str:
        """The task that the rows get."""
        return self.task or DOCUMENT_TASK

    def column_map(self, header: list[str], where: str) -> dict[str, str]:
        """Our columns to the file's, checked against its header.

        Raises:
            SourceError: a needed or stated column is not there.
        """
        stated = NEEDED[self.form] | self.columns
        for ours, theirs in stated.items():
            if theirs not in header:
                remedy = f"{nearest(theirs, header)}; set columns: {{{ours}: ...}} of source '{self.name}'"
                raise SourceError(f"has no column '{theirs}' (for {ours})", where, remedy)
        usual = {name: name for name in USUAL if name in header and name not in stated}
        if reading.DOCUMENT_COLUMN in header and self.resolved_format in ("text", "markdown"):
            usual["group"] = reading.DOCUMENT_COLUMN
        return usual | stated


class SourceFile(Report):
    """One file of a source, as it was when `ingest` read it."""

    uri: str
    sha256: str
    size_bytes: int


class SourceEntry(SourceSettings):
    """A source with what was found in it: files with digests, columns, counts; no text.

    Fields:
        jurisdictions: rows by the law that they are under, since a row may name another than its source; "?" counts
            what is no code, whose text is not repeated.
        languages: rows by language, in the same way.
    """

    files: tuple[SourceFile, ...]
    header: tuple[str, ...]
    rows: int
    skipped_rows: int = 0
    jurisdictions: dict[str, int] = Field(default_factory=dict)
    languages: dict[str, int] = Field(default_factory=dict)


class SourceManifest(Report):
    """All sources of a run: no time, no absolute path inside the project, so that equal data have equal digests."""

    sources: tuple[SourceEntry, ...]
    split_salt: str

    def summary(self) -> dict[str, Any]:
        """Counts and licences."""
        return {
            "sources": len(self.sources),
            "rows": sum(entry.rows for entry in self.sources),
            "size_bytes": sum(file.size_bytes for entry in self.sources for file in entry.files),
            "licences": ", ".join(sorted({entry.licence for entry in self.sources})),
        }


@dataclass(frozen=True, repr=False)  # no repr: a raw row must not land in a traceback or a log
class RawRow:
    """A checked row of a source, before ids are keyed. Raw text: never store, log or print one."""

    file: str
    row: int
    line: int
    question: str
    context: str
    answer: str
    group: str
    subject: str
    timestamp: str
    id: str
    language: str
    jurisdiction: str

    @property
    def where(self) -> str:
        """File, row and line, for messages."""
        return f"{self.file}, row {self.row} (line {self.line})"


class RowStream:
    """The checked rows of a source, once, in order; afterwards `files`, `header` and `skipped_rows` are known.

    Args:
        source: what the configuration or the manifest says of it.
    """

    def __init__(self, source: SourceSettings) -> None:
        self.source = source
        self.files: list[SourceFile] = []
        self.header: list[str] = []
        self.skipped_rows = 0

    def __iter__(self) -> Iterator[RawRow]:
        source, format = self.source, self.source.resolved_format
        separator = source.document_separator or (reading.HEADING if format == "markdown" else reading.BLANK_LINE)
        stream = reading.rows(
            reading.locate(source.uri, source.parts),
            format,
            source.delimiter,
            separator,
            source.max_document_characters,
            source.limit,
        )
        columns: dict[str, str] = {}
        file = ""
        for item in stream:
            if "sha256" in item:
                self.files.append(SourceFile(uri=item["file"], sha256=item["sha256"], size_bytes=item["size_bytes"]))
                continue
            if item["file"] != file:
                file = item["file"]
                self._compare_headers(list(item["values"]), file)
                columns = source.column_map(self.header, file)
            row = self._checked(item, columns)
            if row is None:
                self.skipped_rows += 1
            else:
                yield row

    def _compare_headers(self, header: list[str], file: str) -> None:
        # JSON lines may leave out columns that nobody maps; the rows of a CSV file cannot.
        if self.header and self.source.resolved_format == "csv" and header != self.header:
            raise SourceError(
                "has other columns than the first file of its source", file, "give it a source of its own"
            )
        self.header = self.header + [name for name in header if name not in self.header]

    def _checked(self, item: dict[str, Any], columns: dict[str, str]) -> RawRow | None:
        source = self.source
        where = f"{item['file']}, row {item['row']} (line {item['line']})"
        cells: dict[str, str] = {}
        for ours, theirs in columns.items():
            if theirs not in item["values"] and (ours in NEEDED[source.form] or ours in source.columns):
                raise SourceError(f"has no '{theirs}' (for {ours})", where, nearest(theirs, item["values"]))
            cells[ours] = item["values"].get(theirs, "").strip()
            if pattern := source.patterns.get(ours):
                match = re.search(pattern, cells[ours])
                if match is None and source.unmatched == "skip":
                    return None
                if match is None:
                    raise SourceError(
                        f"column '{theirs}' does not match the pattern of {ours}", where,
                        f"mend the cell, the pattern, or set unmatched: skip of source '{source.name}'",
                    )  # fmt: skip
                cells[ours] = (match[1] or "").strip()
        question, answer = self._question_and_answer(cells, columns, where)
        context = cells.get("context", "")
        return RawRow(
            file=item["file"], row=item["row"], line=item["line"], question=question, context=context, answer=answer,
            # Rows of one passage or one person must not be torn apart by a split.
            group=cells.get("group") or cells.get("subject") or comparable(context or question) or context or question,
            subject=cells.get("subject", ""), id=cells.get("id", ""),
            timestamp=self._timestamp(cells.get("timestamp", ""), where),
            language=cells.get("language") or source.language,
            jurisdiction=cells.get("jurisdiction") or source.jurisdiction,
        )  # fmt: skip

    def _question_and_answer(self, cells: dict[str, str], columns: dict[str, str], where: str) -> tuple[str, str]:
        form = self.source.form
        if form == QA_TEXT:
            match = _QA.fullmatch(cells["qa_text"])
            if match is None or _QA.search(match["answer"]):
                raise SourceError(
                    f"column '{columns['qa_text']}' does not hold one question and one answer", where,
                    "write ##Question: ...## Answer: ...",
                )  # fmt: skip
            question, answer = match["question"].strip(), match["answer"].strip()
            named, answer_named = columns["qa_text"], columns["qa_text"]
        elif form == PAIRS:
            question, answer = cells["instruction"], cells["response"]
            named, answer_named = columns["instruction"], columns["response"]
        else:
            question, answer = cells["text"], cells.get("label", "")
            named, answer_named = columns["text"], columns.get("label", "")
        if not question:
            raise SourceError(f"column '{named}' holds no text", where, "fill the cell or delete the row")
        if not answer and form != DOCUMENTS:
            kind = "label" if form == LABELLED else "answer"
            raise SourceError(f"has no {kind} in column '{answer_named}'", where, "fill the cell or delete the row")
        if form == LABELLED and self.source.label_map:
            if answer not in self.source.label_map:
                known = ", ".join(sorted(self.source.label_map))
                raise SourceError(
                    f"column '{answer_named}' holds a label that label_map does not know",
                    where,
                    f"known labels: {known}",
                )
            answer = self.source.label_map[answer]
        if form == PAIRS:
            question = self.source.question_template.replace("{}", question)
        return question, answer

    @staticmethod
    def _timestamp(value: str, where: str) -> str:
        if value:
            try:
                datetime.fromisoformat(value)
            except ValueError:
                raise SourceError(
                    "has a timestamp that is not ISO 8601", where, "write 2026-01-31 or 2026-01-31T09:30:00Z"
                ) from None
        return value


def stream_records(
    entry: SourceEntry, manifest: SourceManifest, keys: KeyRing, start: int = 0, stop: int | None = None
) -> Iterator[Record]:
    """The raw records of one source, in the order of its files.

    The files are compared with the manifest before the first row and again, over the very bytes that were parsed, after
    the last: take what was yielded as valid only when the stream has ended. A stream that stops early cannot compare
    what it did not read: whoever asks for a part calls `compare_with_manifest` when all parts have ended.

    Args:
        entry: the source, out of the manifest.
        manifest: what `ingest` found.
        keys: makes the ids of record, group and subject.
        start: rows to skip.
        stop: the row behind the last one; the end by default.

    Raises:
        SourceError: a file changed since `ingest` read it.
    """
    _compare(entry, _files_now(entry))
    stream = RowStream(entry)
    for row in islice(stream, start, stop):
        yield _record(row, entry, manifest.split_salt, keys)
    if stop is None:
        _compare(entry, stream.files)


def compare_with_manifest(manifest: SourceManifest) -> None:
    """Compare every file of a manifest with what lies there now.

    Raises:
        SourceError: a file changed since `ingest` read it.
    """
    for entry in manifest.sources:
        _compare(entry, _files_now(entry))


def _files_now(entry: SourceEntry) -> list[SourceFile]:
    import hashlib

    files = []
    for file in reading.locate(entry.uri, entry.parts):
        with reading.opened(file) as stream:
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
            files.append(SourceFile(uri=reading.display(file), sha256=sha256, size_bytes=stream.tell()))
    return files


def _compare(entry: SourceEntry, files: list[SourceFile]) -> None:
    if tuple(files) == entry.files:
        return
    before = {file.uri: file for file in entry.files}
    now = {file.uri: file for file in files}
    changed = sorted(uri for uri in before.keys() | now.keys() if before.get(uri) != now.get(uri))
    raise SourceError(
        "changed since it was ingested", ", ".join(changed), "start the run again, so that ingest reads it anew"
    )


def _record(row: RawRow, entry: SourceEntry, split_salt: str, keys: KeyRing) -> Record:
    task, labelled = entry.resolved_task, entry.form == LABELLED
    role = DOCUMENT if entry.form == DOCUMENTS else USER
    messages = [{"role": role, "content": row.question}]
    if row.answer and not labelled:
        messages.append({"role": ASSISTANT, "content": row.answer})
    identity = ("id", row.id) if row.id else ("content", task, row.question, row.context, row.answer)
    return Record(
        id=keys.keyed_id("record", entry.name, *identity),
        task=task,
        messages=messages,
        context=row.context,
        label=row.answer if labelled else "",
        source=entry.name,
        row=row.row,
        licence=entry.licence,
        consent=entry.consent,
        purpose=entry.purpose,
        jurisdiction=row.jurisdiction,
        handling=entry.handling,
        language=row.language,
        timestamp=row.timestamp,
        group=keys.keyed_id("group", row.group),
        split_bucket=split_bucket(split_salt, row.group),
        split=entry.split,
        subjects=[keys.keyed_id("subject", "SUBJECT", row.subject)] if row.subject else [],
    )
