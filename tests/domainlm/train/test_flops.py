"""Arithmetic a token: by the published figure of a known model, by the layers of a loaded one, and by counting."""

from __future__ import annotations

import pytest

from domainlm.models.shapes import Shape
from domainlm.train.watch.flops import Work, flops_per_token, peak_flops

LLAMA_3_8B = {
    "model_type": "llama",
    "vocab_size": 128_256,
    "hidden_size": 4096,
    "intermediate_size": 14_336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "max_position_embeddings": 8192,
    "tie_word_embeddings": False,
}


def test_lora_on_eight_billion_parameters_at_4096_costs_33_2_gflop_a_token() -> None:
    shape = Shape.of(LLAMA_3_8B)
    assert flops_per_token(shape, "lora", 4096) == pytest.approx(33.2e9, rel=2e-3)
    assert flops_per_token(shape, "full", 4096) == pytest.approx(6 * 7.505e9 + 3.22e9, rel=2e-3)
    adapter = 41_943_040  # rank 16 on all linear layers
    assert flops_per_token(shape, "lora", 4096, adapter) - flops_per_token(shape, "lora", 4096) == 6 * adapter


def test_recomputation_is_one_more_forward_pass_and_counts_for_the_hardware_alone() -> None:
    work = Work.of_shape(Shape.of(LLAMA_3_8B), "lora")
    assert work.hardware_flops(4096, recompute=False) == work.model_flops(4096)
    again = work.hardware_flops(4096, recompute=True) - work.model_flops(4096)
    assert again == pytest.approx(2 * 7.505e9 + 3.22e9 / 3, rel=2e-3)
    assert 790e12 / work.hardware_flops(4096, recompute=True) == pytest.approx(16_000, rel=0.01)


def _tiny(kind: str):
    import torch
    from transformers import (
        BertConfig,
        BertForSequenceClassification,
        FalconConfig,
        FalconForCausalLM,
        LlamaConfig,
        LlamaForCausalLM,
    )

    torch.manual_seed(0)
    if kind == "llama":
        return LlamaForCausalLM(
            LlamaConfig(
                vocab_size=96, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
                num_key_value_heads=2, head_dim=16, tie_word_embeddings=False, attn_implementation="eager",
            )
        )  # fmt: skip
    if kind == "falcon":
        return FalconForCausalLM(
            FalconConfig(
                vocab_size=96, hidden_size=64, num_hidden_layers=2, num_attention_heads=4, attn_implementation="eager"
            )
        )
    return BertForSequenceClassification(
        BertConfig(
            vocab_size=96, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
            attn_implementation="eager",
        )
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["llama", "falcon"])
def test_what_a_step_really_multiplies_is_what_is_counted(kind: str) -> None:
    """torch counts each product of matrices of both passes; it counts scores that the mask drops too."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    model, length = _tiny(kind), 32
    with FlopCounterMode(display=False) as counter:
        ids = torch.arange(length).unsqueeze(0)
        model(input_ids=ids, labels=ids, use_cache=False).loss.backward()
    work = Work.of_model(model, "full")
    whole = work._replace(attention=2 * work.attention).model_flops(length)
    assert counter.get_total_flops() / length == pytest.approx(whole, rel=0.01)


def test_lora_s_frozen_weights_cost_four_and_its_own_six() -> None:
    import torch
    from peft import LoraConfig, get_peft_model
    from torch.utils.flop_counter import FlopCounterMode

    model, length = _tiny("llama"), 32
    plain = Work.of_model(model, "lora")
    names = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    tuned = get_peft_model(model, LoraConfig(r=4, target_modules=names, task_type="CAUSAL_LM"))
    work = Work.of_model(tuned, "lora")
    assert (work.frozen, work.attention) == (plain.frozen, plain.attention)
    assert work.trained == sum(weight.numel() for name, weight in tuned.named_parameters() if "lora_" in name)
    with FlopCounterMode(display=False) as counter:
        ids = torch.arange(length).unsqueeze(0)
        tuned(input_ids=ids, labels=ids, use_cache=False).loss.backward()
    whole = work._replace(attention=2 * work.attention).model_flops(length)
    # below the first adapter nothing needs a gradient: that is why a little less is done than counted
    assert 0.9 * whole < counter.get_total_flops() / length <= whole


@pytest.mark.parametrize("kind", ["llama", "falcon"])
def test_a_shape_and_the_model_of_that_shape_cost_the_same(kind: str) -> None:
    model = _tiny(kind)
    for trained in ("lora", "full"):
        shaped = flops_per_token(Shape.of(model.config.to_dict()), trained, 40)
        assert flops_per_token(model, trained, 40) == pytest.approx(shaped)


def test_an_encoder_sees_the_whole_row() -> None:
    model = _tiny("bert")
    assert Work.of_model(model, "full").attention == 2 * 4 * 64
    assert Work.of_model(_tiny("llama"), "full").attention == 4 * 64


def test_quantized_layers_count_by_what_they_stand_for(tiny_base) -> None:
    from domainlm.models import load_base

    plain, _ = load_base(tiny_base, None, "none")
    packed, _ = load_base(tiny_base, None, "nf4")
    assert Work.of_model(packed, "lora") == Work.of_model(plain, "lora")


@pytest.mark.parametrize(
    ("name", "tera"),
    [
        ("NVIDIA H100 80GB HBM3", 989),
        ("NVIDIA H100 PCIe", 756),
        ("NVIDIA H200", 989),
        ("NVIDIA A100-SXM4-80GB", 312),
        ("NVIDIA L4", 121),
        ("NVIDIA L40S", 362),
        ("NVIDIA GeForce RTX 4090", 165.2),
        ("NVIDIA A10", 125),
    ],
)
def test_peaks_are_of_the_card_that_is_named(name: str, tera: float) -> None:
    assert peak_flops(name) == pytest.approx(tera * 1e12)


@pytest.mark.parametrize("name", ["AMD EPYC 9554 64-Core Processor", "NVIDIA H100 80GB HBM3 MIG 1g.10gb", "CPU", ""])
def test_what_has_no_known_peak_has_none(name: str) -> None:
    assert peak_flops(name) is None
