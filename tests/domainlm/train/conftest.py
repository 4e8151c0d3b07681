"""A training on the toy records, with the few settings that a test wants to change."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from domainlm.train.settings import TrainSettings

QUICK = {
    "max_steps": 6,
    "batch_size": 8,
    "rank": 4,
    "alpha": 8,
    "adapt_embedding": False,
    "loss_weighting": "token",
    "learning_rate": 5e-3,
    "logging_steps": 2,
    "save_steps": 2,
    "threads": 1,
    "report_to": (),
    "dev_records": 12,
}


@pytest.fixture
def tune(tiny_base, plain_tokenizer, toy_records, toy_tasks, tmp_path: Path) -> Callable:
    """Runs `train`; names other than settings replace its arguments."""
    from domainlm.train import train

    def run(name: str = "run", records=toy_records, tokenizer=plain_tokenizer, base=tiny_base, start=None, **changes):
        settings, place = TrainSettings(**(QUICK | changes)), tmp_path / name
        return train(records, tokenizer, base, settings, toy_tasks, place / "adapter", place / "work", start=start)

    return run


@pytest.fixture(scope="session")
def two_processes(tiny_base, plain_tokenizer, grown_tokenizer, toy_records, toy_tasks, tmp_path_factory) -> Path:
    """Where the trainings of tests/support/many_trainings.py lie, run over two processes on this CPU."""
    import many_trainings

    place = tmp_path_factory.mktemp("two_processes")
    many_trainings.write_inputs(place, toy_records, toy_tasks)
    variables = os.environ | {
        "BASE": str(tiny_base.path),
        "PLAIN": str(plain_tokenizer.path),
        "GROWN": str(grown_tokenizer.path),
        "OMP_NUM_THREADS": "1",
        "GLOO_SOCKET_IFNAME": "lo",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    program = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    program += ["--local-addr", "127.0.0.1", many_trainings.__file__, str(place)]
    done = subprocess.run(program, env=variables, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return place


@pytest.fixture(scope="session")
def one_process(two_processes, tiny_base, plain_tokenizer, grown_tokenizer, toy_records, toy_tasks) -> Callable:
    """The same recipe in this process, with twice the batch; each once."""
    import functools

    import many_trainings

    from domainlm.train import train

    @functools.cache
    def run(name: str):
        settings, grown = many_trainings.recipe(name, 1)
        tokenizer, folder = grown_tokenizer if grown else plain_tokenizer, two_processes / f"one_{name}"
        return train(toy_records, tokenizer, tiny_base, settings, toy_tasks, folder / "adapter", folder / "work")

    return run


@pytest.fixture(scope="session")
def outcome(two_processes) -> Callable:
    """What the first of two processes told of a training, by its strategy and name."""
    return lambda name: json.loads((two_processes / f"{name}.json").read_text())
