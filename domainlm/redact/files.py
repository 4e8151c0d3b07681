"""Files as units of text: each is scanned by itself and written back with the found values changed and nothing else.

A unit is what the pipeline calls a record: a row of a table, a line of JSON lines, an element of a JSON array, a part
of a text. It keeps the bytes it was read from, so that a copy differs from its input in the replaced values alone. All
readers stream; only a JSON document is held whole. No message quotes the content of a file.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import IO, TYPE_CHECKING, Any

from domainlm.errors import SourceError

if TYPE_CHECKING:
    import pyarrow

TEXT, CSV, TSV, JSON, JSONL, PARQUET = FORMATS = ("text", "csv", "tsv", "json", "jsonl", "parquet")
_SUFFIXES = {
    ".csv": CSV, ".tsv": TSV, ".tab": TSV, ".json": JSON, ".ipynb": JSON, ".geojson": JSON, ".jsonl": JSONL,
    ".ndjson": JSONL, ".parquet": PARQUET, ".pq": PARQUET,
}  # fmt: skip
PIECE_CHARACTERS = 24_000  # of a text: one unit
MARGIN_CHARACTERS = 256  # of the neighbours, so that a cut hides neither a value nor its cue
LINE_BYTES = 64 * 2**20  # longest row of a table
DOCUMENT_BYTES = 64 * 2**20  # longest JSON document
BATCH_ROWS = 256
_AS_TEXT = "read it as plain text with --as text"
# First bytes of formats that hold text in a form which is not read here (each format's own specification).
_BINARY = (
    b"\x1f\x8b", b"PK\x03\x04", b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"%PDF-", b"\x7fELF", b"BZh", b"\xfd7zXZ",
    b"\x28\xb5\x2f\xfd", b"SQLite format 3", b"ARROW1", b"RIFF", b"\xd0\xcf\x11\xe0", b"wOFF", b"wOF2",
)  # fmt: skip


@dataclass(slots=True)
class Cell:
    """A text of a unit.

    Args:
        text: as it is meant: without quotes and escapes.
        start: where its spelling begins in the unit's raw text.
        end: where it ends.
        field: column, or path in a document; "" in plain text.
        label: its column or key, which tells what it is.
        spell: how a changed text is spelled in the file.
        verbatim: whether the spelling is the text itself, so that offsets inside it are places in the file.
        path: where it stands in a row of a Parquet file.
    """

    text: str
    start: int = 0
    end: int = 0
    field: str = ""
    label: str = ""
    spell: Callable[[str], str] = str
    verbatim: bool = False
    path: tuple[Any, ...] = ()


@dataclass(slots=True)
class Unit:
    """What is scanned at once.

    Args:
        raw: its spelling in the file.
        cells: its texts, in order.
        line: line of the file in which it begins, from 1; 0 where there are no lines.
        column: column in which it begins, from 1.
        row: row of the table or line of JSON lines, from 1; 0 where there are none.
        before: the end of the text before it.
        after: the beginning of the text behind it.
        fresh: whether its placeholders count from 1, as those of a pipeline's record.
        values: a row of a Parquet file.
    """

    raw: str
    cells: list[Cell] = field(default_factory=list)
    line: int = 1
    column: int = 1
    row: int = 0
    before: str = ""
    after: str = ""
    fresh: bool = True
    values: dict[str, Any] | None = None

    def place(self, cell: Cell, offset: int) -> tuple[int, int]:
        """Line and column of a character of a cell; of the cell where its spelling is not its text."""
        at = cell.start + (offset if cell.verbatim else 0)
        if self.line == 0:
            return 0, 0
        lines = self.raw.count("\n", 0, at)
        return self.line + lines, at - self.raw.rfind("\n", 0, at) if lines else self.column + at

    def spelled(self, texts: list[str]) -> str:
        """The unit with other texts in its cells; a cell whose text did not change keeps its spelling."""
        parts, done = [], 0
        for cell, text in zip(self.cells, texts, strict=True):
            if text != cell.text:
                parts += [self.raw[done : cell.start], cell.spell(text)]
                done = cell.end
        return "".join(parts) + self.raw[done:]


def kind_of(name: str) -> str:
    """The format that a file's name tells; plain text by default."""
    return _SUFFIXES.get(name[name.rfind(".") :].lower() if "." in name else "", TEXT)


