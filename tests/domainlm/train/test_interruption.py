"""A training that is killed, stopped, out of disk or robbed of a checkpoint goes on to the very same weights.

Processes that shall die are forked from one that has imported everything and done nothing yet.
"""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time

import pytest

from domainlm.artifacts import AdapterFolder
from domainlm.digests import digest_folder
from domainlm.errors import ArtifactError, TrainingError, TrainingStopped
from domainlm.train.checkpoints import MARKER, is_whole, newest, seal

SERVER = """
import json, os, signal, sys, traceback
from pathlib import Path
import bitsandbytes, peft, torch, transformers
from datasets import load_from_disk
from domainlm.artifacts import BaseCheckpoint, TokenizerFolder
from domainlm.tasks import Task
from domainlm.train import loop, train, trainer
from domainlm.train.watch import observers
from domainlm.train.settings import TrainSettings

WRITES = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree"}

def die_at(place, number):
    seen = [0]
    def hook(event, given):
        if event not in WRITES or not str(given[0]).startswith(str(place)):
            return
        if event == "open" and (not isinstance(given[1], str) or given[1][0] == "r"):
            return
        seen[0] += 1
        if seen[0] == number:
            os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(hook)
    return seen

def send(step, numbers):
    before = observers.StopOnSignal.on_step_begin
    def on_step_begin(self, args, state, control, **given):
        before(self, args, state, control, **given)
        if state.global_step == step:
            for number in numbers:
                os.kill(os.getpid(), number)
    observers.StopOnSignal.on_step_begin = on_step_begin

def work(order):
    place = Path(order["place"])
    tasks = {name: Task(**fields) for name, fields in json.loads((place / "tasks.json").read_text()).items()}
    if order.get("signals"):
        send(order["step"], order["signals"])
    seen = die_at(place, order.get("die_at", 0))
    adapter, report = train(
        load_from_disk(str(place / "records")), TokenizerFolder(Path(order["tokenizer"])),
        BaseCheckpoint(Path(order["base"])), TrainSettings(**order["settings"]), tasks,
        place / "adapter", place / "work")
    return {"writes": seen[0], "adapter": adapter.digest, "report": report.digest}

for line in sys.stdin:
    order = json.loads(line)
    inside, outside = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(inside)
        try:
            answer = work(order)
        except BaseException as error:
            answer = {"error": type(error).__name__, "message": str(error)}
        os.write(outside, json.dumps(answer).encode())
        os._exit(0)
    os.close(outside)
    with os.fdopen(inside) as stream:
        answer = json.loads(stream.read() or "{}")
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    print(json.dumps(answer | {"code": code}), flush=True)
"""

SETTINGS = {
    "max_steps": 8,
    "batch_size": 8,
    "rank": 4,
    "alpha": 8,
    "adapt_embedding": False,
    "loss_weighting": "token",
    "learning_rate": 5e-3,
    "dropout": 0.1,
    "logging_steps": 3,
    "save_steps": 2,
    "threads": 1,
    "report_to": (),
    "dev_records": 12,
    "optimizer": "paged_adamw_32bit",
}
STAGES = ({"name": "first", "tasks": ("mood",), "max_steps": 5}, {"name": "second", "max_steps": 4})
BY_HEART = {
    "tasks": ("term",),
    "max_steps": 60,
    "eval_steps": 2,
    "early_stopping": 3,
    "learning_rate": 2e-2,
    "scheduler": "constant",
    "dropout": 0.0,
}
CASES = {
    "plain": {},
    "stages": {"stages": STAGES},
    "early stopping": BY_HEART,
    "packed": {"batching": "packed", "batch_size": 4, "gradient_accumulation": 2},
}


@pytest.fixture(scope="module")
def server():
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    yield process
    process.stdin.close()
    process.wait(timeout=60)


@pytest.fixture
def elsewhere(server, tmp_path, toy_records, toy_tasks, tiny_base, plain_tokenizer):
    """Trains in a process of its own that may die; what became of it."""
    toy_records.save_to_disk(str(tmp_path / "elsewhere" / "records"))
    place = tmp_path / "elsewhere"
    (place / "tasks.json").write_text(json.dumps({name: task.model_dump() for name, task in toy_tasks.items()}))

    def run(**order) -> dict:
        given = {"place": str(place), "base": str(tiny_base.path), "tokenizer": str(plain_tokenizer.path)}
        server.stdin.write(json.dumps(given | {"settings": SETTINGS} | order) + "\n")
        server.stdin.flush()
        return json.loads(server.stdout.readline())

    run.place = place
    return run


def looks_finished(folder) -> bool:
    """Whether a reader would take the adapter for whole: its card is written last."""
    try:
        return bool(AdapterFolder(folder).card)
    except ArtifactError:
        return False


