"""Going on from an adapter: the training begins as the adapter's model ended, and only where that is what was asked."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file

from domainlm.artifacts import AdapterFolder, TokenizerFolder
from domainlm.errors import ModelError, TrainingError
from domainlm.models import load_adapter

# so small that no float32 weight moves in one step: what comes out is what went in
STILL = {"learning_rate": 1e-30, "max_steps": 1}


@pytest.fixture
def pair(tune):
    """An adapter of some steps, and the one that goes on from it without moving."""

    def run(**changes):
        first, before = tune("first", **changes)
        second, after = tune("second", start=first, **(changes | STILL))
        return first, before, second, after

    return run


def logits(base, tokenizer, adapter):
    import torch

    model, loaded = load_adapter(base, tokenizer, adapter)
    ids = loaded(["Kestrel Foods: profit rises, and so does Dorvane Steel"], return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        return model(input_ids=ids).logits


@pytest.fixture
def llama(tiny_base, tmp_path):
    """A random base with the tiny base's tokenizer: LLaMA-Adapter knows no Falcon."""
    import small_models

    from domainlm.models import load_tokenizer, resolve_base

    tokenizer, folder = load_tokenizer(tiny_base), tmp_path / "llama"
    small_models.make("llama", 2, vocab_size=len(tokenizer)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    base = resolve_base(str(folder), tmp_path / "llama-card")
    plain = TokenizerFolder(tmp_path / "llama-tokenizer")
    tokenizer.save_pretrained(plain.path)
    plain.write_card(new_tokens={}, base_digest=base.card["digest"])
    return {"base": base, "tokenizer": plain}


def begins_where_the_other_ended(pair, given: dict, changes: dict) -> None:
    import torch

    first, before, second, after = pair(**given, **changes)
    assert torch.equal(logits(given["base"], given["tokenizer"], first), logits(*given.values(), second))
    assert after.dev_bits_per_character_before == before.dev_bits_per_character
    assert after.dev_bits_per_character_before != before.dev_bits_per_character_before
    assert after.started_from == first.digest == second.card["started_from"]
    left, right = (load_file(str(next(folder.path.glob("*.safetensors")))) for folder in (first, second))
    assert left.keys() == right.keys()
    assert all(torch.equal(left[name], right[name]) for name in left)
    assert first.digest != second.digest  # the card says what it went on from


@pytest.mark.parametrize(
    "changes",
    [
        {"method": "qlora"},
        {"method": "lora"},
        {"method": "lora", "bits": 8},
        {"method": "dora"},
        {"method": "lora", "adapt_embedding": True},
        {"method": "full", "learning_rate": 1e-3},
    ],
    ids=lambda changes: "-".join(str(value) for name, value in changes.items() if name != "learning_rate"),
)
def test_a_training_begins_as_the_adapters_model_ended(pair, tiny_base, grown_tokenizer, changes: dict) -> None:
    """With the rows of new tokens, where they are trained."""
    begins_where_the_other_ended(pair, {"base": tiny_base, "tokenizer": grown_tokenizer}, changes)


@pytest.mark.parametrize("method", ["prompt", "prefix"])
def test_virtual_tokens_go_on_too(pair, tiny_base, plain_tokenizer, method: str) -> None:
    begins_where_the_other_ended(pair, {"base": tiny_base, "tokenizer": plain_tokenizer}, {"method": method})


@pytest.mark.parametrize("method", ["llama_adapter", "prefix", "lora", "full"])
def test_an_untied_base_goes_on_too(pair, llama, method: str) -> None:
    begins_where_the_other_ended(pair, llama, {"method": method, "learning_rate": 1e-2})


def test_the_first_steps_loss_is_the_adapters(tune) -> None:
    """All records in one batch: the first point of the curve is the loss at which the training stands."""
    first, _ = tune("first", max_steps=20)
    points = {}
    for name, start in (("base", None), ("champion", first)):
        _, report = tune(name, start=start, batch_size=96, max_steps=2, logging_steps=1, learning_rate=1e-30)
        points[name] = [point["loss"] for point in report.curve]
    _, went_on = tune("went-on", start=first, batch_size=96, max_steps=4, logging_steps=1, learning_rate=1e-3)
    assert points["champion"][0] == pytest.approx(points["champion"][1], rel=1e-5)
    assert went_on.curve[0]["loss"] == pytest.approx(points["champion"][0], rel=1e-6)
    assert went_on.curve[-1]["loss"] < went_on.curve[0]["loss"] < 0.9 * points["base"][0]


def test_the_optimizer_begins_anew_and_the_schedule_too(tune) -> None:
    first, before = tune("first", max_steps=6, logging_steps=1)
    _, after = tune("second", start=first, max_steps=6, logging_steps=1)
    rates = [[(point["step"], point["learning_rate"]) for point in report.curve] for report in (before, after)]
    assert rates[0] == rates[1]


def test_an_interrupted_training_goes_on_to_the_same_bits_and_another_start_is_refused(tune, monkeypatch) -> None:
    from transformers import TrainerCallback

    from domainlm.train import loop

    first, _ = tune("first")
    other, _ = tune("other", seed=3)
    whole, told = tune("whole", start=first, max_steps=6, save_steps=2)
    run = loop.run

    class Killer(TrainerCallback):
        def on_step_begin(self, args, state, control, **rest) -> None:
            if state.global_step == 4:
                raise MemoryError  # as little is done after it as after a kill

    def killed(trainer, place):
        trainer.add_callback(Killer())
        run(trainer, place)

    with monkeypatch.context() as patch, pytest.raises((MemoryError, TrainingError)):
        patch.setattr(loop, "run", killed)
        tune("cut", start=first, max_steps=6, save_steps=2)
    for wrong in (other, None):
        with pytest.raises(TrainingError, match="another start"):
            tune("cut", start=wrong, max_steps=6, save_steps=2)
    again, report = tune("cut", start=first, max_steps=6, save_steps=2)
    assert again.digest == whole.digest
    assert report == told


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"rank": 8}, ("rank", "is 8", "with 4")),
        ({"alpha": 16}, ("alpha", "16", "8")),
        ({"target_modules": ("query_key_value",)}, ("target_modules", "query_key_value", "dense_4h_to_h")),
        ({"method": "dora"}, ("method", "dora", "qlora")),
        ({"method": "prefix"}, ("method", "prefix", "qlora")),
        ({"method": "full"}, ("method", "full", "qlora")),
        ({"adapt_embedding": True}, ("target_modules", "word_embeddings")),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_another_recipe_is_an_error_that_names_both(tune, changes: dict, names: tuple[str, ...]) -> None:
    first, _ = tune("first", max_steps=1)
    with pytest.raises(ModelError) as refused:
        tune("second", start=first, max_steps=1, **changes)
    assert all(name in str(refused.value) for name in names)


