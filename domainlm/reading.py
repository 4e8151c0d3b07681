"""Strict, streaming readers of source files: CSV, JSON lines, plain text, Markdown.

Rows reach their user through a `datasets.IterableDataset`, which holds one row at a time and writes none to its cache.
The parsing is our own: the stock CSV loader reads the ticker "NA" as a missing value, turns labels into numbers, fills
short rows up in silence, and names no row when it fails. No message here quotes the content of a file.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import IO, TYPE_CHECKING, Any

from domainlm.errors import SourceError, nearest
from domainlm.project import project_root, resolve

if TYPE_CHECKING:
    from datasets import IterableDataset

TEXT_COLUMN, DOCUMENT_COLUMN = "text", "document"
FORMATS = {
    ".csv": "csv", ".tsv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".txt": "text", ".text": "text",
    ".md": "markdown", ".markdown": "markdown",
}  # fmt: skip
BLANK_LINE, HEADING, WHOLE_FILE = "blank_line", "heading", "file"
GLOB_SIGNS = "*?["
LONGEST_LINE_BYTES = 8 << 20  # what is longer is no line of data: a file of zeros has no end of line at all
CHUNK_BYTES = 1 << 16  # the lines of one are in memory together
LONGEST_DOCUMENT_CHARACTERS = 64 << 20  # held in memory while it is cut


def locate(uri: str, parts: Sequence[str] = ()) -> list[str]:
    """The files that a source names: full paths or fsspec URIs.

    Args:
        uri: a path or glob (relative ones count from the project root), or an fsspec URI such as `s3://bucket/*.csv`;
            with parts, the folder that they lie in.
        parts: files below `uri`, taken in this order and by their very names; without them the files that `uri` names
            come sorted.

    Raises:
        SourceError: nothing is there, or a folder.
    """
    import fsspec

    target = uri if "://" in uri else str(resolve(uri))
    try:
        filesystem, path = fsspec.core.url_to_fs(target)
    except (ImportError, ValueError) as error:
        raise SourceError(f"cannot be opened: {error}", uri, "install the storage client or mend the URI") from error
    try:
        if parts:
            return [_part(filesystem, path.rstrip("/"), uri, part) for part in parts]
        return _located(filesystem, path, uri)
    except SourceError:
        raise
    except Exception as error:  # whatever a storage client raises; its text may name what it signed in with
        raise SourceError(
            f"its store cannot be read ({type(error).__name__})", uri,
            "see to its address and to the credentials of whoever reads it: of a cluster's run, the step's pod",
        ) from None  # fmt: skip


def _located(filesystem: Any, path: str, uri: str) -> list[str]:
    named = filesystem.unstrip_protocol if "://" in uri else str
    if any(sign in uri for sign in GLOB_SIGNS) and not filesystem.isfile(path):
        found = [named(match) for match in sorted(filesystem.glob(path)) if filesystem.isfile(match)]
        if not found:
            raise SourceError("no file matches this pattern", uri, "mend the pattern or put the files there")
        return found
    if filesystem.isdir(path):
        raise SourceError("is a folder, not a file", uri, f"name its files, such as {uri.rstrip('/')}/*.csv")
    if not filesystem.exists(path):
        raise SourceError("the file does not exist", uri, _neighbour(filesystem, path))
    return [named(path)]


def _part(filesystem: Any, folder: str, uri: str, part: str) -> str:
    """One question to the store a file: there may be thousands of them."""
    path = f"{folder}/{part}"
    try:
        kind = filesystem.info(path)["type"]
    except FileNotFoundError:
        where, remedy = (
            f"{uri.rstrip('/')}/{part}",
            "it was removed since it landed: put it back, or withdraw its batch",
        )
        raise SourceError("the file does not exist", where, remedy) from None
    if kind == "directory":
        raise SourceError("is a folder, not a file", f"{uri.rstrip('/')}/{part}", "name the files in it")
    return filesystem.unstrip_protocol(path) if "://" in uri else path


def _neighbour(filesystem: Any, path: str) -> str:
    folder, _, name = path.rpartition("/")
    try:
        names = [str(entry).rpartition("/")[2] for entry in filesystem.ls(folder, detail=False)]
    except OSError:
        return f"the folder {folder.rpartition('/')[2] or folder} does not exist either"
    return nearest(name, names) if names else "its folder is empty"


def spelled(uri: str) -> str:
    """The name that `locate` gives to the file of a URI, without asking its store."""
    import fsspec

    filesystem, path = fsspec.core.url_to_fs(uri if "://" in uri else str(resolve(uri)))
    return filesystem.unstrip_protocol(path) if "://" in uri else path


def display(file: str) -> str:
    """A file as messages and manifests name it: relative to the project where it lies inside it."""
    root = f"{project_root()}/" if "://" not in file else ""
    return file.removeprefix(root)


def rows(
    files: list[str], format: str, delimiter: str, separator: str, max_characters: int, limit: int = 0
) -> IterableDataset:
    """The rows of some files as a stream.

    Each row is `{"file", "row", "line", "values": {column: text}}`; `row` counts through all files from 1. After the
    last row of a file follows `{"file", "sha256", "size_bytes", "header"}`, computed from the bytes that were parsed.

    Args:
        files: what `locate` found.
        format: csv, jsonl, text or markdown.
        delimiter: between the cells of a CSV file.
        separator: where one document ends: `blank_line`, `heading` or `file`.
        max_characters: longest document; a longer one is cut at a paragraph's border.
        limit: stop parsing after so many rows (0: none); the files are hashed to their ends all the same.
    """
    from datasets import IterableDataset

    arguments = {
        "files": files, "format": format, "delimiter": delimiter, "separator": separator,
        "max_characters": max_characters, "limit": limit,
    }  # fmt: skip
    # The list of files must not be taken for shards.
    return IterableDataset.from_generator(_read_all, gen_kwargs={"arguments": arguments})


def _read_all(arguments: dict[str, Any]) -> Iterator[dict[str, Any]]:
    number, limit = 0, arguments["limit"]
    for file in arguments["files"]:
        name = display(file)
        with opened(file) as stream:
            lines = _Lines(stream, name)
            header: list[str] = []
            for line, values in _parser(arguments)(lines, name) if not limit or number < limit else ():
                number += 1
                header = header or list(values)
                yield {"file": name, "row": number, "line": line, "values": values}
                if number == limit:
                    break
            lines.drain()
        if not header and not (limit and number >= limit):
            raise SourceError("is empty: it holds no row", name, "put data into it or take it off the sources")
        yield {"file": name, "sha256": lines.sha256.hexdigest(), "size_bytes": lines.size_bytes, "header": header}


def opened(file: str) -> IO[bytes]:
    """The bytes of a file, as `locate` names it. Whoever puts files into a folder could put a pipe or a device in the
    place of one: a pipe keeps its reader waiting for ever, and a device has no end.

    Raises:
        SourceError: it is a pipe, a socket or a device.
        OSError: it cannot be opened; of a store whatever its client raises.
    """
    import fsspec
    from fsspec.implementations.local import LocalFileSystem

    filesystem, path = fsspec.core.url_to_fs(file)
    if not isinstance(filesystem, LocalFileSystem):
        return filesystem.open(path, "rb")
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    kind = os.fstat(handle).st_mode
    if stat.S_ISREG(kind):
        return os.fdopen(handle, "rb")
    os.close(handle)
    if stat.S_ISDIR(kind):
        raise IsADirectoryError(path)
    raise SourceError("is a device, pipe or socket, not a file", display(file), "put the file itself there")


def _parser(arguments: dict[str, Any]) -> Callable[[_Lines, str], Iterator[tuple[int, dict[str, str]]]]:
    format, separator = arguments["format"], arguments["separator"]
    if format == "csv":
        return lambda lines, name: _csv_rows(lines, name, arguments["delimiter"])
    if format == "jsonl":
        return _json_rows
    return lambda lines, name: _documents(lines, name, separator, arguments["max_characters"])


class _Lines:
    """The decoded lines of a file; counts and hashes the bytes on their way."""

    def __init__(self, stream: IO[bytes], name: str) -> None:
        self.stream, self.name = stream, name
        self.sha256, self.size_bytes, self.number = hashlib.sha256(), 0, 0
        self._raw = self._split()  # one iterator for the parser and for what it leaves over

    def _split(self) -> Iterator[bytes]:
        """Lines with their ends. Not the stream's own lines: a store's stream knows no limit for them."""
        rest = b""
        while chunk := self.stream.read(CHUNK_BYTES):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                yield line + b"\n"
            if len(rest) > LONGEST_LINE_BYTES:
                raise SourceError(
                    f"holds a line of more than {LONGEST_LINE_BYTES >> 20} MiB", f"{self.name}, line {self.number + 1}",
                    "end each row with a line break; a file of zero bytes is no text",
                )  # fmt: skip
        if rest:
            yield rest

    def __iter__(self) -> Iterator[str]:
        for raw in self._raw:
            start = self.size_bytes
            self.sha256.update(raw)
            self.size_bytes += len(raw)
            self.number += 1
            if self.number == 1:
                raw = raw.removeprefix(b"\xef\xbb\xbf")
                if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
                    raise SourceError("is UTF-16, not UTF-8", self.name, "save it as UTF-8")
            try:
                yield raw.decode("utf-8")
            except UnicodeDecodeError as error:
                offset = start + error.start
                # `from None`: the decoder's own error carries the whole line
                raise SourceError(
                    f"is not UTF-8: wrong byte at offset {offset}", f"{self.name}, line {self.number}",
                    "save it as UTF-8, such as with iconv -f cp1252 -t utf-8",
                ) from None  # fmt: skip

    def drain(self) -> None:
        """Hash what was not parsed."""
        for _ in self:
            pass


def _csv_rows(lines: _Lines, name: str, delimiter: str) -> Iterator[tuple[int, dict[str, str]]]:
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    header: list[str] | None = None
    row = 0
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            where = f"{name}, row {row + 1} (line {line})" if header else f"{name}, header"
            raise SourceError(
                f"a quote is not closed or stands inside a cell ({error})", where,
                'close the quote; a quote inside a quoted cell is written ""',
            ) from None  # fmt: skip
        if not cells:
            continue
        if header is None:
            header = _checked_header(cells, name)
            continue
        row += 1
        if len(cells) != len(header):
            raise SourceError(
                f"has {len(cells)} cells where the header has {len(header)}", f"{name}, row {row} (line {line})",
                "quote cells that hold the delimiter or a line break, and look for an unclosed quote above",
            )  # fmt: skip
        yield line, dict(zip(header, cells, strict=True))


def _checked_header(cells: list[str], name: str) -> list[str]:
    twice = sorted({cell for cell in cells if cells.count(cell) > 1})
    if twice:
        raise SourceError(f"the header names column '{twice[0]}' twice", name, "rename one of the two columns")
    return cells


def _json_rows(lines: _Lines, name: str) -> Iterator[tuple[int, dict[str, str]]]:
    row = 0
    for line, text in enumerate(lines, start=1):
        if not text.strip():
            continue
        row += 1
        where = f"{name}, row {row} (line {line})"
        try:
            # numbers as they are written: "1.50" must not become "1.5"
            content = json.loads(text, parse_int=str, parse_float=str, parse_constant=_refuse, object_pairs_hook=_once)
        except _Twice as error:
            raise SourceError(f"has the key '{error}' twice", where, "keep one of the two") from None
        except (ValueError, RecursionError) as error:  # brackets in brackets in brackets
            position = getattr(error, "colno", 0)
            raise SourceError(
                f"is not JSON (at character {position})", where, "one complete JSON object a line"
            ) from None
        if not isinstance(content, dict):
            raise SourceError("is not a JSON object", where, 'expected {"column": "text", ...}')
        yield line, {key: _cell(value) for key, value in content.items()}


class _Twice(Exception):
    pass


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        keys = [key for key, _ in pairs]
        raise _Twice(next(key for key in keys if keys.count(key) > 1))
    return content


def _refuse(_: str) -> Any:
    raise ValueError("NaN and Infinity are not JSON")


def _cell(value: Any) -> str:
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    return json.dumps(value, ensure_ascii=False)


def _documents(
    lines: Iterable[str], name: str, separator: str, max_characters: int
) -> Iterator[tuple[int, dict[str, str]]]:
    for line, paragraphs in _paragraph_groups(lines, name, separator):
        head = paragraphs[0]  # names the document, so that its pieces stay in one split
        for piece in _pieces(paragraphs, max_characters):
            yield line, {TEXT_COLUMN: piece, DOCUMENT_COLUMN: head}


def _paragraph_groups(lines: Iterable[str], name: str, separator: str) -> Iterator[tuple[int, list[str]]]:
    """Documents as lists of paragraphs, each with the line it begins at."""
    document: list[str] = []
    paragraph: list[str] = []
    begin, fenced, held = 1, False, 0
    for number, line in enumerate(lines, start=1):
        line = line.rstrip()
        fenced ^= line.lstrip().startswith("```")  # a "# comment" inside a code block is no heading
        heading = separator == HEADING and not fenced and line.startswith("# ")
        if heading or (not line and not fenced):
            if paragraph:
                document.append("\n".join(paragraph))
                paragraph = []
            if document and (heading or separator == BLANK_LINE):
                yield begin, document
                document = []
        if line:
            if not document and not paragraph:
                begin, held = number, 0
            paragraph.append(line)
            held += len(line)
            if held > LONGEST_DOCUMENT_CHARACTERS:
                raise SourceError(
                    f"is longer than {LONGEST_DOCUMENT_CHARACTERS >> 20} million characters",
                    f"{name}, document from line {begin} on", "separate its documents: see `document_separator`",
                )  # fmt: skip
    if paragraph:
        document.append("\n".join(paragraph))
    if document:
        yield begin, document


def _pieces(paragraphs: list[str], max_characters: int) -> Iterator[str]:
    piece = ""
    for part in (part for paragraph in paragraphs for part in _short_parts(paragraph, max_characters)):
        if piece and len(piece) + 2 + len(part) > max_characters:
            yield piece
            piece = part
        else:
            piece = f"{piece}\n\n{part}" if piece else part
    if piece:
        yield piece


def _short_parts(paragraph: str, max_characters: int) -> Iterator[str]:
    """A paragraph, cut after a sentence, or else a word, where it alone is too long."""
    while len(paragraph) > max_characters:
        window = paragraph[:max_characters]
        cut = max(window.rfind(sign) + 1 for sign in (". ", "? ", "! ", ".\n"))
        if cut < max_characters // 2:
            cut = max(window.rfind(" "), window.rfind("\n"))
        if cut <= 0:
            cut = max_characters
        yield paragraph[:cut].rstrip()
        paragraph = paragraph[cut:].lstrip()
    if paragraph:
        yield paragraph
