"""What is meant to change speed or memory alone leaves the training as it was.

Batch 8 x 1 = 1 x 8 is in test_finetuning.py, resumed = uninterrupted in test_interruption.py, one process = two in
test_processes.py. Here: SGD and a few steps, so that a difference in any gradient shows in the weights.
"""

from __future__ import annotations

import itertools

import pytest
import small_models
from safetensors.torch import load_file

from domainlm.artifacts import TokenizerFolder
from domainlm.errors import TrainingError

PLAIN = {
    "method": "lora",
    "optimizer": "sgd",
    "learning_rate": 0.5,
    "max_steps": 4,
    "batch_size": 6,
    "batching": "random",
    "loss_chunk_tokens": None,
    "dev_records": 0,
    "logging_steps": 1,
}


@pytest.fixture
def both(tune):
    """Trains as PLAIN says and with some changes; the weights of both, and how far the first ones moved."""

    pairs = itertools.count()

    def run(changes: dict, common: dict | None = None, **places):
        found = []
        pair = next(pairs)
        for name, options in ((f"plain-{pair}", {}), (f"changed-{pair}", changes)):
            adapter, report = tune(name, **(PLAIN | (common or {}) | options), **places)
            found.append((load_file(str(adapter.path / "adapter_model.safetensors")), report))
        (left, before), (right, after) = found
        assert left.keys() == right.keys()
        moved = max(tensor.abs().max().item() for name, tensor in left.items() if "lora_B" in name)
        assert moved > 1e-3
        apart = max((left[name] - right[name]).abs().max().item() for name in left) / moved
        return apart, [point["loss"] for point in before.curve], [point["loss"] for point in after.curve]

    return run


@pytest.fixture
def base_of(tiny_base, tmp_path):
    """A random base of an architecture, with the tiny base's tokenizer."""
    from domainlm.models import load_tokenizer, resolve_base

    def build(name: str, layers: int = 2) -> dict:
        tokenizer = load_tokenizer(tiny_base)
        folder = tmp_path / name
        small_models.make(name, layers, vocab_size=len(tokenizer)).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        base = resolve_base(str(folder), tmp_path / f"{name}-card")
        plain = TokenizerFolder(tmp_path / f"{name}-tokenizer")
        tokenizer.save_pretrained(plain.path)
        plain.write_card(new_tokens={}, base_digest=base.card["digest"])
        return {"base": base, "tokenizer": plain}

    return build


@pytest.mark.parametrize("weighting", ["token", "record"])
@pytest.mark.parametrize("name", ["falcon", "llama", "mistral_window", "qwen2", "gpt_neox"])
def test_packed_is_unpacked(both, base_of, name: str, weighting: str) -> None:
    apart, before, after = both({"batching": "packed"}, {"loss_weighting": weighting}, **base_of(name))
    assert apart < 1e-3
    assert after == pytest.approx(before, rel=1e-3)


def test_packed_is_unpacked_on_a_base_in_four_bits_with_accumulation(both) -> None:
    common = {"method": "qlora", "batch_size": 3, "gradient_accumulation": 2}
    apart, before, after = both({"batching": "packed"}, common)
    assert apart < 1e-2
    assert after == pytest.approx(before, rel=1e-2)


@pytest.mark.parametrize("batching", ["random", "packed"])
@pytest.mark.parametrize("embedding", [False, True])
def test_chunked_logits_are_all_logits(both, batching: str, embedding: bool) -> None:
    """Also where the tied output layer learns, by LoRA on the embedding."""
    apart, before, after = both({"loss_chunk_tokens": 16}, {"batching": batching, "adapt_embedding": embedding})
    assert apart < 1e-3
    assert after == pytest.approx(before, rel=1e-3)


def test_chunked_logits_are_all_logits_when_all_weights_are_trained(tune) -> None:
    import torch

    weights = []
    for name, chunk in (("plain", None), ("chunked", 16)):
        adapter, _ = tune(name, **(PLAIN | {"method": "full", "learning_rate": 0.05, "loss_chunk_tokens": chunk}))
        weights.append(load_file(str(adapter.path / "model.safetensors")))
    for name, tensor in weights[0].items():
        torch.testing.assert_close(weights[1][name], tensor, rtol=1e-3, atol=1e-4, msg=name)


