"""A copy of the project with a small configuration, in which the real command line runs in processes of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("cli", "pipelines", "steps", "materializers", "domainlm", "infra", "docs", "domains/finance")
PARAMETERS: dict[str, dict[str, Any]] = {
    "pretrain": {
        "vocab_size": 512, "hidden_size": 32, "layers": 1, "heads": 2, "context": 512, "sequence_length": 64,
        "copy_steps": 10, "max_steps": 20, "save_steps": 10,
    },
    "vocabulary": {"max_new_tokens": 8, "gate": False},
    "train": {"max_steps": 12, "save_steps": 2, "logging_steps": 2, "batch_size": 8, "rank": 4, "dev_records": 16},
    "evaluate": {"max_items": 4},
}  # fmt: skip
LIMITS = {"corpus": 300, "glossary": 120, "headlines": 900, "headlines_lexicon_disjoint": 40, "extraction": 200,
          "numeric": 150, "messages": 120, "general": 120}  # fmt: skip

# Python runs this before anything else in every child process: loopback and local sockets only, as in the tests.
BLOCK_NETWORK = """
import socket
_connect = socket.socket.connect
def connect(self, address):
    if self.family != socket.AF_UNIX and str(address[0]) not in ("127.0.0.1", "localhost", "::1"):
        raise OSError(f"the test blocks the network: {address[0]}")
    return _connect(self, address)
socket.socket.connect = connect
"""


class Project:
    """A checkout of its own with a small run configuration.

    Args:
        root: its folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.environment = {
            "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
            "HOME": str(root / "empty_home"),
            "PYTHONPATH": f"{root}:{root / 'site'}",
            "PYTHONHASHSEED": "random",
        }

    def start(self, *arguments: str, cwd: Path | None = None) -> subprocess.Popen[str]:
        return subprocess.Popen(
            arguments, cwd=cwd or self.root, env=self.environment, text=True, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )  # fmt: skip

    def do(self, *arguments: str, cwd: Path | None = None, code: int = 0) -> str:
        """Run a command to its end, compare its exit code, return what it printed."""
        process = self.start(*arguments, cwd=cwd)
        output, _ = process.communicate(timeout=600)
        assert process.returncode == code, output
        return output

    def domainlm(self, *arguments: str, cwd: Path | None = None, code: int = 0) -> str:
        return self.do(sys.executable, "-m", "cli.main", *arguments, cwd=cwd, code=code)

    @property
    def state(self) -> Path:
        return self.root / ".domainlm"

    def manifests(self) -> list[dict[str, Any]]:
        """The manifests of all runs, oldest first."""
        found = [json.loads(path.read_text()) for path in (self.state / "runs").glob("*.json")]
        return sorted(found, key=lambda manifest: manifest["started"])

    def last(self) -> dict[str, Any]:
        return self.manifests()[-1]


def steps_of(manifest: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {step["name"]: step for step in manifest["steps"]}


def ran(manifest: dict[str, Any]) -> set[str]:
    """The steps that were really executed."""
    return {step["name"] for step in manifest["steps"] if not step["cached"]}


def shrink(content: dict[str, Any]) -> None:
    """Make a configuration of the main pipeline small; its sources and its shape stay."""
    for name in ("base_ingest", "ingest"):
        for source in content["steps"][name]["parameters"]["sources"]:
            source["limit"] = LIMITS[source["name"]]
    for name, values in PARAMETERS.items():
        content["steps"].setdefault(name, {}).setdefault("parameters", {}).update(values)


def small_configuration(root: Path) -> None:
    """Shrink the real configuration."""
    path = root / "zenml_config.yaml"
    content = yaml.safe_load((ROOT / "zenml_config.yaml").read_text())
    shrink(content)
    path.write_text(yaml.safe_dump(content, sort_keys=False))


def make_project(root: Path) -> Project:
    for room in ROOMS:
        shutil.copytree(ROOT / room, root / room, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("constraints.txt", "pyproject.toml"):
        shutil.copy(ROOT / name, root / name)
    (root / "site").mkdir()
    (root / "site" / "sitecustomize.py").write_text(BLOCK_NETWORK)
    (root / "empty_home").mkdir()
    small_configuration(root)
    for arguments in (
        ["init", "-q"],
        ["add", "-A"],
        ["-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "start"],
    ):
        subprocess.run(
            ["git", "-C", str(root), *arguments], check=True, env=os.environ | {"HOME": str(root / "empty_home")}
        )
    return Project(root)
