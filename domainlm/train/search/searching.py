"""Search for the values of a recipe: each trial is one training, judged on the development split.

    report = search(records, tokenizer, base, SearchSettings(recipe=..., space=...), tasks, folder, work)
    settings = report.apply(recipe)

The test split is dropped before anything sees the records. The study lies in a file of the work folder, each trial's
checkpoints beside it, so a search that was killed goes on in the middle of the trial that it was killed in.
"""

from __future__ import annotations

import gc
import math
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from domainlm.artifacts import BaseCheckpoint, TokenizerFolder
from domainlm.digests import canonical_json, digest_dataset, digest_json
from domainlm.errors import DomainLMError, TrainingError, TrainingStopped
from domainlm.records import DEVELOPMENT, TRAIN
from domainlm.tasks import Task
from domainlm.train.search.report import COMPLETE, FAILED, SearchReport, TrialReport
from domainlm.train.search.settings import ACCURACY, SearchSettings
from domainlm.train.settings import TrainSettings

if TYPE_CHECKING:
    from datasets import Dataset

    from domainlm.train.search.cost import SearchAccount
    from domainlm.train.search.study import Attempt, Study
    from domainlm.train.search.trial_runs import TrialRuns

SAME_FAILURE = 3  # when the first so many trials fail for one reason, no value will help
REPORT_FILE = "search.json"


def search(
    records: Dataset,
    tokenizer: TokenizerFolder,
    base: BaseCheckpoint,
    settings: SearchSettings,
    tasks: dict[str, Task],
    folder: Path,
    work: Path,
) -> SearchReport:
    """Try values on the train and the development split, and choose the best.

    Args:
        records: validated records with their splits; those of the test split are not looked at.
        tokenizer: the extended tokenizer.
        base: the base model.
        settings: the recipe that trials share, what is searched over, and the budget.
        tasks: task definitions by name.
        folder: a folder to fill with the report and its plots.
        work: where the study and the trials' checkpoints lie; an interrupted search goes on from there.

    Raises:
        TrainingError: the development split is empty, another process searches in `work`, or no trial came to its end.
        TrainingStopped: SIGTERM stopped a trial; the same call goes on with it.
    """
    from domainlm.train.finetuning import held_out_examples
    from domainlm.train.search.cost import SearchAccount
    from domainlm.train.search.plots import write_plots
    from domainlm.train.search.study import Study
    from domainlm.train.search.trial_runs import TrialRuns

    visible = without_test(records)
    if not held_out_examples(visible, settings.recipe, tasks):
        raise TrainingError(
            "the development split has no record of the searched tasks: there is nothing to compare trials on",
            "search",
            "raise prepare's dev_fraction, or name other tasks",
        )
    name = _name(visible, tokenizer, base, settings)
    for made in (work, folder):
        made.mkdir(parents=True, exist_ok=True)
    maximize = settings.measured == ACCURACY
    study = Study(settings, work / "study.db", name, maximize)
    try:
        with TrialRuns(settings.recipe.report_to, name) as runs:
            account = SearchAccount(work, settings.recipe)
            bench = _Bench(visible, tokenizer, base, settings, tasks, work / "trials", study, runs, account)
            ended = bench.run()
            account.close(study.seconds(), study.processes())
            report = _report(study.finished(), settings, maximize, ended)
            (folder / REPORT_FILE).write_bytes(canonical_json(report.model_dump(mode="json")))
            write_plots(report, folder)
            runs.chosen(report, folder)
    finally:
        study.close()
    return report


def without_test(records: Dataset) -> Dataset:
    """The records of the train and the development split alone."""
    return records.select([index for index, split in enumerate(records["split"]) if split in (TRAIN, DEVELOPMENT)])


def _name(visible: Dataset, tokenizer: TokenizerFolder, base: BaseCheckpoint, settings: SearchSettings) -> str:
    """A study's name: two searches that may share trials have one. A larger budget goes on with the same study."""
    identity = {
        "records": digest_dataset(visible),
        "tokenizer": tokenizer.digest,
        "base": base.card["digest"],
        "settings": settings.model_dump(mode="json", exclude={"trials", "minutes"}),
    }
    return digest_json(identity)[:32]


def _report(trials: list[TrialReport], settings: SearchSettings, maximize: bool, ended: str) -> SearchReport:
    from domainlm.train.search.study import grid, importance

    complete = [trial for trial in trials if trial.state == COMPLETE]
    if not complete:
        reasons = sorted({trial.reason for trial in trials if trial.reason})
        raise TrainingError(
            f"none of {len(trials)} trials came to its end ({ended}): {'; '.join(reasons[:3]) or 'no time'}",
            "search",
            "mend the recipe or the space, or give the search more minutes",
        )
    best = min(complete, key=lambda trial: (-trial.score if maximize else trial.score, trial.number))
    points = grid(settings)
    return SearchReport(
        settings=settings,
        metric=settings.measured,
        maximize=maximize,
        chosen_trial=best.number,
        chosen=best.values,
        score=best.score,
        first_score=complete[0].score,
        trials=trials,
        points=None if points is None else len(points),
        ended=ended,
        importance=importance(settings, trials, maximize),
    )


