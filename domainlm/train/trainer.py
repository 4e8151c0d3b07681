"""The Trainer with this project's loss, batches and guards."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.nn.functional import cross_entropy
from transformers import Trainer

from domainlm.train.checkpoints import SealedCheckpoints
from domainlm.train.development import mean_bits
from domainlm.train.monitoring import Watch

IGNORED = -100
_NOTHING: list = []  # the Trainer asks for an evaluation set; ours is measured from outside


class Rows(torch.utils.data.Dataset):
    """Tokenized examples, with their index for messages and their length for grouping."""

    def __init__(self, rows: Sequence[tuple[list[int], list[int]]]) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        head, tail = self._rows[index]
        return {"input_ids": head + tail, "labels": [IGNORED] * len(head) + tail, "index": index}


class RightPadding:
    """Pads a batch to its longest row; only the completion and its eos are supervised."""

    def __init__(self, pad: int) -> None:
        self._pad = pad

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        width = max(len(row["input_ids"]) for row in rows)

        def filled(key: str, filler: int) -> torch.Tensor:
            return torch.tensor([row[key] + [filler] * (width - len(row[key])) for row in rows])

        mask = torch.tensor([[1] * len(row["input_ids"]) + [0] * (width - len(row["input_ids"])) for row in rows])
        return {
            "input_ids": filled("input_ids", self._pad),
            "attention_mask": mask,
            "labels": filled("labels", IGNORED),
            "index": torch.tensor([row["index"] for row in rows]),
        }


def token_loss(
    outputs: Any, labels: torch.Tensor, num_items_in_batch: torch.Tensor | int | None = None
) -> torch.Tensor:
    """Cross-entropy over the supervised tokens, divided by their number in the whole optimizer step.

    So a batch of 8 equals 8 accumulated batches of 1, whatever the lengths. Only supervised positions are upcast.
    """
    losses, supervised = _supervised_losses(outputs, labels)
    return losses.sum() / (supervised.sum() if num_items_in_batch is None else num_items_in_batch)


def record_loss(
    outputs: Any, labels: torch.Tensor, num_items_in_batch: torch.Tensor | int | None = None
) -> torch.Tensor:
    """The mean over the records of an optimizer step of each record's mean over its supervised tokens.

    A one-word class label then counts as much as a long definition.
    """
    losses, supervised = _supervised_losses(outputs, labels)
    lengths = supervised.sum(dim=1, keepdim=True).expand_as(supervised)[supervised]
    return (losses / lengths).sum() / (len(labels) if num_items_in_batch is None else num_items_in_batch)


def _supervised_losses(outputs: Any, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    # virtual tokens of a prompt tuning stand before the text and have logits too
    logits, wanted = outputs.logits[:, -labels.shape[1] : -1], labels[:, 1:]
    supervised = wanted != IGNORED
    return cross_entropy(logits[supervised].float(), wanted[supervised], reduction="none"), supervised


class CompletionTrainer(SealedCheckpoints, Trainer):
    """Trainer whose every pass is watched, whose looks at the development split count bits per character, and which
    saves adapters without the embedding."""

    def __init__(
        self, *, by_record: bool, measure: Callable[[], dict[str, float]], watch: Watch, **options: Any
    ) -> None:
        super().__init__(
            compute_loss_func=record_loss if by_record else token_loss, eval_dataset=_NOTHING, **options
        )
        self._by_record, self._measure, self._watch = by_record, measure, watch

    def _get_num_items_in_batch(self, batch_samples, device):
        """What the loss of an optimizer step is divided by: records here, supervised tokens in the parent."""
        if not self._by_record:
            return super()._get_num_items_in_batch(batch_samples, device)
        count = torch.tensor(sum(len(batch["labels"]) for batch in batch_samples), device=device)
        return self.accelerator.gather(count).sum() if self.args.average_tokens_across_devices else count

    def training_step(self, model, inputs, num_items_in_batch=None):
        """One forward and backward pass, shown to the watch."""
        index = inputs.pop("index")
        loss = super().training_step(model, inputs, num_items_in_batch)
        self._watch.batch(self.state.global_step + 1, index.tolist(), loss.item())
        return loss

    def evaluate(self, eval_dataset=None, ignore_keys=None, metric_key_prefix="eval") -> dict[str, float]:
        """Bits per character of the development split: the mean over its tasks, and each task's."""
        by_task = self._measure()
        self.model.train()
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
