"""A search chooses on the development split alone, survives a kill, and never lets a bad value end it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError

from domainlm.errors import TrainingError, TrainingStopped
from domainlm.train.search.report import SearchReport
from domainlm.train.search.settings import SearchSettings
from domainlm.train.settings import TrainSettings

RECIPE = {
    "max_steps": 4,
    "batch_size": 8,
    "rank": 2,
    "alpha": 4,
    "learning_rate": 5e-3,
    "logging_steps": 2,
    "save_steps": 2,
    "threads": 1,
    "report_to": (),
    "dev_records": 8,
    "tasks": ("mood",),
}
RATES = {"learning_rate": (1e-4, 5e-3, 2e-2)}


@pytest.fixture
def seek(tiny_base, plain_tokenizer, toy_records, toy_tasks, tmp_path: Path) -> Callable[..., SearchReport]:
    """Runs `search` in a place of its own."""
    from domainlm.train.search.searching import search

    def run(name: str = "run", records=toy_records, recipe: dict | None = None, **settings) -> SearchReport:
        asked = SearchSettings(recipe=TrainSettings(**(RECIPE | (recipe or {}))), **settings)
        place = tmp_path / name
        return search(records, plain_tokenizer, tiny_base, asked, toy_tasks, place / "report", place / "work")

    return run


@pytest.fixture
def scored(monkeypatch: pytest.MonkeyPatch) -> list[TrainSettings]:
    """Trainings that take no time: their score is a function of the recipe. Returns the recipes that were trained."""
    from types import SimpleNamespace

    from domainlm.train import finetuning
    from domainlm.train.search import plots as search_plots
    from domainlm.train.search import searching as search

    tried: list[TrainSettings] = []

    def train(records, tokenizer, base, recipe, tasks, folder, work, callbacks=None):
        tried.append(recipe)
        for listener in callbacks(0, SimpleNamespace(accuracy={})):
            steps = recipe.max_steps or 4
            for step in range(1, steps + 1):
                state = SimpleNamespace(global_step=step, max_steps=steps)
                listener.on_step_end(None, state, None)
                if recipe.eval_steps and step % recipe.eval_steps == 0:
                    listener.on_evaluate(
                        None, state, None, metrics={"eval_bits_per_character": bowl(recipe) + 1 / step}
                    )
        return None, SimpleNamespace(dev_bits_per_character={"mood": bowl(recipe)})

    monkeypatch.setattr(finetuning, "train", train)
    monkeypatch.setattr(search, "_free_memory", lambda: None)
    monkeypatch.setattr(search_plots, "write_plots", lambda report, folder: [])
    return tried


def bowl(recipe: TrainSettings) -> float:
    """Best at a rate of 0.003 and a rank of 8; dropout does nothing."""
    import math

    return 1 + math.log10(recipe.learning_rate / 3e-3) ** 2 + 0.01 * abs(recipe.rank - 8)


# ---------------------------------------------------------------------------------------------- what it finds


def test_a_search_chooses_the_best_of_real_trainings_and_its_report_says_all(seek, tmp_path) -> None:
    report = seek(space=RATES, sampler="grid", recipe={"eval_steps": 2})
    assert sorted(trial.values["learning_rate"] for trial in report.trials) == [1e-4, 5e-3, 2e-2]
    assert report.score == min(trial.score for trial in report.trials) and report.points == 3
    assert report.chosen == report.trials[report.chosen_trial].values
    assert report.chosen["learning_rate"] > 1e-4
    assert all([step for step, _ in trial.looks] == [2, 4] for trial in report.trials)
    assert all(trial.score == trial.looks[-1][1] for trial in report.trials)
    names = {path.name for path in (tmp_path / "run" / "report").iterdir()}
    assert names == {"search.json", "history.png", "slice.png", "looks.png"}
    assert all((tmp_path / "run" / "report" / name).read_bytes()[:4] == b"\x89PNG" for name in names - {"search.json"})
    loaded = SearchReport(**json.loads((tmp_path / "run" / "report" / "search.json").read_text()))
    assert loaded == report and loaded.digest == report.digest
    assert not (tmp_path / "run" / "work" / "trials" / "0").exists()


def test_the_chosen_values_go_into_the_recipe_and_no_other_recipe(seek, scored) -> None:
    report = seek(space=RATES | {"target_modules": [["auto"], ["query_key_value"]]}, sampler="grid")
    applied = report.apply(TrainSettings(**RECIPE))
    assert applied == TrainSettings(**(RECIPE | {"learning_rate": 5e-3, "target_modules": applied.target_modules}))
    assert SearchReport(**json.loads(report.model_dump_json())).apply(TrainSettings(**RECIPE)) == applied
    with pytest.raises(TrainingError, match="another recipe: seed"):
        report.apply(TrainSettings(**(RECIPE | {"seed": 1})))
    assert report.summary()["chosen_learning_rate"] == 5e-3
    assert report.summary()["trials_complete"] == 6


def test_the_test_split_changes_nothing_bit_for_bit(seek, toy_records, row, table) -> None:
    """Poison: answers that contradict the train split, and documents; a search that saw them would choose otherwise."""
    poison = [
        row("mood", f"Haneul Bank: profit rises {number}", "", f"poison/{number}", "test", 5000 + number, label="bad")
        for number in range(40)
    ]
    clean = [record for record in toy_records if record["split"] != "test"]
    asked = {"space": {"learning_rate": [1e-4, 5e-3]}, "sampler": "grid"}
    without = seek("without", records=table(clean), **asked)
    poisoned = seek("with", records=table(poison[:20] + clean + poison[20:]), **asked)
    assert poisoned == without and poisoned.digest == without.digest
    seen = [record | {"split": "dev"} if record["split"] == "test" else record for record in poison + clean]
    assert seek("seen", records=table(seen), **asked | {"trials": 1}).trials[0].score != without.trials[0].score


def test_two_searches_with_one_seed_are_equal_and_another_seed_proposes_other_values(seek, scored) -> None:
    space = {"learning_rate": {"low": 1e-4, "high": 1e-1, "log": True}, "rank": {"low": 1, "high": 32}}
    for sampler in ("random", "tpe"):
        first, second, other = (
            seek(f"{sampler}{number}", space=space, sampler=sampler, trials=8, startup_trials=3, seed=seed)
            for number, seed in enumerate((0, 0, 1))
        )
        assert first == second and first.digest == second.digest
        assert first.trials != other.trials
    assert all(isinstance(trial.values["rank"], int) for trial in first.trials)


def test_tpe_draws_near_what_was_good(seek, scored) -> None:
    space = {"learning_rate": {"low": 1e-5, "high": 1.0, "log": True}}
    report = seek(space=space, trials=30, startup_trials=8)
    rates = [trial.values["learning_rate"] for trial in report.trials]
    near = [0.0006 < rate < 0.015 for rate in rates]
    assert sum(near[8:]) / 22 > 1.5 * 0.28  # 0.28 of the space lies within
    assert report.score < report.first_score
    assert report.importance == {"learning_rate": 1.0}


def test_importance_tells_what_mattered(seek, scored) -> None:
    space = {"learning_rate": {"low": 1e-4, "high": 1e-1, "log": True}, "dropout": {"low": 0.0, "high": 0.5}}
    report = seek(space=space, sampler="random", trials=24)
    assert report.importance["learning_rate"] > 0.9 > 0.1 > report.importance["dropout"]
    assert "data:image/png" in report.html() and report.html() == report.html()


def test_a_head_is_searched_by_its_accuracy(toy_records, toy_tasks, tmp_path) -> None:
    from small_encoders import make_encoder

    from domainlm.models import resolve_base
    from domainlm.records import asked
    from domainlm.train.search.searching import search
    from domainlm.vocabulary import extend
    from domainlm.vocabulary.settings import VocabularySettings

    texts = [asked(record) for record in toy_records.to_list() if record["task"] == "mood"]
    make_encoder(tmp_path / "model", texts, steps=60)
    base = resolve_base(str(tmp_path / "model"), tmp_path / "card")
    tokenizer = extend(toy_records, base, VocabularySettings(max_new_tokens=0), tmp_path / "tokenizer")[0]
    recipe = {"objective": "classification", "method": "full", "max_steps": 60, "eval_steps": 30, "dev_records": 18}
    settings = SearchSettings(
        recipe=TrainSettings(**(RECIPE | recipe)), space={"learning_rate": [1e-9, 3e-3]}, sampler="grid"
    )
    report = search(toy_records, tokenizer, base, settings, toy_tasks, tmp_path / "report", tmp_path / "work")
    assert report.metric == "accuracy" and report.maximize
    scores = {trial.values["learning_rate"]: trial.score for trial in report.trials}
    assert 0 <= scores[1e-9] < scores[3e-3] <= 1 and report.chosen == {"learning_rate": 3e-3}
    assert all(trial.score == trial.looks[-1][1] for trial in report.trials)


def test_the_looks_of_a_curriculum_count_on_over_its_stages(seek) -> None:
    stages = [{"name": "one", "tasks": ["term"], "max_steps": 2}, {"name": "two", "max_steps": 4}]
    report = seek(space={"alpha": [2.0]}, sampler="grid", recipe={"stages": stages, "eval_steps": 2, "max_steps": None})
    assert all([step for step, _ in trial.looks] == [2, 4, 6] for trial in report.trials)
    assert all(trial.score == trial.looks[-1][1] for trial in report.trials)


def test_what_a_search_costs_is_written_beside_the_report_and_not_into_it(seek, scored, tmp_path) -> None:
    from domainlm.train.watch.cost import read

    report = seek(space=RATES, sampler="grid", recipe={"prices": {"": 3.6, "no such device": 9.0}})
    cost = read(tmp_path / "run" / "work")
    assert cost["device_seconds"] > 0 and cost["peak_gb"] > 0 and cost["attempts"] == 1
    assert cost["cost"] == pytest.approx(cost["device_seconds"] * 3.6 / 3600, rel=0.01, abs=1e-5)
    assert "seconds" not in report.model_dump_json()


# ---------------------------------------------------------------------------------------------- budget and pruning


def test_a_grid_tries_every_point_once_and_ends(seek, scored) -> None:
    report = seek(space={"rank": [1, 2, 4], "dropout": [0.0, 0.1]}, sampler="grid", trials=50)
    tried = [(recipe.rank, recipe.dropout) for recipe in scored]
    assert sorted(tried) == [(1, 0.0), (1, 0.1), (2, 0.0), (2, 0.1), (4, 0.0), (4, 0.1)]
    assert tried != sorted(tried) and "every point" in report.ended and report.points == 6


def test_a_point_that_random_draws_twice_is_trained_once(seek, scored) -> None:
    report = seek(space={"rank": [1, 2]}, sampler="random", trials=9)
    assert len(report.trials) == 9 and len(scored) == 2
    again = [trial for trial in report.trials if trial.reason]
    assert len(again) == 7 and all(trial.reason.startswith("the values of trial") for trial in again)
    assert {trial.score for trial in again} <= {1.0 + 0, *(trial.score for trial in report.trials if not trial.reason)}


def test_searched_epochs_win_over_the_recipes_number_of_steps(seek, scored) -> None:
    report = seek(space={"epochs": [1, 2]}, sampler="grid")
    assert {(recipe.epochs, recipe.max_steps) for recipe in scored} == {(1, None), (2, None)}
    assert report.apply(TrainSettings(**RECIPE)).max_steps is None


@pytest.mark.parametrize("pruner", ["median", "hyperband"])
def test_trials_that_lag_behind_are_ended_early(seek, scored, pruner: str) -> None:
    space = {"learning_rate": {"low": 1e-5, "high": 1.0, "log": True}}
    recipe = {"eval_steps": 3, "max_steps": 12}
    report = seek(space=space, sampler="random", trials=24, startup_trials=3, pruner=pruner, recipe=recipe)
    whole = seek("whole", space=space, sampler="random", trials=24, recipe=recipe)
    assert report.chosen == whole.chosen and report.score == whole.score
    pruned = [trial for trial in report.trials if trial.state == "pruned"]
    assert 5 < len(pruned) < 21
    assert all(trial.score is None and trial.looks[-1][0] < 12 for trial in pruned)
    assert whole.states() == {"complete": 24, "pruned": 0, "failed": 0}


def test_pruning_a_real_training_ends_it_at_a_look(seek) -> None:
    """A useless rate, judged by the looks of a good one before it."""
    report = seek(
        space={"learning_rate": [1e-2, 5e-3, 1e-6]},
        sampler="grid",
        seed=2,
        startup_trials=1,
        pruner="median",
        recipe={"eval_steps": 2, "max_steps": 6, "scheduler": "constant"},
    )
    pruned = [trial for trial in report.trials if trial.state == "pruned"]
    assert pruned and all(len(trial.looks) < 3 for trial in pruned)
    assert report.chosen["learning_rate"] >= 5e-3


def test_the_minutes_end_a_search_in_the_middle_of_a_trial(seek, scored, monkeypatch) -> None:
    """A step takes 5 s and a trial 20: the seventh is begun and not finished, and no value is chosen from it."""
    from types import SimpleNamespace

    from domainlm.train.search import listening, study
    from domainlm.train.search import searching as search

    now = [0]

    def step() -> float:
        now[0] += 5
        return now[0]

    monkeypatch.setattr(listening, "time", SimpleNamespace(monotonic=step))
    for module in (search, study):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    space = {"learning_rate": {"low": 1e-4, "high": 1e-2}}
    report = seek(space=space, sampler="random", minutes=2, trials=500)
    assert report.ended == "2 minutes were over" and report.states() == {"complete": 6, "pruned": 0, "failed": 1}
    assert report.trials[-1].state == "failed" and "time" in report.trials[-1].reason
    now[0] = 0
    assert seek(space=space, sampler="random", minutes=2, trials=500) == report  # the minutes are spent
    assert seek(space=space, sampler="random", minutes=3, trials=500).states()["complete"] == 8


def test_minutes_too_few_for_one_trial_say_so(seek, scored) -> None:
    with pytest.raises(TrainingError, match=r"(?s)none of 0 trials .* \(1e-06 minutes were over\).* more minutes"):
        seek(space=RATES, minutes=1e-6)


# ---------------------------------------------------------------------------------------------- what goes wrong


def test_a_trial_that_diverges_fails_with_its_reason_and_the_search_goes_on(seek) -> None:
    report = seek(space={"learning_rate": [1e30, 5e-3]}, sampler="grid", recipe={"max_grad_norm": 1e9})
    failed = next(trial for trial in report.trials if trial.state == "failed")
    assert failed.values == {"learning_rate": 1e30} and "not finite" in failed.reason and failed.score is None
    assert report.chosen == {"learning_rate": 5e-3}


def test_tpe_learns_to_shun_values_that_fail(seek, scored, monkeypatch) -> None:
    """Three quarters of the space diverge; optuna's samplers take no notice of trials that are told as failed."""
    from domainlm.train import finetuning

    trained = finetuning.train

    def train(records, tokenizer, base, recipe, *rest, callbacks):
        if recipe.learning_rate > 1e-4:
            raise TrainingError(f"the loss is not finite at step {len(scored)}")
        return trained(records, tokenizer, base, recipe, *rest, callbacks=callbacks)

    monkeypatch.setattr(finetuning, "train", train)
    report = seek(space={"learning_rate": {"low": 1e-5, "high": 1e-1, "log": True}}, trials=40, startup_trials=8)
    failed = [trial.state == "failed" for trial in report.trials]
    assert any(failed[:8]) and sum(failed[8:]) / 32 < 0.6  # told as failed: 0.8
    assert all(
        "not finite" in trial.reason and trial.score is None for trial in report.trials if trial.state == "failed"
    )


