"""The embedded base alone: tokenizer and model from scratch on the domain pack's corpus (the paper's "from scratch" route).

Run it: `zenml pipeline run pipelines.pretraining.pretraining_pipeline -c configs/pretraining.yaml`. The fine-tuning pipeline
contains the same steps, so a base that either has built is found in the cache by the other.
"""

from __future__ import annotations

from zenml import pipeline

from pipelines import hooks
from pipelines.dag import pretraining_dag


@pipeline(on_start=hooks.on_start, on_end=hooks.on_end, on_failure=hooks.on_failure, on_cleanup=hooks.on_cleanup)
def pretraining_pipeline(pack: str = "domains/finance") -> None:
    """Train the embedded base.

    Args:
        pack: the domain pack whose contract the corpus must keep.
    """
    pretraining_dag(pack)
