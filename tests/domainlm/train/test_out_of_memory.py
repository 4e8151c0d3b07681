"""A pass that runs out of memory is halved: the same records, the same optimizer steps, the same curve."""

from __future__ import annotations

import json

import pytest
import torch

from domainlm.errors import TrainingError
from domainlm.train.batching import EndToEnd, RightPadding, Rows
from domainlm.train.heads import LabelPadding
from domainlm.train.out_of_memory import MicroBatches, is_out_of_memory, named, pieces, row_count, smaller_batches
from domainlm.train.trainer import CompletionTrainer

ROWS = [([3, 4], [5, 1]), ([6], [7, 8, 9, 1]), ([3, 3, 3], [1]), ([9, 8], [7, 6, 1]), ([4], [1])]


def _batch(collator):
    data = Rows(ROWS)
    return collator([data[number] for number in range(len(ROWS))])


def _wanted(batch) -> list[tuple[int, int, float]]:
    """Per supervised token: the token that is read at the asked place, the wanted one, and its weight."""
    lines, places, wanted = batch["targets"].tolist()
    ids, weights = batch["input_ids"], batch.get("weights", torch.ones(len(wanted))).tolist()
    return [
        (ids[line, place].item(), token, weight)
        for line, place, token, weight in zip(lines, places, wanted, weights, strict=True)
    ]


@pytest.mark.parametrize("collator", [RightPadding(2), RightPadding(2, by_record=True, masked=True), EndToEnd(True)])
@pytest.mark.parametrize("rows", [1, 2, 3, 4])
def test_pieces_ask_for_the_same_tokens_at_the_same_places(collator, rows) -> None:
    batch = _batch(collator)
    cut = list(pieces(batch, rows))
    assert [row_count(piece) for piece in cut] == [min(rows, 5 - start) for start in range(0, 5, rows)]
    assert [entry for piece in cut for entry in _wanted(piece)] == _wanted(batch)
    assert all(set(piece) == set(batch) - {"index"} | ({"index"} & set(piece)) for piece in cut)


def test_a_packed_piece_is_what_packing_its_rows_gives() -> None:
    data = Rows(ROWS)
    first, second = pieces(_batch(EndToEnd(True)), 3)
    for piece, numbers in ((first, range(3)), (second, range(3, 5))):
        packed = EndToEnd(True)([data[number] for number in numbers])
        assert all(torch.equal(piece[name], packed[name]) for name in piece)


def test_pieces_of_a_classification_keep_each_text_with_its_label() -> None:
    rows = [{"input_ids": [number] * number, "labels": number, "index": number} for number in range(1, 6)]
    for piece in pieces(LabelPadding(0)(rows), 2):
        assert (piece["input_ids"][:, 0] == piece["labels"]).all() and len(piece["attention_mask"]) == len(
            piece["labels"]
        )


def test_a_batch_that_is_small_enough_stays_whole() -> None:
    batch = _batch(EndToEnd())
    for rows in (None, 5, 9):
        (same,) = pieces(batch, rows)
        assert same == batch and same is not batch


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), True),
        (MemoryError(), True),
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
            True,
        ),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_only_a_lack_of_memory_counts_as_one(error, expected) -> None:
    assert is_out_of_memory(error) is expected


def test_the_cpu_allocator_is_recognised_by_what_it_really_says() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)


class _Small:
    """A device on which passes of more than so many rows run out of memory, half-way through their backward pass."""

    def __init__(self, monkeypatch, most: int, after: int = 0) -> None:
        self.most, self.after, self.failed, self.passes = most, after, 0, []
        whole = CompletionTrainer._pass

        def one_pass(trainer, model, inputs, count):
            rows = row_count(inputs)
            if rows > self.most and trainer.state.global_step >= self.after:
                self.failed += 1
                whole(trainer, model, inputs, count)  # gradients are there, and must go
                raise torch.OutOfMemoryError("CUDA out of memory")
            self.passes.append((trainer.state.global_step, rows))
            return whole(trainer, model, inputs, count)

        monkeypatch.setattr(CompletionTrainer, "_pass", one_pass)


@pytest.mark.parametrize("changes", [{}, {"gradient_accumulation": 3, "batch_size": 5}, {"batching": "packed"}])
def test_the_curve_is_that_of_an_undisturbed_training(tune, monkeypatch, changes) -> None:
    _, undisturbed = tune("whole", **changes)
    device = _Small(monkeypatch, most=3, after=2)
    _, report = tune("halved", **changes)
    assert device.failed >= 1 and max(rows for step, rows in device.passes if step > 2) <= 3
    for mine, other in zip(report.curve, undisturbed.curve, strict=True):
        assert mine == pytest.approx(other, rel=2e-4)
    assert report.stages == [
        stage.model_copy(update={"loss": pytest.approx(stage.loss, rel=2e-4), "dev_bits_per_character": mood})
        for stage, mood in zip(
            undisturbed.stages,
            [pytest.approx(s.dev_bits_per_character, rel=2e-3) for s in undisturbed.stages],
            strict=True,
        )
    ]
    assert report.recipe == undisturbed.recipe


