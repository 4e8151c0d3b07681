"""A checkout that works with a real cluster, and commands in it that a test watches while they run."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from real_cluster import Cluster, make_secret, small_run_configuration
from small_project import ROOT, Project

RUN_S = 1500  # the whole DAG on a machine that is shared by many
LOOK_S = 1.0
_RUN = re.compile(r"domainlm follow ([0-9a-f]{8}-[0-9a-f-]{27})")


class Command:
    """One `domainlm` command in a process of its own; its output goes to a file.

    Args:
        process: it.
        log: that file.
    """

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process, self.log = process, log

    @property
    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def run_id(self) -> str:
        """The id of the run that it follows, as soon as it says so."""
        return self.until(lambda: _RUN.search(self.output), "no run was submitted")[1]

    def until(self, looked: Callable[[], Any], otherwise: str, timeout_s: float = 240) -> Any:
        """Wait for what `looked` finds while the command runs.

        Raises:
            AssertionError: it ended or the time was over before that; with what it printed.
        """
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if found := looked():
                return found
            assert self.process.poll() is None, f"{otherwise}; it ended with {self.process.returncode}:\n{self.output}"
            time.sleep(LOOK_S)
        raise AssertionError(f"{otherwise} within {timeout_s} s:\n{self.output}")

    def interrupt(self) -> None:
        self.process.send_signal(signal.SIGINT)

    def end(self, code: int) -> str:
        """Wait for its end, compare its exit code, return what it printed."""
        try:
            self.process.wait(RUN_S)
        finally:
            self.process.kill()
        assert self.process.returncode == code, self.output
        return self.output


class ClusterProject(Project):
    """A clone of the committed code with its own keys and ledger, and the stack of the tests.

    Args:
        root: its folder.
        cluster: where its runs work.
    """

    def __init__(self, root: Path, cluster: Cluster) -> None:
        subprocess.run(["git", "clone", "-q", "--local", str(ROOT), str(root)], check=True, timeout=120)
        super().__init__(root)
        self.cluster = cluster
        self.environment |= cluster.variables | {"HOME": str(root.parent / "home"), "PYTHONPATH": str(root)}
        self._written = root.parent / "written"
        self._written.mkdir()
        (root.parent / "home").mkdir()
        self._commands = 0
        self.small = small_run_configuration(root, self._written / "small.yaml", cluster.claims)
        self.domainlm("setup")
        make_secret(cluster, "domainlm-key", {"key.json": (self.state / "keys" / "development.key").read_text()})
        self.domainlm("stack", "apply", "kubernetes")

    def configuration(self, change: Callable[[dict[str, Any]], None]) -> Path:
        """The small configuration with a change, as a file of its own."""
        content = yaml.safe_load(self.small.read_text())
        change(content)
        return self.write(content)

    def write(self, content: dict[str, Any]) -> Path:
        """A run configuration as a file outside of the checkout, whose code stays as it was committed."""
        path = self._written / f"{len(list(self._written.iterdir()))}.yaml"
        path.write_text(yaml.safe_dump(content, sort_keys=False))
        return path

    def begin(self, *arguments: str, **variables: str) -> Command:
        """Start a `domainlm` command; variables are added to its environment."""
        self._commands += 1
        log = self._written / f"command-{self._commands}.log"
        with open(log, "wb") as stream:
            process = subprocess.Popen(
                [sys.executable, "-m", "cli.main", *arguments], cwd=self.root, env=self.environment | variables,
                stdout=stream, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
        return Command(process, log)

    def begin_run(self, configuration: Path, *arguments: str, **variables: str) -> Command:
        return self.begin("run", "-s", "kubernetes", "-c", str(configuration), *arguments, **variables)

    def run(self, configuration: Path, *arguments: str, code: int = 0, **variables: str) -> str:
        """A run on the cluster to its end; what was printed."""
        return self.begin_run(configuration, *arguments, **variables).end(code)

    def manifest(self, run_id: str) -> dict[str, Any]:
        return json.loads((self.state / "runs" / f"{run_id}.json").read_text())

    def times(self, run_id: str) -> dict[str, Any]:
        """What following it measured: docs/following.md, "Times"."""
        return json.loads((self.state / "following" / f"{run_id}.json").read_text())

    def zenml(self, code: str) -> str:
        """Python that uses ZenML's client as this project does on the tests' stack; what it printed."""
        enter = "from domainlm.cluster.settings import find_stack; find_stack('kubernetes').enter()\n"
        return self.do(sys.executable, "-c", enter + code).strip()


def run_id_of(output: str) -> str:
    """The id of the run that a command followed."""
    found = _RUN.search(output)
    assert found, output
    return found[1]


def pods_of(cluster: Cluster, run_id: str, step: str = "") -> list[dict[str, Any]]:
    """The pods of a run that exist, or those of one of its steps; the oldest first."""
    selector = f"run_id={run_id}" + (f",step_name={step}" if step else "")
    return cluster.kubectl.objects("pods", selector)


def at_work(pods: list[dict[str, Any]]) -> list[str]:
    """The names of pods that have not ended."""
    return [one["metadata"]["name"] for one in pods if one["status"]["phase"] in ("Pending", "Running")]


def running(pods: list[dict[str, Any]]) -> list[str]:
    """The names of pods whose containers run."""
    return [one["metadata"]["name"] for one in pods if one["status"]["phase"] == "Running"]
