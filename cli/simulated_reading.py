"""The second arm of a simulation: dated texts through the stages, further pre-training, and what it is worth."""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli.simulated_training import DONE, Workshop, write
from domainlm.artifacts import AdapterFolder, TokenizerFolder
from domainlm.digests import digest_json
from domainlm.prepare.settings import PrepareSettings
from domainlm.records import question
from domainlm.retrain.simulation.language import Passage, Reader
from domainlm.sources import SourceSettings

if TYPE_CHECKING:
    from datasets import Dataset

LONGEST_CHARACTERS = 900  # of a passage: under the base's context of 512 tokens
WHOLE = PrepareSettings(test_fraction=0.0, dev_fraction=0.0)  # a year is scored by models that did not read it
BATCH = 4  # passages of one optimizer step
TERMS = {
    "form": "documents", "format": "text", "language": "en", "consent": "public", "purpose": "model-training",
    "jurisdiction": "us", "handling": "public",
    "document_separator": "file", "max_document_characters": LONGEST_CHARACTERS,
}  # fmt: skip


class ReadingRoom:
    """Pre-trains a simulation's base further on the texts of some years.

    Args:
        workshop: has the base, the stages and the keys.
        folder: of the texts.
        files: year -> names of its files.
        licence: that the texts are under.
        steps: optimizer steps of each pre-training.
    """

    def __init__(
        self, workshop: Workshop, folder: Path, files: Mapping[int, Sequence[str]], licence: str, steps: int
    ) -> None:
        from domainlm.ingest.settings import IngestSettings
        from domainlm.licences import licence_gate
        from domainlm.prepare import prepare
        from domainlm.validate import validate

        self._workshop = workshop
        self._settings = workshop.configuration.step("train").model_copy(
            update={"objective": "continued_pretraining", "max_steps": steps, "batch_size": BATCH, "tasks": (),
                    "batching": "random", "too_long": "drop"}
        )  # fmt: skip
        sources = [  # a source a text: its name says the year, and which pieces are of one text
            SourceSettings(name=f"{year}-{number}", uri=str(folder), parts=(name,), licence=licence, **TERMS)
            for year, names in files.items()
            for number, name in enumerate(names, start=1)
        ]
        self._records = workshop.redacted(IngestSettings(sources=tuple(sources)))
        columns = (self._records.unique(name) for name in ("licence", "purpose"))
        licence_gate(workshop.base.card["licence"], *columns, workshop.licences)
        everything, _ = prepare(self._records, WHOLE, workshop.base)
        validate(everything, workshop.corpus_suite, workshop.configuration.step("base_validate")).require()
        self._digest = digest_json([one.model_dump(mode="json") for one in sources] + list(self._records["id"]))
        self._years = [int(name.partition("-")[0]) for name in self._records["source"]]
        self.passages = {
            year: [Passage(question(record), record["source"]) for record in self._of([year])] for year in files
        }

    def teach(self, years: Sequence[int]) -> Reader:
        """A model that read the texts of some years behind the base's own corpus; without years, the base."""
        from domainlm.models import load_adapter, load_base

        base = self._workshop.base
        if not years:
            model, tokenizer = load_base(base, quantization="none")
        else:
            place = self._workshop.folder / "readings" / digest_json(
                [self._digest, list(years), self._settings.model_dump(mode="json"), base.card["digest"]]
            )[:16]  # fmt: skip
            if not (place / DONE).is_file():
                self._train(list(years), place)
            adapter = AdapterFolder(place / "adapter")
            model, tokenizer = load_adapter(base, TokenizerFolder(place / "tokenizer"), adapter)

        def bits(passages: Sequence[Passage]) -> list[float]:
            from domainlm.models import completion_log_likelihoods

            texts = [one.text for one in passages]
            eos = [tokenizer.eos_token] * len(texts)
            found = completion_log_likelihoods(model, tokenizer, eos, texts, batch=8, end=False)
            return [-score / math.log(2) for score in found]

        return bits

    def _train(self, years: list[int], place: Path) -> None:
        from domainlm.prepare import prepare
        from domainlm.train import train
        from domainlm.vocabulary import extend

        workshop = self._workshop
        records, _ = prepare(self._of(years), WHOLE, workshop.base)
        shutil.rmtree(place, ignore_errors=True)
        (place / "adapter").mkdir(parents=True)
        settings: Any = workshop.configuration.step("vocabulary").model_copy(update={"max_new_tokens": 0})
        tokenizer, _ = extend(records, workshop.base, settings, place / "tokenizer")
        train(records, tokenizer, workshop.base, self._settings, workshop.tasks, place / "adapter", place / "work")
        shutil.rmtree(place / "work", ignore_errors=True)
        write(place / DONE, {"years": years})

    def _of(self, years: Sequence[int]) -> Dataset:
        wanted = set(years)
        return self._records.select([place for place, year in enumerate(self._years) if year in wanted])
