"""Bits per character of running text, before and after a training."""

from __future__ import annotations

import pytest

from domainlm.compare import retention
from domainlm.errors import EvaluationError
from domainlm.train import train
from domainlm.train.settings import TrainSettings


def test_a_training_on_answers_alone_costs_running_text(
    tiny_base, plain_tokenizer, toy_records, toy_corpus, toy_tasks, tmp_path
) -> None:
    settings = TrainSettings(
        max_steps=20, batch_size=8, rank=4, learning_rate=2e-2, threads=1, report_to=(), dev_records=0
    )
    adapter, _ = train(
        toy_records, plain_tokenizer, tiny_base, settings, toy_tasks, tmp_path / "adapter", tmp_path / "work"
    )
    found = retention(toy_corpus, tiny_base, plain_tokenizer, adapter, characters=2000, threads=1)
    assert found.base < found.chance < 6
    assert found.tuned > found.base
    assert found.characters >= 1900 and found.documents > 1
    with pytest.raises(EvaluationError, match="held out"):
        retention(toy_records.select([0]), tiny_base, plain_tokenizer, adapter)
