"""What a tuned model still knows of running text: bits per character of documents that its base never saw."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

from domainlm.artifacts import AdapterFolder, BaseCheckpoint, TokenizerFolder
from domainlm.errors import EvaluationError
from domainlm.models import bits_per_character, first_characters, load_adapter, load_base
from domainlm.models.runtime import reproducible
from domainlm.records import DEVELOPMENT, question
from domainlm.reports import Report

if TYPE_CHECKING:
    from datasets import Dataset


class RetentionReport(Report):
    """Bits per character of held-out documents, before and after a training.

    Fields:
        chance: what a model needs that knows nothing but how frequent each character is in these very documents.
    """

    documents: int
    characters: int
    chance: float
    base: float
    tuned: float


def retention(
    documents: Dataset,
    base: BaseCheckpoint,
    tokenizer: TokenizerFolder,
    adapter: AdapterFolder,
    characters: int = 20_000,
    threads: int = 2,
) -> RetentionReport:
    """Measure base and tuned model on the same held-out documents, the base in the tuned model's precision.

    Args:
        documents: prepared documents with their splits; those of the development split are read.
        characters: how much text is read.
        threads: CPU threads.

    Raises:
        EvaluationError: no document is held out.
    """
    chosen = documents.select([index for index, part in enumerate(documents["split"]) if part == DEVELOPMENT])
    texts = first_characters([text for text in map(question, chosen) if text.strip()], characters)
    if not texts:
        raise EvaluationError(
            "no document of the base's corpus was held out", "retention", "give base_prepare a dev_fraction above 0"
        )
    counts = Counter("".join(texts))
    total = counts.total()
    found = []
    for load in (
        lambda: load_base(base, None, adapter.card["quantization"]),
        lambda: load_adapter(base, tokenizer, adapter),
    ):
        with reproducible(0, threads):
            model, loaded = load()
            found.append(round(bits_per_character(model.eval(), loaded, texts), 5))
    return RetentionReport(
        documents=len(texts),
        characters=total,
        chance=round(-sum(count / total * math.log2(count / total) for count in counts.values()), 5),
        base=found[0],
        tuned=found[1],
    )