def test_no_record_is_lost_or_shown_to_the_watch_twice(tune, monkeypatch) -> None:
    from domainlm.train.watch.monitoring import Watch

    seen: dict[str, list] = {}

    def record(name: str):
        original = Watch.batch

        def batch(watch, step, index, loss):
            seen.setdefault(name, []).append((step, sorted(index)))
            return original(watch, step, index, loss)

        return batch

    with monkeypatch.context() as patched:
        patched.setattr(Watch, "batch", record("whole"))
        tune("whole", gradient_accumulation=2)
    device = _Small(monkeypatch, most=2, after=1)
    monkeypatch.setattr(Watch, "batch", record("halved"))
    tune("halved", gradient_accumulation=2)
    assert device.failed == 2  # 8 -> 4 -> 2, once
    assert seen["halved"] == seen["whole"]


def test_gradients_of_the_failed_pass_do_not_count(monkeypatch) -> None:
    """Exactly, not nearly: the sum over rows of numbers that floats hold exactly."""
    weight = torch.nn.Parameter(torch.zeros(1))
    micro_batches = MicroBatches(lambda: setattr(weight, "grad", None))
    batches = [{"input_ids": torch.tensor([[1.0], [2.0], [4.0], [8.0]])}, {"input_ids": torch.tensor([[16.0]] * 3)}]

    def one_pass(batch):
        loss = (weight * batch["input_ids"]).sum()
        loss.backward()
        if len(batch["input_ids"]) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return loss.detach()

    for batch in batches:
        micro_batches(1, batch, one_pass)
    assert weight.grad.item() == 15 + 48 and micro_batches.rows == 2


def test_a_failure_in_a_later_micro_batch_takes_the_earlier_ones_again() -> None:
    weight = torch.nn.Parameter(torch.zeros(1))
    micro_batches = MicroBatches(lambda: setattr(weight, "grad", None))
    taken = []

    def one_pass(batch):
        rows = batch["input_ids"]
        taken.append(rows[:, 0].tolist())
        (weight * rows).sum().backward()
        if len(rows) == 4 and rows[0] == 5:
            raise MemoryError
        return rows.sum()

    micro_batches(1, {"input_ids": torch.tensor([[1.0], [2.0], [3.0], [4.0]])}, one_pass)
    loss = micro_batches(1, {"input_ids": torch.tensor([[5.0], [6.0], [7.0], [8.0]])}, one_pass)
    assert loss == 26 and weight.grad.item() == 36
    assert taken == [[1, 2, 3, 4], [5, 6, 7, 8], [1, 2], [3, 4], [5, 6], [7, 8]]


def test_one_record_that_does_not_fit_is_an_error_that_says_what_would(tune, monkeypatch) -> None:
    _Small(monkeypatch, most=0)
    with pytest.raises(TrainingError, match="with a single record") as error:
        tune("run", batch_size=4)
    assert "gradient_checkpointing: true" in str(error.value) and "what would fit" in str(error.value)


def test_another_error_of_a_pass_stays_what_it_is(tune, monkeypatch) -> None:
    def broken(*_):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(CompletionTrainer, "_pass", broken)
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        tune("run")


def test_several_processes_stop_instead_of_waiting_for_each_other() -> None:
    micro_batches = MicroBatches(lambda: None, alone=False)

    def one_pass(_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(TrainingError, match="the others wait for it") as error:
        micro_batches(7, _batch(RightPadding(2)), one_pass)
    assert "batch_size of 2" in error.value.remedy


def test_what_was_halved_stays_halved_after_an_interruption(tune, tmp_path, monkeypatch) -> None:
    """The plan remembers: the second attempt does not run into the wall again, and ends where the first would have."""
    _, undisturbed = tune("whole", max_steps=6)
    device = _Small(monkeypatch, most=3)
    tune("run", max_steps=6)
    plan = json.loads((tmp_path / "run" / "work" / "plan.json").read_text())
    assert (plan["micro_batch"], plan["accumulation"]) == (2, 4)
    assert device.failed == 2  # 8 -> 4 -> 2
    for checkpoint in (tmp_path / "run" / "work").glob("checkpoint-6"):
        for file in checkpoint.iterdir():
            file.unlink()
        checkpoint.rmdir()
    _, resumed = tune("run", max_steps=6)
    assert device.failed == 2
    assert resumed.curve[-1] == pytest.approx(undisturbed.curve[-1], rel=2e-4)


def test_scoring_is_halved_too_and_says_when_nothing_fits() -> None:
    asked = []

    def score(batch: int) -> int:
        asked.append(batch)
        if batch > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return batch

    assert smaller_batches(score, 16) == 2 and asked == [16, 8, 4, 2]

    def never(batch: int) -> None:
        raise MemoryError

    with pytest.raises(TrainingError, match="a single record"):
        smaller_batches(never, 4)


def test_where_nothing_can_be_halved_the_error_has_a_name() -> None:
    with (
        pytest.raises(TrainingError, match="out of memory while the base was loaded"),
        named("while the base was loaded"),
    ):
        raise torch.OutOfMemoryError("CUDA out of memory")
    with pytest.raises(RuntimeError, match="something else"), named("while the base was loaded"):
        raise RuntimeError("something else")