def test_other_bits_another_base_another_tokenizer_and_random_weights_are_refused(
    tune, tiny_base, grown_tokenizer, llama
) -> None:
    first, _ = tune("first", max_steps=1, method="lora")
    for wanted, given in (
        ("bits is nf4, the adapter to go on from was made with none", {"method": "lora", "bits": 4}),
        ("another base", {"method": "lora", **llama}),
        ("another tokenizer", {"method": "lora", "tokenizer": grown_tokenizer}),
    ):
        with pytest.raises(ModelError, match=wanted):
            tune("second", start=first, max_steps=1, **given)
    with pytest.raises(TrainingError, match="random weights"):
        tune("second", start=first, max_steps=1, method="full", initialisation="random")


def test_an_adapter_that_lacks_a_weight_is_refused(tune, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    first, _ = tune("first", max_steps=1)
    broken = AdapterFolder(tmp_path / "broken")
    shutil.copytree(first.path, broken.path)
    file = broken.path / "adapter_model.safetensors"
    weights = load_file(str(file))
    weights.pop(sorted(weights)[0])
    save_file(weights, str(file))
    with pytest.raises(ModelError, match="1 weights more or fewer"):
        tune("second", start=broken, max_steps=1)


def test_a_report_from_before_keeps_its_digest(tune) -> None:
    """What an older version stored has no such field, and must still be what its artifact version says."""
    _, report = tune(max_steps=1)
    assert "started_from" not in report.model_dump(mode="json")
    assert "started_from" not in json.loads(report.model_dump_json())


@pytest.mark.parametrize("strategy", ["ddp", "fsdp2"])
def test_processes_go_on_together(tune, strategy: str) -> None:
    import torch

    first, before = tune("first", method="lora")
    many = {"processes": 2, "strategy": strategy, "batch_size": 4}
    second, after = tune("second", method="lora", start=first, **many, **STILL)
    assert after.dev_bits_per_character_before == pytest.approx(before.dev_bits_per_character, rel=1e-4)
    assert after.started_from == first.digest
    left, right = (load_file(str(folder.path / "adapter_model.safetensors")) for folder in (first, second))
    assert all(torch.equal(left[name], right[name]) for name in left)
