"""Looks for planted values in everything that a run wrote, through the containers and spellings that could hide them.

    leaks = find_leaks([home, work, tmp], ["4539 1488 0343 6467", "홍길동"])
    assert leaks == []

It opens gzip, bzip2, xz, zlib and zstd streams, zip and tar archives, Parquet, Arrow files and streams, SQLite
databases (with their write-ahead logs) and pickles (their opcodes are read, nothing is run), and undoes JSON, percent,
HTML and quoted-printable escapes, base64 and hexadecimal, one inside the other. Text is read as UTF-8, UTF-16 and
CP949, compared in one spelling (NFKC, small letters, nothing invisible), and once more without separators: another
spelling of a number counts as it. What cannot be searched to its end is an error, not a pass.
"""

from __future__ import annotations

import base64
import binascii
import bz2
import hashlib
import html
import io
import lzma
import pickletools
import quopri
import re
import shutil
import sqlite3
import tarfile
import tempfile
import unicodedata
import urllib.parse
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DEPTH = 8
MOST_BYTES = 512 * 2**20  # that one container may unfold to
LEAST_BARE = 8  # characters of a value without its separators; shorter ones are everywhere
CARVED = 64  # gzip streams that are looked for inside other bytes

_SEPARATORS = re.compile(r"[\s\-‐-―−./()+_,:·]+")
_BASE64 = re.compile(rb"[A-Za-z0-9+/_-]{12,}")
# A run is tried from its first letter only and never given back, or one unbroken megabyte would take hours.
_WRAPPED_BASE64 = re.compile(
    rb"(?<![A-Za-z0-9+/_-])(?:[A-Za-z0-9+/_-]{40,}+(?:\\n|\\r|[\r\n \t])+)+[A-Za-z0-9+/_-]{2,}"
)
_HEXADECIMAL = re.compile(rb"[0-9A-Fa-f]{12,}")
_JSON_ESCAPE = re.compile(r'\\(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|U([0-9a-fA-F]{8})|(["\\/bfnrt\']))')
_SIMPLE = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_MAGIC = (
    b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd", b"PK\x03\x04", b"PAR1", b"ARROW1", b"\xff\xff\xff\xff",
    b"SQLite format 3\0", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05", b"\x78\x01", b"\x78\x9c", b"\x78\xda",
    b"\x78\x5e",
)  # fmt: skip


class SearchIncomplete(Exception):
    """Something unfolds to more than can be searched."""


@dataclass(frozen=True, order=True)
class Leak:
    """A planted value that was found.

    Args:
        place: the file.
        trail: the containers and spellings around it, from the outside to the inside.
        number: which of the values, from 0; the value itself stays out of the test's output.
    """

    place: str
    trail: tuple[str, ...]
    number: int


def find_leaks(
    places: Path | str | bytes | Iterable[Path | str], values: Iterable[str], depth: int = DEPTH
) -> list[Leak]:
    """Every planted value that stands in some files, folders (searched recursively) or bytes.

    Args:
        places: paths, or bytes such as a captured log.
        values: what must not be there.
        depth: how many containers and spellings may lie around a value.

    Raises:
        SearchIncomplete: something could not be searched to its end.
    """
    search = _Search(list(values), depth)
    if isinstance(places, bytes):
        search.read("", places)
    else:
        for place in [places] if isinstance(places, Path | str) else places:
            for path in sorted(_files(Path(place))):
                search.file(path)
    return sorted(search.leaks)


def _files(place: Path) -> Iterator[Path]:
    if not place.exists():
        raise FileNotFoundError(place)
    for path in [place, *place.rglob("*")] if place.is_dir() else [place]:
        if path.is_dir() or path.is_file():
            yield path