class _Bench:
    """Where trials are tried, one after another, until the budget is spent."""

    def __init__(
        self,
        records: Dataset,
        tokenizer: TokenizerFolder,
        base: BaseCheckpoint,
        settings: SearchSettings,
        tasks: dict[str, Task],
        place: Path,
        study: Study,
        runs: TrialRuns,
        account: SearchAccount,
    ) -> None:
        self._given = (records, tokenizer, base)
        self._settings, self._tasks, self._place = settings, tasks, place
        self._study, self._runs, self._account = study, runs, account
        minutes = math.inf if settings.minutes is None else settings.minutes
        self._deadline = time.monotonic() + minutes * 60 - study.seconds()

    def run(self) -> str:
        """Try until an end is reached; says which.

        Raises:
            TrainingError: the first trials all failed for the same reason.
        """
        while not (ended := self._end()):
            _require_hope(self._study.finished())
            if attempt := self._study.begin():
                self._try(attempt)
        self._study.give_up("its process died, and the budget is spent")
        return ended

    def _end(self) -> str:
        if self._study.exhausted:
            return "every point of the grid was tried"
        if len(self._study.finished()) >= self._settings.trials:
            return f"{self._settings.trials} trials were tried"
        if time.monotonic() > self._deadline:
            return f"{self._settings.minutes:g} minutes were over"
        return ""

    def _try(self, attempt: Attempt) -> None:
        self._runs.begin(attempt.number, attempt.values)
        try:
            earlier = next((trial for trial in self._study.finished() if trial.values == attempt.values), None)
            if earlier:
                attempt.repeat(earlier)
            else:
                self._train(attempt)
        except BaseException:
            self._runs.interrupt()
            raise
        self._runs.end(next(trial for trial in self._study.finished() if trial.number == attempt.number))

    def _train(self, attempt: Attempt) -> None:
        """One training; whatever is wrong with these values is told to the study, and the search goes on."""
        import optuna
        import torch

        from domainlm.train.search.listening import OutOfTime

        place = self._place / str(attempt.number)
        try:
            attempt.complete(self._score(attempt, place))
        except optuna.TrialPruned:
            attempt.prune()
        except OutOfTime:
            attempt.drop("the time of the search was over")
        except TrainingStopped as stopped:  # the checkpoint stays: the same search goes on from it
            raise TrainingStopped(
                f"stopped in trial {attempt.number} of a search", "search", "run again to go on"
            ) from stopped
        except DomainLMError as error:
            attempt.fail(error.what)
        except ValidationError as error:
            attempt.fail("; ".join(fault["msg"] for fault in error.errors()))
        except torch.OutOfMemoryError:
            attempt.fail("out of memory")
        self._account.note()
        shutil.rmtree(place, ignore_errors=True)
        _free_memory()

    def _score(self, attempt: Attempt, place: Path) -> float:
        from domainlm.train import finetuning
        from domainlm.train.development import mean_bits, rounded
        from domainlm.train.search.listening import Listener

        accuracy = self._settings.measured == ACCURACY

        def tell(step: int, score: float, last: bool) -> None:
            self._runs.look(step, score)
            attempt.look(step, score, last)

        shutil.rmtree(place / "adapter", ignore_errors=True)
        _, report = finetuning.train(
            *self._given,
            _quiet(self._settings.applied(attempt.values)),
            self._tasks,
            place / "adapter",
            place / "work",
            callbacks=lambda done, measure: [Listener(done, measure, accuracy, tell, self._deadline)],
        )
        found = mean_bits(report.stages[-1].dev_accuracy if accuracy else report.dev_bits_per_character)
        if not math.isfinite(found):
            raise TrainingError("the score on the development split is not finite")
        return rounded(found)


def _free_memory() -> None:
    """Let the next trial have what the last one held; a Trainer and its model hold each other until collected."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _quiet(recipe: TrainSettings) -> TrainSettings:
    """A trial's curve goes to MLflow alone, and nobody reads what it would say."""
    changes: dict[str, Any] = {"report_to": tuple(name for name in recipe.report_to if name == "mlflow")}
    return recipe.model_copy(update=changes | {"sample_prompts": 0})


def _require_hope(trials: Sequence[TrialReport]) -> None:
    if len(trials) < SAME_FAILURE or any(trial.state != FAILED for trial in trials):
        return
    if len({trial.reason for trial in trials}) == 1:
        raise TrainingError(
            f"the first {len(trials)} trials failed alike: {trials[0].reason}", "search", "mend the recipe or the space"
        )
