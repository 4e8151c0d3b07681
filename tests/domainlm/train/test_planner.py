"""The planner: what fits is taken as it is; else the effective batch stays and the least that is needed is given up."""

from __future__ import annotations

import dataclasses
import json
import math
import re

import pytest
import yaml

from domainlm.errors import TrainingError
from domainlm.models.free_memory import Memory
from domainlm.models.memory import GB, Estimate, Shape, estimate
from domainlm.train import planner
from domainlm.train.planner import CPU_QUANTIZED_PARAMETERS, Plan, Way, fitted, kept, plan, planned, refuse_without_gpu
from domainlm.train.settings import TrainSettings

LLAMA_8B = Shape.of(
    {
        "model_type": "llama",
        "hidden_size": 4096,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "intermediate_size": 14336,
        "vocab_size": 128256,
        "max_position_embeddings": 8192,
    }
)
FALCON_7B = Shape.of(
    {
        "model_type": "falcon",
        "hidden_size": 4544,
        "num_hidden_layers": 32,
        "num_attention_heads": 71,
        "vocab_size": 65024,
    }
)
PAPER = {"batch_size": 2, "gradient_accumulation": 2, "optimizer": "paged_adamw_32bit", "gradient_checkpointing": True}


def _plan(gb: float, shape: Shape = LLAMA_8B, longest: int = 1024, **changes) -> Plan:
    return plan(shape, TrainSettings(**({"max_length": longest} | changes)), longest, int(gb * GB))


def _ways(settings: TrainSettings, shape: Shape = LLAMA_8B, shards: int = 1) -> list[Way]:
    return list(planner._ways(settings, planner._Need(shape, settings, 2048, True, shards).open_bits()))


def test_what_fits_stays_as_it_was_asked_for() -> None:
    found = _plan(10_000, batch_size=16, gradient_accumulation=2)
    assert found[:4] == (16, 2, False, 4) and found.reasons == ()
    settings = TrainSettings(batch_size=16, gradient_accumulation=2)
    assert fitted(settings, found) == settings


def test_the_papers_recipe_fits_its_twelve_gigabytes() -> None:
    assert _plan(12, FALCON_7B, 512, **PAPER)[:4] == (2, 2, True, 4)


@pytest.mark.parametrize("gb", [8, 10, 12, 14, 16, 20, 24, 32, 40, 48, 64, 80, 100, 140, 200])
@pytest.mark.parametrize("method", ["qlora", "lora", "dora", "full", "prefix", "prompt"])
@pytest.mark.parametrize(("batch", "accumulation"), [(16, 1), (6, 2), (7, 1), (1, 9)])
def test_a_plan_keeps_the_effective_batch_and_fits_and_nothing_gentler_does(gb, method, batch, accumulation) -> None:
    settings = TrainSettings(method=method, batch_size=batch, gradient_accumulation=accumulation)
    try:
        found = plan(LLAMA_8B, settings, 2048, gb * GB)
    except TrainingError as error:
        least = min(
            estimate(LLAMA_8B, settings.model_copy(update={"bits": bits}), 1, 2048, True).total_gb
            for bits in ((16, 8, 4) if method not in ("qlora", "full") else (settings.bits,))
        )
        assert least > gb
        assert f"needs {least:.3g} GB" in str(error) and f"a device with {math.ceil(least)} GB" in str(error)
        return
    assert found.micro_batch * found.accumulation == batch * accumulation and found.micro_batch <= batch
    assert found.estimate.total_gb <= gb
    ways = _ways(settings)
    for gentler in ways[: ways.index(Way(found.micro_batch, found.checkpointing, found.bits))]:
        changed = settings.model_copy(update={"bits": gentler.bits})
        need = estimate(LLAMA_8B, changed, gentler.micro_batch, 2048, gentler.checkpointing)
        assert need.total_gb > gb


def test_more_memory_never_gives_up_more() -> None:
    settings = TrainSettings(method="lora", batch_size=12)
    ways = _ways(settings)
    order = [
        ways.index(Way(*(found := plan(LLAMA_8B, settings, 2048, gb * GB))[:1], *found[2:4]))
        for gb in (16, 20, 24, 32, 48, 80, 140, 300)
    ]
    assert order == sorted(order, reverse=True) and order[0] > order[-1] == 0


