"""An encoder with a head beside its baselines: what it is asked, what it cannot be asked, and what must fail."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace

import pytest
from small_encoders import encoder_config, make_encoder, word_pieces

from domainlm.artifacts import AdapterFolder, TokenizerFolder
from domainlm.errors import EvaluationError
from domainlm.evaluate import EvaluationReport, evaluate
from domainlm.evaluate.render import render, table
from domainlm.evaluate.report import Estimate
from domainlm.evaluate.settings import COLUMNS, EvaluateSettings
from domainlm.models import resolve_base
from domainlm.models.classifiers import load_classifier
from domainlm.records import answer, asked

SETTINGS = {"tasks": ("sentiment",), "apart_sources": ("disjoint",), "resamples": 1000, "threads": 1, "min_groups": 5}


def tune(base, tokenizer, pairs, folder: Path, steps: int, labels) -> AdapterFolder:
    """A plain training loop over all weights, so that these tests do not hang on the train stage."""
    import torch

    model, loaded = load_classifier(base, tokenizer, labels, seed=3)
    inputs = loaded([text for text, _ in pairs], padding=True, return_tensors="pt", return_token_type_ids=False)
    right = torch.tensor([model.config.label2id[label] for _, label in pairs])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    draw = torch.Generator().manual_seed(0)
    for _ in range(steps):
        rows = torch.randint(len(pairs), (24,), generator=draw)
        logits = model(**{name: values[rows] for name, values in inputs.items()}).logits
        loss = torch.nn.functional.cross_entropy(logits, right[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.save_pretrained(folder)
    adapter = AdapterFolder(folder)
    adapter.write_card(
        method="full", objective="classification", quantization="none", labels=list(labels),
        base_digest=base.card["digest"], tokenizer_digest=tokenizer.digest,
    )  # fmt: skip
    return adapter


def _base(root: Path, save) -> tuple:
    save(root / "model")
    base = resolve_base(str(root / "model"), root / "card")
    own = TokenizerFolder(root / "tokenizer")
    from domainlm.models import load_tokenizer

    load_tokenizer(base).save_pretrained(own.path)
    own.write_card(new_tokens={}, base_digest=base.card["digest"])
    return base, own


@pytest.fixture(scope="module")
def reader(toy, tmp_path_factory) -> SimpleNamespace:
    """The toy's sentiment task, learned by a small BERT that first filled masks; and its two controls."""
    import random

    root = tmp_path_factory.mktemp("reader")
    records = [record for record in toy.records.to_list() if record["task"] == "sentiment"]
    texts = [asked(record) for record in records]
    base, tokenizer = _base(root, lambda folder: make_encoder(folder, texts, hidden_dropout_prob=0.0))
    pairs = [(asked(record), answer(record)) for record in records if record["split"] == "train"]
    wrong = [label for _, label in pairs]
    random.Random(7).shuffle(wrong)
    labels = toy.tasks["sentiment"].labels
    shuffled = [(text, label) for (text, _), label in zip(pairs, wrong, strict=True)]
    return SimpleNamespace(
        base=base,
        tokenizer=tokenizer,
        texts=texts,
        pairs=pairs,
        adapter=tune(base, tokenizer, pairs, root / "tuned", 90, labels),
        controls={
            "shuffled labels": tune(base, tokenizer, shuffled, root / "shuffled", 90, labels),
            "from scratch": tune(base, tokenizer, pairs, root / "scratch", 1, labels),
        },
    )


def run(toy, reader, controls=None, records=None, base=None, tokenizer=None, adapter=None, **settings):
    return evaluate(
        records or toy.records,
        base or reader.base,
        tokenizer or reader.tokenizer,
        adapter or reader.adapter,
        EvaluateSettings(**(SETTINGS | settings)),
        toy.tasks,
        reader.controls if controls is None else controls,
    )


@pytest.fixture(scope="module")
def report(toy, reader) -> EvaluationReport:
    return run(toy, reader)


def row(report: EvaluationReport, name: str = "sentiment / headlines"):
    return next(row for row in report.rows if row.name == name)