def test_two_processes_do_not_search_in_one_place(seek, scored, tmp_path) -> None:
    import fcntl

    (tmp_path / "run" / "work").mkdir(parents=True)
    with open(tmp_path / "run" / "work" / "study.lock", "w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(TrainingError, match="another process searches here"):
            seek(space=RATES)
    assert seek(space=RATES, sampler="grid").states()["complete"] == 3


def test_values_that_do_not_fit_the_model_fail_and_the_search_goes_on(seek) -> None:
    report = seek(space={"target_modules": [["nonsense"], ["query_key_value"]]}, sampler="grid")
    assert report.states() == {"complete": 1, "pruned": 0, "failed": 1}
    assert report.chosen == {"target_modules": ["query_key_value"]}


def test_a_search_in_which_every_trial_fails_says_why(seek) -> None:
    with pytest.raises(TrainingError, match=r"none of 2 trials came to its end .*nonsense"):
        seek(space={"target_modules": [["nonsense"], ["nonsense2"]]}, sampler="grid")


def test_the_same_failure_three_times_ends_the_search(seek, scored, monkeypatch) -> None:
    from domainlm.train import finetuning

    def broken(*_, **__):
        scored.append(None)
        raise TrainingError("every record is too long", "records x", "cut them")

    monkeypatch.setattr(finetuning, "train", broken)
    with pytest.raises(TrainingError, match="first 3 trials failed alike: every record is too long"):
        seek(space={"learning_rate": {"low": 1e-4, "high": 1e-2}}, trials=40)
    assert len(scored) == 3


def test_an_empty_development_split_is_an_error_before_any_trial(seek, scored, toy_records) -> None:
    kept = toy_records.select([index for index, split in enumerate(toy_records["split"]) if split == "train"])
    with pytest.raises(TrainingError, match="development split has no record"):
        seek(records=kept, space=RATES)
    assert not scored


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"space": {}}, "names no key"),
        ({}, "Field required"),
        ({"space": {"rank": [0]}}, "'rank', value 0: Input should be greater than or equal to 1"),
        ({"space": {"rank": {"low": 0, "high": 8}}}, "space.rank, value 0.0: Input should be greater than or equal"),
        ({"space": {"rank": {"low": 8, "high": 2}}}, r"low \(8\) must be below high \(2\)"),
        ({"space": {"rank": {"low": 1.5, "high": 2}}}, "'rank' is a whole number"),
        ({"space": {"dropout": {"low": 0, "high": 0.5, "log": True}}}, "log needs low above 0"),
        ({"space": {"learning_rte": [1e-3]}}, "did you mean 'learning_rate'"),
        ({"space": {"seed": [1, 2]}}, "'seed' cannot be searched over"),
        ({"space": {"rank": []}}, "empty list"),
        ({"space": {"rank": [4, 4]}}, "names a value twice"),
        ({"space": {"scheduler": {"low": 1, "high": 2}}}, "'scheduler' is not a number"),
        ({"space": {"rank": 4}}, "valid tuple"),
        ({"space": {"rank": {"low": 1, "high": 8}}, "sampler": "grid"}, "a grid needs lists: rank is a range"),
        ({"space": RATES, "pruner": "median"}, "needs eval_steps"),
        ({"space": RATES, "recipe": {"dev_records": 0}}, "dev_records must be above 0"),
        ({"space": {"epochs": [1.0], "max_steps": [4]}}, "search over one"),
        ({"space": {"rank": [4]}, "recipe": {"method": "full"}}, "method 'full' has no LoRA"),
        ({"space": {"virtual_tokens": [4]}}, "method 'qlora' has none"),
        ({"space": RATES, "recipe": {"processes": 2}}, "a trial runs in one process"),
        ({"space": RATES, "metric": "accuracy"}, "needs objective 'classification'"),
        (
            {"space": {"epochs": [1.0]}, "recipe": {"stages": [{"name": "a", "max_steps": 3}]}},
            "stage 'a' sets epochs itself",
        ),
        ({"space": RATES, "trails": 3}, "Extra inputs"),
    ],
)
def test_bad_settings_are_named_before_anything_runs(settings: dict, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        SearchSettings(**settings)


def test_the_configuration_of_a_search_is_checked_without_a_heavy_library() -> None:
    """Of all that is wrong, one thing each time; and torch, optuna and ZenML are never imported."""
    program = """
import sys
from pathlib import Path
from domainlm.config import RunConfiguration
from domainlm.errors import ConfigurationError
RunConfiguration.load(Path("configs/search.yaml"))
both = RunConfiguration.load(Path("configs/search.yaml"), ["steps.train.parameters.max_steps=9"])
assert both.step("search").recipe.max_steps == 9, "the recipe stands once"
for override, said in {
    "steps.search.parameters.recipe={eval_steps: 40}": "is not the recipe of the step train",
    "steps.search.parameters.space.rank.0=0": "'rank', value 0",
    "steps.search.parameters.spce={}": "did you mean 'space'",
    "steps.search=null": "space: Field required",
}.items():
    try:
        RunConfiguration.load(Path("configs/search.yaml"), [override])
    except ConfigurationError as error:
        assert said in str(error), (said, str(error))
    else:
        raise AssertionError(override)
assert not {"torch", "optuna", "zenml", "transformers", "matplotlib"} & set(sys.modules)
"""
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=root, env=os.environ | {"PYTHONPATH": str(root)}, capture_output=True,
        text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]


