"""What is watched stops a run that goes wrong, names the records, and changes nothing of a run that goes well."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from types import SimpleNamespace

import pytest

from domainlm.errors import TrainingError
from domainlm.train.checkpoints import newest
from domainlm.train.watch import progress
from domainlm.train.watch.flops import Work
from domainlm.train.watch.meter import Meter
from domainlm.train.watch.monitoring import ENOUGH, IN_A_ROW, Watch

IDS = [f"record-{number}" for number in range(8)]
GUESSING = math.log(400)


def shown(watch: Watch, losses: Sequence[float], first: int = 1) -> None:
    for step, loss in enumerate(losses, first):
        watch.batch(step, [step % 8], loss)
    watch.complete()


def test_a_loss_that_is_not_finite_names_step_and_records_whatever_the_settings() -> None:
    for loss in (float("nan"), float("inf")):
        with pytest.raises(TrainingError, match="not finite at step 3") as caught:
            Watch(IDS, spike_factor=None).batch(3, [2, 5], loss)
        assert caught.value.where == "records record-2, record-5"
        assert "lower learning_rate" in caught.value.remedy


def test_a_spike_names_its_step_and_records() -> None:
    watch = Watch(IDS, 20.0, GUESSING)
    shown(watch, [0.2] * 12)
    with pytest.raises(TrainingError, match=r"the loss of step 13 is 4\.2, 21 times its recent median") as caught:
        shown(watch, [4.2], first=13)
    assert caught.value.where == "records record-5"


def test_of_several_passes_the_worst_is_named_and_their_sum_is_judged() -> None:
    watch = Watch(IDS, 20.0, GUESSING)
    shown(watch, [0.2] * 12)
    watch.batch(13, [1], 0.1)
    watch.batch(13, [2], 4.5)
    watch.batch(13, [3], 0.1)
    with pytest.raises(TrainingError, match=r"the loss of step 13 is 4\.7") as caught:
        watch.batch(14, [4], 0.2)  # where losses come late, the next step completes the one before
    assert caught.value.where == "records record-2"


# measured: two tasks, one easy and one hard, learning rates from sensible to mad
MEASURED = {
    0.005: "7.21 6.94 7.11 7.88 5.97 5.64 5.09 4.12 4.46 3.69 1.67 1.32 3.44 0.566 0.635 3.44 0.454 0.42 0.431 4.07",
    0.02: "7.21 6.94 6.81 4.23 4.14 0.433 1.03 0.648 3.79 3.55 0.51 0.409 2.92 0.47 0.458 3.03 0.405 0.442 0.402 2.9",
    0.2: "7.21 3.43 7.51 0.629 5.44 5.35 0.879 0.537 4.39 4.58 0.537 0.52 3.98 0.671 0.657 3.64 0.708 0.502 0.622",
    1.0: "7.21 6.94 4.4 4.52 5.85 1.54 1.44 1.25 4.14 4.36 0.926 0.863 4.07 0.734 0.745 4.27 0.679 0.667 0.653 5.02",
    1000: "7.21 6.94 7.49 2.78 4.72 2.46 3.06 5.83 5.97 5.89 5.83 5.83 5.88 5.83 5.83 5.88 5.83 5.83 5.83 5.9",
}


@pytest.mark.parametrize(
    "losses",
    [
        [7.0, 6.0, 5.0, 3.0, 2.0, 1.0, 0.7, 0.5, 0.4, 0.3, 0.2, 0.1, 0.05, 0.02, 0.01] * 4,  # steep, then steep again
        [0.001] * 20 + [0.02, 0.3, 0.001],  # tiny losses jump by large factors
        [6.0, 12.0, 12.0] * 20,  # hard batches among easy ones
        [0.1, 4.0] * 10,
        [0.1] * 5 + [3.5] * 5 + [0.1] * 5,
        [0.5] * (ENOUGH - 1) + [8.0],  # too early to say what is usual
        [6.1] * 50 + [6.0, 5.9],  # from scratch: it has known nothing yet
        ([4.0] * 10 + [0.1] * 40) * 4,  # grouped by length: long answers, then labels, and again
        *([float(loss) for loss in text.split()] for rate, text in MEASURED.items() if rate < 10),
    ],
)
def test_what_is_usual_in_a_healthy_training_stops_nothing(losses: list[float]) -> None:
    shown(Watch(IDS, 20.0, GUESSING), losses)


def test_losses_beyond_guessing_step_after_step_are_a_divergence() -> None:
    """Behind a last layer norm the loss of broken weights is bounded: no spike of twenty times is ever seen."""
    watch = Watch(IDS, 20.0, GUESSING)
    shown(watch, [7.0, 9.5, *[20.0] * (IN_A_ROW - 1)])
    with pytest.raises(TrainingError, match=f"grows instead of falling: 25 at step 7, {IN_A_ROW} steps above 10.5"):
        shown(watch, [25.0], first=IN_A_ROW + 2)
    shown(Watch(IDS, None, GUESSING), [7.0] + [30.0] * 20)


@pytest.mark.parametrize("before", [[1.6], [1.5, 1.7, 1.2] * 10])
def test_a_model_that_knew_much_and_suddenly_little_diverges(before: list[float]) -> None:
    """A loss of 1.6 in a vocabulary of 32,000 rises to that of single words without their context."""
    watch = Watch(IDS, 20.0, math.log(32_000))
    with pytest.raises(TrainingError, match="grows instead of falling"):
        shown(watch, [*before, 7.2, 6.9, 7.5, 7.1, 7.3])


def test_a_model_that_guesses_what_it_knew_has_diverged() -> None:
    """Measured: a learning rate of 1000, whose loss ends below where it began."""
    with pytest.raises(TrainingError, match=r"guesses what it knew before: loss 5\.83 at step 15"):
        shown(Watch(IDS, 20.0, GUESSING), [float(loss) for loss in MEASURED[1000].split()])


def test_a_head_that_is_wrong_about_few_labels_is_not_taken_for_broken() -> None:
    shown(Watch(IDS, 20.0, 0.0), [0.1, *[0.9, 1.4, 2.2, 1.1, 1.2] * 10])


@pytest.mark.parametrize("changes", [{}, {"scheduler": "constant", "warmup_ratio": 0.0}, {"seed": 1}])
def test_a_learning_rate_that_diverges_is_named_before_anything_is_saved(tune, tmp_path, toy_records, changes) -> None:
    named = r"grows instead of falling|times its recent|guesses what it knew|not finite"
    with pytest.raises(TrainingError, match=named) as caught:
        tune(learning_rate=1e3, max_steps=40, save_steps=20, **changes)
    named = caught.value.where.removeprefix("records ").split(", ")
    assert named and set(named) <= set(toy_records["id"])
    assert "learning_rate" in caught.value.remedy
    work = tmp_path / "run" / "work"
    assert newest(work) is None and not list(work.glob("checkpoint-*"))
    assert not (tmp_path / "run" / "adapter").exists() and not (work / "throughput.json").exists()


def test_a_gradient_that_is_not_finite_stops_at_the_next_point_of_the_curve() -> None:
    with pytest.raises(TrainingError, match="the gradient is not finite at step 4"):
        Watch(IDS, 20.0).norm(4, float("inf"))


def test_watching_changes_no_weight(tune) -> None:
    plain, report = tune("plain", spike_factor=None)
    watched, again = tune("watched", spike_factor=5.0, sample_prompts=3, prices={"cpu": 1.0})
    assert plain.digest == watched.digest
    assert report.curve == again.curve


def test_the_meter_counts_tokens_padding_and_what_is_learned() -> None:
    rows = [([1] * 3, [1] * 2), ([1] * 5, [1] * 5), ([1] * 1, [1] * 1)]
    work = Work(frozen=100, trained=10, attention=6.0)
    for packed, padded in ((False, 2 * 10 + 2), (True, 17)):
        counted = []
        meter = Meter(rows, packed, work, recompute=True, total=counted.append)
        args = SimpleNamespace(world_size=1, device="cpu")
        meter.on_train_begin(args, None, None)
        meter.seen([0, 1])
        meter.seen([2])
        logs = {"loss": 1.0}
        meter.on_log(args, None, None, logs=logs)
        (found,) = counted
        assert (found.tokens, found.padded, found.supervised) == (17, padded, 8)
        length = (25 + 100 + 4) / 17  # what attention costs grows with the square of each row
        assert found.flops == pytest.approx(17 * (4 * 100 + 6 * 10) + 3 * 6 * 17 * length)
        assert found.hardware_flops == pytest.approx(found.flops + 17 * 2 * 110 + 6 * 17 * length)
        assert found.seconds > 0
        assert logs["tokens_per_second"] == pytest.approx(17 / found.seconds)
        assert logs["peak_process_gb"] > 0
        assert "mfu" not in logs  # a CPU has no peak that is known
        assert found.figures(1e9)["mfu"] == pytest.approx(found.flops / found.seconds / 1e9)


def test_the_meter_takes_labels_of_a_head() -> None:
    counted = []
    meter = Meter([([1] * 3, 0), ([1] * 4, 1)], False, Work(1, 1, 1.0), False, counted.append)
    args = SimpleNamespace(world_size=1, device="cpu")
    meter.on_train_begin(args, None, None)
    meter.seen([0, 1])
    meter.on_train_end(args, None, None)
    assert (counted[0].tokens, counted[0].supervised) == (7, 2)


def test_samples_are_written_with_their_record_and_only_where_asked(tune, tmp_path, toy_records) -> None:
    tune("none")
    assert not (tmp_path / "none" / "work" / "samples").exists()
    tune("two", sample_prompts=2, max_steps=4)
    files = sorted((tmp_path / "two" / "work" / "samples").iterdir())
    assert [file.name for file in files] == ["step-2.jsonl", "step-4.jsonl"]
    held_out = {row["id"] for row in toy_records if row["split"] == "dev"}
    for file in files:
        said = [json.loads(line) for line in file.read_text().splitlines()]
        assert len(said) == 2
        assert all(entry["record"] in held_out and entry["prompt"] for entry in said)
        assert all(isinstance(entry["answer"], str) and isinstance(entry["ended"], bool) for entry in said)


def test_samples_of_stages_and_of_virtual_tokens_fit_into_the_context(tune, tmp_path) -> None:
    stages = ({"name": "one", "max_steps": 2}, {"name": "two", "max_steps": 2})
    tune("run", method="prompt", virtual_tokens=8, stages=stages, sample_prompts=8, learning_rate=5e-2)
    for name in ("1-one", "2-two"):
        assert (tmp_path / "run" / "work" / name / "samples" / "step-2.jsonl").is_file()


@pytest.fixture
def heard(monkeypatch) -> list[progress.Advance]:
    told: list[progress.Advance] = []
    monkeypatch.setattr(progress, "listeners", [told.append])
    return told


def test_progress_is_told_step_by_step_with_the_time_that_is_left(tune, heard) -> None:
    tune(max_steps=4, logging_steps=2)
    assert sorted({advance.step for advance in heard}) == [0, 1, 2, 3, 4]
    assert all(advance.steps == 4 for advance in heard)
    assert heard[0].seconds_left is None and heard[0].loss is None
    assert heard[2].seconds_left > 0
    assert heard[-1].seconds_left == 0 and heard[-1].loss > 0 and heard[-1].tokens_per_second > 0


def test_a_resumed_training_tells_where_it_goes_on_and_stages_say_their_name(tune, heard, tmp_path) -> None:
    import shutil

    tune("run", stages=({"name": "one", "max_steps": 2}, {"name": "two", "max_steps": 4}))
    assert [advance.stage for advance in heard if advance.step == 1] == ["one", "two"]
    heard.clear()
    shutil.rmtree(tmp_path / "run" / "work" / "2-two" / "checkpoint-4")
    tune("run", stages=({"name": "one", "max_steps": 2}, {"name": "two", "max_steps": 4}))
    assert (heard[0].stage, heard[0].step) == ("two", 2)


def test_a_listener_that_breaks_is_dropped_and_the_training_goes_on(tune, monkeypatch) -> None:
    calls = []

    def broken(advance) -> None:
        calls.append(advance)
        raise ValueError("the terminal is gone")

    monkeypatch.setattr(progress, "listeners", [broken])
    tune(max_steps=2)
    assert len(calls) == 1 and progress.listeners == []


def test_progress_of_another_process_is_followed_through_a_file(heard, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(progress, "PAUSE_S", 0.01)
    path = tmp_path / "progress.json"
    first, last = (progress.Advance("task", step, 10, 4.5, 1.25, None) for step in (3, 10))
    path.write_text(json.dumps(first._replace(step=9)))  # of an earlier attempt
    with progress.followed(path):
        tell = progress.Written(path)
        tell(first)
        while heard != [first]:
            time.sleep(0.01)
        path.write_text("[1, 2")  # not ours to end over
        tell(last)
    assert heard == [first, last]