class _Search:
    def __init__(self, values: list[str], depth: int) -> None:
        self.depth = depth
        self.leaks: set[Leak] = set()
        self._seen: set[tuple[str, bytes, int]] = set()
        self._plain = [(number, form) for number, value in enumerate(values) for form in {_folded(value)} if form]
        self._bare = [
            (number, bare) for number, value in enumerate(values) if len(bare := _bared(_folded(value))) >= LEAST_BARE
        ]
        self._encoded = [
            (number, raw, encoding)
            for number, value in enumerate(values)
            for form in {value, unicodedata.normalize("NFC", value), unicodedata.normalize("NFD", value)}
            for encoding in ("utf-8", "utf-16-le", "utf-16-be", "cp949")
            if (raw := _encode(form, encoding))
        ]

    # --- files ----------------------------------------------------------------------------------------------------

    def file(self, path: Path) -> None:
        self.text(str(path), path.name, ("name",))
        if not path.is_file():
            return
        content = path.read_bytes()
        log = path.with_name(path.name + "-wal")
        if content.startswith(b"SQLite format 3\0") and log.is_file():
            with tempfile.TemporaryDirectory() as folder:  # reading merges the log: not into the evidence
                copy = Path(folder) / "copy.db"
                copy.write_bytes(content)
                shutil.copyfile(log, copy.with_name("copy.db-wal"))
                with sqlite3.connect(copy) as database:
                    self._dump(str(path), database, ("sqlite with its log",))
                database.close()
        self.read(str(path), content)

    # --- bytes ----------------------------------------------------------------------------------------------------

    def read(self, place: str, data: bytes, trail: tuple[str, ...] = ()) -> None:
        """Search bytes, and whatever they contain."""
        left = self.depth - len(trail)
        key = (place, hashlib.blake2b(data, digest_size=16).digest(), left)
        if not data or key in self._seen:
            return
        self._seen.add(key)
        for number, raw, encoding in self._encoded:
            if raw in data:
                self.leaks.add(Leak(place, (*trail, encoding), number))
        self._compare(place, data.decode("utf-8", "replace"), trail)
        is_utf8 = _is_utf8(data)
        if not is_utf8:
            self._compare(place, data.decode("cp949", "replace"), (*trail, "cp949"))
        if data[:2] in (b"\xff\xfe", b"\xfe\xff") or data.count(0) * 5 > len(data):
            for encoding in ("utf-16-le", "utf-16-be"):
                self._nested(
                    place, data.decode(encoding, "ignore").encode("utf-8", "replace"), (*trail, encoding), left
                )
        if left <= 0:
            return
        for name, opened in _OPENERS.items():
            for inner in opened(data):
                self._nested(place, inner, (*trail, name), left)
        if data.startswith(b"SQLite format 3\0"):
            self._sqlite(place, data, (*trail, "sqlite"))
        for name, decoded in _decodings(data):
            if data_like(decoded) or any(raw in decoded for _, raw, _ in self._encoded):
                self._nested(place, decoded, (*trail, name), left)
        if is_utf8:
            text = data.decode("utf-8")
            for name, unescape in _ESCAPES.items():
                if (plain := unescape(text)) != text:
                    self._nested(place, plain.encode("utf-8", "replace"), (*trail, name), left)

    def _nested(self, place: str, data: bytes, trail: tuple[str, ...], left: int) -> None:
        if len(data) > MOST_BYTES:
            raise SearchIncomplete(f"{place}: {' > '.join(trail)} unfolds to {len(data)} bytes")
        if left > 0:
            self.read(place, data, trail)

    # --- text -----------------------------------------------------------------------------------------------------

    def text(self, place: str, text: str, trail: tuple[str, ...]) -> None:
        """Search a text, and whatever it contains."""
        self.read(place, text.encode("utf-8", "surrogatepass"), trail)

    def _compare(self, place: str, text: str, trail: tuple[str, ...]) -> None:
        folded = _folded(text)
        for number, form in self._plain:
            if form in folded:
                self.leaks.add(Leak(place, trail, number))
        if self._bare:
            bare = _bared(folded)
            for number, form in self._bare:
                if form in bare:
                    self.leaks.add(Leak(place, trail, number))

    # --- databases ------------------------------------------------------------------------------------------------

    def _sqlite(self, place: str, data: bytes, trail: tuple[str, ...]) -> None:
        header = bytearray(data)
        header[18:20] = (
            b"\x01\x01"  # no write-ahead log: it cannot be opened from memory (sqlite.org/fileformat, 1.3.3)
        )
        database = sqlite3.connect(":memory:")
        try:
            database.deserialize(bytes(header))
            self._dump(place, database, trail)
        except sqlite3.DatabaseError:
            pass  # a torn copy: its bytes were searched all the same
        finally:
            database.close()

    def _dump(self, place: str, database: sqlite3.Connection, trail: tuple[str, ...]) -> None:
        database.text_factory = bytes
        tables = [name.decode() for (name,) in database.execute("select name from sqlite_master where type = 'table'")]
        for table in tables:
            quoted = table.replace('"', '""')
            for row in database.execute(f'select * from "{quoted}"'):  # noqa: S608
                joined = b"\n".join(cell for cell in row if isinstance(cell, bytes) and _is_utf8(cell))
                numbers = "\n".join(str(cell) for cell in row if isinstance(cell, int | float))
                for content in (joined, numbers.encode(), *(cell for cell in row if isinstance(cell, bytes))):
                    self._nested(place, content, trail, self.depth - len(trail) + 1)


