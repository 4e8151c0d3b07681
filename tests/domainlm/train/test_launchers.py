"""Processes are started, signalled, killed and joined for real; command lines and configurations are checked."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from many_trainings import recipe

from domainlm.errors import ConfigurationError, ModelError, StageFailed, TrainingError, TrainingStopped
from domainlm.train.processes import launchers
from domainlm.train.processes.job import Job
from domainlm.train.settings import TrainSettings

PATIENCE_S = 120

LAUNCHER = """
import json, sys
from pathlib import Path
from datasets import load_from_disk
from many_trainings import recipe
from domainlm.artifacts import BaseCheckpoint, TokenizerFolder
from domainlm.tasks import Task
from domainlm.train import train

inputs, base, tokenizer, place = map(Path, sys.argv[1:5])
tasks = {name: Task(**fields) for name, fields in json.loads((inputs / "tasks.json").read_text()).items()}
train(
    load_from_disk(str(inputs / "records")), TokenizerFolder(tokenizer), BaseCheckpoint(base), recipe("long", 2)[0],
    tasks, place / "adapter", place / "work",
)
"""


def wait_for(condition, what: str) -> None:
    """Until it holds; a test that waits in vain fails."""
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.05)


def alive(process: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@contextlib.contextmanager
def once(condition, act):
    """Act as soon as it holds, beside what is done meanwhile."""
    stop = threading.Event()

    def watch() -> None:
        while not stop.is_set():
            if condition():
                act()
                return
            time.sleep(0.02)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        stop.set()
        watcher.join()


def beyond(work: Path, step: int) -> bool:
    """Whether a checkpoint after this step is there."""
    found = [int(path.name.rpartition("-")[2]) for path in work.glob("checkpoint-*")]
    return max(found, default=0) > step


def newest(work: Path) -> int:
    return max((int(path.name.rpartition("-")[2]) for path in work.glob("checkpoint-*")), default=0)


def test_killed_launchers_killed_processes_and_signals_leave_no_process_and_cost_no_step(
    two_processes, outcome, tiny_base, plain_tokenizer, toy_records, toy_tasks, tmp_path
) -> None:
    """One training, hit four times; in the end its adapter is that of the training that nobody hit, bit for bit."""
    from domainlm.train import train

    work, job = tmp_path / "work", Job(tmp_path / "work" / "processes")
    settings, _ = recipe("long", 2)
    seen: dict[int, int] = {}

    def run():
        return train(
            toy_records, plain_tokenizer, tiny_base, settings, toy_tasks, tmp_path / "adapter", tmp_path / "work"
        )

    # the launcher is killed: it can do nothing about its processes, the kernel does
    places = (two_processes, tiny_base.path, plain_tokenizer.path, tmp_path)
    program = [sys.executable, "-c", LAUNCHER, *map(str, places)]
    variables = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    launcher = subprocess.Popen(program, env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: beyond(work, 3), "no checkpoint came")
        seen = job.processes()
        assert len(seen) == 2 and all(map(alive, seen.values()))
    finally:
        launcher.kill()
        launcher.wait(30)
    wait_for(lambda: not any(map(alive, seen.values())), "processes outlived their launcher")
    assert not (tmp_path / "adapter" / "domainlm.json").exists()

    # one process is killed: the other ends with it, and the error says which one and how
    at = newest(work)
    assert 4 <= at < 60

    def kill_second() -> None:
        seen.update(job.processes())
        os.kill(seen[1], signal.SIGKILL)

    with (
        once(lambda: beyond(work, at), kill_second),
        pytest.raises(TrainingError, match="process 1 ended by signal SIGKILL and left no word"),
    ):
        run()
    wait_for(lambda: not any(map(alive, seen.values())), "processes outlived each other")
    assert not job.place.exists()

    # SIGTERM reaches all: both save after the same step
    at = newest(work)
    before = signal.getsignal(signal.SIGTERM)
    with (
        once(lambda: beyond(work, at), lambda: os.kill(os.getpid(), signal.SIGTERM)),
        pytest.raises(TrainingStopped, match=r"stopped by SIGTERM after step \d+; its checkpoint is complete"),
    ):
        run()
    assert signal.getsignal(signal.SIGTERM) is before
    assert at < newest(work) < 60

    adapter, report = run()
    assert report.model_dump(mode="json") == outcome("ddp_long")["report"]
    assert adapter.digest == outcome("ddp_long")["digest"]
    assert not job.place.exists()


def test_an_error_of_a_process_comes_back_as_itself(tune) -> None:
    with pytest.raises(ModelError, match="rank 4096 exceeds the layer") as raised:
        tune(method="lora", rank=4096, processes=2, strategy="ddp")
    assert raised.value.where == "steps.train.parameters.rank"


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")
def test_ray_train_runs_the_same_training(two_processes, outcome, tune, tmp_path, caplog) -> None:
    settings, _ = recipe("dropout", 2)
    with caplog.at_level("INFO", "domainlm"):
        try:
            adapter, _ = tune("run", **settings.model_dump() | {"strategy": "ray"})
        except TrainingError as error:
            if "Ray cannot be started" in error.what:
                pytest.skip(str(error))
            raise
    assert adapter.digest == outcome("ddp_dropout")["digest"]
    told = json.loads((tmp_path / "run" / "work" / "throughput.json").read_text())
    assert (told["wrapper"], told["world_size"]) == ("DDP", 2)
    assert "2 processes on 1 nodes by Ray Train, strategy ray" in caplog.text


# ---- what is refused before anything is started


def asked(**changes) -> TrainSettings:
    return TrainSettings(**{"method": "lora", "processes": 2, "strategy": "fsdp2"} | changes)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"method": "prompt"}, "cannot be sharded"),
        ({"bits": 8}, "8-bit weights cannot be sharded"),
        ({"optimizer": "paged_adamw_8bit"}, "needs whole tensors"),
        ({"compute_dtype": "float16"}, "gradient scaler"),
        ({"nodes": 2}, "2 nodes need MASTER_ADDR"),
    ],
)
def test_what_cannot_be_sharded_is_refused_by_name(changes, said, monkeypatch) -> None:
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    with pytest.raises(ConfigurationError, match=said) as raised:
        launchers.check(asked(**changes), "fsdp2")
    assert raised.value.remedy


def test_the_pipeline_runs_on_node_0_only(monkeypatch) -> None:
    monkeypatch.setenv("DOMAINLM_NODE_RANK", "1")
    with pytest.raises(ConfigurationError, match="the pipeline runs on node 0 only") as raised:
        launchers.check(asked(), "ddp")
    assert "python -m domainlm.train.processes.nodes" in raised.value.remedy


def test_auto_shards_what_one_device_does_not_hold(tiny_base, monkeypatch) -> None:
    assert launchers.chosen(asked(strategy="auto", max_length=64), tiny_base) == "ddp"
    assert launchers.chosen(asked(strategy="auto", max_length=64, memory_gb=1e-3), tiny_base) == "fsdp2"
    assert launchers.chosen(asked(strategy="auto", memory_gb=1e-3, method="prompt"), tiny_base) == "ddp"
    assert launchers.chosen(asked(strategy="ddp", memory_gb=1e-3), tiny_base) == "ddp"
    head = asked(strategy="auto", memory_gb=1e-3, objective="classification", tasks=["mood"])
    assert launchers.chosen(head, tiny_base) == "ddp"


def test_one_process_starts_no_others(tiny_base) -> None:
    assert not launchers.many(asked(processes=1, strategy="auto"))
    assert launchers.many(asked()) and launchers.many(asked(processes=1, nodes=2))
    assert launchers.many(asked(processes=1, strategy="ray"))  # on a cluster's GPU
    assert launchers.many(asked(processes=1, strategy="deepspeed", deepspeed_config="zero.json"))  # with its offloading


# ---- command lines


def test_torchrun_on_one_node_stays_on_loopback(tmp_path) -> None:
    command = launchers.torchrun_command(tmp_path, 8)
    assert command[1:5] == ["-m", "torch.distributed.run", "--nproc-per-node", "8"]
    assert command[command.index("--local-addr") + 1] == "127.0.0.1" and "--standalone" in command
    assert command[-3:] == ["-m", "domainlm.train.processes.worker", str(tmp_path)]


def test_torchrun_on_several_nodes_meets_at_node_0(tmp_path, monkeypatch) -> None:
    for name, value in {"MASTER_ADDR": "node-0", "MASTER_PORT": "12345", "DOMAINLM_NODE_RANK": "3"}.items():
        monkeypatch.setenv(name, value)
    command = launchers.torchrun_command(tmp_path, 8, 4)
    wanted = {"--nnodes": "4", "--node-rank": "3", "--master-addr": "node-0", "--master-port": "12345"}
    assert {name: command[command.index(name) + 1] for name in wanted} == wanted
    assert "--standalone" not in command


def test_the_lines_are_ones_that_torchrun_reads(tmp_path) -> None:
    from torch.distributed.run import get_args_parser

    given = get_args_parser().parse_args(launchers.torchrun_command(tmp_path, 2)[3:])
    assert (given.nproc_per_node, given.training_script, given.module) == ("2", "domainlm.train.processes.worker", True)
    assert given.training_script_args == [str(tmp_path)] and given.max_restarts == 0


def test_deepspeed_has_its_own_launcher(tmp_path, monkeypatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    command = launchers.deepspeed_command(tmp_path, 4)
    assert command[1:5] == ["-m", "deepspeed.launcher.runner", "--num_gpus", "4"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6,7")
    limited = launchers.deepspeed_command(tmp_path, 2)
    assert limited[3:5] == ["--include", "localhost:4,5"] and "--num_gpus" not in limited
    assert command[-3:] == ["--module", "domainlm.train.processes.worker", str(tmp_path)]
    monkeypatch.setenv("MASTER_ADDR", "node-0")
    assert "torch.distributed.run" in launchers.deepspeed_command(tmp_path, 4, 2)


# ---- DeepSpeed's configuration


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "is not a readable JSON file"),
        ("{", "is not a readable JSON file"),
        ('{"train_batch_size": "auto"}', "has no zero_optimization"),
        ('{"zero_optimization": {"stage": 2}, "gradient_accumulation_steps": 3}', "_steps is 3, the recipe's is 1"),
        ('{"zero_optimization": {"stage": 2}, "train_batch_size": 16}', "train_batch_size is 16, the recipe's is 32"),
        ('{"zero_optimization": {"stage": 3}}', "ZeRO 3 cannot shard quantized weights"),
    ],
)
def test_a_deepspeed_configuration_that_contradicts_the_recipe_is_refused(content, said, tmp_path) -> None:
    path = tmp_path / "zero.json"
    if content is not None:
        path.write_text(content)
    settings = asked(method="qlora", strategy="deepspeed", deepspeed_config=str(path))
    with pytest.raises(ConfigurationError, match=said) as raised:
        launchers.check_deepspeed(settings)
    assert raised.value.where == str(path)


@pytest.mark.skipif(importlib.util.find_spec("deepspeed") is not None, reason="DeepSpeed is installed")
def test_deepspeed_that_is_not_there_is_named(tmp_path, tiny_base, tune) -> None:
    path = tmp_path / "zero.json"
    path.write_text('{"zero_optimization": {"stage": 2}, "train_micro_batch_size_per_gpu": "auto"}')
    with pytest.raises(ConfigurationError, match="needs the package deepspeed"):
        tune(method="lora", processes=2, strategy="deepspeed", deepspeed_config=str(path))


# ---- what processes leave behind


def noted(tmp_path, **errors) -> Job:
    job = Job(tmp_path / "job")
    (job.place / "errors").mkdir(parents=True)
    for rank, error in errors.items():
        job.note_error(int(rank[1:]), error)
        time.sleep(0.01)
    return job


def test_the_error_that_began_it_is_the_one_that_is_raised(tmp_path) -> None:
    """When one process ends, the others fail at reaching it, often sooner than it has said why."""
    said = TrainingError("the loss is not finite", "records 1", "look at it")
    job = noted(tmp_path, r1=RuntimeError("connection closed"), r0=said)
    with pytest.raises(TrainingError, match="the loss is not finite") as raised:
        job.raise_error()
    assert raised.value.args == said.args


def test_what_comes_of_a_lost_process_is_raised_last(tmp_path) -> None:
    """A checkpoint that could not be written since another process was killed is not the fault."""
    try:
        try:
            raise RuntimeError("[gloo/transport/tcp/pair.cc:553] Connection closed by peer")
        except RuntimeError:
            raise TrainingError("the checkpoint could not be written") from None
    except TrainingError as error:
        job = noted(tmp_path, r0=error)
    job.raise_error()
    ended = "  rank      : {0} (local_rank: {0})\n  exitcode  : {1} (pid: 7)\n"
    summary = ended.format(0, 1) + ended.format(1, -9)
    with pytest.raises(TrainingError, match="process 1 ended by signal SIGKILL"):
        launchers._raise_death(launchers._DEATH.findall(summary), job)
    with pytest.raises(TrainingError, match="checkpoint could not be written"):
        job.raise_error(lost=True)


def test_what_a_library_says_is_withheld(tmp_path) -> None:
    try:
        raise ValueError("Jane Doe's account")
    except ValueError as error:
        job = noted(tmp_path, r1=error)
    with pytest.raises(StageFailed, match="ValueError in process 1") as raised:
        job.raise_error()
    assert "Jane" not in str(raised.value) + "".join(path.read_text() for path in (job.place / "errors").iterdir())
    assert "test_launchers.py" in raised.value.where


def test_a_process_ends_with_another_one_that_is_not_its_parent() -> None:
    """DeepSpeed's launcher starts a launcher that starts the processes: killing the first leaves the others running."""
    watched = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    program = "import sys, time; from domainlm.train.processes.worker import die_with"
    program += "; die_with(int(sys.argv[1])); time.sleep(60)"
    watching = subprocess.Popen([sys.executable, "-c", program, str(watched.pid)])
    try:
        time.sleep(0.2)
        assert watching.poll() is None
        watched.kill()
        watched.wait(30)
        assert watching.wait(50) == 1
    finally:
        for process in (watched, watching):
            process.kill()
            process.wait(30)


def test_processes_without_a_report_are_an_error(tmp_path) -> None:
    with pytest.raises(TrainingError, match="ended without a report"):
        noted(tmp_path).result(tmp_path / "adapter")


def test_ctrl_c_stays_ctrl_c(tmp_path) -> None:
    with pytest.raises(KeyboardInterrupt):
        noted(tmp_path, r0=KeyboardInterrupt()).raise_error()
