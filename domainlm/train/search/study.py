"""The memory of a search: an Optuna study in a SQLite file, which proposes values and outlives its process.

Every proposal is drawn by a sampler made anew for it, whose seed is the search's with the trial's number. So a proposal
depends on the trials before it and on nothing else, and a search that was killed goes on as if it had not been.

A trial whose process died is not begun anew but gone on with: under its number, with its values and its looks.

A trial that fails is told to Optuna as pruned, since samplers take no notice of failed ones: TPE would go on proposing
rates that diverge.
"""

from __future__ import annotations

import fcntl
import hashlib
import itertools
import json
import math
import random
import time
import warnings
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from domainlm.errors import TrainingError
from domainlm.train.search.report import COMPLETE, FAILED, PRUNED, TrialReport
from domainlm.train.search.settings import GRID, HYPERBAND, MEDIAN, RANDOM, Range, SearchSettings, whole

MOST_STARTS = 3  # a trial that takes its process down each time must not keep a search from its end
STATES = {TrialState.COMPLETE: COMPLETE, TrialState.PRUNED: PRUNED, TrialState.FAIL: FAILED}
SECONDS, STARTS, REASON, FAILURE = "seconds", "starts", "reason", "failure"


class Study:
    """The trials of one search, those of earlier processes included.

    Args:
        settings: what is searched over, and how.
        path: the SQLite file.
        name: the study's name; another search in the same file has another.
        maximize: whether more is better.

    Raises:
        TrainingError: another process searches here; its trial would be taken for a dead one's.
    """

    def __init__(self, settings: SearchSettings, path: Path, name: str, maximize: bool) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._settings = settings
        self._lock = open(path.with_suffix(".lock"), "w")  # held until close; a dead process lets go
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock.close()
            raise TrainingError("another process searches here", str(path.parent), "wait for it, or stop it") from None
        self._storage = optuna.storages.RDBStorage(f"sqlite:///{path}")
        self._study = optuna.create_study(
            storage=self._storage,
            study_name=name,
            direction="maximize" if maximize else "minimize",
            load_if_exists=True,
        )
        self._points = grid(settings)

    def close(self) -> None:
        """Let go of the file."""
        self._storage.remove_session()
        self._storage.engine.dispose()
        self._lock.close()

    @property
    def exhausted(self) -> bool:
        """Whether a grid has no point left that nobody has begun."""
        return self._points is not None and len(self._trials()) >= len(self._points) and self._running() is None

    def finished(self) -> list[TrialReport]:
        """What came of every trial that is over, in order."""
        return [
            TrialReport(
                number=trial.number,
                values=_values(self._settings, trial.params),
                state=FAILED if trial.user_attrs.get(FAILURE) else STATES[trial.state],
                score=trial.value if trial.state == TrialState.COMPLETE else None,
                looks=sorted(trial.intermediate_values.items()),
                reason=trial.user_attrs.get(REASON, ""),
            )
            for trial in self._trials()
            if trial.state.is_finished()
        ]

    def seconds(self) -> float:
        """Time that all trials took, in whatever process."""
        return math.fsum(trial.user_attrs.get(SECONDS, 0.0) for trial in self._trials())

    def processes(self) -> int:
        """How many processes searched, one after another: each that died left a trial that was started again."""
        return 1 + sum(max(0, trial.user_attrs.get(STARTS, 1) - 1) for trial in self._trials())

    def begin(self) -> Attempt | None:
        """The trial whose process died, or the next one; none where the former has died too often and is given up."""
        running = self._running()
        number = running.number if running else len(self._trials())
        self._study.sampler = self._sampler(number)
        self._study.pruner = self._pruner()
        trial = optuna.trial.Trial(self._study, running._trial_id) if running else self._study.ask()
        values = {name: _suggest(trial, name, dimension) for name, dimension in self._settings.space.items()}
        attempt = Attempt(self._study, trial, _values(self._settings, values))
        starts = trial.user_attrs.get(STARTS, 0) + 1
        if starts > MOST_STARTS:
            attempt.fail(f"its process died {MOST_STARTS} times")
            return None
        trial.set_user_attr(STARTS, starts)
        return attempt

    def give_up(self, reason: str) -> None:
        """End the trial of a dead process that will not be gone on with."""
        if running := self._running():
            Attempt(self._study, optuna.trial.Trial(self._study, running._trial_id), {}).drop(reason)

    def _trials(self) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False)

    def _running(self) -> FrozenTrial | None:
        return next((trial for trial in self._trials() if not trial.state.is_finished()), None)

    def _sampler(self, number: int) -> optuna.samplers.BaseSampler:
        seed = int.from_bytes(hashlib.sha256(f"{self._settings.seed}/{number}".encode()).digest()[:4], "big")
        if self._points is not None:
            return _Point(self._points[number])
        if self._settings.sampler == RANDOM:
            return optuna.samplers.RandomSampler(seed=seed)
        return optuna.samplers.TPESampler(n_startup_trials=self._settings.startup_trials, seed=seed)

    def _pruner(self) -> optuna.pruners.BasePruner:
        if self._settings.pruner == MEDIAN:
            return optuna.pruners.MedianPruner(n_startup_trials=self._settings.startup_trials)
        if self._settings.pruner == HYPERBAND:
            return optuna.pruners.HyperbandPruner(min_resource=self._settings.recipe.eval_steps)
        return optuna.pruners.NopPruner()