@pytest.mark.parametrize("case", CASES)
def test_kills_at_random_points_of_saves_change_no_bit_and_leave_nothing_that_looks_finished(
    elsewhere, tune, case: str
) -> None:
    """Where the dice say so, several times in one work folder: while a checkpoint is written, named, or removed."""
    settings = SETTINGS | CASES[case]
    whole, report = tune("whole", **settings)
    digest = whole.digest
    dice = random.Random(case)
    killed = 0
    for _ in range(4):
        found = elsewhere(settings=settings, die_at=dice.randint(4, 40))
        if found["code"] == 0:
            break
        killed += 1
        assert found["code"] == -signal.SIGKILL
        assert not looks_finished(elsewhere.place / "adapter") or digest_folder(elsewhere.place / "adapter") == digest
        for stage in ("work", "work/[12]-*"):
            assert all(map(is_whole, elsewhere.place.glob(f"{stage}/checkpoint-*")))
    assert killed > 1
    shutil.rmtree(elsewhere.place / "adapter", ignore_errors=True)
    done = elsewhere(settings=settings)
    assert (done["adapter"], done["report"]) == (whole.digest, report.digest)
    assert not list(elsewhere.place.glob("work/**/.[ur]*ed-*"))


@pytest.mark.parametrize("case", ["plain", "stages", "early stopping"])
def test_sigterm_leaves_a_checkpoint_that_is_not_taken_for_the_end(elsewhere, tune, case: str) -> None:
    """Neither in the weights nor in the curve is it seen that somebody stopped between two points."""
    settings = SETTINGS | CASES[case]
    whole, report = tune("whole", **settings)
    stopped = elsewhere(settings=settings, signals=[signal.SIGTERM], step=4)
    assert stopped["error"] == "TrainingStopped"
    assert "stopped by SIGTERM after step 5" in stopped["message"] and "run again to go on" in stopped["message"]
    stage = elsewhere.place / "work" / ("1-first" if case == "stages" else "")
    assert newest(stage).name == "checkpoint-5"
    done = elsewhere(settings=settings)
    assert (done["adapter"], done["report"]) == (whole.digest, report.digest)


def test_ctrl_c_saves_first_and_a_second_one_does_not_wait(elsewhere) -> None:
    stopped = elsewhere(signals=[signal.SIGINT], step=2)
    assert stopped["error"] == "KeyboardInterrupt"
    assert newest(elsewhere.place / "work").name == "checkpoint-3"
    assert elsewhere(signals=[signal.SIGINT, signal.SIGINT], step=4)["error"] == "KeyboardInterrupt"
    assert newest(elsewhere.place / "work").name == "checkpoint-4"


def test_the_signals_are_given_back_after_a_training(tune) -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    tune()
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


def test_a_stop_is_told_from_a_failure() -> None:
    """A search ends with the one and goes on after the other."""
    assert issubclass(TrainingStopped, TrainingError)


