"""Pre-training: it learns, it repeats itself to the bit, it goes on where it was stopped, and it says what it saw."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from domainlm import ngrams
from domainlm.errors import TrainingError
from domainlm.models import load_base
from domainlm.pretrain import pretrain
from domainlm.pretrain.copying import repeated_tokens
from domainlm.pretrain.pretraining import _batches, _pack, learning_rate
from domainlm.pretrain.settings import PretrainSettings
from domainlm.pretrain.tokenizer import EOS, train_tokenizer
from domainlm.records import question

SETTINGS = PretrainSettings(
    name="toy",
    copy_steps=4,
    vocab_size=320,
    hidden_size=32,
    layers=1,
    heads=2,
    context=64,
    sequence_length=16,
    max_steps=12,
    batch_size=4,
    save_steps=5,
    threads=1,
    dev_characters=1000,
)


def test_a_base_learns_to_predict_text_that_it_has_not_seen(tiny) -> None:
    report = tiny[1]
    assert report.bits_per_character < 0.6 * report.bits_per_character_before
    losses = [point["loss"] for point in report.curve]
    assert losses[-1] < 0.7 * losses[0]


def test_two_runs_with_one_seed_give_one_digest_and_another_seed_another(toy_corpus, tmp_path) -> None:
    bases = [
        pretrain(
            toy_corpus, SETTINGS.model_copy(update={"seed": seed}), tmp_path / f"{number}", tmp_path / f"work{number}"
        )
        for number, seed in enumerate((0, 0, 1))
    ]
    digests = [base.digest for base, _ in bases]
    assert digests[0] == digests[1] != digests[2]
    assert bases[0][1] == bases[1][1]


def test_a_stopped_run_goes_on_to_the_same_weights(toy_corpus, tmp_path, monkeypatch) -> None:
    """Stopped right after a checkpoint's tensors were written, before its marker: the one before it counts."""
    from domainlm.pretrain import checkpoints

    whole, report = pretrain(toy_corpus, SETTINGS, tmp_path / "whole", tmp_path / "work-whole")
    real, calls = checkpoints.os.replace, []

    def fail_at_the_second_marker(*paths) -> None:
        calls.append(paths)
        if len(calls) == 2:
            raise KeyboardInterrupt
        real(*paths)

    monkeypatch.setattr(checkpoints.os, "replace", fail_at_the_second_marker)
    with pytest.raises(KeyboardInterrupt):
        pretrain(toy_corpus, SETTINGS, tmp_path / "half", tmp_path / "work")
    monkeypatch.undo()
    assert (tmp_path / "work" / "step-00000010" / "state.safetensors").is_file()
    assert not (tmp_path / "half" / "domainlm.json").exists()
    resumed, resumed_report = pretrain(toy_corpus, SETTINGS, tmp_path / "half", tmp_path / "work")
    assert resumed.digest == whole.digest
    assert resumed_report == report


def test_the_base_says_which_text_it_saw(tiny_base, toy_corpus) -> None:
    texts = [question(record) for record in toy_corpus if record["split"] == "train"]
    known = ngrams.load(tiny_base.path / ngrams.FILE)
    assert all(ngrams.seen(texts[:5], known))
    assert not any(
        ngrams.seen(
            ["A wholly different sentence about the weather in the mountains on a Tuesday morning in May"], known
        )
    )


def test_only_the_train_split_is_learned_from(toy_corpus, tiny) -> None:
    report = tiny[1]
    parts = toy_corpus["split"]
    assert report.train_documents == parts.count("train")
    assert report.train_characters == sum(len(question(record)) for record in toy_corpus if record["split"] == "train")


def test_a_corpus_without_held_out_text_is_refused(toy_corpus, tmp_path) -> None:
    only_train = toy_corpus.filter(lambda split: split == "train", input_columns="split")
    with pytest.raises(TrainingError, match="no document of split 'dev'"):
        pretrain(only_train, SETTINGS, tmp_path / "base", tmp_path / "work")


def test_a_diverging_run_stops_with_its_step(toy_corpus, tmp_path) -> None:
    wild = SETTINGS.model_copy(update={"learning_rate": 1e30, "warmup_ratio": 0.0})
    with pytest.raises(TrainingError, match="not finite at step"):
        pretrain(toy_corpus, wild, tmp_path / "base", tmp_path / "work")


