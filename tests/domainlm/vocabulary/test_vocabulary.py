"""Vocabulary: terms of the domain become tokens, from the train split only, and only while they do no harm."""

from __future__ import annotations

import pytest

from domainlm.errors import TrainingError
from domainlm.models import load_tokenizer
from domainlm.vocabulary import extend
from domainlm.vocabulary.mining import mine, words
from domainlm.vocabulary.settings import VocabularySettings

SETTINGS = VocabularySettings(max_new_tokens=8, min_groups=3, template_tokens=False, gate=False)


@pytest.fixture(scope="module")
def tokenizer(tiny_base):
    return load_tokenizer(tiny_base)


def _texts(*texts: str) -> list[tuple[str, str]]:
    return [(str(number), text) for number, text in enumerate(texts)]


def test_words_leave_placeholders_numbers_and_broken_runs_out() -> None:
    assert words("Pay [PERSON_1] 1,300 won for M&A advice") == ["Pay", "\0", "won", "for", "M&A", "advice"]
    assert words("파생상품 거래") == ["파생상품", "거래"]


def test_a_term_of_the_domain_wins_over_a_word_of_general_language(tokenizer) -> None:
    domain = _texts(*["the debenture matures tomorrow in Xland"] * 6)
    contrast = _texts(*["we meet tomorrow"] * 6)
    found = mine(domain, contrast, tokenizer, SETTINGS)
    assert " debenture" in found and " matures" in found
    assert " tomorrow" not in found[:2]


def test_a_word_repeated_by_one_group_is_no_term(tokenizer) -> None:
    one_group = [("same", "debenture debenture debenture")] * 10
    assert mine(one_group, [], tokenizer, SETTINGS) == []


def test_names_and_placeholders_never_become_tokens(tokenizer) -> None:
    domain = _texts(*["the debenture of Kangnam Ventures pays [PERSON_1] and [ACCOUNT_2], says KOSDAQ"] * 6)
    found = mine(domain, [], tokenizer, SETTINGS.model_copy(update={"max_new_tokens": 50}))
    assert " debenture" in found and " KOSDAQ" in found
    assert not [term for term in found if "Kangnam" in term or "PERSON" in term or "ACCOUNT" in term or "[" in term]


def test_a_term_that_mostly_begins_longer_words_is_left_alone(tokenizer) -> None:
    domain = _texts(*["a debentureholder votes"] * 6, *["a debenture"] * 3)
    assert " debenture" not in mine(domain, [], tokenizer, SETTINGS)


def test_terms_come_from_the_train_split_only(tiny_base, table, row, tmp_path) -> None:
    rows = [row("term", "What is a debenture?", "A debenture is a bond.", str(n), "train", n) for n in range(6)]
    rows += [
        row("term", "What is a moratorium?", "A moratorium is a delay.", f"t{n}", "test", 50 + n) for n in range(6)
    ]
    rows += [row("term", "What is a moratorium?", "A moratorium is a delay.", f"d{n}", "dev", 90 + n) for n in range(6)]
    _, report = extend(table(rows), tiny_base, SETTINGS, tmp_path / "tokenizer")
    assert "debenture" in report.added and "moratorium" not in report.added


def test_text_survives_the_extended_tokenizer_and_gets_shorter(tiny_base, toy_records, tmp_path) -> None:
    settings = SETTINGS.model_copy(update={"min_groups": 2})
    extended, report = extend(toy_records, tiny_base, settings, tmp_path / "tokenizer")
    assert report.added and report.fertility_after < report.fertility_before
    before, after = load_tokenizer(tiny_base), load_tokenizer(tiny_base, extended)
    for record in toy_records:
        text = record["messages"][0]["content"]
        ids = after(text)["input_ids"]
        assert after.decode(ids) == text
        assert len(ids) <= len(before(text)["input_ids"])


def test_the_card_says_what_each_new_token_is_made_of(tiny_base, grown_tokenizer) -> None:
    before = load_tokenizer(tiny_base)
    card = grown_tokenizer.card
    assert card["base_digest"] == tiny_base.card["digest"]
    for token, parts in card["new_tokens"].items():
        assert before.decode(parts) == token and len(parts) > 1


def test_marks_and_labels_become_one_token_each(tiny_base, grown_tokenizer) -> None:
    tokenizer = load_tokenizer(tiny_base, grown_tokenizer)
    for text in ("##Question:", "\n##Answer:", " good", " bad"):
        before = len(load_tokenizer(tiny_base)(text)["input_ids"])
        assert len(tokenizer(text)["input_ids"]) == 1, (text, before)


def test_zero_new_tokens_leave_the_tokenizer_alone(tiny_base, plain_tokenizer) -> None:
    assert plain_tokenizer.card["new_tokens"] == {}
    assert len(load_tokenizer(tiny_base, plain_tokenizer)) == len(load_tokenizer(tiny_base))


def test_the_gate_measures_held_out_text_and_drops_what_costs_too_much(
    tiny_base, toy_records, tmp_path, monkeypatch
) -> None:
    from domainlm.vocabulary import extension

    settings = SETTINGS.model_copy(update={"min_groups": 2, "gate": True})
    kept, report = extend(toy_records, tiny_base, settings, tmp_path / "kept")
    assert report.gate == "passed" and len(kept.card["new_tokens"]) == report.mined > 0
    measured = (report.bits_per_character_before, report.bits_per_character_after)
    assert all(0.1 < cost < 10 for cost in measured) and measured[0] != measured[1]
    real = extension._cost
    monkeypatch.setattr(
        extension, "_cost", lambda base, tokenizer, texts: real(base, tokenizer, texts) * (2 if tokenizer else 1)
    )
    dropped, report = extend(toy_records, tiny_base, settings, tmp_path / "dropped")
    assert report.bits_per_character_after == pytest.approx(2 * measured[1], rel=1e-3)
    assert report.gate.startswith("dropped: more than 10% worse") and report.added == []
    assert dropped.card["new_tokens"] == {} and report.fertility_after == report.fertility_before
    assert len(load_tokenizer(tiny_base, dropped)) == len(load_tokenizer(tiny_base))


def test_the_same_records_give_the_same_tokenizer(tiny_base, toy_records, tmp_path) -> None:
    first, second = (extend(toy_records, tiny_base, SETTINGS, tmp_path / name)[0] for name in ("a", "b"))
    assert first.digest == second.digest


def test_no_held_out_text_is_an_error(tiny_base, toy_records, tmp_path) -> None:
    only_train = toy_records.filter(lambda split: split == "train", input_columns="split")
    with pytest.raises(TrainingError, match="no record of split 'dev'"):
        extend(only_train, tiny_base, SETTINGS, tmp_path / "tokenizer")
