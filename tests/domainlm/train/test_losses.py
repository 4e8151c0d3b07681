"""The loss in the model's forward: what it weighs, and that chunks change nothing but the memory."""

from __future__ import annotations

import math

import pytest
import small_models
import torch
from torch.nn.functional import cross_entropy

from domainlm.train.batching import RightPadding, Rows
from domainlm.train.losses import chunked_loss, put_inside

ROWS = [([5, 6, 7, 9, 11], [8, 2]), ([4], [9, 2, 17, 30, 31, 32, 33, 34, 35, 36]), ([12, 13], [2])]
ARCHITECTURES = (
    "falcon",
    "falcon_alibi",
    "llama",
    "mistral_window",
    "qwen2",
    "gpt_neox",
    "opt",
    "bloom",
    "gemma2",
    "cohere",
    "granite",
)


def _batch(collator) -> dict:
    batch = collator([Rows(ROWS)[number] for number in range(len(ROWS))])
    del batch["index"]
    return batch


@pytest.mark.parametrize("by_record", [False, True])
def test_the_loss_is_that_of_the_definition(by_record: bool) -> None:
    """Row by row, token by token, from the model's own logits."""
    model = small_models.make("llama").eval()
    wanted = 0.0
    for head, tail in ROWS:
        logits = model(input_ids=torch.tensor([head + tail])).logits[0]
        losses = cross_entropy(logits[len(head) - 1 : -1], torch.tensor(tail), reduction="none")
        wanted += (losses.mean() if by_record else losses.sum()).item()
    for chunk in (None, 1, 5, 1024):
        assert put_inside(model, chunk) == ""
        found = model(**_batch(RightPadding(0, by_record))).loss.item()
        assert found == pytest.approx(wanted, rel=1e-5)


def test_weighting_by_record_lets_short_answers_count_as_much_as_long_ones() -> None:
    """The short answer is nearly right, the long one is a coin toss."""
    logits = torch.zeros(4, 2)
    logits[0, 1] = 3.0
    wanted = torch.ones(4, dtype=torch.long)
    by_record = torch.tensor([1.0, 1 / 3, 1 / 3, 1 / 3])
    right, coin = math.log1p(math.exp(-3)), math.log(2)
    for weights, sum_ in ((None, right + 3 * coin), (by_record, right + coin)):
        for learns in (False, True):
            assert chunked_loss(logits, wanted, weights, lambda found: found, 2, learns).item() == pytest.approx(sum_)


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("frozen", [True, False])
def test_chunks_give_the_loss_and_the_gradients_of_all_logits_at_once(name: str, frozen: bool) -> None:
    """With an output layer that is frozen, and with one that learns; tied ones are of both kinds here."""
    found = []
    for chunk in (None, 3):
        model = small_models.make(name).eval()
        if frozen:
            model.get_output_embeddings().requires_grad_(False)
        assert put_inside(model, chunk) == ""
        loss = model(**_batch(RightPadding(0, by_record=True))).loss / 7
        loss.backward()
        found.append((loss.item(), {key: value.grad for key, value in model.named_parameters()}))
    (plain, wanted), (chunked, gradients) = found
    assert chunked == pytest.approx(plain, rel=1e-5)
    assert any(gradient is not None and gradient.abs().max() > 0 for gradient in wanted.values())
    for key, gradient in wanted.items():
        assert (gradient is None) == (gradients[key] is None), key
        if gradient is not None:
            torch.testing.assert_close(gradients[key], gradient, rtol=1e-3, atol=1e-6, msg=key)


@pytest.mark.parametrize("targets", [["lm_head", "q_proj"], ["q_proj"]])
def test_lora_on_the_output_layer_and_new_tokens_get_their_gradients(targets: list[str]) -> None:
    """They stand in no list of the layer's parameters when they are tied: chunks must find them all the same."""
    from peft import LoraConfig, get_peft_model

    found = []
    for chunk in (None, 3):
        torch.manual_seed(0)
        base = small_models.make("llama", tie_word_embeddings="lm_head" not in targets)
        model = get_peft_model(
            base,
            LoraConfig(
                r=2,
                target_modules=targets,
                trainable_token_indices={"embed_tokens": [8, 9]} if "lm_head" not in targets else None,
                task_type="CAUSAL_LM",
                init_lora_weights=False,
            ),
        )
        assert put_inside(model, chunk) == ""
        assert base.head_learns
        model(**_batch(RightPadding(0))).loss.backward()
        found.append({key: value.grad for key, value in model.named_parameters() if value.requires_grad})
    wanted, gradients = found
    assert wanted.keys() == gradients.keys()
    for key, gradient in wanted.items():
        assert gradient.abs().max() > 0, key
        torch.testing.assert_close(gradients[key], gradient, rtol=1e-3, atol=1e-6, msg=key)