def test_recomputed_activations_are_kept_activations(both) -> None:
    for batching in ("random", "packed"):
        apart, before, after = both({"gradient_checkpointing": True}, {"batching": batching})
        assert apart < 1e-5
        assert after == before


def test_compiled_layers_follow_the_plain_loss(both, base_of) -> None:
    """One layer: compiling costs the same seconds for thirty."""
    from torch._dynamo.utils import counters

    counters.clear()
    apart, before, after = both({"compile": True}, {"batching": "packed"}, **base_of("llama", layers=1))
    assert counters["stats"]["unique_graphs"] == 1 and not counters["graph_break"]
    assert apart < 1e-2
    assert after == pytest.approx(before, rel=1e-3)


def test_a_compiled_pass_that_says_something_else_ends_the_training() -> None:
    import torch

    from domainlm.models.compiling import prove_followed
    from domainlm.train.batching import RightPadding, Rows
    from domainlm.train.losses import put_inside

    model = small_models.make("llama")
    put_inside(model, 16)
    batch = RightPadding(0)([Rows([([5, 6], [7, 8])])[0]])
    del batch["index"]
    loss = model(**batch).loss.detach()
    before = torch.random.get_rng_state()
    prove_followed(model, batch, loss, noisy=False)
    assert torch.equal(torch.random.get_rng_state(), before)
    for wrong in (loss * 1.01, loss * torch.nan):
        with pytest.raises(TrainingError, match="compiled, the first pass has the loss"):
            prove_followed(model, batch, wrong, noisy=False)


def test_processes_that_prepare_batches_change_no_bit(both) -> None:
    for batching in ("random", "packed"):
        apart, before, after = both({"loader_workers": 2}, {"batching": batching})
        assert apart == 0 and after == before


def test_packed_is_unpacked_when_the_rows_of_new_tokens_learn(both, grown_tokenizer) -> None:
    """Their layer stands around the embedding and, tied to it, around the output layer."""
    apart, before, after = both({"batching": "packed", "loss_chunk_tokens": 16}, tokenizer=grown_tokenizer)
    assert apart < 1e-3
    assert after == pytest.approx(before, rel=1e-3)


