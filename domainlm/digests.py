"""Content digests: SHA-256 over a canonical form, never over incidental file bytes.

JSON is canonicalised by RFC 8785, tensors are sorted by name, Arrow data are hashed by value, so that two runs which
mean the same have the same digest whatever the writer's chunking, key order or compression.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rfc8785

from domainlm.errors import ArtifactError

if TYPE_CHECKING:
    from datasets import Dataset

READ_BYTES = 1 << 20
_BEYOND_BMP = re.compile(rb"[\xf0-\xf4]")  # lead bytes of UTF-8 for U+10000 and above


def digest_bytes(data: bytes) -> str:
    """SHA-256 of bytes as 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def canonical_json(value: Any) -> bytes:
    """JSON after RFC 8785 (JSON Canonicalization Scheme): one byte string for one value."""
    return rfc8785.dumps(value)


def parse_canonical(raw: bytes) -> Any:
    """The value that bytes are the one canonical spelling of.

    Exactly as strict as comparing with `canonical_json`, and several times faster where the standard library's writer,
    with sorted keys, spells the value as RFC 8785 does: there are no numbers that the two write differently, and no
    characters beyond the basic plane, which RFC 8785 sorts by UTF-16.

    Raises:
        ValueError: they are no JSON, or not spelled canonically.
    """
    same_spelling = _BEYOND_BMP.search(raw) is None

    def number(text: str) -> float:
        nonlocal same_spelling
        value = float(text)
        same_spelling = same_spelling and repr(value) == text and canonical_json(value) == text.encode()
        return value

    def integer(text: str) -> int | float:
        """A whole number from 2**53 on is the canonical spelling of a float: 1e17 is spelled 100000000000000000."""
        nonlocal same_spelling
        if len(text) < 17 and abs(value := int(text)) < 1 << 53:
            return value
        same_spelling = False
        found = float(text)
        if canonical_json(found) != text.encode():
            raise ValueError("an integer that RFC 8785 cannot hold")
        return found

    try:
        value = json.loads(raw.decode(), parse_float=number, parse_int=integer, parse_constant=_no_number)
        if same_spelling:
            spelled = json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode()
        else:
            spelled = canonical_json(value)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if spelled != raw:
        raise ValueError("not canonical JSON")
    return value


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no JSON")


def digest_json(value: Any) -> str:
    """SHA-256 of the canonical JSON of a value made of dicts, lists, strings, numbers, booleans and None."""
    return digest_bytes(canonical_json(value))


def digest_file(path: Path) -> str:
    """SHA-256 of a file's bytes, read as a stream."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def digest_tensors(path: Path) -> str:
    """SHA-256 over name, dtype, shape and bytes of each tensor of a safetensors file, in order of name.

    The header of the file is left out on purpose: its key order and its free-text metadata vary between writers.
    """
    total = hashlib.sha256()
    with open(path, "rb") as stream:
        header_size = int.from_bytes(stream.read(8), "little")
        try:
            header = json.loads(stream.read(header_size))
        except ValueError as error:
            raise ArtifactError(
                "is not a safetensors file", str(path), "restore it or let the step run again"
            ) from error
        for name in sorted(key for key in header if key != "__metadata__"):
            entry = header[name]
            total.update(canonical_json([name, entry["dtype"], entry["shape"]]))
            start, end = entry["data_offsets"]
            stream.seek(8 + header_size + start)
            left = end - start
            while left:
                chunk = stream.read(min(READ_BYTES, left))
                if not chunk:
                    raise ArtifactError("ends too early", str(path), "restore it or let the step run again")
                total.update(chunk)
                left -= len(chunk)
    return total.hexdigest()


def digest_folder(folder: Path, ignore: Iterable[str] = ()) -> str:
    """Digest of a folder: canonical digest of each file under its relative name, in order of name.

    Safetensors count by tensor, JSON by value, everything else by bytes.

    Args:
        folder: the folder to walk.
        ignore: relative names (POSIX form) to leave out.
    """
    return digest_json(file_digests(folder, ignore))


def file_digests(folder: Path, ignore: Iterable[str] = ()) -> dict[str, str]:
    """The canonical digest of each file of a folder by its relative name (POSIX form)."""
    ignored = set(ignore)
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return {name: _digest_by_kind(folder / name) for name in names if name not in ignored}


def _digest_by_kind(path: Path) -> str:
    if path.suffix == ".safetensors":
        return digest_tensors(path)
    if path.suffix == ".json":
        try:
            return digest_json(json.loads(path.read_bytes()))
        except ValueError:  # not JSON, or a number that RFC 8785 cannot hold: its bytes still count
            return digest_file(path)
    return digest_file(path)


def digest_dataset(dataset: Dataset, batch_rows: int = 1000) -> str:
    """Digest of a `datasets.Dataset` by value: column names and types, then each row as canonical JSON, in order.

    Rows stream in batches, so memory stays flat; chunking and file layout do not count.
    """
    total = hashlib.sha256(canonical_json({name: str(kind) for name, kind in dataset.features.items()}))
    columns = sorted(dataset.column_names)
    for start in range(0, len(dataset), batch_rows):
        batch = dataset[start : start + batch_rows]
        for row in zip(*(batch[name] for name in columns), strict=True):
            encoded = json.dumps(row, ensure_ascii=False, separators=(",", ":"), sort_keys=True, default=str)
            total.update(encoded.encode("utf-8", "surrogatepass"))
            total.update(b"\n")
    return total.hexdigest()


def digest_code(root: Path, packages: Iterable[str]) -> str:
    """Digest of the Python and data sources under some folders or files of a checkout (caches left out).

    Args:
        root: the folder that holds the packages.
        packages: folders or files relative to it, such as "domainlm/redact" or "domainlm/records.py".
    """
    return digest_json({str(path.relative_to(root)): digest_file(path) for path in code_files(root, packages)})


def code_files(root: Path, packages: Iterable[str]) -> list[Path]:
    """The source files that `digest_code` covers, sorted."""
    found: set[Path] = set()
    for package in packages:
        path = root / package
        files = path.rglob("*") if path.is_dir() else [path]
        found.update(file for file in files if file.is_file() and "__pycache__" not in file.parts)
    return sorted(found)
