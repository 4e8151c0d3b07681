"""What a Trainer does differently when it is one of several: whose rows these are, what stands around the model, and
how a sharded model's checkpoints are written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.distributed.checkpoint as sharded
from accelerate.data_loader import SeedableRandomSampler
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor
from torch.utils.data import BatchSampler, DataLoader, RandomSampler

from domainlm.train.processes.distributed import FSDP2, check_wrapper, on_first, world

IDLE = -1  # the number of a row that is read only to keep step with the others: it counts for nothing
WEIGHTS, OPTIMIZER, SCHEDULER = "sharded_weights", "sharded_optimizer", "scheduler.pt"


class Part(BatchSampler):
    """One process's part of each batch that a single process would have read.

    Process r of n takes rows r, r + n, ... of it, so that all n together do exactly what one process with n times the
    batch does: in the same order, each row once. (accelerate's own division fills the last batches with rows from the
    beginning, which then count twice.) Where fewer rows than processes are left, those without one read an idle row.

    Args:
        batches: the batches of one process; the first process draws them, since their order may depend on its random
            state, and tells the others once an epoch.
        rank, size: this process among how many.
    """

    def __init__(self, batches: BatchSampler, rank: int, size: int) -> None:
        self._batches, self._rank, self._size = batches, rank, size

    def set_epoch(self, epoch: int) -> None:
        """The next pass is this one: a resumed training draws its order as the uninterrupted one did."""
        for found in (self._batches, self._batches.sampler):
            if hasattr(found, "set_epoch"):
                found.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[list[int]]:
        for batch in on_first(lambda: list(self._batches)):
            yield batch[self._rank :: self._size] or [IDLE]


class Loader(DataLoader):
    """A loader that hands the epoch on, as the Trainer expects of one."""

    def set_epoch(self, epoch: int) -> None:
        """The next pass is this one."""
        self.batch_sampler.set_epoch(epoch)


class Told:
    """A look at the development split that all take, since a sharded model needs all, and whose outcome is the first's:
    early stopping must not stop one process and not another."""

    def __init__(self, look: Callable[[], dict[str, float]]) -> None:
        self._look = look

    def __call__(self) -> dict[str, float]:
        found = self._look()
        return on_first(lambda: found)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._look, name)


class ManyProcesses:
    """Mixed into a Trainer: `class Ours(ManyProcesses, CompletionTrainer)`."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._idle, self._own_mean = False, 1.0
        self._measure = Told(self._measure)
        # the Trainer's own word for a model that is sharded before it comes: it is not wrapped a second time. Set only
        # now, since it would refuse to be resumed; here it can be.
        self.is_distributed_loading_by_transformers = world().strategy == FSDP2

    # ---- rows

    def get_train_dataloader(self) -> DataLoader:
        """This process's part of the batches that one process would read."""
        size = self._train_batch_size * world().size
        with self._as_one_process():
            sampler = self._get_train_sampler()
        if type(sampler) is RandomSampler:  # what accelerate makes of it for one process, so that the order is the same
            sampler = SeedableRandomSampler(self.train_dataset, data_seed=self.args.data_seed)
        batches = BatchSampler(sampler, size, drop_last=False)
        return Loader(
            self.train_dataset,
            batch_sampler=Part(batches, world().rank, world().size),
            collate_fn=self.data_collator,
            num_workers=self.args.dataloader_num_workers,
            pin_memory=self.args.dataloader_pin_memory,
            persistent_workers=self.args.dataloader_persistent_workers,
            prefetch_factor=self.args.dataloader_prefetch_factor,
        )

    @contextmanager
    def _as_one_process(self) -> Iterator[None]:
        """Samplers that group by length do it within what an optimizer step takes: of all processes together."""
        own, given = self._train_batch_size, self.args.per_device_train_batch_size
        self._train_batch_size, self.args.per_device_train_batch_size = own * world().size, given * world().size
        try:
            yield
        finally:
            self._train_batch_size, self.args.per_device_train_batch_size = own, given

    def _get_num_items_in_batch(self, batch_samples, device):
        """Idle rows hold nothing."""
        nothing = {"index": [], "targets": torch.empty(3, 0), "labels": torch.empty(0)}
        batches = [nothing if IDLE in batch["index"] else batch for batch in batch_samples]
        total = super()._get_num_items_in_batch(batches, device)
        own = sum(len(batch["index"]) if self._by_record else batch["targets"].shape[1] for batch in batches)
        self._own_mean = total / (own * world().size) if own else 0.0
        return total

    def training_step(self, model, inputs, num_items_in_batch=None):
        """One forward and backward pass; an idle one computes with the others and adds nothing."""
        self._idle = IDLE in inputs["index"]
        return super().training_step(model, inputs, num_items_in_batch)

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """This process's share of the optimizer step's loss."""
        found = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        if not self._idle:
            return found
        return (found[0] * 0.0, found[1]) if return_outputs else found * 0.0

    def _note(self, step, index, loss):
        """The watch sees the mean over this process's own rows: its share of the sum says how many it has, too."""
        if not self._idle:
            super()._note(step, index, loss * self._own_mean)

    # ---- random numbers and wrapper

    def _prepare_for_training(self, max_steps, train_dataloader, resume_from_checkpoint):
        # each process its own dropout and noise; the first keeps the stream that a single one would have
        if world().rank:
            torch.manual_seed(self.args.seed + 1_000_003 * world().rank)
        found = super()._prepare_for_training(max_steps, train_dataloader, resume_from_checkpoint)
        check_wrapper(self.model_wrapped)
        return found

    def _move_model_to_device(self, model, device):
        if not isinstance(model, FSDPModule):  # that one lies where it belongs
            super()._move_model_to_device(model, device)

    @contextmanager
    def _defer_fsdp_gradient_reduction(self) -> Iterator[None]:
        """Between the passes of an optimizer step only adapters wait: gradients of all weights would not fit whole."""
        self.model.set_requires_gradient_sync(not hasattr(self.model, "peft_config"))
        try:
            yield
        finally:
            self.model.set_requires_gradient_sync(True)

    def _clip_grad_norm(self, model):
        return _full(super()._clip_grad_norm(model))

    def _get_grad_norm(self, model, grad_norm=None):
        return _full(super()._get_grad_norm(model, grad_norm))

    # ---- checkpoints of a sharded model: each process writes its own shards, and any number of processes reads them

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        if not self._sharded:
            super()._save(output_dir, state_dict)
            return
        sharded.save(self._trained(), checkpoint_id=Path(output_dir) / WEIGHTS)

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        if not self._sharded:
            super()._save_optimizer_and_scheduler(output_dir)
            return
        sharded.save(self._optimizer_state(), checkpoint_id=Path(output_dir) / OPTIMIZER)
        if self.args.should_save:
            torch.save(self.lr_scheduler.state_dict(), Path(output_dir) / SCHEDULER)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        if not self._sharded:
            super()._load_from_checkpoint(resume_from_checkpoint, model)
            return
        sharded.load(self._trained(), checkpoint_id=Path(resume_from_checkpoint) / WEIGHTS)  # in place

    def _load_best_model(self) -> None:
        if not self._sharded:
            super()._load_best_model()
            return
        self._load_from_checkpoint(self.state.best_model_checkpoint)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if not self._sharded:
            super()._load_optimizer_and_scheduler(checkpoint)
            return
        state = self._optimizer_state()
        sharded.load(state, checkpoint_id=Path(checkpoint) / OPTIMIZER)
        set_optimizer_state_dict(self.model, self.optimizer.optimizer, state, options=_TRAINED_ONLY)
        self.lr_scheduler.load_state_dict(torch.load(Path(checkpoint) / SCHEDULER, weights_only=True))

    @property
    def _sharded(self) -> bool:
        return world().strategy == FSDP2

    def _trained(self) -> dict[str, torch.Tensor]:
        return {
            name: parameter.detach() for name, parameter in self.model.named_parameters() if parameter.requires_grad
        }

    def _optimizer_state(self) -> dict[str, Any]:
        return get_optimizer_state_dict(self.model, self.optimizer.optimizer, options=_TRAINED_ONLY)


_TRAINED_ONLY = StateDictOptions(ignore_frozen_params=True)


def _full(norm: Any) -> Any:
    return norm.full_tensor() if isinstance(norm, DTensor) else norm