@pytest.mark.parametrize("method", ["prompt", "prefix", "llama_adapter"])
def test_virtual_tokens_before_the_text_move_no_target(method: str) -> None:
    from peft import AdaptionPromptConfig, PrefixTuningConfig, PromptTuningConfig, get_peft_model

    config = {
        "prompt": lambda: PromptTuningConfig(num_virtual_tokens=4, task_type="CAUSAL_LM"),
        "prefix": lambda: PrefixTuningConfig(num_virtual_tokens=4, task_type="CAUSAL_LM"),
        "llama_adapter": lambda: AdaptionPromptConfig(adapter_len=4, adapter_layers=1, task_type="CAUSAL_LM"),
    }[method]()
    model = get_peft_model(small_models.make("llama"), config).eval()
    batch = _batch(RightPadding(0, masked=True))
    inputs = {key: batch[key] for key in ("input_ids", "attention_mask")}
    logits = model(**inputs).logits[:, -batch["input_ids"].shape[1] :]
    lines, places, wanted = batch["targets"]
    expected = cross_entropy(logits[lines, places], wanted, reduction="sum").item()
    for chunk in (None, 4):
        put_inside(model, chunk)
        assert model(**batch).loss.item() == pytest.approx(expected, rel=1e-5)


def test_the_sixteen_bit_gradient_keeps_its_scale() -> None:
    """The step's divisor is applied in 32 bits: 1/3 in bfloat16 is wrong by 0.2 %."""
    torch.manual_seed(0)
    head = torch.nn.Linear(16, 50, bias=False).requires_grad_(False)
    hidden, wanted = torch.randn(64, 16), torch.randint(50, (64,))
    exact = hidden.clone().requires_grad_()
    (cross_entropy(head(exact), wanted, reduction="sum") / 3).backward()
    rounded = hidden.bfloat16().requires_grad_()
    (chunked_loss(rounded, wanted, None, head.bfloat16(), 16, False) / 3).backward()
    share = (rounded.grad.float() * exact.grad).sum() / exact.grad.square().sum()
    assert abs(share.item() - 1) < 1e-3


def test_an_output_layer_that_does_more_than_is_known_falls_back_to_all_logits_and_says_so() -> None:
    from transformers import LlamaForCausalLM

    class Odd(LlamaForCausalLM):
        def forward(self, *arguments, **inputs):
            outputs = super().forward(*arguments, **inputs)
            outputs.logits = outputs.logits * 1.7 + 0.3
            return outputs

    model = small_models.make("llama").eval()
    batch = _batch(RightPadding(0))
    model.__class__ = Odd
    note = put_inside(model, 4)
    assert "all logits are made at once" in note
    lines, places, wanted = batch["targets"]
    expected = cross_entropy(model(input_ids=batch["input_ids"]).logits[lines, places], wanted, reduction="sum")
    assert model(**batch).loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_full_logits_are_never_built() -> None:
    """Every output of the output layer is looked at: none has more lines than a chunk."""
    model = small_models.make("llama")
    model.get_output_embeddings().requires_grad_(False)
    put_inside(model, 4)
    seen = []
    model.get_output_embeddings().register_forward_hook(lambda *given: seen.append(given[2].shape))
    model(**_batch(RightPadding(0))).loss.backward()
    assert [shape[0] for shape in seen] == [4, 4, 4, 1] and all(len(shape) == 2 for shape in seen)


def test_a_model_with_the_loss_inside_still_gives_logits_and_can_be_copied() -> None:
    import copy
    import inspect

    model = small_models.make("falcon").eval()
    ids = torch.tensor([[5, 6, 7]])
    before, signature = model(input_ids=ids).logits, inspect.signature(model.forward)
    put_inside(model, 4)
    torch.testing.assert_close(model(input_ids=ids).logits, before)
    assert inspect.signature(model.forward) == signature  # generation asks for it
    other = copy.deepcopy(model)
    with torch.no_grad():
        other.get_input_embeddings().weight.zero_()
    assert other.forward.__self__ is other
    torch.testing.assert_close(model(input_ids=ids).logits, before)