def is_binary(head: bytes) -> bool:
    """Whether the first bytes of a file are no text at all. UTF-8 text with a stray NUL is text, and an error."""
    if head.startswith(_BINARY):
        return True
    if b"\x00" not in head or head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return False
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return True
    return head.count(b"\x00") * 10 > len(head) * 3 and not re.search(rb"[ -~]\x00[ -~]\x00", head)


def units(stream: IO[bytes], kind: str) -> Iterator[Unit]:
    """The units of a file, in order; their raw texts together are the file.

    Args:
        stream: the file, opened for bytes.
        kind: one of `FORMATS`.

    Raises:
        SourceError: it is not UTF-8, or not what its format demands.
    """
    if kind == PARQUET:
        return _rows_of_parquet(stream)
    if kind in (CSV, TSV):
        return _rows_of_table(stream, "\t" if kind == TSV else "")
    if kind == JSONL:
        return _lines_of_json(stream)
    if kind == JSON:
        return _document(_decode(_bounded(stream.read(DOCUMENT_BYTES + 1), DOCUMENT_BYTES, "")))
    return _pieces(stream)


def _bounded(raw: bytes, most: int, where: str) -> bytes:
    if len(raw) > most:
        raise SourceError(f"is longer than {most // 2**20} MiB", where, _AS_TEXT)
    return raw


def _decode(raw: bytes, start: int = 0, where: str = "") -> str:
    if not start and raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise SourceError("is UTF-16, not UTF-8", where, "save it as UTF-8")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        offset = start + error.start
    # outside of the handler: the decoder's own error carries the text
    raise SourceError(f"is not UTF-8: wrong byte at offset {offset}", where, "save it as UTF-8")


# --- plain text ---------------------------------------------------------------------------------------------------


def _pieces(stream: IO[bytes]) -> Iterator[Unit]:
    held, before, line, column = "", "", 1, 1
    texts = _decoded(stream)
    ended = False
    while held or not ended:
        while not ended and len(held) < PIECE_CHARACTERS + MARGIN_CHARACTERS:
            more = next(texts, None)
            ended = more is None
            held += more or ""
        cut = _cut(held)
        raw, held = held[:cut], held[cut:]
        if not raw:
            return
        cell = Cell(raw, 0, len(raw), verbatim=True)
        yield Unit(raw, [cell], line, column, 0, before, held[:MARGIN_CHARACTERS], fresh=False)
        before = (before + raw)[-MARGIN_CHARACTERS:]
        lines = raw.count("\n")
        line, column = line + lines, len(raw) - raw.rfind("\n") if lines else column + len(raw)


def _decoded(stream: IO[bytes]) -> Iterator[str]:
    decoder, done = codecs.getincrementaldecoder("utf-8")(), 0
    while True:
        raw = stream.read(PIECE_CHARACTERS)
        if not done and raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
            raise SourceError("is UTF-16, not UTF-8", "", "save it as UTF-8")
        held = len(decoder.getstate()[0])
        offset = -1
        try:
            yield decoder.decode(raw, final=not raw)
        except UnicodeDecodeError as error:
            offset = max(0, done - held) + error.start
        if offset >= 0:
            raise SourceError(f"is not UTF-8: wrong byte at offset {offset}", "", "save it as UTF-8")
        if not raw:
            return
        done += len(raw)


