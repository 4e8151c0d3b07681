"""Two processes do what one does with twice the batch: gradients, order, early stopping, resuming; DDP on gloo."""

from __future__ import annotations

import json

import pytest
import torch
from many_trainings import GRADIENT_TOLERANCE, LOSS_TOLERANCE, WEIGHTS_TOLERANCE, distance, recipe, weights


def start_of(name: str, tiny_base, plain_tokenizer) -> dict[str, torch.Tensor]:
    """The adapter before the first step."""
    from domainlm.models.runtime import reproducible
    from domainlm.train.methods import prepare

    settings, _ = recipe(name, 1)
    with reproducible(settings.seed, settings.threads):
        model = prepare(tiny_base, plain_tokenizer, settings).model
    trained = {key: value.detach().clone() for key, value in model.named_parameters() if value.requires_grad}
    return {key.replace(".default", ""): value for key, value in trained.items()}


def learned_tokens(name: str, records, tasks, tiny_base, plain_tokenizer) -> list[int]:
    """How many tokens the loss counts in each row."""
    from domainlm.models.loading import load_base
    from domainlm.train.mixture import examples
    from domainlm.train.rows import tokenize

    settings, _ = recipe(name, 1)
    model, tokenizer = load_base(tiny_base, plain_tokenizer, "none")
    rows = tokenize(examples(records, "train", tasks, settings), tokenizer, model, settings).rows
    return [len(tail) for _, tail in rows]


@pytest.mark.parametrize("name", ["gradient", "gradient_by_record"])
@pytest.mark.parametrize("strategy", ["ddp", "fsdp2"])
def test_the_gradient_of_two_processes_is_the_gradient_of_one(
    strategy, name, two_processes, one_process, tiny_base, plain_tokenizer, toy_records, toy_tasks
) -> None:
    """Though the processes hold unlike numbers of tokens: a mean of their means would be another gradient.

    After one step of plain descent with rate 1 the weights have lost just the gradient.
    """
    one, _ = one_process(name)
    start, wanted = start_of(name, tiny_base, plain_tokenizer), weights(one.path)
    found = weights(two_processes / f"{strategy}_{name}" / "adapter")
    gradient = {key: start[key] - value for key, value in wanted.items()}
    assert max(value.abs().max() for value in gradient.values()) > 1e-3
    assert distance({key: start[key] - value for key, value in found.items()}, gradient) < GRADIENT_TOLERANCE
    lengths = learned_tokens(name, toy_records, toy_tasks, tiny_base, plain_tokenizer)
    read = [rows_by_step(two_processes, f"{strategy}_{name}", rank)[1] for rank in (0, 1)]
    assert sum(lengths[row] for row in read[0]) != sum(lengths[row] for row in read[1])


@pytest.mark.parametrize("name", ["qlora", "stopped_early", "curriculum"])
def test_the_course_of_two_processes_is_the_course_of_one(name, two_processes, one_process, outcome) -> None:
    """Whole epochs grouped by length, early stopping by the development split, and stages one after another."""
    adapter, report = one_process(name)
    told = outcome(f"ddp_{name}")["report"]
    wanted = report.model_dump(mode="json")
    assert told["steps"] == wanted["steps"]
    for found, point in zip(told["curve"], wanted["curve"], strict=True):
        assert found == pytest.approx(point, rel=LOSS_TOLERANCE)
    for found, stage in zip(told["stages"], wanted["stages"], strict=True):
        assert found["dev_bits_per_character"] == pytest.approx(stage["dev_bits_per_character"], rel=LOSS_TOLERANCE)
        assert found["stopped_early"] == stage["stopped_early"] == (name == "stopped_early")
    assert distance(weights(two_processes / f"ddp_{name}" / "adapter"), weights(adapter.path)) < WEIGHTS_TOLERANCE


def rows_by_step(place, name: str, rank: int) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for step, rows in json.loads((place / f"{name}.rows.{rank}.json").read_text()):
        found.setdefault(step, []).extend(rows)
    return found


@pytest.mark.parametrize("strategy", ["ddp", "fsdp2"])
def test_each_row_is_read_by_one_process_once_an_epoch(strategy, two_processes, outcome) -> None:
    """Also where the last step has one row for two processes: the other one is idle."""
    first, second = (rows_by_step(two_processes, f"{strategy}_qlora", rank) for rank in (0, 1))
    rows = outcome(f"{strategy}_qlora")["report"]["stages"][0]["examples"]
    half = len(first) // 2
    assert sorted(first) == list(range(1, 2 * half + 1))
    for epoch in (range(1, half + 1), range(half + 1, 2 * half + 1)):
        read = [row for step in epoch for row in first[step] + second.get(step, [])]
        assert sorted(read) == list(range(rows))
        assert len(first[epoch[-1]]) == 1 and epoch[-1] not in second


def test_processes_draw_random_numbers_of_their_own(two_processes) -> None:
    """Else all would drop the same places of their rows."""
    folder = two_processes / "ddp_dropout" / "work" / "checkpoint-8"
    first, second = (torch.load(folder / f"rng_state_{rank}.pth", weights_only=False)["cpu"] for rank in (0, 1))
    assert not torch.equal(first, second)


@pytest.mark.parametrize("name", ["ddp_dropout", "fsdp2_dropout", "fsdp2_full", "fsdp2_qlora"])
def test_a_training_that_was_broken_off_goes_on_bit_for_bit(name, outcome) -> None:
    again = outcome(f"{name}_again")
    assert again["kept"][-1] == "checkpoint-4"
    assert again["digest"] == outcome(name)["digest"]


@pytest.mark.parametrize(("strategy", "wrapper"), [("ddp", "DDP"), ("fsdp2", "FSDP2")])
def test_the_wrapper_that_ran_stands_in_the_account(strategy, wrapper, outcome) -> None:
    told = outcome(f"{strategy}_gradient")["throughput"]
    assert (told["wrapper"], told["world_size"]) == (wrapper, 2)


def test_one_process_has_no_wrapper(one_process, two_processes) -> None:
    one_process("gradient")
    told = json.loads((two_processes / "one_gradient" / "work" / "throughput.json").read_text())
    assert (told["wrapper"], told["world_size"]) == ("none", 1)


def test_only_the_first_process_writes_checkpoints_marker_and_adapter(two_processes) -> None:
    folder = two_processes / "ddp_dropout" / "work"
    assert sorted(path.name for path in folder.glob("checkpoint-*")) == ["checkpoint-6", "checkpoint-8"]
    states = sorted(path.name for path in (folder / "checkpoint-8").glob("rng_state*"))
    assert states == ["rng_state_0.pth", "rng_state_1.pth"]
    marked = json.loads((folder / "checkpoint-8" / "complete.json").read_text())
    assert set(states) <= set(marked)