@pytest.fixture
def small_files():
    """No file may grow beyond so many bytes: what a full disk does, without one."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit(size_bytes: int) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))

    yield limit
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_named_and_the_checkpoint_before_it_survives(tune, tmp_path, small_files, monkeypatch) -> None:
    from domainlm.train.stopping import StopOnSignal

    whole, report = tune("whole", **SETTINGS)
    before = StopOnSignal.on_step_begin

    def fill(self, args, state, control, **given):
        before(self, args, state, control, **given)
        if state.global_step == 5:
            small_files(4096)

    monkeypatch.setattr(StopOnSignal, "on_step_begin", fill)
    with pytest.raises(TrainingError, match="checkpoint of step 6 could not be written") as caught:
        tune("run", **SETTINGS)
    assert "GB are free" in str(caught.value) and "goes on from the newest" in str(caught.value)
    assert newest(tmp_path / "run" / "work").name == "checkpoint-4"
    assert not (tmp_path / "run" / "adapter").exists()
    monkeypatch.undo()
    small_files(resource.getrlimit(resource.RLIMIT_FSIZE)[1])
    resumed, again = tune("run", **SETTINGS)
    assert resumed.digest == whole.digest and again == report


def _fake(folder, content: bytes = b"1234", state: dict | None = None) -> None:
    folder.mkdir()
    (folder / "weights").write_bytes(content)
    if state:
        (folder / "trainer_state.json").write_text(json.dumps(state))
    seal(folder)


def test_what_is_damaged_or_unfinished_is_passed_over(tmp_path) -> None:
    for step in (2, 4, 6, 8, 10):
        _fake(tmp_path / f"checkpoint-{step}")
    (tmp_path / "checkpoint-4" / "weights").write_bytes(b"1235")  # of the right size
    (tmp_path / "checkpoint-6" / "weights").write_bytes(b"12")
    (tmp_path / "checkpoint-8" / MARKER).unlink()
    (tmp_path / "checkpoint-10" / "weights").unlink()
    assert newest(tmp_path).name == "checkpoint-2"
    assert newest(tmp_path / "nothing") is None


def test_a_checkpoint_whose_best_weights_are_gone_is_passed_over(tmp_path) -> None:
    _fake(tmp_path / "checkpoint-2")
    _fake(tmp_path / "checkpoint-6", state={"best_global_step": 4})
    assert newest(tmp_path).name == "checkpoint-2"
    _fake(tmp_path / "checkpoint-4")
    assert newest(tmp_path).name == "checkpoint-6"


def test_a_flipped_bit_costs_the_steps_since_the_older_checkpoint_and_no_more(tune, tmp_path) -> None:
    whole, report = tune("whole", **SETTINGS)
    shutil.copytree(tmp_path / "whole" / "work", tmp_path / "run" / "work")
    optimizer = tmp_path / "run" / "work" / "checkpoint-8" / "optimizer.pt"
    content = bytearray(optimizer.read_bytes())
    content[len(content) // 2] ^= 1
    optimizer.write_bytes(content)
    assert newest(tmp_path / "run" / "work").name == "checkpoint-6"
    resumed, again = tune("run", **SETTINGS)
    assert resumed.digest == whole.digest and again == report
    assert is_whole(tmp_path / "run" / "work" / "checkpoint-8")


def test_the_best_weights_are_found_where_the_folder_was_moved_to(tune, tmp_path) -> None:
    whole, report = tune("whole", **SETTINGS | BY_HEART)
    digest = whole.digest
    work = tmp_path / "moved" / "work"
    shutil.copytree(tmp_path / "whole" / "work", work)
    shutil.rmtree(newest(work))
    shutil.rmtree(tmp_path / "whole")
    resumed, again = tune("moved", **SETTINGS | BY_HEART)
    assert resumed.digest == digest and again == report


@pytest.mark.parametrize(
    ("what", "changes"),
    [
        ("recipe", {"learning_rate": 1e-3}),
        ("data", {"records": "fewer"}),
        ("tokenizer", {"tokenizer": "grown"}),
        ("base", {"base": "other"}),
    ],
)
def test_checkpoints_of_another_base_tokenizer_data_or_recipe_are_refused(
    tune, toy_records, grown_tokenizer, tiny_base, plain_tokenizer, tmp_path, what, changes
) -> None:
    tune("run", max_steps=2)
    if "records" in changes:
        changes = {"records": toy_records.select(range(len(toy_records) - 1))}
    if "tokenizer" in changes:
        changes = {"tokenizer": grown_tokenizer}
    if "base" in changes:
        other = tmp_path / "other"
        shutil.copytree(tiny_base.path, other)
        card = json.loads((other / "domainlm.json").read_text())
        (other / "domainlm.json").write_text(json.dumps(card | {"digest": "0" * 64}))
        changes = {"base": type(tiny_base)(other)}
    with pytest.raises(TrainingError, match=f"checkpoints of another {what} lie here") as caught:
        tune("run", max_steps=2, **changes)
    assert caught.value.where == str(tmp_path / "run" / "work")


def test_what_changes_no_weight_may_change_between_two_attempts(tune) -> None:
    first, _ = tune("run", max_steps=4)
    second, _ = tune("run", max_steps=4, report_to=("tensorboard",), prices={"cpu": 1.0}, save_steps=3)
    assert first.digest == second.digest


def test_checkpoints_of_nobody_known_are_refused(tune, tmp_path) -> None:
    (tmp_path / "run" / "work" / "checkpoint-2").mkdir(parents=True)
    with pytest.raises(TrainingError, match="do not say what they belong to"):
        tune("run")


def test_broken_weights_are_never_saved(tune, tmp_path, monkeypatch) -> None:
    import torch

    from domainlm.train.stopping import StopOnSignal

    before = StopOnSignal.on_step_end

    def spoil(self, args, state, control, model=None, **given):
        before(self, args, state, control, **given)
        if state.global_step == 4:
            with torch.no_grad():
                next(weight for weight in model.parameters() if weight.requires_grad)[0] = float("nan")

    monkeypatch.setattr(StopOnSignal, "on_step_end", spoil)
    with pytest.raises(TrainingError, match="weights are not finite after step 4"):
        tune()
    assert newest(tmp_path / "run" / "work").name == "checkpoint-2"


def test_a_finished_training_is_not_trained_again(tune, tmp_path) -> None:
    """With a constant learning rate, a step too many would show in the weights."""
    first, report = tune("run", scheduler="constant")
    marker = tmp_path / "run" / "work" / "checkpoint-6" / MARKER
    written = marker.stat().st_mtime_ns
    time.sleep(0.01)
    second, again = tune("run", scheduler="constant")
    assert second.digest == first.digest and again == report
    assert marker.stat().st_mtime_ns == written


def test_two_checkpoints_are_kept_and_the_best_beside_them(tune, tmp_path) -> None:
    tune("run", max_steps=10)
    assert sorted(path.name for path in (tmp_path / "run" / "work").glob("checkpoint-*")) == [
        "checkpoint-10",
        "checkpoint-8",
    ]
    tune("best", **SETTINGS | BY_HEART)
    state = json.loads((newest(tmp_path / "best" / "work") / "trainer_state.json").read_text())
    kept = {path.name for path in (tmp_path / "best" / "work").glob("checkpoint-*")}
    last = state["global_step"]
    assert kept == {f"checkpoint-{step}" for step in (last, last - 2, state["best_global_step"])}