def test_an_encoder_is_scored_by_what_it_can_be_asked_and_the_rest_is_said(report) -> None:
    expected = ["majority", "TF-IDF", "linear probe", "shuffled labels", "from scratch", "tuned"]
    assert [name for name in COLUMNS if name in row(report).scores] == expected == list(row(report).scores)
    assert set(report.not_assessable) == {"base", "few-shot base", "base by cloze"}
    page, text = report.html(), render(report)
    for system, reason in report.not_assessable.items():
        assert f"{system}: not assessable, {reason}" in text and reason in page
    assert table(report)[0][3:] == expected
    assert report.few_shot == {}


def test_the_tuned_head_is_shown_over_probe_shuffled_labels_and_majority(report) -> None:
    found = row(report)
    assert found.scores["tuned"]["accuracy"].value > 0.9
    assert found.scores["shuffled labels"]["accuracy"].value < 0.6
    assert found.scores["majority"]["accuracy"].value == pytest.approx(1 / 3, abs=1e-5)
    gains = found.differences
    assert set(gains) == {"majority", "TF-IDF", "linear probe", "shuffled labels", "from scratch"}
    shown = all(gains[name].low > 0 for name in ("majority", "linear probe", "shuffled labels"))
    assert found.verdict == ("shown" if shown else "not shown")
    assert "linear probe" in found.reason


def test_bits_of_a_head_are_those_of_its_softmax(toy, reader, report) -> None:
    import torch

    from domainlm.models import load_adapter

    model, tokenizer = load_adapter(reader.base, reader.tokenizer, reader.adapter)
    records = [r for r in toy.records.to_list() if r["source"] == "headlines" and r["split"] == "test"]
    bits = characters = 0.0
    for record in records:
        ids = torch.tensor([tokenizer(asked(record))["input_ids"]])
        with torch.no_grad():
            scores = torch.log_softmax(model(input_ids=ids).logits[0].double(), -1)
        bits -= scores[model.config.label2id[answer(record)]].item() / math.log(2)
        characters += len(answer(record))
    assert row(report).scores["tuned"]["bits_per_character"].value == pytest.approx(
        bits / characters, rel=1e-4, abs=1e-6
    )
    assert "bits_per_character" not in row(report).scores["linear probe"]  # it is compared by its labels


def test_the_probe_is_a_logistic_regression_on_frozen_states_of_the_train_part_alone(toy, reader, report) -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from domainlm.models.classifiers import mean_states

    model, tokenizer = load_classifier(reader.base, None, toy.tasks["sentiment"].labels)
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=2000))  # no dev part: one strength
    probe.fit(mean_states(model, tokenizer, [text for text, _ in reader.pairs]), [label for _, label in reader.pairs])
    test = [r for r in toy.records.to_list() if r["source"] == "headlines" and r["split"] == "test"]
    said = probe.predict(mean_states(model, tokenizer, [asked(record) for record in test]))
    right = sum(label == answer(record) for label, record in zip(said, test, strict=True)) / len(test)
    assert row(report).scores["linear probe"]["accuracy"].value == pytest.approx(right, abs=1e-6)


def test_without_probe_or_shuffled_control_nothing_is_shown(toy, reader) -> None:
    without = tuple(name for name in COLUMNS if name != "linear probe")
    found = row(run(toy, reader, systems=without))
    assert found.verdict == "not shown" and "no comparison with linear probe" in found.reason
    found = row(run(toy, reader, controls={}))
    assert found.verdict == "not shown" and "no comparison with shuffled labels" in found.reason


def test_the_probe_never_stands_for_a_base_that_could_have_been_asked() -> None:
    from domainlm.evaluate.evaluation import NO_HEAD, _verdict

    gain = Estimate(value=0.2, low=0.1, high=0.3, method="BCa")
    gains = {"majority": gain, "linear probe": gain, "shuffled labels": gain}
    assert _verdict(gains, 40, EvaluateSettings(), NO_HEAD)[0] == "shown"
    verdict, reason = _verdict(gains, 40, EvaluateSettings())
    assert verdict == "not shown" and "no comparison with base" in reason
    level = gains | {"linear probe": Estimate(value=0.0, low=-0.1, high=0.1, method="BCa")}
    verdict, reason = _verdict(level, 40, EvaluateSettings(), NO_HEAD)
    assert verdict == "not shown" and "over linear probe" in reason


