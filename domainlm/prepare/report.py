"""What prepare reports: counts, rates and seeds."""

from __future__ import annotations

from typing import Any

from pydantic import model_serializer

from domainlm.agreement import Agreement
from domainlm.prepare.replay import ReplayReport
from domainlm.reports import Report


class PartCount(Report):
    """Rows of one task, source and split."""

    task: str
    source: str
    split: str
    rows_in: int
    rows_out: int


class Decontamination(Report):
    """The comparison of test text with what the model was trained on.

    Fields:
        test_ngrams: distinct 13-grams of the test rows.
        shared_with_train: those that training rows held too, before these were dropped.
        ignored_as_template: of these, the ones in so many training rows that they are the form and not the content.
        train_rows_dropped: training and development rows that held test text.
        pretraining: "assessed", or why it could not be.
        pretraining_ngrams: n-grams (of 13 and of 6 words) that the base was pre-trained on.
        shared_with_pretraining: distinct 13-grams of test rows among them.
        test_rows_dropped: test rows that the base had seen.
    """

    test_rows: int
    test_ngrams: int
    shared_with_train: int
    ignored_as_template: int
    train_rows_dropped: int
    pretraining: str
    pretraining_ngrams: int = 0
    shared_with_pretraining: int = 0
    test_rows_dropped: int = 0


class PreparationReport(Report):
    """What became of the records.

    Fields:
        dropped: reason -> split -> rows.
        texts_with_several_labels: labelled texts with more than one label.
        questions_with_several_answers: prompts with more than one answer; these stay.
        agreements: labels of equal texts, by pair of sources.
        settings: fractions, thresholds and seeds that led here.
        replay: of a retraining: how many old training rows went with the new ones.
    """

    rows_in: int
    rows_out: int
    parts: tuple[PartCount, ...]
    dropped: dict[str, dict[str, int]]
    texts_changed: int
    texts_with_several_labels: int
    questions_with_several_answers: int
    agreements: tuple[Agreement, ...]
    decontamination: Decontamination
    settings: dict[str, Any]
    replay: ReplayReport | None = None

    @model_serializer(mode="wrap")
    def _without_a_replay_that_was_none(self, write: Any) -> dict[str, Any]:
        """Left out where there was none: so reports from before this field keep their digest."""
        return {name: value for name, value in write(self).items() if name != "replay" or value is not None}

    def summary(self) -> dict[str, Any]:
        """Rows in and out, by split and by reason, and the decontamination's counts."""
        out: dict[str, Any] = {"rows_in": self.rows_in, "rows_out": self.rows_out}
        for part in self.parts:
            out[f"rows_{part.split}"] = out.get(f"rows_{part.split}", 0) + part.rows_out
        out |= {f"dropped_{reason}": sum(by_split.values()) for reason, by_split in self.dropped.items()}
        for task in self.replay.tasks if self.replay else ():
            out[f"new_{task.task}"], out[f"replayed_{task.task}"] = task.new, task.kept
        checked = self.decontamination.model_dump()
        return out | {f"decontamination_{name}": value for name, value in checked.items()}
