"""A training on the toy records, with the few settings that a test wants to change."""

from __future__ import annotations

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

    def run(name: str = "run", records=toy_records, tokenizer=plain_tokenizer, base=tiny_base, **changes):
        settings = TrainSettings(**(QUICK | changes))
        return train(
            records, tokenizer, base, settings, toy_tasks, tmp_path / name / "adapter", tmp_path / name / "work"
        )

    return run