def test_recomputation_comes_after_smaller_micro_batches_and_before_fewer_bits() -> None:
    ways = _ways(TrainSettings(method="lora", batch_size=2))
    assert ways == [
        Way(micro, checkpointing, bits) for bits in (16, 8, 4) for checkpointing in (False, True) for micro in (2, 1)
    ]


def test_a_wish_for_recomputation_is_kept_even_where_memory_allows() -> None:
    assert _plan(10_000, gradient_checkpointing=True).checkpointing is True


@pytest.mark.parametrize("changes", [{"method": "qlora"}, {"method": "lora", "bits": 16}, {"method": "full"}])
def test_bits_are_never_changed_where_the_recipe_says_them(changes) -> None:
    asked = TrainSettings(**changes)
    assert {way.bits for way in _ways(asked)} == {4 if asked.quantization == "nf4" else 16}


def test_bits_stay_where_weights_are_sharded_or_lie_in_experts() -> None:
    lora = TrainSettings(method="lora")
    assert {way.bits for way in _ways(lora)} == {16, 8, 4}
    assert {way.bits for way in _ways(lora, shards=8)} == {16}
    experts = dataclasses.replace(LLAMA_8B, architecture="mixtral")
    assert {way.bits for way in _ways(lora, experts)} == {16}


def test_a_large_card_trains_lora_in_16_bits_and_a_small_one_in_fewer() -> None:
    assert _plan(80, longest=4096, method="lora", batch_size=1).bits == 16
    found = _plan(16, longest=1024, method="lora", batch_size=1)
    assert found.bits in (4, 8) and any("bits" in reason for reason in found.reasons)
    assert fitted(TrainSettings(method="lora", batch_size=1), found).quantization != "none"


@pytest.mark.parametrize("gb", [8, 11.6, 16, 24, 48])
@pytest.mark.parametrize(
    "changes",
    [
        {"method": "lora", "bits": 16, "rank": 64, "loss_chunk_tokens": None},
        {"method": "qlora", "rank": 256},
        {"method": "full", "optimizer": "adafactor"},
        {"method": "dora", "bits": 8, "dropout": 0.1},
        {"method": "prefix", "bits": 16},
        {"method": "full", "initialisation": "random"},
        {"method": "lora", "bits": 16, "fit_memory": "check", "batch_size": 64},
    ],
)
def test_an_error_names_changes_that_really_suffice(gb, changes) -> None:
    """Each remedy is taken at its word: the recipe with it is planned again, and fits."""
    settings = TrainSettings(**({"batch_size": 4, "max_length": 4096} | changes))
    try:
        assert plan(LLAMA_8B, settings, 4096, int(gb * GB)).estimate.total_gb <= gb
        return
    except TrainingError as error:
        told = error.remedy
    listed = told.removeprefix("what would fit: ").removesuffix("; or a smaller base (domainlm bases --gpu-memory GB)")
    for remedy in listed.split("; "):
        if found := re.fullmatch(r"a device with (\d+) GB free", remedy):
            auto = settings.model_copy(update={"fit_memory": "auto"})
            assert plan(LLAMA_8B, auto, 4096, int(found[1]) * GB).estimate.total_gb <= int(found[1])
            continue
        wanted = yaml.safe_load("{" + remedy.partition(" (")[0] + "}")
        changed = TrainSettings(**(settings.model_dump() | {"fit_memory": "auto"} | wanted))
        assert plan(LLAMA_8B, changed, changed.max_length, int(gb * GB)).estimate.total_gb <= gb


def test_looks_at_the_development_split_are_as_large_as_memory_allows() -> None:
    """All logits of a vocabulary of 128,256 outweigh what a pass of the training needs."""
    found = {gb: _plan(gb, longest=4096, batch_size=16, gradient_checkpointing=True) for gb in (16, 24, 48, 200)}
    assert all(1 <= plan.scoring_batch <= plan.micro_batch for plan in found.values())
    assert [plan.scoring_batch for plan in found.values()] == sorted(plan.scoring_batch for plan in found.values())
    assert found[24].scoring_batch < found[24].micro_batch and found[200].scoring_batch == 16