class Attempt:
    """A trial while it is being tried.

    Args:
        study: where its outcome is told.
        trial: Optuna's handle of it.
        values: the proposal, as the recipe types it.
    """

    def __init__(self, study: optuna.Study, trial: optuna.Trial, values: dict[str, Any]) -> None:
        self._study, self._trial, self.values = study, trial, values
        self.number = trial.number
        self._known = dict(study.get_trials(deepcopy=False)[self.number].intermediate_values)
        self._before, self._begun = trial.user_attrs.get(SECONDS, 0.0), time.monotonic()

    def look(self, step: int, score: float, last: bool) -> None:
        """Note a look at the development split.

        Args:
            step: optimizer steps so far.
            score: what was measured.
            last: whether the training ends here anyway.

        Raises:
            optuna.TrialPruned: it lags so far behind earlier trials that it is not worth its time.
        """
        self._note_time()
        if step not in self._known:
            self._trial.report(score, step)
        elif step < max(self._known):
            return  # an earlier process went on from here
        if not last and self._trial.should_prune():
            raise optuna.TrialPruned

    def noted(self) -> dict[int, float]:
        """The looks so far, by step."""
        return dict(self._study.get_trials(deepcopy=False)[self.number].intermediate_values)

    def complete(self, score: float) -> None:
        """It came to its end."""
        self._note_time()
        self._study.tell(self.number, score)

    def prune(self) -> None:
        """It was ended early."""
        self._note_time()
        self._study.tell(self.number, state=TrialState.PRUNED)

    def fail(self, reason: str) -> None:
        """Its values are no good: it has no score, and those near it are shunned.

        Args:
            reason: why, in words that quote no data.
        """
        self._trial.set_user_attr(FAILURE, True)
        self._trial.set_user_attr(REASON, reason)
        self.prune()

    def drop(self, reason: str) -> None:
        """It did not come to its end, and says nothing about its values."""
        self._note_time()
        self._trial.set_user_attr(REASON, reason)
        self._study.tell(self.number, state=TrialState.FAIL)

    def repeat(self, earlier: TrialReport) -> None:
        """Take over the outcome of a trial with the same values: training it again would give the same bits."""
        for step, score in earlier.looks:
            if step not in self._known:
                self._trial.report(score, step)
        self._trial.set_user_attr(REASON, f"the values of trial {earlier.number}")
        self._trial.set_user_attr(FAILURE, earlier.state == FAILED)
        if earlier.state == COMPLETE:
            self._study.tell(self.number, earlier.score)
        else:
            self._study.tell(self.number, state=TrialState.PRUNED)

    def _note_time(self) -> None:
        self._trial.set_user_attr(SECONDS, self._before + time.monotonic() - self._begun)


