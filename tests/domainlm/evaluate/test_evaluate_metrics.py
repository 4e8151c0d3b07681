"""Every metric against the library that it stands on, and what it must not overlook in financial text."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest

from domainlm.text import words


@pytest.fixture
def metric(tmp_path):
    from domainlm.evaluate.metrics import METRICS

    return lambda name, labels=(): METRICS[name](str(tmp_path), labels)


LABELS = ("positive", "neutral", "negative")
SAID = ["The index tracks a market or sector", "EBITDA fell 3.5 %", "a bond is a loan that an investor makes", "yes"]
WANTED = ["An index tracks a market or a sector", "EBITDA fell 4.5 %", "A bond is a loan made by an investor", "no"]


def test_classification_scores_equal_those_of_scikit_learn(metric):
    from sklearn.metrics import accuracy_score, f1_score

    chosen = random.Random(3)
    true, said = ([chosen.choice(LABELS) for _ in range(200)] for _ in range(2))
    assert metric("accuracy").compute(predictions=said, references=true)["accuracy"] == pytest.approx(
        accuracy_score(true, said)
    )
    found = metric("macro_f1", LABELS).compute(predictions=said, references=true)["macro_f1"]
    assert found == pytest.approx(f1_score(true, said, average="macro", labels=LABELS))


def test_macro_f1_counts_a_class_that_was_never_predicted_as_zero(metric):
    from sklearn.metrics import f1_score

    true, said = ["positive"] * 6 + ["negative"] * 2, ["positive"] * 8
    found = metric("macro_f1", LABELS).compute(predictions=said, references=true)["macro_f1"]
    assert found == pytest.approx(f1_score(true, said, average="macro", labels=LABELS, zero_division=0))


def test_bleu_equals_sacrebleu(metric):
    from sacrebleu.metrics import BLEU

    plain = [[" ".join(words(text)) for text in texts] for texts in (SAID, WANTED)]
    expected = BLEU(tokenize="none", force=True).corpus_score(plain[0], [plain[1]]).score / 100
    assert expected > 0.1
    assert metric("bleu").compute(predictions=SAID, references=WANTED)["bleu"] == pytest.approx(expected)


def test_rouge_l_equals_rouge_score_on_text_where_the_tokenizers_agree(metric):
    from rouge_score.rouge_scorer import RougeScorer

    said, wanted = [SAID[0], SAID[2]], [WANTED[0], WANTED[2]]
    scorer = RougeScorer(["rougeL"])
    expected = np.mean([scorer.score(right, text)["rougeL"].fmeasure for right, text in zip(wanted, said, strict=True)])
    assert metric("rouge_l").compute(predictions=said, references=wanted)["rouge_l"] == pytest.approx(expected)


def test_rouge_l_sees_sign_currency_and_hangul_where_the_default_does_not(metric):
    from rouge_score.rouge_scorer import RougeScorer

    plain = RougeScorer(["rougeL"])
    gain, loss, korean = "EBITDA 3.5% $1,200", "EBITDA -3.5% €1,200", "순이익이 증가했다"
    assert plain.score(gain, loss)["rougeL"].fmeasure == 1  # the trap
    assert plain.score(korean, korean)["rougeL"].fmeasure == 0
    assert metric("rouge_l").compute(predictions=[loss], references=[gain])["rouge_l"] < 0.5
    assert metric("rouge_l").compute(predictions=[korean], references=[korean])["rouge_l"] == 1


@pytest.mark.parametrize(
    ("said", "wanted", "same"),
    [
        ("1,300 won", "₩1,300", True),
        ("$1.2 million", "1,200,000 dollars", True),
        ("(3.5)%", "-3.5 %", True),
        ("It fell by 3.5%", "it fell by 3.50 %", True),
        ("3.5%", "-3.5%", False),
        ("€1,300", "₩1,300", False),
        ("1,300", "1,300 won", False),
        ("Q3 1,300 won", "Q4 1,300 won", False),
        ("It rose by 3.5%", "It fell by 3.5%", False),
        ("Ostland Bank", "ostland bank.", True),
        ("Ostland", "Norland", False),
        ("", "1,300 won", False),
    ],
)
def test_exact_match_compares_numbers_by_value_and_unit(metric, said, wanted, same):
    assert metric("exact_match").compute(predictions=[said], references=[wanted])["exact_match"] == same


@pytest.mark.parametrize(
    ("said", "wanted", "near"),
    [
        ("4.52%", "4.5%", True),
        ("4.6%", "4.5%", False),
        ("-4.5%", "4.5%", False),
        ("4.5 won", "4.5%", False),
        ("none", "4.5%", False),
    ],
)
def test_a_number_within_one_percent_counts(metric, said, wanted, near):
    found = metric("number_within_1_percent").compute(predictions=[said], references=[wanted])
    assert found["number_within_1_percent"] == near


def test_metrics_combine_and_skip_the_columns_they_do_not_use(tmp_path):
    import evaluate

    from domainlm.evaluate.metrics import METRICS

    every = [kind(str(tmp_path), LABELS) for kind in METRICS.values()]
    found = evaluate.combine(every).compute(
        predictions=SAID, references=WANTED, stopped=[True, True, False, True], bits=[8.0] * 4
    )
    assert set(found) == set(METRICS)
    assert found["stop_rate"] == 0.75
    assert found["bits_per_character"] == pytest.approx(32 / sum(map(len, WANTED)))
    assert found["perplexity"] == pytest.approx(2 ** (32 / sum(len(text.split()) for text in WANTED)))


def test_every_score_is_the_value_of_its_summed_statistics_over_any_subset(metric):
    from domainlm.evaluate.metrics import METRICS

    columns = {
        "predictions": SAID,
        "references": WANTED,
        "stopped": [True, True, False, True],
        "bits": [8.0, 2.0, 3.0, 1.0],
    }
    for name in METRICS:
        one = metric(name, LABELS)
        chosen = {key: [columns[key][index] for index in (0, 2, 2)] for key in one.columns}
        rows = one.statistics(**{key: columns[key] for key in one.columns})
        assert math.isclose(float(one.value(rows[0] + 2 * rows[2])), one.compute(**chosen)[name], abs_tol=1e-12), name
