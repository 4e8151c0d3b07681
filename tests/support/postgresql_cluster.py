"""A private PostgreSQL in a folder of the test, on a unix socket alone, run by a user who is not root."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

TIMEOUT_S = 60
RUN_AS = ("postgres", "nobody")  # PostgreSQL refuses to run as root


def binaries() -> Path | None:
    """Where the newest server's programs lie; None where there is none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    on_path = shutil.which("initdb")
    return found[-1].parent if found else (Path(on_path).parent if on_path else None)


class Cluster:
    """A running server.

    Args:
        folder: its data and socket.
        settings: lines of postgresql.conf.
    """

    def __init__(self, folder: Path, settings: dict[str, str]) -> None:
        self.folder, self.data = folder, folder / "data"
        self._programs = binaries()
        self._user = _user()
        if self._user is not None:
            os.chown(folder, self._user.pw_uid, self._user.pw_gid)
        self._call("initdb", "-D", self.data, "--auth=trust", "--username=domainlm", "--encoding=UTF8", "--no-sync")
        with open(self.data / "postgresql.conf", "a") as stream:
            for name, value in ({"listen_addresses": "", "max_connections": "60"} | settings).items():
                stream.write(f"{name} = '{value}'\n")
        self.start()

    @property
    def url(self) -> str:
        """SQLAlchemy's."""
        return f"postgresql+psycopg://domainlm@/postgres?host={self.folder}"

    def start(self) -> None:
        """Start the server and wait until it answers."""
        self._call("pg_ctl", "-D", self.data, "-l", self.folder / "log", "-w", "-o", f"-k {self.folder}", "start")

    def stop(self, mode: str = "fast") -> None:
        """Stop it; `immediate` is what a crash does: nothing is written any more."""
        self._call("pg_ctl", "-D", self.data, "-w", "-m", mode, "stop")

    def _call(self, program: str, *arguments: str | Path) -> None:
        given = {"user": self._user.pw_uid, "group": self._user.pw_gid} if self._user else {}
        with open(self.folder / "calls", "ab") as log:  # a pipe would stay open as long as the server lives
            done = subprocess.run(
                [str(self._programs / program), *map(str, arguments)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                timeout=TIMEOUT_S,
                cwd=self.folder,
                env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C.UTF-8", "HOME": str(self.folder)},
                check=False,
                **given,
            )
        if done.returncode:
            said = (self.folder / "calls").read_text(errors="replace")[-600:]
            raise RuntimeError(f"{program} failed ({done.returncode}): {said}")


@contextmanager
def postgresql(**settings: str) -> Iterator[Cluster]:
    """A fresh server, gone with its folder at the end."""
    # a socket's path may have 107 bytes, and another user must be able to enter each folder above it
    with tempfile.TemporaryDirectory(prefix="pg", dir="/tmp") as name:
        cluster = Cluster(Path(name), settings)
        try:
            yield cluster
        finally:
            cluster.stop("immediate")


def or_skip() -> Iterator[Cluster]:
    """What a fixture yields, of whatever scope: a fresh server, or a skip that says what is missing."""
    pytest.importorskip("psycopg")
    if binaries() is None:
        pytest.skip("PostgreSQL is not installed (initdb is missing)")
    with postgresql() as running:
        yield running


def _user() -> pwd.struct_passwd | None:
    if os.geteuid() != 0:
        return None
    for name in RUN_AS:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise RuntimeError("PostgreSQL does not run as root, and there is no other user")