def test_batches_of_like_lengths_hold_the_same_set(tune, monkeypatch) -> None:
    """Each record once an epoch, with less padding than at random."""
    from domainlm.train.batching import RightPadding

    drawn: list[tuple[list[int], int, int]] = []
    collate = RightPadding.__call__

    def noted(self, rows):
        batch = collate(self, rows)
        drawn.append((batch["index"], batch["input_ids"].numel(), sum(len(row["input_ids"]) for row in rows)))
        return batch

    monkeypatch.setattr(RightPadding, "__call__", noted)
    shares = {}
    for batching in ("random", "grouped"):
        drawn.clear()
        _, report = tune(batching, **(PLAIN | {"batching": batching, "max_steps": None, "epochs": 1.0}))
        examples = report.stages[0].examples
        seen = [number for index, _, _ in drawn[: -(-examples // PLAIN["batch_size"])] for number in index]
        assert sorted(seen) == list(range(examples))
        shares[batching] = sum(held for _, held, _ in drawn) / sum(real for _, _, real in drawn)
    assert shares["grouped"] < shares["random"]


def test_an_order_by_like_lengths_follows_from_seed_and_epoch_alone() -> None:
    import random

    import torch

    from domainlm.train.batching import LikeLengths

    lengths = [random.Random(number).randrange(5, 90) for number in range(503)]
    epoch = 0
    sampler = LikeLengths(lengths, 8, 3, lambda: epoch)
    first = list(sampler)
    torch.rand(5)
    assert list(sampler) == first and sorted(first) == list(range(503))
    epoch = 1
    second = list(sampler)
    assert second != first
    means = [sum(lengths[index] for index in second[at : at + 8]) / 8 for at in range(0, 496, 8)]
    spreads = [
        max(lengths[index] for index in second[at : at + 8]) - min(lengths[index] for index in second[at : at + 8])
        for at in range(0, 496, 8)
    ]
    assert sorted(spreads)[len(spreads) // 2] <= 3  # of 85: alike within a batch
    assert sum(left > right for left, right in itertools.pairwise(means)) in range(20, 42)  # and in no order


@pytest.mark.parametrize("batching", ["grouped", "packed"])
def test_a_training_that_goes_on_in_a_later_epoch_ends_in_the_same_weights(tune, tmp_path, batching: str) -> None:
    """Bit for bit, with dropout, whose draws are not the same before and after."""
    import shutil

    settings = PLAIN | {"batching": batching, "batch_size": 16, "max_steps": 9, "save_steps": 6, "dropout": 0.1}
    whole, report = tune("whole", **settings)
    assert report.stages[0].epochs > 1
    shutil.copytree(tmp_path / "whole" / "work", tmp_path / "resumed" / "work")
    shutil.rmtree(tmp_path / "resumed" / "work" / "checkpoint-9")
    resumed, again = tune("resumed", **settings)
    assert resumed.digest == whole.digest and again.curve == report.curve


def test_inputs_that_are_not_lifted_to_32_bits_change_no_bit(tune, monkeypatch) -> None:
    import contextlib

    from domainlm.train.trainer import CompletionTrainer

    seen = []
    kept = CompletionTrainer._inputs_as_they_are

    @contextlib.contextmanager
    def noted(self):
        with kept(self):
            seen.append({layer.cast_input_dtype_enabled for layer in self._adapted})
            yield
        seen.append({layer.cast_input_dtype_enabled for layer in self._adapted})

    settings = PLAIN | {"compute_dtype": "bfloat16"}
    monkeypatch.setattr(CompletionTrainer, "_inputs_as_they_are", noted)
    plain, report = tune("as-they-are", **settings)
    assert seen == [{False}, {True}] * PLAIN["max_steps"]
    monkeypatch.setattr(CompletionTrainer, "_inputs_as_they_are", lambda self: contextlib.nullcontext())
    lifted, again = tune("lifted", **settings)
    assert plain.digest == lifted.digest and report.curve == again.curve


def test_one_process_uses_one_device(tune, monkeypatch) -> None:
    """Where the Trainer sees several it would wrap the model in DataParallel."""
    from domainlm.train import loop

    made = []
    arguments = loop.arguments

    def with_two(*given):
        found = arguments(*given)
        assert found.n_gpu <= 1
        found._n_gpu = 2
        made.append(found)
        return found

    monkeypatch.setattr(loop, "arguments", with_two)
    tune(**(PLAIN | {"max_steps": 1}))
    assert made[0].n_gpu == 1


def test_noise_on_the_embeddings_is_as_large_in_a_packed_line_as_in_its_rows(tune, monkeypatch) -> None:
    """NEFTune's noise falls with the root of the length; the flat line is as long as all rows together."""
    from domainlm.train.trainer import CompletionTrainer

    largest = []
    scale = CompletionTrainer._scale_noise

    def noted(self, inputs):
        scale(self, inputs)
        embedding, ids = self.model.get_input_embeddings(), inputs["input_ids"]
        noise = embedding(ids) - embedding.weight[ids]
        rows = inputs["attention_mask"].shape[-1] - 1
        wanted = 5.0 / (ids.shape[1] / rows * embedding.embedding_dim) ** 0.5  # alpha / root(length x size)
        largest.append(noise.abs().max().item() / wanted)

    monkeypatch.setattr(CompletionTrainer, "_scale_noise", noted)
    tune("packed", **(PLAIN | {"batching": "packed", "neftune_alpha": 5.0}))
    assert largest == pytest.approx([1.0] * PLAIN["max_steps"], abs=0.01)  # of thousands of uniform draws