def test_numbers_that_yaml_reads_as_text_are_numbers() -> None:
    assert SearchSettings(space={"learning_rate": ["2e-3", 0.001]}).space == {"learning_rate": (2e-3, 1e-3)}


# ---------------------------------------------------------------------------------------------- killed and resumed

PROGRAM = """
import json, os, signal, sys
from pathlib import Path
from datasets import load_from_disk
from domainlm.artifacts import BaseCheckpoint, TokenizerFolder
from domainlm.tasks import Task
from domainlm.train.search import listening
from domainlm.train.search.searching import search
from domainlm.train.search.settings import SearchSettings

place, base, tokenizer = Path(sys.argv[1]), BaseCheckpoint(Path(sys.argv[2])), TokenizerFolder(Path(sys.argv[3]))
looked = listening.Listener.on_evaluate
count = [0]
def on_evaluate(self, args, state, control, **given):
    count[0] += 1
    looked(self, args, state, control, **given)
    if count[0] == 5:
        os.kill(os.getpid(), signal.SIGKILL)
listening.Listener.on_evaluate = on_evaluate
tasks = {name: Task(**fields) for name, fields in json.loads((place / "tasks.json").read_text()).items()}
settings = SearchSettings(**json.loads((place / "settings.json").read_text()))
records = load_from_disk(str(place / "records"))
search(records, tokenizer, base, settings, tasks, place / "report", place / "work")
"""


