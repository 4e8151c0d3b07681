"""The systems that are compared: what each answers, whether it stopped, and what the right answer costs it."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from domainlm.errors import EvaluationError
from domainlm.records import Record, answer, asked
from domainlm.tasks import Task

if TYPE_CHECKING:
    import numpy as np
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class Outcome(NamedTuple):
    """One system's answer to one item; `stopped` and `bits` are None where the system has no such thing."""

    prediction: str
    stopped: bool | None = None
    bits: float | None = None


@dataclass
class Part:
    """The items of one task from one source, and what every system said to them.

    Args:
        task: the task.
        source: the source.
        items: the records to score.
        bare: whether the systems are shown the bare text, as encoders are, or the task's prompt.
    """

    task: Task
    source: str
    items: list[Record]
    bare: bool = False
    outcomes: dict[str, list[Outcome]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.prompts = [self.shown(record) for record in self.items]
        self.references = [answer(record) for record in self.items]
        for record, reference in zip(self.items, self.references, strict=True):
            if not reference or (self.task.labels and reference not in self.task.labels):
                raise EvaluationError(
                    f"has no answer that the task '{self.task.name}' knows",
                    f"record {record['id']} (source {self.source}, row {record['row']})",
                    f"give it one of {', '.join(self.task.labels)}" if self.task.labels else "give it an answer",
                )
            if self.task.kind != "classification" and reference != self.task.cut(reference):
                raise EvaluationError(
                    f"its answer holds a text that ends an answer of task '{self.task.name}'",
                    f"record {record['id']} (source {self.source}, row {record['row']})",
                    "change `until` in the task's definition",
                )

    def shown(self, record: Record) -> str:
        """What a system is shown of a record."""
        return asked(record) if self.bare else self.task.render(record)[0]

    def prompt(self, text: str) -> str:
        """What a system is shown of a question that stands in no record."""
        return text if self.bare else self.task.prompt(text)


@dataclass
class Speaker:
    """A loaded model and how it is asked.

    Args:
        model: a causal language model.
        tokenizer: its tokenizer.
        batch: rows a forward pass.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    batch: int

    def outcomes(self, task: Task, prompts: Sequence[str], references: Sequence[str]) -> list[Outcome]:
        """Answer each prompt: by the likeliest label for a classification, else greedily."""
        if task.kind == "classification":
            return self._classify(task, prompts, references)
        said = self.say(task, prompts)
        bits = self._bits(prompts, references)
        return [Outcome(text, stopped, cost) for (text, stopped), cost in zip(said, bits, strict=True)]

    def say(self, task: Task, prompts: Sequence[str]) -> list[tuple[str, bool]]:
        """Greedy answers, cut where the task says that an answer ends, and whether the model ended by itself."""
        from domainlm.models import generate

        said = generate(self.model, self.tokenizer, prompts, task.max_new_tokens, self.batch)
        return [(task.cut(text), stopped) for text, stopped in said]

    def _classify(self, task: Task, prompts: Sequence[str], references: Sequence[str]) -> list[Outcome]:
        pairs = [(prompt, label) for prompt in prompts for label in task.labels]
        bits = self._bits([prompt for prompt, _ in pairs], [label for _, label in pairs])
        found = []
        for index, reference in enumerate(references):
            costs = dict(zip(task.labels, bits[index * len(task.labels) :], strict=False))
            found.append(Outcome(min(task.labels, key=costs.__getitem__), None, costs[reference]))
        return found

    def _bits(self, prompts: Sequence[str], completions: Sequence[str]) -> list[float]:
        from domainlm.models import completion_log_likelihoods

        scores = completion_log_likelihoods(
            self.model, self.tokenizer, prompts, [f" {text}" for text in completions], self.batch
        )
        return [-score / math.log(2) for score in scores]

    def few_shot_prompts(self, part: Part, examples: Sequence[Record]) -> tuple[list[str], int]:
        """The prompts behind as many worked examples as fit into the model's context, and how many those are."""
        from domainlm.models.encoding import completion_lengths, encode_prompts
        from domainlm.models.inference import context_length

        limit = context_length(self.model) or math.inf
        budget = max(
            [part.task.max_new_tokens, *completion_lengths(self.tokenizer, [f" {text}" for text in part.references])]
        )
        for count in range(len(examples), -1, -1):
            shown = "".join("".join(part.task.render(example)) + "\n\n" for example in examples[:count])
            prompts = [shown + prompt for prompt in part.prompts]
            if max(map(len, encode_prompts(self.tokenizer, prompts))) + budget <= limit:
                break
        return prompts, count


@dataclass
class Reader:
    """A loaded encoder with a head, and how it is asked.

    Args:
        model: an encoder with a classification head.
        tokenizer: its tokenizer.
        batch: rows a forward pass.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    batch: int

    def outcomes(self, task: Task, prompts: Sequence[str], references: Sequence[str]) -> list[Outcome]:
        """The head's likeliest label for each text, and what the right one costs."""
        return [
            Outcome(self._best(task, scores), None, -scores[reference] / math.log(2))
            for scores, reference in zip(self._scores(prompts), references, strict=True)
        ]

    def say(self, task: Task, prompts: Sequence[str]) -> list[tuple[str, bool]]:
        """The likeliest label of each text; a head always stops."""
        return [(self._best(task, scores), True) for scores in self._scores(prompts)]

    def states(self, texts: Sequence[str]) -> np.ndarray:
        """The encoder's mean last hidden state of each text."""
        from domainlm.models.classifiers import mean_states

        return mean_states(self.model, self.tokenizer, texts, self.batch)

    def _scores(self, texts: Sequence[str]) -> list[dict[str, float]]:
        from domainlm.models.classifiers import label_log_likelihoods

        return label_log_likelihoods(self.model, self.tokenizer, texts, self.batch)

    @staticmethod
    def _best(task: Task, scores: Mapping[str, float]) -> str:
        return max(task.labels, key=scores.__getitem__)


def in_seeded_order(records: Sequence[Record], seed: int) -> list[Record]:
    """Records in an order drawn by a hash of source and row, so that it does not change with the institution's key."""

    def drawn(record: Record) -> bytes:
        return hashlib.sha256(f"{seed}/{record['source']}/{record['row']}".encode()).digest()

    return sorted(records, key=drawn)


def worked_examples(task: Task, train: Sequence[Record], seed: int) -> list[Record]:
    """The training examples that a few-shot prompt shows: of different groups, the labels in turn."""
    chosen: list[Record] = []
    seen: set[str] = set()
    pool = in_seeded_order(train, seed)
    for position in range(task.few_shot):
        wanted = task.labels[position % len(task.labels)] if task.labels else None
        for record in pool:
            if record["group"] not in seen and wanted in (None, answer(record)):
                chosen.append(record)
                seen.add(record["group"])
                break
    return chosen


def majority(part: Part, train: Sequence[Record]) -> list[Outcome]:
    """The most frequent answer of the training part, whatever is asked."""
    counts = Counter(answer(record) for record in train)
    return [Outcome(min(counts, key=lambda text: (-counts[text], text)))] * len(part.items)


def tfidf(part: Part, train: Sequence[Record], development: Sequence[Record]) -> list[Outcome]:
    """TF-IDF over words and word pairs: logistic regression for classes, else the answer of the nearest question.

    The regularisation is the one that is best on the development part, so that the baseline is a fair one.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    from domainlm.text import words

    vectorizer = TfidfVectorizer(
        tokenizer=words, token_pattern=None, lowercase=False, ngram_range=(1, 2), sublinear_tf=True
    )
    seen = vectorizer.fit_transform(map(asked, train))
    answers = [answer(record) for record in train]
    items = vectorizer.transform(map(asked, part.items))
    if part.task.kind != "classification":
        return [Outcome(answers[index]) for index in (items @ seen.T).toarray().argmax(axis=1)]
    if len(set(answers)) < 2:
        return majority(part, train)
    checked = vectorizer.transform(map(asked, development)) if development else None
    models = [_fitted(seen, answers, strength) for strength in ((0.3, 1.0, 3.0, 10.0, 30.0) if development else (1.0,))]
    best = max(
        models, key=lambda model: model.score(checked, [answer(record) for record in development]) if development else 0
    )
    return [Outcome(str(label)) for label in best.predict(items)]


def _fitted(features: Any, answers: list[str], strength: float) -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.multiclass import OneVsRestClassifier

    # one class against the rest by dual coordinate descent: several times faster on sparse text than softmax by L-BFGS,
    # and as good
    model = LogisticRegression(C=strength, solver="liblinear", dual=True, max_iter=1000, random_state=0)
    return OneVsRestClassifier(model).fit(features, answers)


def linear_probe(
    reader: Reader, parts: Sequence[Part], train: Sequence[Record], development: Sequence[Record]
) -> list[list[Outcome]]:
    """What the frozen encoder knows already: a logistic regression over its mean last hidden states, a part each.

    Fitted on the training part alone, at the strength that is best on the development part (Alain and Bengio 2016).

    Args:
        reader: the untuned encoder.
        parts: parts of one task.
        train: the task's training records.
        development: the task's development records.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    answers = [answer(record) for record in train]
    if len(set(answers)) < 2:
        return [majority(part, train) for part in parts]
    seen = reader.states([asked(record) for record in train])
    checked = reader.states([asked(record) for record in development]) if development else None
    right = [answer(record) for record in development]
    models = [
        make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=2000)).fit(seen, answers)
        for strength in ((0.001, 0.01, 0.1, 1.0) if development else (0.01,))
    ]
    best = max(models, key=lambda model: model.score(checked, right) if development else 0)
    return [[Outcome(str(label)) for label in best.predict(reader.states(part.prompts))] for part in parts]
