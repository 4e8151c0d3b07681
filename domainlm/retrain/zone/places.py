"""Where a zone lies: listing and reading its files, on a local disk by descriptors, elsewhere by fsspec.

No symbolic link is followed below the zone's own root: a link to `/etc` must not make its files data, and what a link
inside the zone points to is seen under its own name. Locally a file is read only if it is the very file that was listed
(device, inode, size, time), so that nothing that is put in its place meanwhile is read in its stead.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import IO, Any, NamedTuple

from domainlm.digests import READ_BYTES
from domainlm.errors import DomainLMError
from domainlm.project import resolve

DEEPEST = 50  # folders in folders; each holds a descriptor open while it is listed
# An object store that does not answer must be noticed within a minute, not after botocore's five.
_S3_CONFIG = {"connect_timeout": 5, "read_timeout": 30, "retries": {"max_attempts": 2}}
_OBJECT_STORES = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "oci", "oss"})
_CONTENT_MARKS = ("VersionId", "version_id", "generation", "ETag", "etag", "md5Hash", "md5", "content_hash", "checksum")
_TIMES = ("LastModified", "mtime", "last_modified", "updated", "modified", "created")


class ZoneUnreachable(DomainLMError):
    """The zone, or the database of a feed, does not answer. Nothing in it is taken for removed."""


class Unreadable(Exception):
    """A file that cannot be used as it is; its text is for people and names no value."""


class Unstable(Exception):
    """A file that changed, vanished or was replaced since it was listed; the next scan looks again."""


class Found(NamedTuple):
    """A file in a listing. `inode` is (device, inode) of a local one, None elsewhere."""

    path: str
    size_bytes: int
    mtime_ns: int
    etag: str
    inode: tuple[int, int] | None = None

    @property
    def stamp(self) -> tuple[int, int, str]:
        """What changes when its content does, most of the time."""
        return self.size_bytes, self.mtime_ns, self.etag


class Trouble(NamedTuple):
    """A place in a listing that could not be looked into, or that is no file."""

    path: str
    reason: str
    folder: bool = False


class Digests(NamedTuple):
    """What was read of a file: its SHA-256, and other digests that were asked for, by name."""

    sha256: str
    others: dict[str, str]


def place_of(uri: str) -> Local | Store:
    """The place that a zone's URI names.

    Raises:
        ZoneUnreachable: there is no client for such a store.
    """
    if uri.startswith(("file://", "local://")):
        uri = uri.split("://", 1)[1]
    return Store(uri) if "://" in uri else Local(uri)


class Local:
    """A folder.

    Args:
        uri: its path; a relative one counts from the project root.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri.rstrip("/") or "/"
        self._root = str(resolve(uri))

    def files(self, ignored: Callable[[str], bool]) -> Iterator[Found | Trouble]:
        """Every file below, in no order, one at a time.

        Raises:
            ZoneUnreachable: the folder itself cannot be listed.
        """
        try:
            root = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise self._unreachable(error) from None
        try:
            yield from self._below(root, "", ignored, 0)
        finally:
            os.close(root)

    def _unreachable(self, error: OSError) -> ZoneUnreachable:
        return ZoneUnreachable(
            f"the zone cannot be listed ({os.strerror(error.errno or 0)})", self.uri,
            "mount or make the folder and let this user read it, or mend `zone`",
        )  # fmt: skip

    def _below(self, folder: int, prefix: str, ignored: Callable[[str], bool], depth: int) -> Iterator[Found | Trouble]:
        folders: list[str] = []
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if ignored(entry.name):
                        continue
                    path = prefix + entry.name
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.name)
                    else:
                        yield from self._one(entry, path)
        except OSError as error:
            if not prefix:
                raise self._unreachable(error) from None
            yield Trouble(prefix, f"cannot be listed ({os.strerror(error.errno or 0)})", folder=True)
            return
        for name in folders:
            path = f"{prefix}{name}/"
            if depth == DEEPEST:
                yield Trouble(path, f"is more than {DEEPEST} folders deep", folder=True)
                continue
            try:
                opened = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
            except FileNotFoundError:
                continue  # went away since
            except OSError as error:
                yield Trouble(path, f"cannot be opened ({os.strerror(error.errno or 0)})", folder=True)
                continue
            try:
                yield from self._below(opened, path, ignored, depth + 1)
            finally:
                os.close(opened)

    @staticmethod
    def _one(entry: os.DirEntry[str], path: str) -> Iterator[Found | Trouble]:
        if entry.is_symlink():
            yield Trouble(path, "is a symbolic link, and none is followed: put the file itself there")
            return
        try:
            state = entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            return
        except OSError as error:
            yield Trouble(path, f"cannot be looked at ({os.strerror(error.errno or 0)})")
            return
        if stat.S_ISREG(state.st_mode):
            yield Found(path, state.st_size, state.st_mtime_ns, "", (state.st_dev, state.st_ino))
        else:
            yield Trouble(path, "is a device, pipe or socket, not a file")

    def read(self, found: Found, algorithms: tuple[str, ...] = ()) -> Digests:
        """The digests of a file.

        Raises:
            Unreadable: this user may not read it, or the disk fails.
            Unstable: it is not the file that was listed, or it changed while it was read.
        """
        path = os.path.join(self._root, found.path)
        try:
            # O_NONBLOCK: a pipe that was put in its place must not make us wait for a writer
            handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            raise Unstable from None
        except OSError as error:
            raise Unreadable(f"cannot be opened ({os.strerror(error.errno or 0)})") from None
        with os.fdopen(handle, "rb", buffering=0) as stream:
            self._compare(os.fstat(handle), found)
            try:
                digests, size_bytes = _read(stream, algorithms)
                after, there = os.fstat(handle), os.lstat(path)
            except FileNotFoundError:
                raise Unstable from None
            except OSError as error:
                raise Unreadable(f"cannot be read ({os.strerror(error.errno or 0)})") from None
            self._compare(after, found)
            self._compare(there, found)
        if size_bytes != found.size_bytes:
            raise Unstable
        return digests

    @staticmethod
    def _compare(state: os.stat_result, found: Found) -> None:
        now = Found(found.path, state.st_size, state.st_mtime_ns, "", (state.st_dev, state.st_ino))
        if not stat.S_ISREG(state.st_mode) or now != found:
            raise Unstable

    def head(self, found: Found, size_bytes: int) -> bytes:
        """The first bytes of a small file, such as a checksum file.

        Raises:
            Unreadable, Unstable: as `read`.
        """
        try:
            handle = os.open(os.path.join(self._root, found.path), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except FileNotFoundError:
            raise Unstable from None
        except OSError as error:
            raise Unreadable(f"cannot be opened ({os.strerror(error.errno or 0)})") from None
        with os.fdopen(handle, "rb") as stream:
            self._compare(os.fstat(handle), found)
            return stream.read(size_bytes)

    def lines(self, path: str) -> Iterator[bytes]:
        """The lines of a file, with their ends.

        Raises:
            Unreadable, Unstable: as `read`.
        """
        try:
            with open(os.path.join(self._root, path), "rb") as stream:
                yield from stream
        except FileNotFoundError:
            raise Unstable from None
        except OSError as error:
            raise Unreadable(f"cannot be read ({os.strerror(error.errno or 0)})") from None

    def names(self, folder: str) -> set[str]:
        """Paths of what lies in a folder below.

        Raises:
            Unreadable, Unstable: as `read`.
        """
        try:
            return {f"{folder}/{name}" for name in os.listdir(os.path.join(self._root, folder))}
        except FileNotFoundError:
            raise Unstable from None
        except OSError as error:
            raise Unreadable(f"cannot be listed ({os.strerror(error.errno or 0)})") from None

    def put(self, source: Path, path: str) -> None:
        """Move a file of the same file system here, durably."""
        target = os.path.join(self._root, path)
        os.replace(source, target)
        folder = os.open(os.path.dirname(target), os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


class Store:
    """A folder of whatever fsspec has a client for.

    Args:
        uri: such as `s3://bucket/landing`; endpoint and credentials come from the client's own variables.

    Raises:
        ZoneUnreachable: there is no client for such a store.
    """

    def __init__(self, uri: str) -> None:
        import fsspec

        self.uri = uri.rstrip("/")
        options: dict[str, Any] = {"config_kwargs": _S3_CONFIG} if uri.startswith(("s3://", "s3a://")) else {}
        try:
            self._store, self._root = fsspec.core.url_to_fs(uri, **options)
        except (ImportError, ValueError, OSError) as error:
            raise ZoneUnreachable(
                f"there is no client for this store ({type(error).__name__})", self.uri,
                "install the storage client or mend `zone`",
            ) from None  # fmt: skip
        self._root = self._root.rstrip("/")

    def files(self, ignored: Callable[[str], bool]) -> Iterator[Found | Trouble]:
        """Every file below, in no order; one folder's listing is in memory at a time.

        Raises:
            ZoneUnreachable: the store does not answer, or refuses the listing of the folder itself.
        """
        self._store.invalidate_cache()
        waiting = [self._root]
        while waiting:
            folder = waiting.pop()
            for entry in self._listed(folder):
                if isinstance(entry, Trouble):
                    yield entry
                    continue
                full = str(entry["name"]).rstrip("/")
                # the marker object of a "folder" is listed in it under its own name
                if full == folder or not full.startswith(f"{self._root}/"):
                    continue
                path = full[len(self._root) + 1 :]
                if ignored(path.rpartition("/")[2]):
                    continue
                if entry.get("type") == "directory":
                    if path.count("/") < DEEPEST:
                        waiting.append(full)
                    else:
                        yield Trouble(f"{path}/", f"is more than {DEEPEST} folders deep", folder=True)
                elif entry.get("islink"):
                    yield Trouble(path, "is a symbolic link, and none is followed: put the file itself there")
                else:
                    yield _found(path, entry)

    def _listed(self, folder: str) -> Iterator[Any]:
        try:
            yield from self._store.ls(folder, detail=True)
        except FileNotFoundError:
            if folder == self._root:
                self._nothing_there()
        except Exception as error:  # whatever a client raises; its text may name what it signed in with
            below = folder[len(self._root) + 1 :]
            if below and isinstance(error, PermissionError):
                yield Trouble(f"{below}/", "cannot be listed (permission denied)", folder=True)
                return
            raise self._unreachable(type(error).__name__) from None

    def _nothing_there(self) -> None:
        """Of an object store: empty, since it has no folder without a file in it, as long as the bucket answers.

        Raises:
            ZoneUnreachable: there is no bucket, or the store has real folders and lacks this one.
        """
        protocols = self._store.protocol if isinstance(self._store.protocol, tuple) else (self._store.protocol,)
        bucket = self._root.partition("/")[0]
        if not _OBJECT_STORES.intersection(protocols) or bucket == self._root:
            raise self._unreachable("FileNotFoundError")
        try:
            self._store.ls(bucket, detail=False)
        except Exception as error:
            raise self._unreachable(type(error).__name__) from None

    def _unreachable(self, kind: str) -> ZoneUnreachable:
        return ZoneUnreachable(
            f"the zone cannot be listed ({kind})", self.uri,
            "see to its address, and to the credentials of whoever watches it",
        )  # fmt: skip

    def read(self, found: Found, algorithms: tuple[str, ...] = ()) -> Digests:
        """The digests of a file.

        Raises:
            Unreadable: the store refuses it.
            Unstable: it changed or vanished since it was listed, or while it was read.
            ZoneUnreachable: the store does not answer any more.
        """
        path = f"{self._root}/{found.path}"
        try:
            with self._store.open(path, "rb") as stream:
                digests, size_bytes = _read(stream, algorithms)
            self._store.invalidate_cache()
            after = _found(found.path, self._store.info(path))
        except Exception as error:
            raise self._told(error) from None
        # a listing may know milliseconds where the answer about one file knows seconds
        same = after.etag == found.etag if found.etag else abs(after.mtime_ns - found.mtime_ns) < 10**9
        if size_bytes != found.size_bytes or after.size_bytes != size_bytes or not same:
            raise Unstable
        return digests

    def head(self, found: Found, size_bytes: int) -> bytes:
        """The first bytes of a small file; raises as `read`."""
        try:
            with self._store.open(f"{self._root}/{found.path}", "rb") as stream:
                return stream.read(size_bytes)
        except Exception as error:
            raise self._told(error) from None

    def lines(self, path: str) -> Iterator[bytes]:
        """The lines of a file, with their ends; raises as `read`."""
        try:
            with self._store.open(f"{self._root}/{path}", "rb") as stream:
                yield from stream
        except Exception as error:
            raise self._told(error) from None

    def names(self, folder: str) -> set[str]:
        """Paths of what lies in a folder below; raises as `read`."""
        try:
            self._store.invalidate_cache()
            listed = self._store.ls(f"{self._root}/{folder}", detail=False)
        except Exception as error:
            raise self._told(error) from None
        return {f"{folder}/{str(name).rpartition('/')[2]}" for name in listed}

    def put(self, source: Path, path: str) -> None:
        """Send a local file here."""
        target = f"{self._root}/{path}"
        try:
            self._store.makedirs(self._store._parent(target), exist_ok=True)
            self._store.put_file(str(source), target)
        except Exception as error:
            raise self._unreachable(type(error).__name__) from None

    def _told(self, error: Exception) -> Exception:
        if isinstance(error, FileNotFoundError):
            return Unstable()
        if isinstance(error, PermissionError):
            return Unreadable("cannot be opened (permission denied)")
        return self._unreachable(type(error).__name__)


def _found(path: str, entry: dict[str, Any]) -> Found:
    etag = next((str(entry[name]) for name in _CONTENT_MARKS if entry.get(name)), "").strip('"')
    return Found(path, int(entry.get("size") or 0), _time_ns(entry), etag)


def _time_ns(entry: dict[str, Any]) -> int:
    given = next((entry[name] for name in _TIMES if entry.get(name)), 0)
    if isinstance(given, str):
        given = datetime.fromisoformat(given)
    if isinstance(given, datetime):
        given = given.timestamp()
    return round(given * 1_000_000) * 1000  # a float of today's seconds holds microseconds


def _read(stream: IO[bytes], algorithms: tuple[str, ...]) -> tuple[Digests, int]:
    sha256, size_bytes = hashlib.sha256(), 0
    others = {name: hashlib.new(name, usedforsecurity=False) for name in algorithms if name != "sha256"}
    while chunk := stream.read(READ_BYTES):
        size_bytes += len(chunk)
        sha256.update(chunk)
        for other in others.values():
            other.update(chunk)
    hexed = sha256.hexdigest()
    return Digests(hexed, {"sha256": hexed} | {name: other.hexdigest() for name, other in others.items()}), size_bytes
