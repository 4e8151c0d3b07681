"""`domainlm scan`: personal data in files, for people, a pre-commit hook or a data drop. Shows places, never values."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from domainlm.errors import ConfigurationError, DomainLMError, nearest

if TYPE_CHECKING:
    from domainlm.redact.scanfile import FileResult, FileScanner

FORMATS = ("text", "csv", "tsv", "json", "jsonl", "parquet")
SHOW = ("mask", "none")
ROWS_SHOWN = 200
CLEAN, FOUND, FAILED, INTERRUPTED = 0, 1, 2, 130

# Brackets are escaped: the help is rich's markup.
EPILOG = """Exit code: 0 nothing found, 1 something found, 2 something could not be scanned (a bad file, text that is
not UTF-8, a time-out): what could not be scanned is never taken for clean.

As a pre-commit hook, in .pre-commit-config.yaml below repos: {repo: local, hooks: \\[{id: domainlm-scan, name: personal
data, entry: domainlm scan, language: system, types: \\[text]}]}
"""


def scan(
    files: Annotated[
        list[str], typer.Argument(metavar="FILE...", help="Files, folders (read recursively), or - for standard input.")
    ],
    redact: Annotated[
        str | None,
        typer.Option(
            metavar="OUT",
            help="Write a redacted copy in the same format: a file, - for standard output, a folder for several files.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document instead of the table.")] = False,
    jurisdiction: Annotated[
        str, typer.Option(help="Codes such as us,kr: the strictest rules of their profiles. Default: all entities.")
    ] = "",
    show: Annotated[
        str, typer.Option(help="mask: the shape of each value ('16 digits'); none: not even that.")
    ] = "mask",
    kind: Annotated[str, typer.Option("--as", help=f"Read every file as {', '.join(FORMATS)}.")] = "",
) -> None:
    """Find personal data in text, Markdown, CSV, TSV, JSON, JSON lines, Parquet and source code: where, never what.

    The JSON document of --json has these keys, sorted, without any time, so that equal files give equal bytes:
    "domainlm_scan" (1, the version of this shape), "exit_code", "summary" {"files", "clean", "skipped", "failed",
    "findings", "entities" {entity: count}, "rules"}, and "files", a list in the order of the arguments of {"path",
    "format", "found" {entity: count}, "findings" [{"line", "column", "row", "field", "entity", "score", "recognizer",
    "shape"}], "findings_left_out" (beyond 10,000 of a file), "failures" [{"line", "row", "reason", "remedy"}],
    "failures_left_out" (beyond 1,000), "skipped" (why, or ""), "redacted" (path of the copy, or "")}. Lines, columns
    and rows count from 1; 0: there is none.
    """
    try:
        code = _scan(files, redact, as_json, jurisdiction, show, kind)
    except DomainLMError as error:  # exit code 1 would say that something was found
        Console(stderr=True, soft_wrap=True).print(f"[bold red]{type(error).__name__}[/]", end=" ")
        print(error, file=sys.stderr)
        code = FAILED
    except KeyboardInterrupt:
        code = INTERRUPTED
    except BrokenPipeError:
        # Whoever read the table has left, so nobody knows what it would have said.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = FAILED
    except Exception as error:  # its message may quote a file
        print(f"the scan failed ({type(error).__name__}); nothing is known of the files", file=sys.stderr)
        code = FAILED
    sys.exit(code)


def _paragraphs(text: str) -> str:
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))


HELP, EPILOG = _paragraphs(scan.__doc__ or ""), _paragraphs(EPILOG)


def _scan(files: list[str], redact: str | None, as_json: bool, jurisdiction: str, show: str, kind: str) -> int:
    for value, known, option in ((show, SHOW, "--show"), (kind or FORMATS[0], FORMATS, "--as")):
        if value not in known:
            raise ConfigurationError(f"'{value}' is none of the values", option, nearest(value, known))
    if redact == "-" and as_json:
        raise ConfigurationError("cannot write the copy and the JSON to the same place", "--redact -", "name a file")
    scanner = _scanner(jurisdiction)
    from domainlm.redact.scanfile import exit_code, find_files

    found = list(find_files(files))
    copies = _copies(found, files, redact)
    console = Console(stderr=redact == "-", highlight=False, width=None if sys.stdout.isatty() else 160)
    results = []
    with console.status("scanning") if console.is_terminal and not as_json else _Quiet():
        for (path, passing, _), copy in zip(found, copies, strict=True):
            results.append(scanner.scan(path, kind, copy, passing))
    if show == "none":
        _without_shapes(results)
    rules = scanner.rules
    code = exit_code(results)
    if as_json:
        document = {
            "domainlm_scan": 1,
            "exit_code": code,
            "summary": _summary(results) | {"rules": rules},
            "files": [result.as_json() for result in results],
        }
        print(json.dumps(document, ensure_ascii=True, indent=1, sort_keys=True))
    else:
        _print(console, results, show, rules)
    return code


class _Quiet:
    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        return None


def _scanner(jurisdiction: str) -> FileScanner:
    import logging

    from domainlm.redact.settings import ENTITIES, RedactSettings

    logging.captureWarnings(True)
    logging.getLogger().addHandler(logging.NullHandler())
    settings = RedactSettings(entities=ENTITIES)
    if settings.nlp_engine is None:
        # spaCy's thinc and Presidio take torch and transformers along where they are there, four seconds of imports
        # that nothing here uses; a module that is None cannot be imported.
        for name in ("torch", "transformers"):
            sys.modules.setdefault(name, None)  # type: ignore[arg-type]
    from domainlm.redact.scanfile import FileScanner

    return FileScanner(settings, jurisdiction)


def _copies(found: list[tuple[str, bool, str]], files: list[str], redact: str | None) -> list[Path | None]:
    """Where the copy of each file shall lie."""
    if redact is None:
        return [None] * len(found)
    target = Path(redact)
    several = len(files) > 1 or any(passing for _, passing, _ in found) or os.path.isdir(files[0])
    if not several:
        return [target / found[0][2] if target.is_dir() else target]
    if redact == "-" or (target.exists() and not target.is_dir()):
        raise ConfigurationError("several files need a folder for their copies", "--redact", "name a folder")
    copies: list[Path | None] = [target / name for _, _, name in found]
    if len(set(copies)) < len(copies):
        raise ConfigurationError(
            "two of the files would have the same copy", "--redact", "scan them one by one, or their folder"
        )
    inputs = {os.path.realpath(path) for path, _, _ in found}
    if any(os.path.realpath(str(copy)) in inputs for copy in copies):
        raise ConfigurationError("a copy would overwrite an input", "--redact", "name another folder")
    return copies


def _without_shapes(results: list[FileResult]) -> None:
    from dataclasses import replace

    for result in results:
        result.hits = [replace(hit, shape="") for hit in result.hits]


def _summary(results: list[FileResult]) -> dict[str, object]:
    entities: dict[str, int] = {}
    for result in results:
        for entity, count in result.found.items():
            entities[entity] = entities.get(entity, 0) + count
    return {
        "files": len(results),
        "clean": sum(not (result.found or result.failures or result.skipped) for result in results),
        "skipped": sum(bool(result.skipped) for result in results),
        "failed": sum(bool(result.failures) for result in results),
        "findings": sum(entities.values()),
        "entities": dict(sorted(entities.items())),
    }


def _print(console: Console, results: list[FileResult], show: str, rules: str) -> None:
    from domainlm.redact.scanfile import printable

    hits = [(printable(result.path), hit) for result in results for hit in result.hits]
    if hits:
        table = Table(box=None, pad_edge=False, header_style="bold")
        for name, right in (
            ("file", 0),
            ("line", 1),
            ("col", 1),
            ("row", 1),
            ("field", 0),
            ("entity", 0),
            ("score", 1),
        ):
            table.add_column(name, justify="right" if right else "left", overflow="fold")
        table.add_column("found by", overflow="fold", style="dim")
        if show == "mask":
            table.add_column("shape", overflow="fold")
        for path, hit in hits[:ROWS_SHOWN]:
            numbers = [str(number) if number else "" for number in (hit.line, hit.column, hit.row)]
            cells = [Text(path), *numbers, Text(hit.field), Text(hit.entity, "red"), f"{hit.score:.2f}"]
            table.add_row(*cells, Text(hit.recognizer), *([Text(hit.shape)] if show == "mask" else []))
        console.print(table)
    summary = _summary(results)
    if (left := int(str(summary["findings"])) - min(len(hits), ROWS_SHOWN)) > 0:
        console.print(f"... and {left:,} more; --json lists them")
    for result in results:
        name = printable(result.path)
        if result.skipped:
            console.print(Text.assemble(("skipped ", "yellow"), f"{name}: {result.skipped}"), soft_wrap=True)
        for failure in result.failures[:20]:
            place = f", line {failure.line}" if failure.line else f", row {failure.row}" if failure.row else ""
            told = f"{name}{place}: {failure.reason} -> {failure.remedy}"
            console.print(Text.assemble(("not scanned ", "bold red"), told), soft_wrap=True)
        if (more := len(result.failures) + result.failures_left_out - 20) > 0:
            console.print(Text(f"{name}: {more:,} more places could not be scanned"))
        if result.redacted and result.redacted != "-":
            console.print(Text.assemble(("written ", "green"), printable(result.redacted)), soft_wrap=True)
    entities = summary["entities"]
    assert isinstance(entities, dict)
    told = ", ".join(f"{entity} {count:,}" for entity, count in sorted(entities.items(), key=lambda entry: -entry[1]))
    verdict = (
        ("not all could be scanned", "bold red") if summary["failed"] else
        ("personal data found", "bold red") if entities else ("clean", "bold green")
    )  # fmt: skip
    console.print(
        Text.assemble(
            verdict,
            f": {summary['files']:,} files, {summary['findings']:,} findings{f' ({told})' if told else ''}, "
            f"{summary['skipped']:,} skipped, {summary['failed']:,} not scanned; rules: {rules}",
        ),
        soft_wrap=True,
    )
