"""Each method by its one key: it learns, it is saved, it comes back, and what peft cannot do is said by name."""

from __future__ import annotations

import pytest
import torch

from domainlm.errors import ModelError
from domainlm.models import completion_log_likelihoods, generate, load_adapter, load_base


@pytest.mark.parametrize(
    ("method", "changes"),
    [
        ("qlora", {}),
        ("lora", {}),
        ("lora", {"bits": 8}),
        ("dora", {}),
        ("dora", {"bits": 4}),
        ("full", {"learning_rate": 1e-3}),
        ("prefix", {"learning_rate": 5e-2}),
        ("prompt", {"learning_rate": 5e-2}),
    ],
)
def test_each_method_learns_and_comes_back_as_it_was(tune, tiny_base, plain_tokenizer, toy_tasks, method, changes):
    adapter, report = tune(method=method, max_steps=30, **changes)
    assert all(
        report.dev_bits_per_character[task] < report.dev_bits_per_character_before[task] for task in ("mood", "term")
    )
    tuned, tokenizer = load_adapter(tiny_base, plain_tokenizer, adapter)
    prompt = toy_tasks["mood"].prompt("Kestrel Foods: profit rises")
    scores = completion_log_likelihoods(tuned, tokenizer, [prompt] * 2, [" good", " bad"])
    base, own = load_base(tiny_base, None, adapter.card["quantization"])
    assert max(scores) > max(completion_log_likelihoods(base, own, [prompt] * 2, [" good", " bad"]))
    assert generate(tuned, tokenizer, [prompt], max_new_tokens=4)[0].text
    assert (report.quantized_layers > 0) == (adapter.card["quantization"] != "none")