def _cut(text: str) -> int:
    """Where a piece ends: behind a paragraph, a line or a word of its last quarter, in this order."""
    if len(text) <= PIECE_CHARACTERS:
        return len(text)
    for border in ("\n\n", "\n", ". ", " "):
        at = text.rfind(border, PIECE_CHARACTERS * 3 // 4, PIECE_CHARACTERS)
        if at >= 0:
            return at + len(border)
    return PIECE_CHARACTERS


# --- tables -------------------------------------------------------------------------------------------------------


def _rows_of_table(stream: IO[bytes], delimiter: str) -> Iterator[Unit]:
    line, row, start = 1, 0, 0
    names: list[str] | None = None
    while raw := _row(stream, row):
        where = "first row" if names is None else f"row {row + 1}"
        text = _decode(raw, start, where)
        start += len(raw)
        if names is None:
            delimiter = delimiter or _delimiter(text)
            sign = re.escape(delimiter)
            cells_of = re.compile(rf'(?:"(?P<quoted>(?:[^"]++|"")*+)"|(?P<plain>[^{sign}"][^{sign}]*+|))(?:{sign}|\Z)')
            spellings = _spellings(delimiter)
        spans = _split(text, cells_of, where) if text.strip("\r\n") else []
        header = False
        if names is None and spans:
            first = [value for value, *_ in spans]
            header = _is_header(first)
            names = first if header else []
        row += bool(spans) and not header
        cells = []
        for at, (value, begin, end, quoted) in enumerate(spans):
            label = names[at] if names and at < len(names) and not header else ""
            cells.append(Cell(value, begin, end, label or f"column {at + 1}", label, spellings[quoted]))
        yield Unit(text, cells, line, 1, row)
        line += text.count("\n")


def _row(stream: IO[bytes], row: int) -> bytes:
    """A row with all the lines that its quoted cells span; empty at the end of the file."""
    raw = stream.readline(LINE_BYTES + 1)
    quotes = raw.count(b'"')
    parts = [raw]
    size = len(raw)
    while quotes % 2 and size <= LINE_BYTES:
        more = stream.readline(LINE_BYTES + 1)
        if not more:
            raise SourceError("a quote is not closed", f"row {row + 1}", f"close the quote, or {_AS_TEXT}")
        quotes += more.count(b'"')
        size += len(more)
        parts.append(more)
    return _bounded(b"".join(parts), LINE_BYTES, f"row {row + 1}")


def _delimiter(header: str) -> str:
    bare = re.sub(r'"(?:[^"]++|"")*+"', "", header)
    return max(",;\t|", key=bare.count)


def _split(text: str, cells_of: re.Pattern[str], where: str) -> list[tuple[str, int, int, bool]]:
    """Value, start and end of the spelling, and whether it is quoted, of each cell."""
    end = len(text.rstrip("\r\n")) if text.endswith(("\n", "\r")) else len(text)
    at = 1 if text.startswith("\ufeff") else 0
    spans = []
    while True:
        match = cells_of.match(text, at, end)
        if match is None:
            raise SourceError("a quote stands inside a cell", where, f'write it "", or {_AS_TEXT}')
        quoted = match["quoted"]
        if quoted is None:
            spans.append((match["plain"], *match.span("plain"), False))
        else:
            spans.append((quoted.replace('""', '"'), match.start("quoted") - 1, match.end("quoted") + 1, True))
        last = match.end("plain") if quoted is None else match.end("quoted") + 1
        if last == end:
            return spans
        at = match.end()


def _spellings(delimiter: str) -> tuple[Callable[[str], str], Callable[[str], str]]:
    """How a text is spelled in a cell that was not quoted, and in one that was."""
    special = re.compile(f'[{re.escape(delimiter)}"\n\r]')

    def quoted(text: str) -> str:
        return '"' + text.replace('"', '""') + '"'

    return (lambda text: quoted(text) if special.search(text) else text), quoted


def _is_header(cells: list[str]) -> bool:
    """Whether a first row names columns: short, distinct, neither numbers nor addresses."""
    names = [cell.strip() for cell in cells]
    return (
        len(set(names)) == len(names)
        and all(len(name) <= 60 and "@" not in name and not re.search(r"\d{4}|^\W*\d+\W*$", name) for name in names)
        and any(names)
    )


# --- JSON ---------------------------------------------------------------------------------------------------------

_TOKEN = re.compile(
    r"""[ \t\r\n]*+(?:
    (?P<string>"(?:[^"\\\x00-\x1f]++|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*+")
    | (?P<number>-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?(?:[eE][+-]?[0-9]++)?)
    | (?P<word>true|false|null|-?Infinity|NaN)
    | (?P<sign>[\[\]{}:,])
    )""",
    re.VERBOSE,
)
_PLAIN_KEY = re.compile(r"[A-Za-z_$][A-Za-z_$.-]{0,39}")
VALUE, FIRST_VALUE, KEY, FIRST_KEY, COLON, NEXT, END = range(7)


@dataclass
class _Open:
    """A container that is not closed yet: its key of the moment, or the index."""

    is_object: bool
    key: str = ""
    index: int = 0


def _leaves(text: str, where: str) -> Iterator[tuple[Cell | None, int, int]]:
    """Every string, number and unusual key of a JSON document: its cell, the depth, and the offset behind it.

    After each value, and each container that closes, comes an entry without a cell.

    Raises:
        SourceError: this is not JSON (RFC 8259).
    """
    at = 1 if text.startswith("\ufeff") else 0
    stack: list[_Open] = []
    expected = VALUE
    while True:
        match = _TOKEN.match(text, at)
        if match is None or (expected == END):
            if expected == END and not text[at:].strip(" \t\r\n"):
                return
            raise _not_json(text, at, where)
        start, at = match.start(match.lastgroup or 0), match.end()
        kind, token = match.lastgroup, match[match.lastgroup or 0]
        if expected in (KEY, FIRST_KEY) and kind == "string":
            key = json.loads(token)
            stack[-1].key, expected = key, COLON
            if not _PLAIN_KEY.fullmatch(key):
                yield _json_cell(key, start, at, _path(stack[:-1]) + ".(key)", "", token.isascii()), len(stack), at
        elif expected == COLON and token == ":":
            expected = VALUE
        elif expected in (VALUE, FIRST_VALUE) and (kind != "sign" or token in "{["):
            if kind == "sign":
                stack.append(_Open(token == "{"))
                expected = FIRST_KEY if token == "{" else FIRST_VALUE
                continue
            if kind in ("string", "number"):
                value = json.loads(token) if kind == "string" else token
                label = next((entry.key for entry in reversed(stack) if entry.is_object), "")
                yield _json_cell(value, start, at, _path(stack), label, token.isascii()), len(stack), at
            expected = NEXT if stack else END
            yield None, len(stack), at
        elif expected == NEXT and token == ",":
            stack[-1].index += 1
            expected = KEY if stack[-1].is_object else VALUE
        elif (expected == NEXT and token == ("}" if stack[-1].is_object else "]")) or (
            (expected, token) in ((FIRST_KEY, "}"), (FIRST_VALUE, "]"))
        ):
            stack.pop()
            expected = NEXT if stack else END
            yield None, len(stack), at
        else:
            raise _not_json(text, start, where)


def _not_json(text: str, at: int, where: str) -> SourceError:
    line = text.count("\n", 0, at) + 1
    return SourceError("is not JSON", where or f"line {line}", f"mend it, or {_AS_TEXT}")


def _path(stack: list[_Open]) -> str:
    shown = [("." + entry.key if _PLAIN_KEY.fullmatch(entry.key) else ".*") if entry.is_object else f"[{entry.index}]"
             for entry in stack[:12]]  # fmt: skip
    return "$" + "".join(shown)


def _json_cell(text: str, start: int, end: int, path: str, label: str, escaped: bool) -> Cell:
    return Cell(text, start, end, path, label, lambda changed: json.dumps(changed, ensure_ascii=escaped))


def _document(text: str) -> Iterator[Unit]:
    """A whole document: each element of a top-level array by itself, anything else in stretches."""
    if not text.strip("\ufeff \t\r\n"):
        return
    is_array = text.lstrip("\ufeff \t\r\n").startswith("[")
    cells: list[Cell] = []
    done, line, column = 0, 1, 1

    def unit(end: int) -> Unit:
        nonlocal done, line, column, cells
        raw = text[done:end]
        made = Unit(raw, cells, line, column, fresh=is_array)
        lines = raw.count("\n")
        line, column = line + lines, len(raw) - raw.rfind("\n") if lines else column + len(raw)
        done, cells = end, []
        return made

    for cell, depth, end in _leaves(text, ""):
        if cell is not None:
            cells.append(replace(cell, start=cell.start - done, end=cell.end - done))
            continue
        element = is_array and depth == 1 and text[end - 1] in "}]"
        if cells and (element or end - done >= PIECE_CHARACTERS):
            yield unit(end)
    yield unit(len(text))


def _lines_of_json(stream: IO[bytes]) -> Iterator[Unit]:
    start = row = line = 0
    while raw := stream.readline(LINE_BYTES + 1):
        line += 1
        where = f"line {line}"
        text = _decode(_bounded(raw, LINE_BYTES, where), start, where)
        start += len(raw)
        if not text.strip("\ufeff \t\r\n"):
            yield Unit(text, [], line)
            continue
        row += 1
        yield Unit(text, [cell for cell, _, _ in _leaves(text, where) if cell is not None], line, 1, row)


# --- Parquet ------------------------------------------------------------------------------------------------------

# What writers themselves put beside the schema: names and types of the columns.
_TECHNICAL = (b"pandas", b"huggingface", b"ARROW:schema")


def _rows_of_parquet(stream: IO[bytes]) -> Iterator[Unit]:
    file = _parquet(stream)
    metadata = file.schema_arrow.metadata or {}
    names = [Cell(name, field=f"column {at}") for at, name in enumerate(file.schema_arrow.names, 1)]
    notes = [
        Cell(f"{_utf8(key, 'metadata')}: {_utf8(value, 'metadata')}", field="metadata")
        for key, value in metadata.items()
        if key not in _TECHNICAL
    ]
    yield Unit("", [*names, *notes], 0)
    row = 0
    for batch in file.iter_batches(BATCH_ROWS):
        for values in batch.to_pylist():
            row += 1
            cells = [cell for name, value in values.items() for cell in _cells_of(value, (name,), name, name)]
            yield Unit("", cells, 0, 0, row, values=values)


def _parquet(stream: IO[bytes]) -> Any:
    import pyarrow
    import pyarrow.parquet

    try:
        return pyarrow.parquet.ParquetFile(stream)
    except (pyarrow.ArrowException, OSError):
        pass
    raise SourceError("is not a Parquet file", "", "name a whole, unencrypted file")


def _utf8(raw: bytes, where: str) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        pass
    raise SourceError("holds bytes that are no UTF-8 text", where, "leave the column out, or store it as text")


def _cells_of(value: Any, path: tuple[Any, ...], name: str, label: str) -> Iterator[Cell]:
    if value is None or isinstance(value, bool):
        return
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _cells_of(inner, (*path, key), f"{name}.{key}", str(key))
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            yield from _cells_of(inner, (*path, index), f"{name}[{index}]", label)
    else:
        if isinstance(value, bytes):
            value = _utf8(value, f"column '{name}'")
        elif isinstance(value, float):
            value = f"{value:.0f}" if value.is_integer() else repr(value)
        yield Cell(str(value), field=name, label=label, path=path)


class ParquetCopy:
    """Writes the rows of a Parquet file again, with other texts.

    A value of a column that holds no text becomes null: there is no room for a placeholder. Notes beside the schema are
    left out, but for those of the libraries.
    """

    def __init__(self, source: IO[bytes], target: str | IO[bytes]) -> None:
        import pyarrow.parquet

        schema: pyarrow.Schema = _parquet(source).schema_arrow
        kept = {key: value for key, value in (schema.metadata or {}).items() if key in _TECHNICAL}
        self._schema = schema.with_metadata(kept or None)
        self._writer = pyarrow.parquet.ParquetWriter(target, self._schema)
        self._rows: list[dict[str, Any]] = []

    def put(self, unit: Unit, texts: list[str]) -> None:
        """Take a row.

        Raises:
            SourceError: a column's name itself would have to be changed.
        """
        if unit.values is None:
            changed = any(
                text != cell.text for cell, text in zip(unit.cells, texts, strict=True) if cell.field != "metadata"
            )
            if changed:
                raise SourceError("the name of a column holds personal data", "schema", "rename the column")
            return
        for cell, text in zip(unit.cells, texts, strict=True):
            if text != cell.text:
                unit.values[cell.path[0]] = _changed(unit.values[cell.path[0]], cell.path[1:], text)
        self._rows.append(unit.values)
        if len(self._rows) == BATCH_ROWS:
            self._flush()

    def _flush(self) -> None:
        import pyarrow

        try:
            self._writer.write_batch(pyarrow.RecordBatch.from_pylist(self._rows, schema=self._schema))
        except (pyarrow.ArrowException, ValueError, TypeError):  # its message may quote a value
            failed = True
        else:
            failed = False
        if failed:
            raise SourceError("a changed value does not fit its column", "schema", "store the column as text")
        self._rows = []

    def close(self) -> None:
        """Write what is left."""
        if self._rows:
            self._flush()
        self._writer.close()


def _changed(value: Any, path: tuple[Any, ...], text: str) -> Any:
    if not path:
        return text if isinstance(value, str) else text.encode() if isinstance(value, bytes) else None
    if isinstance(value, dict):
        return {**value, path[0]: _changed(value[path[0]], path[1:], text)}
    changed = list(value)
    changed[path[0]] = _changed(value[path[0]], path[1:], text)
    return tuple(changed) if isinstance(value, tuple) else changed