BROKEN = {"space": {"learning_rate": [1e-2, 5e-3, 1e-6]}, "trials": 3, "startup_trials": 2, "pruner": "median"}
LOOKED_AT = {"eval_steps": 2, "save_steps": 2, "max_steps": 6}


def test_a_search_that_was_killed_in_a_trial_goes_on_to_the_very_same_report(
    seek, tiny_base, plain_tokenizer, toy_records, toy_tasks, tmp_path
) -> None:
    """TPE, SIGKILL in the second trial, after its look at step 4."""
    whole = seek("whole", recipe=LOOKED_AT, **BROKEN)
    place = tmp_path / "broken"
    place.mkdir()
    toy_records.save_to_disk(str(place / "records"))
    (place / "tasks.json").write_text(json.dumps({name: task.model_dump() for name, task in toy_tasks.items()}))
    settings = SearchSettings(recipe=TrainSettings(**(RECIPE | LOOKED_AT)), **BROKEN)
    (place / "settings.json").write_text(settings.model_dump_json())
    program = [sys.executable, "-c", PROGRAM, str(place), str(tiny_base.path), str(plain_tokenizer.path)]
    done = subprocess.run(program, capture_output=True, text=True, check=False, timeout=300, env=dict(os.environ))
    assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]
    assert not (place / "report" / "search.json").exists()
    assert list((place / "work" / "trials").iterdir()) == [place / "work" / "trials" / "1"]
    resumed = seek("broken", recipe=LOOKED_AT, **BROKEN)
    assert json.loads((place / "work" / "throughput.json").read_text())["attempts"] == 2
    assert resumed == whole and resumed.digest == whole.digest


