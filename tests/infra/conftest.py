"""The real image, built once for the tests of this folder that run it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCKER = ROOT / "infra" / "docker"
BASE = "localhost/debian-python:12"
TAG = "localhost/domainlm-test:cpu"
LIMITS = ("--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024")  # root without all capabilities cannot raise them
BUILD_TIMEOUT_S = 1500
LOOK_TIMEOUT_S = 120


@pytest.fixture(scope="session")
def engine() -> str:
    """podman or docker; without one that answers, nothing here can be run."""
    for name in ("podman", "docker"):
        if (
            shutil.which(name)
            and subprocess.run([name, "info"], capture_output=True, timeout=LOOK_TIMEOUT_S).returncode == 0
        ):
            return name
    pytest.skip("neither podman nor docker answers here")


@pytest.fixture(scope="session")
def image(engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The CPU image of the work tree's files that git knows; layers of an earlier build serve where nothing changed.

    DOMAINLM_WHEELS names a folder of `make image-wheels`, which several checkouts can share (build/wheels by default),
    and DOMAINLM_IMAGE_BASE a Debian 12 with Python (made by infra/docker/base.sh if it is not there).
    """
    base = os.environ.get("DOMAINLM_IMAGE_BASE", BASE)
    if _do([engine, "image", "inspect", base]).returncode:
        if shutil.which("debootstrap") is None or os.getuid() != 0:
            pytest.skip(f"there is no {base}, and only root with debootstrap can make it")
        made = _do(["sh", str(DOCKER / "base.sh"), base])
        if made.returncode:
            pytest.skip(f"infra/docker/base.sh could not make {base}: {made.stderr[-500:]}")
    ran = _do([engine, "run", "--rm", "--network=none", *LIMITS, base, "true"])
    if ran.returncode:
        pytest.skip(f"{engine} cannot run a container here: {ran.stderr[-500:]}")
    wheels = Path(os.environ.get("DOMAINLM_WHEELS", ROOT / "build" / "wheels"))
    got = _do([sys.executable, str(DOCKER / "wheels.py"), "cpu", str(wheels)])  # at once where they are the lock's
    if got.returncode:
        pytest.skip(f"the packages could not be collected: {got.stderr[-500:]}")
    command = [
        sys.executable, str(DOCKER / "build.py"), "--target", "cpu", "--wheels", str(wheels), "--base", base,
        "--tag", TAG, "--engine", engine, "--context", str(tmp_path_factory.mktemp("image") / "context"),
    ]  # fmt: skip
    done = _do(command)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    yield TAG


def _do(command: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; out of time, it ends with all that it started."""
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            out, err = process.communicate(timeout=BUILD_TIMEOUT_S)
        except BaseException:  # pytest's own limit too
            os.killpg(process.pid, signal.SIGKILL)
            raise
    return subprocess.CompletedProcess(command, process.returncode, out, err)