def test_the_folder_holds_no_pickle_and_no_path_of_the_machine(tiny_base) -> None:
    names = {path.name for path in tiny_base.path.rglob("*")}
    assert not [name for name in names if name.endswith((".bin", ".pt", ".pkl"))]
    for path in tiny_base.path.glob("*.json"):
        assert str(tiny_base.path) not in path.read_text()
    card = tiny_base.card
    assert card["architecture"] == "falcon" and not card["external"] and len(card["digest"]) == 64


def test_seconds_lie_beside_the_report_and_not_in_it(tiny, toy_corpus, tmp_path) -> None:
    pretrain(toy_corpus, SETTINGS, tmp_path / "base", tmp_path / "work")
    assert json.loads((tmp_path / "work" / "throughput.json").read_text())["seconds"] >= 0
    assert not [name for name in tiny[1].model_dump() if "second" in name]


def test_a_text_survives_the_tokenizer_whatever_its_script() -> None:
    tokenizer = train_tokenizer(["profit rises to 1,300 won", "이익이 늘었다"], 300, 64)
    for text in ("profit −3.5% to €1,200", "영업이익 1,300원", "unseen ☃ snow", "  two  spaces\n"):
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    digits = tokenizer.convert_ids_to_tokens(tokenizer("1300")["input_ids"])
    assert digits == list("1300")


def test_packing_puts_an_eos_after_each_document(tiny_base) -> None:
    _, tokenizer = load_base(tiny_base, None, "none")
    stream = _pack(tokenizer, ["profit rises", "demand falls"])
    assert tokenizer.decode(stream) == f"profit rises{EOS}demand falls{EOS}"


def test_batches_are_a_function_of_the_step_and_cover_an_epoch_once() -> None:
    stream = np.arange(16 * 40, dtype=np.int32)
    settings = SETTINGS.model_copy(update={"copy_steps": 0, "copy_share": 0.0})
    per_epoch = (len(stream) - 16) // (16 * 4)
    from itertools import islice

    whole = [batch.numpy() for batch in islice(_batches(stream, settings, 320, 0), 2 * per_epoch)]
    late = next(_batches(stream, settings, 320, per_epoch + 3)).numpy()
    assert np.array_equal(late, whole[per_epoch + 3])
    first_epoch = np.concatenate([batch.flatten() for batch in whole[:per_epoch]])
    assert len(np.unique(first_epoch)) == len(first_epoch)


def test_the_learning_rate_rises_then_falls_to_its_floor() -> None:
    rates = [learning_rate(step + SETTINGS.copy_steps, 100 + SETTINGS.copy_steps, SETTINGS) for step in range(101)]
    assert learning_rate(SETTINGS.copy_steps - 1, 104, SETTINGS) == SETTINGS.copy_learning_rate
    assert rates.index(max(rates)) == 4 or rates.index(max(rates)) == 5
    assert rates[0] < rates[3] and math.isclose(rates[100], SETTINGS.minimum_rate * SETTINGS.learning_rate)


@pytest.mark.parametrize("wrong", [{"hidden_size": 96, "heads": 5}, {"sequence_length": 600}, {"layer": 2}])
def test_a_shape_that_cannot_be_is_refused(wrong: dict) -> None:
    from pydantic import ValidationError

    with pytest.raises(ValidationError):
        PretrainSettings(**wrong)


def test_the_copy_warm_up_teaches_to_repeat_what_was_never_seen(toy_corpus, tmp_path) -> None:
    """Accuracy on the second half of fresh random sequences; a base without the warm-up stays near chance."""
    import torch

    def copied(name: str, **changes) -> float:
        settings = SETTINGS.model_copy(
            update={"hidden_size": 64, "layers": 2, "max_steps": 1, "batch_size": 64, "save_steps": 1000, **changes}
        )
        base, _ = pretrain(toy_corpus, settings, tmp_path / name, tmp_path / f"work-{name}")
        model, _ = load_base(base, None, "none")
        half = torch.randint(2, 300, (32, 12), generator=torch.Generator().manual_seed(99))
        with torch.inference_mode():
            said = model(input_ids=torch.cat([half, half], dim=1)).logits[:, 12:-1].argmax(-1)
        return (said == half[:, 1:]).float().mean().item()

    assert copied("without", copy_steps=0) < 0.05
    assert copied("with", copy_steps=400) > 0.5


def test_repeated_tokens_repeat_and_hold_no_special_token() -> None:
    rows = repeated_tokens(np.random.default_rng(0), 50, 32, 400, special=2)
    assert rows.shape == (50, 32) and rows.min() >= 2 and rows.max() < 400
    for row in rows:
        assert any(np.array_equal(row[period:], row[:-period]) for period in range(3, 17))
