"""A step drives a Ray cluster that it is no part of: it joins as a node, by the token, and works nothing itself."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from domainlm.digests import digest_dataset
from domainlm.errors import ConfigurationError
from domainlm.ingest import ingest
from domainlm.ingest.settings import IngestSettings
from domainlm.keys import KeyRing, create_development_key
from domainlm.redact import Redactor, ray_member
from domainlm.redact.settings import RedactSettings

PATIENCE_S = 150
PROGRAM = """
import sys
from pathlib import Path
import ray
from domainlm.digests import digest_dataset
from domainlm.keys import KeyRing
from domainlm.redact import Redactor, shards
from domainlm.redact.settings import RedactSettings
from domainlm.sources import SourceManifest
given, folder = Path(sys.argv[1]), Path(sys.argv[2])
began, nodes = shards._spread, []
def spread(*args):
    nodes.extend((node["Alive"], node["Resources"].get("CPU", 0)) for node in ray.nodes())
    yield from began(*args)
shards._spread = spread
settings = RedactSettings(entities=("PERSON", "PHONE_NUMBER"), name_engine="none", max_quarantined_share=0.1,
                          engine="ray", processes=2)
manifest = SourceManifest.model_validate_json(given.read_text())
rows, _ = Redactor(settings, KeyRing.load(), folder / "quarantine", folder / "work").run(manifest)
print(sorted(nodes))
print(digest_dataset(rows))
"""


@pytest.fixture
def manifest(tmp_path):
    lines = [f'"Dear Mr. Tom Becker, item {row} of 010-1234-56{row + 10}.",positive' for row in range(60)]
    (tmp_path / "rows.csv").write_text("text,label\n" + "\n".join(lines) + "\n", encoding="utf-8")
    source = dict(
        name="rows", uri=str(tmp_path / "rows.csv"), form="labelled", task="sentiment", licence="CC0-1.0",
        consent="public", purpose="model-training", jurisdiction="us", language="en", handling="public",
    )  # fmt: skip
    return ingest(IngestSettings(sources=(source,)))


@contextlib.contextmanager
def ended(process: subprocess.Popen):
    """A program and whatever it has started, gone afterwards."""
    try:
        yield process
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(30)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(30)


@pytest.fixture(scope="module")
def cluster():
    """A head with three cores and a token; the variables of who may join. On loopback."""
    pytest.importorskip("ray", reason="the package ray is not installed")
    place = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))  # its sockets' names may have 107 bytes
    token = place / "token"
    token.write_text("7" * 64)
    token.chmod(0o600)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    variables = os.environ | {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_USAGE_STATS_ENABLED": "0",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--port", str(port), "--num-cpus", "3"]
    command += ["--node-ip-address", "127.0.0.1", "--include-dashboard", "false", "--disable-usage-stats", "--block"]
    command += ["--temp-dir", str(place / "ray")]
    command += ["--object-store-memory", str(100 << 20), "--min-worker-port", "0", "--max-worker-port", "0"]
    log = open(place / "head.txt", "wb")
    with ended(subprocess.Popen(command, env=variables, stdout=log, stderr=log, start_new_session=True)) as head:
        until = time.monotonic() + PATIENCE_S
        while b"Ray runtime started" not in (place / "head.txt").read_bytes():
            if head.poll() is not None or time.monotonic() > until:
                pytest.skip(f"Ray cannot be started here: {(place / 'head.txt').read_text()[-500:]}")
            time.sleep(0.5)
        yield variables | {"RAY_ADDRESS": f"127.0.0.1:{port}", ray_member.JOIN: "1"}
    shutil.rmtree(place, ignore_errors=True)


def test_a_step_spreads_its_work_over_a_cluster_that_it_joins(cluster, manifest, tmp_path, home):
    create_development_key()
    settings = RedactSettings(entities=("PERSON", "PHONE_NUMBER"), name_engine="none", max_quarantined_share=0.1)
    alone, _ = Redactor(settings, KeyRing.load(), tmp_path / "quarantine", tmp_path / "work").run(manifest)
    (tmp_path / "manifest.json").write_text(manifest.model_dump_json())
    variables = cluster | {
        name: os.environ[name] for name in ("DOMAINLM_HOME", "DOMAINLM_PROJECT") if name in os.environ
    }
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "manifest.json"), str(tmp_path / "ray")],
        env=variables, capture_output=True, text=True, timeout=PATIENCE_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    nodes, digest = done.stdout.strip().splitlines()[-2:]
    assert nodes == "[(True, 0), (True, 3.0)]"
    assert digest == digest_dataset(alone)


def test_who_has_no_token_does_not_join(cluster, monkeypatch):
    for name, value in cluster.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "8" * 64)
    monkeypatch.setattr(ray_member, "START_S", 60)
    with pytest.raises(ConfigurationError, match="cannot join the Ray cluster"), ray_member.member():
        raise AssertionError("a stranger joined")


def test_nobody_joins_unless_told(monkeypatch):
    monkeypatch.delenv(ray_member.JOIN, raising=False)
    monkeypatch.setattr(subprocess, "Popen", None)
    with ray_member.member():
        pass
