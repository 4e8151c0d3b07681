"""A pass that runs out of memory is taken again in halves, and the training goes on with the same optimizer step.

The estimate before a training (`domainlm.train.planner`) can be wrong: another process takes memory, an allocator
leaves gaps. An error in the middle of a backward pass leaves gradients half done, so the optimizer step that it belongs
to is begun again: gradients are cleared, and each of its micro-batches is read again in pieces of half as many rows.
The loss is divided by what the whole optimizer step holds, so pieces add up to the same gradient: no record is lost or
counted twice, the effective batch stays, no checkpoint is needed. Later micro-batches are cut so from the beginning.
"""

from __future__ import annotations

import gc
import itertools
import json
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from domainlm.errors import TrainingError
from domainlm.train import planner

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig

    from domainlm.train.settings import TrainSettings

Found = TypeVar("Found")
Batch = dict[str, Any]

# CUDA's allocator has a class of its own; its libraries and the CPU's allocator say it in words
_WORDS = (
    "out of memory",
    "can't allocate memory",
    "cannot allocate memory",
    "not enough memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUBLAS_STATUS_NOT_INITIALIZED",
)
_REMEDY = "set gradient_checkpointing: true, a smaller max_length or rank, fewer bits, or take a smaller base"

_log = logging.getLogger(__name__)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that a device or the host has no memory left."""
    import torch

    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _WORDS)


class MicroBatches:
    """Takes micro-batches whole as long as they fit, and in pieces from then on.

    Args:
        restart: clears the gradients of the optimizer step.
        alone: whether this is the only process; among several, the others wait for gradients of passes that they never
            hear of, so there a lack of memory ends the training.
        remedy: says what would fit, where one row does not.
        smaller: told the rows of a pass from now on.
    """

    def __init__(
        self,
        restart: Callable[[], None],
        alone: bool = True,
        remedy: Callable[[], str] = lambda: _REMEDY,
        smaller: Callable[[int], None] = lambda rows: None,
    ) -> None:
        self._restart, self._alone, self.remedy, self.smaller = restart, alone, remedy, smaller
        self._step = -1
        self._before: list[Batch] = []  # micro-batches of this optimizer step whose gradients are there
        self.rows: int | None = None  # of one pass at most; None: as they come

    def __call__(self, step: int, batch: Batch, one_pass: Callable[[Batch], torch.Tensor]) -> torch.Tensor:
        """The loss of a micro-batch, whose gradients are added to those of its optimizer step.

        Args:
            step: the number of the optimizer step.
            batch: the micro-batch, on the host.
            one_pass: a forward and a backward pass; gives its share of the step's loss.

        Raises:
            TrainingError: not even one row fits, or there are other processes.
        """
        if step != self._step:
            self._step, self._before = step, []
        again: list[Batch] = []
        while True:
            try:
                for earlier in again:
                    self._in_pieces(earlier, one_pass)
                loss = self._in_pieces(batch, one_pass)
                break
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                rows = self._rows_of(batch)
            # out of the handler the failed pass's tensors are free
            self._halve(rows)
            release()
            self._restart()
            again = self._before
        self._before.append(batch)
        return loss

    def _in_pieces(self, batch: Batch, one_pass: Callable[[Batch], torch.Tensor]) -> torch.Tensor:
        return sum(one_pass(piece) for piece in pieces(batch, self.rows))

    def _rows_of(self, batch: Batch) -> int:
        largest = max(map(row_count, [*self._before, batch]))
        return min(largest, self.rows or largest)

    def _halve(self, rows: int) -> None:
        if not self._alone:
            raise TrainingError(
                f"a process ran out of memory at step {self._step}, and the others wait for it",
                "steps.train.parameters.batch_size",
                f"start again with a batch_size of {max(1, rows // 2)} and twice the gradient_accumulation;"
                " it goes on from its newest checkpoint",
            )
        if rows == 1:
            raise TrainingError(
                f"out of memory at step {self._step} with a single record", "steps.train.parameters", self.remedy()
            )
        self.rows = rows // 2
        _log.warning("out of memory at step %s: passes of at most %s records from now on", self._step, self.rows)
        self.smaller(self.rows)


def know(micro_batches: MicroBatches, config: PretrainedConfig, settings: TrainSettings, work: Path) -> None:
    """Tell a training's micro-batches what would fit where one row does not, and where its plan lies.

    Args:
        micro_batches: of its Trainer.
        config: the model's.
        settings: the stage's recipe.
        work: the stage's folder; the plan lies there or, for a curriculum, above.
    """
    import torch

    gpu = torch.cuda.is_available()
    plan = next((file for file in (work / planner.FILE, work.parent / planner.FILE) if file.is_file()), None)
    micro_batches.remedy = lambda: planner.after_all(config, settings, gpu)
    if plan is not None:
        micro_batches.smaller = note_in_plan(plan, settings.batch_size * settings.gradient_accumulation)


def release() -> None:
    """Give back what nothing holds any more."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def smaller_batches(work: Callable[[int], Found], batch: int) -> Found:
    """What a piece of work without gradients gives, with half the batch as often as memory asks for it.

    Raises:
        TrainingError: not even a batch of 1 fits.
    """
    while True:
        try:
            return work(batch)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        if batch == 1:
            raise TrainingError("out of memory while a single record was scored", "steps.train.parameters", _REMEDY)
        batch //= 2
        release()
        _log.warning("out of memory while scoring: batches of %s from now on", batch)


