"""A private MariaDB in a folder of the test, on a unix socket alone."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TIMEOUT_S = 120
USER = "mysql"  # the package makes it; a server does not run as root


def programs() -> tuple[str, str] | None:
    """`mariadb-install-db` and `mariadbd`; None where there is no server."""
    places = os.environ.get("PATH", "") + ":/usr/sbin:/usr/bin"
    found = [shutil.which(name, path=places) for name in ("mariadb-install-db", "mariadbd")]
    return (str(found[0]), str(found[1])) if all(found) else None


@contextmanager
def mariadb() -> Iterator[str]:
    """A fresh server with an empty root password, gone with its folder at the end.

    Yields:
        SQLAlchemy's URL of no database; append `/NAME?unix_socket=...` by `url.set`.
    """
    install, server = programs() or ("", "")
    user = pwd.getpwnam(USER if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name)
    with tempfile.TemporaryDirectory(prefix="maria", dir="/tmp") as name:  # a socket's path may have 107 bytes
        folder = Path(name)
        os.chown(folder, user.pw_uid, user.pw_gid)
        given = {"user": user.pw_uid, "group": user.pw_gid} if os.geteuid() == 0 else {}
        with open(folder / "log", "wb") as log:
            common = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log, "cwd": folder, **given}
            subprocess.run(
                [install, "--no-defaults", f"--datadir={folder}/data", "--auth-root-authentication-method=normal",
                 "--skip-test-db"], timeout=TIMEOUT_S, check=True, **common,
            )  # fmt: skip
            running = subprocess.Popen(
                [server, "--no-defaults", f"--datadir={folder}/data", f"--socket={folder}/sock", "--skip-networking",
                 f"--pid-file={folder}/pid", "--innodb-buffer-pool-size=32M", "--innodb-flush-log-at-trx-commit=0"],
                **common,
            )  # fmt: skip
            try:
                for _ in range(TIMEOUT_S * 5):
                    if (folder / "sock").exists() or running.poll() is not None:
                        break
                    time.sleep(0.2)
                if not (folder / "sock").exists():
                    raise RuntimeError(f"mariadbd did not start: {(folder / 'log').read_text(errors='replace')[-600:]}")
                yield f"mysql+pymysql://root@localhost/?unix_socket={folder}/sock"
            finally:
                running.terminate()
                running.wait(TIMEOUT_S)
