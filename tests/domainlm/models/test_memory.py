"""Estimates of memory, held against counted bytes of real trainings; shapes, held against the models themselves."""

from __future__ import annotations

import json
import math
import subprocess
import sys

import pytest

from benchmarks import memory
from domainlm.errors import ModelError
from domainlm.models.free_memory import free_host_bytes, free_memory
from domainlm.models.memory import GB, Shape, estimate, trained_parameters, weights_bytes
from domainlm.train.settings import TrainSettings

LLAMA_8B = {
    "model_type": "llama",
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "intermediate_size": 14336,
    "vocab_size": 128256,
    "max_position_embeddings": 8192,
}

# every branch of the formulae: grouped queries, one matrix for all, biases, tied or not, narrow heads
CONFIGURATIONS = [
    ("falcon", {}),
    ("falcon", {"hidden_size": 256, "num_attention_heads": 8, "new_decoder_architecture": True, "num_kv_heads": 2}),
    (
        "falcon",
        {"hidden_size": 128, "num_attention_heads": 4, "multi_query": False, "bias": True, "parallel_attn": False},
    ),
    ("llama", {key: value for key, value in LLAMA_8B.items() if key != "model_type"}),
    ("llama", {"hidden_size": 128, "num_attention_heads": 4, "attention_bias": True, "mlp_bias": True, "head_dim": 48}),
    ("mistral", {}),
    ("mistral", {"hidden_size": 128, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 48}),
    ("qwen2", {}),
    ("qwen2", {"tie_word_embeddings": True}),
    ("qwen3", {}),
    ("gemma", {}),
    ("gemma2", {}),
    ("gemma3_text", {}),
    ("olmo2", {}),
    ("smollm3", {}),
    ("phi", {}),
    ("phi3", {}),
    ("gpt_neox", {}),
    ("gpt_neox", {"attention_bias": False, "tie_word_embeddings": True}),
    ("bloom", {}),
    ("gpt2", {}),
    ("opt", {}),
    ("bert", {}),
    ("roberta", {}),
]


@pytest.mark.parametrize(("kind", "changes"), CONFIGURATIONS)
def test_the_formula_of_a_shape_gives_the_parameters_of_the_model(kind, changes) -> None:
    from transformers import AutoConfig

    config = AutoConfig.for_model(kind, **({"num_hidden_layers": 3} | changes))
    exact, light = Shape.of(config), Shape.of(config.to_dict())
    names = [name for name in Shape.__dataclass_fields__ if name != "linears"]
    assert {name: getattr(light, name) for name in names} == {name: getattr(exact, name) for name in names}

    def sizes(shape: Shape) -> list[tuple]:
        return sorted((linear.last, *linear[1:]) for linear in shape.linears)

    assert light.linear_parameters == exact.linear_parameters
    assert set(sizes(light)) == set(sizes(exact)) or kind in ("bert", "roberta")  # one has its blocks' names, too


def test_published_sizes_come_out() -> None:
    """Llama 3 8B and Falcon 7B, by the parameter counts of their model cards' safetensors."""
    assert Shape.of(LLAMA_8B).parameters == 8_030_261_248
    falcon = {"hidden_size": 4544, "num_hidden_layers": 32, "num_attention_heads": 71, "vocab_size": 65024}
    assert Shape.of({"model_type": "falcon"} | falcon).parameters == 6_921_720_704
    assert Shape.of(LLAMA_8B).matmul_parameters == 8_030_261_248 - 128256 * 4096 - 65 * 4096  # embedding and norms


def test_an_unknown_architecture_and_a_missing_number_have_names() -> None:
    with pytest.raises(ModelError, match="no formula for the shape of architecture 'mamba'"):
        Shape.of({"model_type": "mamba", "hidden_size": 8})
    with pytest.raises(ModelError, match="needs 'intermediate_size'"):
        Shape.of({key: value for key, value in LLAMA_8B.items() if key != "intermediate_size"})


