"""What is watched while a training runs: a loss that is not finite stops it and names the records of the batch."""

from __future__ import annotations

import math
from collections.abc import Sequence

from domainlm.errors import TrainingError


class Watch:
    """Sees each forward and backward pass.

    Args:
        record_ids: the record of each row, by the row's index.
    """

    def __init__(self, record_ids: Sequence[str]) -> None:
        self._record_ids = record_ids

    def batch(self, step: int, index: Sequence[int], loss: float) -> None:
        """After one micro-batch.

        Args:
            step: the optimizer step that it belongs to, from 1.
            index: the rows of the micro-batch.
            loss: its share of the step's loss.

        Raises:
            TrainingError: the loss is not finite.
        """
        if not math.isfinite(loss):
            raise TrainingError(
                f"the loss is not finite at step {step}",
                f"records {', '.join(self._record_ids[position] for position in index)}",
                "lower learning_rate, or look at these records",
            )
