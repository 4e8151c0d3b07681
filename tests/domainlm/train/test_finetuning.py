"""Fine-tuning: it learns what it is shown, to the bit the same each time, and hands on an adapter and nothing more."""

from __future__ import annotations

import json

import pytest
from safetensors.torch import load_file

from domainlm.artifacts import TokenizerFolder
from domainlm.errors import ModelError, TrainingError
from domainlm.models import generate, load_adapter, load_base
from domainlm.train.methods import canonical
from domainlm.train.settings import TrainSettings


def test_a_tuned_model_answers_in_the_form_and_stops(tune, tiny_base, plain_tokenizer, toy_tasks) -> None:
    adapter, report = tune(max_steps=60)
    prompt = toy_tasks["mood"].prompt("Kestrel Foods: profit rises")
    base, tokenizer = load_base(tiny_base, None, "nf4")
    tuned, tuned_tokenizer = load_adapter(tiny_base, plain_tokenizer, adapter)
    answer = generate(tuned, tuned_tokenizer, [prompt], max_new_tokens=12)[0]
    assert answer.stopped and answer.text.strip() in ("good", "bad")
    assert not generate(base, tokenizer, [prompt], max_new_tokens=12)[0].stopped
    assert report.quantized_layers == 8
    assert all(
        report.dev_bits_per_character[task] < report.dev_bits_per_character_before[task] for task in ("mood", "term")
    )


def test_every_task_is_learned_from_its_train_split_alone(tune, toy_records) -> None:
    _, report = tune()
    for task in ("mood", "term"):
        parts = [record for record in toy_records if record["task"] == task and record["split"] == "train"]
        assert report.stages[0].records_by_task[task] == len(parts)


def test_two_runs_with_one_seed_give_one_digest_and_another_seed_another(tune) -> None:
    (first, report), (second, again), (third, _) = tune("a"), tune("b"), tune("c", seed=1)
    assert first.digest == second.digest == report.adapter_digest
    assert report == again
    assert third.digest != first.digest


def test_the_curve_of_a_pinned_training_does_not_drift(tune) -> None:
    """A silent change of loss, masks, order or schedule bends it; the tolerance is for other kinds of CPU."""
    _, report = tune(max_steps=20, logging_steps=5, learning_rate=2e-3)
    steps = [point["step"] for point in report.curve]
    losses = [point["loss"] for point in report.curve]
    rates = [point["learning_rate"] for point in report.curve]
    assert steps == [5, 10, 15, 20]
    assert losses == pytest.approx([7.1809, 6.9825, 5.7291, 5.0779], rel=0.03)
    assert rates == pytest.approx([1.8795e-3, 1.2455e-3, 4.5305e-4, 1.3639e-5])


@pytest.mark.parametrize("weighting", ["token", "record"])
def test_a_batch_of_eight_is_eight_accumulated_batches_of_one(tune, weighting: str) -> None:
    """Rows differ in length, so a mean of means would not be the mean."""
    wide, _ = tune(
        "wide",
        batch_size=8,
        gradient_accumulation=1,
        max_steps=3,
        loss_weighting=weighting,
        optimizer="sgd",
        learning_rate=0.5,
    )
    deep, _ = tune(
        "deep",
        batch_size=1,
        gradient_accumulation=8,
        max_steps=3,
        loss_weighting=weighting,
        optimizer="sgd",
        learning_rate=0.5,
    )
    left, right = (load_file(str(adapter.path / "adapter_model.safetensors")) for adapter in (wide, deep))
    moved = max(tensor.abs().max().item() for name, tensor in left.items() if "lora_B" in name)
    assert moved > 1e-3
    assert max((left[name] - right[name]).abs().max().item() for name in left) < 1e-3 * moved


