"""A tar archive with exactly one spelling: ustar (POSIX.1-1988), regular files only, fixed metadata, names in order.

Reading compares each header with what `header` writes for that name and size, the padding with zeros, and the end with
the archive's end; so a flipped bit anywhere outside of the files' content is refused here. Nothing is ever extracted:
a reader gets the place of each file within the archive, and no name is used as a path.
"""

from __future__ import annotations

import io
import os
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import BinaryIO

from domainlm.errors import EvidenceRefused

BLOCK, RECORD = 512, 20 * 512  # bytes; an archive is filled up to whole records
MAX_FILES = 10_000
MAX_FILE_BYTES = 8**11 - 1  # what ustar's size field holds: 8 GiB
NAME = re.compile(r"[a-z0-9][a-z0-9_-]*(?:[./][a-z0-9][a-z0-9_-]*)*")  # no "..", no "/" in front, no upper case
KINDS = {
    b"1": "a hard link", b"2": "a symbolic link", b"3": "a device", b"4": "a device", b"5": "a folder", b"6": "a pipe",
    b"S": "a sparse file", b"L": "a long name", b"K": "a long link", b"x": "an extended header",
    b"g": "a global header",
}  # fmt: skip


@dataclass(frozen=True)
class Member:
    """Where a file lies in an archive: its first byte, and how many there are."""

    name: str
    offset: int
    size: int


def header(name: str, size: int) -> bytes:
    """The one header, of 512 bytes, for a name and size.

    Raises:
        EvidenceRefused: `path-trick` for a name that is not plain, `too-large` for more than 8 GiB.
    """
    if not NAME.fullmatch(name) or len(name) > 100:
        raise EvidenceRefused("is no plain name", repr(name[:120]), "small letters and digits", "path-trick")
    if not 0 <= size <= MAX_FILE_BYTES:
        raise EvidenceRefused(f"has {size} bytes, at most {MAX_FILE_BYTES} are allowed", name, "", "too-large")
    before = name.encode().ljust(100, b"\0") + b"0000600\0" + 2 * b"0000000\0" + b"%011o\0" % size + b"%011o\0" % 0
    behind = b"0" + bytes(100) + b"ustar\x0000" + bytes(32 + 32 + 8 + 8 + 155 + 12)  # a file, without an owner
    checksum = sum(before) + 8 * ord(" ") + sum(behind)
    return before + b"%06o\0 " % checksum + behind


def write(target: BinaryIO, files: Iterable[tuple[str, BinaryIO]]) -> None:
    """Write files, each a seekable stream; their names are put in order.

    Raises:
        EvidenceRefused: as `header`, and `path-trick` for a name that stands there twice.
    """
    ordered = sorted(files, key=lambda item: item[0])
    _check_order([name for name, _ in ordered])
    written = 0
    for name, stream in ordered:
        size = stream.seek(0, os.SEEK_END)
        stream.seek(0)
        target.write(header(name, size))
        shutil.copyfileobj(stream, target, 1 << 20)
        target.write(bytes(-size % BLOCK))
        written += BLOCK + size + -size % BLOCK
    target.write(_end(written))


def read(stream: BinaryIO, where: str) -> dict[str, Member]:
    """Where each file of an archive lies.

    Args:
        stream: seekable.
        where: what an error names.

    Raises:
        EvidenceRefused: `path-trick`, `too-large`, `malformed`: it is not the one spelling.
    """
    total = stream.seek(0, os.SEEK_END)
    found: dict[str, Member] = {}
    place = 0
    while True:
        stream.seek(place)
        block = stream.read(BLOCK)
        if not block.strip(b"\0"):
            break
        member = _member(block, place, total, where)
        if found and member.name <= next(reversed(found)):
            raise EvidenceRefused(f"holds '{member.name}' twice or out of order", where, "", "path-trick")
        found[member.name] = member
        if len(found) > MAX_FILES:
            raise EvidenceRefused(f"holds more than {MAX_FILES} files", where, "", "too-large")
        stream.seek(member.offset + member.size)
        padding = -member.size % BLOCK
        if stream.read(padding) != bytes(padding):
            raise EvidenceRefused(f"has bytes behind '{member.name}'", where, "", "malformed")
        place = member.offset + member.size + padding
    if total - place != len(_end(place)) or stream.seek(place) != place or stream.read(total - place).strip(b"\0"):
        raise EvidenceRefused("does not end as an archive does", where, "ask for it again", "malformed")
    return found


def _member(block: bytes, place: int, total: int, where: str) -> Member:
    raw, kind = block[:100].split(b"\0", 1)[0], block[156:157]
    if kind in KINDS:
        raise EvidenceRefused(f"holds {KINDS[kind]} at byte {place}", where, "only plain files", "path-trick")
    try:
        name, size = raw.decode("ascii"), int(block[124:135].decode("ascii"), 8)
    except ValueError:
        raise EvidenceRefused(f"has no header at byte {place}", where, "ask for it again", "malformed") from None
    expected = header(name, size)
    if block != expected:
        raise EvidenceRefused(f"has a header of another spelling at byte {place}", where, "", "malformed")
    if place + BLOCK + size > total:
        raise EvidenceRefused(f"ends before '{name}' does", where, "ask for it again", "malformed")
    return Member(name, place + BLOCK, size)


def _end(written: int) -> bytes:
    """Two empty blocks, and what fills the record."""
    return bytes(2 * BLOCK + -(written + 2 * BLOCK) % RECORD)


def _check_order(names: list[str]) -> None:
    for name, other in pairwise(names):
        if name == other:
            raise EvidenceRefused("stands there twice", name, "", "path-trick")


class Part(io.RawIOBase):
    """One file of an archive as a stream of its own; wrap it in `io.BufferedReader`.

    Args:
        stream: the archive, which nothing else reads meanwhile but through other parts of it.
    """

    def __init__(self, stream: BinaryIO, member: Member) -> None:
        self._stream, self._place, self._end = stream, member.offset, member.offset + member.size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        wanted = min(len(buffer), self._end - self._place)
        self._stream.seek(self._place)
        data = self._stream.read(wanted)
        buffer[: len(data)] = data
        self._place += len(data)
        return len(data)