# --- spellings ----------------------------------------------------------------------------------------------------


def _folded(text: str) -> str:
    if text.isascii():
        return text.lower()
    text = unicodedata.normalize("NFKC", text).casefold()
    return "".join(
        character
        for character in text
        if character.isascii() or unicodedata.category(character) not in ("Cf", "Mn", "Me")
    )


def _bared(text: str) -> str:
    return _SEPARATORS.sub("", text)


def _encode(value: str, encoding: str) -> bytes:
    try:
        return value.encode(encoding)
    except UnicodeEncodeError:
        return b""


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def data_like(data: bytes) -> bool:
    """Whether decoded bytes are text or a container, rather than a word that happened to be spelled like base64."""
    if data.startswith(_MAGIC):
        return True
    printable = sum(byte >= 32 or byte in b"\t\r\n" for byte in data[:4096])
    return len(data) >= 6 and printable * 10 >= 9 * len(data[:4096]) and _is_utf8(data[:4096].rstrip(b"\x80-\xff"))


def _decodings(data: bytes) -> Iterator[tuple[str, bytes]]:
    for match in _BASE64.finditer(data):
        yield from (("base64", decoded) for decoded in _from_base64(match[0]))
    for match in _WRAPPED_BASE64.finditer(data):
        yield from (("base64 in lines", decoded) for decoded in _from_base64(re.sub(rb"\\n|\\r|\s", b"", match[0])))
    for match in _HEXADECIMAL.finditer(data):
        for start in (0, 1):
            run = match[0][start:]
            yield "hexadecimal", binascii.unhexlify(run[: len(run) // 2 * 2])


def _from_base64(run: bytes) -> Iterator[bytes]:
    run = run.replace(b"-", b"+").replace(b"_", b"/")
    for start in range(4):  # letters before it may belong to it or not
        part = run[start:]
        part = part[: len(part) - 1] if len(part) % 4 == 1 else part
        yield base64.b64decode(part + b"=" * (-len(part) % 4))


def _unescape_json(text: str) -> str:
    if "\\" not in text:
        return text

    def plain(match: re.Match[str]) -> str:
        code = match[1] or match[2] or match[3]
        if code:
            return chr(int(code, 16)) if int(code, 16) < 0x110000 else "\ufffd"
        return _SIMPLE.get(match[4], match[4])

    return _JSON_ESCAPE.sub(plain, text).encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _unescape_quoted(text: str) -> str:
    if not re.search("=[0-9A-F]{2}", text):
        return text
    return quopri.decodestring(text.encode()).decode("utf-8", "replace")


_ESCAPES: dict[str, Callable[[str], str]] = {
    "json escapes": _unescape_json,
    "percent escapes": lambda text: urllib.parse.unquote_plus(text) if "%" in text else text,
    "html escapes": lambda text: html.unescape(text) if "&" in text else text,
    "quoted-printable": _unescape_quoted,
}


# --- containers ---------------------------------------------------------------------------------------------------


def _read_all(stream: Any) -> Iterator[bytes]:
    """What a decompressor gives, also if its input is cut off."""
    parts, size = [], 0
    try:
        while part := stream.read(1 << 20):
            parts.append(part)
            size += len(part)
            if size > MOST_BYTES:
                raise SearchIncomplete(f"a compressed stream unfolds to more than {MOST_BYTES} bytes")
    except (OSError, EOFError, zlib.error, lzma.LZMAError, ValueError):
        pass
    if parts:
        yield b"".join(parts)


def _inflated(decompressor: Any, data: bytes) -> Iterator[bytes]:
    """What stands before the first fault, too: a stream may be cut off, or be followed by something else."""
    parts, size = [], 0
    try:
        while not decompressor.eof and (part := decompressor.decompress(data, 1 << 16)):
            parts.append(part)
            size += len(part)
            data = getattr(decompressor, "unconsumed_tail", b"")  # zlib alone hands its rest back
            if size > MOST_BYTES:
                raise SearchIncomplete(f"a compressed stream unfolds to more than {MOST_BYTES} bytes")
    except (OSError, EOFError, zlib.error, lzma.LZMAError):
        pass
    if parts:
        yield b"".join(parts)


def _gzip(data: bytes) -> Iterator[bytes]:
    at, tried = data.find(b"\x1f\x8b\x08"), 0
    while at >= 0 and tried < CARVED:
        yield from _inflated(zlib.decompressobj(31), data[at:])
        at, tried = data.find(b"\x1f\x8b\x08", at + 1), tried + 1


def _zlib(data: bytes) -> Iterator[bytes]:
    if data[:2] in (b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda"):
        yield from _inflated(zlib.decompressobj(), data)


def _bzip2(data: bytes) -> Iterator[bytes]:
    if data.startswith(b"BZh"):
        yield from _inflated(bz2.BZ2Decompressor(), data)


def _xz(data: bytes) -> Iterator[bytes]:
    if data.startswith((b"\xfd7zXZ", b"\x5d\x00\x00")):
        yield from _inflated(lzma.LZMADecompressor(), data)


def _zstd(data: bytes) -> Iterator[bytes]:
    if data.startswith(b"\x28\xb5\x2f\xfd"):
        import pyarrow

        yield from _read_all(pyarrow.CompressedInputStream(pyarrow.BufferReader(data), "zstd"))


def _zip(data: bytes) -> Iterator[bytes]:
    if not data.startswith(b"PK"):
        return
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            yield archive.comment
            for entry in archive.infolist():
                yield entry.filename.encode() + b"\n" + entry.comment
                if not entry.flag_bits & 1:
                    with archive.open(entry) as stream:
                        yield from _read_all(stream)
    except zipfile.BadZipFile:
        return


def _tar(data: bytes) -> Iterator[bytes]:
    if data[257:262] != b"ustar":
        return
    try:
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            for entry in archive:
                yield f"{entry.name}\n{entry.linkname}\n{entry.pax_headers}".encode("utf-8", "replace")
                if (stream := archive.extractfile(entry)) is not None:
                    yield from _read_all(stream)
    except tarfile.TarError:
        return


def _arrow(data: bytes) -> Iterator[bytes]:
    import pyarrow

    openers: list[Callable[[], Any]] = []
    if data.startswith(b"PAR1"):
        import pyarrow.parquet

        openers = [lambda: pyarrow.parquet.ParquetFile(io.BytesIO(data)).read()]
    elif data.startswith(b"ARROW1"):
        openers = [lambda: pyarrow.ipc.open_file(data).read_all()]
    elif data.startswith(b"\xff\xff\xff\xff"):
        openers = [lambda: pyarrow.ipc.open_stream(data).read_all()]
    for opener in openers:
        try:
            table = opener()
        except (pyarrow.ArrowException, OSError):
            return
        yield "\n".join(table.schema.names).encode()
        for key, value in (table.schema.metadata or {}).items():
            yield key + b"\n" + value
        for batch in table.to_batches(1000):
            for column in batch.columns:
                texts: list[str] = []
                for leaf in _leaves(column.to_pylist()):
                    if isinstance(leaf, bytes):
                        yield leaf
                    else:
                        texts.append(str(leaf))
                yield "\n".join(texts).encode("utf-8", "replace")


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from _leaves(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _leaves(inner)
    elif value is not None and not isinstance(value, bool):
        yield value


def _pickle(data: bytes) -> Iterator[bytes]:
    is_new = data[:1] == b"\x80" and data[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05")
    if not is_new and not (data[:1] in b"(]}cIVSX" and data.rstrip(b"\n")[-1:] == b"." and len(data) < 1 << 24):
        return
    texts = []
    try:
        for _, argument, _ in pickletools.genops(data):
            if isinstance(argument, bytes | bytearray):
                yield bytes(argument)
            elif isinstance(argument, str | int):
                texts.append(str(argument))
    except (ValueError, IndexError, UnicodeDecodeError):
        pass
    yield "\n".join(texts).encode("utf-8", "surrogatepass")


_OPENERS: dict[str, Callable[[bytes], Iterator[bytes]]] = {
    "gzip": _gzip, "zlib": _zlib, "bzip2": _bzip2, "xz": _xz, "zstd": _zstd, "zip": _zip, "tar": _tar, "arrow": _arrow,
    "pickle": _pickle,
}  # fmt: skip
