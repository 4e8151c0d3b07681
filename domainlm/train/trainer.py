"""The Trainer with this project's loss, batches and guards, and without what costs time at every step."""

from __future__ import annotations

import contextlib
import math
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import torch
from transformers import Trainer

from domainlm.models.attention import is_packed
from domainlm.models.compiling import compiled_layers, compiled_pass, prove_followed
from domainlm.train.batching import LikeLengths
from domainlm.train.checkpoints import SealedCheckpoints
from domainlm.train.development import mean_bits
from domainlm.train.out_of_memory import MicroBatches
from domainlm.train.watch.monitoring import Watch

_NOTHING: list = []  # the Trainer asks for an evaluation set; ours is measured from outside


class CompletionTrainer(SealedCheckpoints, Trainer):
    """Trainer whose every pass is watched, whose looks at the development split count bits per character, and which
    saves adapters without the embedding.

    The loss is the model's own (`domainlm.train.losses.put_inside`): a sum, which is divided here by what the whole
    optimizer step holds, so a batch of 8 equals 8 accumulated batches of 1, whatever the lengths. With `by_record` it
    is divided by records, each weighted as one: a one-word class label counts as much as a long definition.

    Args:
        by_record: whether records count equally; else supervised tokens do.
        compiled: whether the layers run compiled; the first pass is then compared with one that does not.
        measure: bits per character of the development split, by task.
        watch: told every loss, in order; on a GPU a step late, since asking at once would stop the GPU.
        options: the Trainer's own.
    """

    def __init__(
        self,
        *,
        by_record: bool,
        measure: Callable[[], dict[str, float]],
        watch: Watch,
        compiled: bool = False,
        **options: Any,
    ) -> None:
        if options["args"].n_gpu > 1:
            options["args"]._n_gpu = 1  # one process, one device: the Trainer would copy the model to all it sees
        super().__init__(eval_dataset=_NOTHING, **options)
        self._by_record, self._measure, self._watch = by_record, measure, watch
        self._compiled, self._unproved = compiled, compiled
        self._on_their_way: deque[tuple[int, list[int], Callable[[], float]]] = deque()
        self._adapted = [module for module in self.model.modules() if hasattr(module, "cast_input_dtype_enabled")]
        # DeepSpeed counts passes by itself
        alone = self.args.world_size == 1 and not self.is_deepspeed_enabled
        self.micro_batches = MicroBatches(self.model.zero_grad, alone)

    def _get_train_sampler(self, train_dataset=None):
        """The order of an epoch; the Trainer's own where lengths do not matter."""
        rows = self.train_dataset if train_dataset is None else train_dataset
        if self.args.train_sampling_strategy != "group_by_length":
            return super()._get_train_sampler(rows)
        lengths = [len(rows[index]["input_ids"]) for index in range(len(rows))]
        return LikeLengths(lengths, self._train_batch_size, self.args.data_seed, lambda: int(self.state.epoch or 0))

    def _get_num_items_in_batch(self, batch_samples, device):
        """What the loss of an optimizer step is divided by; counted without asking the device."""
        if not batch_samples:
            return None
        count = sum(len(batch["index"]) if self._by_record else batch["targets"].shape[1] for batch in batch_samples)
        if self.args.world_size == 1:
            return count
        return self.accelerator.gather(torch.tensor(count, device=device)).sum()

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """This process's share of the optimizer step's loss."""
        if "targets" not in inputs:  # a head over an encoder has a loss of its own
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        outputs = model(**inputs)
        # every process divides by the records or tokens of all, and averaging gradients divides once more
        loss = outputs.loss / num_items_in_batch * self.accelerator.num_processes
        return (loss, outputs) if return_outputs else loss

    def train(self, *given: Any, **named: Any):
        """Train, through compiled layers where that is asked for."""
        with compiled_layers(self.model) if self._compiled else contextlib.nullcontext():
            return super().train(*given, **named)

    def training_step(self, model, inputs, num_items_in_batch=None):
        """One forward and backward pass, shown to the watch.

        In place of the parent's: that walks over all modules at every pass to say that they are being trained, and
        asks at every pass about ways of running that do not occur here.
        """
        index = inputs.pop("index")
        if not self.model.training:  # a look at the development split leaves it so
            model.train()
        step = self.state.global_step + 1
        loss = self.micro_batches(step, inputs, lambda batch: self._pass(model, batch, num_items_in_batch))
        self._note(step, index if isinstance(index, list) else index.tolist(), loss)
        return loss

    def _pass(self, model, inputs, num_items_in_batch) -> torch.Tensor:
        inputs = self._prepare_inputs(inputs)
        self._scale_noise(inputs)
        with compiled_pass(self.model) if self._compiled else contextlib.nullcontext(), self._inputs_as_they_are():
            with self.compute_loss_context_manager():
                loss, outputs = self.compute_loss(model, inputs, True, num_items_in_batch)
            if self._unproved and "targets" in inputs:
                prove_followed(self.model, inputs, outputs.loss.detach(), self._is_noisy())
                self._unproved = False
            self.accelerator.backward(loss, **({"scale_wrt_gas": False} if self.is_deepspeed_enabled else {}))
        return loss.detach()

    @contextlib.contextmanager
    def _inputs_as_they_are(self) -> Iterator[None]:
        """Under mixed precision peft lifts each input to 32 bits and autocast brings it back: both for nothing."""
        layers = self._adapted if self.args.bf16 or self.args.fp16 else []
        for layer in layers:
            layer.cast_input_dtype_enabled = False
        try:
            yield
        finally:
            for layer in layers:
                layer.cast_input_dtype_enabled = True

    def _scale_noise(self, inputs: dict[str, Any]) -> None:
        """NEFTune's noise shrinks with the root of a line's length; a packed line is as long as all its rows."""
        if self.neftune_noise_alpha and is_packed(mask := inputs.get("attention_mask")):
            rows = mask.shape[-1] - 1
            self.model.get_input_embeddings().neftune_noise_alpha = self.neftune_noise_alpha * math.sqrt(rows)

    def _is_noisy(self) -> bool:
        dropouts = [module.p for module in self.model.modules() if isinstance(module, torch.nn.Dropout)]
        return bool(self.neftune_noise_alpha) or any(dropouts)

    def _note(self, step: int, index: list[int], loss: torch.Tensor) -> None:
        self._on_their_way.append((step, index, _later(loss)))
        self._tell_watch(step if loss.is_cuda else step + 1)

    def _tell_watch(self, before: int) -> None:
        """Show the watch the losses of all steps before one; by now they have come from the GPU."""
        while self._on_their_way and self._on_their_way[0][0] < before:
            step, index, value = self._on_their_way.popleft()
            self._watch.batch(step, index, value())

    def _settle(self) -> None:
        self._tell_watch(self.state.global_step + 2)
        self._watch.complete()

    def _save_checkpoint(self, model, trial):
        """Save only what the watch has seen to be sound."""
        self._settle()
        super()._save_checkpoint(model, trial)

    def _finalize_training(self, *given):
        self._settle()
        return super()._finalize_training(*given)

    def floating_point_ops(self, inputs) -> int:
        """Not counted here: the parent walks over all parameters at every pass, and is wrong for LoRA."""
        return 0

    def evaluate(self, eval_dataset=None, ignore_keys=None, metric_key_prefix="eval") -> dict[str, float]:
        """Bits per character of the development split: the mean over its tasks, and each task's."""
        by_task = self._measure()
        metrics = {f"{metric_key_prefix}_bits_per_character": mean_bits(by_task)}
        metrics |= {f"{metric_key_prefix}_bits_per_character_{task}": value for task, value in by_task.items()}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        if not self.args.should_save or not hasattr(self.model, "peft_config"):
            return super()._save(output_dir, state_dict)
        # "auto" would ask the hub for the base's vocabulary size, and save the whole embedding once it has grown
        return self.model.save_pretrained(output_dir, state_dict=state_dict, save_embedding_layers=False)


def _later(loss: torch.Tensor) -> Callable[[], float]:
    """The loss as a number, once it is asked for; on a GPU its copy to the host is begun and nothing waits for it."""
    if not loss.is_cuda:
        return loss.item
    host = torch.empty_like(loss, device="cpu", pin_memory=True)
    host.copy_(loss, non_blocking=True)
    arrived = torch.cuda.Event()
    arrived.record()

    def value() -> float:
        arrived.synchronize()
        return host.item()

    return value
