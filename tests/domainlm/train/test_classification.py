"""A head over an encoder: it learns by every method, comes back as it was, and nothing wrong is trained in silence."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from small_encoders import encoder_config, make_encoder, word_pieces
from transformers import TrainerCallback

from domainlm.artifacts import BaseCheckpoint, TokenizerFolder
from domainlm.errors import ModelError, TrainingError
from domainlm.models import load_adapter, load_base, load_tokenizer, resolve_base
from domainlm.models.classifiers import (
    has_own_head,
    head,
    is_encoder,
    label_log_likelihoods,
    load_classifier,
    mean_states,
)
from domainlm.models.loading import quantized_layers
from domainlm.records import asked
from domainlm.train import train
from domainlm.train.classification import prepare
from domainlm.train.heads import LabelPadding, label_loss
from domainlm.train.settings import ControlSettings, TrainSettings
from domainlm.vocabulary import extend
from domainlm.vocabulary.settings import VocabularySettings

LABELS = ("good", "bad")
QUICK = {
    "objective": "classification",
    "method": "lora",
    "tasks": ("mood",),
    "max_steps": 100,
    "batch_size": 8,
    "rank": 8,
    "alpha": 16,
    "learning_rate": 3e-3,
    "logging_steps": 10,
    "save_steps": 100,
    "threads": 1,
    "report_to": (),
}


@pytest.fixture(scope="module")
def texts(toy_records) -> list[str]:
    return [asked(record) for record in toy_records.to_list() if record["task"] == "mood"]


@pytest.fixture(scope="module")
def encoder(texts, tmp_path_factory) -> BaseCheckpoint:
    """A BERT of two layers that filled masks for a while, without dropout, so that equalities can be exact."""
    place = tmp_path_factory.mktemp("bert")
    make_encoder(place / "model", texts, steps=60, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    return resolve_base(str(place / "model"), place / "card")


@pytest.fixture(scope="module")
def own_tokenizer(encoder, toy_records, tmp_path_factory) -> TokenizerFolder:
    return _unchanged(encoder, toy_records, tmp_path_factory.mktemp("own"))


def _unchanged(base: BaseCheckpoint, records, folder: Path) -> TokenizerFolder:
    return extend(records, base, VocabularySettings(max_new_tokens=0), folder)[0]


@pytest.fixture
def fit(encoder, own_tokenizer, toy_records, toy_tasks, tmp_path) -> Callable:
    """Runs `train`; names other than settings replace its arguments."""

    def run(
        name="run", records=toy_records, base=encoder, tokenizer=own_tokenizer, callbacks=None, start=None, **changes
    ):
        settings = TrainSettings(**(QUICK | changes))
        place = tmp_path / name
        return train(records, tokenizer, base, settings, toy_tasks, place / "adapter", place / "work", callbacks, start)

    return run


def _bits(model, tokenizer, records) -> float:
    """Bits per character of the held-out labels, counted here once more."""
    held_out = [record for record in records.to_list() if record["task"] == "mood" and record["split"] == "dev"]
    found = label_log_likelihoods(model, tokenizer, [asked(record) for record in held_out])
    bits = -sum(row[record["label"]] for row, record in zip(found, held_out, strict=True)) / math.log(2)
    return bits / sum(len(record["label"]) for record in held_out)


def test_a_head_learns_what_the_development_split_confirms(fit, encoder, own_tokenizer, toy_records) -> None:
    adapter, report = fit()
    stage = report.stages[0]
    assert stage.dev_accuracy["mood"] > 0.9
    assert stage.dev_bits_per_record["mood"] < 0.5
    # three and four letters, as often: bits a record are 3.5 times bits a character
    assert stage.dev_bits_per_record["mood"] == pytest.approx(3.5 * report.dev_bits_per_character["mood"], rel=1e-3)
    assert stage.supervised_tokens_per_epoch == stage.examples == 84
    assert adapter.card["labels"] == list(LABELS) and adapter.card["objective"] == "classification"
    loaded = load_adapter(encoder, own_tokenizer, adapter)
    assert _bits(*loaded, toy_records) == pytest.approx(report.dev_bits_per_character["mood"], rel=2e-3)


@pytest.mark.parametrize(
    "changes",
    [
        {"method": "qlora"},
        {"method": "lora"},
        {"method": "lora", "bits": 8},
        {"method": "dora"},
        {"method": "full", "learning_rate": 1e-3},
        {"method": "lora", "adapt_embedding": True},
    ],
    ids=lambda changes: "-".join(map(str, changes.values())),
)
def test_every_method_learns_and_comes_back_with_its_head(fit, encoder, own_tokenizer, toy_records, changes) -> None:
    adapter, report = fit(**changes)
    before, after = report.dev_bits_per_character_before["mood"], report.dev_bits_per_character["mood"]
    assert after < before / 2
    assert report.quantized_layers == (12 if changes.get("bits") == 8 or changes["method"] == "qlora" else 0)
    loaded = load_adapter(encoder, own_tokenizer, adapter)
    assert _bits(*loaded, toy_records) == pytest.approx(after, rel=2e-3, abs=1e-5)


@pytest.mark.parametrize("method", ["qlora", "lora", "dora", "full"])
def test_a_head_goes_on_from_an_adapter_with_its_head(fit, encoder, own_tokenizer, toy_records, method: str) -> None:
    first, before = fit("first", method=method)
    second, after = fit("second", method=method, start=first, learning_rate=1e-30, max_steps=1)
    assert after.dev_bits_per_character_before == before.dev_bits_per_character
    assert after.started_from == first.digest
    left, right = (_bits(*load_adapter(encoder, own_tokenizer, adapter), toy_records) for adapter in (first, second))
    assert left == right


def test_a_head_goes_on_only_from_a_head_for_its_labels(fit, toy_tasks, tmp_path) -> None:
    first, _ = fit("first", max_steps=1)
    card = first.card
    first.write_card(**card | {"labels": card["labels"][::-1]})
    with pytest.raises(ModelError, match=r"the recipe's tasks is good, bad, the adapter .* was made with bad, good"):
        fit("second", start=first, max_steps=1)
    first.write_card(**card | {"objective": "instruction"})
    with pytest.raises(ModelError, match="objective"):
        fit("second", start=first, max_steps=1)


@pytest.mark.parametrize("kind", ["roberta", "electra", "deberta-v2", "distilbert", "modernbert", "xlm-roberta"])
def test_the_other_encoders_are_read_quantized_and_trained(fit, texts, toy_records, tmp_path, kind) -> None:
    make_encoder(tmp_path / "model", texts, kind)
    base = resolve_base(str(tmp_path / "model"), tmp_path / "card")
    assert is_encoder(base)
    own = _unchanged(base, toy_records, tmp_path / "own")
    adapter, report = fit(base=base, tokenizer=own, method="qlora", max_steps=10)
    assert report.quantized_layers >= 8 and report.note == "a head of 2 labels for task 'mood'"
    assert report.dev_bits_per_character != report.dev_bits_per_character_before
    model, tokenizer = load_adapter(base, own, adapter)
    assert _bits(model, tokenizer, toy_records) == pytest.approx(report.dev_bits_per_character["mood"], rel=2e-3)
    assert mean_states(model, tokenizer, texts[:5]).shape == (5, 64)


@pytest.mark.parametrize(("quantization", "layer"), [("nf4", "Linear4bit"), ("int8", "Linear8bitLt")])
def test_the_encoder_is_quantized_and_the_head_is_not(encoder, quantization, layer) -> None:
    model, _ = load_classifier(encoder, None, LABELS, quantization)
    parts = head(model)
    assert sorted(parts) == ["bert.pooler", "classifier"]
    assert {type(module).__name__ for part in parts.values() for module in part.modules()} <= {
        "Linear", "Tanh", "BertPooler",
    }  # fmt: skip
    assert all(weight.dtype is torch.float32 for part in parts.values() for weight in part.parameters())
    found = quantized_layers(model)
    assert len(found) == 12 and all(name.startswith("bert.encoder.") for name in found)
    assert {type(model.get_submodule(name)).__name__ for name in found} == {layer}


def test_a_quantized_head_would_be_noticed(encoder, monkeypatch) -> None:
    from domainlm.models import classifiers, loading

    monkeypatch.setattr(classifiers, "_quantization", lambda config, kind, dtype: loading.nf4_config(torch.float32))
    with pytest.raises(ModelError, match="are not"):
        load_classifier(encoder, None, LABELS, "nf4")


def test_gradients_are_the_same_after_an_evaluation(encoder, own_tokenizer, toy_tasks, texts) -> None:
    settings = TrainSettings(**(QUICK | {"method": "qlora"}))
    prepared = prepare(encoder, own_tokenizer, settings, toy_tasks["mood"])

    def gradients() -> torch.Tensor:
        prepared.model.train()
        prepared.model.zero_grad()
        inputs = prepared.tokenizer(texts[:8], padding=True, return_tensors="pt")
        inputs.pop("token_type_ids", None)
        label_loss(prepared.model(**inputs), torch.tensor([0, 1] * 4)).backward()
        return torch.cat([weight.grad.flatten() for weight in prepared.model.parameters() if weight.grad is not None])

    before = gradients()
    label_log_likelihoods(prepared.model, prepared.tokenizer, texts)
    assert before.abs().max() > 0 and torch.equal(before, gradients())


def test_the_head_is_trained_whole_and_only_the_head_and_lora_are(encoder, own_tokenizer, toy_tasks) -> None:
    prepared = prepare(encoder, own_tokenizer, TrainSettings(**QUICK), toy_tasks["mood"])
    trained = {name for name, weight in prepared.model.named_parameters() if weight.requires_grad}
    assert all("lora_" in name or "classifier" in name or "pooler" in name for name in trained)
    assert {"classifier.modules_to_save.default.weight", "bert.pooler.modules_to_save.default.dense.weight"} <= {
        name.removeprefix("base_model.model.") for name in trained
    }
    assert not any("lora_" in name and ("pooler" in name or "classifier" in name) for name in trained)


def test_a_pooler_that_the_checkpoint_lacks_is_drawn_by_a_seed_and_saved(fit, encoder, own_tokenizer) -> None:
    weights = load_file(encoder.model_path / "model.safetensors")
    assert not any("pooler" in name for name in weights)  # a masked language model has none
    first, second, other = (load_classifier(encoder, None, LABELS, seed=seed)[0] for seed in (3, 3, 4))
    assert torch.equal(first.bert.pooler.dense.weight, second.bert.pooler.dense.weight)
    assert not torch.equal(first.bert.pooler.dense.weight, other.bert.pooler.dense.weight)
    adapter, _ = fit(max_steps=2)
    assert any("pooler" in name for name in load_file(adapter.path / "adapter_model.safetensors"))


def test_a_pooler_that_the_checkpoint_brings_is_kept(texts, tmp_path) -> None:
    from transformers import BertModel

    tokenizer = word_pieces(texts)
    torch.manual_seed(5)
    model = BertModel(encoder_config("bert", len(tokenizer)))
    model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    base = resolve_base(str(tmp_path / "model"), tmp_path / "card")
    found, _ = load_classifier(base, None, LABELS)
    assert torch.equal(found.bert.pooler.dense.weight, model.pooler.dense.weight)


def _with_head(folder: Path, texts, names: tuple[str, ...]):
    from transformers import BertForSequenceClassification

    tokenizer = word_pieces(texts)
    torch.manual_seed(1)
    config = encoder_config("bert", len(tokenizer))
    config.id2label = dict(enumerate(names))
    config.label2id = {name: number for number, name in enumerate(names)}
    model = BertForSequenceClassification(config).eval()
    torch.nn.init.normal_(model.classifier.weight)
    torch.nn.init.normal_(model.classifier.bias)
    model.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    return resolve_base(str(folder / "model"), folder / "card"), model, tokenizer


def test_a_base_s_own_head_for_the_same_labels_is_kept_in_the_task_s_order(texts, tmp_path) -> None:
    """FinBERT says Positive, negative, neutral; the task says positive, neutral, negative."""
    base, model, tokenizer = _with_head(tmp_path, texts, ("Positive", "negative", "neutral"))
    wanted = ("positive", "neutral", "negative")
    assert has_own_head(base, wanted)
    found = label_log_likelihoods(*load_classifier(base, None, wanted), texts[:6])
    inputs = tokenizer(texts[:6], padding=True, return_tensors="pt")
    inputs.pop("token_type_ids", None)
    with torch.no_grad():
        said = torch.log_softmax(model(**inputs).logits, dim=-1)
    for row, expected in zip(found, said, strict=True):
        for label, place in {"positive": 0, "negative": 1, "neutral": 2}.items():
            assert row[label] == pytest.approx(expected[place].item(), abs=1e-5)


def test_a_head_for_other_labels_is_never_taken_over(texts, tmp_path) -> None:
    """transformers keeps any head of the right size: three stars would silently become three moods."""
    base, model, _ = _with_head(tmp_path, texts, ("one star", "two stars", "three stars"))
    for labels in (("positive", "neutral", "negative"), ("one star", "two stars")):
        assert not has_own_head(base, labels)
        fresh, _ = load_classifier(base, None, labels)
        assert fresh.config.id2label == dict(enumerate(labels))
        assert fresh.classifier.weight.abs().max() < 0.2 < model.classifier.weight.abs().max()
        assert not fresh.classifier.bias.any()
        assert torch.equal(fresh.bert.pooler.dense.weight, model.bert.pooler.dense.weight)


def test_weights_that_the_encoder_lacks_are_an_error(encoder, texts, tmp_path) -> None:
    make_encoder(tmp_path / "model", texts)
    path = tmp_path / "model" / "model.safetensors"
    weights = {name: value for name, value in load_file(path).items() if "encoder.layer.1.attention" not in name}
    save_file(weights, path, metadata={"format": "pt"})
    base = resolve_base(str(tmp_path / "model"), tmp_path / "card")
    with pytest.raises(ModelError, match="weights of the encoder are missing"):
        load_classifier(base, None, LABELS)


def test_the_loss_is_the_mean_over_the_records_of_a_step() -> None:
    from types import SimpleNamespace

    torch.manual_seed(0)
    logits, labels = torch.randn(6, 3), torch.tensor([0, 1, 2, 0, 1, 2])
    expected = torch.nn.functional.cross_entropy(logits, labels)
    assert torch.allclose(label_loss(SimpleNamespace(logits=logits), labels), expected)
    halves = [label_loss(SimpleNamespace(logits=logits[part]), labels[part], 6) for part in (slice(0, 2), slice(2, 6))]
    assert torch.allclose(sum(halves), expected)


def test_a_batch_of_8_equals_8_batches_of_1(fit, encoder, own_tokenizer, texts) -> None:
    adapters = [
        fit(f"{size}x{times}", batch_size=size, gradient_accumulation=times, max_steps=6)[0]
        for size, times in ((8, 1), (1, 8))
    ]
    one, other = (load_file(adapter.path / "adapter_model.safetensors") for adapter in adapters)
    for name in one:
        assert torch.allclose(one[name], other[name], atol=2e-4), name
    said = [label_log_likelihoods(*load_adapter(encoder, own_tokenizer, adapter), texts[:20]) for adapter in adapters]
    for first, second in zip(*said, strict=True):
        assert first["good"] == pytest.approx(second["good"], abs=1e-3)


def test_two_processes_make_the_weights_of_one(fit) -> None:
    one, report = fit("one", max_steps=6)
    two, other = fit("two", max_steps=6, batch_size=4, processes=2)
    weights, theirs = (load_file(adapter.path / "adapter_model.safetensors") for adapter in (one, two))
    assert sorted(weights) == sorted(theirs) and two.card["labels"] == list(LABELS)
    assert all(torch.allclose(weights[name], theirs[name], atol=1e-5) for name in weights)
    assert other.loss == pytest.approx(report.loss, abs=1e-4)
    assert other.stages[0].dev_accuracy == report.stages[0].dev_accuracy


def test_the_same_training_gives_the_same_digest_and_an_interrupted_one_too(fit, texts, toy_records, tmp_path) -> None:
    class Stop(TrainerCallback):
        def on_step_end(self, args, state, control, **_):
            if state.global_step == 5:
                raise RuntimeError("the machine is gone")

    make_encoder(tmp_path / "model", texts)  # with dropout, whose generator a checkpoint must hold
    base = resolve_base(str(tmp_path / "model"), tmp_path / "card")
    own = _unchanged(base, toy_records, tmp_path / "own")
    given = {"base": base, "tokenizer": own, "max_steps": 8, "save_steps": 2, "method": "qlora"}
    whole, report = fit("whole", **given)
    with pytest.raises(RuntimeError, match="machine is gone"):
        fit("broken", callbacks=lambda *_: [Stop()], **given)
    again, second = fit("broken", **given)
    assert again.digest == whole.digest and second.digest == report.digest


class Listener(TrainerCallback):
    """Collects what each look at the development split logs."""

    def __init__(self, found: list[dict]) -> None:
        self._found = found

    def on_log(self, args, state, control, logs=None, **_):
        self._found.append(logs or {})


def test_early_stopping_looks_at_the_development_split_and_keeps_the_best(fit) -> None:
    """Shuffled labels can only be learned by heart, so that the development split soon gets worse."""
    found: list[dict] = []
    _, report = fit(labels="shuffled", max_steps=400, eval_steps=20, early_stopping=2, scheduler="constant",
                    callbacks=lambda *_: [Listener(found)])  # fmt: skip
    assert report.stages[0].stopped_early and report.steps < 400
    looks = [logs["eval_bits_per_character"] for logs in found if "eval_bits_per_character" in logs]
    assert report.dev_bits_per_character["mood"] == pytest.approx(min(looks)) and looks[-1] > min(looks)


def test_a_look_logs_accuracy_beside_bits(fit) -> None:
    found: list[dict] = []
    fit(max_steps=4, eval_steps=2, callbacks=lambda *_: [Listener(found)])
    looks = [logs for logs in found if "eval_accuracy_mood" in logs]
    assert len(looks) == 2 and all(0 <= logs["eval_accuracy_mood"] <= 1 for logs in looks)
    assert all(logs["eval_bits_per_record_mood"] > 0 for logs in looks)


def test_the_controls_learn_nothing_of_the_truth_and_nothing_of_the_base(fit, encoder, toy_records) -> None:
    _, recipe = fit()
    shuffled = ControlSettings().change(recipe.recipe, "shuffled_labels").model_dump()
    _, report = fit("shuffled", **shuffled)
    assert report.stages[0].dev_accuracy["mood"] < 0.8 < recipe.stages[0].dev_accuracy["mood"]
    scratch = ControlSettings(learning_rate=1e-3).change(recipe.recipe, "from_scratch")
    fresh, _ = load_classifier(encoder, None, LABELS, initialisation="random", seed=1)
    kept, _ = load_classifier(encoder, None, LABELS)
    assert not torch.allclose(
        fresh.bert.embeddings.word_embeddings.weight, kept.bert.embeddings.word_embeddings.weight, atol=1e-2
    )
    adapter, report = fit("scratch", **(scratch.model_dump() | {"max_steps": 4}))
    assert report.recipe.initialisation == "random" and adapter.card["method"] == "full"
    with pytest.raises(ModelError, match="random weights"):
        load_classifier(encoder, None, LABELS, "nf4", initialisation="random")


def test_new_tokens_get_the_mean_of_their_pieces_and_are_trained(fit, encoder, toy_records, tmp_path) -> None:
    folder = tmp_path / "grown"
    own = _unchanged(encoder, toy_records, folder)
    loaded = load_tokenizer(encoder)
    parts = {" ebitda": loaded(" ebitda", add_special_tokens=False)["input_ids"]}
    assert len(parts[" ebitda"]) > 1
    loaded.add_tokens(list(parts))
    loaded.save_pretrained(folder)
    own.write_card(new_tokens=parts, base_digest=encoder.card["digest"])
    model, tokenizer = load_classifier(encoder, own, LABELS)
    rows = model.get_input_embeddings().weight
    assert torch.allclose(rows[tokenizer.convert_tokens_to_ids(" ebitda")], rows[parts[" ebitda"]].mean(dim=0))
    adapter, report = fit("grown-run", tokenizer=own, max_steps=2)
    assert report.new_tokens_trained == 1
    assert any("token_adapter" in name for name in load_file(adapter.path / "adapter_model.safetensors"))


# ------------------------------------------------------------------------------------------ what must be refused


def test_a_causal_base_cannot_carry_a_head_and_an_encoder_cannot_write(
    fit, encoder, tiny_base, plain_tokenizer, own_tokenizer
) -> None:
    with pytest.raises(ModelError, match="needs an encoder, this base is of architecture 'falcon'"):
        fit("falcon", base=tiny_base, tokenizer=plain_tokenizer)
    with pytest.raises(ModelError, match="cannot write"):
        fit("written", objective="instruction")
    with pytest.raises(ModelError, match="objective: classification"):
        load_base(encoder, own_tokenizer, "none")


def test_a_head_is_for_one_classification_task(fit, toy_records) -> None:
    with pytest.raises(TrainingError, match="a head answers one task, here are 2: mood, term") as caught:
        fit("both", tasks=())  # all tasks of the data
    assert caught.value.remedy == "name one classification task: mood"
    with pytest.raises(TrainingError, match="task 'term' is of kind 'generation'"):
        fit("written", tasks=("term",))
    with pytest.raises(TrainingError, match="no task 'moods'") as caught:
        fit("unknown", tasks=("moods",))
    assert "did you mean 'mood'?" in str(caught.value)
    alone = toy_records.filter(lambda record: record["task"] == "mood")
    assert fit("alone", records=alone, tasks=(), max_steps=1)[1].steps == 1


def test_texts_that_do_not_fit_are_named_or_dropped_and_never_cut(fit, table, row, toy_records, encoder) -> None:
    long = row("mood", "profit " * 90, "", "long", "train", 5000, label="good")
    records = table([*toy_records.to_list(), long])
    with pytest.raises(TrainingError, match=r"1 of 85 records exceed 64 tokens \(longest 92") as caught:
        fit("error", records=records)
    assert long["id"] in caught.value.where
    _, report = fit("drop", records=records, too_long="drop", max_steps=2)
    assert report.stages[0].dropped_too_long == 1 and report.stages[0].examples == 84
    model, tokenizer = load_classifier(encoder, None, LABELS)
    with pytest.raises(ModelError, match="need up to 92 tokens, the encoder reads 64"):
        label_log_likelihoods(model, tokenizer, [asked(long)])


def test_an_unknown_label_and_a_split_of_one_label_are_named_before_anything_is_loaded(
    fit, table, row, toy_records
) -> None:
    rows = toy_records.to_list()
    odd = row("mood", "Dorvane Steel: output idles", "", "odd", "train", 5001, label="indifferent")
    with pytest.raises(TrainingError, match="no label that task 'mood' knows") as caught:
        fit("odd", records=table([*rows, odd]))
    assert "row 5001" in caught.value.where and "indifferent" not in str(caught.value)
    one = [record for record in rows if record["label"] == "good"]
    with pytest.raises(TrainingError, match="bear one label"):
        fit("one", records=table(one))
    with pytest.raises(TrainingError, match="train split has no record"):
        fit("none", records=table([record for record in rows if record["split"] != "train"]))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"batching": "packed"}, "one text a row"),
        ({"method": "prefix"}, "goes with qlora, lora, dora and full"),
        ({"sample_prompts": 2}, "writes no text"),
        ({"strategy": "fsdp2", "processes": 2}, "use strategy 'ddp'"),
        ({"stages": ({"name": "first", "objective": "instruction"},)}, "cannot share stages"),
    ],
)
def test_settings_that_no_head_can_keep_are_refused_in_the_configuration(changes, told) -> None:
    with pytest.raises(ValidationError, match=told):
        TrainSettings(objective="classification", **changes)


def test_a_rank_above_the_layer_s_side_is_an_error_on_dotted_targets_too(fit) -> None:
    with pytest.raises(ModelError, match="rank 65 exceeds the layer"):
        fit(rank=65)


def test_a_batch_is_padded_on_the_right_and_one_number_is_its_label(encoder, texts) -> None:
    batch = LabelPadding(0)(
        [{"input_ids": [2, 9, 3], "labels": 1, "index": 4}, {"input_ids": [2, 3], "labels": 0, "index": 7}]
    )
    assert batch["input_ids"].tolist() == [[2, 9, 3], [2, 3, 0]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 1, 0]]
    assert batch["labels"].tolist() == [1, 0] and batch["index"].tolist() == [4, 7]
    model, tokenizer = load_classifier(encoder, None, LABELS)
    together = label_log_likelihoods(model, tokenizer, texts[:7], batch=7)
    alone = [label_log_likelihoods(model, tokenizer, [text])[0] for text in texts[:7]]
    for one, other in zip(together, alone, strict=True):
        assert one["good"] == pytest.approx(other["good"], abs=1e-5)
