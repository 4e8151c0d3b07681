"""The real image, run as a pod of the `restricted` kind runs: its steps, its limits, and what is in it.

Needs podman or docker, and on the first run a network for Debian's and Python's packages; see conftest.py. Each of the
14 steps is its own container that begins at ZenML's entry point, without a network.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from small_project import shrink

ROOT = Path(__file__).resolve().parents[2]
SUPPORT = ROOT / "tests" / "support"
# the first test waits for the image; with nothing cached that is packages, base and build
pytestmark = [pytest.mark.crowded, pytest.mark.timeout(2400)]
MEMORY = "2g"
STEP_TIMEOUT_S = 300
LOOK_TIMEOUT_S = 120
MOST_MB = 2000
COMPILERS = ("gcc", "cc", "g++", "ld", "make", "pip", "pip3", "uv", "git", "curl", "wget")


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location("image_benchmark", ROOT / "benchmarks" / "image.py")
    assert spec and spec.loader
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


class Containers:
    """Commands in fresh containers that share one volume, as the pods of a run share a store.

    Args:
        engine: podman or docker.
        image: its name.
        container: how the benchmark starts one.
        folder: a folder of the test, mounted at /support/given for configurations.
    """

    def __init__(self, engine: str, image: str, container: Any, folder: Path) -> None:
        self._engine, self._image, self._container, self._folder = engine, image, container, folder
        self.volume = f"domainlm-test-{secrets.token_hex(6)}"  # one that was left by a run that was killed is another

    def run(self, *command: str, options: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
        shared = [
            f"--memory={MEMORY}", f"--volume={SUPPORT}:/support:ro", f"--volume={self._folder}:/given:ro",
            "--env=PYTHONPATH=/support", "--env=STEPS_IN_CONTAINERS_RUN=one", *options,
        ]  # fmt: skip
        line = [
            part.replace("type=volume,target", f"type=volume,source={self.volume},target")
            for part in self._container(self._engine, self._image, shared, *command)
        ]
        return subprocess.run(line, capture_output=True, text=True, timeout=STEP_TIMEOUT_S, check=False)

    def say(self, *command: str, options: tuple[str, ...] = ()) -> str:
        done = self.run(*command, options=options)
        assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
        return done.stdout.strip()

    def forget(self) -> None:
        """Remove the volume, and containers that outlived their time."""
        using = [self._engine, "ps", "--all", "--quiet", "--filter", f"volume={self.volume}"]
        listed = subprocess.run(using, capture_output=True, text=True, timeout=LOOK_TIMEOUT_S).stdout.split()
        for command in (*(["rm", "--force", one] for one in listed), ["volume", "rm", "--force", self.volume]):
            subprocess.run([self._engine, *command], capture_output=True, timeout=LOOK_TIMEOUT_S)


@pytest.fixture(scope="module")
def containers(
    engine: str, image: str, benchmark: ModuleType, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Containers]:
    folder = tmp_path_factory.mktemp("given")
    folder.chmod(0o755)
    content = yaml.safe_load((ROOT / "zenml_config.yaml").read_text())
    shrink(content)
    content["parameters"]["controls"] = False  # two more trainings, by the same entry point as `train`
    (folder / "small.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    made = Containers(engine, image, benchmark.container, folder)
    yield made
    made.forget()


def spelled(name: str) -> str:
    """A package's name in one spelling, as PEP 503 has it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def in_git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, timeout=LOOK_TIMEOUT_S, check=True
    )
    return done.stdout.strip()


def inspected(engine: str, image: str) -> dict[str, Any]:
    done = subprocess.run(
        [engine, "image", "inspect", image], capture_output=True, text=True, timeout=LOOK_TIMEOUT_S, check=True
    )
    return json.loads(done.stdout)[0]


def test_every_steps_entry_point_runs_without_rights_network_or_a_writable_root(containers: Containers) -> None:
    submitted = containers.say("python", "-m", "steps_in_containers", "/given/small.yaml")
    steps: dict[str, list[str]] = json.loads(submitted.splitlines()[-1])
    assert {"ingest", "redact", "train", "evaluate", "register", "record"} <= set(steps)
    for step, command in steps.items():
        done = containers.run(*command)
        assert done.returncode == 0, f"{step}: {(done.stdout + done.stderr)[-4000:]}"
    found = json.loads(containers.say("python", "-m", "steps_in_containers").splitlines()[-1])
    assert found["status"] == "completed" and set(found["steps"].values()) == {"completed"}
    assert found["manifest"] == "completed"
    # an image has no .git, yet its evidence names the commit, and who wrote what
    commit = in_git("rev-parse", "HEAD")
    assert found["code"]["commit"] == commit
    assert found["authors"]["code"] and "" not in found["authors"]["code"]
    assert "" not in found["authors"]["data"]


def test_it_is_nobody_special_and_can_write_where_it_should_only(containers: Containers) -> None:
    assert containers.say("id", "-u") == "10001" and containers.say("id", "-g") == "10001"
    for place in ("/app/x", "/opt/venv/x", "/etc/x", "/x"):
        assert containers.run("touch", place).returncode != 0
    containers.say("touch", "/var/lib/domainlm/x", "/tmp/x", "/dev/shm/x")
    assert containers.say("grep", "CapEff", "/proc/self/status").endswith("0000000000000000")
    theirs = "find /app /opt /usr /etc -xdev '(' -user 10001 -o -perm /6002 ')' -not -type l 2>/dev/null; true"
    owned = containers.say("sh", "-c", theirs)
    assert owned == "", f"the image's user could change, or become root by: {owned}"


