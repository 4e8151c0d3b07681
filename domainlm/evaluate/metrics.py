"""Metrics as `evaluate.Metric` classes that work offline, each a function of sums over items.

A score that is a function of sums can be resampled without touching texts again: `statistics` gives one row of numbers
an item, `value` the score of their sum. That holds for corpus scores such as BLEU and macro-F1, too.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from decimal import Decimal

import evaluate
import numpy as np
from datasets import Features, Value

from domainlm.numbers import Number, values
from domainlm.text import words

PREDICTIONS, REFERENCES, STOPPED, BITS = "predictions", "references", "stopped", "bits"
KINDS = {PREDICTIONS: "string", REFERENCES: "string", STOPPED: "bool", BITS: "float64"}
ONE_PERCENT = Decimal("0.01")


class Score(evaluate.Metric):
    """A score that is a function of sums over items.

    Args:
        labels: the classes of a classification task.
        cache_dir: folder for the library's (empty) lock files; never the user's own cache.
    """

    key = ""
    columns: tuple[str, ...] = (PREDICTIONS, REFERENCES)
    bounded = True  # lies in [0, 1]
    greater_is_better = True

    def __init__(self, cache_dir: str, labels: Sequence[str] = ()) -> None:
        self.labels = tuple(labels)
        super().__init__(keep_in_memory=True, cache_dir=cache_dir, seed=0)

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=self.__doc__ or "",
            citation="",
            inputs_description=", ".join(self.columns),
            features=Features({name: Value(KINDS[name]) for name in self.columns}),
        )

    def _compute(self, **columns: Sequence) -> dict[str, float]:
        sums = self.statistics(**{name: columns[name] for name in self.columns}).sum(axis=0)
        return {self.key: float(self.value(sums))}

    def statistics(self, **columns: Sequence) -> np.ndarray:
        """One row of additive numbers an item."""
        raise NotImplementedError

    def value(self, sums: np.ndarray) -> np.ndarray:
        """The score of summed statistics, over the last axis."""
        raise NotImplementedError


class Mean(Score):
    """The mean of a score of each item."""

    def statistics(self, **columns: Sequence) -> np.ndarray:
        items = [self.item(*row) for row in zip(*(columns[name] for name in self.columns), strict=True)]
        return np.column_stack([np.asarray(items, dtype=float), np.ones(len(items))])

    def value(self, sums: np.ndarray) -> np.ndarray:
        return sums[..., 0] / sums[..., 1]

    def item(self, *row) -> float:
        """The score of one item."""
        raise NotImplementedError


class Accuracy(Mean):
    """Share of items with the right label."""

    key = "accuracy"

    def item(self, prediction: str, reference: str) -> float:
        return float(prediction == reference)


class MacroF1(Score):
    """Mean of each class's F1, over all classes of the task; a class never seen and never predicted counts 0."""

    key = "macro_f1"

    def statistics(self, predictions: Sequence[str], references: Sequence[str]) -> np.ndarray:
        predicted = np.asarray(predictions)[:, None] == np.asarray(self.labels)
        true = np.asarray(references)[:, None] == np.asarray(self.labels)
        return np.hstack([predicted & true, predicted, true]).astype(float)

    def value(self, sums: np.ndarray) -> np.ndarray:
        hits, predicted, true = np.split(sums, 3, axis=-1)
        return (2 * hits / np.maximum(predicted + true, 1)).mean(axis=-1)


class _Words:
    """The tokenizer that rouge-score is given: its own drops signs, currencies and Hangul."""

    tokenize = staticmethod(words)


@functools.lru_cache(maxsize=1)
def _rouge_scorer():
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(["rougeL"], tokenizer=_Words())


class RougeL(Mean):
    """ROUGE-L F-measure (Lin 2004) by rouge-score, over words that keep sign, currency, number and Hangul."""

    key = "rouge_l"

    def item(self, prediction: str, reference: str) -> float:
        return _rouge_scorer().score(reference, prediction)["rougeL"].fmeasure


class Bleu(Score):
    """Corpus BLEU-4 (Papineni et al. 2002) by sacrebleu over the same words as ROUGE-L, divided by 100."""

    key = "bleu"

    def __init__(self, cache_dir: str, labels: Sequence[str] = ()) -> None:
        from sacrebleu.metrics import BLEU

        self._bleu = BLEU(tokenize="none", force=True)
        super().__init__(cache_dir, labels)

    def statistics(self, predictions: Sequence[str], references: Sequence[str]) -> np.ndarray:
        said, wanted = ([" ".join(words(text)) for text in texts] for texts in (predictions, references))
        return np.asarray(self._bleu._extract_corpus_statistics(said, [wanted]), dtype=float)

    def value(self, sums: np.ndarray) -> np.ndarray:
        return np.apply_along_axis(lambda row: self._bleu._compute_score_from_stats(list(row)).score / 100, -1, sums)


class ExactMatch(Mean):
    """Share of answers that say the same words; a number counts by its value and unit ("₩1,300" is "1,300 won")."""

    key = "exact_match"

    def item(self, prediction: str, reference: str) -> float:
        if words(prediction) == words(reference):
            return 1.0
        wanted = values(reference)
        return float(bool(wanted) and values(prediction) == wanted and _rest(prediction) == _rest(reference))


class NumberWithin1Percent(Mean):
    """Share of answers whose first number lies within 1 % of the right one, in the same unit where both name one."""

    key = "number_within_1_percent"

    def item(self, prediction: str, reference: str) -> float:
        said, wanted = values(prediction), values(reference)
        return float(bool(said) and bool(wanted) and _near(said[0], wanted[0]))


class StopRate(Mean):
    """Share of answers that the model ended by itself, within its budget of tokens."""

    key, columns = "stop_rate", (STOPPED,)

    def item(self, stopped: bool) -> float:
        return float(stopped)


class BitsPerCharacter(Score):
    """Bits that the right answer costs the model, a character: comparable between tokenizers, lower is better."""

    key, columns, bounded, greater_is_better = "bits_per_character", (BITS, REFERENCES), False, False

    def statistics(self, bits: Sequence[float], references: Sequence[str]) -> np.ndarray:
        return np.column_stack([np.asarray(bits, dtype=float), [self.units(text) for text in references]])

    def value(self, sums: np.ndarray) -> np.ndarray:
        return sums[..., 0] / sums[..., 1]

    def units(self, text: str) -> int:
        """What the bits are divided by."""
        return max(len(text), 1)


class Perplexity(BitsPerCharacter):
    """Perplexity of the right answer a word, the `word_perplexity` of lm-evaluation-harness, lower is better."""

    key = "perplexity"

    def value(self, sums: np.ndarray) -> np.ndarray:
        return 2.0 ** super().value(sums)

    def units(self, text: str) -> int:
        return max(len(text.split()), 1)


METRICS: dict[str, type[Score]] = {
    metric.key: metric
    for metric in (
        Accuracy,
        MacroF1,
        RougeL,
        Bleu,
        ExactMatch,
        NumberWithin1Percent,
        StopRate,
        BitsPerCharacter,
        Perplexity,
    )
}


def _near(said: Number, wanted: Number) -> bool:
    if said.unit and wanted.unit and said.unit != wanted.unit:
        return False
    return abs(said.value - wanted.value) <= abs(wanted.value) * ONE_PERCENT


def _rest(text: str) -> list[str]:
    """What a text says besides its numbers and their units."""
    return [word for word in words(text) if not values(word) and not _is_unit(word)]


@functools.lru_cache(maxsize=4096)
def _is_unit(word: str) -> bool:
    return values(f"1 {word}") != values("1")