def test_the_folder_holds_lora_and_no_embedding_no_pickle_no_path(tune, tiny_base, grown_tokenizer) -> None:
    adapter, report = tune(tokenizer=grown_tokenizer)
    assert {path.name for path in adapter.path.iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
        "domainlm.json",
    }
    tensors = load_file(str(adapter.path / "adapter_model.safetensors"))
    whole = load_base(tiny_base, grown_tokenizer, "none")[0].get_input_embeddings().weight.shape
    assert all(tensor.shape != whole for tensor in tensors.values())
    trained = [tensor for name, tensor in tensors.items() if "token" in name and "delta" in name]
    assert (
        [len(tensor) for tensor in trained] == [len(grown_tokenizer.card["new_tokens"])] == [report.new_tokens_trained]
    )
    config = json.loads((adapter.path / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == tiny_base.card["name"]
    assert str(tiny_base.path) not in json.dumps(config)


def test_new_tokens_are_trained_and_come_back_with_the_adapter(tune, tiny_base, grown_tokenizer) -> None:
    import torch

    adapter, _ = tune(tokenizer=grown_tokenizer, max_steps=10)
    before, tokenizer = load_base(tiny_base, grown_tokenizer, "none")
    tuned, _ = load_adapter(tiny_base, grown_tokenizer, adapter, "none")
    merged = tuned.merge_and_unload()
    ids = tokenizer.convert_tokens_to_ids(list(grown_tokenizer.card["new_tokens"]))
    old, new = before.get_input_embeddings().weight, merged.get_input_embeddings().weight
    assert not torch.allclose(old[ids], new[ids], atol=1e-3)
    rest = [index for index in range(len(old)) if index not in ids]
    assert torch.equal(old[rest], new[rest])


def test_lora_on_the_embedding_is_saved_as_lora_and_comes_back(tune, tiny_base, grown_tokenizer) -> None:
    import torch

    adapter, report = tune(tokenizer=grown_tokenizer, adapt_embedding=True)
    tensors = load_file(str(adapter.path / "adapter_model.safetensors"))
    base, _ = load_base(tiny_base, grown_tokenizer, "none")
    before = base.get_input_embeddings().weight.clone()
    assert all(tensor.shape != before.shape for tensor in tensors.values())
    assert sum("lora_embedding" in name for name in tensors) == 2
    assert report.new_tokens_trained == 0 and "word_embeddings" in report.target_modules
    tuned, _ = load_adapter(tiny_base, grown_tokenizer, adapter, "none")
    ids = torch.arange(50, 60).unsqueeze(0)
    with torch.inference_mode():
        apart = tuned(input_ids=ids).logits
        merged = tuned.merge_and_unload()
        assert merged.get_input_embeddings().weight.shape == before.shape
        assert not torch.equal(merged.get_input_embeddings().weight, before)
        assert not torch.allclose(
            apart, load_base(tiny_base, grown_tokenizer, "none")[0](input_ids=ids).logits, atol=1e-3
        )


def test_untied_output_rows_of_new_tokens_are_trained_too(tune, tiny_base, grown_tokenizer, tmp_path) -> None:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from domainlm.models import load_tokenizer, resolve_base

    tokenizer = load_tokenizer(tiny_base)
    torch.manual_seed(0)
    LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=64,
            intermediate_size=64,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=2,
            tie_word_embeddings=False,
        )
    ).save_pretrained(tmp_path / "llama")
    tokenizer.save_pretrained(tmp_path / "llama")
    base = resolve_base(str(tmp_path / "llama"), tmp_path / "card")
    import shutil

    grown = TokenizerFolder(tmp_path / "grown")
    shutil.copytree(grown_tokenizer.path, grown.path)
    grown.write_card(new_tokens=grown_tokenizer.card["new_tokens"], base_digest=base.card["digest"])
    adapter, report = tune(tokenizer=grown, base=base)
    names = [name for name in load_file(str(adapter.path / "adapter_model.safetensors")) if "delta" in name]
    assert (
        len(names) == 2 and any("lm_head" in name for name in names) and any("embed_tokens" in name for name in names)
    )
    assert report.quantized_layers == 7


def test_adapter_config_is_canonical_whatever_the_hash_seed() -> None:
    assert canonical({"target_modules": ["b", "a"], "x": {"y": [2, 1]}}) == {
        "target_modules": ["a", "b"],
        "x": {"y": [1, 2]},
    }