def test_more_memory_than_allowed_ends_in_137_and_the_kernel_says_why(containers: Containers) -> None:
    count = "cat /sys/fs/cgroup/memory.events /sys/fs/cgroup/memory/memory.oom_control 2>/dev/null | grep '^oom_kill '"
    said = containers.say(
        "sh", "-c", f"python -c 'bytearray(600_000_000)'; echo exit $?; {count}",
        options=("--memory=200m", "--memory-swap=200m"),
    )  # fmt: skip
    code, kills = said.splitlines()[-2:]
    assert code == "exit 137" and int(kills.split()[1]) >= 1
    alone = containers.run("python", "-c", "bytearray(600_000_000)", options=("--memory=200m", "--memory-swap=200m"))
    assert alone.returncode == 137


def test_no_build_tools_caches_or_lists_are_in_it(containers: Containers) -> None:
    for tool in COMPILERS:
        assert containers.run("sh", "-c", f"command -v {tool}").returncode != 0, tool
    left = "find /var/lib/apt/lists /var/cache/apt/archives /build /wheels -type f -size +0 2>/dev/null"
    assert containers.run("sh", "-c", left).stdout == ""
    assert "find-links" not in containers.say("sh", "-c", "cat /etc/pip.conf ~/.config/pip/pip.conf 2>/dev/null; env")


def test_only_files_that_git_knows_are_in_it(containers: Containers) -> None:
    inside = containers.say("sh", "-c", "cd /app && find . -type f").splitlines()
    listed = in_git("ls-files")
    assert {name[2:] for name in inside} - set(listed.splitlines()) == {".checkout.json", "sbom.json"}


def test_packages_are_compiled_our_code_is_not_and_nothing_imports_what_it_does_not_need(
    containers: Containers,
) -> None:
    loaded = containers.say(
        "python", "-c",
        "import sys, zenml.entrypoints.entrypoint, steps.train\n"
        "from zenml.integrations.registry import integration_registry\n"
        "integration_registry.activate_integrations()\n"
        "from steps.train import train\n"
        "print(sorted({'torch', 'sklearn', 'transformers', 'mlflow'} & set(sys.modules)))",
    )  # fmt: skip
    assert loaded.splitlines()[-1] == "[]"
    flags = containers.say("python", "-c", _FLAGS_OF_BYTECODE)
    assert flags == "[1]", "bytecode would be compared with its source at each import"
    # what is compared with its digest is the source, so nothing else may run: not even bytecode of an honest build
    assert containers.say("find", "/app", "-name", "*.pyc") == ""


_FLAGS_OF_BYTECODE = """
from pathlib import Path
print(sorted({int.from_bytes(path.read_bytes()[4:8], 'little') for path in Path('/opt/venv').rglob('*.pyc')}))
"""


def test_the_bill_of_materials_is_what_is_installed(containers: Containers, engine: str, image: str) -> None:
    raw = containers.say("cat", "/app/sbom.json")
    labels = inspected(engine, image)["Config"]["Labels"]
    assert labels["dev.domainlm.sbom.sha256"] == hashlib.sha256(raw.encode()).hexdigest()
    billed = {(spelled(one["name"]), one["version"]) for one in json.loads(raw)["components"]}
    lister = (
        "import json; from importlib.metadata import distributions as found; "
        "print(json.dumps([[one.name, one.version] for one in found()]))"
    )
    installed = {(spelled(name), version) for name, version in json.loads(containers.say("python", "-c", lister))}
    debian = {
        (spelled(line.split()[0]), line.split()[1])
        for line in containers.say("dpkg-query", "-W", "-f", "${Package} ${Version}\n").splitlines()
    }
    assert installed <= billed and debian <= billed
    assert len(billed) == len(installed | debian)


def test_labels_say_what_it_was_built_from(containers: Containers, engine: str, image: str) -> None:
    found = inspected(engine, image)
    labels = found["Config"]["Labels"]
    commit = in_git("rev-parse", "HEAD")
    assert labels["org.opencontainers.image.revision"] == commit
    assert labels["org.opencontainers.image.version"] == "0.1.0"
    checkout = containers.say("sha256sum", "/app/.checkout.json").split()[0]
    assert labels["dev.domainlm.checkout.sha256"] == checkout
    assert found["Config"]["User"] == "10001:10001"


def test_it_is_no_larger_than_we_say(engine: str, image: str, benchmark: ModuleType) -> None:
    assert benchmark.image_mb(engine, image) <= MOST_MB


def test_the_benchmark_measures_it(engine: str, image: str, benchmark: ModuleType) -> None:
    found = benchmark.imports(engine, image)
    assert found["heavy"] == []
    assert set(found["seconds"]) == {"entry point", "integrations", "stack components", "all steps' modules"}
    assert all(seconds >= 0 for seconds in found["seconds"].values()) and found["process"] > 0
