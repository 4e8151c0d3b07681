"""Finds keyed ids in stored bytes: which rows name a person, and every file that names one of these rows.

An erasure that only followed an index would miss what no index knows: a sample that a training wrote, a cache, a draft
of a killed step. So every stored file is read. Ids are 32 hexadecimal digits that begin with the mark of their key and
stand uncompressed in Arrow files, JSON, pages, event files and databases; weights hold tensors and are left out.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from domainlm.keys import ID_HEX_DIGITS, TAG_HEX_DIGITS, KeyRing

READ_BYTES = 1 << 20
RECORDS_SUFFIX = ".arrow"
WEIGHTS = frozenset({".safetensors", ".npy", ".pt", ".pth", ".bin"})


def finder(ids: Iterable[str]) -> Callable[[BinaryIO], set[str]]:
    """A function that gives those of some ids that a stream names; it reads the stream once, a megabyte at a time."""
    wanted = {name.encode() for name in ids}
    marks = {name[:TAG_HEX_DIGITS] for name in wanted}

    def find(stream: BinaryIO) -> set[str]:
        found: set[bytes] = set()
        tail = b""
        while wanted and (chunk := stream.read(READ_BYTES)):
            window = tail + chunk
            for mark in marks:  # ids may follow each other directly; a regular expression is 5 to 20 times slower
                place = window.find(mark)
                while place >= 0:
                    if (name := window[place : place + ID_HEX_DIGITS]) in wanted:
                        found.add(name)
                    place = window.find(mark, place + 1)
            tail = window[-(ID_HEX_DIGITS - 1) :]
        return {name.decode() for name in found}

    return find


class Named(NamedTuple):
    """A record that names a subject: the subject's present id, and both ids as the data spell them."""

    subject: str
    spelled: str
    record: str


def rows_naming(stream: BinaryIO, subjects: frozenset[str], keys: KeyRing) -> set[Named]:
    """The records of an Arrow stream that name one of some subjects; none where it holds no records.

    Stored records keep the ids of the key that was in force when they were made: each is carried to the present key
    before it is compared. What cannot be read as records gives nothing: the search for the ids themselves still finds
    it.
    """
    import pyarrow as pa

    found: set[Named] = set()
    present: dict[str, str] = {}
    try:
        with pa.ipc.open_stream(stream) as reader:
            if not {"id", "subjects"} <= set(reader.schema.names):
                return set()
            for batch in reader:
                for record, persons in zip(
                    batch.column("id").to_pylist(), batch.column("subjects").to_pylist(), strict=True
                ):
                    for spelled in persons or ():
                        if spelled not in present:
                            present[spelled] = keys.carried("subject", spelled)
                        if present[spelled] in subjects:
                            found.add(Named(present[spelled], spelled, record))
    except (pa.ArrowException, OSError, EOFError):
        pass
    return found


def files_naming(folder: Path, ids: Iterable[str], without: Iterable[Path] = ()) -> Iterator[tuple[Path, set[str]]]:
    """(file, ids) of every file below a folder that names one of some ids, also in its own name.

    Args:
        folder: searched recursively; links are not followed.
        ids: what to look for.
        without: files and folders to leave out.
    """
    find = finder(ids)
    for path in _files(folder, {path.resolve() for path in without}):
        found = find(io.BytesIO(path.name.encode()))
        if path.suffix not in WEIGHTS:
            try:
                with open(path, "rb") as stream:
                    found |= find(stream)
            except FileNotFoundError:  # a cache was tidied meanwhile
                continue
        if found:
            yield path, found


def _files(folder: Path, without: set[Path]) -> Iterator[Path]:
    for entry in sorted(folder.iterdir()):
        if entry.resolve() in without or entry.is_symlink():
            continue
        if entry.is_dir():
            yield from _files(entry, without)
        elif entry.is_file():
            yield entry