def test_an_error_about_a_small_base_says_what_needs_the_memory() -> None:
    estimated = dict.fromkeys(Estimate._fields, 0.0) | {"activations_gb": 0.009, "weights_gb": 0.001, "total_gb": 0.01}
    assert planner.told(Estimate(**estimated)) == "activations 0.009"


def test_check_refuses_what_does_not_fit_and_says_that_auto_would() -> None:
    assert _plan(10_000, fit_memory="check").reasons == ()
    with pytest.raises(TrainingError, match="as it is") as error:
        _plan(24, fit_memory="check", batch_size=64)
    assert "fit_memory: auto" in error.value.remedy
    assert _plan(24, fit_memory="auto", batch_size=64).micro_batch < 64


def test_sharded_weights_fit_where_whole_ones_do_not() -> None:
    settings = TrainSettings(method="full", batch_size=1)
    with pytest.raises(TrainingError):
        plan(LLAMA_8B, settings, 1024, 80 * GB)
    assert plan(LLAMA_8B, settings, 1024, 80 * GB, shards=8).micro_batch == 1


# ------------------------------------------------------------------------------------------------ without a GPU


def test_a_large_base_in_four_bits_without_a_gpu_is_refused_by_name() -> None:
    paper = TrainSettings(method="qlora", **PAPER)
    with pytest.raises(TrainingError, match=r"6\.9 billion parameters in 4 bits needs a GPU, and none is visible"):
        refuse_without_gpu(FALCON_7B, paper, gpu=False)
    refuse_without_gpu(FALCON_7B, paper, gpu=True)
    refuse_without_gpu(FALCON_7B, TrainSettings(method="lora", bits=16), gpu=False)


def test_half_floats_without_a_gpu_are_refused_by_name() -> None:
    with pytest.raises(TrainingError, match="float16 needs a GPU"):
        refuse_without_gpu(FALCON_7B, TrainSettings(method="lora", compute_dtype="float16"), gpu=False)


def test_the_planner_runs_before_anything_is_loaded(tune, tiny_base, tmp_path, monkeypatch) -> None:
    """The folder of a 7B base with nothing but its config.json: the error comes, and no weight is missed."""
    from domainlm.train import finetuning

    def loaded(*_, **__):
        raise AssertionError("a base was loaded")

    monkeypatch.setattr(finetuning, "prepare", loaded)
    with pytest.raises(AssertionError, match="a base was loaded"):
        tune("fits")
    with pytest.raises(TrainingError, match=r"there are 0\.001"):
        tune("tight", memory_gb=0.001)
    with pytest.raises(AssertionError, match="a base was loaded"):
        tune("off", memory_gb=0.001, fit_memory="off")

    files = tmp_path / "falcon-7b"
    files.mkdir()
    (files / "config.json").write_text(
        json.dumps({"model_type": "falcon", "hidden_size": 4544, "num_hidden_layers": 32, "num_attention_heads": 71})
    )

    class Large:
        model_path = files
        card = tiny_base.card

    with pytest.raises(TrainingError, match="needs a GPU"):
        tune("large", base=Large(), **PAPER)


# ------------------------------------------------------------------------------------------------ in a training


def test_the_default_recipe_comes_out_unchanged(tune, tiny_base, tmp_path) -> None:
    settings = TrainSettings()
    found, way = planned(tiny_base, settings, tmp_path)
    assert found == settings and way.reasons == () and way.scoring_batch == settings.batch_size
    written = json.loads((tmp_path / "plan.json").read_text())
    assert written["micro_batch"] == 16 and written["device"] and written["memory_gb"] > 0 and written["longest"] == 128