def test_a_search_that_was_told_to_stop_goes_on_to_the_very_same_report(seek, monkeypatch, tmp_path) -> None:
    """A grid with pruning, SIGTERM at the look of the second trial at step 4, by which the third is judged."""
    from domainlm.train.search import listening

    asked = BROKEN | {"sampler": "grid", "seed": 5}  # proposes 1e-2 and 5e-3 first
    whole = seek("whole", recipe=LOOKED_AT, **asked)
    assert [trial.state for trial in whole.trials] == ["complete", "complete", "pruned"]
    looked, count = listening.Listener.on_evaluate, []

    def on_evaluate(self, *given, **metrics) -> None:
        looked(self, *given, **metrics)
        count.append(1)
        if len(count) == 5:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patched:
        patched.setattr(listening.Listener, "on_evaluate", on_evaluate)
        with pytest.raises(TrainingStopped, match=r"stopped in trial 1 .*\n.*run again to go on"):
            seek("stopped", recipe=LOOKED_AT, **asked)
    assert not (tmp_path / "stopped" / "report" / "search.json").exists()
    resumed = seek("stopped", recipe=LOOKED_AT, **asked)
    assert resumed == whole and resumed.digest == whole.digest


def test_a_trial_that_kills_its_process_each_time_is_given_up(seek, scored, monkeypatch) -> None:
    from domainlm.train import finetuning

    trained = finetuning.train

    def dying(*given, **callbacks):
        if given[3].learning_rate == 5e-3:
            raise SystemExit("as the kernel would")
        return trained(*given, **callbacks)

    monkeypatch.setattr(finetuning, "train", dying)
    for _ in range(3):
        with pytest.raises(SystemExit):
            seek(space=RATES, sampler="grid")
    report = seek(space=RATES, sampler="grid")
    failed = next(trial for trial in report.trials if trial.state == "failed")
    assert failed.values == {"learning_rate": 5e-3} and failed.reason == "its process died 3 times"
    assert report.states() == {"complete": 2, "pruned": 0, "failed": 1}


