"""Nodes that share nothing train as one process does: the other node here has a home of its own and cannot see node
0's folders (a mount namespace hides them where this machine allows one)."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from many_trainings import LOSS_TOLERANCE, WEIGHTS_TOLERANCE, distance, recipe, weights

from domainlm.artifacts import BaseCheckpoint
from domainlm.digests import digest_folder
from domainlm.errors import ModelError, TrainingError
from domainlm.train.processes import nodes
from domainlm.train.processes.copying import _inside, files_below
from domainlm.train.processes.job import Job

PATIENCE_S = 120
JOIN = [sys.executable, "-m", "domainlm.train.processes.nodes"]
BLIND = (
    "import sys; from domainlm.train.processes import nodes; nodes._sees = lambda plan: False; sys.exit(nodes.main())"
)
HIDE = 'for place in $HIDDEN; do mount -t tmpfs none "$place" || exit 9; done; exec "$@"'


def free_ports() -> str:
    """A port for torchrun with the next one free for the meeting."""
    for _ in range(100):
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port = first.getsockname()[1]
            with contextlib.suppress(OSError):
                second.bind(("127.0.0.1", port + 1))
                return str(port)
    raise AssertionError("no two ports in a row are free")


@pytest.fixture
def node_0(monkeypatch) -> str:
    """This process is node 0; the port that its processes meet at."""
    port = free_ports()
    for name, value in {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
        "GLOO_SOCKET_IFNAME": "lo",
        "DOMAINLM_NODES_WAIT_S": str(PATIENCE_S),
    }.items():
        monkeypatch.setenv(name, value)
    return port


@pytest.fixture
def another_node(node_0, tmp_path):
    """Starts a node with a home of its own that cannot see the given folders; ended with the test."""
    begun: list[subprocess.Popen] = []

    def start(*hidden: Path, **variables: str) -> subprocess.Popen:
        place = tmp_path / "other" / "home"
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        for folder in hidden:
            folder.mkdir(parents=True, exist_ok=True)
        own = {
            "DOMAINLM_HOME": str(place),
            "JOB_COMPLETION_INDEX": "0",  # as Kubernetes numbers the pods of an Indexed Job
            "PYTHONPATH": os.pathsep.join(sys.path),
            "HIDDEN": " ".join(map(str, hidden)),
        }
        command = JOIN
        if hidden:
            namespace = ["unshare", "--mount", "sh", "-c", HIDE, "hide"]
            allowed = shutil.which("unshare") and (
                subprocess.run([*namespace, "true"], env=os.environ | own, capture_output=True, timeout=30).returncode
                == 0
            )
            command = [*namespace, *JOIN] if allowed else [sys.executable, "-c", BLIND]
        said = open(tmp_path / "other" / "said.txt", "w")
        begun.append(
            subprocess.Popen(
                command, env=os.environ | own | variables, stdout=said, stderr=said, start_new_session=True
            )
        )
        return begun[-1]

    yield start
    for process in begun:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(30)


def said(tmp_path: Path) -> str:
    return (tmp_path / "other" / "said.txt").read_text()[-3000:]


def two_nodes(name: str, strategy: str) -> dict:
    settings, _ = recipe(name, 2)
    return settings.model_dump() | {"processes": 1, "nodes": 2, "strategy": strategy}


def test_nodes_that_see_one_folder_use_it(two_processes, outcome, tune, another_node, tmp_path) -> None:
    joining = another_node()
    adapter, _ = tune("run", **two_nodes("dropout", "ddp"))
    assert adapter.digest == outcome("ddp_dropout")["digest"]
    assert joining.wait(PATIENCE_S) == 0, said(tmp_path)
    assert not (tmp_path / "other" / "home" / "nodes").exists()  # nothing was copied


@pytest.mark.parametrize("strategy", ["ddp", "fsdp2"])
def test_nodes_apart_train_what_two_processes_train(
    strategy, two_processes, outcome, tune, another_node, tiny_base, plain_tokenizer, tmp_path, caplog
) -> None:
    """Bit for bit, with dropout; and once more after the last checkpoint is lost, from the one before."""
    hidden = (tmp_path / "run", tiny_base.path, plain_tokenizer.path)
    asked = two_nodes("dropout", strategy)
    work = tmp_path / "run" / "work"
    joining = another_node(*hidden)
    with caplog.at_level("INFO", "domainlm"):
        adapter, report = tune("run", **asked)
    assert "share no folder and get copies" in caplog.text
    assert joining.wait(PATIENCE_S) == 0, said(tmp_path)
    assert adapter.digest == outcome(f"{strategy}_dropout")["digest"] == report.adapter_digest
    assert json.loads((work / "throughput.json").read_text())["world_size"] == 2
    newest = work / "checkpoint-8"
    assert {"rng_state_0.pth", "rng_state_1.pth"} <= set(files_below(newest))  # the other node's too
    assert list((tmp_path / "other" / "home" / "nodes").iterdir()) == []  # no second copy of the records stays

    if strategy == "ddp":  # goes on in the test of a killed node
        return
    # the end is lost: both go on from the checkpoint before, with node 1's random state, which came from there
    shutil.rmtree(newest)
    shutil.rmtree(tmp_path / "run" / "adapter")
    joining = another_node(*hidden)
    again, _ = tune("run", **asked)
    assert joining.wait(PATIENCE_S) == 0, said(tmp_path)
    assert again.digest == adapter.digest


def test_nodes_apart_train_what_one_process_trains(
    one_process, tune, another_node, tiny_base, plain_tokenizer, tmp_path
) -> None:
    """Two nodes with batch 8 against one process with 16: early stopping and its best weights, by tolerance."""
    joining = another_node(tmp_path / "run", tiny_base.path, plain_tokenizer.path)
    adapter, report = tune("run", **two_nodes("stopped_early", "ddp"))
    assert joining.wait(PATIENCE_S) == 0, said(tmp_path)
    alone, wanted = one_process("stopped_early")
    assert report.steps == wanted.steps and report.stages[0].stopped_early
    assert distance(weights(adapter.path), weights(alone.path)) < WEIGHTS_TOLERANCE
    for here, there in zip(report.curve, wanted.curve, strict=True):
        assert here["loss"] == pytest.approx(there["loss"], rel=LOSS_TOLERANCE)


def test_nodes_apart_get_the_adapter_that_they_go_on_from(
    tune, another_node, tiny_base, plain_tokenizer, tmp_path
) -> None:
    first, before = tune("first", method="lora")
    joining = another_node(tmp_path / "run", first.path, tiny_base.path, plain_tokenizer.path)
    apart = {"processes": 1, "nodes": 2, "strategy": "ddp", "learning_rate": 1e-30, "max_steps": 1}
    adapter, after = tune("run", method="lora", start=first, **apart)
    assert joining.wait(PATIENCE_S) == 0, said(tmp_path)
    assert after.started_from == first.digest
    assert after.dev_bits_per_character_before == pytest.approx(before.dev_bits_per_character, rel=1e-4)
    assert distance(weights(adapter.path), weights(first.path)) == 0


def test_an_external_base_that_the_other_node_lacks_is_copied(
    outcome, two_processes, tune, another_node, tiny_base, plain_tokenizer, tmp_path
) -> None:
    weights_at = tmp_path / "models" / "tiny"
    shutil.copytree(tiny_base.path, weights_at)
    folder = tmp_path / "run" / "base"
    folder.mkdir(parents=True)
    base = BaseCheckpoint(folder)
    digest = digest_folder(weights_at, ignore=["domainlm.json"])
    base.write_card(**tiny_base.card | {"external": True, "location": str(weights_at), "digest": digest})
    joining = another_node(tmp_path / "run", tmp_path / "models", tiny_base.path, plain_tokenizer.path)
    adapter, _ = tune("run", base=base, **two_nodes("dropout", "ddp"))
    assert joining.wait(PATIENCE_S) == 0, said(tmp_path)
    tensors = weights(adapter.path)
    assert distance(tensors, weights(two_processes / "ddp_dropout" / "adapter")) == 0


def test_what_the_other_node_says_of_its_end_is_raised_on_node_0(
    tune, another_node, tiny_base, plain_tokenizer, tmp_path
) -> None:
    """An error of every process comes back as itself, also where no folder is shared."""
    joining = another_node(tmp_path / "run", tiny_base.path, plain_tokenizer.path)
    with pytest.raises(ModelError, match="rank 4096 exceeds the layer"):
        tune("run", method="lora", rank=4096, processes=1, nodes=2, strategy="ddp")
    assert joining.wait(PATIENCE_S) == 1
    assert "rank 4096 exceeds the layer" in said(tmp_path)


def test_a_node_that_is_killed_is_named_and_costs_no_step(
    two_processes, outcome, tune, another_node, tiny_base, plain_tokenizer, tmp_path
) -> None:
    """It ends as a pod ends whose memory ran out; the next try goes on from what both had saved."""
    hidden, work = (tmp_path / "run", tiny_base.path, plain_tokenizer.path), tmp_path / "run" / "work"
    asked = two_nodes("dropout", "ddp") | {"max_steps": 60}
    joining = another_node(*hidden)
    stop = threading.Event()

    def kill() -> None:
        while not stop.wait(0.02):
            if any(int(path.name.rpartition("-")[2]) >= 4 for path in work.glob("checkpoint-*")):
                os.killpg(joining.pid, signal.SIGKILL)
                return

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        with pytest.raises(TrainingError, match="node 1 ended and left no word"):
            tune("run", **asked)
    finally:
        stop.set()
        killer.join()
    joining = another_node(*hidden)
    adapter, _ = tune("run", **asked)
    assert joining.wait(PATIENCE_S) == 0, said(tmp_path)
    assert adapter.digest == outcome("ddp_long")["digest"]


def noted(tmp_path: Path, **answers: list | None) -> tuple[nodes.Others, Job]:
    class Heard:
        address = "node-0"

        def hear(self, name: str, wait_s: float):
            return answers[name.replace("/", "_")]

    job = Job(tmp_path / "job")
    (job.place / "errors").mkdir(parents=True)
    job.note_error(0, RuntimeError("[gloo] Connection closed by peer"))
    return nodes.Others(Heard(), len(answers) + 1, apart=True), job


def test_a_node_that_is_gone_is_named(tmp_path) -> None:
    others, job = noted(tmp_path, ended_1=[], ended_2=None)
    others.gather_errors(job, 1)
    with pytest.raises(TrainingError, match="node 2 ended and left no word"):
        job.raise_error()


def test_another_nodes_reason_comes_before_the_lost_connection_here(tmp_path) -> None:
    reason = {
        "kind": "TrainingError",
        "what": "no room",
        "where": "/x",
        "remedy": "",
        "rank": 1,
        "time": 0,
        "lost": False,
    }
    others, job = noted(tmp_path, ended_1=[reason], ended_2=None)
    others.gather_errors(job, 1)
    with pytest.raises(TrainingError, match="no room"):
        job.raise_error()


@pytest.mark.parametrize(
    ("answers", "what", "where"),
    [
        ({1: None, 2: {"sees": True, "other": [], "weights": True}}, "2 of 3 nodes came within", "node 1"),
        ({1: {"sees": True, "other": ["torch"], "weights": True}}, "its torch is another version", "node 1"),
        (
            {1: {"sees": True, "other": [], "weights": True}, 2: {"sees": False, "other": [], "weights": True}},
            "some nodes see node 0's folder and others do not",
            "node 2",
        ),
    ],
)
def test_nodes_that_do_not_fit_together_do_not_begin(answers, what, where) -> None:
    with pytest.raises(TrainingError, match=what) as raised:
        nodes._agreed(answers, len(answers) + 1)
    assert raised.value.where == where and raised.value.remedy


def test_a_node_that_nobody_joins_says_so(tune, node_0, monkeypatch) -> None:
    monkeypatch.setenv("DOMAINLM_NODES_WAIT_S", "1")
    with pytest.raises(TrainingError, match="1 of 2 nodes came within 1 s") as raised:
        tune("run", method="lora", processes=1, nodes=2, strategy="ddp")
    assert raised.value.where == "node 1"


def test_a_node_without_node_0_gives_up(another_node, tmp_path) -> None:
    assert another_node(DOMAINLM_NODES_WAIT_S="1").wait(PATIENCE_S) == 1
    assert "TrainingError" in said(tmp_path) and "node 0 did not come" in said(tmp_path)


def test_a_join_needs_its_number_and_the_address(monkeypatch, capsys) -> None:
    monkeypatch.setenv("MASTER_ADDR", "node-0")
    assert nodes.main() == 1
    assert "DOMAINLM_NODE_RANK" in capsys.readouterr().err


def test_the_number_comes_from_the_indexed_job_unless_it_is_said(monkeypatch) -> None:
    assert nodes.number() == 0
    monkeypatch.setenv("JOB_COMPLETION_INDEX", "2")
    assert nodes.number() == 3
    monkeypatch.setenv("DOMAINLM_NODE_RANK", "1")
    assert nodes.number() == 1


@pytest.mark.parametrize("name", ["/etc/passwd", "a/../../b", ".."])
def test_a_file_that_would_lie_outside_is_refused(name) -> None:
    with pytest.raises(TrainingError, match="outside its folder"):
        _inside(name)
