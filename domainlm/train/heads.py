"""The Trainer's parts for a classification head: its rows, its batches and its loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from domainlm.models.classifiers import padded
from domainlm.train.trainer import CompletionTrainer


class LabelledRows(torch.utils.data.Dataset):
    """Tokenized texts with the number of their label, and their index for messages."""

    def __init__(self, rows: Sequence[tuple[list[int], int]]) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        ids, label = self._rows[index]
        return {"input_ids": ids, "labels": label, "index": index}


class LabelPadding:
    """Pads a batch to its longest text; one label a row."""

    def __init__(self, pad: int) -> None:
        self._pad = pad

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        batch = padded([row["input_ids"] for row in rows], self._pad)
        return batch | {name: torch.tensor([row[name] for row in rows]) for name in ("labels", "index")}


def label_loss(
    outputs: Any, labels: torch.Tensor, num_items_in_batch: torch.Tensor | int | None = None
) -> torch.Tensor:
    """Cross-entropy of the right labels, divided by the records of the whole optimizer step: batch 8 = 8 x 1.

    Args:
        outputs: with logits (records, labels).
        labels: the number of each record's label (records,).
        num_items_in_batch: records of the optimizer step; of this batch if None.
    """
    losses = cross_entropy(outputs.logits.float(), labels, reduction="sum")
    return losses / (len(labels) if num_items_in_batch is None else num_items_in_batch)


class HeadTrainer(CompletionTrainer):
    """The same Trainer, with the loss of a head; a look at the development split also tells the accuracy."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options | {"by_record": True})
        self.compute_loss_func = label_loss

    def evaluate(self, eval_dataset=None, ignore_keys=None, metric_key_prefix="eval") -> dict[str, float]:
        """As in the parent; accuracy and bits a record join the log."""
        metrics = super().evaluate(eval_dataset, ignore_keys, metric_key_prefix)
        told = {"accuracy": self._measure.accuracy, "bits_per_record": self._measure.bits_per_record}
        more = {f"{metric_key_prefix}_{name}_{task}": value for name in told for task, value in told[name].items()}
        self.log(more)
        return metrics | more
