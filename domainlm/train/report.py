"""What a training reports."""

from __future__ import annotations

from typing import Any

from pydantic import model_serializer

from domainlm.licences import LicenceVerdict
from domainlm.reports import Report
from domainlm.train.settings import TrainSettings


class StageReport(Report):
    """One stage of a curriculum; a training without one has a single stage without a name.

    Fields:
        dev_accuracy, dev_bits_per_record: by task; a classification head alone has them.
    """

    name: str
    objective: str
    records_by_task: dict[str, int]
    examples: int
    dropped_too_long: int
    longest: int
    steps: int
    epochs: float
    tokens_per_epoch: int
    supervised_tokens_per_epoch: int
    dev_bits_per_character: dict[str, float]
    dev_accuracy: dict[str, float]
    dev_bits_per_record: dict[str, float]
    stopped_early: bool
    loss: float


class TrainingReport(Report):
    """What was trained, on how much, and how the loss went. Seconds are not in here: they would change the digest.

    Fields:
        started_from: digest of the adapter that the training went on from; empty, and left out, where it began at the
            base, so that reports from before this field keep their digest.
    """

    recipe: TrainSettings
    base: str
    base_digest: str
    tokenizer_digest: str
    adapter_digest: str
    steps: int
    trainable_parameters: int
    parameters: int
    quantized_layers: int
    target_modules: list[str]
    new_tokens_trained: int
    note: str
    stages: list[StageReport]
    dev_records: int
    dev_bits_per_character_before: dict[str, float]
    dev_bits_per_character: dict[str, float]
    loss: float
    curve: list[dict[str, float]]
    started_from: str = ""
    licence: LicenceVerdict | None = None  # set by the step: the function itself trains whatever it is given

    @model_serializer(mode="wrap")
    def _without_an_empty_start(self, write: Any) -> dict[str, Any]:
        return {name: value for name, value in write(self).items() if value or name != "started_from"}

    def summary(self) -> dict[str, Any]:
        """With the examples of all stages, and what the licence gate said."""
        said = {"licences": self.licence.word, "licence_duties": len(self.licence.duties)} if self.licence else {}
        return super().summary() | {"examples": sum(stage.examples for stage in self.stages)} | said