@contextmanager
def named(what: str, remedy: Callable[[], str] = lambda: _REMEDY) -> Iterator[None]:
    """Where nothing can be halved, a lack of memory is an error with a name.

    Raises:
        TrainingError: memory ran out inside.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, TrainingError) or not is_out_of_memory(error):
            raise
        raise TrainingError(f"out of memory {what}", "steps.train.parameters", remedy()) from None


def note_in_plan(plan: Path, effective: int) -> Callable[[int], None]:
    """Writes smaller passes into the plan of a training, so that it goes on with them after an interruption.

    Args:
        plan: the plan's file.
        effective: records of an optimizer step.
    """

    def smaller(rows: int) -> None:
        content = json.loads(plan.read_text())
        micro = max(size for size in range(1, rows + 1) if effective % size == 0)
        content |= {"micro_batch": micro, "accumulation": effective // micro}
        content["reasons"] = [*content.get("reasons", []), f"out of memory: micro-batches of {micro}"]
        draft = plan.with_suffix(".draft")
        draft.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")
        os.replace(draft, plan)

    return smaller


# --------------------------------------------------------------------------------------------- a batch in pieces


def row_count(batch: Batch) -> int:
    """Rows of a batch, padded or packed."""
    return len(_bounds(batch)) - 1 if _packed(batch) else len(batch["input_ids"])


def pieces(batch: Batch, rows: int | None) -> Iterator[Batch]:
    """A batch in pieces of at most so many rows, in order; the batch itself where it is no larger.

    Args:
        batch: as `domainlm.train.batching` or `domainlm.train.heads` make it.
        rows: of a piece; None: all.
    """
    if rows is None or rows >= (total := row_count(batch)):  # a packed one on a GPU is asked only where it must be
        yield dict(batch)
        return
    for start in range(0, total, rows):
        yield _packed_rows(batch, start, start + rows) if _packed(batch) else _padded_rows(batch, start, start + rows)


def _packed(batch: Batch) -> bool:
    from domainlm.models.attention import is_packed

    return is_packed(batch.get("attention_mask"))


def _bounds(batch: Batch) -> list[int]:
    return batch["attention_mask"][0, 0, 0].tolist()


def _padded_rows(batch: Batch, start: int, stop: int) -> Batch:
    """Some lines of a padded batch; places count from a line's end, so they stay as they are."""
    piece = {name: value[start:stop] for name, value in batch.items() if name not in ("targets", "weights")}
    if "targets" in batch:
        lines = batch["targets"][0]
        wanted = (lines >= start) & (lines < stop)
        piece["targets"] = batch["targets"][:, wanted].clone()
        piece["targets"][0] -= start
        if "weights" in batch:
            piece["weights"] = batch["weights"][wanted]
    return piece


def _packed_rows(batch: Batch, start: int, stop: int) -> Batch:
    """Some rows of a packed line, as a line of their own."""
    from domainlm.models.attention import bounds_mask, restarting_positions

    bounds = _bounds(batch)
    ends = bounds[start : stop + 1]
    first, last, total = ends[0], ends[-1], bounds[-1]
    lengths = [end - begin for begin, end in itertools.pairwise(ends)]
    places = batch["targets"][1] + total  # from the line's beginning
    wanted = (places >= first) & (places < last)
    piece = {
        "input_ids": batch["input_ids"][:, first:last],
        "attention_mask": bounds_mask(lengths),
        "position_ids": restarting_positions(lengths),
        "targets": batch["targets"][:, wanted].clone(),
    }
    piece["targets"][1] += total - last  # counted from the end of the shorter line
    if "weights" in batch:
        piece["weights"] = batch["weights"][wanted]
    return piece