def test_the_digest_does_not_depend_on_pythonhashseed(
    tiny_base, plain_tokenizer, toy_records, toy_tasks, tmp_path
) -> None:
    digests = {
        _train_elsewhere(tiny_base, plain_tokenizer, toy_records, toy_tasks, tmp_path / seed, PYTHONHASHSEED=seed)[1]
        for seed in "17"
    }
    assert len(digests) == 1 and digests != {""}


def _train_elsewhere(base, tokenizer, records, tasks, place, **environment) -> tuple[int, str]:
    """Train in another process; its exit code and the adapter's digest."""
    import os
    import subprocess
    import sys

    place.mkdir()
    records.save_to_disk(str(place / "records"))
    (place / "tasks.json").write_text(json.dumps({name: task.model_dump() for name, task in tasks.items()}))
    program = (
        "import json, sys; from pathlib import Path; from datasets import load_from_disk\n"
        "from domainlm.artifacts import BaseCheckpoint, TokenizerFolder; from domainlm.tasks import Task\n"
        "from domainlm.train import train; from domainlm.train.settings import TrainSettings\n"
        "place, base, tokenizer = (Path(name) for name in sys.argv[1:4])\n"
        "tasks = {name: Task(**fields) for name, fields in json.loads((place / 'tasks.json').read_text()).items()}\n"
        "settings = TrainSettings(max_steps=3, batch_size=8, rank=4, save_steps=2, threads=1, report_to=())\n"
        "records = load_from_disk(str(place / 'records'))\n"
        "adapter, _ = train(records, TokenizerFolder(tokenizer), BaseCheckpoint(base), settings, tasks,"
        " place / 'adapter', place / 'work')\n"
        "print(adapter.digest)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(place), str(base.path), str(tokenizer.path)],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout.strip().rpartition("\n")[2]


def test_an_adapter_of_another_base_is_refused(tune, toy_corpus, tiny_base, plain_tokenizer, tmp_path) -> None:
    from domainlm.pretrain import pretrain
    from domainlm.pretrain.settings import PretrainSettings

    adapter, _ = tune()
    settings = PretrainSettings(
        vocab_size=320,
        hidden_size=32,
        layers=1,
        heads=2,
        context=64,
        sequence_length=16,
        max_steps=1,
        batch_size=4,
        threads=1,
        dev_characters=1000,
    )
    other, _ = pretrain(toy_corpus, settings, tmp_path / "other", tmp_path / "other-work")
    with pytest.raises(ModelError, match="the adapter was made for another base"):
        load_adapter(other, plain_tokenizer, adapter)


def test_an_adapter_of_another_tokenizer_is_refused(tune, tiny_base, grown_tokenizer) -> None:
    adapter, _ = tune()
    with pytest.raises(ModelError, match="another tokenizer"):
        load_adapter(tiny_base, grown_tokenizer, adapter)


def test_an_unknown_target_module_is_named(tune) -> None:
    with pytest.raises(ModelError, match="no linear layer 'q_proj'"):
        tune(target_modules=("q_proj",))


def test_a_diverging_training_stops_with_step_and_records(tune, toy_records) -> None:
    with pytest.raises(TrainingError, match="not finite at step") as caught:
        tune(learning_rate=1e30, scheduler="constant", warmup_ratio=0.0, max_grad_norm=1e30)
    known = set(toy_records["id"])
    named = caught.value.where.removeprefix("records ").split(", ")
    assert len(named) == 8 and set(named) <= known


def test_records_that_are_too_long_are_counted_never_cut(tune) -> None:
    with pytest.raises(TrainingError, match="exceed 56 tokens") as caught:
        tune(max_length=56)
    assert "too_long: drop" in str(caught.value)
    _, report = tune("dropped", max_length=56, too_long="drop")
    assert report.stages[0].dropped_too_long > 0 and report.stages[0].longest <= 56
    assert report.stages[0].examples + report.stages[0].dropped_too_long == sum(
        report.stages[0].records_by_task.values()
    )


def test_without_records_there_is_no_training(tune, toy_records) -> None:
    none = toy_records.filter(lambda split: split != "train", input_columns="split")
    with pytest.raises(TrainingError, match="train split has no record"):
        tune(records=none)


def test_a_record_without_an_answer_is_named_by_source_and_row(tune, table, row) -> None:
    rows = [row("term", "What is a bond?", "", "bond", "train", 7)]
    with pytest.raises(TrainingError, match="has no answer") as caught:
        tune(records=table(rows))
    assert caught.value.where == "source toy, row 7"


def test_full_training_from_scratch_is_the_same_step_with_other_settings(tune, tiny_base, plain_tokenizer) -> None:
    adapter, report = tune(method="full", initialisation="random", max_steps=10)
    model, _ = load_adapter(tiny_base, plain_tokenizer, adapter)
    assert report.trainable_parameters == report.parameters == model.num_parameters()
    assert report.quantized_layers == 0 and adapter.card["method"] == "full"
    assert report.curve[-1]["loss"] < report.curve[0]["loss"]


@pytest.mark.parametrize(
    "optimizer", ["paged_adamw_32bit", "adamw_8bit", "paged_adamw_8bit", "adamw_torch_fused", "adafactor"]
)
def test_the_paper_s_and_other_optimizers_train_on_this_machine(tune, optimizer: str) -> None:
    _, report = tune(optimizer=optimizer, max_steps=24, logging_steps=8)
    assert report.curve[-1]["loss"] < report.curve[0]["loss"]


def test_the_paper_s_recipe_can_be_said_and_runs(tune) -> None:
    recipe = {
        "method": "qlora",
        "rank": 32,
        "alpha": 32,
        "dropout": 0.05,
        "batch_size": 2,
        "gradient_accumulation": 2,
        "target_modules": ("query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"),
        "optimizer": "paged_adamw_32bit",
        "learning_rate": 2e-4,
        "scheduler": "cosine",
        "warmup_ratio": 0.03,
        "max_grad_norm": 0.3,
        "max_steps": 60,
        "save_steps": 10,
        "logging_steps": 10,
    }
    _, report = tune(**recipe)
    assert report.steps == 60 and len(report.curve) == 6
    assert report.target_modules == sorted(recipe["target_modules"])
    assert all(point["learning_rate"] <= 2e-4 for point in report.curve)


def test_activation_checkpointing_changes_no_weight(tune) -> None:
    plain, _ = tune("plain", max_steps=3)
    saved, _ = tune("saved", max_steps=3, gradient_checkpointing=True)
    left, right = (load_file(str(adapter.path / "adapter_model.safetensors")) for adapter in (plain, saved))
    assert all(left[name].allclose(right[name], atol=1e-6) for name in left)


@pytest.mark.parametrize(
    "wrong",
    [
        {"initialisation": "random"},
        {"epoch": 1},
        {"rank": 0},
        {"optimizer": "adam"},
        {"task_weights": {"mood": -1}},
        {"dropout": 1.0},
    ],
)
def test_settings_that_cannot_be_are_refused(wrong: dict) -> None:
    from pydantic import ValidationError

    with pytest.raises(ValidationError):
        TrainSettings(**wrong)


def test_the_paper_s_configuration_adapts_what_the_paper_adapts() -> None:
    """What it leaves out comes from the defaults, so they must not bring LoRA on the embedding or another loss."""
    from pathlib import Path

    import yaml

    root = Path(__file__).resolve().parents[3]
    steps = yaml.safe_load((root / "configs" / "falcon-7b-paper.yaml").read_text())["steps"]
    settings = TrainSettings(**steps["train"]["parameters"])
    assert not settings.adapt_embedding and settings.loss_weighting == "token"
    assert (settings.rank, settings.alpha, settings.dropout) == (32, 32, 0.05)
    assert (settings.batch_size, settings.gradient_accumulation, settings.max_steps) == (2, 2, 60)
