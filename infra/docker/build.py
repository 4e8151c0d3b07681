"""Build an image with whichever of podman, docker and buildah is there: what `make image` calls.

    python infra/docker/build.py --target cpu --wheels FOLDER [--base NAME] [--tag NAME] [--engine podman]

The bill of materials is written inside the image, so its digest is known only then: it becomes a label in a second,
empty step from the finished image.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import context

ENGINES = ("podman", "docker", "buildah")
TARGETS = ("cpu", "cuda", "server")
BASE = "docker.io/library/debian:12-slim"
BILL_LABEL = "dev.domainlm.sbom.sha256"
BUILD_TIMEOUT_S = 3600
LOOK_TIMEOUT_S = 120


class BuildFailed(Exception):
    """What is wrong and what to do, in one line."""


def engine(wanted: str | None = None) -> str:
    """The first engine that answers; docker's client alone, without a daemon, does not.

    Raises:
        BuildFailed: none does.
    """
    for name in [wanted] if wanted else ENGINES:
        if shutil.which(name) is None:
            continue
        probe = [name, "version"] if name != "buildah" else [name, "--version"]
        if subprocess.run(probe, capture_output=True, timeout=LOOK_TIMEOUT_S).returncode == 0:
            return name
    raise BuildFailed(f"{wanted or 'none of ' + ', '.join(ENGINES)} is here and answers; install podman")


def build(
    target: str, wheels: Path, tag: str, base: str = BASE, name: str | None = None, network: str = "none",
    folder: Path | None = None,
) -> str:  # fmt: skip
    """Build one target under a tag.

    Args:
        target: cpu, cuda or server.
        wheels: the folder that `wheels.py` filled; the target's own folder lies in it.
        tag: name of the image.
        base: a Debian 12; one without Python needs a network.
        name: the engine; the first that answers by default.
        network: "none", or "host" where the base has to fetch Python.
        folder: where the context is staged.

    Returns:
        SHA-256 of the bill of materials, as the label says.

    Raises:
        BuildFailed: the engine could not build it.
    """
    tool = engine(name)
    folder = folder or context.ROOT / "build" / "image" / target
    context.stage(folder, wheels / target)
    moment = context.commit_time()
    checkout = hashlib.sha256((folder / "app" / ".checkout.json").read_bytes()).hexdigest()
    arguments = {
        "BASE": base,
        "BASE_NAME": base,
        "KIND": target,
        "WHEELS": hashlib.sha256((folder / "wheels" / "requirements.txt").read_bytes()).hexdigest(),
        "SOURCE_DATE_EPOCH": str(moment),
        "VERSION": _version(),
        "REVISION": context.git("rev-parse", "HEAD"),
        "SOURCE": _source(),
        "DIRTY": str(bool(context.git("status", "--porcelain", "--untracked-files=all"))).lower(),
        "CHECKOUT": checkout,
        "CREATED": datetime.fromtimestamp(moment, UTC).isoformat(),
    }
    command = [tool, "build", "--tag", tag, "--network", network]
    if tool != "docker":  # docker's BuildKit takes SOURCE_DATE_EPOCH by itself; --layers: reuse what did not change
        command += ["--layers", "--timestamp", str(moment), "--format", "docker"]
    first = [*command, "--target", target, "--file", str(folder / "Containerfile")]
    for key, value in arguments.items():
        first += ["--build-arg", f"{key}={value}"]
    _run([*first, str(folder)])
    digest = hashlib.sha256(_bill(tool, tag)).hexdigest()
    labelled = folder / "labelled"
    labelled.mkdir()
    # not by --label or an argument: buildah 1.28 takes the first build's last layers from its cache for both
    (labelled / "Containerfile").write_text(f'FROM {tag}\nLABEL {BILL_LABEL}="{digest}"\n', encoding="utf-8")
    _run([*command, "--file", str(labelled / "Containerfile"), str(labelled)])
    shutil.rmtree(folder)
    return digest


def _bill(tool: str, tag: str) -> bytes:
    """The bill of materials out of an image that is not run."""
    if tool == "buildah":
        container = _run([tool, "from", "--pull-never", tag], capture=True).decode().strip()
        try:
            root = Path(_run([tool, "mount", container], capture=True).decode().strip())
            return (root / "app/sbom.json").read_bytes()
        finally:
            _run([tool, "rm", container], capture=True)
    container = _run([tool, "create", tag], capture=True).decode().strip()
    try:
        archive = _run([tool, "cp", f"{container}:/app/sbom.json", "-"], capture=True)
    finally:
        _run([tool, "rm", container], capture=True)
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        [member] = files.getmembers()
        found = files.extractfile(member)
        if found is None:
            raise BuildFailed("/app/sbom.json of the image is no file")
        return found.read()


def _run(command: list[str], capture: bool = False) -> bytes:
    """Run an engine's command. What it prints goes through to the terminal, or is the result."""
    variables = os.environ | {"DOCKER_BUILDKIT": "1"}
    done = subprocess.run(
        command, stdout=subprocess.PIPE if capture else None, timeout=BUILD_TIMEOUT_S, env=variables, check=False
    )
    if done.returncode:
        raise BuildFailed(f"`{' '.join(command[:2])}` ended with {done.returncode}; what it printed says why")
    return done.stdout or b""


def _version() -> str:
    [line] = [
        line for line in (context.ROOT / "pyproject.toml").read_text().splitlines() if line.startswith("version = ")
    ]
    return line.split('"')[1]


def _source() -> str:
    """The address of the code's repository, without the name and password that a remote may hold."""
    remotes = context.git("remote").splitlines()
    if not remotes:
        return ""
    address = context.git("remote", "get-url", "origin" if "origin" in remotes else remotes[0])
    scheme, mark, rest = address.partition("://")
    return f"{scheme}{mark}{rest.rpartition('@')[2] if mark else ''}" if mark else ""


def main() -> int:
    parser = argparse.ArgumentParser(description="Build an image of domainlm.")
    parser.add_argument("--target", choices=TARGETS, default="cpu")
    parser.add_argument("--wheels", type=Path, required=True, help="folder of `make image-wheels`")
    parser.add_argument("--base", default=BASE, help="a Debian 12, best pinned as NAME@sha256:...")
    parser.add_argument("--tag", help="name of the image; domainlm:TARGET by default")
    parser.add_argument("--engine", choices=ENGINES)
    parser.add_argument("--network", choices=("none", "host"), default="none")
    parser.add_argument("--context", type=Path, help="folder for the staged context; build/image/TARGET by default")
    given = parser.parse_args()
    tag = given.tag or f"localhost/domainlm:{given.target}"
    try:
        digest = build(
            given.target, given.wheels.resolve(), tag, given.base, given.engine, given.network, given.context
        )
    except (BuildFailed, FileNotFoundError, subprocess.SubprocessError) as error:
        print(f"The image was not built: {error}", file=sys.stderr)
        return 1
    print(f"{tag}: bill of materials sha256:{digest}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
