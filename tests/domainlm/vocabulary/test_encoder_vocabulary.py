"""An encoder's vocabulary: nothing measures what new tokens do to it, so none is added unless somebody insists."""

from __future__ import annotations

import pytest
import torch
from small_encoders import make_encoder

from domainlm.models import load_tokenizer, resolve_base
from domainlm.models.classifiers import load_classifier
from domainlm.vocabulary import extend
from domainlm.vocabulary.extension import NOT_ASSESSABLE
from domainlm.vocabulary.settings import VocabularySettings

GROWING = {"max_new_tokens": 4, "min_groups": 3}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    place = tmp_path_factory.mktemp("bert")
    make_encoder(place / "model", ["the bank said today that demand holds"])
    return resolve_base(str(place / "model"), place / "card")


@pytest.fixture(scope="module")
def records(table, row):
    said = [("debenture", "train"), ("debenture", "dev")]
    return table(
        [
            row("term", f"the {word} said today", "", f"{part}{n}", part, n + 100 * (part == "dev"), label="good")
            for word, part in said
            for n in range(6)
        ]
    )


def test_a_gate_that_cannot_be_computed_is_closed_and_says_so(encoder, records, tmp_path) -> None:
    extended, report = extend(records, encoder, VocabularySettings(**GROWING), tmp_path / "gated")
    assert report.mined > 0 and report.added == [] and extended.card["new_tokens"] == {}
    assert report.gate == NOT_ASSESSABLE and report.gate.startswith("not assessable")
    assert report.bits_per_character_before is None and report.fertility_after == report.fertility_before
    assert len(load_tokenizer(encoder, extended)) == len(load_tokenizer(encoder))


def test_without_the_gate_word_pieces_grow_and_new_rows_are_means(encoder, records, tmp_path) -> None:
    extended, report = extend(records, encoder, VocabularySettings(**GROWING, gate=False), tmp_path / "grown")
    assert "debenture" in report.added and report.gate == "off" and report.fertility_after < report.fertility_before
    model, tokenizer = load_classifier(encoder, extended, ("good", "bad"))
    new = tokenizer.convert_tokens_to_ids(" debenture")
    assert new in tokenizer("the debenture said")["input_ids"]
    rows = model.get_input_embeddings().weight
    parts = extended.card["new_tokens"][" debenture"]
    assert len(parts) > 1 and torch.allclose(rows[new], rows[parts].mean(dim=0))


def test_no_new_token_leaves_the_tokenizer_as_it_is(encoder, records, tmp_path) -> None:
    extended, report = extend(records, encoder, VocabularySettings(max_new_tokens=0), tmp_path / "off")
    assert report.gate == "off" and report.added == []
    text = "The bank said: 1,300 debentures"
    assert load_tokenizer(encoder, extended)(text)["input_ids"] == load_tokenizer(encoder)(text)["input_ids"]
