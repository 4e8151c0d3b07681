"""The trainings of a simulation: the stages of the pipeline, called one after the other without ZenML.

A simulation trains dozens of models, so what does not differ between them is made once, and what was finished is found
again: the base by its recipe, the records by the plan's files, a champion by plan and seed. A simulation that was
stopped goes on there.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from domainlm.artifacts import AdapterFolder, BaseCheckpoint, TokenizerFolder
from domainlm.config import RunConfiguration
from domainlm.digests import digest_json
from domainlm.project import resolve
from domainlm.records import TEST, TRAIN
from domainlm.retrain.batches import RetrainingPlan
from domainlm.retrain.simulation.trained import Trained

if TYPE_CHECKING:
    from datasets import Dataset

    from domainlm.ingest.settings import IngestSettings
    from domainlm.prepare.replay import Replay
    from domainlm.prepare.settings import PrepareSettings
    from domainlm.redact.settings import RedactSettings
    from domainlm.retrain.simulation.market import Headline
    from domainlm.train.settings import TrainSettings
    from domainlm.validate.settings import ValidateSettings

DONE = "trained.json"
TASK = "sentiment"
BATCH = 64  # prompts of one forward pass
HELD_OUT = 300  # rows that a champion is scored on when it was made


class Workshop:
    """Trains champions for a simulation.

    Args:
        configuration: the recipe of every stage.
        folder: where everything is kept; the simulation's own home lies there too.
        headlines: what every champion answers, in order.
    """

    def __init__(self, configuration: RunConfiguration, folder: Path, headlines: Sequence[Headline]) -> None:
        from datasets import disable_progress_bars

        from domainlm.keys import KeyRing, create_development_key
        from domainlm.licences import read_licences
        from domainlm.redact import Policy, read_policy
        from domainlm.tasks import load_tasks
        from domainlm.validate import read_suite

        disable_progress_bars()
        create_development_key()
        self.configuration, self.folder, self.headlines = configuration, folder, headlines
        self.pack = configuration.pipeline.pack
        self.keys = KeyRing.load()
        self.tasks = load_tasks(resolve(self.pack) / "tasks")
        self.licences = read_licences(self.pack)
        self.policy = Policy.of(read_policy(self.pack))
        self.suite = read_suite(f"{self.pack}/contracts/records.json")
        self.corpus_suite = read_suite(f"{self.pack}/contracts/corpus.json")
        self._base: BaseCheckpoint | None = None

    @property
    def base(self) -> BaseCheckpoint:
        """The embedded base, trained at the first question."""
        if self._base is None:
            self._base = self._pretrained()
        return self._base

    def train(self, plan: RetrainingPlan, seed: int) -> Trained:
        """The model of a plan: its rows and the configuration's own sources, from redaction to the answers."""
        files = [[source.name, *source.parts] for source in plan.sources]  # below the zone, wherever that lies
        data = digest_json([self._recipe("ingest", "redact", "prepare", "validate", "vocabulary"), files,
                            sorted(plan.digests.values()), plan.new_after, plan.rounds, plan.replay_ratio,
                            self.base.card["digest"]])  # fmt: skip
        settings = self.configuration.step("train").model_copy(update={"seed": seed})
        texts = [headline.text for headline in self.headlines]
        place = self.folder / "trainings" / digest_json([data, settings.model_dump(mode="json"), texts])[:16]
        if (place / DONE).is_file():
            return Trained(**json.loads((place / DONE).read_text()))
        stage = self.folder / "data" / data[:16]
        records = self._records(plan, stage)
        began = time.monotonic()
        tokenizer = self._tokenizer(records, stage / "tokenizer")
        adapter = self._adapter(records, tokenizer, settings, place)
        answers, score, items = self._answers(records, tokenizer, adapter)
        learnt = {group for group, split in zip(records["group"], records["split"], strict=True) if split == TRAIN}
        shapes = {headline.shape for headline in self.headlines}
        trained = Trained(
            identity=digest_json([adapter.digest, tokenizer.digest, self.base.card["digest"]]),
            base=self.base.card["digest"],
            policy=digest_json(self._recipe("redact")),
            seconds=round(time.monotonic() - began, 1),
            rows=sum(split == TRAIN for split in records["split"]),
            learnt=tuple(sorted(shape for shape in shapes if self.keys.keyed_id("group", shape) in learnt)),
            answers=answers,
            score=score,
            items=items,
        )
        write(place / DONE, trained.model_dump(mode="json"))
        return trained

    def redacted(
        self,
        ingest: IngestSettings,
        redact: RedactSettings | None = None,
        digests: Mapping[str, str] = MappingProxyType({}),
    ) -> Dataset:
        """The records of some sources, without personal data.

        Args:
            ingest: the sources.
            redact: rules; the configuration's by default.
            digests: of files that were accepted, which must not have changed since.
        """
        from domainlm.ingest import ingest as inspect_sources
        from domainlm.ingest import require_as_accepted
        from domainlm.project import home
        from domainlm.redact import Redactor

        rules = redact or self.configuration.step("redact")
        redactor = Redactor(rules, self.keys, home() / "quarantine", profiles=self.policy.profiles)
        manifest = inspect_sources(ingest)
        require_as_accepted(manifest, digests)
        return redactor.run(manifest)[0]

    def _recipe(self, *steps: str) -> dict[str, Any]:
        return {name: self.configuration.step(name).model_dump(mode="json") for name in steps}

    def _pretrained(self) -> BaseCheckpoint:
        from domainlm.pretrain import pretrain
        from domainlm.validate import validate

        steps = ("base_ingest", "base_redact", "base_prepare", "base_validate", "pretrain")
        place = self.folder / "bases" / digest_json(self._recipe(*steps))[:16]
        base = BaseCheckpoint(place / "base")
        if (place / DONE).is_file():
            return base
        ingest, redact, prepare, contract, recipe = (self.configuration.step(name) for name in steps)
        records = self._prepared(ingest, redact, prepare, None)
        validate(records, self.corpus_suite, contract).require()
        shutil.rmtree(base.path, ignore_errors=True)
        base.path.mkdir(parents=True)
        base, report = pretrain(records, recipe, base.path, place / "work")
        write(place / DONE, {"bits_per_character": report.bits_per_character})
        return base

    def _prepared(
        self,
        ingest: IngestSettings,
        redact: RedactSettings,
        prepare: PrepareSettings,
        base: BaseCheckpoint | None,
        fresh: Replay | None = None,
        digests: Mapping[str, str] = MappingProxyType({}),
    ) -> Dataset:
        from domainlm.prepare import prepare as prepare_records

        return prepare_records(self.redacted(ingest, redact, digests), prepare, base, fresh)[0]

    def _records(self, plan: RetrainingPlan, place: Path) -> Dataset:
        from datasets import load_from_disk

        from domainlm.ingest import with_landed
        from domainlm.licences import licence_gate
        from domainlm.prepare.replay import Replay
        from domainlm.validate import validate

        kept = place / "records"
        if not (place / DONE).is_file():
            ingest = with_landed(self.configuration.step("ingest"), plan.sources)
            fresh = Replay(new_after=plan.new_after, ratio=plan.replay_ratio, rounds=plan.rounds)
            redact, prepare = self.configuration.step("redact"), self.configuration.step("prepare")
            records = self._prepared(ingest, redact, prepare, self.base, fresh, plan.digests)
            contract: ValidateSettings = self.configuration.step("validate")  # type: ignore[assignment]
            validate(records, self.suite, contract).require()
            licence_gate(self.base.card["licence"], records.unique("licence"), records.unique("purpose"), self.licences)
            records.save_to_disk(kept)
            write(place / DONE, {"rows": len(records)})
        return load_from_disk(str(kept))

    def _tokenizer(self, records: Dataset, place: Path) -> TokenizerFolder:
        from domainlm.vocabulary import extend

        if not (place / "domainlm.json").is_file():
            shutil.rmtree(place, ignore_errors=True)
            extend(records, self.base, self.configuration.step("vocabulary"), place)
        return TokenizerFolder(place)

    def _adapter(
        self, records: Dataset, tokenizer: TokenizerFolder, settings: TrainSettings, place: Path
    ) -> AdapterFolder:
        from domainlm.train import train

        shutil.rmtree(place / "adapter", ignore_errors=True)
        (place / "adapter").mkdir(parents=True)
        adapter, _ = train(records, tokenizer, self.base, settings, self.tasks, place / "adapter", place / "work")
        shutil.rmtree(place / "work", ignore_errors=True)
        return adapter

    def _answers(
        self, records: Dataset, tokenizer: TokenizerFolder, adapter: AdapterFolder
    ) -> tuple[tuple[str, ...], float, int]:
        """The likeliest label of each headline, as `domainlm.evaluate` asks, and the share of held-out rows it gets."""
        from domainlm.evaluate.systems import Speaker
        from domainlm.models import load_adapter

        task = self.tasks[TASK]
        speaker = Speaker(*load_adapter(self.base, tokenizer, adapter), BATCH)
        held_out = [
            (task.render(record)[0], record["label"])
            for record in records
            if record["split"] == TEST and record["task"] == TASK
        ][::-1][:HELD_OUT]  # the newest sources first
        asked = [task.prompt(headline.text) for headline in self.headlines] + [prompt for prompt, _ in held_out]
        labels = [headline.label for headline in self.headlines] + [label for _, label in held_out]
        said = [outcome.prediction for outcome in speaker.outcomes(task, asked, labels)]
        count = len(self.headlines)
        right = sum(map(str.__eq__, said[count:], labels[count:]))
        return tuple(said[:count]), right / max(1, len(held_out)), len(held_out)


def write(path: Path, content: Any) -> None:
    """The mark that a folder is finished: whole or not at all."""
    draft = path.with_suffix(".draft")
    draft.parent.mkdir(parents=True, exist_ok=True)
    draft.write_text(json.dumps(content))
    draft.replace(path)