def test_the_light_path_imports_no_torch() -> None:
    """`domainlm bases` and the check of a configuration answer in under a second."""
    program = (
        "import json, sys; from domainlm.models.memory import Shape, estimate;"
        "from domainlm.train.settings import TrainSettings;"
        "estimate(Shape.of(json.loads(sys.argv[1])), TrainSettings(), 4, 1024, False);"
        "sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program, json.dumps(LLAMA_8B)], timeout=60, check=False)
    assert done.returncode == 0


def test_a_folder_without_a_known_configuration_is_an_error(tmp_path) -> None:
    with pytest.raises(ModelError, match=r"no config\.json that transformers can read"):
        Shape.of_folder(tmp_path)


# ------------------------------------------------------------------------------------- held against counted bytes

COUNTED = [
    (kind, recipe, changes)
    for kind in ("falcon", "llama", "gpt_neox", "bloom")
    for recipe, changes in (
        ("QLoRA", {}),
        ("LoRA, bf16", {}),
        ("LoRA, dropout", memory.OTHER),
        ("LoRA, recomputed", {}),
        ("full", {}),
    )
] + [
    ("mistral", "LoRA", memory.OTHER),
    ("qwen2", "QLoRA, bf16", memory.OTHER),
    ("llama", "QLoRA, bf16, recomputed", memory.OTHER),
    ("llama", "LoRA, chunks of 64", memory.OTHER),
    ("llama", "LoRA, all logits", {}),
    ("llama", "LoRA, int8", {}),
    ("llama", "LoRA, packed", {}),
    ("llama", "DoRA", {}),
    ("llama", "LoRA, embedding", {}),
    ("llama", "full, 8-bit AdamW", {}),
    ("llama", "full, Adafactor", {}),
    ("llama", "prefix", {}),
    ("bert", "LoRA, bf16", {}),
    ("bert", "QLoRA", {}),
    ("bert", "full", {}),
]


@pytest.mark.parametrize(("kind", "recipe", "changes"), COUNTED)
def test_an_estimate_is_near_what_a_real_training_takes(kind, recipe, changes, tmp_path) -> None:
    """What is counted from shapes is exact; the peak of all tensors lies within the band of docs/memory.md."""
    length = 200 if changes else memory.LENGTH
    if kind == "bloom":
        changes = {"hidden_size": 256, "n_layer": 5, "n_head": 4} if changes else {}
    row = memory.compare(kind, recipe, tmp_path, length, **changes)
    counted, wanted = row.counted, row.estimated
    # the few rows of a classification head are not in the estimate, and its pooler is in the base's count, too
    head = 0.03 if kind == "bert" else 0
    assert wanted.weights_gb * GB == pytest.approx(counted.weights, rel=head or 0.01)
    assert wanted.optimizer_gb * GB == pytest.approx(counted.optimizer, rel=head or 0.02)
    assert wanted.adapter_gb * GB == pytest.approx(counted.adapter, rel=head)
    assert 0.9 <= row.peak <= 1.35, row
    if "recomputed" not in recipe:
        assert 0.9 <= wanted.activations_gb * GB / counted.saved <= 1.35, row


def test_the_estimate_would_notice_a_training_that_keeps_everything(tmp_path) -> None:
    """The counter is no rubber stamp: recomputation and chunks change what it counts as they change the estimate."""
    whole = memory.compare("llama", "LoRA", tmp_path / "whole").counted
    recomputed = memory.compare("llama", "LoRA, recomputed", tmp_path / "recomputed").counted
    assert recomputed.saved < 0.2 * whole.saved and recomputed.peak < 0.7 * whole.peak
    assert recomputed.weights == whole.weights


# --------------------------------------------------------------------------------------------- how it should grow


def _total(**changes) -> float:
    options = {"micro_batch": 2, "length": 1024, "checkpointing": False, "gpu": True} | changes
    place = {name: options.pop(name) for name in ("micro_batch", "length", "checkpointing", "gpu")}
    return estimate(Shape.of(LLAMA_8B), TrainSettings(**options), **place).total_gb


def test_what_saves_memory_saves_it_in_the_estimate() -> None:
    lora = {"method": "lora"}
    assert _total(**lora, checkpointing=True) < _total(**lora)
    recomputed = [_total(**lora, bits=bits, checkpointing=True) for bits in (4, 8, 16)]
    assert recomputed == sorted(recomputed) and recomputed[0] == _total(method="qlora", checkpointing=True)
    assert _total(**lora, micro_batch=1) < _total(**lora) < _total(**lora, length=2048)
    assert _total(**lora, rank=8) < _total(**lora, rank=64) < _total(method="dora", rank=64) < _total(method="full")
    assert _total(**lora, loss_chunk_tokens=256) < _total(**lora, loss_chunk_tokens=None)
    full = {"method": "full", "checkpointing": True}
    orders = ("sgd", "adafactor", "adamw_8bit", "adamw_torch_fused", "adamw_torch")
    totals = [_total(**full, optimizer=name) for name in orders]
    assert totals == sorted(totals) and totals[0] < totals[2] < totals[3]


def test_paged_states_leave_a_gpu_and_stay_on_a_cpu() -> None:
    shape, settings = Shape.of(LLAMA_8B), TrainSettings(optimizer="paged_adamw_32bit")
    assert estimate(shape, settings, 1, 512, True, gpu=True).optimizer_gb == 0
    assert estimate(shape, settings, 1, 512, True, gpu=False).optimizer_gb > 0


def test_four_bits_with_double_quantization_take_4_127_bits() -> None:
    shape = Shape.of(LLAMA_8B)
    small = weights_bytes(shape, 4) - 2 * (shape.parameters - shape.linear_parameters)
    assert 8 * small / shape.linear_parameters == pytest.approx(4.127, abs=5e-4)


def test_loras_size_is_rank_times_both_sides() -> None:
    settings = TrainSettings(rank=16, target_modules=("q_proj", "v_proj"))
    assert trained_parameters(Shape.of(LLAMA_8B), settings) == 32 * 16 * (4096 + 4096 + 4096 + 1024)


def test_eight_processes_hold_an_eighth_of_the_weights() -> None:
    settings = TrainSettings(method="full")
    one, eight = (estimate(Shape.of(LLAMA_8B), settings, 1, 1024, True, shards=count) for count in (1, 8))
    assert eight.weights_gb == one.weights_gb / 8 and eight.optimizer_gb == one.optimizer_gb / 8
    assert eight.activations_gb == one.activations_gb and eight.total_gb < one.total_gb / 4


def test_a_total_is_the_sum_of_its_parts() -> None:
    found = estimate(Shape.of(LLAMA_8B), TrainSettings(), 1, 2048, True)
    assert found.total_gb == pytest.approx(sum(found[:-1])) and all(part >= 0 for part in found)


# ------------------------------------------------------------------------------------------------- free memory


def _tree(root, meminfo: str = "", cgroup: str = "", **files: str):
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/meminfo").write_text(meminfo)
    (root / "proc/self/cgroup").write_text(cgroup)
    for name, text in files.items():
        place = root / "sys/fs/cgroup" / name.replace("__", "/").replace("_dot_", ".")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    return root


AVAILABLE = "MemTotal:       16777216 kB\nMemAvailable:    8388608 kB\n"  # 8 GB


def test_without_a_container_the_kernels_word_counts(tmp_path) -> None:
    assert free_host_bytes(_tree(tmp_path, AVAILABLE)) == 8 * GB


def test_a_limit_of_version_2_counts_and_file_cache_does_not(tmp_path) -> None:
    root = _tree(
        tmp_path,
        AVAILABLE,
        "0::/pod/step\n",
        pod__step__memory_dot_max=str(4 * GB),
        pod__step__memory_dot_current=str(3 * GB),
        pod__step__memory_dot_stat=f"anon 1\ninactive_file {GB}\n",
    )
    assert free_host_bytes(root) == 2 * GB


def test_a_limit_on_a_group_above_counts_too(tmp_path) -> None:
    root = _tree(
        tmp_path,
        AVAILABLE,
        "0::/pod/step\n",
        pod__step__memory_dot_max="max\n",
        pod__step__memory_dot_current=str(GB),
        pod__memory_dot_max=str(2 * GB),
        pod__memory_dot_current=str(GB),
    )
    assert free_host_bytes(root) == GB


def test_a_limit_of_version_1_counts_also_where_the_group_is_seen_as_the_root(tmp_path) -> None:
    root = _tree(
        tmp_path,
        AVAILABLE,
        "4:memory:/docker/abc\n1:cpu:/x\n",
        memory__memory_dot_limit_in_bytes=str(3 * GB),
        memory__memory_dot_usage_in_bytes=str(2 * GB),
        memory__memory_dot_stat=f"total_inactive_file {GB // 2}\n",
    )
    assert free_host_bytes(root) == 1.5 * GB


def test_no_limit_is_no_limit(tmp_path) -> None:
    root = _tree(
        tmp_path,
        AVAILABLE,
        "4:memory:/x\n",
        memory__x__memory_dot_limit_in_bytes="9223372036854771712\n",
        memory__x__memory_dot_usage_in_bytes="5\n",
    )
    assert free_host_bytes(root) == 8 * GB


def test_this_machine_tells_its_memory_and_processes_share_it() -> None:
    alone, shared = free_memory(), free_memory(4)
    assert alone.bytes > 0 and alone.device
    if not alone.gpu:
        assert math.isclose(shared.bytes, alone.bytes / 4, rel_tol=0.3)