def test_a_tight_plan_trains_the_same_records_to_the_same_curve(tune, tiny_base, tmp_path) -> None:
    """In less memory: smaller micro-batches and recomputation; only the last digits differ, and the report says so."""
    _, roomy = tune("roomy", method="lora")
    shape = Shape.of_folder(tiny_base.model_path)
    settings = TrainSettings(**(_quick() | {"method": "lora", "bits": 16}))
    least = estimate(shape, settings, 1, 128, True, gpu=False).total_gb
    _, tight = tune("tight", method="lora", bits=16, memory_gb=least * 1.05)
    written = json.loads((tmp_path / "tight" / "work" / "plan.json").read_text())
    assert written["checkpointing"] is True and written["micro_batch"] * written["accumulation"] == 8
    assert written["micro_batch"] < 8 and len(written["reasons"]) == 3
    assert tight.recipe.batch_size == 8 and tight.recipe.gradient_checkpointing is False
    for mine, other in zip(tight.curve, roomy.curve, strict=True):
        assert mine == pytest.approx(other, rel=2e-4)


def _quick() -> dict:
    return {"batch_size": 8, "rank": 4, "alpha": 8, "adapt_embedding": False, "dev_records": 12}


def test_bits_that_the_planner_chose_stand_in_report_and_adapter(tune, tiny_base) -> None:
    shape = Shape.of_folder(tiny_base.model_path)
    settings = TrainSettings(**(_quick() | {"method": "lora", "bits": 16}))
    least = estimate(shape, settings, 1, 128, True, gpu=False).total_gb
    adapter, report = tune("run", method="lora", memory_gb=least * 0.99)
    assert report.recipe.bits in (4, 8) and report.quantized_layers == 8
    assert adapter.card["quantization"] == {4: "nf4", 8: "int8"}[report.recipe.bits]
    from domainlm.train.settings import ControlSettings

    assert ControlSettings().change(report.recipe, "from_scratch").bits is None


def test_a_training_that_goes_on_keeps_its_plan_while_it_fits(tiny_base, tmp_path, monkeypatch) -> None:
    settings = TrainSettings(method="lora")
    found = Plan(4, 4, False, 16, estimate(Shape.of_folder(tiny_base.model_path), settings, 4, 128, False, gpu=False))
    planner.write(tmp_path, found, Memory("cpu", False, GB), 128)
    assert kept(tmp_path) is None  # nothing was trained with it
    (tmp_path / "checkpoint-2").mkdir()
    assert kept(tmp_path) == Way(4, False, 16)
    assert planned(tiny_base, settings, tmp_path)[0].batch_size == 4

    # with less memory it takes smaller steps, but never other bits than the checkpoints were made beside
    room = estimate(Shape.of_folder(tiny_base.model_path), settings, 1, 128, True, gpu=False).total_gb
    small = TrainSettings(method="lora", memory_gb=room * 1.05)
    assert planned(tiny_base, small, tmp_path)[1].bits == 16
    (tmp_path / "plan.json").write_text("{broken")
    assert kept(tmp_path) is None and kept(None) is None


def test_an_interrupted_training_that_no_longer_fits_in_its_bits_says_so(tiny_base, tmp_path) -> None:
    settings = TrainSettings(method="lora")
    shape = Shape.of_folder(tiny_base.model_path)
    least = estimate(shape, settings, 1, 128, True, gpu=False)
    planner.write(tmp_path, Plan(1, 16, True, 16, least), Memory("cpu", False, GB), 128)
    (tmp_path / "checkpoint-2").mkdir()
    with pytest.raises(TrainingError, match="the training needs"):
        planned(tiny_base, settings.model_copy(update={"memory_gb": least.total_gb * 0.99}), tmp_path)


def test_a_machine_that_does_not_tell_its_memory_gets_the_recipe_as_it_is(tiny_base, monkeypatch) -> None:
    monkeypatch.setattr(planner, "free_memory", lambda sharing: Memory("cpu", False, None))
    assert planned(tiny_base, TrainSettings()) == (TrainSettings(), None)


def test_processes_of_one_machine_share_its_memory(tiny_base, monkeypatch) -> None:
    asked = []
    monkeypatch.setattr(planner, "free_memory", lambda sharing: asked.append(sharing) or Memory("cpu", False, GB))
    planned(tiny_base, TrainSettings(), None, 4)
    assert asked == [4]


def test_the_limit_for_a_cpu_leaves_small_bases_alone() -> None:
    assert FALCON_7B.linear_parameters > CPU_QUANTIZED_PARAMETERS > 100 * 10**6