def test_a_base_with_a_head_of_its_own_for_these_labels_is_asked_by_it(toy, reader, tmp_path) -> None:
    """A base that was tuned elsewhere already answers; the tuned model must beat that answer."""
    labels = ("negative", "positive", "neutral")

    def save(folder: Path) -> None:
        import torch
        from transformers import BertForSequenceClassification

        tokenizer = word_pieces(reader.texts)
        torch.manual_seed(0)
        config = encoder_config("bert", len(tokenizer), id2label=dict(enumerate(labels)),
                                label2id={name: place for place, name in enumerate(labels)})  # fmt: skip
        BertForSequenceClassification(config).save_pretrained(folder)
        tokenizer.save_pretrained(folder)

    base, tokenizer = _base(tmp_path / "finbert", save)
    adapter = tune(base, tokenizer, reader.pairs, tmp_path / "tuned", 60, toy.tasks["sentiment"].labels)
    given = {"base": base, "tokenizer": tokenizer, "adapter": adapter, "controls": {"shuffled labels": adapter}}
    report = run(toy, reader, **given)
    assert {"base", "linear probe"} <= set(row(report).scores)
    assert set(report.not_assessable) == {"few-shot base", "base by cloze"}
    assert "bits_per_character" in row(report).scores["base"]
    without = tuple(name for name in COLUMNS if name != "base")
    report = run(toy, reader, systems=without, **given)
    assert row(report).verdict == "not shown" and "no comparison with base" in row(report).reason


def test_the_report_is_the_same_again_and_bound_to_the_bare_texts(toy, reader, report) -> None:
    import hashlib

    assert run(toy, reader).digest == report.digest
    records = [r for r in toy.records.to_list() if r["source"] == "headlines" and r["split"] == "test"]
    wanted = [hashlib.sha256(f"sentiment/1/{asked(record)}".encode()).hexdigest()[:16] for record in records]
    assert report.item_scores["sentiment / headlines"].prompts == wanted
    apart = [r for r in toy.records.to_list() if r["source"] == "disjoint"]
    assert [item.prompt for item in report.side_by_side] == [asked(record) for record in apart[:2]]
    assert all(item.answers["tuned"] in toy.tasks["sentiment"].labels for item in report.side_by_side)


def test_a_task_that_the_head_was_not_trained_for_is_refused(toy, reader, tmp_path) -> None:
    import shutil

    with pytest.raises(EvaluationError, match="task 'metal'") as caught:
        run(toy, reader, tasks=())
    assert "steps.evaluate.parameters.tasks" in caught.value.remedy
    other = AdapterFolder(tmp_path / "other")
    shutil.copytree(reader.adapter.path, other.path)
    other.write_card(**(reader.adapter.card | {"labels": ["up", "down"]}))
    with pytest.raises(EvaluationError, match="system 'shuffled labels' answers up, down"):
        run(toy, reader, controls={"shuffled labels": other})


def test_a_text_that_the_encoder_cannot_read_whole_is_an_error_that_names_the_system(toy, reader) -> None:
    from datasets import Dataset

    rows = toy.records.to_list()
    spoilt = next(r for r in rows if r["split"] == "test" and r["source"] == "headlines")
    spoilt["messages"] = [{"role": "user", "content": "today " * 100}]
    records = Dataset.from_list(rows, features=toy.records.features)
    with pytest.raises(EvaluationError, match="system 'linear probe', task 'sentiment'"):
        run(toy, reader, records=records)
    with pytest.raises(EvaluationError, match="system 'tuned', task 'sentiment'"):
        run(toy, reader, records=records, systems=("majority", "tuned"))