class _Point(optuna.samplers.RandomSampler):
    """Proposes one given point."""

    def __init__(self, point: dict[str, Any]) -> None:
        super().__init__(seed=0)
        self._point = point

    def sample_independent(self, study, trial, param_name, param_distribution):
        """The point's value."""
        return self._point[param_name]


def grid(settings: SearchSettings) -> list[dict[str, Any]] | None:
    """Every combination, in an order that the seed shuffles: a grid cut short has then seen something of every key.

    None where the search is no grid.
    """
    if settings.sampler != GRID:
        return None
    lists = [[label(value) for value in dimension] for dimension in settings.space.values()]
    points = [dict(zip(settings.space, values, strict=True)) for values in itertools.product(*lists)]
    random.Random(settings.seed).shuffle(points)
    return points


def label(value: Any) -> str | float | bool:
    """What Optuna knows a value of a list by: itself, or its JSON where it is a list or a mapping of its own."""
    return value if isinstance(value, str | int | float | bool) else json.dumps(value, sort_keys=True)


def _suggest(trial: optuna.Trial, name: str, dimension: Range | tuple[Any, ...]) -> Any:
    if not isinstance(dimension, Range):
        return trial.suggest_categorical(name, [label(value) for value in dimension])
    if whole(name):
        return trial.suggest_int(name, int(dimension.low), int(dimension.high), log=dimension.log)
    return trial.suggest_float(name, dimension.low, dimension.high, log=dimension.log)


def _values(settings: SearchSettings, params: dict[str, Any]) -> dict[str, Any]:
    """What Optuna proposed, as the recipe types it (lists for tuples: a report is JSON)."""
    found = {}
    for name, dimension in settings.space.items():
        if name in params and isinstance(dimension, Range):
            found[name] = params[name]
        elif name in params:
            found[name] = next(value for value in dimension if label(value) == params[name])
    return json.loads(json.dumps(found))


def rebuilt(settings: SearchSettings, trials: list[TrialReport], maximize: bool) -> optuna.Study:
    """A study in memory with the trials of a report, for plots and importances."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize" if maximize else "minimize")
    states = {name: state for state, name in STATES.items()}
    distributions = {name: _distribution(name, dimension) for name, dimension in settings.space.items()}
    for trial in trials:
        params = {
            name: value if isinstance(settings.space[name], Range) else label(value)
            for name, value in trial.values.items()
        }
        looks = dict(trial.looks)
        study.add_trial(
            optuna.create_trial(
                state=states[trial.state],
                value=looks[max(looks)] if trial.state == PRUNED and looks else trial.score,
                params=params,
                distributions={name: distributions[name] for name in params},
                intermediate_values=looks,
            )
        )
    return study


def _distribution(name: str, dimension: Range | tuple[Any, ...]) -> optuna.distributions.BaseDistribution:
    if not isinstance(dimension, Range):
        return optuna.distributions.CategoricalDistribution([label(value) for value in dimension])
    if whole(name):
        return optuna.distributions.IntDistribution(int(dimension.low), int(dimension.high), log=dimension.log)
    return optuna.distributions.FloatDistribution(dimension.low, dimension.high, log=dimension.log)


def importance(settings: SearchSettings, trials: list[TrialReport], maximize: bool) -> dict[str, float]:
    """The share of the scores' variance that each key explains (fANOVA, Hutter et al. 2014); none where too few trials
    are complete to tell, or all scored the same."""
    complete = [trial for trial in trials if trial.state == COMPLETE]
    if len(complete) < 4 or len({trial.score for trial in complete}) < 2:
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        found = optuna.importance.get_param_importances(
            rebuilt(settings, complete, maximize),
            evaluator=optuna.importance.FanovaImportanceEvaluator(seed=settings.seed),
        )
    return {name: float(f"{share:.4f}") for name, share in sorted(found.items())}