def test_a_larger_budget_goes_on_with_the_trials_that_are_there(seek, scored) -> None:
    space = {"learning_rate": {"low": 1e-4, "high": 1e-1, "log": True}}
    seek(space=space, trials=4, startup_trials=2)
    more = seek(space=space, trials=7, startup_trials=2)
    assert len(scored) == 7
    assert more.trials == seek("anew", space=space, trials=7, startup_trials=2).trials


def test_other_records_in_the_same_place_are_another_study(seek, scored, toy_records) -> None:
    seek(space=RATES, sampler="grid")
    seek(space=RATES, sampler="grid")
    assert len(scored) == 3
    seek(records=toy_records.select(range(len(toy_records) - 1)), space=RATES, sampler="grid")
    assert len(scored) == 6


def test_stopping_is_not_a_failed_trial(seek, scored, monkeypatch) -> None:
    from domainlm.train import finetuning

    def stopped(*_, **__):
        raise TrainingStopped("stopped by SIGTERM after step 2")

    monkeypatch.setattr(finetuning, "train", stopped)
    with pytest.raises(TrainingStopped, match="stopped in trial 0"):
        seek(space=RATES)
    monkeypatch.undo()


# ---------------------------------------------------------------------------------------------- MLflow


def test_every_trial_is_a_nested_run_in_mlflow(seek, tmp_path, monkeypatch) -> None:
    import mlflow

    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    mlflow.set_tracking_uri(uri)
    mlflow.create_experiment("search", artifact_location=(tmp_path / "artifacts").as_uri())
    mlflow.set_experiment("search")
    try:
        with mlflow.start_run() as parent:
            report = seek(
                space={"learning_rate": [1e30, 5e-3]},
                sampler="grid",
                recipe={"report_to": ("mlflow", "tensorboard"), "eval_steps": 2, "max_grad_norm": 1e9},
            )
            assert mlflow.active_run().info.run_id == parent.info.run_id
        client = mlflow.MlflowClient(uri)
        runs = mlflow.search_runs(
            filter_string=f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'", output_format="list"
        )
        assert len(runs) == 2
        for trial in report.trials:
            run = next(run for run in runs if run.data.tags["trial"] == str(trial.number))
            assert run.data.params == {"learning_rate": str(trial.values["learning_rate"])}
            assert run.data.tags["state"] == trial.state and run.data.tags.get("reason", "") == trial.reason
            assert run.data.metrics.get("score") == trial.score
            looked = [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, "dev/score")]
            assert looked == trial.looks
            if trial.state == "complete":
                assert {point.step for point in client.get_metric_history(run.info.run_id, "train/loss")} == {2, 4}
        found = client.get_run(parent.info.run_id).data
        assert found.params["chosen_learning_rate"] == str(report.chosen["learning_rate"])
        files = {item.path for item in client.list_artifacts(parent.info.run_id, "search")}
        assert {"search/search.json", "search/history.png"} <= files
    finally:
        mlflow.set_tracking_uri(None)
