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
        ("prefix", {"learning_rate": 5e-2, "max_steps": 60}),
        ("prompt", {"learning_rate": 0.3, "max_steps": 60}),
    ],
)
def test_each_method_learns_and_comes_back_as_it_was(tune, tiny_base, plain_tokenizer, toy_tasks, method, changes):
    adapter, report = tune(method=method, **{"max_steps": 30, **changes})
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


@pytest.fixture
def tiny_llama(tiny_base, tmp_path):
    """A random Llama with the tiny base's tokenizer, and that tokenizer without new tokens."""
    from transformers import LlamaConfig, LlamaForCausalLM

    from domainlm.artifacts import TokenizerFolder
    from domainlm.models import load_tokenizer, resolve_base

    tokenizer = load_tokenizer(tiny_base)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=64, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=128,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(tmp_path / "llama")
    tokenizer.save_pretrained(tmp_path / "llama")
    base = resolve_base(str(tmp_path / "llama"), tmp_path / "card")
    plain = TokenizerFolder(tmp_path / "plain")
    tokenizer.save_pretrained(plain.path)
    plain.write_card(new_tokens={}, base_digest=base.card["digest"])
    return base, plain


@pytest.mark.parametrize("method", ["llama_adapter", "prefix"])
def test_virtual_tokens_go_with_grouped_query_attention(tune, tiny_llama, toy_tasks, method) -> None:
    base, plain = tiny_llama
    adapter, report = tune(base=base, tokenizer=plain, method=method, virtual_tokens=5, max_steps=20, learning_rate=0.1)
    assert report.curve[-1]["loss"] < report.curve[0]["loss"]
    tuned, tokenizer = load_adapter(base, plain, adapter)
    prompt = toy_tasks["mood"].prompt("Kestrel Foods: profit rises")
    untouched, _ = load_base(base, plain, "none")
    scores, before = (
        completion_log_likelihoods(model, tokenizer, [prompt] * 2, [" good", " bad"]) for model in (tuned, untouched)
    )
    assert scores != pytest.approx(before, abs=1e-3)


def test_a_method_that_peft_has_not_for_an_architecture_is_named(tune) -> None:
    with pytest.raises(ModelError, match="no method 'llama_adapter' for a base of architecture 'falcon'"):
        tune(method="llama_adapter")


def test_a_rank_above_the_layer_is_named(tune) -> None:
    with pytest.raises(ModelError, match="rank 96 exceeds the layer"):
        tune(rank=96)


def test_virtual_tokens_count_against_the_context(tune) -> None:
    from domainlm.errors import TrainingError

    with pytest.raises(TrainingError, match="exceed"):
        tune(method="prompt", virtual_tokens=110)
    with pytest.raises(TrainingError, match="600 virtual tokens leave no room for a text in the base's context of 128"):
        tune(method="prefix", virtual_tokens=600)  # in the same folder: nothing was begun there


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"method": "qlora", "bits": 8}, "'qlora' means 4 bits"),
        ({"method": "full", "bits": 4}, "quantized ones cannot be"),
        ({"early_stopping": 2}, "needs eval_steps"),
        ({"early_stopping": 2, "eval_steps": 5, "dev_records": 0}, "needs dev_records"),
        ({"method": "prefix", "batching": "packed"}, "does not go with method prefix"),
        ({"method": "prompt", "adapt_embedding": True}, "does not go with method 'prompt'"),
        ({"strategy": "deepspeed"}, "needs deepspeed_config"),
        ({"strategy": "fsdp2"}, "'fsdp2' needs several processes"),
        ({"stages": ({"name": "a"}, {"name": "a"})}, "two stages have one name"),
        ({"stages": ({"name": "a", "objective": "classification"},)}, "cannot share stages"),
    ],
)
def test_settings_that_contradict_each_other_are_refused_with_the_reason(changes, said) -> None:
    from pydantic import ValidationError

    from domainlm.train.settings import TrainSettings

    with pytest.raises(ValidationError, match=said):
        TrainSettings(**changes)
